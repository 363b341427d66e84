"""Notifications that failed, by an Alertmanager's journal: no record of its own has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_ha.deploys.lib.ground.findings import printable
from prometheus_ha.deploys.lib.ground.routing import unquoted
from prometheus_ha.facts.reports.prometheus import unix_time


@dataclass(frozen=True)
class Failure:
    """A line of a journal: a notification that failed."""

    time: float
    receiver: str
    integration: str
    group: str
    """The key of its group; empty below 0.35, which does not say."""
    says: str


def script(unit: str, lines: int, last: int = 60) -> str:
    """What the last `lines` of a unit's journal have of failed notifications, the `last` of them. None is cut: pyinfra
    takes no half of a character."""
    return (
        f"journalctl -u {unit} -n {lines} -o short-iso --no-pager "
        f"2>/dev/null | grep -aE 'Notify (for alerts |attempt )?failed' | tail -n {last}"
    )


_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')
_PLACE = re.compile(
    r"(.*?)/([\w-]+)\[\d+\]: (?:notify retry canceled (?:due to unrecoverable error )?after \d+ attempts: )?"
)
"""RECEIVER/INTEGRATION[NUMBER] before an error."""


def read(lines: Iterable[str]) -> Iterator[Failure]:
    """The failed notifications of a journal; without the paths of URLs, in which secrets are. What the notifier says
    and, below it, the dispatcher again, is one failure."""
    last: Failure | None = None
    for line in lines:
        fields = {key: unquoted(value) for key, value in _FIELD.findall(line)}
        said = fields.get("err", "")
        place = _PLACE.match(said)
        receiver = place[1] if place else fields.get("receiver", "")
        try:
            when = unix_time(fields.get("time") or fields.get("ts") or line.split()[0])
        except (ValueError, IndexError):
            continue
        if when is None or not said:
            continue
        one = Failure(
            when,
            receiver,
            place[2] if place else fields.get("integration", "").partition("[")[0],
            fields.get("aggrGroup", ""),
            printable(re.sub(r"(://[^/\s\"]+/)[^\s\":]*", r"\1...", said[place.end() if place else 0 :]))[:300],
        )
        if last is None or one.time - last.time > 1 or (one.receiver, one.says) != (last.receiver, last.says):
            yield one
        last = one
