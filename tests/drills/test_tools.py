"""The two deploys that prove a site, on one's own hosts too: verify looks, drill breaks something and mends it."""

from __future__ import annotations

import json
import re
import time

import pytest

from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles.alertmanager import configuration
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import (
    get,
    interval,
    live_files,
    metric,
    moved,
    notifications,
    run_site,
    stopped,
    units,
    wait_for,
)
from tests.lab import plan

VERIFY, DRILL = "deploys/verify.py", "deploys/drill.py"
ALERT = "DrillTestAlert"


@pytest.fixture
def quiet(site: Site) -> None:
    """Nothing else is notified: the end of an alert, told by the same receiver, would be counted with the drill's.

    The Watchdog and canaries go to receivers of their own.
    """
    apart = {configuration.WATCHDOG_LABELS["alertname"], configuration.CANARY_ALERT}
    pause = 2 * seconds(site.running("alertmanager")[0].settings.timing.group_interval) + 5

    def is_quiet() -> bool:
        for member in site.running("alertmanager"):
            alerts = get(f"{site.endpoint('alertmanager', member).url}/api/v2/alerts")
            assert {alert["labels"]["alertname"] for alert in alerts} <= apart, alerts
        others = [
            record["time"]
            for record in map(json.loads, plan.LAB.sink_file.read_text().splitlines())
            if "Watchdog" not in str(record["body"])
        ]
        return time.time() - max(others, default=0) > pause

    # The alert that replicas disagree compares the samples of two minutes, and so goes on for as long afterwards.
    wait_for("all other notifications to be sent", is_quiet, 240)


@pytest.fixture
def scraped(site: Site) -> None:
    """Each Prometheus has scraped for some intervals: the drill refuses one that was just started."""

    def long_enough() -> bool:
        ages = [
            time.time() - metric(site, "prometheus", member.name, "process_start_time_seconds")
            for member in site.running("prometheus")
        ]
        return min(ages) > 4 * interval(site)

    wait_for("Prometheus to have scraped for four intervals", long_enough, 60)


def test_verify_passes_and_changes_nothing(site: Site) -> None:
    before, files = units(), live_files()
    run = run_site(deploy=VERIFY)
    assert run.status == 0 and not run.changed, str(run)
    assert "checks failed: 0" in run.log
    for member in site.hosts.values():
        for component in member.components:
            assert site.endpoint(component, member).url in run.log, (member.name, component)
    assert not moved(before) and live_files() == files


def test_drill_asks_first(site: Site, scraped: None) -> None:
    """Nobody is at the terminal, and nobody said yes."""
    before = units()
    run = run_site(deploy=DRILL)
    assert run.status == 1 and "yes=true" in run.log, str(run)
    assert not moved(before)


@pytest.mark.usefixtures("restored")
def test_drill_finds_one_notification_and_no_failed_query(site: Site, scraped: None, quiet: None) -> None:
    for _ in range(2):
        before, told = units(), notifications(ALERT)
        run = run_site(deploy=DRILL, data={"yes": True})
        # The lab's peers wait one second for each other, and all of it may be busy for as long: at either end.
        if "2 sent in all, 1 wanted" not in run.log and max((notifications(ALERT) - told).values(), default=0) < 2:
            break
    assert run.status == 0, str(run)
    # What was stopped is back, and nothing else was touched.
    assert moved(before) == {(site.running("prometheus")[0].name, "prometheus")}
    assert all(unit.state == "active" for unit in units().values())
    assert notifications(ALERT) - told == {"firing": 1, "resolved": 1}


# Behind the drill, which waits for the alerts of this one to be over.
def test_verify_names_what_is_down(site: Site) -> None:
    with stopped("am-3", "alertmanager"):
        run = run_site(deploy=VERIFY)
    assert run.status == 1, str(run)
    failed = [line for line in run.log.splitlines() if "fail" in line]
    assert any("unit" in line and "am-3" in line for line in failed), str(run)
    # The others miss a peer: that is told under it.
    assert "checks failed: 1, " in run.log, str(run)
    assert re.search("explains, too: .*gossip of am-1, am-2", run.log), str(run)
