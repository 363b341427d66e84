"""What became of an alert: who was told of it, when, and why others were not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_EVENTS, EVENTS_SINCE
from prometheus_ha.deploys.lib.ground.findings import printable
from prometheus_ha.deploys.lib.ground.results import aligned, some
from prometheus_ha.deploys.lib.ground.routing import Labels, Matcher
from prometheus_ha.deploys.lib.survey.alerting.events import Event, alert_of, fingerprint_of
from prometheus_ha.deploys.lib.survey.alerting.seen import Fired, Seen, living
from prometheus_ha.deploys.lib.survey.alerting.table import describe, table
from prometheus_ha.deploys.lib.survey.alerting.trial import ways
from prometheus_ha.deploys.lib.survey.alerting.wanted import Clock, as_text, takes
from prometheus_ha.facts.reports.prometheus import unix_time


@dataclass
class Entry:
    """A line of a history: what happened, as one or several members have it."""

    time: float
    text: str
    members: list[str]
    last: float
    times: int = 1


@dataclass
class History:
    """What became of one alert."""

    fingerprint: str
    labels: dict[str, str]
    entries: list[Entry] = field(default_factory=list)
    told: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    """Receiver -> when and by whom it was told."""
    failed: dict[str, list[str]] = field(default_factory=dict)
    """Receiver -> how that went wrong."""
    grouped: dict[str, None] = field(default_factory=dict)
    """The receivers to which it goes."""
    muted: str = ""
    """What kept it from being told last."""


_REASONS = {
    "FIRST_NOTIFICATION": "first notification of its group",
    "NEW_ALERTS_IN_GROUP": "new alerts in its group",
    "NEW_RESOLVED_ALERTS": "some of its group are over",
    "ALL_ALERTS_RESOLVED": "all of its group is over",
    "REPEAT_INTERVAL_ELAPSED": "repeated: it still fires",
}
_TOLD = ("firingAlerts", "resolvedAlerts")
"""What a notification has alerts in."""
_SAME_MOMENT = 60.0
"""Seconds within which members get the same alert."""
_AFTER = 900.0
"""Seconds after the last record in which a failure may still belong to an alert."""


def histories(seen: Mapping[str, Seen], conditions: Sequence[Matcher], how: Clock) -> list[History]:
    """The alerts that meet the conditions, each with its records of all members in the order of time; the one that
    something happened to last comes first."""
    events = sorted(
        ((event.time, name, event) for name, one in living(seen).items() for event in one.events),
        key=lambda item: item[:2],
    )
    names = {f: describe_labels(labels) for _, _, event in events for f, labels in [alert_of(event)] if f}
    names |= {f: describe_labels(one.labels) for member in living(seen).values() for f, one in member.alerts.items()}
    found: dict[str, History] = {}
    for _, _, event in events:
        fingerprint, labels = alert_of(event)
        if fingerprint and labels and all(takes(one, labels) for one in conditions):
            found.setdefault(fingerprint, History(fingerprint, labels))
    own: dict[str, list[tuple[float, str, Event]]] = {}
    for item in events:
        for fingerprint in _about(item[2]):
            own.setdefault(fingerprint, []).append(item)
    for history in found.values():
        _fill(history, own[history.fingerprint], seen, names, how)
    return sorted(found.values(), key=lambda history: -history.entries[-1].last)


def _about(event: Event) -> set[str]:
    """The fingerprints of the alerts that a record is about."""
    if event.kind != "notification":
        return {alert_of(event)[0]}
    return {fingerprint_of(one["fingerprint"]) for key in _TOLD for one in event.data.get(key) or []}


def describe_labels(labels: Labels) -> str:
    """An alert by its name and all its labels."""
    alert = Fired("", dict(labels), None, "")
    severity = f"severity={labels['severity']}" if labels.get("severity") else ""
    return printable(" ".join(filter(None, (alert.name, severity, describe(alert)))))


def _fill(
    history: History,
    events: list[tuple[float, str, Event]],
    seen: Mapping[str, Seen],
    names: Mapping[str, str],
    how: Clock,
) -> None:
    """`events` are those about this alert."""
    told: list[tuple[float, str, str, str]] = []
    groups: set[str] = set()
    first = last = None
    for when, member, event in events:
        if event.kind == "notification":
            says = _notified(history, event, when, member)
            if says:
                told.append((when, member, "notification", says))
                last = when
            continue
        info = event.data.get("groupInfo") or {}
        receiver = info.get("receiverName", "")
        if event.kind == "alertGrouped":
            history.grouped[receiver] = None
            groups.add(info.get("groupKey", ""))
        text = _words(event, receiver, names, how)
        if text:
            told.append((when, member, event.kind, text))
            first, last = when if first is None else first, when
    if first is not None and last is not None:
        for member, one in living(seen).items():
            for failure in one.failures:
                ours = failure.group in groups if failure.group else failure.receiver in history.grouped
                if ours and first - 1 <= failure.time <= last + _AFTER:
                    history.failed.setdefault(failure.receiver, []).append(failure.says)
                    words = f"{failure.receiver} ({failure.integration}) was not told: {failure.says}"
                    told.append((failure.time, member, "failure", words))
    _join(history, sorted(told))


def _notified(history: History, event: Event, when: float, member: str) -> str:
    """What a notification says of this alert; empty where it is not in it."""

    def has(key: str) -> bool:
        return any(fingerprint_of(one["fingerprint"]) == history.fingerprint for one in event.data.get(key) or [])

    fires, over = _TOLD
    what = "fires" if has(fires) else "is over" if has(over) else ""
    if not what:
        return ""
    receiver = (event.data.get("groupInfo") or {}).get("receiverName", "")
    history.told.setdefault(receiver, []).append((when, member))
    integration = event.data.get("integration") or {}
    number = f" {int(integration['index']) + 1}" if integration.get("index") else ""
    reason = str(event.data.get("reason", "")).removeprefix("NOTIFY_REASON_")
    why = f": {_REASONS[reason]}" if reason in _REASONS else ""
    return f"{receiver} ({integration.get('name', '?')}{number}) was told that it {what}{why}"


def _words(event: Event, receiver: str, names: Mapping[str, str], how: Clock) -> str:
    if event.kind == "alertCreated":
        return "it fires"
    if event.kind == "alertGrouped":
        return f"it goes to {receiver}"
    if event.kind == "alertResolved":
        return f"it is over for {receiver}"
    if event.kind == "silenceMutedAlert":
        one = event.data.get("silence") or {}
        until = how.at(unix_time(one.get("endsAt")))
        why = f"{one.get('createdBy', '?')}: {one.get('comment', '')}"
        return f"muted by the silence {one.get('id', '?')} until {until} ({why})"
    if event.kind == "inhibitionMutedAlert":
        by = [names.get(f, f) for f in map(fingerprint_of, event.data.get("inhibitingFingerprints") or [])]
        rules = [one["name"] for one in event.data.get("inhibitRules") or [] if one.get("name")]
        return f"muted, as {some(by)} fires" + (f" (rule {', '.join(rules)})" if rules else "")
    return ""


def _join(history: History, told: list[tuple[float, str, str, str]]) -> None:
    """Make one entry of what several members have of the same thing, or one member again and again."""
    open_: dict[str, Entry] = {}
    for when, member, kind, text in told:
        same = open_.get(text)
        moment = kind in ("alertCreated", "alertResolved")
        if same and kind != "notification" and (not moment or when - same.last <= _SAME_MOMENT):
            same.times += 1
            same.last = when
            if member not in same.members:
                same.members.append(member)
            continue
        if kind == "alertCreated":
            open_.clear()
        if kind == "notification":
            history.muted = ""
            open_ = {words: entry for words, entry in open_.items() if not words.startswith("muted")}
        if kind.endswith("MutedAlert"):
            history.muted = text
        open_[text] = Entry(when, text, [member], when)
        history.entries.append(open_[text])


MOST_ALERTS, MOST_ENTRIES = 5, 40


def story(seen: Mapping[str, Seen], conditions: Sequence[Matcher], how: Clock) -> list[str]:
    """Who was told of the alerts that meet the conditions, when, and why others were not: as lines."""
    alive = living(seen)
    lines = table(seen, how, lambda alert: all(takes(one, alert.labels) for one in conditions), silences=False)
    without = [name for name, one in alive.items() if not one.records]
    if without:
        versions = ", ".join(f"{name}: {alive[name].report.version or '?'}" for name in without)
        lines.append(
            f"warn  Alertmanager has no event recorder below {EVENTS_SINCE} ({versions}): above is what it knows now. "
            "Nothing is written down of what was"
        )
    empty = [name for name, one in alive.items() if one.records and one.events_since is None]
    if empty:
        lines.append(
            f"warn  no records on {', '.join(empty)}; expected: {ALERTMANAGER_EVENTS}. Run "
            "deploys/alertmanager.py; an event_recorder of your own in alertmanager.yml takes its place"
        )
    since = {name: one.events_since for name, one in alive.items() if one.events_since is not None}
    if not since:
        return lines
    found = histories(seen, conditions, how)
    began = ", ".join(f"{name} since {how.at(when)}" for name, when in since.items())
    if not found:
        lines.append(f"no record of an alert with {printable(as_text(conditions))}. Records: {began}")
    for history in found[:MOST_ALERTS]:
        lines += ["", *_told(history, alive, how)]
    if len(found) > MOST_ALERTS:
        lines += ["", f"and {len(found) - MOST_ALERTS} more alerts. More labels in why leave fewer. {_sums(found)}"]
    return lines if not found else [*lines, "", f"records: {began}; times in {how.name}"]


def _sums(found: Sequence[History]) -> str:
    """What became of alerts, in numbers."""
    became = Counter(
        "told" if one.told else "not told, as it failed" if one.failed else "muted" if one.muted else "not told yet"
        for one in found
    )
    return f"All {len(found)}: {', '.join(f'{number} {what}' for what, number in became.most_common())}"


def _told(history: History, alive: Mapping[str, Seen], how: Clock) -> list[str]:
    """One alert: at first who was told and who was not, then what happened."""
    lines = [f"{describe_labels(history.labels)} ({history.fingerprint})"]
    for receiver in dict.fromkeys([*history.grouped, *history.told, *history.failed]):
        moments, failed = history.told.get(receiver), history.failed.get(receiver, [])
        if moments:
            times = "once" if len(moments) == 1 else f"{len(moments)} times, last"
            text = f"told {times} at {how.at(moments[-1][0])} by {moments[-1][1]}"
            text += f"; {_tries(failed)}" if failed else ""
        elif failed:
            text = f"not told, {_tries(failed)}"
        elif history.muted:
            text = f"not told: {history.muted}"
        else:
            text = "not told, and no reason is recorded: too early (group_wait), a time interval, or an older record"
        lines.append(printable(f"  {receiver}: {text}"))
    if others := _no_way(history, alive):
        lines.append(printable(f"  {', '.join(others)}: not told: no route takes it there, as the routes are now"))
    entries = history.entries[-MOST_ENTRIES:]
    if len(entries) < len(history.entries):
        lines.append(f"  ({len(history.entries) - len(entries)} older lines are left out)")
    rows = []
    for entry in entries:
        again = (
            f" ({entry.times} times, last at {how.at(entry.last)})"
            if entry.times > 1 and "not told" in entry.text
            else ""
        )
        rows.append((f"  {how.at(entry.time)}", ", ".join(sorted(entry.members)), printable(entry.text + again)))
    return [*lines, *(aligned(rows) if rows else [])]


def _tries(failed: Sequence[str]) -> str:
    return f"{len(failed)} {'try' if len(failed) == 1 else 'tries'} failed, last: {failed[-1]}"


def _no_way(history: History, alive: Mapping[str, Seen]) -> list[str]:
    """The receivers to which no route takes such an alert now."""
    if not alive:
        return []
    one = next(iter(alive.values()))
    try:
        taken = {way.receiver for way in ways(one.route, history.labels)}
    except ValueError:
        return []
    return [name for name in one.receivers if name not in {*taken, *history.grouped, *history.told}]
