"""One file a role: its files and unit, how it is checked, what "back up" means, who stands in for it."""

from deploys.lib.roles import (
    alertmanager,
    bucket_web,
    compactor,
    minio,
    node_exporter,
    prometheus,
    querier,
    query_frontend,
    receive,
    rule,
    seaweedfs,
    sidecar,
    store,
    upper,
)

__all__ = [
    "alertmanager",
    "bucket_web",
    "compactor",
    "minio",
    "node_exporter",
    "prometheus",
    "querier",
    "query_frontend",
    "receive",
    "rule",
    "seaweedfs",
    "sidecar",
    "store",
    "upper",
]
