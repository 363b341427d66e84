"""Is the site what the inventory says? Judgement of what the hosts and their daemons report.

Nothing here touches a host: `questions` is the script that a host is asked, `read` makes a `Seen` of
what it printed, `judge` compares all of them with the inventory and `table` prints the lot. The
checks are named after what they look at: unit (and release), reload, labels, flags, targets, stores, queries
(deduplication), gossip, alerting (Prometheus knows all Alertmanagers), rules, uploads, clock, ...
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyinfra.api.exceptions import FactProcessError

import prometheus_ha.deploys.lib.roles  # noqa: F401  flags that need a site, and verdicts, are theirs
from prometheus_ha.deploys.lib.common import causes, faults, kernel, verify_view
from prometheus_ha.deploys.lib.common.verify_view import Seen, View
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.declare import Product
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.role import in_order, on
from prometheus_ha.deploys.lib.engine.service import installed
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding, printable
from prometheus_ha.deploys.lib.ground.results import aligned, listed_results
from prometheus_ha.deploys.lib.site import derived, releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey import paths
from prometheus_ha.facts import timesync
from prometheus_ha.facts.http import Answer, split
from prometheus_ha.facts.reports import look
from prometheus_ha.facts.reports.look import MARK, sections
from prometheus_ha.facts.reports.plain import Plain

CLOCK_OFFSET = 0.05
"""Seconds that a clock may be off: upstream's NodeClockSkewDetected fires above it."""


# --- Asking ---------------------------------------------------------------------------------------


def sectioned(scripts: Mapping[str, str]) -> str:
    """Several scripts as one, whose output `facts.reports.look.sections` takes apart again."""
    lines = [f"echo {shlex.quote(MARK + name)}\n{one}" for name, one in scripts.items()]
    return "\n".join([*lines, "true"])


_CRASHES = "crashes"


def questions(site: Site, member: Member) -> str:
    """The script that asks every daemon of a host, in one command."""
    roles = on(member)
    more = {daemon.name: calls(site) for role in roles for daemon, calls in role.questions.items()}
    scripts = {
        name: script(site, member, name, (*DAEMONS[name].calls, *more.get(name, ()))) for name in member.components
    }
    for role in roles:
        scripts |= role.journals
    units = dict.fromkeys(info.unit for info in member.daemons)
    scripts[_CRASHES] = faults.script(member, units)
    return sectioned(scripts)


def read(member: Member, found: look.State | None, lines: Iterable[str]) -> Seen:
    """What the look and the output of `questions` say. What is not understood counts as not
    answered, with the reason in the daemon's `errors`."""
    parts = sections(list(lines))
    reports: dict[str, Any] = {}
    for name in member.components:
        try:
            reports[name] = DAEMONS[name].parse(parts.get(name, []))
        except FactProcessError as error:
            reports[name] = Plain(False, None, {"ready": str(error)})
    answers: dict[str, Answer] = {}
    journals: dict[str, tuple[str, ...]] = {}
    for role in on(member):
        journals |= {name: tuple(parts.get(name, ())) for name in role.journals}
        for daemon in role.questions:
            with suppress(FactProcessError):
                answers |= split(parts.get(daemon.name, []))
    return Seen(found, reports, answers, journals, faults.read(member, parts.get(_CRASHES, ())))


# --- Judging --------------------------------------------------------------------------------------


def _check_units(view: View) -> Iterator[Finding]:
    """Every unit runs what is wanted, and is ready."""
    for name in (one for one in view.site.hosts if one in view.dead):
        yield Finding(
            name,
            "unit",
            "this host cannot be reached, or failed before it was asked",
            "a host that answers",
            "see the messages above: is it up, and does SSH let you in?",
            about=(name, ""),
        )
    for name, seen in view.seen.items():
        member = view.site.hosts[name]
        if seen.look is None:
            yield Finding(
                name,
                "unit",
                "the look at this host failed",
                "a host that can be read",
                "see the messages above; is its disk full, or a command missing?",
            )
            continue
        for component in member.components:
            yield from _check_unit(member, seen.look, component, seen.daemons.get(component))
        yield from _crashed(name, seen.crashes)


def _crashed(host: str, crashes: Mapping[str, faults.Crashes]) -> Iterator[Finding]:
    """What is over and done with, but may come again."""
    for unit, found in crashes.items():
        if found.unknown:
            advice = f"{verify_view.journal(unit)}; when the cause is known: systemctl reset-failed {unit}"
            yield Finding(host, "unit", f"{unit} {found}", "no crash", advice, "warn")
        else:
            advice = "nothing, until a release mends it"
            yield Finding(host, "unit", f"{unit} {found}", "no crash", advice, "note")


def _check_unit(member: Member, found: look.State, component: str, report: Any) -> Iterator[Finding]:
    info = member.own(component)
    unit = found.units.get(info.unit, {})

    def result(found: str, wanted: str, advice: str) -> Finding:
        about = member.name, component
        return Finding(member.name, "unit", f"{info.unit}: {found}", wanted, advice, about=about)

    converge = "run the deploy again: it mends this"
    yield from paths.drop_ins(member, "unit", component, found)
    if unit.get("UnitFileState") != "enabled":
        state = unit.get("UnitFileState") or "no unit"
        yield result(state, "enabled, so that a reboot starts it", converge)
    if found.unread(info.unit):
        yield result("systemd has not read the changed unit", "daemon-reload done", converge)
    if unit.get("ActiveState") != "active":
        yield result(_activity(unit), "active", verify_view.journal(info.unit))
        return
    version = member.settings.version(component)
    process = found.processes.get(info.unit)
    if process is not None and isinstance(info.product, Product):
        executable = f"{installed(member, found, info.product)}/{info.binary}"
        if process.exe != executable:
            yield result(f"runs {process.exe}", executable, converge)
    if report is None or not report.ready:
        problem = report.errors.get("ready", "no answer") if report else "not asked"
        yield result(f"not ready: {problem}", f"200 from {info.ready_path}", verify_view.journal(info.unit))
    elif releases.reported(info.archive, report.version) != version:
        yield result(f"reports release {report.version}", version, converge)


def _activity(unit: Mapping[str, str]) -> str:
    if not unit or unit.get("LoadState") == "not-found":
        return "absent"
    active, sub = unit.get("ActiveState", "unknown"), unit.get("SubState", "")
    return active if sub in ("", "dead", active) else f"{active} ({sub})"


def _check_reloads(view: View) -> Iterator[Finding]:
    """What is on disk was accepted when it was last loaded."""
    for name in DAEMONS:
        for member, report in view.reports(name):
            if report.ready and getattr(report, "reload_success", None) is False:
                yield Finding(
                    member.name,
                    "reload",
                    f"{name} refused its files when it last loaded them",
                    "the last reload successful",
                    f"{verify_view.journal(member.own(name).unit)}; then deploy again",
                )


def _check_clocks(view: View) -> Iterator[Finding]:
    """The clock is kept, by the host or by the machine around a container."""
    for name, seen in view.seen.items():
        if seen.look is None or view.site.hosts[name].settings.timesync == "host":
            continue
        check, advice = "clock", "chronyc sources; is an NTP server reachable from the host?"
        try:
            clock = timesync.of_look(seen.look.units, seen.look.extra.get("timesync", []))
        except FactProcessError as error:
            yield Finding(name, check, str(error), "a clock that is kept", advice, "warn")
            continue
        if clock.verdict not in ("synchronised", "clock of the container's host"):
            service = f" ({clock.service})" if clock.service else ""
            found = f"clock: {clock.verdict}{service}"
            if clock.verdict == "no service":
                advice = "pyinfra inventory.py deploys/timesync.py installs one"
            yield Finding(name, check, found, "synchronised", advice)
        elif clock.offset_seconds is not None and abs(clock.offset_seconds) > CLOCK_OFFSET:
            found = f"clock: {clock.offset_seconds * 1000:.0f} ms off"
            wanted = f"at most {CLOCK_OFFSET * 1000:.0f} ms"
            yield Finding(name, check, found, wanted, advice, "warn")


def _check_kernel(view: View) -> Iterator[Finding]:
    """The live kernel values are the wanted ones."""
    for name, seen in view.seen.items():
        if seen.look is None:
            continue
        member = view.site.hosts[name]
        for key, wanted in kernel.differing(member, seen.look).items():
            yield Finding(
                name,
                "sysctl",
                f"{key} = {seen.look.sysctl.get(key, 'no such value')}",
                wanted,
                "pyinfra inventory.py deploys/kernel.py; or does another file in sysctl.d win?",
            )
        for path, text in kernel.overridden(member, seen.look).items():
            yield Finding(
                name,
                "sysctl",
                f"at boot {path} sets {topology.RESERVED_PORTS} = {text}",
                kernel.files(member, seen.look)[topology.PORTS_FILE][topology.RESERVED_PORTS],
                f"give that file a name that sorts before {topology.PORTS_FILE}",
                "warn",
            )


def _check_settings(view: View) -> Iterator[Finding]:
    """Settings that are doubtful, though they can be deployed."""
    for finding in view.site.findings:
        if finding.severity != "warn":
            continue
        host = finding.host or next(iter(view.seen), "")
        found = f"{finding.check or finding.where}: {finding.found}"
        advice = f"change it in {finding.where or 'inventory.py or group_data'}"
        yield Finding(host, "settings", found, finding.wanted, advice, "warn")


CHECKS = (_check_units, _check_reloads, _check_clocks, _check_kernel, _check_settings)
"""Those of every host; what is to be said of a role, it says itself."""


def judge(view: View) -> list[Finding]:
    """Everything that is not as it should be, failures first. Empty where the site is well.

    A report that a check does not understand fails that check, and no other. What another failure explains is told
    under that.
    """
    results: list[Finding] = []
    for check in (*CHECKS, *(one for role in in_order() for one in role.verdicts)):
        try:
            results += check(view)
        except Exception as error:  # noqa: BLE001  (whatever a daemon of another release may say)
            found = f"{check.__name__.removeprefix('_check_')}: not judged: {error!r}"
            first = next(iter(view.seen), "")
            results.append(Finding(first, "verify", found, "reports that are understood", "report it"))
    results = [one for one in results if not view.site.accepts(one)]
    return sorted(causes.folded(results, view.broken), key=lambda result: result.severity != "fail")


# --- Printing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the site's table."""

    host: str
    component: str
    version: str
    health: str
    address: str


def rows(view: View) -> list[Row]:
    """The site, one row a daemon; of a host that was not reached, too."""
    found = []
    for name, member in view.site.hosts.items():
        if name not in view.seen and name not in view.dead:
            continue
        for component in member.components:
            version, health = _state(view, name, component)
            found.append(Row(name, component, version, health, derived.address(component, view.site, member)))
    return found


def _state(view: View, name: str, component: str) -> tuple[str, str]:
    if name not in view.seen:
        return "-", "unreachable"
    seen = view.seen[name]
    report = seen.daemons.get(component)
    unit = seen.look.units.get(view.site.hosts[name].own(component).unit, {}) if seen.look else {}
    version = (report.version if report else None) or "-"
    if seen.look is not None and unit.get("ActiveState") != "active":
        return version, _activity(unit)
    if report is None or not report.ready:
        replay = getattr(report, "wal_replay", None)
        if replay is not None and not replay.done:
            return version, f"replaying its log, {replay.current} of {replay.last}"
        return version, "not ready"
    restarts = unit.get("NRestarts", "0")
    return version, "ready" if restarts in ("", "0") else f"ready, restarted {restarts} times"


def table(view: View, results: Iterable[Finding]) -> list[str]:
    """The site and its failed checks as lines of text."""
    head = Row("HOST", "ROLE", "VERSION", "HEALTH", "ADDRESS")
    listed = rows(view)
    cells = [(row.host, row.component, row.version, row.health, row.address) for row in [head, *listed]]
    lines = aligned(cells)
    results = list(results)
    lines += listed_results(results)
    failed = [result for result in results if result.severity == "fail"]
    warned = [result for result in results if result.severity == "warn"]
    asked = f"{len(listed)} daemons on {len({row.host for row in listed})} hosts"
    dead = [name for name in view.site.hosts if name in view.dead]
    lines += ["", f"{asked}; checks failed: {len(failed)}, warnings: {len(warned)}"]
    lines += [f"unreachable: {', '.join(dead)}"] if dead else []
    lines += [f"not asked (--limit): {', '.join(view.not_asked)}"] if view.not_asked else []
    return [printable(line) for line in lines]  # what a daemon says is printed, and not obeyed
