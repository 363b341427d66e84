"""The Thanos store gateway (spec/003 4): series of blocks that are in the bucket and on no local disk any more.

It keeps nothing but a cache: its data directory can be lost. Several may serve one bucket, all of it each or a part of
the time each (`store_min_time`, `store_max_time`). Blocks that are new in the bucket are found by itself; a new flag,
release or key is a restart, one gateway at a time. Back up means: ready, which it is once it has loaded the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter, verify_view
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.daemons.declare import Value
from prometheus_ha.deploys.lib.daemons.thanos import STORE_INDEX_CACHE
from prometheus_ha.deploys.lib.engine import documents, gates, service
from prometheus_ha.deploys.lib.engine.component import Component
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role
from prometheus_ha.deploys.lib.engine.service import thanos_directories
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding
from prometheus_ha.deploys.lib.roles import bucket_checks
from prometheus_ha.deploys.lib.roles.minio import MINIO
from prometheus_ha.deploys.lib.roles.seaweedfs import SEAWEEDFS
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import when
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    own, files = member.own(daemons.STORE), {}
    if cache := member.settings.store_index_cache:
        files[own.at(STORE_INDEX_CACHE)] = documents.file(cache, "store_index_cache")
    return service.component(
        "store",
        *(site, member, found, daemons.STORE),
        files=files,
        directories=thanos_directories(own),
    )


def serves(other: Member, member: Member) -> bool:
    """Whether a gateway has all that another one has: of the same bucket, by the same selection, at least its time."""
    asked = ("selector.relabel-config", "selector.relabel-config-file")
    selections = [[m.settings.store_flags.get(name) for name in asked] for m in (other, member)]
    (begin, end), (wanted_begin, wanted_end) = (
        (when(m.settings.store_min_time, -inf), when(m.settings.store_max_time, inf)) for m in (other, member)
    )
    return (
        other.settings.bucket_config == member.settings.bucket_config
        and selections[0] == selections[1]
        and begin <= wanted_begin
        and end >= wanted_end
    )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, which it is once it has loaded the blocks of the bucket."""

    def judged(report: thanos.Report) -> Progress:
        blocks = report.values.get(thanos.BLOCKS_LOADED, 0)
        return Progress(True, f"ready with {blocks:.0f} blocks", "ok")

    return gates.thanos_gate(site, member, asked_by, daemons.STORE, thanos.STORE_CALLS, judged)


def cache_file(site: Site, member: Member, found: State) -> Value:
    return member.own(daemons.STORE).at(STORE_INDEX_CACHE) if member.settings.store_index_cache else None


def cache_size(site: Site, member: Member, found: State) -> Value:
    return None if member.settings.store_index_cache else "250MB"


WAITS_LONG = Alert(
    "ThanosStoreSeriesGateLatencyHigh",
    "thanos",
    {"warning": 2},
    "Queries wait {{ $value | humanizeDuration }} for their turn at the store gateway on <host>",
    "It has as many as it may serve at once. Dashboards over long ranges are slow. Find the dear queries, add a "
    "gateway, or raise --store.grpc.series-max-concurrency in store_flags where it has memory for it.",
    patience=2,
    counts="seconds that the slowest hundredth waits",
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    info = daemons.STORE
    if not site.scraped(member, info):
        return
    waited = "thanos_bucket_store_series_gate_queries_duration_seconds_bucket"
    over = starter.window(member, count=20)
    each = f"sum by (instance, host, le) (rate({waited}{{{starter.ours(site, member, info)}}}[{over}]))"
    yield from WAITS_LONG.rules(member, f"histogram_quantile(0.99, {each}) > <threshold>")


def _check_store_gateways(view: View) -> Iterator[Finding]:
    """Store gateways read every block that they have found."""
    for member, report in view.reports(daemons.STORE):
        if report.ready and (failed := report.values.get(thanos.BLOCKS_FAILED)):
            journal = verify_view.journal(member.own(daemons.STORE).unit)
            yield Finding(
                member.name,
                "blocks",
                f"thanos-store could not load {failed:.0f} blocks",
                "0",
                f"{journal}; thanos tools bucket verify says which are broken",
                "warn",
            )


def _check_index_cache(site: Site, member: Member) -> Iterator[Finding]:
    settings, name = member.settings, "index-cache-size"
    if settings.store_index_cache and name in settings.store_flags:
        allowed = "one of the two: with store_index_cache its size is a key of that"
        yield host_finding(member, f"store_flags.{name}", repr(settings.store_flags[name]), allowed)


STORE = Role(
    "store",
    daemons.STORE.group,
    component,
    gate,
    needs=(SEAWEEDFS, MINIO),
    stands_in=serves,
    values={
        daemons.STORE: {
            "index-cache.config-file": cache_file,
            "index-cache-size": cache_size,
        }
    },
    alerts=alerts,
    verdicts=(_check_store_gateways,),
    findings=(_check_index_cache, bucket_checks.check_member),
    site_findings=(bucket_checks.check_site,),
)
