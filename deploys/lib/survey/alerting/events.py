"""What the members wrote down of an alert (the event recorder of Alertmanager), as their hosts find it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from prometheus_ha.deploys.lib.ground.routing import Matcher
from prometheus_ha.facts.reports.prometheus import unix_time

Data = dict[str, Any]


MOST_LINES, MOST_BYTES = 600, 1_500_000
"""How much of its records a host sends, the newest ones."""

_FIRST_OF_EACH = r"""
{ k = f = w = "" }
match($0, /"(alert(Created|Grouped|Resolved)|(silence|inhibition)MutedAlert|notification)":/) {
  k = substr($0, RSTART, RLENGTH) }
k == "" { next }
k ~ /notification/ { n++; print; next }
match($0, /"fingerprint":"[0-9]+"/) { f = substr($0, RSTART, RLENGTH) }
k ~ /Created|Resolved/ { e[f]++; if (k ~ /Created/) c[f] = $0; print; next }
k ~ /Grouped/ && match($0, /"receiverName":"[^"]*"/) { w = substr($0, RSTART, RLENGTH) }
k ~ /silence/ && match($0, /"id":"[^"]*"/) { w = n substr($0, RSTART, RLENGTH) }
k ~ /inhibition/ && match($0, /"inhibitingFingerprints":\[[^]]*\]/) { w = n substr($0, RSTART, RLENGTH) }
(f, e[f], k, w) in seen { next }
{ seen[f, e[f], k, w] = 1; if (k ~ /Grouped/) g[f, w] = $0; print }
END { for (i in c) if (m++ < 100) print c[i]; for (i in g) if (m++ < 200) print g[i] }
"""
"""Program of awk. An alert is grouped again each time that a Prometheus sends it, and muted again at each flush of its
group: the first one says it. How it began is said again at the end, which is what is left of very many lines."""

_WITHOUT_ALERTS = "; ".join(
    rf's/"alerts":\[.*\], *"{kind}Alerts":\[\{{/"{kind}Alerts":[{{/; t' for kind in ("firing", "resolved", "muted")
)
"""Program of sed. A notification has every alert of its group in full, and their fingerprints after that."""

_BY = r""""inhibitingFingerprints":\[[^]]*\]"""


def events_script(conditions: Iterable[Matcher], path: str) -> str:
    """The script that prints what a member wrote down of alerts with these labels. The files may have tens of
    megabytes, so they are searched there, by the text of the exact labels; which lines are meant is seen when they are
    read.

    protojson writes no space after a colon, and in some builds one after a comma. A line that was cut goes: pyinfra
    takes no half of a character.
    """
    exact = [one for one in conditions if one.operator == "=" and one.value]
    found = "".join(f" | grep -aF {' '.join(f'-e {shlex.quote(text)}' for text in _json(one))}" for one in exact)
    return f"""(
LC_ALL=C; export LC_ALL; f={shlex.quote(path)}
all() {{
ls -tr "$f" "$f".* "$f"-* 2>/dev/null | while read -r n; do
case $n in *.gz) gzip -dc "$n";; *) cat "$n";; esac; done 2>/dev/null
}}
all | head -n 1 | cut -c 1-60
found=$(all{found} | sed -E {shlex.quote(_WITHOUT_ALERTS)} | awk {shlex.quote(_FIRST_OF_EACH)} |
tail -n {MOST_LINES} | tail -c {MOST_BYTES})
[ ${{#found}} -lt {MOST_BYTES - 1} ] || found=$(printf '%s\\n' "$found" | sed 1d)
printf '%s\\n' "$found"
by=$(printf '%s\\n' "$found" | grep -aoE {shlex.quote(_BY)} | grep -oE '[0-9]+' | sort -u | head -n 20)
[ -z "$by" ] || all | grep -aF '"alertGrouped":' |
grep -aF "$(for i in $by; do echo "{{\\"fingerprint\\":\\"$i\\""; done)" | awk {shlex.quote(_FIRST_OF_EACH)}
) || true"""


def _json(condition: Matcher) -> tuple[str, ...]:
    """A label as it may stand in a record: as one of a map, and in a list of pairs below 0.35."""
    name, value = (json.dumps(word, ensure_ascii=False) for word in (condition.label, condition.value))
    return (f"{name}:{value}", *(f'{{"key":{name},{space}"value":{value}}}' for space in ("", " ")))


@dataclass(frozen=True)
class Event:
    """One record of a member."""

    time: float
    kind: str
    data: Data = field(hash=False)


def read_events(lines: Iterable[str]) -> tuple[float | None, tuple[Event, ...]]:
    """When the records of a member begin, and those that its script found. Lines that were cut are passed over."""
    first, *rest = [*lines, ""]
    since = re.search(r'"@timestamp": *"([^"]+)"', first)
    found = {}
    for line in rest:
        try:
            one = json.loads(line)
            ((kind, data),) = one["data"].items()
            when = unix_time(one["@timestamp"])
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
        if when is not None and isinstance(data, dict):
            found[line] = Event(when, kind, _with_maps(data))
    events = tuple(found.values())
    _name(events)
    return (unix_time(since[1]) if since else None), events


# --- Records of 0.33 and 0.34 ---------------------------------------------------------------------


def _with_maps(value: Any) -> Any:
    """Labels as a map, where they are a list of pairs."""
    if isinstance(value, list):
        return [_with_maps(one) for one in value]
    if not isinstance(value, dict):
        return value
    pairs = value.get("labels")
    if list(value) == ["labels"] and isinstance(pairs, list):
        return {pair.get("key", ""): pair.get("value", "") for pair in pairs}
    return {key: _with_maps(one) for key, one in value.items()}


def _name(events: Iterable[Event]) -> None:
    """Give alerts that stand there by another hash of their labels their fingerprints, which only the record of an
    alert that was grouped has beside it."""
    known: dict[str, str] = {}
    hashed: list[Data] = []
    for event in events:
        for value in event.data.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict) and "hash" in one:
                    hashed.append(one)
                    if (details := one.get("details")) and details.get("fingerprint"):
                        known[one["hash"]] = details["fingerprint"]
    for one in hashed:
        one["fingerprint"] = known.get(one["hash"], one["hash"])


def fingerprint_of(number: Any) -> str:
    """A fingerprint as the API writes it."""
    return f"{int(number):016x}"


def alert_of(event: Event) -> tuple[str, dict[str, str]]:
    """Fingerprint and labels of the one alert that a record is about; empty where it is about a group."""
    one = event.data.get("mutedAlert") or event.data.get("alert") or {}
    labels = one.get("labels") or (one.get("details") or {}).get("labels") or {}
    return (fingerprint_of(one["fingerprint"]), labels) if one.get("fingerprint") else ("", {})
