"""What explains what: where a daemon is down or its host is dead, all that misses it is told under that, and once.

A check says of each thing that it found which daemon it is about (`Finding.about`). What another daemon's failure
explains is a consequence; what nothing explains stays a failure of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground.findings import Daemon, Finding
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.site.members import Member, Site


def addresses(site: Site) -> dict[str, Daemon]:
    """`address:port` -> whose port it is, of every port of the site."""
    return {
        site.endpoint(name, member, kind).target: (member.name, name)
        for member in site.hosts.values()
        for name in member.components
        for kind in DAEMONS[name].ports
    }


def broken(site: Site, seen: Mapping[str, Any], dead: Collection[str]) -> dict[Daemon, Daemon]:
    """Every daemon that does not do its job -> the cause: itself, the one that it stands on, or `(host, "")`."""
    found: dict[Daemon, Daemon] = {}
    for name, member in site.hosts.items():
        if name in dead:
            found.update({(name, one): (name, "") for one in ("", *member.components)})
        elif name in seen:
            down = {c for c in member.components if not _works(member, seen[name], c)}
            for one in member.components:
                stands_on = DAEMONS[one].stands_on
                below = stands_on.name if stands_on else None
                if below in down:
                    found[name, one] = name, below
                elif one in down:
                    found[name, one] = name, one
    return found


def _works(member: Member, seen: Any, component: str) -> bool:
    report = seen.daemons.get(component)
    unit = seen.look.units.get(member.own(component).unit, {}) if seen.look else None
    running = unit is None or unit.get("ActiveState") == "active"
    return running and report is not None and report.ready


def folded(results: Iterable[Finding], broken: Mapping[Daemon, Daemon]) -> list[Finding]:
    """The results without those that another one explains: these are named under it."""
    results = list(results)
    causes: dict[Daemon, int] = {}
    for position, one in enumerate(results):
        if one.check == "unit" and one.about and broken.get(one.about) == one.about:
            causes.setdefault(one.about, position)
    explained: dict[int, list[Finding]] = {}
    kept = []
    for position, one in enumerate(results):
        below = broken.get(one.about) if one.about else None
        cause = causes.get(below) if below else None
        if cause is None or (one.check == "unit" and below == one.about):
            kept.append(position)
        else:
            explained.setdefault(cause, []).append(one)
    return [replace(results[position], consequences=_told(explained.get(position, []))) for position in kept]


def _told(results: list[Finding]) -> tuple[str, ...]:
    """Each check once, with the hosts that it failed for."""
    hosts: dict[str, dict[str, None]] = {}
    for one in results:
        hosts.setdefault(one.check, {})[one.host] = None
    return tuple(f"{check} of {some(names)}" for check, names in hosts.items())
