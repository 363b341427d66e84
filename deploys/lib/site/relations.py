"""Relations between daemons that belong to none of them: who is asked by whom, which labels tell members apart."""

from __future__ import annotations

from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER
from prometheus_ha.deploys.lib.daemons.objectstores import MINIO, SEAWEEDFS
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS, UPPER
from prometheus_ha.deploys.lib.daemons.thanos import (
    ATTACHED,
    BUCKET_WEB,
    COMPACTOR,
    FRONTEND,
    QUERIER,
    RECEIVE,
    RULE,
    SIDECAR,
    STORE,
)

SIDECARS = (SIDECAR.name, ATTACHED.name)
"""A sidecar beside a Prometheus of ours, and one beside somebody else's."""

STORE_APIS = (*SIDECARS, STORE.name, RULE.name, RECEIVE.name)
"""The components that a querier asks for series, by gRPC."""

PROBE_JOB = "probe-"
"""What the scrape jobs of probes begin with. They have intervals of their own."""

WATCHED_JOB = "prometheus-watched"
"""Scrape job for the Prometheus of another cluster: whether they are there, and nothing else of them."""

OBJECT_STORES = {SEAWEEDFS.name: "s3", MINIO.name: "http"}
"""Component that is the object store, where it is one of ours -> the port that speaks S3."""

_BUCKET = tuple(OBJECT_STORES.items())

REPLICA_LABELS = {RULE.name: "rule_replica", RECEIVE.name: "receive_replica"}
"""Component -> the external label in which its members differ, as `replica` is for Prometheus. It is their only one:
another, as `cluster`, would be put over that of the series, and those of several clusters be one."""

DIALS: dict[str, tuple[tuple[str, str], ...]] = {
    # Alerts, and the drill's queries. Whom it scrapes, `Site.scraped` says: among them is the other replica.
    PROMETHEUS.name: (
        (ALERTMANAGER.name, "http"),
        (QUERIER.name, "http"),
        (RECEIVE.name, "remote_write"),
    ),
    # Federation.
    UPPER.name: ((PROMETHEUS.name, "http"),),
    # Gossip, and whether the other members are there.
    ALERTMANAGER.name: ((ALERTMANAGER.name, "cluster"), (ALERTMANAGER.name, "http")),
    # Queries, whether a store is alive, and whether the other queriers do their job.
    QUERIER.name: (
        *((name, kind) for name in STORE_APIS for kind in ("grpc", "http")),
        (QUERIER.name, "http"),
    ),
    FRONTEND.name: ((QUERIER.name, "http"), (FRONTEND.name, "http")),
    SIDECAR.name: _BUCKET,
    STORE.name: ((STORE.name, "http"), *_BUCKET),
    COMPACTOR.name: _BUCKET,
    BUCKET_WEB.name: _BUCKET,
    RULE.name: (
        *_BUCKET,
        (QUERIER.name, "http"),
        (ALERTMANAGER.name, "http"),
        (RULE.name, "http"),
        (RECEIVE.name, "remote_write"),
    ),
    # Each passes on what belongs to the others.
    RECEIVE.name: ((RECEIVE.name, "grpc"), (RECEIVE.name, "http"), *_BUCKET),
}
"""Component -> the ports, as component and kind, that it or its host's gates dial on other hosts of the site."""
