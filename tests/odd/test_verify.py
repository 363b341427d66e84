"""What verify says of a site that is not as it should be: what is wrong, once, and soon."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.drills.site import ENVIRONMENT, get, lab, shell, wait_for
from tests.lab import plan
from tests.odd.site import INVENTORY, PROMETHEUS, VERIFY, Groups, blank, deployed, run

ONE, OTHER = "odd-1", "odd-2"


def site(**data: Any) -> Groups:
    """Two replicas, two Alertmanagers and a querier, with a job of the user's whose one target is down."""
    # And one that scrapes what we scrape already, under a name of ours as well.
    exporters = [f"{plan.LAB.address(name)}:9100" for name in (ONE, OTHER)]
    targets = {"targets": exporters, "labels": {"team": "shop"}}
    again = {**targets, "labels": {"job": "node_exporter", "team": "shop"}}
    mine = {
        "prometheus_targets": {
            "mine": [{"targets": ["127.0.0.1:1"]}],
            "theirs": [targets, again],
        }
    }
    hosts = {name: {**PROMETHEUS, **mine, **data, "replica": f"replica-{name}"} for name in (ONE, OTHER)}
    return {"prometheus": hosts, "alertmanager": hosts, "querier": {ONE: hosts[ONE]}}


@pytest.mark.long  # the one that has a host die under verify, and a site move under it
def test_verify() -> None:
    """A dead host, a move, and targets of yours that are down"""
    blank(ONE, OTHER)
    deployed(site())
    seen = run(site(), deploy=VERIFY)
    assert seen.status == 0, str(seen)
    assert seen.log.count("job mine: 1 of 1 targets down: 127.0.0.1:1") == 1, str(seen)

    # A Prometheus that starts with other targets than it had leaves the old series without a mark of their end.
    moved = site(node_exporter_port=9101, prometheus_flags={"query.timeout": "3m"})
    done = run(moved)
    assert done.status == 0, str(done)
    # What was scraped up to the last two intervals is still fresh.
    wait_for("verify to be green", lambda: run(moved, deploy=VERIFY).status == 0, 60)
    found = "count(up{job='node_exporter',team=''})"
    url = f"http://{plan.LAB.address(ONE)}:10903/api/v1/query?query={found}"
    assert _values(url)[0] > len((ONE, OTHER)), "the premise: the series of before are found"

    suites = ("alerting", "alertmanager", "base", "node_exporter", "prometheus", "querier")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--tb=short"),
            *(f"tests/site/test_{name}.py" for name in suites),
        ],
        cwd=plan.ROOT,
        env={**ENVIRONMENT, "ODD": json.dumps(moved), "WEB": "", "INVENTORY": INVENTORY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    lab("kill", OTHER)
    down = 'curl -s 127.0.0.1:9090/api/v1/targets | grep -o \'"health":"down"\' | wc -l'
    wait_for("its targets to be down", lambda: int(shell(ONE, down)) > 3, 60)
    seen = run(moved, deploy=VERIFY)
    assert "targets: " not in seen.log, f"it waited for what cannot come: {seen}"
    assert seen.status == 1, str(seen)
    assert "checks failed: 1, " in seen.log, str(seen)
    (explained,) = re.findall("explains, too: (.*)", seen.log)
    for check in ("targets", "stores", "queries", "gossip"):
        assert f"{check} of {ONE}" in explained, str(seen)


def _values(url: str) -> list[float]:
    return [float(one["value"][1]) for one in get(url)["data"]["result"]]
