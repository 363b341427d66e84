"""A site as the lab's, built without an inventory, with a host for every group."""

from __future__ import annotations

from typing import Any

from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey.load import beside

BUCKET = {
    "type": "S3",
    "config": {
        "bucket": "blocks",
        "endpoint": "10.0.0.31:8333",
        "access_key": "secret:env:S3_ACCESS_KEY",
        "secret_key": "secret:env:S3_SECRET_KEY",
    },
}


STORAGE = (
    *((f"block-{i}", ("store", "compactor", "bucket_web")[: 5 - 2 * i], f"10.0.0.6{i}") for i in (1, 2)),
    ("min-1", "minio", "10.0.0.32"),
    ("side-1", "sidecar", "10.0.0.91"),
    *((f"front-{i}", "query_frontend", f"10.0.0.8{i}") for i in (1, 2)),
    ("far-1", "blackbox_exporter", "10.0.0.95"),
    *((f"ring-{i}", ("receive", "rule")[: 4 - i], f"10.0.0.7{i}") for i in (1, 2, 3)),
)
"""The hosts of long-term storage: name, groups, address."""


CHANNEL = {"type": "dingtalk", "url": "secret:env:BOT_URL", "sign": "secret:env:BOT_SIGN", "keyword": "prod"}


def example_site(alertmanagers: int = 3, storage: bool = False, **data: Any) -> Site:
    """`data`: settings of every host; the names of the hosts are the lab's. `storage`: with those of long-term storage,
    so that every group has a host."""
    parts = [
        *((f"prom-{i}", "prometheus", f"10.0.0.1{i}") for i in (1, 2)),
        *((f"am-{i}", "alertmanager", f"10.0.0.2{i}") for i in range(1, alertmanagers + 1)),
        *((f"query-{i}", "querier", f"10.0.0.4{i}") for i in (1, 2)),
        ("store-1", "seaweedfs", "10.0.0.31"),
        ("upper-1", "upper", "10.0.0.51"),
        *(STORAGE if storage else ()),
    ]
    own: dict[str, dict[str, Any]] = {
        "alertmanager": {"alertmanager_webhook_url": "secret:env:WEBHOOK_URL"},
        "sidecar": {"attached_data_dir": "/srv/prometheus"},
    }
    hosts = {}
    if storage:
        own["alertmanager"]["alert_channels"] = {"ops": CHANNEL}
    for name, groups, address in parts:
        groups = (groups,) if isinstance(groups, str) else groups
        given = {"bucket_config": BUCKET, **own.get(groups[0], {}), **data}
        if "prometheus" in groups:
            given["replica"] = f"replica-0{name[-1]}"
        settings = Settings(**given)
        hosts[name] = Member(name, settings, (*groups, *beside(groups, settings)), address)
    return Site(hosts)
