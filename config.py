"""Read by pyinfra before every run: before the inventory, and before any connection.

Refused here is what pyinfra would take for success, or find out host by host: `--limit` or
`--exclude` that matches no host, `--no-wait`, and settings that cannot be deployed.
"""

import click
from pyinfra import config, state
from pyinfra.api.exceptions import PyinfraError
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import parse_cli_arg

from deploys.lib.findings import SettingsErrors, describe
from deploys.lib.site import check_limit, load_site

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"


def _check(options):
    if options["no_wait"]:
        raise PyinfraError("--no-wait: pyinfra then reports success when a host failed")
    data = dict(entry.split("=", 1) for entry in options["data"])
    inventory = make_inventory(
        options["inventory"],
        cwd=state.cwd,
        override_data={key: parse_cli_arg(value) for key, value in data.items()},
        group_data_directories=options["group_data"],
    )
    groups = {host.name: host.groups for host in inventory}
    wrong = check_limit(groups, options["limit"])
    wrong += check_limit(groups, options["exclude"], "--exclude")
    if wrong:
        raise PyinfraError("\n".join(describe(wrong)))
    # Facts, commands and debug-inventory are how one looks into a site that cannot be deployed.
    if not options["operations"][0].startswith("deploys"):
        return
    try:
        site = load_site(inventory)
    except SettingsErrors as errors:
        raise PyinfraError(f"nothing was done:\n{errors}") from None
    for line in describe(site.findings):
        click.echo(f"    {line}", err=True)


_context = click.get_current_context(silent=True)
if _context is not None:
    _check(_context.params)
