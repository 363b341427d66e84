"""A Prometheus above the clusters (spec/000 7 and 8): it federates them, or takes their remote write.

Files and checks are a replica's; there is no sidecar, and no other member stands in for one: what it does not scrape
or is not sent while it is down, it lacks (a sender tries again for as long as its write-ahead log reaches back). So
each is a tier of one. Back up means: log replayed, an interval scraped.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter, verify_view
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.engine import gates, service
from prometheus_ha.deploys.lib.engine.component import Component
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Role, nobody
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.roles import prometheus
from prometheus_ha.deploys.lib.roles.prometheus import alerts, configuration, verdicts
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.facts.reports import prometheus as reports_prometheus
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return service.component(
        "prometheus-upper",
        *(site, member, found, daemons.UPPER),
        files=prometheus.files(
            member, found, upper_yml(site, member), rules(site, member), member.settings.prometheus_targets
        ),
        directories=prometheus.directories(member),
        checks=prometheus.checks(member, found),
    )


def reloaded(site: Site, member: Member) -> Gate:
    return gates.loaded(site, member, daemons.UPPER, "prometheus")


SCRAPES_ALONE = 1
"""The same for one that nobody stands in for: no next one waits for its data."""


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, its write-ahead log replayed, an interval scraped since its start: of itself, as nobody waits for it
    as long as federation's intervals are."""
    info = daemons.UPPER
    jobs = {info.job_name}
    return prometheus.scraping(site, member, asked_by, info, jobs, SCRAPES_ALONE, sidecar=False)


def upper_yml(site: Site, member: Member) -> Data:
    """prometheus.yml of a Prometheus above the clusters (spec/000 8.1).

    It scrapes itself, and federates every replica of every cluster, where `federation_match` says
    what. The user's `prometheus_config` is merged in as for a replica. What it takes in has the
    external labels of its origin; its own are for what it sends itself.
    """
    settings = member.settings
    name = daemons.UPPER.job_name
    ours = configuration.jobs(site, daemons.UPPER, [member], name) + configuration.federation_jobs(site, member)
    labels = {CLUSTER_LABEL: settings.cluster}
    if settings.replica is not None:
        labels[REPLICA_LABEL] = settings.replica
    return configuration.merged(site, member, ours, labels)


def rules(site: Site, member: Member) -> dict[str, Data]:
    """Name in the rules directory -> content."""
    return alerts.with_users(member, upper_rules(site, member))


FEDERATION_DOWN = Alert(
    "FederationDown",
    "prometheus",
    {"warning": None},
    "{{ $labels.instance }} cannot be federated ({{ $labels.job }})",
    "The upper Prometheus gets nothing from this replica. Where the replica is up, see the page Status > Target "
    "health of the upper one for the error: an unreachable port, an answer that takes longer than the interval, or "
    "credentials.",
)


def upper_rules(site: Site, member: Member) -> list[Data]:
    """What only an upper Prometheus can notice. Whether it is there itself, the clusters watch."""
    if not configuration.federation_jobs(site, member):
        return []
    replicas = {
        f"federate-{cluster}": [site.endpoint(daemons.PROMETHEUS, m).target for m in members]
        for cluster, members in site.clusters.items()
    }
    down = FEDERATION_DOWN.rules(member, f"up{{{starter.selected(replicas)}}} == 0")
    return [{"name": "starter-alerts", "rules": down}]


def _check_targets(view: View) -> Iterator[Finding]:
    """What it federates answers."""
    for member, report in view.reports(daemons.UPPER):
        if not report.ready:
            continue
        if "targets" in report.errors:
            yield verify_view.unanswered(member, "targets", daemons.UPPER, "targets", report)
            continue
        yield from verdicts.check_up(view, member, report)
        yield from _check_federation(view.site, member, report)


def _check_federation(site: Site, member: Member, report: reports_prometheus.Report) -> Iterator[Finding]:
    """Every replica of every cluster is federated."""
    wanted = {
        (job["job_name"], target)
        for job in configuration.federation_jobs(site, member)
        for group in job["static_configs"]
        for target in group["targets"]
    }
    found = {(t.job, t.instance) for t in report.targets}
    if missing := sorted(wanted - found):
        yield Finding(
            member.name,
            "federation",
            f"does not federate {verify_view.names_of(missing)}",
            f"all {len(wanted)} replicas of the site",
            "run the deploy again: it mends this",
        )


UPPER = Role(
    "prometheus-upper",
    daemons.UPPER.group,
    component,
    gate,
    reloaded,
    needs=(prometheus.PROMETHEUS,),
    stands_in=nobody,
    values={daemons.UPPER: {"storage.tsdb.retention.size": prometheus.retention_size}},
    verdicts=(_check_targets,),
)
