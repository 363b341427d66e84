"""Starter alerts that several components of Thanos have in common: one rule is about all of them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.site import derived, relations
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.web import Data

GRPC_ERRORS = "Unknown|Internal|Unavailable|DataLoss|DeadlineExceeded"
"""Codes that are no fault of the asker; one that no longer waits is Canceled."""

_BY = "sum by (job, instance, host)"

BUCKET_FAILURES = Alert(
    "ThanosBucketHighOperationFailures",
    "storage",
    {"warning": 0.05},
    "{{ $value | humanizePercentage }} of what {{ $labels.job }} on <host> asks of the bucket fails",
    "The object store is away, slow, or refuses the key. Queries of what is in the bucket are slow or incomplete, and "
    "blocks wait on the local disks. The journal of its unit on the host has the answer of the object store.",
    patience=3,
    counts="share of the operations that fail",
)
UNREADABLE = Alert(
    "ThanosBlocksUnreadable",
    "storage",
    {"warning": None},
    "{{ $labels.job }} on <host> cannot read blocks of the bucket",
    "What is in them is missing in answers, and is not merged. Their metadata is broken, or the object store does "
    "not give it. The compactor deletes a block of which only a part was uploaded two days after its last change. "
    "The journal of its unit on the host counts them.",
    # Longer than its window: one look that failed, and none after it, is no reason to wake anybody.
    patience=4,
)
QUERIES_FAIL = Alert(
    "ThanosQueryHttpRequestQueryErrorRateHigh",
    "thanos",
    {"warning": 0.05, "critical": 0.5},
    "{{ $value | humanizePercentage }} of the queries that {{ $labels.job }} on <host> answers fail",
    "Dashboards are empty, and rules that ask it do not fire. Ask by hand: the answer has the reason, as a store "
    "that is away, a query that is too large, a time limit, or a query that matches many series to many.",
    counts="share of the queries that fail while they are worked on",
)
QUERY_FAILED = "5..|422"
"""Thanos answers 422 also where a store fails or the time is over while it reads (pkg/api/query/v1.go, api.go: all that
is `execution`): upstream's rule counts 5xx, and hears of neither. 400 is what cannot be read as a query."""
STORE_FAILS = Alert(
    "ThanosStoreGrpcErrorRate",
    "thanos",
    {"warning": 0.05},
    "{{ $value | humanizePercentage }} of what queriers ask {{ $labels.job }} on <host> fails",
    "Answers lack what it has. The warnings of an answer name it and the error: its bucket, its disk, or its memory.",
    patience=3,
    counts="share of the calls that it answers with an error of its own",
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    """Those of the site of which this Prometheus scrapes a component."""

    def scraped(*names: str) -> list[str]:
        return [name for name in names if site.scraped(member, name)]

    over = starter.window(member, count=20)
    if stores := scraped(*relations.STORE_APIS):
        # A receiver's own writes to the ring are gRPC as well.
        ours = f'{starter.ours(site, member, *stores)}, grpc_service="thanos.Store"'
        failed = f'{_BY} (rate(grpc_server_handled_total{{{ours}, grpc_code=~"{GRPC_ERRORS}"}}[{over}]))'
        asked = f"{_BY} (rate(grpc_server_started_total{{{ours}}}[{over}]))"
        yield from STORE_FAILS.rules(member, f"{failed}\n/ {asked} > <threshold>")
    if queried := scraped(daemons.QUERIER.name, daemons.FRONTEND.name):
        ours = f'{starter.ours(site, member, *queried)}, handler=~"query|query_range|query-frontend"'
        failed, asked = (
            f"{_BY} (rate(http_requests_total{{{which}}}[{over}]))"
            for which in (f'{ours}, code=~"{QUERY_FAILED}"', ours)
        )
        yield from QUERIES_FAIL.rules(member, f"{failed}\n/ {asked} > <threshold>")
    thanos = [name for name, info in DAEMONS.items() if info.rights and info.product is daemons.QUERIER.product]
    if users := [name for name in thanos if any(map(derived.uploads, site.scraped(member, name)))]:
        ours, operation = starter.ours(site, member, *users), "thanos_objstore_bucket_operation"
        failed, asked = (f"{_BY} (rate({operation}{end}_total{{{ours}}}[{over}]))" for end in ("_failures", "s"))
        yield from BUCKET_FAILURES.rules(member, f"{failed}\n/ {asked} > <threshold>")
    if readers := scraped(daemons.STORE.name, daemons.COMPACTOR.name):
        ours, over = starter.ours(site, member, *readers), starter.window(member, count=60)
        unread = (
            f"increase(thanos_blocks_meta_sync_failures_total{{{ours}}}[{over}])",
            f'thanos_blocks_meta_synced{{{ours}, state=~"failed|corrupted.*"}}',
            f"increase(thanos_bucket_store_block_load_failures_total{{{ours}}}[{over}])",
        )
        yield from UNREADABLE.rules(member, "\nor ".join(f"{_BY} ({one}) > 0" for one in unread))
