"""Read by pyinfra before every run: before the inventory, and before any connection.

Refused here is what pyinfra would take for success, or find out host by host: `--limit` or
`--exclude` that matches no host, `--no-wait`, `--serial`, and settings that cannot be deployed. And whatever the
run prints goes through a stream that hides its secrets.
"""

import gc
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import click
from pyinfra import config, logger, state
from pyinfra.api.exceptions import PyinfraError
from pyinfra_cli.exceptions import CliError
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import parse_cli_arg

from deploys.lib import ROOT
from deploys.lib.ground import secrets
from deploys.lib.ground.findings import SettingsErrors, describe, python_error, refusal
from deploys.lib.ground.open_files import make_room
from deploys.lib.ground.secrets import Redacting
from deploys.lib.run import ends, pyinfra_patches, quiet
from deploys.lib.survey.load import check_limit, chosen, load_site

_setup = ConfigParser()
_setup.read(ROOT / "setup.cfg")
config.REQUIRE_PYINFRA_VERSION = re.search(r"^pyinfra(\S+)", _setup["options"]["install_requires"], re.M)[1]  # type: ignore[index]

pyinfra_patches.install()

# Each step is one of the hosts that it names, or of a role's members: what every other host does not do is no news.
logger.addFilter(lambda record: not re.search(r"Skipped(\x1b\[0m)?$", str(record.msg)))


# What a run makes it mostly keeps until its end: looking for garbage as often as Python does costs it a tenth.
gc.set_threshold(50_000, 20, 20)


LOOKS = ("capacity", "preflight", "verify")
"""Deploys that change no host."""
LOOKS_CONNECT = 5
"""Seconds in which a host has to take the connection of who only looks, instead of pyinfra's 10: a SYN that was lost is
sent again after 1 and 3. Whoever asks what is wrong does not wait for a dead host."""


class _Refused(CliError, PyinfraError):
    """Ends the run with its words alone: of a PyinfraError, pyinfra names the line here that raised it."""


def _inventory(options):
    data = dict(entry.split("=", 1) for entry in options["data"])
    data = {key: parse_cli_arg(value) for key, value in data.items()}
    try:
        inventory = make_inventory(
            options["inventory"],
            cwd=state.cwd,
            override_data=data,
            group_data_directories=options["group_data"],
        )
        pyinfra_patches.use(inventory, data)
        return inventory
    except PyinfraError:
        raise
    except Exception as error:  # whatever Python says of the operator's own files
        raise _Refused(python_error(error, Path(state.cwd))) from None


def _check(options):
    if options["no_wait"]:
        raise _Refused("--no-wait: pyinfra then reports success when a host failed")
    inventory = _inventory(options)
    groups = {host.name: host.groups for host in inventory}
    wrong = check_limit(groups, options["limit"])
    wrong += check_limit(groups, options["exclude"], "--exclude")
    if wrong:
        raise _Refused("\n".join(describe(wrong)))
    if crowded := make_room(len(chosen(groups, options["limit"], options["exclude"]))):
        raise _Refused(crowded)
    # Who only looks need not have every secret of the site.
    looks = Path(options["operations"][0]).stem in LOOKS
    secrets.look_only(options["dry"] or looks)
    if looks:
        config.CONNECT_TIMEOUT = LOOKS_CONNECT
    # Facts, commands and debug-inventory are how one looks into a site that cannot be deployed.
    if not options["operations"][0].startswith("deploys"):
        return
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


_context = click.get_current_context(silent=True)
if _context is not None:
    ends.catch_signals()
    _context.call_on_close(ends.tell)
    sys.stdout, sys.stderr = Redacting(sys.stdout), Redacting(sys.stderr)
    _check(_context.params)
    if not _context.params["verbosity"] and _context.params["operations"][0].endswith(".py"):
        quiet.install()
