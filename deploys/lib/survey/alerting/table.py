"""What fires, and what is silenced: as the members have it, merged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping

from prometheus_ha.deploys.lib.ground.durations import written
from prometheus_ha.deploys.lib.ground.findings import printable
from prometheus_ha.deploys.lib.ground.results import aligned, some
from prometheus_ha.deploys.lib.survey.alerting.seen import Fired, Seen, down, living
from prometheus_ha.deploys.lib.survey.alerting.wanted import Clock, as_text

_RANKS = ("critical", "error", "warning", "info", "none")


def _rank(alert: Fired) -> tuple[int, str, float]:
    severity = alert.labels.get("severity", "")
    return (_RANKS.index(severity) if severity in _RANKS else 3, alert.name, alert.starts or 0.0)


def short(id: str) -> str:
    """A silence's id as far as it tells it from others."""
    return id[:8]


_WHERE = ("instance", "host")


def describe(alert: Fired, others: Iterable[Fired] = ()) -> str:
    """Its labels, but for its name and severity. Beside others, only where it is and what tells it apart: what all
    alerts of the site have says nothing of this one, nor does what all of its name have."""
    everyone = [one.labels for one in others if one.fingerprint != alert.fingerprint]
    namesakes = [labels for labels in everyone if labels.get("alertname") == alert.labels.get("alertname")]
    left = {
        key: value
        for key, value in alert.labels.items()
        if key not in ("alertname", "severity")
        if key in _WHERE
        or not any(group and all(one.get(key) == value for one in group) for group in (everyone, namesakes))
    }
    return printable(" ".join(f"{key}={_word(value)}" for key, value in left.items()))


def _word(value: str) -> str:
    return value if re.fullmatch(r"[^\s=,\"']+", value) else json.dumps(value, ensure_ascii=False)


def named(alert: Fired, others: Iterable[Fired] = ()) -> str:
    return printable(f"{alert.name} {describe(alert, others)}").strip()


def _with_severity(alert: Fired) -> str:
    severity = alert.labels.get("severity")
    return f"{alert.name} ({severity})" if severity else alert.name


def state(alert: Fired, names: Mapping[str, Fired]) -> str:
    """What keeps people from being told of it, if anything does."""
    found = [f"silenced by {short(id)}" for id in alert.silenced]
    found += [
        f"inhibited by {_with_severity(names[one]) if one in names else one}" for one in dict.fromkeys(alert.inhibited)
    ]
    found += [f"muted by the time interval {name}" for name in alert.muted]
    return printable(", ".join(found)) or alert.state


def merged(seen: Mapping[str, Seen]) -> dict[str, dict[str, Fired]]:
    """Fingerprint -> the alert as each member has it; those first that are worst."""
    found: dict[str, dict[str, Fired]] = {}
    for name, one in living(seen).items():
        for fingerprint, alert in one.alerts.items():
            found.setdefault(fingerprint, {})[name] = alert
    return dict(sorted(found.items(), key=lambda item: _rank(next(iter(item[1].values())))))


def table(
    seen: Mapping[str, Seen], how: Clock, only: Callable[[Fired], bool] = lambda alert: True, silences: bool = True
) -> list[str]:
    """What fires, as lines: one for each alert, then where members differ, then the silences."""
    alive = living(seen)
    everything = merged(seen)
    names = {fingerprint: next(iter(one.values())) for fingerprint, one in everything.items()}
    shown = {fingerprint: one for fingerprint, one in everything.items() if only(names[fingerprint])}
    now = max((one.clock for one in alive.values()), default=0.0)
    lines = ["", *down(seen)]
    rows, differ = [("severity", "alert", "since", "state", "receivers", "labels")], []
    lacking: dict[str, list[str]] = {}
    for fingerprint, by_member in shown.items():
        alert = names[fingerprint]
        states: dict[str, list[str]] = {}
        for member, one in by_member.items():
            states.setdefault(state(one, names), []).append(member)
        receivers = dict.fromkeys(name for one in by_member.values() for name in one.receivers)
        age = "" if alert.starts is None else f" ({written(max(0, round(now - alert.starts)))})"
        rows.append(
            (
                printable(alert.labels.get("severity", "")),
                printable(alert.name),
                how.at(alert.starts) + age,
                next(iter(states)),
                printable(", ".join(receivers)),
                describe(alert, names.values()),
            )
        )
        called = named(alert, names.values())
        if len(states) > 1:
            words = "; ".join(f"{one} on {', '.join(members)}" for one, members in states.items())
            differ.append(f"warn  members differ on {called}: {words}")
        for member in alive:
            if member not in by_member:
                lacking.setdefault(member, []).append(called)
    differ += [
        f"warn  {member} lacks {some(called)}, which others have. An alert that has just begun may be on its way"
        for member, called in lacking.items()
    ]
    if shown:
        count = "1 alert fires" if len(shown) == 1 else f"{len(shown)} alerts fire"
        lines += [f"{count} (asked: {', '.join(alive)}; times in {how.name})", *aligned(rows)]
    else:
        lines += [
            f"no such alert fires (asked: {', '.join(alive)})"
            if names
            else f"no alert fires (asked: {', '.join(alive)})"
        ]
    return [*lines, *differ, *(_silences(alive, how) if silences else [])]


def _silences(alive: Mapping[str, Seen], how: Clock) -> list[str]:
    found = {id: one for seen in alive.values() for id, one in seen.silences.items() if one.state != "expired"}
    if not found:
        return ["no silence is active or pending"]
    rows, lacking = [("silence", "until", "by", "mutes", "why")], []
    for one in sorted(found.values(), key=lambda silence: silence.ends or 0.0):
        until = how.at(one.ends) + (f" (from {how.at(one.starts)})" if one.state == "pending" else "")
        rows.append((one.id, until, printable(one.by), printable(as_text(one.conditions)), printable(one.comment)))
        without = [name for name, seen in alive.items() if not has_silence(seen, one.id)]
        if without:
            lacking.append(f"warn  {', '.join(without)} lacks the silence {short(one.id)}, which others have")
    return ["", *aligned(rows), *lacking]


def has_silence(seen: Seen, id: str) -> bool:
    return id in seen.silences and seen.silences[id].state != "expired"
