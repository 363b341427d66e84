"""What a member is asked, what it answers, and how something is changed there."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import failed_notifications
from prometheus_ha.deploys.lib.common.failed_notifications import Failure
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_EVENTS, EVENTS_SINCE
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import printable
from prometheus_ha.deploys.lib.ground.routing import Matcher
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey.alerting.events import Event, events_script, read_events
from prometheus_ha.deploys.lib.survey.checks import sectioned
from prometheus_ha.facts import guarded, http
from prometheus_ha.facts.http import NO_ANSWER, Answer, Call, metrics, only_metrics, split
from prometheus_ha.facts.reports import alertmanager
from prometheus_ha.facts.reports.look import sections
from prometheus_ha.facts.reports.prometheus import unix_time

Data = dict[str, Any]


_TRIED, _FAILED = "alertmanager_notification_requests_total", "alertmanager_notification_requests_failed_total"
CALLS = (
    *alertmanager.CALLS,
    Call("silences", "/api/v2/silences"),
    # Each try, once its answer is there. Notifications themselves are counted when they begin.
    Call("requests", "/metrics", only_metrics(_TRIED, _FAILED)),
)


@dataclass(frozen=True)
class Fired:
    """An alert as one member has it."""

    fingerprint: str
    labels: dict[str, str]
    starts: float | None
    state: str
    """active, suppressed or unprocessed."""
    silenced: tuple[str, ...] = ()
    inhibited: tuple[str, ...] = ()
    """Fingerprints."""
    muted: tuple[str, ...] = ()
    """Time intervals."""
    receivers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.labels.get("alertname", "(no name)")


@dataclass(frozen=True)
class Silence:
    """A silence as one member has it."""

    id: str
    conditions: tuple[Matcher, ...]
    state: str
    """active, pending or expired."""
    starts: float | None
    ends: float | None
    by: str
    comment: str


@dataclass(frozen=True)
class Message:
    """What a bot said to a message of the relay's."""

    time: float
    result: str
    """sent, retry or refused."""
    says: str
    alerts: frozenset[str]


@dataclass(frozen=True)
class Channel:
    """A channel as the relay of one host has it."""

    blocked_until: float | None
    last: tuple[Message, ...]


@dataclass(frozen=True)
class Seen:
    """What a member answered. Where it has a `problem`, nothing else is known of it."""

    problem: str = ""
    report: alertmanager.Report = field(default_factory=lambda: alertmanager.Report(ready=False))
    clock: float = 0.0
    alerts: Mapping[str, Fired] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    requests: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """(Receiver, integration) -> tries, and those that failed; the receiver is empty where it is not said."""
    relay: Mapping[str, Channel] = field(default_factory=dict)
    relay_problem: str = ""
    failures: tuple[Failure, ...] = ()
    events: tuple[Event, ...] = ()
    events_since: float | None = None
    """Time of its oldest record; None where it has none."""

    @property
    def ok(self) -> bool:
        return not self.problem

    @property
    def route(self) -> Data:
        return self.report.config.get("route") or {}

    @property
    def receivers(self) -> dict[str, Data]:
        """Its receivers with their integrations, by name."""
        return {str(one.get("name")): one for one in self.report.config.get("receivers") or []}

    @property
    def records(self) -> bool:
        """Whether its release writes down what becomes of alerts."""
        return bool(self.report.version) and releases.at_least(self.report.version or "", EVENTS_SINCE)


def questions(site: Site, member: Member, why: Sequence[Matcher] = ()) -> str:
    """The script that asks the Alertmanager of a host, its relay, its journal; and what became of the alert `why`."""
    own = member.own(daemons.ALERTMANAGER)
    scripts = {"clock": _NOW, "answers": script(site, member, daemons.ALERTMANAGER, CALLS)}
    if member.settings.alert_channels:
        # Where it takes notifications, it answers its own host alone, without a password.
        url = f"http://{topology.join('127.0.0.1', member.settings.alert_relay_webhook_port)}"
        scripts["relay"] = http.script(url, [Call("relay", "/status")])
    if member.settings.send:
        scripts["journal"] = failed_notifications.script(own.unit, 1000)
    if why:
        scripts["journal"] = failed_notifications.script(own.unit, 20000)
        scripts["events"] = events_script(why, own.at(ALERTMANAGER_EVENTS))
    return sectioned(scripts)


_NOW = "date +%s.%N"


def read(lines: list[str]) -> Seen:
    """The answers to `questions`. Text of another kind is a problem of that member."""
    try:
        return _read(lines) if lines else Seen("its host did not answer in full")
    except FactProcessError as error:
        return Seen(printable(str(error))[:300])


@guarded
def _read(lines: list[str]) -> Seen:
    parts = sections(lines)
    answers = split(parts["answers"])
    report = alertmanager.parse(parts["answers"])
    asked = ("status", "alerts", "silences")
    problems = [one.problem for name in asked if not (one := answers.get(name, NO_ANSWER)).ok]
    if not report.ready or problems:
        return Seen(report.errors.get("ready") or problems[0], report)
    relay, relay_problem = _read_relay(parts["relay"]) if "relay" in parts else ({}, "")
    since, events = read_events(parts.get("events", []))
    return Seen(
        report=report,
        clock=_moment(parts["clock"]),
        alerts={one.fingerprint: one for one in map(_fired, answers["alerts"].json())},
        silences={one.id: one for one in map(_silence, answers["silences"].json())},
        requests=_requests(answers.get("requests", NO_ANSWER)),
        relay=relay,
        relay_problem=relay_problem,
        failures=tuple(failed_notifications.read(parts.get("journal", []))),
        events=events,
        events_since=since,
    )


def _moment(lines: list[str]) -> float:
    """What `date` printed; whole seconds where it knows no others (%N)."""
    return float(re.sub(r"[^\d.]", "", lines[0])) if lines else time.time()


def _fired(alert: Data) -> Fired:
    status = alert["status"]
    return Fired(
        alert["fingerprint"],
        alert["labels"],
        unix_time(alert.get("startsAt")),
        status["state"],
        tuple(status.get("silencedBy") or ()),
        tuple(status.get("inhibitedBy") or ()),
        tuple(status.get("mutedBy") or ()),
        tuple(one["name"] for one in alert.get("receivers") or []),
    )


def _silence(silence: Data) -> Silence:
    signs = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
    return Silence(
        silence["id"],
        tuple(
            Matcher(one["name"], signs[bool(one["isRegex"]), one.get("isEqual") is not False], one["value"])
            for one in silence["matchers"]
        ),
        silence["status"]["state"],
        unix_time(silence.get("startsAt")),
        unix_time(silence.get("endsAt")),
        silence.get("createdBy") or "",
        silence.get("comment") or "",
    )


def _requests(answer: Answer) -> dict[tuple[str, str], tuple[int, int]]:
    """How often each integration of each receiver was tried, and how often that failed."""
    page = metrics(answer.body if answer.ok else "")
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for sample in page:
        if sample.name == _TRIED:
            key = sample.labels.get("receiver_name", ""), sample.labels.get("integration", "")
            tried, failed = found.get(key, (0, 0))
            same = (one for one in page if one.name == _FAILED and one.labels == sample.labels)
            found[key] = tried + int(sample.value), failed + sum(int(one.value) for one in same)
    return found


def _read_relay(lines: list[str]) -> tuple[dict[str, Channel], str]:
    answer = split(lines).get("relay", NO_ANSWER)
    if not answer.ok:
        return {}, answer.problem
    return {
        name: Channel(
            one.get("blocked_until"),
            tuple(
                Message(
                    float(said["time"]),
                    said["result"],
                    _said(said.get("code"), said.get("says")),
                    frozenset(said.get("alerts") or ()),
                )
                for said in one.get("last") or []
            ),
        )
        for name, one in answer.json()["channels"].items()
    }, ""


def _said(code: Any, says: Any) -> str:
    """A code of the vendor's is a number. What the relay says itself has a word for it."""
    parts = [str(part) for part in (code, says) if part not in (None, "", 0)]
    return (": " if isinstance(code, str) else " ").join(parts)


def down(seen: Mapping[str, Seen]) -> list[str]:
    """A line for each member that did not answer."""
    return [f"warn  {name} does not answer: {one.problem}" for name, one in seen.items() if not one.ok]


def living(seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """The members that answered."""
    return {name: one for name, one in seen.items() if one.ok}


def rfc3339(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")


def change(site: Site, member: Member, call: Call, body: Any = None) -> str:
    """What changes something at an Alertmanager; preceded by the time of its host."""
    options: tuple[str, ...] = ("-X", "DELETE")
    if body is not None:
        options = ("-H", "Content-Type: application/json", "-d", json.dumps(body))
    asked = script(site, member, daemons.ALERTMANAGER, [call], options)
    return sectioned({"clock": _NOW, "answer": asked})


def read_change(lines: list[str], name: str) -> tuple[float, Answer]:
    """When it was asked for, and what was answered."""
    try:
        parts = sections(lines)
        return _moment(parts["clock"]), split(parts["answer"]).get(name, NO_ANSWER)
    except (FactProcessError, KeyError, ValueError):
        return 0.0, Answer(0, "", "its host did not answer in full")
