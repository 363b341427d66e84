"""A storm: thousands of alerts at once, through a bot that takes few messages a minute."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import ask, metric, run_site, wait_for
from tests.lab import bots, plan

pytestmark = [pytest.mark.usefixtures("restored"), pytest.mark.long]

GROUPS, EACH = 50, 100
ROUTES = {"route": {"routes": [{"matchers": ['storm!=""'], "receiver": "dingtalk", "repeat_interval": "4h"}]}}


def test_every_group_of_a_storm_is_told(site: Site) -> None:
    """More than twice as many messages as the bot takes in a minute: all arrive, and the members stay ready."""
    run = run_site("--limit", "alertmanager", data={"alertmanager_config": ROUTES}, deploy="deploys/alertmanager.py")
    assert run.status == 0, str(run)
    name, now = f"Storm{time.time_ns()}", datetime.now(UTC)
    members = site.running("alertmanager")
    begun = time.monotonic()
    for group in range(GROUPS):
        storm = [
            {
                "labels": {
                    "alertname": f"{name}x{group}x",
                    "instance": f"host-{n}",
                    "storm": "yes",
                    "severity": "warning",
                },
                "annotations": {"summary": "磁盘满了", "description": "x" * 200},
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(minutes=30)).isoformat(),
            }
            for n in range(EACH)
        ]
        for member in members:
            assert ask(f"{site.endpoint('alertmanager', member).url}/api/v2/alerts", "POST", json=storm).ok

    def told() -> Counter[str]:
        lines = [json.loads(line) for line in plan.LAB.bots_file.read_text().splitlines() if name in line]
        texts = [bots._text("dingtalk", one["body"]) for one in lines]
        return Counter(found for text in texts for found in set(re.findall(rf"{name}x\d+x", text)))

    def ready() -> bool:
        assert all(ask(f"{site.endpoint('alertmanager', one).url}/-/ready").ok for one in members)
        assert all(ask(f"{site.endpoint('alert_relay', one).url}/-/ready").ok for one in members)
        return len(told()) == GROUPS

    wait_for("a message of each group", ready, 600, pause=2)
    took = time.monotonic() - begun
    doubled = [one for one, times in told().items() if times > 1]
    memory = {
        daemon: [metric(site, daemon, one.name, "process_resident_memory_bytes") / 1e6 for one in members]
        for daemon in ("alertmanager", "alert_relay")
    }
    print(
        f"{GROUPS * EACH} alerts in {GROUPS} groups: told in {took:.0f} s, {len(doubled)} twice, memory (MB) {memory}"
    )
    assert max(memory["alert_relay"]) < 150
    # One question says what became of any of them.
    begun = time.monotonic()
    run = run_site(data={"why": f"alertname={name}x7x,instance=host-3"}, deploy="deploys/alert.py")
    print(f"why: {time.monotonic() - begun:.1f} s")
    assert run.status == 0 and "dingtalk (webhook) was told that it fires" in run.log, str(run)
    # And all of them are explained: as many were told as the bot has groups of, and of none it is not known.
    for group in range(GROUPS):
        run = run_site(data={"why": f"alertname={name}x{group}x,storm=yes"}, deploy="deploys/alert.py")
        assert f"All {EACH}: {EACH} told" in run.log, f"group {group}: {run}"
