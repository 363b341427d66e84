"""Looking at a site: its inventory, its hosts before a run, and what stands after it."""
