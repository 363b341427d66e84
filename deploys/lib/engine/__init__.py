"""From a role to files and units on a host, and back to what it says: names no daemon."""
