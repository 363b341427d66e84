"""Distribution packages, for the few things a minimal host may lack."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_ha.deploys.lib.common.look_script import FOREIGN_UNITS
from prometheus_ha.deploys.lib.run.rollout import run, say
from prometheus_ha.facts.reports.look import Process, State

DEBIAN = ("debian", "ubuntu")


def install(packages: list[str], found: State) -> Iterator:
    """Commands that install distribution packages on the host that `found` describes."""
    say(f"install {', '.join(packages)}")
    names = " ".join(packages)
    if found.os in DEBIAN:
        yield run(
            "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; "
            f"apt-get -qq -y --no-install-recommends install {names}"
        )
    else:
        yield run(f"if command -v dnf >/dev/null; then dnf -q -y install {names}; else yum -q -y install {names}; fi")
    # What a plan foresees: Debian starts what it installs.
    for unit in set(packages) & set(FOREIGN_UNITS):
        found.units[unit] = {"UnitFileState": "enabled", "ActiveState": "inactive"}
        if found.os in DEBIAN:
            found.units[unit]["ActiveState"] = "active"
            found.processes[unit] = Process(0, "", ())
