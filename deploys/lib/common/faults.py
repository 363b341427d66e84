"""Faults of releases that upstream knows of: a crash of such a kind is told by its name, and any other stays unknown.

systemd brings a daemon back in seconds, so that whoever asks only whether it does its job never hears of a crash. A
gate, the end of a run, `verify` and tests/site tell it apart by the daemon's own declaration.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.declare import Fault
from prometheus_ha.deploys.lib.ground import alive
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member


def of(component: str, version: str) -> list[Fault]:
    """What is known of a release of a component."""
    return [
        fault
        for fault in DAEMONS[component].faults
        if releases.at_least(version, fault.since) and not (fault.until and releases.at_least(version, fault.until))
    ]


def of_unit(member: Member, unit: str) -> list[Fault]:
    """The same of what a unit of a host runs."""
    return [
        fault
        for name in member.components
        if member.own(name).unit == unit
        for fault in of(name, member.settings.version(name))
    ]


def named(faults: Iterable[Fault], journal: Iterable[str]) -> Fault | None:
    """The fault that lines of a journal tell of."""
    lines = list(journal)
    return next((fault for fault in faults if any(fault.words in line for line in lines)), None)


@dataclass(frozen=True)
class Crashes:
    """How often systemd brought a unit back since it began to count, and how often that was a known fault."""

    times: int
    known: Mapping[Fault, int] = field(default_factory=dict)

    @property
    def unknown(self) -> int:
        return max(0, self.times - sum(self.known.values()))

    def __str__(self) -> str:
        times = "once" if self.times == 1 else f"{self.times} times"
        told = [str(fault) for fault, count in self.known.items() if count]
        if self.unknown and told:
            told.append(f"and {self.unknown} of them unknown")
        return f"crashed {times} and came back ({'; '.join(told) or 'not a known fault'})"


def script(member: Member, units: Iterable[str]) -> str:
    """What systemd counts of these units of a host, and how many known crashes the journal of this boot has."""
    units = list(units)
    lines = []
    for unit in units:
        for fault in of_unit(member, unit):
            journal = f"journalctl -q -b -o cat --no-pager -u {unit}"
            count = f"$({journal} | grep -cF {shlex.quote(fault.words)})"
            restarts = f"$(systemctl show -p NRestarts --value {unit})"
            lines.append(f'[ "{restarts}" = 0 ] || echo "{unit} {fault.reference} {count}"')
    return "\n".join([alive.script(units).rstrip(), *lines, "true"])


def read(member: Member, lines: Iterable[str]) -> dict[str, Crashes]:
    """The units that crashed, in what `script` printed; none where that is not all there."""
    lines = list(lines)
    if alive.MARK not in lines:
        return {}
    units, rest = alive.read(lines)
    known: dict[str, dict[Fault, int]] = {}
    for unit, reference, count in map(str.split, rest):
        fault = next(one for one in of_unit(member, unit) if one.reference == reference)
        known.setdefault(unit, {})[fault] = int(count)
    return {u.name: Crashes(u.crashes, known.get(u.name, {})) for u in units if u.crashes}
