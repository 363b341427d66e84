"""Thanos queriers (spec/000 9): one view over all replicas, deduplicated by the replica label.

The list of stores is a file that the querier watches: a new Prometheus needs neither reload nor restart. A new flag
or release is a restart, one querier at a time. Back up means: ready, and every store that is alive listed without
error.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import promql, starter, thanos_alerts, verify_view
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.daemons.thanos import ENDPOINTS_FILE, THANOS_DIR
from prometheus_ha.deploys.lib.engine import documents, flags, service
from prometheus_ha.deploys.lib.engine.ask import at_once, script
from prometheus_ha.deploys.lib.engine.component import Component, Directory
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, alike
from prometheus_ha.deploys.lib.ground.findings import Daemon, Finding
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.roles.prometheus import PROMETHEUS
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.facts.http import NO_ANSWER, TIMED_OUT, Call, split
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    own, files = member.own(daemons.QUERIER), {}
    if derived.endpoints_file(member):  # older releases get their stores as flags
        files[own.at(ENDPOINTS_FILE)] = documents.file(endpoints_yml(site, member))
    return service.component(
        "querier",
        *(site, member, found, daemons.QUERIER),
        files=files,
        directories={own.at(THANOS_DIR): Directory("750", managed=True)},
    )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and every store that is alive is listed without error: one that has not found its sidecars yet answers
    200, empty, and with no warning."""
    stores = [
        (name, other)
        for name, other in site.stores()
        # One that is still to move to where it is asked for (a ruler, whose turn comes later) is not there yet.
        if other.name not in site.live.away
        and site.live.port(other.own(name), other.name, "grpc") in (None, site.endpoint(name, other, "grpc").port)
    ]
    questions = at_once(
        [
            script(
                *(site, member, daemons.QUERIER),
                thanos.QUERIER_CALLS,
                either=member.name != asked_by.name,
            ),
            *(
                script(
                    *(site, other, name),
                    [Call(f"store {name} {other.name}", "/-/ready")],
                    either=other.name != asked_by.name,
                )
                for name, other in stores
            ),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        report = thanos.parse_querier(lines)
        answers = split(lines)
        if not report.ready:
            return Progress(False, f"not ready: {report.errors.get('ready', '')}")
        listed = {store.address for store in report.stores if not store.last_error}
        # By itself or in a group: one that waits for its turn may still have the one for the other.
        in_group = any("+" in address for address in listed)
        missing = [
            f"{name} on {other.name}"
            for name, other in stores
            if answers.get(f"store {name} {other.name}", NO_ANSWER).ok
            and site.endpoint(name, other, "grpc").target not in listed
            and not (name == daemons.STORE.name and in_group)
        ]
        if missing:
            return Progress(False, f"does not list {', '.join(missing)}", ("stores", len(missing)))
        return Progress(True, f"ready with {len(listed)} stores", "ok")

    return Gate(questions, judge)


def endpoints(kind: str) -> flags.Here:
    """The addresses that belong to one of the flags which older queriers get them by."""

    def belongs(entry: dict[str, Any]) -> bool:
        strict = "endpoint-strict" if entry.get("strict") else "endpoint"
        return kind == ("endpoint-group" if entry.get("group") else strict)

    return lambda site, member, found: [entry["address"] for entry in derived.endpoints(site, member) if belongs(entry)]


def endpoints_yml(site: Site, member: Member) -> Data:
    """Whom a querier asks, for `--endpoint.sd-config-file` (Thanos 0.38 and newer)."""
    return {"endpoints": derived.endpoints(site, member)}


STORES_MISSING = Alert(
    "ThanosQueryStoresMissing",
    "thanos",
    {"warning": None},
    "The querier on <host> sees {{ $value }} of <wanted> stores",
    "What only the missing one has is missing in answers, which carry a warning. The page Endpoints of the querier "
    "shows which one and why; see on its host whether it runs, and whether its gRPC port can be reached.",
)
STORES_FAIL = Alert(
    "ThanosQueryGrpcClientErrorRate",
    "thanos",
    {"warning": 0.05},
    "{{ $value | humanizePercentage }} of what the querier on <host> asks its stores fails",
    "Answers are incomplete. The warnings of an answer name the store and the error; so does the page Endpoints of "
    "the querier.",
    patience=3,
    counts="share of the calls to stores that fail",
)
QUERIER_BUSY = Alert(
    "ThanosQueryOverload",
    "thanos",
    {"warning": 1},
    "The querier on <host> has as many queries as it may run at once",
    "More of them wait. Find the dear ones (query-frontend.log-queries-longer-than in frontend_flags), add a "
    "querier, or raise query.max-concurrent in querier_flags where it has memory for it.",
    patience=3,
    counts="queries that it could still run at once",
)
DNS_FAILS = Alert(
    "ThanosQueryHighDNSFailures",
    "thanos",
    {"warning": 0.01},
    "The querier on <host> cannot look up {{ $value | humanizePercentage }} of its stores' names",
    "It goes on with the addresses that it knows. See the names in querier_endpoints, and the resolver of the host.",
    patience=3,
    counts="share of the DNS lookups that fail",
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    info = daemons.QUERIER
    if not (queriers := site.scraped(member, info)):
        return
    ours, over, by = starter.ours(site, member, info), starter.window(member, count=20), "sum by (instance, host)"
    wanted = min(len(derived.endpoints(site, one)) for one in queriers)
    # Of a querier without any store there is no series.
    connected = f"{by} (thanos_store_nodes_grpc_connections{{{ours}}})\n  or 0 * {by} (up{{{ours}}} == 1)"
    # A strict endpoint counts as connected, whatever becomes of it: what answers is known by who is asked for its
    # labels, each of them equally often.
    info_calls = f'grpc_client_handled_total{{{ours}, grpc_method="Info"'
    asked, answered = f"{info_calls}}}", f'{info_calls}, grpc_code="OK"}}'
    some = f"{by} (rate({answered}[{over}])) or 0 * {by} (rate({asked}[{over}]))"
    answers = f"round({wanted} * ({some}) / {by} (rate({asked}[{over}])))"
    yield from STORES_MISSING.rules(member, f"(\n  {connected}\n) < {wanted}\nor {answers} < {wanted}", wanted=wanted)
    yield from STORES_FAIL.rules(
        member,
        f'{by} (rate(grpc_client_handled_total{{{ours}, grpc_code=~"{thanos_alerts.GRPC_ERRORS}"}}[{over}]))\n'
        f"/ {by} (rate(grpc_client_started_total{{{ours}}}[{over}])) > <threshold>",
        unit=info.unit,
    )
    gate = "thanos_query_concurrent_gate_queries"
    yield from QUERIER_BUSY.rules(
        member,
        f"max_over_time({gate}_max{{{ours}}}[{over}]) - avg_over_time({gate}_in_flight{{{ours}}}[{over}]) < "
        f"<threshold>",
    )
    if any(one.settings.querier_endpoints for one in queriers):
        failed = [
            f"rate({names}_failures_total{{{ours}}}[{over}])\n/ rate({names}_lookups_total{{{ours}}}[{over}])"
            for names in ("thanos_query_endpoints_dns", "thanos_query_endpoint_groups_dns")
        ]
        yield from DNS_FAILS.rules(member, "\nor ".join(f"{share} > <threshold>" for share in failed))


def _check_stores(view: View) -> Iterator[Finding]:
    """Every querier lists every StoreAPI, without error and with its labels."""
    wanted = {derived.store_target(view.site, name, m): (name, m) for name, m in view.site.stores()}
    for member, report in view.reports(daemons.QUERIER):
        if not report.ready:
            continue
        if "stores" in report.errors:
            yield verify_view.unanswered(member, "stores", daemons.QUERIER, "stores", report)
            continue
        stores = {store.address: store for store in report.stores}
        for entry in member.settings.querier_endpoints:
            target = entry["address"]
            if "+" in target:  # listed as what it stands for
                continue
            store = stores.pop(target, None)
            if store is None or store.last_error:
                yield Finding(
                    member.name,
                    "stores",
                    f"querier_endpoints: {target}: {store.last_error if store else 'is not listed'}",
                    "listed, without error",
                    "is it up, is its gRPC port open from here, and does it speak gRPC without TLS?",
                )
        for target, (component, other) in wanted.items():
            store = stores.pop(target, None)
            labels = derived.store_labels(component, other)
            what = f"{component} of {other.name} ({target})"
            advice = f"on {other.name}: {verify_view.journal(other.own(component).unit)}; "
            advice += "is the port open from here?"
            if store is None:
                found, wanted_of_it = f"{what} is not listed", "listed"
            elif store.last_error:
                found, wanted_of_it = f"{what}: {store.last_error}", "no error"
            elif labels and not any(labels.items() <= one.items() for one in store.label_sets):
                found = f"{what} has {some(map(verify_view.labels, store.label_sets)) or 'no labels'}"
                wanted_of_it = verify_view.labels(labels)
            else:
                continue
            about = other.name, component
            yield Finding(member.name, "stores", found, wanted_of_it, advice, about=about)
        if stores and not any("+" in e["address"] for e in member.settings.querier_endpoints):
            yield Finding(
                member.name,
                "stores",
                f"stores that the inventory does not have: {some(sorted(stores))}",
                f"the {len(wanted)} of the site",
                "deploy again; a store of your own belongs in the inventory",
                "warn",
            )


def _asked_for(targets: Iterable[Any], slow: Container[str]) -> list[Any]:
    return [target for target in targets if target.last_scrape and promql.is_counted(target.job, slow)]


def _check_deduplication(view: View) -> Iterator[Finding]:
    """`up` is there once for each replica, and once in all with dedup on."""
    replicas = {
        cluster: {str(member.settings.replica) for member in members} for cluster, members in view.site.clusters.items()
    }
    slow = promql.slow_jobs(view.site)
    # Labels are compared where two targets share an address: what counts is the series.
    targets = {
        cluster: max(
            len({frozenset(t.labels.items()) for t in _asked_for(report.targets, slow)}) for _, report in reports
        )
        for cluster, reports in view.clusters().items()
    }
    # What a replica that is away does not give is no news; the others have to give all of it.
    away = {
        (m.settings.cluster, str(m.settings.replica)): daemon
        for m in view.site.running(daemons.PROMETHEUS)
        for daemon in ((m.name, daemons.SIDECAR.name), (m.name, daemons.PROMETHEUS.name))
        if daemon in view.broken
    }
    stores = {derived.store_target(view.site, name, m): (m.name, name) for name, m in view.site.stores()}
    gone = {target: daemon for target, daemon in stores.items() if daemon in view.broken}
    for member, report in view.reports(daemons.QUERIER):
        if report.ready:
            said = view.seen[member.name].answers
            answers = {
                call.name: promql.read_query(said.get(call.name, NO_ANSWER)) for call in promql.queries(view.site)
            }
            judged = _judge_deduplication(answers, replicas, targets, away, gone)
            for found, wanted, about in judged:
                advice = "does the querier list all stores without error (stores)? Are all targets up (targets)?"
                yield Finding(member.name, verify_view.QUERIES, found, wanted, advice, about=about)


def _judge_deduplication(
    answers: Mapping[str, promql.Query],
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
        missing = {replica: away[cluster, replica] for replica in names if (cluster, replica) in away}
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
        once = {replica: n for (one, replica), n in _counted(answers["up"]).items() if one == cluster}
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
            says = f"`up` of the Prometheus of cluster {cluster} is {count:g} with dedup on"
            yield says, f"{wanted}, one for each Prometheus", None


def _counted(query: promql.Query) -> dict[tuple[str, str], float]:
    return {(labels.get(CLUSTER_LABEL, ""), labels.get(REPLICA_LABEL, "")): value for labels, value in query.vector}


QUERIER = Role(
    "querier",
    daemons.QUERIER.group,
    component,
    gate,
    needs=(PROMETHEUS,),
    stands_in=alike(lambda member: member.settings.querier_endpoints),
    values={
        daemons.QUERIER: {
            **{kind: endpoints(kind) for kind in ("endpoint-strict", "endpoint", "endpoint-group")},
            "query.replica-label": lambda site, member, found: derived.replica_labels(site, member),
        }
    },
    questions={daemons.QUERIER: promql.queries},
    alerts=alerts,
    verdicts=(_check_stores, _check_deduplication),
)
