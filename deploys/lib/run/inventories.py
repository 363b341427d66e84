"""The inventory, as pyinfra reads it, with all that is in the site's directory."""

from __future__ import annotations

import os
from typing import Any

from pyinfra_cli.inventory import make_inventory

from prometheus_ha.deploys.lib import PACKAGE
from prometheus_ha.deploys.lib.ground import folder
from prometheus_ha.deploys.lib.survey import upstream_files


def read(name: str, data: dict[str, Any] | None = None, group_data: Any = None) -> Any:
    """The inventory `name` (a file, hosts, a function) with `data` of the command line and more directories of
    `group_data`. Raises what pyinfra, or Python, says of the user's files."""
    inventory = make_inventory(name, cwd=os.getcwd(), override_data=data or {}, group_data_directories=group_data)
    _find_keys(inventory)
    if folder.of_site() != PACKAGE:  # whose templates/ are ours
        upstream_files.put(inventory, upstream_files.read(folder.of_site()))
    return inventory


def _find_keys(inventory: Any) -> None:
    """SSH keys of the site's directory, which pyinfra looks for in the working one."""
    for data in (inventory.data, *inventory.group_data.values(), *inventory.host_data.values()):
        key = data.get("ssh_key")
        if isinstance(key, str) and (folder.of_site() / key).is_file():
            data["ssh_key"] = str(folder.of_site() / key)
