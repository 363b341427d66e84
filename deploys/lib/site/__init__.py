"""The site: settings, releases, hosts, and what follows from them."""
