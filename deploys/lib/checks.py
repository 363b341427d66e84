"""Is the site what the inventory says? Judgement of what the hosts and their daemons report.

Nothing here touches a host: `questions` is the script that a host is asked, `read` makes a `Seen` of
what it printed, `judge` compares all of them with the inventory and `table` prints the lot. The
checks are named as in the list of assertions that upstream's own tests led to: A1 (units and
releases), A2 (last reload), A3 (external labels), A4 (flags), A5 (targets), A6 (stores), A7
(deduplication), A17 (gossip), A18 (Prometheus knows all Alertmanagers), A25 (rulers); or by their
chapter of spec/000.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from pyinfra.api.exceptions import FactProcessError

import deploys.lib.roles  # noqa: F401  the flags that need a site are theirs
from deploys.lib import (
    causes,
    derived,
    faults,
    flags,
    kernel,
    paths,
    relations,
    releases,
    starter,
    storage_checks,
    topology,
    web,
)
from deploys.lib.ask import script
from deploys.lib.daemons import DAEMONS
from deploys.lib.durations import seconds
from deploys.lib.findings import printable
from deploys.lib.results import Daemon, Result, aligned, listed_results, some
from deploys.lib.roles import upper
from deploys.lib.roles.prometheus import alerts
from deploys.lib.service import installed
from deploys.lib.settings import CLUSTER_LABEL, REPLICA_LABEL
from deploys.lib.site import Member, Site
from deploys.lib.verify_view import PROMETHEUS, Seen, View
from facts import timesync
from facts.http import NO_ANSWER, TIMED_OUT, Answer, Call, split
from facts.reports import alertmanager, look, prometheus, thanos
from facts.reports.look import MARK, sections
from facts.reports.plain import Plain

CLOCK_OFFSET = 0.05
"""Seconds that a clock may be off: upstream's NodeClockSkewDetected fires above it."""


# --- Asking ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """An instant query as it was answered: `problem` is empty where it succeeded."""

    problem: str = ""
    warnings: tuple[str, ...] = ()
    vector: tuple[tuple[dict[str, str], float], ...] = ()


# What was scraped, not what came by remote write: a receiver can have the same series.
SCRAPED = ",".join(f'{label}=""' for label in relations.REPLICA_LABELS.values())


def fresh(selector: str, site: Site) -> str:
    """The samples of `selector` from the last two scrapes. A Prometheus that is restarted, or moved, leaves no mark
    that the series of before are at an end: queries find them for five minutes more."""
    intervals = [seconds(m.settings.scrape_interval) for m in site.members("prometheus")]
    # A sample has the time at which the scrape began, and is there when it is over.
    return f"timestamp({selector}) > time() - {2 * max(intervals, default=0) + 5:g}"


def slow_jobs(site: Site) -> set[str]:
    """The user's jobs that scrape less often than ours: whether their series are fresh is not asked."""
    return {
        str(job.get("job_name"))
        for member in site.members("prometheus")
        for job in member.settings.prometheus_config.get("scrape_configs") or []
        if seconds(job.get("scrape_interval") or "0s") > seconds(member.settings.scrape_interval)
    }


def prometheus_up(site: Site) -> str:
    """How many of our Prometheus each cluster scrapes, which are the replicas of its own.

    By cluster: somebody else's Prometheus, to which a sidecar is attached, may scrape ours as well. By instance,
    each once: a target of the user's may have the job's name, or be one of ours under more labels.
    """
    targets = [site.endpoint("prometheus", m).target for m in site.members("prometheus")]
    ours = starter.selected({DAEMONS["prometheus"].job_name: targets})
    each = f"count by ({CLUSTER_LABEL}, instance) ({fresh(f'up{{{ours}}}', site)})"
    return f"count by ({CLUSTER_LABEL}) ({each})"


def query_call(name: str, query: str, dedup: bool = True) -> Call:
    """An instant query to a querier, as a `Call`."""
    return Call(name, f"/api/v1/query?query={quote(query, safe='')}&dedup={str(dedup).lower()}")


def queries(site: Site) -> tuple[Call, ...]:
    """What a querier is asked, for A7 and by the drill. It counts: the series themselves would be megabytes on a large
    site."""
    slow = "|".join(re.escape(name) for name in sorted(slow_jobs(site)))
    up = f"up{{{SCRAPED}{f',job!~{json.dumps(slow)}' if slow else ''}}}"
    counted = f"count by ({CLUSTER_LABEL},{REPLICA_LABEL}) ({fresh(up, site)})"
    return (
        query_call("up-raw", counted, dedup=False),
        query_call("up", counted),
        query_call("prometheus-up", prometheus_up(site)),
    )


def sectioned(scripts: Mapping[str, str]) -> str:
    """Several scripts as one, whose output `facts.look.sections` takes apart again."""
    lines = [f"echo {shlex.quote(MARK + name)}\n{one}" for name, one in scripts.items()]
    return "\n".join([*lines, "true"])


_CRASHES = "crashes"
_FAILURES = "failed notifications"
_FAILED_NOTIFICATIONS = (
    f"journalctl -u {DAEMONS['alertmanager'].unit} -n 2000 -o short-iso --no-pager "
    "2>/dev/null | grep -E 'Notify (for alerts|attempt) failed' | tail -n 20 | cut -c 1-2000"
)


def questions(site: Site, member: Member) -> str:
    """The script that asks every daemon of a host, in one command."""
    more = {"thanos-querier": queries(site)} if "querier" in member.groups else {}
    scripts = {
        name: script(site, member, name, (*DAEMONS[name].calls, *more.get(name, ())))
        for name in member.components
    }
    if "alertmanager" in member.components:
        scripts[_FAILURES] = _FAILED_NOTIFICATIONS
    units = dict.fromkeys(DAEMONS[name].unit for name in member.components)
    scripts[_CRASHES] = faults.script(member, units)
    return sectioned(scripts)


def read(member: Member, found: look.State | None, lines: Iterable[str]) -> Seen:
    """What the look and the output of `questions` say. What is not understood counts as not
    answered, with the reason in the daemon's `errors`."""
    parts = sections(list(lines))
    daemons: dict[str, Any] = {}
    for name in member.components:
        try:
            daemons[name] = DAEMONS[name].parse(parts.get(name, []))
        except FactProcessError as error:
            daemons[name] = Plain(False, None, {"ready": str(error)})
    queries: Mapping[str, Answer] = {}
    if parts.get("thanos-querier"):
        try:
            queries = split(parts["thanos-querier"])
        except FactProcessError:
            queries = {}
    crashes = faults.read(member, parts.get(_CRASHES, ()))
    return Seen(found, daemons, queries, tuple(parts.get(_FAILURES, ())), crashes)


def read_query(answer: Answer) -> Query:
    """An answer of the query API: what failed, what it warns of, and its vector."""
    if not answer.ok:
        return Query(answer.problem)
    try:
        reply = answer.json()
        if reply.get("status") != "success":
            return Query(f"{reply.get('errorType')}: {reply.get('error')}")
        vector = tuple((one["metric"], float(one["value"][1])) for one in reply["data"]["result"])
        return Query("", tuple(reply.get("warnings") or ()), vector)
    except (FactProcessError, AttributeError, LookupError, TypeError, ValueError) as error:
        return Query(f"not an answer of the query API ({error!r}): {answer.body[:100]!r}")


# --- Judging --------------------------------------------------------------------------------------


def our_target(view: View, target: prometheus.Target) -> Daemon | None:
    """The daemon of the site that a target is; None for the user's own ones."""
    daemon = view.addresses.get(target.instance)
    name = DAEMONS[daemon[1]].job_name if daemon else ""
    ours = target.job == name or (target.job.startswith("federate-") and name == "prometheus")
    return daemon if ours else None


def targets_not_up(view: View, host: str) -> list[str]:
    """Our targets that this host's Prometheus did not reach, or has not asked yet, though they may come up: for one of
    a dead host, and for one that is known to be down, waiting is in vain."""
    return [
        f"{target.job} {target.instance}"
        for name in PROMETHEUS
        for target in getattr(view.seen[host].daemons.get(name), "targets", [])
        if target.health != "up" and (daemon := our_target(view, target))
        if daemon not in view.broken
    ]


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) + "}"


def _journal(unit: str) -> str:
    return f"systemctl status {unit}; journalctl -u {unit}"


def _check_units(view: View) -> Iterator[Result]:
    """A1 and spec/000 11.1: every unit runs what is wanted, and is ready."""
    for name in (one for one in view.site.hosts if one in view.dead):
        yield Result(
            name,
            "A1",
            "this host cannot be reached, or failed before it was asked",
            "a host that answers",
            "see the messages above: is it up, and does SSH let you in?",
            about=(name, ""),
        )
    for name, seen in view.seen.items():
        member = view.site.hosts[name]
        if seen.look is None:
            yield Result(
                name,
                "A1",
                "the look at this host failed",
                "a host that can be read",
                "see the messages above; is its disk full, or a command missing?",
            )
            continue
        for component in member.components:
            yield from _check_unit(member, seen.look, component, seen.daemons.get(component))
        yield from _crashed(name, seen.crashes)


def _crashed(host: str, crashes: Mapping[str, faults.Crashes]) -> Iterator[Result]:
    """What is over and done with, but may come again."""
    for unit, found in crashes.items():
        if found.unknown:
            advice = f"{_journal(unit)}; when the cause is known: systemctl reset-failed {unit}"
            yield Result(host, "A1", f"{unit} {found}", "no crash", advice, "warn")
        else:
            advice = "nothing, until a release mends it"
            yield Result(host, "A1", f"{unit} {found}", "no crash", advice, "note")


def _check_unit(member: Member, found: look.State, component: str, report: Any) -> Iterator[Result]:
    info = DAEMONS[component]
    unit = found.units.get(info.unit, {})

    def result(found: str, wanted: str, advice: str) -> Result:
        about = member.name, component
        return Result(member.name, "A1", f"{info.unit}: {found}", wanted, advice, about=about)

    converge = "the deploy mends it: pyinfra inventory.py deploys/site.py"
    yield from paths.drop_ins(member.name, "A1", component, found)
    if unit.get("UnitFileState") != "enabled":
        state = unit.get("UnitFileState") or "no unit"
        yield result(state, "enabled, so that a reboot starts it", converge)
    if found.unread(info.unit):
        yield result("systemd has not read the changed unit", "daemon-reload done", converge)
    if unit.get("ActiveState") != "active":
        yield result(_activity(unit), "active", _journal(info.unit))
        return
    version = member.settings.version(component)
    executable = f"{installed(member, found, info.archive)}/{info.binary}"
    process = found.processes.get(info.unit)
    if process is not None and process.exe != executable:
        yield result(f"runs {process.exe}", executable, converge)
    if report is None or not report.ready:
        problem = report.errors.get("ready", "no answer") if report else "not asked"
        yield result(f"not ready: {problem}", f"200 from {info.ready_path}", _journal(info.unit))
    elif releases.reported(info.archive, report.version) != version:
        yield result(f"reports release {report.version}", version, converge)


def _activity(unit: Mapping[str, str]) -> str:
    if not unit or unit.get("LoadState") == "not-found":
        return "absent"
    active, sub = unit.get("ActiveState", "unknown"), unit.get("SubState", "")
    return active if sub in ("", "dead", active) else f"{active} ({sub})"


def _check_reloads(view: View) -> Iterator[Result]:
    """A2: what is on disk was accepted when it was last loaded; rules can be evaluated."""
    for component in (*PROMETHEUS, "alertmanager"):
        for member, report in view.reports(component):
            if report.ready and report.reload_success is False:
                yield Result(
                    member.name,
                    "A2",
                    f"{component} refused its files when it last loaded them",
                    "the last reload successful",
                    _journal(DAEMONS[component].unit) + "; then deploy again",
                )
    for member, report in view.prometheus():
        broken = [f"{rule.group}/{rule.name}" for rule in report.rules if rule.health == "err"]
        if broken:
            found = f"rules that cannot be evaluated: {some(broken)}"
            advice = "the page Status > Rule health of Prometheus shows the errors"
            yield Result(member.name, "A2", found, "none", advice, "warn")


def _check_external_labels(view: View) -> Iterator[Result]:
    """A3: replicas of a cluster differ in `replica` and in nothing else, as in the settings."""
    for cluster, members in view.clusters().items():
        seen: dict[str, str] = {}
        common: tuple[str, dict[str, str]] | None = None
        for member, report in members:
            if "config" in report.errors:
                yield _unanswered(member, "A3", "prometheus", "config", report)
                continue
            labels = {key: str(value) for key, value in report.external_labels.items()}
            ours = {CLUSTER_LABEL: cluster, REPLICA_LABEL: str(member.settings.replica)}
            if not ours.items() <= labels.items():
                yield Result(
                    member.name,
                    "A3",
                    f"external labels {_labels(labels)}",
                    f"{_labels(ours)} among them",
                    "the deploy mends it: pyinfra inventory.py deploys/prometheus.py",
                )
            replica = labels.pop(REPLICA_LABEL, "")
            if replica in seen:
                yield Result(
                    member.name,
                    "A3",
                    f"replica {replica!r}, as on {seen[replica]}",
                    "a replica label of its own",
                    "give each Prometheus of a cluster its own `replica` in inventory.py",
                )
            seen[replica] = member.name
            if common is None:
                common = member.name, labels
            elif labels != common[1]:
                yield Result(
                    member.name,
                    "A3",
                    f"external labels {_labels(labels)} besides `replica`",
                    f"{_labels(common[1])}, as on {common[0]}",
                    "set prometheus_config.global.external_labels for the group, not for a host",
                )


def _unanswered(member: Member, check: str, component: str, call: str, report: Any) -> Result:
    return Result(
        member.name,
        check,
        f"{component} did not answer for its {call}: {report.errors[call]}",
        "an answer",
        _journal(DAEMONS[component].unit),
    )


_A4 = (
    "storage.tsdb.min-block-duration",
    "storage.tsdb.max-block-duration",
    "storage.tsdb.delay-compact-file.path",
    "web.enable-admin-api",
    "web.enable-lifecycle",
    "web.enable-remote-write-receiver",
)
_SWITCHES = {
    "web.enable-admin-api": "prometheus_admin_api",
    "web.enable-lifecycle": "prometheus_lifecycle",
}


def size(text: str) -> int:
    """Bytes of a size as Prometheus takes and reports it: 1200GB is 1TiB176GiB; 0 for others."""
    parts = re.findall(r"(\d+)([KMGTPE]?)i?B", text)
    return sum(int(number) << 10 * " KMGTPE".index(unit or " ") for number, unit in parts)


def _wanted_flags(site: Site, member: Member, found: look.State) -> dict[str, str]:
    """The flags of A4 as Prometheus should report them; absent ones are free."""
    component = next(name for name in PROMETHEUS if name in member.components)
    pairs = (
        word.removeprefix("--").partition("=")
        for word in flags.argv(component, site, member, found)[1:]
    )
    given = {name: value if equals else "true" for name, equals, value in pairs}
    wanted = {name: given[name] for name in _A4 if name in given}
    return dict.fromkeys(_SWITCHES, "false") | wanted


def _check_flags(view: View) -> Iterator[Result]:
    """A4: compaction as the sidecar's uploads need it; admin and lifecycle API as intended."""
    for member, report in view.prometheus():
        if not report.ready:
            continue
        if "flags" in report.errors:
            yield _unanswered(member, "A4", "prometheus", "flags", report)
            continue
        host = view.seen[member.name].look
        for name, wanted in (_wanted_flags(view.site, member, host) if host else {}).items():
            found = report.flags.get(name, "nothing")
            if found != wanted:
                yield Result(
                    member.name,
                    "A4",
                    f"prometheus runs with --{name}: {found}",
                    wanted,
                    "the deploy mends it: pyinfra inventory.py deploys/prometheus.py",
                )
        if host:
            yield from _check_retention(member, report, host)
        open_ = [name for name in _SWITCHES if report.flags.get(name) == "true"]
        if open_ and not (
            web.asks_password(member.settings) or web.asks_certificate(member.settings)
        ):
            found = ", ".join(f"--{name}" for name in open_)
            settings = " and ".join(_SWITCHES[name] for name in open_)
            yield Result(
                member.name,
                "A4",
                f"{found}: whoever reaches the port can use them, without credentials",
                "credentials, or the APIs off",
                f"set web_config, or {settings} to False; or let only the site's hosts reach the port",
                "warn",
            )


def _check_retention(
    member: Member, report: prometheus.Report, host: look.State
) -> Iterator[Result]:
    """The limits that are in force, and not what the flags say: a file goes before them (3.8 and newer)."""
    settings = member.settings
    limits = derived.retention(member, host)
    wanted = {"size": size(limits.get("size", "")), "percentage": limits.get("percentage", 0)}
    # Without any limit upstream has its default.
    if kept := seconds(settings.prometheus_retention_time):
        wanted["time"] = kept
    said = {
        "time": f"prometheus_retention_time = {settings.prometheus_retention_time}",
        "size": f"prometheus_retention_size = {settings.prometheus_retention_size}",
    }
    reported = dict(report.retention)
    for limit, read in (("time", seconds), ("size", size)):
        if derived.retention_in_file(member):
            break  # flags are none of ours, and say their default
        # Releases before 2.48 have no metric of the time.
        if given := report.flags.get(f"storage.tsdb.retention.{limit}"):
            reported.setdefault(limit, read(given))
    units = {"time": " s", "size": " bytes", "percentage": " % of the disk"}
    for limit, value in wanted.items():
        found = reported.get(limit, value)
        if found != value:
            yield Result(
                member.name,
                "A4",
                f"prometheus drops blocks at {found:.0f}{units[limit]} ({limit}; 0: no limit)",
                f"{value:.0f}{units[limit]}: {said.get(limit, said['size'])}",
                "the deploy mends it: pyinfra inventory.py deploys/prometheus.py",
            )


def _check_targets(view: View) -> Iterator[Result]:
    """A5: the replicas of a cluster scrape the same things, and all of them answer."""
    for members in view.clusters().values():
        first: tuple[str, set[tuple[str, str]]] | None = None
        for member, report in members:
            if "targets" in report.errors:
                yield _unanswered(member, "A5", "prometheus", "targets", report)
                continue
            scraped = {(target.job, target.instance) for target in report.targets}
            if first is None:
                first = member.name, scraped
            elif scraped != first[1]:
                lacks, more = sorted(first[1] - scraped), sorted(scraped - first[1])
                parts = [f"lacks {_targets(lacks)}"] if lacks else []
                parts += [f"has more: {_targets(more)}"] if more else []
                yield Result(
                    member.name,
                    "A5",
                    "other targets: " + "; ".join(parts),
                    f"those of {first[0]}: deduplication takes replicas for one",
                    "set scrape jobs and targets for the group, not for a host; deploy both",
                )
            yield from _check_up(view, member, report)
    for member, report in view.reports("prometheus-upper"):
        if not report.ready:
            continue
        if "targets" in report.errors:
            yield _unanswered(member, "A5", "prometheus-upper", "targets", report)
            continue
        yield from _check_up(view, member, report)
        yield from _check_federation(view.site, member, report)


def _check_up(view: View, member: Member, report: prometheus.Report) -> Iterator[Result]:
    """What the site itself consists of is scraped."""
    ours = [(t, daemon) for t in report.targets if (daemon := our_target(view, t))]
    down = {
        f"{t.job} {t.instance} ({t.last_error or 'no reason'})": daemon
        for t, daemon in ours
        if t.health == "down"
    }
    for names, about in view.by_cause(down):
        found = f"{len(names)} of {len(ours)} targets of the site down: {some(names)}"
        advice = "on that host: does the service run, and can its port be reached?"
        yield Result(member.name, "A5", found, "all up", advice, about=about)
    new = {f"{t.job} {t.instance}": daemon for t, daemon in ours if t.health == "unknown"}
    for names, about in view.by_cause(new):
        found = f"not scraped yet: {some(sorted(names))}"
        advice = "ask again in a minute"
        yield Result(member.name, "A5", found, "all up", advice, "warn", about)


def _check_own_targets(view: View) -> Iterator[Result]:
    """A5: the user's own targets. What they are is not the site's business: a warning, once for each job."""
    jobs: dict[tuple[str, str], dict[tuple[str, str], dict[str, prometheus.Target]]] = {}
    for member, report in view.prometheus():
        for target in report.targets if report.ready else ():
            if not our_target(view, target):
                job = jobs.setdefault((member.settings.cluster, target.job), {})
                job.setdefault((target.instance, target.scrape_url), {})[member.name] = target
    for (_, job), targets in jobs.items():
        for health, says in (("down", "down"), ("unknown", "not scraped yet")):
            ill = {
                instance: {name: t for name, t in seen.items() if t.health == health}
                for (instance, _), seen in targets.items()
            }
            ill = {instance: seen for instance, seen in ill.items() if seen}
            if not ill:
                continue
            names = [
                f"{instance} ({next(iter(seen.values())).last_error or 'no reason'})"
                if health == "down"
                else instance
                for instance, seen in sorted(ill.items())
            ]
            found = f"job {job}: {len(ill)} of {len(targets)} targets {says}: {some(names)}"
            asked = {name for seen in targets.values() for name in seen}
            see = {name for seen in ill.values() for name in seen}
            found += f"; as {', '.join(sorted(see))} alone sees it" if len(see) < len(asked) else ""
            advice = "a target of your own: does it run, and can its port be reached?"
            host = next(name for name in view.site.hosts if name in see)
            yield Result(host, "A5", found, "all up", advice, "warn")


def _check_federation(site: Site, member: Member, report: prometheus.Report) -> Iterator[Result]:
    """spec/000 8: every replica of every cluster is federated."""
    wanted = {
        (job["job_name"], target)
        for job in upper.federation_jobs(site, member)
        for group in job["static_configs"]
        for target in group["targets"]
    }
    found = {(t.job, t.instance) for t in report.targets}
    if missing := sorted(wanted - found):
        yield Result(
            member.name,
            "spec/000 8",
            f"does not federate {_targets(missing)}",
            f"all {len(wanted)} replicas of the site",
            "the deploy mends it: pyinfra inventory.py deploys/upper.py",
        )


def _check_remote_write(view: View) -> Iterator[Result]:
    """spec/000 7: what is scraped reaches the receivers."""
    for member, report in view.prometheus():
        if not report.ready:
            continue
        urls = {queue.url for queue in report.remote_write}
        for entry in member.settings.prometheus_config.get("remote_write", []):
            if entry.get("url") not in urls:
                yield Result(
                    member.name,
                    "spec/000 7",
                    f"no remote write to {entry.get('url')}",
                    "a queue for every receiver",
                    "the deploy mends it: pyinfra inventory.py deploys/site.py",
                )
        for queue in report.remote_write:
            if queue.behind is not None and queue.behind <= alerts.BEHIND:
                continue
            says = "nothing sent yet" if queue.behind is None else f"{queue.behind:.0f} s behind"
            found = f"remote write to {queue.url}: {says}, {queue.pending:.0f} samples wait"
            found += f", {queue.failed:.0f} were refused" if queue.failed else ""
            wanted = f"at most {alerts.BEHIND:.0f} s behind"
            advice = f"its error is in {_journal('prometheus')}: receiver, port, CA or password?"
            about = view.addresses.get(urlsplit(queue.url).netloc)
            yield Result(member.name, "spec/000 7", found, wanted, advice, about=about)


def _targets(pairs: Iterable[tuple[str, str]]) -> str:
    return some(f"{job} {instance}" for job, instance in pairs)


def _check_stores(view: View) -> Iterator[Result]:
    """A6: every querier lists every StoreAPI, without error and with its labels."""
    wanted = {derived.store_target(view.site, name, m): (name, m) for name, m in view.site.stores()}
    for member, report in view.reports("thanos-querier"):
        if not report.ready:
            continue
        if "stores" in report.errors:
            yield _unanswered(member, "A6", "thanos-querier", "stores", report)
            continue
        stores = {store.address: store for store in report.stores}
        for entry in member.settings.querier_endpoints:
            target = entry["address"]
            if "+" in target:  # listed as what it stands for
                continue
            store = stores.pop(target, None)
            if store is None or store.last_error:
                yield Result(
                    member.name,
                    "A6",
                    f"querier_endpoints: {target}: {store.last_error if store else 'is not listed'}",
                    "listed, without error",
                    "is it up, is its gRPC port open from here, and does it speak gRPC without TLS?",
                )
        for target, (component, other) in wanted.items():
            store = stores.pop(target, None)
            labels = derived.store_labels(component, other)
            what = f"{component} of {other.name} ({target})"
            advice = f"on {other.name}: {_journal(DAEMONS[component].unit)}; "
            advice += "is the port open from here?"
            if store is None:
                found, wanted_of_it = f"{what} is not listed", "listed"
            elif store.last_error:
                found, wanted_of_it = f"{what}: {store.last_error}", "no error"
            elif labels and not any(labels.items() <= one.items() for one in store.label_sets):
                found = f"{what} has {some(map(_labels, store.label_sets)) or 'no labels'}"
                wanted_of_it = _labels(labels)
            else:
                continue
            about = other.name, component
            yield Result(member.name, "A6", found, wanted_of_it, advice, about=about)
        if stores and not any("+" in e["address"] for e in member.settings.querier_endpoints):
            yield Result(
                member.name,
                "A6",
                f"stores that the inventory does not have: {some(sorted(stores))}",
                f"the {len(wanted)} of the site",
                "deploy again; a store of your own belongs in the inventory",
                "warn",
            )


def _check_deduplication(view: View) -> Iterator[Result]:
    """A7 and spec/000 11: `up` is there once for each replica, and once in all with dedup on."""
    replicas = {
        cluster: {str(member.settings.replica) for member in members}
        for cluster, members in view.site.clusters.items()
    }
    slow = slow_jobs(view.site)
    # Labels are compared where two targets share an address: what counts is the series.
    targets = {
        cluster: max(
            len(
                {
                    frozenset(t.labels.items())
                    for t in report.targets
                    if t.last_scrape and t.job not in slow
                }
            )
            for _, report in reports
        )
        for cluster, reports in view.clusters().items()
    }
    # What a replica that is away does not give is no news; the others have to give all of it.
    away = {
        (m.settings.cluster, str(m.settings.replica)): daemon
        for m in view.site.members("prometheus")
        for daemon in ((m.name, "thanos-sidecar"), (m.name, "prometheus"))
        if daemon in view.broken
    }
    stores = {
        derived.store_target(view.site, name, m): (m.name, name) for name, m in view.site.stores()
    }
    gone = {target: daemon for target, daemon in stores.items() if daemon in view.broken}
    for member, report in view.reports("thanos-querier"):
        if report.ready:
            said = view.seen[member.name].queries
            answers = {
                call.name: read_query(said.get(call.name, NO_ANSWER)) for call in queries(view.site)
            }
            judged = _judge_deduplication(answers, replicas, targets, away, gone)
            for found, wanted, about in judged:
                advice = (
                    "does the querier list all stores without error (A6)? Are all targets up (A5)?"
                )
                yield Result(member.name, "A7", found, wanted, advice, about=about)


def _judge_deduplication(
    answers: Mapping[str, Query],
    replicas: Mapping[str, set[str]],
    targets: Mapping[str, int],
    away: Mapping[tuple[str, str], Daemon],
    gone: Mapping[str, Daemon],
) -> Iterator[tuple[str, str, Daemon | None]]:
    """What was found, what is wanted, and about whom it is, of each thing that is wrong. `away` are the replicas that
    do not do their job, `gone` the addresses of stores that do not."""
    for name, answer in answers.items():
        if answer.problem:
            # It waits for a store whose host is gone, until the connection is given up.
            waits = TIMED_OUT in answer.problem
            about = next(iter(gone.values()), None) if waits else None
            yield f"query {name}: {answer.problem}", "an answer", about
    # Each query meets the same stores, and warns of the same one.
    warned: dict[Daemon | None, str] = {}
    for warning in sorted({w for answer in answers.values() for w in answer.warnings}):
        about = next((daemon for target, daemon in gone.items() if target in warning), None)
        warned.setdefault(about, warning)
    for about, warning in warned.items():
        yield f"a partial answer: {warning[:200]}", "whole answers, without warnings", about
    if any(answer.problem for answer in answers.values()):
        return
    raw, living = _counted(answers["up-raw"]), set()
    for cluster, names in replicas.items():
        missing = {
            replica: away[cluster, replica] for replica in names if (cluster, replica) in away
        }
        for replica, about in missing.items():
            yield f"no `up` of replica {replica} of cluster {cluster}", "one of each replica", about
        names = names - set(missing)
        if not names:
            continue
        living.add(cluster)
        found = {r: n for (one, r), n in raw.items() if one == cluster and r not in missing}
        wanted = targets.get(cluster, max(found.values(), default=0))
        if set(found) != names or any(n != wanted for n in found.values()):
            shown = ", ".join(f"{k or 'no replica'}: {n:g}" for k, n in sorted(found.items()))
            yield (
                f"`up` of cluster {cluster}, dedup off: {shown or 'nothing'}",
                f"{wanted:g} series from each of {', '.join(sorted(names))}",
                None,
            )
        once = {
            replica: n for (one, replica), n in _counted(answers["up"]).items() if one == cluster
        }
        if once != {"": wanted}:
            shown = ", ".join(f"{n:g} with {k or 'no replica'}" for k, n in sorted(once.items()))
            yield (
                f"`up` of cluster {cluster}, dedup on: {shown or 'nothing'}",
                f"{wanted:g} series without the label {REPLICA_LABEL}",
                None,
            )
    counted = _counted(answers["prometheus-up"])
    for cluster in living:
        # Every Prometheus scrapes those of its cluster, which are one series each.
        wanted = len(replicas[cluster])
        if (count := counted.get((cluster, ""), 0)) != wanted:
            found = f"`up` of the Prometheus of cluster {cluster} is {count:g} with dedup on"
            yield found, f"{wanted}, one for each Prometheus", None


def _counted(query: Query) -> dict[tuple[str, str], float]:
    return {
        (labels.get(CLUSTER_LABEL, ""), labels.get(REPLICA_LABEL, "")): value
        for labels, value in query.vector
    }


def _check_gossip(view: View) -> Iterator[Result]:
    """A17 and spec/000 11: one cluster of all Alertmanagers, with one configuration."""
    members = {
        view.site.endpoint("alertmanager", member, "cluster").target: member.name
        for member in view.site.members("alertmanager")
    }
    gossip = len(members) > 1
    first: tuple[str, float] | None = None
    for member, report in view.reports("alertmanager"):
        if not report.ready:
            continue
        failed = next((call for call in ("status", "metrics") if call in report.errors), None)
        if failed:
            yield _unanswered(member, "A17", "alertmanager", failed, report)
            continue
        advice = "is the gossip port open between them, TCP and UDP? " + _journal("alertmanager")
        if gossip:
            peers = {peer.address for peer in report.peers}
            missing = {
                name: (name, "alertmanager")
                for target, name in members.items()
                if target not in peers
            }
            for names, about in view.by_cause(missing):
                found, wanted = f"does not see {', '.join(names)}", f"all {len(members)} as peers"
                yield Result(member.name, "A17", found, wanted, advice, about=about)
            if report.cluster_status != "ready":
                found = f"gossip is {report.cluster_status}"
                yield Result(member.name, "A17", found, "ready, that is settled", advice)
            if report.failed_peers:
                found = f"failed peers: {report.failed_peers}"
                down = [one for one in missing.values() if one in view.broken]
                about = down[0] if report.failed_peers <= len(down) else None
                yield Result(member.name, "A17", found, "0", advice, about=about)
            strange = sorted(peers - set(members))
            if strange:
                yield Result(
                    member.name,
                    "A17",
                    f"peers that the inventory does not have: {some(strange)}",
                    f"the {len(members)} of the site",
                    "stop the Alertmanager there; it is forgotten after the reconnect timeout",
                    "warn",
                )
        if first is None:
            first = member.name, report.config_hash
        elif report.config_hash != first[1]:
            yield Result(
                member.name,
                "A17",
                f"another configuration loaded than on {first[0]}",
                "the same on all: they take turns in sending the same notifications",
                "the deploy mends it: pyinfra inventory.py deploys/alertmanager.py",
            )


def _check_notifications(view: View) -> Iterator[Result]:
    """Notifications arrive. Who else would say that nobody is told?"""
    for member, report in view.reports("alertmanager"):
        for one in report.sent if report.ready else ():
            if not one.failed:
                continue
            to = (
                f"the receiver {one.receiver} ({one.integration})"
                if one.receiver
                else one.integration
            )
            found = f"{one.failed} of {one.tried} notifications to {to} failed since its start or reload"
            if said := _failure(view.seen[member.name].failures, one):
                found += f"; last: {said}"
            advice = f"is the receiver's address right, and can it be reached? {_journal('alertmanager')}"
            yield Result(member.name, "notifications", found, "0 failed", advice, "warn")


def _failure(lines: Iterable[str], sent: alertmanager.Sent) -> str:
    """When and how a receiver failed last, by the journal; without the paths of URLs, in which secrets are.

    Upstream writes RECEIVER/INTEGRATION[NUMBER] before the error, or both as fields of their own.
    """
    place = rf"{re.escape(sent.receiver)}/" if sent.receiver else "/"
    named = re.compile(
        rf"{place}{re.escape(sent.integration)}\[|integration={re.escape(sent.integration)}\["
    )
    for line in reversed(list(lines)):
        if not named.search(line) or sent.receiver not in line:
            continue
        error = re.search(r'err="((?:[^"\\]|\\.)*)"', line)
        said = f"{line.split()[0]} {error[1] if error else line}".replace('\\"', '"')
        return re.sub(r"(://[^/\s\"]+/)[^\s\":]*", r"\1...", said)[:300]
    return ""


def _check_discovered(view: View) -> Iterator[Result]:
    """A18: every Prometheus sends to every Alertmanager."""
    wanted = {
        view.site.endpoint("alertmanager", member).target: member.name
        for member in view.site.members("alertmanager")
    }
    for member, report in view.prometheus():
        if not report.ready:
            continue
        if "alertmanagers" in report.errors:
            yield _unanswered(member, "A18", "prometheus", "alertmanagers", report)
            continue
        known = {urlsplit(url).netloc for url in report.alertmanagers}
        missing = {
            name: (name, "alertmanager") for target, name in wanted.items() if target not in known
        }
        for names, about in view.by_cause(missing):
            yield Result(
                member.name,
                "A18",
                f"prometheus does not send to {', '.join(names)}",
                f"all {len(wanted)} Alertmanagers discovered",
                "the deploy mends it: pyinfra inventory.py deploys/prometheus.py",
                about=about,
            )


def _check_sidecars(view: View) -> Iterator[Result]:
    """spec/000 5: the sidecar sees its Prometheus."""
    for member, report in view.sidecars():
        if report.ready and report.prometheus_up is False:
            yield Result(
                member.name,
                "A6",
                "thanos-sidecar does not reach its Prometheus",
                "thanos_sidecar_prometheus_up 1",
                _journal("thanos-sidecar"),
                about=(member.name, "prometheus"),
            )


def _check_rulers(view: View) -> Iterator[Result]:
    """A25: the rulers loaded what is on their disks, can evaluate it, and have lost no alert."""
    unit = DAEMONS["thanos-rule"].unit
    for member, report in view.reports("thanos-rule"):
        if not report.ready:
            continue
        rules = thanos.rules(report)
        if isinstance(rules, str):
            found = f"thanos-rule did not answer for its rules: {rules}"
            yield Result(member.name, "A25", found, "an answer", _journal(unit))
            continue
        if report.values.get(thanos.RULES_LOADED) == 0:
            found = "thanos-rule refused its rules when it last loaded them"
            advice = f"{_journal(unit)}; then deploy again"
            yield Result(member.name, "A2", found, "the last reload successful", advice)
        broken = [f"{r.group}/{r.name} ({r.last_error})" for r in rules if r.health == "err"]
        if broken:
            found = f"rules that cannot be evaluated: {some(broken)}"
            advice = "do the queriers answer (A6, A7)? " + _journal(unit)
            queriers = [(one.name, "thanos-querier") for one in view.site.running("thanos-querier")]
            all_down = queriers and all(one in view.broken for one in queriers)
            about = queriers[0] if all_down else None
            yield Result(member.name, "A25", found, "none", advice, "warn", about)
        wanted = {one for file in member.settings.rule_rules.values() for one in _named(file)}
        missing = wanted - {(rule.group, rule.name) for rule in rules}
        if missing:
            found = f"rules that are not loaded: {some('/'.join(one) for one in sorted(missing))}"
            advice = "the deploy mends it: pyinfra inventory.py deploys/rule.py"
            yield Result(member.name, "A25", found, "all of rule_rules", advice)
        if lost := sum(report.values.get(name, 0) for name in thanos.ALERTS_LOST):
            found = f"{lost:.0f} alerts reached no Alertmanager since its start"
            advice = f"do the Alertmanagers answer from here? {_journal(unit)}"
            yield Result(member.name, "A25", found, "0", advice, "warn")


def _named(rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Group and name of the rules in a file."""
    for group in rules["groups"]:
        for rule in group.get("rules") or []:
            yield str(group.get("name")), str(rule.get("alert") or rule.get("record"))


def _check_hashring(view: View) -> Iterator[Result]:
    """All receivers have loaded the same hashring, which is that of the inventory."""
    size = len(view.site.running("thanos-receive"))
    first: tuple[str, float | None] | None = None
    for member, report in view.reports("thanos-receive"):
        if not report.ready:
            continue
        if "metrics" in report.errors:
            yield _unanswered(member, "hashring", "thanos-receive", "metrics", report)
            continue
        seen, advice = report.values, f"it reads a new file by itself: {_journal('thanos-receive')}"
        nodes, loaded = seen.get(thanos.RING_NODES, 0), seen.get(thanos.RING_HASH)
        if nodes != size or seen.get(thanos.RING_LOADED) == 0:
            found = f"a hashring of {nodes:.0f} members is loaded"
            yield Result(member.name, "hashring", found, f"one of {size}", advice)
        elif first is None:
            first = member.name, loaded
        elif loaded != first[1]:
            found = f"another hashring is loaded than on {first[0]}"
            yield Result(member.name, "hashring", found, "the same on all", advice)
        wanted = member.settings.receive_replication
        if (copies := seen.get(thanos.RING_COPIES, wanted)) != wanted:
            found = f"each sample is kept by {copies:.0f} members"
            advice = "the deploy mends it: pyinfra inventory.py deploys/receive.py"
            yield Result(member.name, "hashring", found, f"{wanted}", advice)


def _check_clocks(view: View) -> Iterator[Result]:
    """spec/000 1.1: the clock is kept, by the host or by the machine around a container."""
    for name, seen in view.seen.items():
        if seen.look is None or view.site.hosts[name].settings.timesync == "host":
            continue
        check, advice = "spec/000 1.1", "chronyc sources; is an NTP server reachable from the host?"
        try:
            clock = timesync.of_look(seen.look.units, seen.look.extra.get("timesync", []))
        except FactProcessError as error:
            yield Result(name, check, str(error), "a clock that is kept", advice, "warn")
            continue
        if clock.verdict not in ("synchronised", "clock of the container's host"):
            service = f" ({clock.service})" if clock.service else ""
            found = f"clock: {clock.verdict}{service}"
            if clock.verdict == "no service":
                advice = "pyinfra inventory.py deploys/timesync.py installs one"
            yield Result(name, check, found, "synchronised", advice)
        elif clock.offset_seconds is not None and abs(clock.offset_seconds) > CLOCK_OFFSET:
            found = f"clock: {clock.offset_seconds * 1000:.0f} ms off"
            wanted = f"at most {CLOCK_OFFSET * 1000:.0f} ms"
            yield Result(name, check, found, wanted, advice, "warn")


def _check_kernel(view: View) -> Iterator[Result]:
    """spec/000 4.2: the live kernel values are the wanted ones."""
    for name, seen in view.seen.items():
        if seen.look is None:
            continue
        member = view.site.hosts[name]
        for key, wanted in kernel.differing(member, seen.look).items():
            yield Result(
                name,
                "spec/000 4.2",
                f"{key} = {seen.look.sysctl.get(key, 'no such value')}",
                wanted,
                "pyinfra inventory.py deploys/kernel.py; or does another file in sysctl.d win?",
            )
        for path, text in kernel.overridden(member, seen.look).items():
            yield Result(
                name,
                "spec/000 4.2",
                f"at boot {path} sets {topology.RESERVED_PORTS} = {text}",
                kernel.files(member, seen.look)[topology.PORTS_FILE][topology.RESERVED_PORTS],
                f"give that file a name that sorts before {topology.PORTS_FILE}",
                "warn",
            )


def _check_settings(view: View) -> Iterator[Result]:
    """Settings that are doubtful, though they can be deployed."""
    for finding in view.site.findings:
        host = finding.host or next(iter(view.seen), "")
        found = f"{finding.key}: {finding.found}"
        advice = f"change it in {finding.where or 'inventory.py or group_data'}"
        yield Result(host, "settings", found, finding.allowed, advice, "warn")


CHECKS = (
    _check_units,
    _check_reloads,
    _check_external_labels,
    _check_flags,
    _check_targets,
    _check_own_targets,
    _check_remote_write,
    _check_sidecars,
    _check_stores,
    _check_deduplication,
    *storage_checks.CHECKS,
    _check_gossip,
    _check_notifications,
    _check_discovered,
    _check_rulers,
    _check_hashring,
    _check_clocks,
    _check_kernel,
    _check_settings,
)


def judge(view: View) -> list[Result]:
    """Everything that is not as it should be, failures first. Empty where the site is well.

    A report that a check does not understand fails that check, and no other. What another failure explains is told
    under that.
    """
    results: list[Result] = []
    for check in CHECKS:
        try:
            results += check(view)
        except Exception as error:  # noqa: BLE001  (whatever a daemon of another release may say)
            found = f"{check.__name__.removeprefix('_check_')}: not judged: {error!r}"
            first = next(iter(view.seen), "")
            results.append(
                Result(first, "verify", found, "reports that are understood", "report it")
            )
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
            found.append(
                Row(name, component, version, health, _address(view.site, member, component))
            )
    return found


def _address(site: Site, member: Member, component: str) -> str:
    """Where a person opens it."""
    return derived.external_url(component, member) or site.endpoint(component, member).url


def _state(view: View, name: str, component: str) -> tuple[str, str]:
    if name not in view.seen:
        return "-", "unreachable"
    seen = view.seen[name]
    report = seen.daemons.get(component)
    unit = seen.look.units.get(DAEMONS[component].unit, {}) if seen.look else {}
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


def table(view: View, results: Iterable[Result]) -> list[str]:
    """The site and its failed checks as lines of text."""
    head = Row("HOST", "ROLE", "VERSION", "HEALTH", "ADDRESS")
    listed = rows(view)
    cells = [
        (row.host, row.component, row.version, row.health, row.address) for row in [head, *listed]
    ]
    lines = aligned(cells)
    results = list(results)
    lines += listed_results(results)
    failed = [result for result in results if result.severity == "fail"]
    asked = f"{len(listed)} daemons on {len({row.host for row in listed})} hosts"
    dead = [name for name in view.site.hosts if name in view.dead]
    lines += ["", f"{asked}; checks failed: {len(failed)}, warnings: {len(results) - len(failed)}"]
    lines += [f"unreachable: {', '.join(dead)}"] if dead else []
    lines += [f"not asked (--limit): {', '.join(view.not_asked)}"] if view.not_asked else []
    return [printable(line) for line in lines]  # what a daemon says is printed, and not obeyed
