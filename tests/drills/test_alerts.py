"""An alert that fires in both Prometheus is one alert on every Alertmanager, and one notification."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest

from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import alerts, notifications, rules, run_site, stopped, wait_for

pytestmark = pytest.mark.usefixtures("restored")


@pytest.mark.parametrize("down", [None, "am-1"])
def test_one_notification(site: Site, down: str | None) -> None:
    name = f"Drill{time.time_ns()}"
    living = [member for member in site.running("alertmanager") if member.name != down]
    timing = living[0].settings.timing
    # Each member waits a peer_timeout for each one before it: after this, any of them would have sent.
    quiet = seconds(timing.group_interval) + len(living) * seconds(timing.peer_timeout) + 2

    def rule(expression: str) -> None:
        alert = {"alert": name, "expr": expression}
        run = run_site("--limit", "prometheus", data={"prometheus_rules": rules("drill", alert)})
        assert run.status == 0, str(run)

    with stopped(down, "alertmanager") if down else nullcontext():
        rule("vector(1)")
        for member in living:
            found = wait_for(f"the alert on {member.name}", lambda member=member: alerts(site, member, name))
            assert len(found) == 1, f"{member.name}: {found}"
            assert "replica" not in found[0]["labels"], f"{member.name}: {found}"
        wait_for("the notification", lambda: notifications(name))
        time.sleep(quiet)
        assert notifications(name) == {"firing": 1}
        rule("vector(1) == 0")
        wait_for("the notification of its end", lambda: notifications(name)["resolved"])
        time.sleep(quiet)
        assert notifications(name) == {"firing": 1, "resolved": 1}
    # The one that comes back learns what was sent, and does not send it again.
    if down:
        time.sleep(quiet)
        assert notifications(name) == {"firing": 1, "resolved": 1}


@pytest.mark.long
def test_an_object_store_that_is_full_is_an_alert(site: Site) -> None:
    """Its disk has less free than it wants to keep: it answers, takes nothing, and says so."""
    name = "ObjectStoreCannotStore"
    full = {"seaweedfs_flags": {"volume.minFreeSpace": "99"}}  # percent
    run = run_site(data=full, deploy="deploys/seaweedfs.py")
    assert run.status == 0, str(run)
    member = site.running("alertmanager")[0]
    (alert,) = wait_for("the alert", lambda: alerts(site, member, name), 120)
    assert alert["labels"]["host"] == site.running("seaweedfs")[0].name
    run = run_site(deploy="deploys/seaweedfs.py")
    assert run.status == 0, str(run)
    wait_for("its end", lambda: not alerts(site, member, name), 120)
