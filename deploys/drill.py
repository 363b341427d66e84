"""The two active steps of spec/000 11, on any site, put back as it was whatever happens.

    pyinfra -y inventory.py deploys/drill.py                     asks before it begins
    pyinfra -y inventory.py deploys/drill.py --data yes=true     does not

1. A test alert goes to every Alertmanager, as a Prometheus would send it. Each must show it once,
   and all together must make one notification. Then it is resolved.
2. One Prometheus is stopped, of a cluster in which another replica does its job. Every query through
   every querier must succeed, with a warning in the answer; then it is started again, and the
   answers must be whole again.

The alert comes first: the outage raises alerts of its own, which would be counted with it.

Notifications are counted by `alertmanager_notifications_total`, added up over the Alertmanagers.
That counter has no label for the alert. Where Alertmanager runs with
`--enable-feature=receiver-name-in-metrics` (0.27 and newer) it has one for the receiver, and the
count is exact unless another alert of the same receiver is active meanwhile. Where it is not
(0.26, or the Watchdog at the same receiver) the drill says so, and takes one notification or more
for its answer: only the receiver itself can tell then that there was one.

Everything is asked from the Prometheus host: it reaches all Alertmanagers and queriers anyway, as
it notifies the ones and scrapes the others. Should the run be cut off while Prometheus is stopped,
a timer on its host starts it again.
"""

from __future__ import annotations

import json
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import click
from pyinfra import host, state
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import promql
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.ground.durations import go_seconds, seconds
from prometheus_ha.deploys.lib.roles import prometheus as prometheus_role
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.run.rollout import Gate, Progress
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey import checks, notifications
from prometheus_ha.facts.http import NO_ANSWER, Call, split
from prometheus_ha.facts.probe import probe
from prometheus_ha.facts.reports import alertmanager
from prometheus_ha.facts.reports.look import sections

SAFETY_NET = "monitoring-drill"
SAFETY_MINUTES = 15
"""After this the host starts Prometheus by itself, if the run that stopped it is no more."""
INTERVALS = 3
"""Scrape intervals for which queries are watched while a replica is stopped."""
SLACK = 10.0
"""Seconds that a notification may be late, beyond what the settings make it wait."""


class Interrupted(Exception):
    """The operator wants the drill to end. It ends by putting things back."""


_interrupts: list[int] = []


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C ends the drill at its next look, so that things are put back first. pyinfra's own
    handler would end whichever thread of the run happens to be awake."""
    _interrupts.clear()

    def hold(number, frame):
        _interrupts.append(number)
        click.echo("    the drill ends, and puts things back first", err=True)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, hold) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _go_on() -> None:
    if _interrupts:
        raise Interrupted


# --- Who, and whether -----------------------------------------------------------------------------


@dataclass
class _Drill:
    """What the turns of this run tell each other."""

    chosen: str | None = None
    unfit: list[str] = field(default_factory=list)


def _unfit(site: Site, me: Member) -> str:
    """Why this Prometheus cannot be stopped now; empty where it can."""
    others = [other for other in site.replicas(me) if other.name != me.name]
    if not others:
        return f"{me.name} has no other replica in cluster {me.settings.cluster}"
    if not _does_its_job(site, me, me):
        return f"{me.name} does not do its job itself"
    if not any(_does_its_job(site, other, me) for other in others):
        return f"no other replica of {me.name} does its job"
    return ""


def _does_its_job(site: Site, member: Member, asked_by: Member) -> bool:
    progress = rollout.see(host, prometheus_role.gate(site, member, asked_by))
    if not progress.ok:
        rollout.say(f"{member.name}: {progress.says}")
    return progress.ok


@operation()
def _turn():
    """The drill, on the first Prometheus host that is fit for it."""
    memory = kept(_Drill)
    if memory.chosen:
        return
    if state.is_executing:
        unfit = _unfit(rollout.site(), rollout.member())
        if unfit:
            memory.unfit.append(unfit)
            return
        memory.chosen = host.name
    yield FunctionCommand(_confirm, [], {})
    yield FunctionCommand(_drill, [], {})


@operation()
def _verdict():
    """No Prometheus could be stopped: that is a failure, told by the first living host."""
    if not state.is_executing or kept(_Drill).chosen:
        return
    living = rollout.living()
    first = next((name for name in rollout.site().hosts if name in living), host.name)
    if host.name == first:
        why = "; ".join(kept(_Drill).unfit) or "no Prometheus host is in this run"
        yield rollout.refuse(f"no drill: {why}. Nothing was touched.")


def _confirm(state, host) -> bool:
    """The operator's yes: by `--data yes=true`, or typed."""
    if rollout.member().settings.yes:
        return True
    question = (
        f"The drill sends a test alert to all receivers that a {notifications.DRILL_ALERT} is routed to, "
        f"then stops Prometheus on {host.name} for about a minute."
    )
    if not sys.stdin.isatty():
        host.log_styled(f"{question} Say --data yes=true to have it done unasked.", fg="red")
        return False
    click.echo(f"\n    {question}\n    Go on? [y/N] ", err=True, nl=False)
    try:
        answer = input()
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    host.log_styled("no drill: nothing was touched", fg="red")
    return False


def _drill(state, host) -> bool:
    site, me = rollout.site(), rollout.member()
    with _interrupts_held():
        try:
            # A replica is not stopped where already the alert found the site unwell.
            return _alert(state, host, site, me) and _outage(state, host, site, me)
        except Interrupted:
            host.log_styled("the drill was interrupted", fg="red")
            return False
        except FactProcessError as error:
            host.log_styled(f"the drill did not understand an answer: {error}", fg="red")
            return False


def _fail(host, what: str) -> bool:
    host.log_styled(f"failed: {what}", fg="red")
    return False


# --- A test alert ---------------------------------------------------------------------------------


class Alert:
    """A test alert on its way. To `rollout.wait` it is a gate, that opens once notifications had
    their time to arrive; its script sends the alert again as often as a Prometheus does."""

    def __init__(self, site: Site, me: Member, clock: float):
        self.site, self.me, self.drill = site, me, secrets.token_hex(4)
        self.started, self.offset = clock, clock - time.time()
        self.resend = seconds(me.settings.timing.resend_delay)
        self.before: dict[str, notifications.Mailbox] = {}
        self.after: dict[str, notifications.Mailbox] = {}
        self.others: set[tuple[str, str]] = set()
        self.begun = self.posted = self.notified = 0.0

    def begin(self, lines: list[str]) -> list[str]:
        """Read the counters before the alert; the hosts of those that did not answer."""
        silent = self._read(lines)
        self.before, self.begun = dict(self.after), time.monotonic()
        self.patience, self.second = _waits(self.site, self.before)
        return silent

    @property
    def questions(self) -> dict[str, str]:
        """What every Alertmanager is asked, by its host."""
        return {
            m.name: script(self.site, m, daemons.ALERTMANAGER, (*alertmanager.CALLS, notifications.SENT))
            for m in self.site.running(daemons.ALERTMANAGER)
        }

    def post(self, lives: float) -> dict[str, str]:
        """The alert for all Alertmanagers, as a Prometheus posts it, firing for `lives` seconds."""
        body = {
            "labels": {
                "alertname": notifications.DRILL_ALERT,
                "cluster": self.me.settings.cluster,
                "severity": "info",
                notifications.DRILL_LABEL: self.drill,
            },
            "annotations": {"summary": "A drill of the alerting pipeline. Nothing is to be done."},
            "startsAt": _rfc3339(self.started),
            "endsAt": _rfc3339(time.time() + self.offset + lives),
        }
        options = ("-H", "Content-Type: application/json", "-d", json.dumps([body]))
        return {
            f"post {m.name}": script(*(self.site, m, daemons.ALERTMANAGER), [Call("post", "/api/v2/alerts")], options)
            for m in self.site.running(daemons.ALERTMANAGER)
        }

    @property
    def script(self) -> str:
        """The questions, after the alert where it is due again."""
        scripts = self.questions
        if not self.posted or time.monotonic() - self.posted >= self.resend:
            self.posted = time.monotonic()
            # It resolves itself after this, should the run be cut off. As Prometheus has it.
            scripts = self.post(4 * self.resend) | scripts
        return checks.sectioned(scripts)

    def judge(self, lines: list[str]) -> Progress:
        """Has it notified, and was there time for a second notification?"""
        _go_on()
        self._read(lines)
        now, result = time.monotonic(), self.result
        shown = sum(bool(box.alerts(self.drill)) for box in self.after.values())
        if not self.notified and shown and result.count >= result.wanted:
            self.notified = now
        measure = int((now - self.begun) / 10)
        if not self.notified:
            says = f"on {shown} of {len(self.after)} Alertmanagers, not notified yet"
            return Progress(now - self.begun > self.patience, says, measure)
        took = f"notified after {self.notified - self.begun:.0f} s"
        if now - self.notified <= self.second:
            says = f"{took}; another {self.second:.0f} s for a second notification to show"
            return Progress(False, says, measure)
        return Progress(True, took, "done")

    @property
    def result(self) -> notifications.Notified:
        """How many notifications it has made so far."""
        return notifications.notified(self.before, self.after, self.drill, self.others)

    def _read(self, lines: list[str]) -> list[str]:
        parts, silent = sections(lines), []
        for name in self.questions:
            box = notifications.read_mailbox(parts[name]) if parts.get(name) else None
            if box is not None and box.report.ready and box.sent:
                self.after[name] = box
            else:
                silent.append(name)
        self.others |= notifications.other_alerts(self.after.values(), self.drill)
        return silent


def _rfc3339(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")


def _waits(site: Site, boxes: dict[str, notifications.Mailbox]) -> tuple[float, float]:
    """Seconds: how long the notification may take, and after it a second one from another member.

    A group that still stands from a drill before waits for the next group_interval, not group_wait.
    """
    members = site.running(daemons.ALERTMANAGER)
    route = next((box.report.config.get("route") or {} for box in boxes.values()), {})
    group = max(seconds(route.get("group_wait", "30s")), seconds(route.get("group_interval", "5m")))
    settings = members[0].settings
    step = settings.alertmanager_flags.get("cluster.peer-timeout", settings.timing.peer_timeout)
    turns = (len(members) - 1) * go_seconds(str(step))
    return group + turns + SLACK, turns + SLACK / 2


def _alert(state, host, site: Site, me: Member) -> bool:
    """Send the test alert, and see one on each Alertmanager and one notification in all."""
    names = [member.name for member in site.running(daemons.ALERTMANAGER)]
    if not names:
        host.log("no Alertmanager in the inventory: no test alert")
        return True
    clock = probe(host, "date +%s")
    alert = Alert(site, me, float(clock[0]) if clock else time.time())
    silent = alert.begin(probe(host, checks.sectioned(alert.questions)))
    if silent:
        return _fail(host, f"no answer from Alertmanager on {', '.join(silent)}; no alert was sent")
    host.log(f"test alert {alert.drill} to {', '.join(names)}")
    try:
        watched = rollout.wait(state, host, alert, purpose="test alert")
    finally:
        resolved = _resolve(state, host, alert)
    found = {name: alert.after[name].alerts(alert.drill) for name in names}
    wrong = [f"{len(found[name])} on {name}" for name in names if len(found[name]) != 1]
    if wrong:
        _fail(host, f"found the test alert {', '.join(wrong)}; wanted once on each Alertmanager")
    muted = [name for name in names if any(one.state == "suppressed" for one in found[name])]
    if muted:
        _fail(host, f"the test alert is silenced or inhibited on {', '.join(muted)}")
    if not alert.result.ok:
        _fail(host, f"notifications: {alert.result}")
    ok = watched and resolved and not wrong and not muted and alert.result.ok
    if ok:
        host.log_styled(f"test alert: once on each Alertmanager; {alert.result}", fg="green")
    return ok


def _resolve(state, host, alert: Alert) -> bool:
    """Take the test alert back, and see that it is gone everywhere."""
    probe(host, checks.sectioned(alert.post(0)))

    def judge(lines: list[str]) -> Progress:
        parts = sections(lines)
        boxes = {n: notifications.read_mailbox(parts[n]) for n in alert.questions if parts.get(n)}
        left = [name for name, box in boxes.items() if box.alerts(alert.drill)]
        return Progress(not left, f"still on {', '.join(left)}" if left else "resolved", tuple(left))

    gate = Gate(checks.sectioned(alert.questions), judge)
    return rollout.wait(state, host, gate, purpose="test alert taken back")


# --- A stopped replica ----------------------------------------------------------------------------


class Queries:
    """Queries through all queriers, again and again, and what was wrong with the answers. A gate."""

    patience = rollout.PATIENCE

    def __init__(self, site: Site, me: Member):
        self.queriers = {m.name: m for m in site.running(daemons.QUERIER)}
        self.queries = promql.queries(site)
        self.script = checks.sectioned(
            {
                "unit": f"systemctl is-active {me.own(daemons.PROMETHEUS).unit} || true",
                **{
                    name: script(site, querier, daemons.QUERIER, self.queries)
                    for name, querier in self.queriers.items()
                },
            }
        )
        self.needed = INTERVALS * seconds(me.settings.scrape_interval)
        self.whole: dict[tuple[str, str], object] = {}
        self.asked = 0
        self.failures: list[str] = []
        self.warnings: set[str] = set()
        self.stopped = 0.0

    def read(self, lines: list[str]) -> dict[tuple[str, str], promql.Query]:
        """The answers, by querier and query."""
        parts = sections(lines)
        found = {}
        for querier in self.queriers:
            answers = split(parts[querier]) if parts.get(querier) else {}
            for call in self.queries:
                found[querier, call.name] = promql.read_query(answers.get(call.name, NO_ANSWER))
        return found

    def begin(self, lines: list[str]) -> list[str]:
        """What whole answers look like; and what keeps them from being whole already."""
        answers = self.read(lines)
        self.whole = {one: _values(answer) for one, answer in answers.items()}
        return [
            f"{one[0]}: {answer.problem or '; '.join(answer.warnings)}"
            for one, answer in answers.items()
            if answer.problem or answer.warnings
        ]

    def judge(self, lines: list[str]) -> Progress:
        """While the replica is stopped: count, until there were queries enough."""
        _go_on()
        now = time.monotonic()
        if not lines:
            return Progress(False, "the host does not answer")
        if not self.stopped and sections(lines).get("unit", [""])[0] in ("inactive", "failed"):
            self.stopped = now
        for (querier, name), answer in self.read(lines).items():
            self.asked += 1
            self.warnings |= set(answer.warnings)
            if answer.problem:
                self.failures.append(f"{querier}, query {name}: {answer.problem}")
            elif name != "up-raw" and _values(answer) != self.whole[querier, name]:
                self.failures.append(f"{querier}, query {name}: other series than before")
        since = now - self.stopped if self.stopped else 0.0
        enough = since >= self.needed and (self.warnings or since >= 3 * self.needed + SLACK)
        says = "it is stopping" if not self.stopped else f"queries for {self.needed:.0f} s"
        return Progress(bool(enough), f"{self.asked} queries" if enough else says, self.asked)

    def judge_whole(self, lines: list[str]) -> Progress:
        """After the start: are the answers as they were, without warnings?"""
        wrong = [
            f"{one[0]}, query {one[1]}"
            for one, answer in self.read(lines).items()
            if answer.problem or answer.warnings or _values(answer) != self.whole[one]
        ]
        says = f"not yet as before: {', '.join(wrong)}" if wrong else "as before, without warnings"
        return Progress(not wrong, says, tuple(wrong))


def _values(answer: promql.Query) -> object:
    return {frozenset(labels.items()): value for labels, value in answer.vector}


def _outage(state, host, site: Site, me: Member) -> bool:
    """Stop Prometheus here, go on querying, and start it again."""
    queries = Queries(site, me)
    if not queries.queriers:
        host.log("no querier in the inventory: Prometheus is not stopped")
        return True
    wrong = queries.begin(probe(host, queries.script))
    if wrong:
        return _fail(host, f"answers are not whole to begin with ({'; '.join(wrong)}); not stopped")
    _go_on()
    unit = me.own(daemons.PROMETHEUS).service
    if probe(host, _armed(unit)) != ["armed"]:
        return _fail(host, f"the timer {SAFETY_NET} could not be set; Prometheus was not stopped")
    host.log(f"Prometheus is stopped on {host.name}; a timer starts it in {SAFETY_MINUTES} minutes")
    try:
        probe(host, f"systemctl stop --no-block {unit}; true")
        watched = rollout.wait(state, host, queries, purpose="queries without this replica")
    finally:
        again = prometheus_role.gate(site, me, me)
        back = _start(state, host, unit) and rollout.wait(state, host, again, purpose="Prometheus does its job again")
    whole = back and rollout.wait(state, host, Gate(queries.script, queries.judge_whole), purpose="answers")
    if queries.failures:
        count = f"{len(queries.failures)} of {queries.asked} queries"
        _fail(host, f"{count}, first {queries.failures[0]}")
    if not queries.warnings:
        _fail(host, "no answer warned that a replica was missing")
    ok = watched and whole and not queries.failures and queries.warnings
    if ok:
        said = next(iter(sorted(queries.warnings)))
        host.log_styled(f"{queries.asked} queries, none failed; warned of: {said}", fg="green")
    return bool(ok)


def _armed(unit: str) -> str:
    """Have the host start Prometheus by itself, in case that nobody else will."""
    return (
        f"systemctl stop {SAFETY_NET}.timer 2>/dev/null; "
        f"systemctl reset-failed {SAFETY_NET}.service 2>/dev/null; "
        f"systemd-run --quiet --unit={SAFETY_NET} --on-active={SAFETY_MINUTES}min "
        f"systemctl start {unit} >&2 && echo armed; true"
    )


def _start(state, host, unit: str) -> bool:
    """Start Prometheus, again where that fails, and take the timer away once it runs."""

    def judge(lines: list[str]) -> Progress:
        return Progress(lines == ["active"], ", ".join(lines) or "the host does not answer")

    script = f"systemctl start {unit}; systemctl is-active {unit} || true"
    if not rollout.wait(state, host, Gate(script, judge), purpose="Prometheus started"):
        host.log_styled(f"the timer {SAFETY_NET} on {host.name} will try again", fg="red")
        return False
    probe(host, f"systemctl stop {SAFETY_NET}.timer; true")
    return True


def deploy() -> None:
    """The drill, on the first Prometheus host that is fit for it."""
    names = [member.name for member in rollout.site().running(daemons.PROMETHEUS)]
    if host.name in names:
        for name in host.loop(names):  # host.loop gives each turn an identity of its own
            if name == host.name:
                _turn(name=f"drill: turn of {name}")
    _verdict(name="drill: was there one?")


def run() -> None:
    """As a run of its own."""
    preflight.settings()
    rollout.begin()
    rollout.lock(name="lock: no other run is at work")
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
