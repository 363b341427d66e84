"""What a run of alert.py is for, by its settings, and which of it is refused before anything is asked."""

from __future__ import annotations

import json
import re
import secrets
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from prometheus_ha.deploys.lib.ground.routing import Labels, Matcher, unquoted
from prometheus_ha.deploys.lib.site.settings import Settings


class Refused(Exception):
    """What was asked for cannot be done. The text says what was found, what is expected, and what to do."""


WISHES = ("send", "silence", "end_silence", "why", "canary")
"""The settings that ask for something else than the table of what fires."""


def wish(settings: Settings) -> str:
    """Which of `WISHES` this run is for; empty for the table. Refused where it can be seen at once that it is none."""
    given = [name for name in WISHES if getattr(settings, name)]
    if len(given) > 1:
        raise Refused(f"found {' and '.join(given)}; expected: one of them in a run. Run alert.py once for each")
    name = given[0] if given else ""
    if name == "silence":
        wanted_silence(settings)
    if name == "why":
        wanted_labels(settings)
    if name == "canary" and not settings.alert_canary:
        raise Refused("canary: found alert_canary = False; expected: True, and a run of the deploy. Nobody counts them")
    return name


_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_MATCHER = re.compile(rf"\s*({_QUOTED}|[^\s=!~,\"'{{}}]+)\s*(=~|!~|!=|=)\s*({_QUOTED}|(?![\"'])[^,]*?)\s*(?:,|$)")


def matchers(text: str, setting: str) -> list[Matcher]:
    """The conditions of `alertname=HostDown,instance=~'web.*'`, with or without quotes and braces."""
    inner = text.strip()
    inner = inner[1:-1] if inner.startswith("{") and inner.endswith("}") else inner
    found, at = [], 0
    while at < len(inner):
        part = _MATCHER.match(inner, at)
        if part is None:
            raise Refused(
                f"{setting}: found {inner[at:]!r}; expected: labels as alertname=HostDown,instance=~'web.*'. "
                "Put a value with a comma or a quotation mark in it into quotation marks"
            )
        found.append(Matcher(unquoted(part[1]), part[2], unquoted(part[3])))
        at = part.end()
    if not found:
        raise Refused(f"{setting}: found nothing; expected: labels as alertname=HostDown,instance=~'web.*'")
    return found


def as_text(conditions: Iterable[Matcher]) -> str:
    """Conditions as people write them."""
    return ", ".join(f"{one.label}{one.operator}{json.dumps(one.value, ensure_ascii=False)}" for one in conditions)


def takes(condition: Matcher, labels: Labels) -> bool:
    """Whether it takes an alert. One that only Alertmanager can judge (Go's regular expressions) takes none."""
    try:
        return condition.takes(labels)
    except ValueError:
        return False


def wanted_silence(settings: Settings) -> list[Matcher]:
    """The conditions of the silence that is asked for. Refused are such as mute all alerts, or none."""
    found = matchers(settings.silence, "silence")
    if not settings.comment.strip():
        raise Refused(
            "comment: found nothing; expected: why the silence is made, for those who miss the alert. "
            'Add --data comment="disk is being replaced"'
        )
    if all(takes(one, {}) or takes(one, {one.label: secrets.token_hex(8)}) for one in found):
        raise Refused(
            f"silence: {as_text(found)} mutes every alert, or every alert with such a label; expected: a label that "
            "says which alerts, as alertname=HostDown. Add one"
        )
    for exact in found:
        others = [one for one in found if one.label == exact.label and exact.operator == "="]
        if wrong := [one for one in others if _readable(one) and not takes(one, {exact.label: exact.value})]:
            raise Refused(
                f"silence: no alert can have both {as_text([exact])} and {as_text(wrong[:1])}; expected: conditions "
                "that some alert meets. For several values write a regular expression, as instance=~'web-1|web-2'"
            )
    return found


def _readable(condition: Matcher) -> bool:
    try:
        condition.takes({})
    except ValueError:
        return False
    return True


def wanted_labels(settings: Settings) -> list[Matcher]:
    """The conditions on the alert that is asked about. One at least is exact: by it the hosts search."""
    found = matchers(settings.why, "why")
    if not any(one.operator == "=" and one.value for one in found):
        raise Refused(
            f"why: found {as_text(found)}; expected: one exact label at least. Add one, as alertname=HostDown"
        )
    return found


def zone(settings: Settings) -> tzinfo:
    """In which times are printed: as in the messages of the site."""
    name = settings.alert_time_zone
    return UTC if name == "UTC" else zoneinfo.ZoneInfo(name)


@dataclass(frozen=True)
class Clock:
    """How moments are written."""

    zone: tzinfo = UTC
    name: str = "UTC"

    def at(self, when: float | None) -> str:
        """A moment; `?` where it is not known."""
        return "?" if when is None else f"{datetime.fromtimestamp(when, self.zone):%Y-%m-%d %H:%M:%S}"


def clock(settings: Settings) -> Clock:
    return Clock(zone(settings), settings.alert_time_zone)
