"""Two clusters in one inventory, of which one dies; a stranger with the job of ours; a receiver that fails."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from tests.drills.site import get, shell, wait_for
from tests.lab import plan
from tests.odd.site import PROMETHEUS, VERIFY, Groups, blank, deployed, run

EAST, WEST = "odd-1", "odd-2"
NOWHERE = {
    **{"to": "a@example.org", "from": "b@example.org"},
    **{"smarthost": "127.0.0.1:9", "require_tls": False},
}


def site() -> Groups:
    """A cluster on each host; what they share is on the first, where a target pretends to be a Prometheus of ours."""
    stranger = {"targets": [f"{plan.LAB.address(WEST)}:9100"], "labels": {"job": "prometheus"}}
    east = {
        **PROMETHEUS,
        "cluster": "east",
        "prometheus_targets": {"stranger": [stranger]},
        # The default receiver is the lab's sink; this one cannot be reached.
        "alertmanager_config": {
            "route": {"routes": [{"matchers": ["alertname=ClusterDown"], "receiver": "nobody"}]},
            "receivers": [{"name": "nobody", "email_configs": [NOWHERE]}],
        },
    }
    west = {**PROMETHEUS, "cluster": "west"}
    return {
        "prometheus": {EAST: east, WEST: west},
        "alertmanager": {EAST: east},
        "querier": {EAST: east},
    }


def fired(host: str) -> Counter:
    """Alert and cluster -> how many of them one Alertmanager has."""
    alerts: list[dict[str, Any]] = get(f"http://{plan.LAB.address(host)}:9093/api/v2/alerts")
    return Counter((a["labels"]["alertname"], a["labels"]["cluster"]) for a in alerts)


def told(since: float, name: str) -> set[str]:
    """The paths of the sink at which an alert arrived."""
    records = map(json.loads, plan.LAB.sink_file.read_text().splitlines())
    return {r["path"] for r in records if r["time"] > since and name in str(r["body"])}


@pytest.mark.long
def test_two_clusters() -> None:
    """Two clusters in one inventory"""
    begun = time.time()
    blank(EAST, WEST)
    deployed(site())
    well = {("Watchdog", "east"): 1, ("Watchdog", "west"): 1}
    wait_for("a Watchdog of each cluster", lambda: fired(EAST) == well, 60)
    for member, others in ((EAST, {EAST}), (WEST, {WEST})):
        url = f"http://{plan.LAB.address(member)}:9090/api/v1/query?query="
        found = get(url + "up{job='node_exporter'}")["data"]["result"]
        assert {one["metric"]["host"] for one in found} == others

    shell(WEST, "systemctl stop prometheus")
    # East tells of it, once, and not as of a target; nobody hears it, which is told to somebody else.
    failed = "AlertmanagerFailedToSendAlerts"
    wanted = {(name, "east"): 1 for name in ("ClusterDown", failed, "AlertmanagerClusterFailedToSendAlerts")}
    wait_for("the alerts", lambda: wanted.items() <= fired(EAST).items(), 120)
    wait_for("somebody else to be told", lambda: told(begun, failed) == {"/"}, 30)
    assert told(begun, "Watchdog") == {"/deadman"} and not told(begun, "ClusterDown")
    assert not {name for name, _ in fired(EAST)} & {"TargetDown", "PrometheusReplicaDown"}
    seen = run(site(), deploy=VERIFY)
    (line,) = (one for one in seen.log.splitlines() if "the receiver nobody (email)" in one)
    assert "failed since" in line and "connection refused" in line, line
