"""A site as the lab's, built without an inventory: Prometheus pair, Alertmanagers, queriers."""

from __future__ import annotations

from typing import Any

from deploys.lib.settings import Settings
from deploys.lib.site import Member, Site

BUCKET = {
    "type": "S3",
    "config": {
        "bucket": "blocks",
        "endpoint": "10.0.0.31:8333",
        "access_key": "secret:env:S3_ACCESS_KEY",
        "secret_key": "secret:env:S3_SECRET_KEY",
    },
}


def example_site(alertmanagers: int = 3, **data: Any) -> Site:
    """`data`: settings of every host; the names of the hosts are the lab's."""
    parts = [
        *((f"prom-{i}", "prometheus", f"10.0.0.1{i}") for i in (1, 2)),
        *((f"am-{i}", "alertmanager", f"10.0.0.2{i}") for i in range(1, alertmanagers + 1)),
        *((f"query-{i}", "querier", f"10.0.0.4{i}") for i in (1, 2)),
        ("store-1", "objectstore", "10.0.0.31"),
    ]
    own: dict[str, dict[str, Any]] = {
        "prometheus": {"bucket_config": BUCKET},
        "alertmanager": {"alertmanager_webhook_url": "secret:env:WEBHOOK_URL"},
    }
    hosts = {}
    for name, group, address in parts:
        given = {**own.get(group, {}), **data}
        if group == "prometheus":
            given["replica"] = f"replica-0{name[-1]}"
        hosts[name] = Member(name, Settings(**given), (group,), address)
    return Site(hosts)
