"""Is the site what the inventory says? Judgement of what the hosts and their daemons report.

Nothing here touches a host: `questions` is the script that a host is asked, `read` makes a `Seen` of
what it printed, `judge` compares all of them with the inventory and `table` prints the lot. The
checks are named as in the list of assertions that upstream's own tests led to: A1 (units and
releases), A2 (last reload), A3 (external labels), A4 (flags), A5 (targets), A6 (stores), A7
(deduplication), A17 (gossip), A18 (Prometheus knows all Alertmanagers); or by their chapter of
spec/000.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pyinfra.api.exceptions import FactProcessError

from deploys.lib import flags, topology
from deploys.lib.service import installed
from deploys.lib.settings import CLUSTER_LABEL, REPLICA_LABEL
from deploys.lib.site import Member, Site
from facts import alertmanager, look, prometheus, thanos, timesync
from facts.http import NO_ANSWER, Answer, Call, metrics, only_metrics, script, split
from facts.look import MARK, sections

CLOCK_OFFSET = 0.05
"""Seconds that a clock may be off: upstream's NodeClockSkewDetected fires above it."""


# --- Asking ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """A daemon of which only readiness and version are asked."""

    ready: bool
    version: str | None = None
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What a host reported: the look (None where it failed), its daemons by component, and the
    answers to the querier's queries by their name."""

    look: look.State | None = None
    daemons: Mapping[str, Any] = field(default_factory=dict)
    queries: Mapping[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """An instant query as it was answered: `problem` is empty where it succeeded."""

    problem: str = ""
    warnings: tuple[str, ...] = ()
    vector: tuple[tuple[dict[str, str], float], ...] = ()


PROMETHEUS_UP = f'count(up{{job="{topology.COMPONENTS["prometheus"].job_name}"}})'
# Counted by the querier: the series themselves would be megabytes on a large site.
COUNTED_UP = f"count by ({CLUSTER_LABEL},{REPLICA_LABEL}) (up)"


def query_call(name: str, query: str, dedup: bool = True) -> Call:
    """An instant query to a querier, as a `Call`."""
    return Call(name, f"/api/v1/query?query={quote(query, safe='')}&dedup={str(dedup).lower()}")


QUERIES = (
    query_call("up-raw", COUNTED_UP, dedup=False),
    query_call("up", COUNTED_UP),
    query_call("prometheus-up", PROMETHEUS_UP),
)
_BUILD_INFO = "node_exporter_build_info"

_CALLS: dict[str, tuple[Call, ...]] = {
    "prometheus": prometheus.CALLS,
    "thanos-sidecar": thanos.SIDECAR_CALLS,
    "alertmanager": alertmanager.CALLS,
    "thanos-querier": (*thanos.QUERIER_CALLS, *QUERIES),
    "node_exporter": (Call("ready", "/metrics", only_metrics(_BUILD_INFO)),),
}


def _plain(lines: list[str]) -> Plain:
    answer = split(lines).get("ready", NO_ANSWER)
    builds = [s for s in metrics(answer.body) if s.name == _BUILD_INFO]
    version = builds[0].labels.get("version") if builds else None
    return Plain(answer.ok, version, {} if answer.ok else {"ready": answer.problem})


_PARSERS: dict[str, Callable[[list[str]], Any]] = {
    "prometheus": prometheus.parse,
    "thanos-sidecar": thanos.parse_sidecar,
    "alertmanager": alertmanager.parse,
    "thanos-querier": thanos.parse_querier,
    "node_exporter": _plain,
}


def sectioned(scripts: Mapping[str, str]) -> str:
    """Several scripts as one, whose output `facts.look.sections` takes apart again."""
    lines = [f"echo {shlex.quote(MARK + name)}\n{one}" for name, one in scripts.items()]
    return "\n".join([*lines, "true"])


def questions(site: Site, member: Member) -> str:
    """The script that asks every daemon of a host, in one command."""
    return sectioned(
        {name: script(site.endpoint(name, member).url, _CALLS[name]) for name in member.components}
    )


def read(member: Member, found: look.State | None, lines: Iterable[str]) -> Seen:
    """What the look and the output of `questions` say. What is not understood counts as not
    answered, with the reason in the daemon's `errors`."""
    parts = sections(list(lines))
    daemons: dict[str, Any] = {}
    for name in member.components:
        try:
            daemons[name] = _PARSERS[name](parts.get(name, []))
        except FactProcessError as error:
            daemons[name] = Plain(False, None, {"ready": str(error)})
    queries: Mapping[str, Answer] = {}
    if parts.get("thanos-querier"):
        try:
            queries = split(parts["thanos-querier"])
        except FactProcessError:
            queries = {}
    return Seen(found, daemons, queries)


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


@dataclass(frozen=True)
class Result:
    """A check that failed, or that a person should look at (`warn`)."""

    host: str
    """A host that was asked; a site-wide failure has the first one of its group."""
    check: str
    found: str
    wanted: str
    advice: str
    severity: Literal["fail", "warn"] = "fail"


@dataclass(frozen=True)
class View:
    """The site beside what was seen of it. Hosts in neither `seen` nor `dead` were not asked."""

    site: Site
    seen: Mapping[str, Seen]
    dead: Collection[str] = ()

    def reports(self, component: str) -> list[tuple[Member, Any]]:
        """The asked hosts that run `component`, and what it said, in inventory order."""
        return [
            (member, self.seen[member.name].daemons[component])
            for member in self.site.running(component)
            if member.name in self.seen and component in self.seen[member.name].daemons
        ]

    def clusters(self) -> dict[str, list[tuple[Member, prometheus.Report]]]:
        """The Prometheus that reported what they scrape, by cluster."""
        found: dict[str, list[tuple[Member, prometheus.Report]]] = {}
        for member, report in self.reports("prometheus"):
            if report.ready:
                found.setdefault(member.settings.cluster, []).append((member, report))
        return found

    @property
    def not_asked(self) -> list[str]:
        """Hosts that this run left out (`--limit`)."""
        return [name for name in self.site.hosts if name not in self.seen and name not in self.dead]


def some(names: Iterable[str], most: int = 4) -> str:
    """A few of the names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def targets_not_up(seen: Seen) -> list[str]:
    """The targets that this host's Prometheus did not reach, or has not asked yet."""
    targets = getattr(seen.daemons.get("prometheus"), "targets", [])
    return [f"{target.job} {target.instance}" for target in targets if target.health != "up"]


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) + "}"


def _journal(unit: str) -> str:
    return f"systemctl status {unit}; journalctl -u {unit}"


def _check_units(view: View) -> Iterator[Result]:
    """A1 and spec/000 11.1: every unit runs what is wanted, and is ready."""
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


def _check_unit(member: Member, found: look.State, component: str, report: Any) -> Iterator[Result]:
    info = topology.COMPONENTS[component]
    unit = found.units.get(info.unit, {})

    def result(found: str, wanted: str, advice: str) -> Result:
        return Result(member.name, "A1", f"{info.unit}: {found}", wanted, advice)

    converge = "the deploy mends it: pyinfra inventory.py deploys/site.py"
    if unit.get("UnitFileState") != "enabled":
        state = unit.get("UnitFileState") or "no unit"
        yield result(state, "enabled, so that a reboot starts it", converge)
    if unit.get("NeedDaemonReload") == "yes":
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
    elif report.version != version:
        yield result(f"reports release {report.version}", version, converge)


def _activity(unit: Mapping[str, str]) -> str:
    if not unit or unit.get("LoadState") == "not-found":
        return "absent"
    active, sub = unit.get("ActiveState", "unknown"), unit.get("SubState", "")
    return active if sub in ("", "dead", active) else f"{active} ({sub})"


def _check_reloads(view: View) -> Iterator[Result]:
    """A2: what is on disk was accepted when it was last loaded; rules can be evaluated."""
    for component in ("prometheus", "alertmanager"):
        for member, report in view.reports(component):
            if report.ready and report.reload_success is False:
                yield Result(
                    member.name,
                    "A2",
                    f"{component} refused its files when it last loaded them",
                    "the last reload successful",
                    _journal(topology.COMPONENTS[component].unit) + "; then deploy again",
                )
    for member, report in view.reports("prometheus"):
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
        _journal(topology.COMPONENTS[component].unit),
    )


_A4 = (
    "storage.tsdb.min-block-duration",
    "storage.tsdb.max-block-duration",
    "storage.tsdb.delay-compact-file.path",
    "web.enable-admin-api",
    "web.enable-lifecycle",
)
_SWITCHES = {
    "web.enable-admin-api": "prometheus_admin_api",
    "web.enable-lifecycle": "prometheus_lifecycle",
}


def _wanted_flags(site: Site, member: Member) -> dict[str, str]:
    """The flags of A4 as Prometheus should report them; absent ones are free."""
    pairs = (
        word.removeprefix("--").partition("=")
        for word in flags.argv("prometheus", site, member)[1:]
    )
    given = {name: value if equals else "true" for name, equals, value in pairs}
    wanted = {name: given[name] for name in _A4 if name in given}
    return dict.fromkeys(_SWITCHES, "false") | wanted


def _check_flags(view: View) -> Iterator[Result]:
    """A4: compaction as the sidecar's uploads need it; admin and lifecycle API as intended."""
    for member, report in view.reports("prometheus"):
        if not report.ready:
            continue
        if "flags" in report.errors:
            yield _unanswered(member, "A4", "prometheus", "flags", report)
            continue
        for name, wanted in _wanted_flags(view.site, member).items():
            found = report.flags.get(name, "nothing")
            if found != wanted:
                yield Result(
                    member.name,
                    "A4",
                    f"prometheus runs with --{name}: {found}",
                    wanted,
                    "the deploy mends it: pyinfra inventory.py deploys/prometheus.py",
                )
        open_ = [name for name in _SWITCHES if report.flags.get(name) == "true"]
        if open_ and not report.flags.get("web.config.file"):
            found = ", ".join(f"--{name}" for name in open_)
            settings = " and ".join(_SWITCHES[name] for name in open_)
            yield Result(
                member.name,
                "A4",
                f"{found}: whoever reaches the port can use them, without credentials",
                "credentials, or the APIs off",
                f"let only the site's hosts reach the port, or set {settings} to False",
                "warn",
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
            down = [t for t in report.targets if t.health == "down"]
            if down:
                named = some(f"{t.job} {t.instance} ({t.last_error or 'no reason'})" for t in down)
                found = f"{len(down)} of {len(report.targets)} targets down: {named}"
                advice = "on that host: does the service run, and can its port be reached?"
                yield Result(member.name, "A5", found, "all up", advice)
            new = [(t.job, t.instance) for t in report.targets if t.health == "unknown"]
            if new:
                found = f"not scraped yet: {_targets(sorted(new))}"
                yield Result(member.name, "A5", found, "all up", "ask again in a minute", "warn")


def _targets(pairs: Iterable[tuple[str, str]]) -> str:
    return some(f"{job} {instance}" for job, instance in pairs)


def _check_stores(view: View) -> Iterator[Result]:
    """A6: every querier lists every sidecar, without error and with its labels."""
    wanted = {
        view.site.endpoint("thanos-sidecar", member, "grpc").target: member
        for member in view.site.running("thanos-sidecar")
    }
    for member, report in view.reports("thanos-querier"):
        if not report.ready:
            continue
        if "stores" in report.errors:
            yield _unanswered(member, "A6", "thanos-querier", "stores", report)
            continue
        stores = {store.name: store for store in report.stores}
        for target, other in wanted.items():
            store = stores.pop(target, None)
            labels = {
                CLUSTER_LABEL: other.settings.cluster,
                REPLICA_LABEL: str(other.settings.replica),
            }
            sidecar = f"the sidecar of {other.name} ({target})"
            advice = f"on {other.name}: {_journal('thanos-sidecar')}; is the port open from here?"
            if store is None:
                yield Result(member.name, "A6", f"{sidecar} is not listed", "listed", advice)
            elif store.last_error:
                found = f"{sidecar}: {store.last_error}"
                yield Result(member.name, "A6", found, "no error", advice)
            elif not any(labels.items() <= one.items() for one in store.label_sets):
                found = f"{sidecar} has {some(map(_labels, store.label_sets)) or 'no labels'}"
                yield Result(member.name, "A6", found, _labels(labels), advice)
        if stores:
            yield Result(
                member.name,
                "A6",
                f"stores that the inventory does not have: {some(sorted(stores))}",
                f"the {len(wanted)} sidecars of the site",
                "deploy again; a store of your own belongs in the inventory",
                "warn",
            )


def _check_deduplication(view: View) -> Iterator[Result]:
    """A7 and spec/000 11: `up` is there once for each replica, and once in all with dedup on."""
    members = view.site.members("prometheus")
    replicas: dict[str, set[str]] = {}
    for member in members:
        replicas.setdefault(member.settings.cluster, set()).add(str(member.settings.replica))
    # Labels are compared where two targets share an address: what counts is the series.
    targets = {
        cluster: max(
            len({frozenset(t.labels.items()) for t in report.targets if t.last_scrape})
            for _, report in reports
        )
        for cluster, reports in view.clusters().items()
    }
    for member, report in view.reports("thanos-querier"):
        if report.ready:
            queries = view.seen[member.name].queries
            answers = {call.name: read_query(queries.get(call.name, NO_ANSWER)) for call in QUERIES}
            for found, wanted in _judge_deduplication(answers, replicas, targets, len(members)):
                advice = (
                    "does the querier list all stores without error (A6)? Are all targets up (A5)?"
                )
                yield Result(member.name, "A7", found, wanted, advice)


def _judge_deduplication(
    answers: Mapping[str, Query],
    replicas: Mapping[str, set[str]],
    targets: Mapping[str, int],
    prometheus_count: int,
) -> Iterator[tuple[str, str]]:
    """What was found and what is wanted, of each thing that is wrong."""
    for name, answer in answers.items():
        if answer.problem:
            yield f"query {name}: {answer.problem}", "an answer"
    # Each query meets the same stores, and warns of the same one.
    for warning in sorted({w for answer in answers.values() for w in answer.warnings})[:2]:
        yield f"a partial answer: {warning[:200]}", "whole answers, without warnings"
    if any(answer.problem for answer in answers.values()):
        return
    raw = _counted(answers["up-raw"])
    for cluster, names in replicas.items():
        found = {replica: n for (one, replica), n in raw.items() if one == cluster}
        wanted = targets.get(cluster, max(found.values(), default=0))
        if set(found) != names or any(n != wanted for n in found.values()):
            shown = ", ".join(f"{k or 'no replica'}: {n:g}" for k, n in sorted(found.items()))
            yield (
                f"`up` of cluster {cluster}, dedup off: {shown or 'nothing'}",
                f"{wanted:g} series from each of {', '.join(sorted(names))}",
            )
        once = {
            replica: n for (one, replica), n in _counted(answers["up"]).items() if one == cluster
        }
        if once != {"": wanted}:
            shown = ", ".join(f"{n:g} with {k or 'no replica'}" for k, n in sorted(once.items()))
            yield (
                f"`up` of cluster {cluster}, dedup on: {shown or 'nothing'}",
                f"{wanted:g} series without the label {REPLICA_LABEL}",
            )
    count = sum(value for _, value in answers["prometheus-up"].vector)
    # Every Prometheus scrapes all of the site's, so each cluster has a series for each.
    wanted = prometheus_count * len(replicas)
    if count != wanted:
        yield f"{PROMETHEUS_UP} is {count:g} with dedup on", f"{wanted}, one for each Prometheus"


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
            missing = [name for target, name in members.items() if target not in peers]
            if missing:
                found = f"does not see {', '.join(missing)}"
                yield Result(member.name, "A17", found, f"all {len(members)} as peers", advice)
            if report.cluster_status != "ready":
                found = f"gossip is {report.cluster_status}"
                yield Result(member.name, "A17", found, "ready, that is settled", advice)
            if report.failed_peers:
                found = f"failed peers: {report.failed_peers}"
                yield Result(member.name, "A17", found, "0", advice)
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


def _check_discovered(view: View) -> Iterator[Result]:
    """A18: every Prometheus sends to every Alertmanager."""
    wanted = {
        view.site.endpoint("alertmanager", member).target: member.name
        for member in view.site.members("alertmanager")
    }
    for member, report in view.reports("prometheus"):
        if not report.ready:
            continue
        if "alertmanagers" in report.errors:
            yield _unanswered(member, "A18", "prometheus", "alertmanagers", report)
            continue
        known = {urlsplit(url).netloc for url in report.alertmanagers}
        missing = [name for target, name in wanted.items() if target not in known]
        if missing:
            yield Result(
                member.name,
                "A18",
                f"prometheus does not send to {', '.join(missing)}",
                f"all {len(wanted)} Alertmanagers discovered",
                "the deploy mends it: pyinfra inventory.py deploys/prometheus.py",
            )


def _check_sidecars(view: View) -> Iterator[Result]:
    """spec/000 5: the sidecar sees its Prometheus."""
    for member, report in view.reports("thanos-sidecar"):
        if report.ready and report.prometheus_up is False:
            yield Result(
                member.name,
                "A6",
                "thanos-sidecar does not reach its Prometheus",
                "thanos_sidecar_prometheus_up 1",
                _journal("thanos-sidecar"),
            )


def _check_clocks(view: View) -> Iterator[Result]:
    """spec/000 1.1: the clock is kept, by the host or by the machine around a container."""
    for name, seen in view.seen.items():
        if seen.look is None or view.site.hosts[name].settings.timesync == "host":
            continue
        check, advice = "spec/000 1.1", "chronyc sources; is an NTP server reachable from the host?"
        try:
            clock = timesync.parse(seen.look.extra.get("timesync", []))
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
        for key, value in view.site.hosts[name].settings.sysctl.items():
            found, wanted = seen.look.sysctl.get(key, "no such value"), " ".join(str(value).split())
            if found != wanted:
                yield Result(
                    name,
                    "spec/000 4.2",
                    f"{key} = {found}",
                    wanted,
                    "pyinfra inventory.py deploys/kernel.py; or does another file in sysctl.d win?",
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
    _check_sidecars,
    _check_stores,
    _check_deduplication,
    _check_gossip,
    _check_discovered,
    _check_clocks,
    _check_kernel,
    _check_settings,
)


def judge(view: View) -> list[Result]:
    """Everything that is not as it should be, failures first. Empty where the site is well.

    A report that a check does not understand fails that check, and no other.
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
    return sorted(results, key=lambda result: result.severity != "fail")


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
    external = getattr(member.settings, f"{component}_external_url", None)
    return external or site.endpoint(component, member).url


def _state(view: View, name: str, component: str) -> tuple[str, str]:
    if name not in view.seen:
        return "-", "unreachable"
    seen = view.seen[name]
    report = seen.daemons.get(component)
    unit = seen.look.units.get(topology.COMPONENTS[component].unit, {}) if seen.look else {}
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
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    results = list(results)
    lines += [""] if results else []
    for hosts, one in _merged(results):
        lines.append(f"{one.severity}  {one.check}  {some(hosts)}: {one.found}")
        lines.append(f"      wanted: {one.wanted}; to do: {one.advice}")
    failed = [result for result in results if result.severity == "fail"]
    asked = f"{len(listed)} daemons on {len({row.host for row in listed})} hosts"
    dead = [name for name in view.site.hosts if name in view.dead]
    lines += ["", f"{asked}; checks failed: {len(failed)}, warnings: {len(results) - len(failed)}"]
    lines += [f"unreachable: {', '.join(dead)}"] if dead else []
    lines += [f"not asked (--limit): {', '.join(view.not_asked)}"] if view.not_asked else []
    return lines


def _merged(results: Iterable[Result]) -> list[tuple[list[str], Result]]:
    """The same thing said of several hosts is said once."""
    found: dict[tuple[str, ...], tuple[list[str], Result]] = {}
    for result in results:
        key = (result.severity, result.check, result.found, result.wanted, result.advice)
        hosts = found.setdefault(key, ([], result))[0]
        if result.host not in hosts:
            hosts.append(result.host)
    return list(found.values())


# --- The drill's notifications --------------------------------------------------------------------

SENT = Call("sent", "/metrics", only_metrics("alertmanager_notifications_total"))
DRILL_ALERT = "DrillTestAlert"
DRILL_LABEL = "drill"


@dataclass(frozen=True)
class Mailbox:
    """What one Alertmanager says while a test alert is under way."""

    report: alertmanager.Report
    sent: Mapping[tuple[str, str], float]
    """Notifications since its start, by integration and by receiver (empty where it does not say)."""

    def alerts(self, drill: str) -> list[alertmanager.Alert]:
        """The alerts of this drill."""
        return [alert for alert in self.report.alerts if alert.labels.get(DRILL_LABEL) == drill]


def read_mailbox(lines: list[str]) -> Mailbox:
    """The answers to `alertmanager.CALLS` and `SENT`. Raises FactProcessError for other text."""
    sent: dict[tuple[str, str], float] = {}
    for sample in metrics(split(lines).get("sent", NO_ANSWER).body):
        key = sample.labels.get("integration", ""), sample.labels.get("receiver_name", "")
        sent[key] = sent.get(key, 0) + sample.value
    return Mailbox(alertmanager.parse(lines), sent)


@dataclass(frozen=True)
class Notified:
    """Notifications of a test alert. `others` are alerts whose own could be among `count`."""

    count: int
    wanted: int
    others: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Exactly as many as wanted; at least as many, where others' cannot be told from them."""
        return self.count >= self.wanted if self.others else self.count == self.wanted

    def __str__(self) -> str:
        if not self.others:
            return f"{self.count} sent in all, {self.wanted} wanted"
        return (
            f"{self.count} sent in all, at least {self.wanted} wanted: those of "
            f"{some(self.others)} cannot be told from the drill's"
        )


def notified(
    before: Mapping[str, Mailbox],
    after: Mapping[str, Mailbox],
    drill: str,
    others: set[tuple[str, str]],
) -> Notified:
    """How many notifications the test alert made, over all Alertmanagers.

    From 0.27 on with `--enable-feature=receiver-name-in-metrics`, only those of the test alert's
    receivers are counted, and only other alerts of these receivers can be among them. Without it
    the counter is one for each integration, and any other alert's can be. `others` are name and
    receiver of all other alerts that were active meanwhile.
    """
    boxes = list(after.values())
    receivers = {name for box in boxes for alert in box.alerts(drill) for name in alert.receivers}
    named = all(receiver for box in boxes for _, receiver in box.sent)
    count = sum(
        value - before[name].sent.get(key, 0)
        for name, box in after.items()
        if name in before
        for key, value in box.sent.items()
        if not named or key[1] in receivers
    )
    mixed = {alert for alert, receiver in others if not named or receiver in receivers}
    return Notified(round(count), _integrations(boxes, receivers), tuple(sorted(mixed)))


def other_alerts(boxes: Iterable[Mailbox], drill: str) -> set[tuple[str, str]]:
    """Name and receiver of the alerts besides the drill's that may notify."""
    return {
        (alert.labels.get("alertname", "an alert without name"), receiver)
        for box in boxes
        for alert in box.report.alerts
        if alert.labels.get(DRILL_LABEL) != drill and alert.state != "suppressed"
        for receiver in alert.receivers
    }


def _integrations(boxes: list[Mailbox], receivers: set[str]) -> int:
    """How many notifications one alert makes: one for each integration of its receivers."""
    for box in boxes:
        defined = [
            r for r in box.report.config.get("receivers") or [] if r.get("name") in receivers
        ]
        if defined:
            return sum(
                len(value or ())
                for receiver in defined
                for key, value in receiver.items()
                if key.endswith("_configs")
            )
    return 1
