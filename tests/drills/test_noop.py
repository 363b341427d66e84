"""A second run changes nothing, says so, and costs next to nothing."""

from __future__ import annotations

import re
from collections import Counter

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import live_files, moved, run_site, units

LOOKS = 4
_COMMAND = re.compile(r"^\s*(?:\x1b\[\S*m)*\[([^\]]+)\](?:\x1b\[\S*m)*\s*>>> ", re.MULTILINE)
"""pyinfra announces every command it sends like this, from -vvv on."""


def test_second_run_changes_nothing(site: Site) -> None:
    before, files = units(), live_files()
    again = run_site("-vvv")
    assert again.status == 0, str(again)
    assert again.changed == {} and again.failed == {}, str(again)
    assert moved(before) == set()
    assert live_files() == files
    commands = Counter(_COMMAND.findall(again.log))
    assert set(commands) == set(site.hosts), f"not the commands of all hosts: {commands}"
    assert max(commands.values()) <= LOOKS, f"more than {LOOKS} commands: {commands}"


def test_every_unit_runs_what_is_on_disk(site: Site) -> None:
    """The premise of the drills: each host runs the units of its groups, and no other."""
    found = units()
    assert {unit.state for unit in found.values()} == {"active"}, str(found)
    wanted = {
        (member.name, DAEMONS[component].unit) for member in site.hosts.values() for component in member.components
    }
    assert set(found) == wanted
