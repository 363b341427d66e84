"""A change reaches the daemons by the gentlest means, and nobody who asks ever notices."""

from __future__ import annotations

from itertools import pairwise

import pytest

from prometheus_ha.deploys.lib.daemons.prometheus import FLUSH_DEADLINE
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.probe import Probe
from tests.drills.site import (
    api,
    argv,
    get,
    moved,
    reloads,
    rules,
    run_site,
    shell,
    units,
    wait_for,
)
from tests.lab import plan

pytestmark = pytest.mark.usefixtures("restored")

RULES = rules("drill", {"record": "drill:up:count", "expr": "count(up)"})


def test_config_change_reloads(site: Site) -> None:
    target = site.endpoint("node_exporter", site.hosts["store-1"]).target
    job = {"job_name": "drill", "static_configs": [{"targets": [target]}]}
    data = {
        "prometheus_rules": RULES,
        "prometheus_config": {"scrape_configs": [job]},
        "alertmanager_config": {"route": {"routes": [{"receiver": "web.hook", "matchers": ['drill="yes"']}]}},
    }
    before, loaded = units(), reloads(site)
    run = run_site(data=data)
    assert run.status == 0, str(run)
    assert moved(before) == set()
    for key, when in reloads(site).items():
        assert when > loaded[key], f"{key} was not reloaded"
    for member in site.running("prometheus"):
        assert "job_name: drill" in api(site, member.name, "status/config")["yaml"]
        groups = api(site, member.name, "rules")["groups"]
        assert "drill" in [group["name"] for group in groups]
    for member in site.running("alertmanager"):
        status = get(f"{site.endpoint('alertmanager', member).url}/api/v2/status")
        assert 'drill="yes"' in status["config"]["original"], member.name


def test_change_of_targets_needs_no_reload(site: Site) -> None:
    def targets(*hosts: str) -> dict:
        addresses = [site.endpoint("node_exporter", site.hosts[host]).target for host in hosts]
        return {"prometheus_targets": {"drill": [{"targets": addresses}]}}

    run = run_site(data=targets("store-1"))  # a new job: a reload
    assert run.status == 0, str(run)
    before, loaded = units(), reloads(site)
    run = run_site(data=targets("store-1", "am-1"))
    assert run.status == 0, str(run)
    assert run.changed == {
        "prometheus: stage and check": ["prom-1", "prom-2"],
        "prometheus: turn of prom-1": ["prom-1"],
        "prometheus: turn of prom-2": ["prom-2"],
        "prometheus-upper: stage and check": ["receiver-1", "upper-1"],
        "prometheus-upper: turn of upper-1": ["upper-1"],
        "prometheus-upper: turn of receiver-1": ["receiver-1"],
    }
    for member in site.running("prometheus"):

        def scraped(host: str = member.name) -> bool:
            active = api(site, host, "targets?state=active")["activeTargets"]
            return len([target for target in active if target["scrapePool"] == "drill"]) == 2

        wait_for(f"the new target on {member.name}", scraped)
    assert moved(before) == set()
    assert reloads(site) == loaded


def test_another_retention_is_a_reload(site: Site) -> None:
    before = units()
    run = run_site(data={"prometheus_retention_time": "14d", "prometheus_retention_size": "5GB"})
    assert run.status == 0, str(run)
    assert moved(before) == set()
    for member in site.running("prometheus"):
        found = api(site, member.name, "status/runtimeinfo")["storageRetention"]
        assert found == "2w or 5GiB", member.name


CHANGED = {
    "prometheus": ("prometheus_flags", {"query.timeout": "3m"}, "--query.timeout=3m"),
    "alertmanager": ("alertmanager_flags", {"data.retention": "119h"}, "--data.retention=119h"),
    "thanos-querier": ("querier_timeout", "3m", "--query.timeout=3m"),
    "thanos-store": ("store_flags", {"chunk-pool-size": "1GB"}, "--chunk-pool-size=1GB"),
    "thanos-query-frontend": (
        "frontend_flags",
        {"query-frontend.log-queries-longer-than": "9s"},
        "--query-frontend.log-queries-longer-than=9s",
    ),
    "thanos-rule": ("rule_flags", {"for-outage-tolerance": "2h"}, "--for-outage-tolerance=2h"),
    "thanos-receive": (
        "receive_flags",
        {"tsdb.out-of-order.cap-max": 31},
        "--tsdb.out-of-order.cap-max=31",
    ),
}
"""Every component that runs on several hosts -> a setting, its value, and what that is on the command line."""

SLOW = ("prometheus", "alertmanager")
"""Those that are down for longer than the period of the probe, so that it sees them down."""


@pytest.mark.usefixtures("put_back")
def test_flag_change_restarts_one_member_at_a_time(site: Site) -> None:
    """All tiers in one run: no two members of one are ever down together, and queries never notice."""
    restarted = {(m.name, component) for component in CHANGED for m in site.running(component)}
    # They have the settings of a Prometheus, and nobody who stands in for them.
    alone = {(member.name, "prometheus") for member in site.running("prometheus-upper")}
    before = units()
    started = {key: _starts(*key) for key in restarted}
    with Probe(site, tiers=tuple(CHANGED)) as probe:
        run = run_site(data={setting: value for setting, value, _ in CHANGED.values()})
    assert run.status == 0, str(run)
    assert moved(before) == restarted | alone
    for host, component in restarted:
        assert CHANGED[component][2] in argv(host, component), f"{component} on {host}"
        assert _starts(host, component) == started[host, component] + 1, f"{component} on {host}: more than one restart"
    # The probe sees, or its silence would mean nothing.
    slow = {(host, component) for host, component in restarted if component in SLOW}
    assert slow <= probe.went_down() <= restarted, f"seen down: {probe.went_down()}"
    assert probe.down_together() == []
    for component in CHANGED:
        outages = sorted(_outage(m.name, component) for m in site.running(component))
        for earlier, later in pairwise(outages):
            assert earlier[1] <= later[0], f"{component}: {outages}"
    probe.assert_never_blind()


def _outage(host: str, unit: str) -> tuple[int, int]:
    """When a unit was last stopped, and started again, by the clock that all hosts of the lab share (microseconds)."""
    names = ("ActiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    said = shell(host, f"systemctl show -p {','.join(names)} {unit}")
    found = dict(line.split("=") for line in said.splitlines())
    return int(found[names[0]]), int(found[names[1]])


def _starts(host: str, unit: str) -> int:
    """How often systemd has started a unit, by its journal."""
    lines = shell(host, f"journalctl -o cat -u {unit} _PID=1 --no-pager")
    return sum(line.startswith("Started ") for line in lines.splitlines())


def test_one_replica_at_a_time_gives_up_a_remote_write_queue(site: Site) -> None:
    """While it stops a queue that it cannot empty, a Prometheus answers no query, nor does its sidecar."""
    nobody = {"remote_write": [{"url": f"http://{plan.LAB.gateway}:9/"}]}
    # With a restart of the sidecar in the same turn, whose gate opens before Prometheus has loaded.
    run = run_site(data={"prometheus_config": nobody, "sidecar_flags": {"log.format": "json"}})
    assert run.status == 0, str(run)
    run = run_site()
    assert run.status == 0, str(run)
    first, second = (_loading(member.name) for member in site.running("prometheus"))
    assert first[1] - first[0] >= seconds(FLUSH_DEADLINE), "the queue was empty"
    assert first[1] <= second[0], "the second was told to load while the first was at it"


def _loading(host: str) -> tuple[float, float]:
    """When a Prometheus last began to load its configuration, and when it was done."""
    lines = shell(host, "journalctl -o short-unix -u prometheus --no-pager").splitlines()
    begun = [float(line.split()[0]) for line in lines if "Loading configuration file" in line]
    done = [float(line.split()[0]) for line in lines if "Completed loading of" in line]
    return begun[-1], done[-1]
