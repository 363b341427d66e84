"""Nothing may stand here: of the directory in which it is started, pyinfra reads `group_data/` whatever the inventory.

Settings of the lab's hosts are in `inventory.py`, yours in the `group_data/` beside your own inventory.
"""
