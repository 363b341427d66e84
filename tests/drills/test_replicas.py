"""A replica, and then a whole host, is gone: queries and changes go on, and it comes back by itself."""

from __future__ import annotations

import time

import pytest

from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.probe import Probe, until
from tests.drills.site import (
    alerts,
    get,
    healthy,
    interval,
    lab,
    moved,
    query,
    rules,
    run_site,
    stopped,
    units,
    value,
    wait_for,
)


def test_deduplication(site: Site) -> None:
    for job, members in (
        ("node_exporter", list(site.hosts.values())),
        ("prometheus", site.running("prometheus")),
    ):
        both = query(site, f'up{{job="{job}"}}', dedup=False)
        assert len(both["result"]) == 2 * len(members)
        assert {series["metric"]["replica"] for series in both["result"]} == {
            member.settings.replica for member in site.running("prometheus")
        }
        one = query(site, f'up{{job="{job}"}}')
        assert len(one["result"]) == len(members)
        assert not any("replica" in series["metric"] for series in one["result"])
    assert _all_counted(site)


def _all_counted(site: Site) -> bool:
    return value(query(site, 'count(up{job="prometheus"})')) == len(site.running("prometheus"))


@pytest.mark.usefixtures("restored")
def test_a_stopped_replica(site: Site) -> None:
    with Probe(site) as probe:
        with stopped("prom-1", "prometheus"):

            def warned() -> bool:
                answers = [query(site, "up", member=member) for member in site.running("thanos-querier")]
                return all(answer["warnings"] for answer in answers)

            wait_for("a warning of every querier", warned)
            partial = query(site, 'up{job="node_exporter"}', dedup=False)
            assert len(partial["result"]) == len(site.hosts)
            one = site.endpoint("thanos-sidecar", site.hosts["prom-1"], "grpc").target
            assert one in " ".join(partial["warnings"]), f"the warning does not say who: {partial['warnings']}"
            time.sleep(6 * interval(site))  # longer than the gap that would be too long
            member = site.running("alertmanager")[0]
            (alert,) = wait_for("the alert", lambda: alerts(site, member, "PrometheusReplicaDown"), 60)
            assert alert["labels"]["host"] == "prom-1"
        wait_for("everything to be back", lambda: healthy(site), 60)
        wait_for("every Prometheus to be counted", lambda: _all_counted(site))
    assert until(probe, lambda round_: bool(round_.warnings)), "no query was answered with a warning"
    probe.assert_never_blind()


@pytest.mark.usefixtures("restored")
def test_a_stopped_alertmanager(site: Site) -> None:
    others = [member for member in site.running("alertmanager") if member.name != "am-1"]
    with stopped("am-1", "alertmanager"):
        for member in others:
            url = f"{site.endpoint('alertmanager', member).url}/api/v2/status"
            wait_for(
                f"{member.name} to see it gone",
                lambda url=url: len(get(url)["cluster"]["peers"]) == len(others),
            )
        missing = wait_for("the alert", lambda: alerts(site, others[0], "AlertmanagerPeersMissing"), 60)
        assert {alert["labels"]["host"] for alert in missing} <= {member.name for member in others}
    wait_for("all to be back", lambda: healthy(site), 60)


@pytest.mark.usefixtures("restored")
def test_a_dead_host_stops_no_reload(site: Site) -> None:
    lab("kill", "prom-1")
    before = units(set(site.hosts) - {"prom-1"})
    run = run_site(
        data={
            "prometheus_rules": rules("drill", {"record": "drill:up:count", "expr": "count(up)"}),
            "alertmanager_config": {"route": {"routes": [{"receiver": "web.hook", "matchers": ['drill="yes"']}]}},
        }
    )
    assert run.status == 1, str(run)
    assert any("[prom-1]" in line for line in run.log.splitlines()), "the run does not name the dead host"
    prometheus = site.endpoint("prometheus", site.hosts["prom-2"]).url
    groups = get(f"{prometheus}/api/v1/rules")["data"]["groups"]
    assert "drill" in [group["name"] for group in groups]
    for member in site.running("alertmanager"):
        status = get(f"{site.endpoint('alertmanager', member).url}/api/v2/status")
        assert 'drill="yes"' in status["config"]["original"], member.name
    assert moved(before) == set()
    # The last one is not taken down, whatever it should run.
    run = run_site(data={"prometheus_flags": {"query.timeout": "3m"}})
    assert run.status == 1, str(run)
    assert "not taken down" in run.log and "prom-1" in run.log, str(run)
    assert moved(before) == set()
