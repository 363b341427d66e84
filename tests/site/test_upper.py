"""Every Prometheus above the clusters: what it has loaded, and what it gets from them."""

import pytest

from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_CONFIG, RULES_DIR
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles import upper as upper_role
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.suites.ask import api, eventually, metric, query
from prometheus_ha.suites.daemon import Daemon
from prometheus_ha.suites.inventory import only
from prometheus_ha.suites.test_prometheus import loaded_by

COMPONENT = "prometheus-upper"
federates = only(lambda member, _: bool(member.settings.federation_match))


class TestDaemon(Daemon):
    pass


@pytest.fixture
def patience(member):
    """Seconds within which one that just started has federated twice."""
    return 2 * seconds(member.settings.timing.federation_interval) + 10


def test_last_reload_succeeded(member):
    assert metric(member, COMPONENT, "prometheus_config_last_reload_successful") == 1


def test_configuration_on_disk_is_valid(host):
    done = host.run("promtool check config %s", PROMETHEUS_CONFIG)
    assert done.rc == 0, done.stdout + done.stderr


def test_it_takes_remote_write_where_it_is_told_to(member):
    found = api(member, COMPONENT, "/api/v1/status/flags")["web.enable-remote-write-receiver"]
    assert found == str(member.settings.prometheus_remote_write_receiver).lower()


def test_rules_are_those_of_the_inventory_and_healthy(site, member):
    wanted = {
        rule.get("alert") or rule.get("record")
        for content in upper_role.rules(site, member).values()
        for group in content["groups"]
        for rule in group["rules"]
    }
    groups = api(member, COMPONENT, "/api/v1/rules")["groups"]
    groups = [g for g in groups if g["file"].startswith(f"{RULES_DIR}/")]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == wanted
    assert {rule["name"] for rule in rules if rule["health"] == "err"} == set()


def test_jobs_are_those_of_the_inventory_and_up(site, member, patience):
    given = [job["job_name"] for job in member.settings.prometheus_config.get("scrape_configs", [])]
    wanted = {
        (job["job_name"], target)
        for job in upper_role.upper_yml(site, member)["scrape_configs"]
        for group in job.get("static_configs", [])
        for target in group["targets"]
    }
    ours = {one for one in wanted if one[0] not in given}

    def check():
        targets = api(member, COMPONENT, "/api/v1/targets", state="active")["activeTargets"]
        found = {(t["scrapePool"], t["discoveredLabels"]["__address__"]): t for t in targets}
        assert wanted <= set(found)
        down = {key: found[key]["lastError"] for key in ours if found[key]["health"] != "up"}
        assert down == {}

    eventually(check, patience)


@federates
def test_labels_are_the_origins(member):
    jobs = {job["job_name"]: job for job in loaded_by(member, COMPONENT)["scrape_configs"]}
    for name in (name for name in jobs if name.startswith("federate-")):
        assert jobs[name]["honor_labels"] is True
        assert jobs[name]["params"] == {"match[]": member.settings.federation_match}


@federates
def test_every_replica_arrives(site, member, patience):
    wanted = {(m.settings.cluster, m.settings.replica) for m in site.members("prometheus")}

    def check():
        promql = f'count by ({CLUSTER_LABEL},{REPLICA_LABEL}) ({{{REPLICA_LABEL}!=""}})'
        found = [sample["metric"] for sample in query(member, COMPONENT, promql)]
        assert {(one.get(CLUSTER_LABEL), one.get(REPLICA_LABEL)) for one in found} == wanted

    eventually(check, patience)
