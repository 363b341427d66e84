"""Writes the files that each host would get into a directory, without a connection: `prometheus-ha render INVENTORY
DIRECTORY`. For a review, for CI, and to compare two commits of a site.

Secrets are not read: their references stand in their places. What only the host knows is taken as of Debian 12 on
amd64, with 16 GiB of memory and 100 GiB of disk.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import pyinfra_cli.main  # noqa: F401  first: it patches gevent in
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import State as Run
from pyinfra.context import ctx_state

import prometheus_ha.deploys.site  # noqa: F401  every role, those of every host too
from prometheus_ha.deploys.lib.engine.component import Component
from prometheus_ha.deploys.lib.engine.role import in_order
from prometheus_ha.deploys.lib.ground import folder, secrets
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors, describe, python_error, refusal
from prometheus_ha.deploys.lib.run import inventories
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey.load import load_site
from prometheus_ha.facts.reports.look import State

MARK = ".rendered"
"""File in a directory that this wrote, which it may replace."""
LIST = "files.txt"
"""File of each host with modes, owners and links."""

HOST = State(os="debian", os_version="12", machine="x86_64", systemd=252, memory=16 << 30, disk=100 << 30)


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, 1 the site is refused, or the directory."""
    parser = argparse.ArgumentParser("prometheus-ha render", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("inventory", help="the inventory, or the directory that it is in")
    parser.add_argument("directory", type=Path, help="where to write; one of before is replaced")
    options = parser.parse_args(arguments)
    given = Path(options.inventory)
    inventory = given / "inventory.py" if given.is_dir() else given
    try:
        if not inventory.is_file():
            raise ValueError(f"found no {inventory}; expected: an inventory")
        site = _site(inventory)
        count = write(site, options.directory)
    except SettingsErrors as error:
        print(refusal(error), file=sys.stderr)
        return 1
    except (ValueError, OSError, PyinfraError) as error:
        print(f"nothing was written: {error}", file=sys.stderr)
        return 1
    for line in describe(site.findings):
        print(line, file=sys.stderr)
    print(f"{count} files of {len(site.hosts)} hosts: {options.directory}")
    return 0


def _site(inventory: Path) -> Site:
    ctx_state.set(Run())
    folder.use(inventory)
    secrets.read_none(True)
    try:
        return load_site(inventories.read(str(inventory)), check_secrets=False)
    except (SettingsErrors, PyinfraError):
        raise
    except Exception as error:  # noqa: BLE001  whatever Python says of the user's own files
        raise ValueError(python_error(error, folder.of_site())) from None


def write(site: Site, directory: Path) -> int:
    """Write the trees of all hosts below `directory`, and say how many files they have. Raises ValueError where it
    holds what this has not written."""
    if directory.exists() and any(directory.iterdir()):
        if not (directory / MARK).is_file():
            raise ValueError(
                f"{directory} holds other files; expected: a new directory, or one that was rendered before"
            )
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARK).write_text("Written by prometheus-ha render, which replaces it.\n")
    return sum(_write_host(components(site, member), directory / member.name) for member in site.hosts.values())


def components(site: Site, member: Member) -> list[Component]:
    """What all roles of a host want there."""
    return [role.component(site, member, HOST) for role in in_order() if member in role.members(site)]


def _write_host(wanted: list[Component], directory: Path) -> int:
    listed: list[str] = []
    count = 0
    for component in wanted:
        for path, file in component.files.items():
            target = directory / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(secrets.named(file.content), encoding="utf-8")
            listed.append(f"{path} {file.mode} {file.owner}:{file.group}")
            count += 1
        for path, made in component.directories.items():
            listed.append(f"{path}/ {made.mode} {made.owner}:{made.group}")
        listed += [f"{path} -> {target}" for path, target in component.links.items()]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / LIST).write_text("".join(f"{line}\n" for line in sorted(set(listed))))
    return count
