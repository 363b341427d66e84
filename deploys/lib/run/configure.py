"""What pyinfra's `config.py` does: before every run, before the inventory is read and before any connection.

pyinfra reads that file from the working directory alone, so each site's directory has one that calls `load`; deploys of
ours refuse a run without it. Refused here is what pyinfra would take for success, or find out host by host: `--limit`
or `--exclude` that matches no host, `--no-wait`, `--serial`, and settings that cannot be deployed. And whatever the
run prints goes through a stream that hides its secrets.
"""

from __future__ import annotations

import gc
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pyinfra import config, logger, state
from pyinfra.api.exceptions import PyinfraError
from pyinfra_cli.exceptions import CliError
from pyinfra_cli.util import parse_cli_arg

from prometheus_ha.deploys.lib.ground import folder, secrets
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors, describe, python_error, refusal
from prometheus_ha.deploys.lib.ground.open_files import make_room
from prometheus_ha.deploys.lib.ground.secrets import Redacting
from prometheus_ha.deploys.lib.run import ends, inventories, pyinfra_patches, quiet
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.survey.load import as_guest, check_limit, chosen, load_site

PYINFRA = ">=3.10,<3.11"
"""The releases of pyinfra that this is written for, as setup.cfg has them: what is replaced in it has no hook."""

LOOKS = ("alert", "capacity", "preflight", "verify")
"""Deploys that change no host."""
LOOKS_CONNECT = 5
"""Seconds in which a host has to take the connection of who only looks, instead of pyinfra's 10: a SYN that was lost is
sent again after 1 and 3. Whoever asks what is wrong does not wait for a dead host."""


class _Refused(CliError, PyinfraError):
    """Ends the run with its words alone: of a PyinfraError, pyinfra names the line here that raised it."""


def _inventory(options: dict[str, Any]) -> Any:
    data = dict(entry.split("=", 1) for entry in options["data"])
    data = {key: parse_cli_arg(value) for key, value in data.items()}
    try:
        inventory = inventories.read(options["inventory"], data, options["group_data"])
        pyinfra_patches.use(inventory, data)
        return inventory
    except PyinfraError:
        raise
    except Exception as error:  # whatever Python says of the operator's own files
        raise _Refused(python_error(error, Path(state.cwd or "."))) from None


_PACKAGE = __name__.partition(".")[0]


def _deploy(options: dict[str, Any]) -> str:
    """The name of the deploy of ours that is run, as a file (deploys/site.py) or a function (prometheus_ha.site); empty
    for what is none."""
    operation = options["operations"][0]
    if operation.endswith(".py"):
        path = Path(operation)
        return path.stem if path.resolve().parent.name == "deploys" else ""
    package, _, name = operation.partition(".")
    return name if package == _PACKAGE and "." not in name else ""


def _check(options: dict[str, Any], guest: bool) -> list[str]:
    """Refuses what must not be run. Returns the hosts of the inventory."""
    if options["no_wait"]:
        raise _Refused("--no-wait: pyinfra then reports success when a host failed")
    inventory = _inventory(options)
    if guest:
        as_guest(inventory)
    groups = {host.name: host.groups for host in inventory}
    wrong = check_limit(groups, options["limit"])
    wrong += check_limit(groups, options["exclude"], "--exclude")
    if wrong:
        raise _Refused("\n".join(describe(wrong)))
    if crowded := make_room(len(chosen(groups, options["limit"], options["exclude"]))):
        raise _Refused(crowded)
    # Who only looks need not have every secret of the site.
    looks = _deploy(options) in LOOKS
    secrets.look_only(options["dry"] or looks)
    if looks:
        config.CONNECT_TIMEOUT = LOOKS_CONNECT  # type: ignore[attr-defined]
    # Facts, commands and debug-inventory are how one looks into a site that cannot be deployed.
    if not _deploy(options):
        return list(groups)
    if options["serial"]:
        raise _Refused(
            "--serial: each host would pass all steps alone, before the next is even looked at; "
            "hosts take their turns in the order of the inventory without it"
        )
    try:
        site = load_site(inventory)
    except SettingsErrors as errors:
        raise _Refused(refusal(errors)) from None
    for line in describe(site.findings):
        click.echo(f"    {line}", err=True)
    return list(groups)


class _Said(Redacting):
    """Also without what pyinfra says of a plan that it made: ours is made by the code that makes the changes."""

    def write(self, text: str) -> int:
        return len(text) if "Detected changes may not include every change" in text else super().write(text)


@dataclass
class Configured:
    """That a run was begun with `load`, so that what it must refuse is refused."""

    yes: bool = False


def load(guest: bool = False) -> None:
    """Configure the run of pyinfra that reads this; as a `guest`, a run of somebody else's project. Outside of a run (a
    test) nothing but pyinfra is prepared."""
    config.REQUIRE_PYINFRA_VERSION = PYINFRA
    pyinfra_patches.install()
    # Each step is one of the hosts that it names, or of a role's members: what every other host does not do is no news.
    logger.addFilter(_is_news)
    # What a run makes it mostly keeps until its end: looking for garbage as often as Python does costs it a tenth.
    gc.set_threshold(50_000, 20, 20)
    context = click.get_current_context(silent=True)
    if context is None:
        return
    kept(Configured).yes = True
    folder.use(context.params["inventory"])
    ends.catch_signals()
    context.call_on_close(ends.tell)
    sys.stdout, sys.stderr = Redacting(sys.stdout), _Said(sys.stderr)
    hosts = _check(context.params, guest)
    if not context.params["verbosity"] and _deploy(context.params):
        quiet.install(hosts)


def _is_news(record: Any) -> bool:
    return not re.search(r"Skipped(\x1b\[0m)?$", str(record.msg))
