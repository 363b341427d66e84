"""A test alert, from its labels to the words of who took it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.engine.role import Gate, Progress
from prometheus_ha.deploys.lib.ground import routing
from prometheus_ha.deploys.lib.ground.durations import go_seconds, seconds
from prometheus_ha.deploys.lib.ground.findings import nearest, printable
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.ground.routing import Labels
from prometheus_ha.deploys.lib.roles.alertmanager.configuration import TEST_ALERT, TEST_RECEIVER
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey.alerting.seen import (
    Fired,
    Message,
    Seen,
    change,
    living,
    questions,
    read,
    read_change,
    rfc3339,
)
from prometheus_ha.deploys.lib.survey.alerting.table import state
from prometheus_ha.deploys.lib.survey.alerting.wanted import Refused, as_text, clock, matchers
from prometheus_ha.facts.http import Call

Data = dict[str, Any]
T = TypeVar("T")


TEST_ID = "test_id"
"""The label that tells one test from another."""
SLACK = 30.0
"""Seconds that a notification may be late, beyond what the settings make it wait."""
_SILENT = f"its journal does not say why (journalctl -u {daemons.ALERTMANAGER.unit})"
SPARE = 120.0
"""Seconds after which the alert ends by itself, should nobody be left to end it."""


@dataclass(frozen=True)
class Way:
    """A route that takes an alert, with what it has of those above it."""

    receiver: str
    wait: float
    interval: float
    group_by: tuple[str, ...] = ()
    intervals: tuple[str, ...] = ()

    @property
    def own_group(self) -> bool:
        """Whether a test is a group of its own there."""
        return bool({"...", TEST_ID} & set(self.group_by))


def ways(route: Data, labels: Labels, above: Way = Way("", 30.0, 300.0)) -> list[Way]:
    """The routes that take an alert with these labels. ValueError where a matcher or a duration is none."""
    here = Way(
        str(route.get("receiver") or above.receiver),
        seconds(route["group_wait"]) if route.get("group_wait") else above.wait,
        seconds(route["group_interval"]) if route.get("group_interval") else above.interval,
        tuple(route["group_by"]) if route.get("group_by") is not None else above.group_by,
        tuple(name for key in ("mute_time_intervals", "active_time_intervals") for name in route.get(key) or ()),
    )
    found: list[Way] = []
    for one in routing.below(route):
        if all(condition.takes(labels) for condition in routing.matchers(one)):
            found += ways(dict(one), labels, here)
            if not one.get("continue"):
                break
    return found or [here]


def labels_of_test(send: str, receivers: Sequence[str], id: str) -> tuple[dict[str, str], str]:
    """The labels of the test alert, and the receiver that it names; empty where it goes by its labels."""
    if send in receivers:
        return {"alertname": TEST_ALERT, TEST_RECEIVER: send, TEST_ID: id}, send
    if "=" in send:
        found = matchers(send, "send")
        if wrong := [one for one in found if one.operator != "=" or not one.value]:
            raise Refused(f"send: found {as_text(wrong)}; expected: labels with a value, as severity=critical,team=db")
        return {"alertname": TEST_ALERT} | {one.label: one.value for one in found} | {TEST_ID: id}, ""
    near = nearest(send, receivers)
    raise Refused(
        f"send: found {send!r}; expected: a receiver ({', '.join(receivers)}), or labels as severity=critical,team=db"
        + (f". {near} is the nearest receiver" if near else "")
    )


@dataclass(frozen=True)
class Result:
    """How the test went at one receiver."""

    receiver: str
    kind: str
    text: str
    ok: bool = False
    final: bool = True
    """Nothing will change that any more."""

    def __str__(self) -> str:
        return f"{self.receiver} ({self.kind}): {self.text}" if self.kind else f"{self.receiver}: {self.text}"


class Trial:
    """A test alert on its way, as all hosts of the run see it. `seen` is what the members said before."""

    def __init__(self, site: Site, seen: Mapping[str, Seen], send: str, who: str):
        self.site, self.who, self.id = site, who, secrets.token_hex(4)
        self.before = living(seen)
        self.after: dict[str, Seen] = {}
        self.posted: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        self.arrived: dict[str, float] = {}
        """Receiver -> when it was first seen to have it; seconds of this machine."""
        self.receivers = list(dict.fromkeys(name for one in self.before.values() for name in one.receivers))
        self.labels, self.receiver = labels_of_test(send, self.receivers, self.id)
        self.settings = site.running(daemons.ALERTMANAGER)[0].settings
        self.started, self.began = min(one.clock for one in self.before.values()), time.monotonic()
        self.ways = self._ways()
        self.patience = self._patience()

    def _ways(self) -> list[Way]:
        try:
            return ways(next(iter(self.before.values())).route, self.labels)
        except ValueError:  # Alertmanager reads it, and we do not
            return [Way("", 30.0, 300.0)]

    def _patience(self) -> float:
        members = self.site.running(daemons.ALERTMANAGER)
        step = self.settings.alertmanager_flags.get("cluster.peer-timeout", self.settings.timing.peer_timeout)
        # One that is not a group of its own may join a group that stands since a test before, and waits as that one.
        group = max(way.wait if way.own_group else max(way.wait, way.interval) for way in self.ways)
        return group + (len(members) - 1) * go_seconds(str(step)) + SLACK

    # Scripts

    def post(self, member: Member, over: bool = False) -> str:
        """The alert for the Alertmanager of a host; where it is `over`, its end."""
        now = self.started + time.monotonic() - self.began
        ends = max(self.started, now - 1) if over else self.started + self.patience + SPARE
        to = f"the receiver {self.receiver}" if self.receiver else "whoever is told of alerts with these labels"
        body = {
            "labels": self.labels,
            "annotations": {
                "summary": "This is a test of the alerting. Nothing is to be done.",
                "description": f"{self.who} tries whether alerts reach {to}. It ends by itself at {rfc3339(ends)}.",
            },
            "startsAt": rfc3339(self.started),
            "endsAt": rfc3339(ends),
        }
        return change(self.site, member, Call("post", "/api/v2/alerts"), [body])

    def took(self, host: str, lines: list[str]) -> None:
        """What came of `post` on a host."""
        when, answer = read_change(lines, "post")
        if answer.ok:
            self.posted = self._in_order({**self.posted, host: when})
        else:
            self.refused[host] = answer.problem

    def _in_order(self, said: dict[str, T]) -> dict[str, T]:
        return {name: said[name] for name in self.before if name in said}

    def gate(self, member: Member) -> Gate:
        """To be followed on the host of a member: it opens once the test is over everywhere."""

        def judge(lines: list[str]) -> Progress:
            seen = read(lines)
            if seen.ok:
                self.after = self._in_order({**self.after, member.name: seen})
            left = [one for one in self.results() if not one.final]
            says = "; ".join(map(str, left)) or "not on all Alertmanagers yet"
            return Progress(self.done, says)

        return Gate(questions(self.site, member), judge, self.patience)

    # What came of it

    @property
    def done(self) -> bool:
        """Whether all is known that will be."""
        whole = {*self.posted, *self.refused} == set(self.before) and set(self.posted) <= set(self.after)
        results = self.results()
        return whole and (not self.posted or bool(results) and all(one.final for one in results))

    def _found(self) -> dict[str, Fired]:
        """The test alert on the members that have it."""
        return {
            name: alert
            for name, seen in self.after.items()
            for alert in seen.alerts.values()
            if alert.labels.get(TEST_ID) == self.id
        }

    def results(self) -> list[Result]:
        """How it went at each receiver, as far as it is known."""
        found = self._found()
        if not found:
            return []
        told = list(dict.fromkeys(name for one in found.values() for name in one.receivers))
        told = told or list(dict.fromkeys(way.receiver for way in self.ways))
        if all(one.state == "suppressed" for one in found.values()):
            return [Result(name, self._kind(name), f"not told: {self._muted(found)}") for name in told]
        results = [self._channel(name, found) if self._is_channel(name) else self._counted(name) for name in told]
        if self.receiver and self.receiver not in told:
            why = (
                f"not told: the running configuration sends its test to {', '.join(told)}. It lacks the route of "
                "tests: run deploys/alertmanager.py, then try again"
            )
            results.insert(0, Result(self.receiver, self._kind(self.receiver), why))
        return results

    def _muted(self, found: Mapping[str, Fired]) -> str:
        member, alert = next(iter(found.items()))
        seen = self.after[member]
        words = [f"the test alert is {state(alert, seen.alerts)}"]
        words += [f"{one.by}: {one.comment}" for id in alert.silenced if (one := seen.silences.get(id))]
        return printable(", ".join(words))

    def _is_channel(self, receiver: str) -> bool:
        return receiver in self.settings.alert_channels

    def _integrations(self, receiver: str) -> dict[str, int]:
        """What it is told by, as metrics name it, and how many of that."""
        one = next((seen.receivers[receiver] for seen in self.before.values() if receiver in seen.receivers), {})
        return {key.removesuffix("_configs"): len(v or ()) for key, v in one.items() if key.endswith("_configs") and v}

    def _kind(self, receiver: str) -> str:
        if self._is_channel(receiver):
            return self.settings.alert_channels[receiver].type
        return ", ".join(self._integrations(receiver))

    def _channel(self, receiver: str, found: Mapping[str, Fired]) -> Result:
        """By the relays, which know of each message what the bot said to it."""
        fingerprint, kind = next(iter(found.values())).fingerprint, self._kind(receiver)
        said: dict[str, list[Message]] = {}
        for name, seen in self.after.items():
            messages = seen.relay[receiver].last if receiver in seen.relay else ()
            if mine := [one for one in messages if fingerprint in one.alerts]:
                said[name] = sorted(mine, key=lambda one: one.time)
        sent = [(one.time, name) for name, messages in said.items() for one in messages if one.result == "sent"]
        if sent:
            when, name = min(sent)
            took = max(0.0, when - self.posted.get(name, self.started))
            return Result(receiver, kind, f"delivered by {name} after {took:.1f} s", ok=True)
        last = {name: messages[-1] for name, messages in said.items()}
        refused = {name: one for name, one in last.items() if one.result == "refused"}
        silent = {name: seen.relay_problem for name, seen in self.after.items() if seen.relay_problem}
        if refused:
            final = set(refused) | set(silent) >= set(self.posted)
            text = _by_words({name: one.says for name, one in refused.items()})
            return Result(receiver, kind, f"refused by the bot: {text}", final=final)
        if last:
            text = _by_words({name: one.says for name, one in last.items()})
            return Result(
                receiver,
                kind,
                f"not delivered yet, its relay goes on trying: {text}{self._blocked(receiver)}",
                final=False,
            )
        if silent:
            text = _by_words(silent)
            final = set(silent) >= set(self.posted)
            return Result(receiver, kind, f"not known: its relay does not answer: {text}", final=final)
        return Result(receiver, kind, f"not told yet: nothing came to its relay{self._blocked(receiver)}", final=False)

    def _blocked(self, receiver: str) -> str:
        until = [one.relay[receiver].blocked_until or 0.0 for one in self.after.values() if receiver in one.relay]
        if not until or max(until) <= max(one.clock for one in self.after.values()):
            return ""
        return f"; the bot takes nothing until {clock(self.settings).at(max(until))}"

    def _counted(self, receiver: str) -> Result:
        """By what the members count, which may have other alerts of that receiver among it."""
        integrations, kind = self._integrations(receiver), self._kind(receiver)
        if not integrations:
            return Result(receiver, "", "nobody is told: it has no integration", ok=not self.receiver)
        sent: dict[str, int] = {}
        by: dict[str, None] = {}
        gave_up: dict[str, None] = {}
        trying: dict[str, None] = {}
        for name, after in self.after.items():
            for integration in integrations:
                tried, failed = self._since(name, after, receiver, integration)
                sent[integration] = sent.get(integration, 0) + tried - failed
                if tried > failed:
                    by[name] = None
                if failed:
                    (gave_up if self._failed(name, after, receiver, integration) else trying)[name] = None
        said = {name: words for name in self.after if (words := self._journal(name, receiver))}
        # Below 0.27 another receiver's may be counted: then what the journals have of this one is nearer to the truth.
        mixed = self._mixed(receiver)
        counted = not (mixed and said and not self._named)
        if counted and all(sent.get(one, 0) >= count for one, count in integrations.items()):
            took = self.arrived.setdefault(receiver, time.monotonic()) - self.began
            text = f"delivered by {', '.join(by)} after about {took:.0f} s{mixed}"
            return Result(receiver, kind, text, ok=True)
        if not counted:
            return Result(receiver, kind, f"failed, at least at first: {_by_words(said)}", final=False)
        if gave_up:
            text = _by_words({name: said.get(name, _SILENT) for name in gave_up})
            return Result(receiver, kind, f"failed: {text}", final=set(gave_up) >= set(self.posted))
        if trying:
            text = _by_words({name: said.get(name, _SILENT) for name in trying})
            return Result(receiver, kind, f"not delivered yet, Alertmanager goes on trying: {text}", final=False)
        return Result(receiver, kind, "not told yet", final=False)

    def _since(self, name: str, after: Seen, receiver: str, integration: str) -> tuple[int, int]:
        """Tries since the test began, and those that failed."""
        key = (receiver, integration)
        if not any(named for named, _ in after.requests):
            key = ("", integration)  # below 0.27
        now, then = after.requests.get(key, (0, 0)), self.before[name].requests.get(key, (0, 0))
        # A reload begins anew.
        return (now[0] - then[0], now[1] - then[1]) if now[0] >= then[0] else now

    def _failed(self, name: str, after: Seen, receiver: str, integration: str) -> bool:
        """Whether a notification was given up since the test began."""

        def count(seen: Seen) -> int:
            return sum(
                s.failed for s in seen.report.sent if s.receiver in (receiver, "") and s.integration == integration
            )

        return count(after) > count(self.before[name])

    def _journal(self, name: str, receiver: str) -> str:
        """What a member's journal has of this receiver since the test began."""
        since = self.posted.get(name, self.started) - 1
        said = [one.says for one in self.after[name].failures if one.receiver == receiver and one.time >= since]
        return said[-1] if said else ""

    @property
    def _named(self) -> bool:
        """Whether the members count by receiver."""
        return any(name for seen in self.after.values() for name, _ in seen.requests)

    def _mixed(self, receiver: str) -> str:
        others = {
            alert.name
            for seen in self.after.values()
            for alert in seen.alerts.values()
            if alert.labels.get(TEST_ID) != self.id and alert.state != "suppressed"
            if not self._named or receiver in alert.receivers
        }
        if not others:
            return ""
        return printable(f" (as it was counted: one of {some(sorted(others))} would be counted too)")

    def lines(self) -> tuple[list[str], bool]:
        """What is printed of it, and whether each receiver took it."""
        lines = ["", *(f"warn  {name} did not take the test alert: {why}" for name, why in self.refused.items())]
        results = self.results()
        for one in results:
            late = "" if one.final or one.ok else f". {self.patience:.0f} s were waited{self._intervals(one.receiver)}"
            lines.append(f"{'' if one.ok else 'fail  '}{one}{late}")
        if not results:
            where = ", ".join(self.posted) or "no Alertmanager"
            lines.append(f"fail  the test alert was taken by {where}, and is shown by none after {self.patience:.0f} s")
        return lines, bool(results) and all(one.ok for one in results)

    def _intervals(self, receiver: str) -> str:
        names = [name for way in self.ways if way.receiver == receiver for name in way.intervals]
        return f"; its route has time intervals, which may mute it now: {', '.join(names)}" if names else ""


def _by_words(said: Mapping[str, str]) -> str:
    """`WORDS (am-1, am-2)`: the same words once."""
    alike: dict[str, list[str]] = {}
    for name, words in said.items():
        alike.setdefault(printable(words), []).append(name)
    return "; ".join(f"{words} ({', '.join(names)})" for words, names in alike.items())
