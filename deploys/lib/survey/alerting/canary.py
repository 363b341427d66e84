"""Canaries: alerts that nobody is told of, and that the relays count, to see whether what is sent arrives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.engine.role import Gate, Progress
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.roles.alertmanager.configuration import CANARY_ALERT
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey.alerting.seen import change, rfc3339
from prometheus_ha.facts.http import Call

EVERY = 10.0
"""Seconds between two canaries."""
LASTS = 600.0
"""Seconds after which a canary ends by itself."""
SLACK = 15.0
"""Seconds that the last one may be late, beyond what the members wait for each other."""


@dataclass
class Flight:
    """The canaries of one run, as all its hosts know them."""

    id: str
    count: int
    sent: set[str] = field(default_factory=set)
    """Those that some Alertmanager took."""
    seen: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Host -> how often each arrived there."""

    @classmethod
    def of(cls, id: str, lasts: str) -> Flight:
        return cls(id, max(int(seconds(lasts) / EVERY), 1))

    def names(self) -> list[str]:
        return [f"{self.id}-{number}" for number in range(self.count)]

    @property
    def arrived(self) -> Counter[str]:
        return sum(map(Counter, self.seen.values()), Counter())

    def gate(self, site: Site, member: Member) -> Gate:
        """To be followed at each relay, once all were sent: it opens once all have arrived somewhere."""

        def judge(lines: list[str]) -> Progress:
            self.seen[member.name] = read_count(lines, self.names())
            left = len(self.sent - set(self.arrived))
            return Progress(not left, f"{len(self.sent) - left} of {len(self.sent)} arrived", left)

        return Gate(count_script(site, member), judge, patience(site))

    def lines(self) -> tuple[list[str], bool]:
        """What came of them, and whether none was lost."""
        sent = [name for name in self.names() if name in self.sent]
        lost = [name for name in sent if not self.arrived[name]]
        doubled = [name for name in sent if self.arrived[name] > 1]
        counts = f"{len(sent)} sent, {len(sent) - len(lost)} arrived"
        lines = [f"canaries: {counts}, {len(lost)} lost, {len(doubled)} more than once"]
        if len(sent) < self.count:
            lines.append(f"warn  no Alertmanager took {self.count - len(sent)} of {self.count}")
        if lost:
            lines.append(
                f"fail  lost: {some(lost)}. See alert.py --data why=canary_id=... and journalctl -u alertmanager"
            )
        if doubled:
            lines.append(f"warn  more than once: {some(doubled)}. Do the Alertmanagers hear each other? verify says so")
        return lines, bool(sent) and not lost


def post(site: Site, member: Member, name: str, now: float) -> str:
    """The script that tells the Alertmanager of a host of one."""
    alert = {
        "labels": {"alertname": CANARY_ALERT, "severity": "none", "canary_id": name},
        "annotations": {"summary": "A canary of alert.py: nobody is told of it."},
        "startsAt": rfc3339(now),
        "endsAt": rfc3339(now + LASTS),
    }
    return change(site, member, Call("canary", "/api/v2/alerts"), [alert])


def patience(site: Site) -> float:
    """Seconds after the last one in which it has to have arrived: each member waits for those before it."""
    members = site.running(daemons.ALERTMANAGER)
    return SLACK + len(members) * max(seconds(one.settings.timing.peer_timeout) for one in members)


def count_script(site: Site, member: Member) -> str:
    """Asks the relay of a host what arrived there."""
    port = site.endpoint(daemons.ALERT_RELAY, member, "webhook").port
    return f"curl -sS --max-time 5 http://127.0.0.1:{port}/status || true"


def read_count(lines: Iterable[str], names: Iterable[str]) -> Mapping[str, int]:
    """How often each of these arrived, by the answer to `count_script`."""
    wanted = set(names)
    try:
        found = json.loads("\n".join(lines))["canaries"]
        return {name: int(found[name]) for name in wanted & set(found)}
    except (ValueError, KeyError, TypeError):
        return {}
