"""Several clusters in one inventory: each host is scraped, and alerted about, by one of them."""

from __future__ import annotations

import json

import pytest
from test_checks import answer

from prometheus_ha.deploys.lib.common import promql
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.roles import querier
from prometheus_ha.deploys.lib.roles.prometheus import alerts as prometheus_alerts
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site import relations
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.survey import capacity
from prometheus_ha.deploys.lib.survey.load import site_from_dicts

SHARED = {
    **{f"am-{i}": (("alertmanager",), {}) for i in (1, 2)},
    "query-1": (("querier",), {}),
    "rule-1": (("rule",), {}),
    "ring-1": (("receive",), {"receive_replication": 1}),
    "upper-1": (("upper",), {"cluster": "above"}),
}
ALERTMANAGER = {"alertmanager_webhook_url": "secret:env:W", "deadman_url": "secret:env:W"}


def several(*clusters: str, **changes) -> Site:
    """Two Prometheus and a watched host in each of `clusters`, and what they share; `changes`: host -> data."""
    hosts: dict = {}
    for cluster in clusters:
        for i in (1, 2):
            data = {"cluster": cluster, "replica": f"r{i}"}
            hosts[f"{cluster}-{i}"] = (("prometheus",), data)
        hosts[f"{cluster}-db"] = (("node_exporter",), {"cluster": cluster})
    hosts |= SHARED
    return site_from_dicts(
        {
            name: {
                "groups": [*groups, "inventory"],
                "data": {
                    "ssh_hostname": f"10.0.0.{number}",
                    **(ALERTMANAGER if "alertmanager" in groups else {}),
                    **data,
                    **changes.get(name.replace("-", "_"), {}),
                },
            }
            for number, (name, (groups, data)) in enumerate(hosts.items(), 10)
        }
    )


def jobs(site: Site, name: str) -> dict[str, set[str]]:
    """Job -> the hosts that this Prometheus scrapes by it."""
    return {
        job["job_name"]: {group["labels"]["host"] for group in job["static_configs"]}
        for job in configuration.prometheus_yml(site, site.hosts[name])["scrape_configs"]
    }


def alerts(site: Site, name: str) -> dict[str, str]:
    """Alert -> its expressions, of the starter rules of this Prometheus."""
    found: dict[str, str] = {}
    for group in prometheus_alerts.starter_rules(site, site.hosts[name]):
        for rule in group["rules"]:
            key = rule.get("alert", rule.get("record"))
            found[key] = found.get(key, "") + rule["expr"]
    return found


def named(site: Site, host: str, port: int = 9100) -> str:
    """A target of this host, as a selector has it."""
    return f"{site.hosts[host].address}:{port}".replace(".", "[.]")


def test_each_daemon_is_scraped_by_one_cluster():
    site = several("east", "west", "north")
    by: dict[tuple[str, str], list[str]] = {}
    for cluster in site.clusters:
        assert jobs(site, f"{cluster}-1") == jobs(site, f"{cluster}-2")
        for job, hosts in jobs(site, f"{cluster}-1").items():
            if job != relations.WATCHED_JOB:
                for host in hosts:
                    by.setdefault((job, host), []).append(cluster)
    assert set(by) == {
        (DAEMONS[name].job_name, member.name) for member in site.hosts.values() for name in member.components
    }
    for (job, host), clusters in by.items():
        own = host.split("-")[0]
        assert clusters == [own if own in site.clusters else "east"], (job, host)


def test_alerts_about_what_is_shared_come_from_one_cluster():
    site = several("east", "west")
    east, west = alerts(site, "east-1"), alerts(site, "west-1")
    shared = {one for one in east if one.startswith(("Alert", "Ruler", "Receiver", "ThanosQuery"))}
    assert set(east) - set(west) == shared
    assert set(west) <= set(east)
    # Gossip is all of them, whoever scrapes them.
    assert east["AlertmanagerPeersMissing"].endswith("< 2")
    disks, others = east["DataDiskFilling"], west["DataDiskFilling"]
    for name in ("west-1", "west-2"):
        assert named(site, name) not in disks and named(site, name) in others
    assert named(site, "am-1") in disks and named(site, "am-1") not in others
    assert "prometheus-upper" in east["PrometheusConfigReloadFailed"]
    assert "prometheus-upper" not in west["PrometheusConfigReloadFailed"]


def test_a_dead_cluster_is_noticed_by_the_next_one_alone():
    """One dead replica is its pair's to tell, by the job of its own; a whole cluster can tell nobody."""
    site = several("east", "west", "north")
    seen = {cluster: jobs(site, f"{cluster}-1") for cluster in site.clusters}
    watched = {cluster: found[relations.WATCHED_JOB] for cluster, found in seen.items()}
    assert watched == {
        "east": {"west-1", "west-2"},
        "west": {"north-1", "north-2"},
        "north": {"east-1", "east-2"},
    }
    found = alerts(site, "east-1")
    west = "|".join(named(site, name, 9090) for name in ("west-1", "west-2"))
    east = "|".join(named(site, name, 9090) for name in ("east-1", "east-2"))
    watched_job = relations.WATCHED_JOB
    assert found["ClusterDown"] == f'max(up{{job="{watched_job}", instance=~"{west}"}}) == 0'
    assert found["PrometheusReplicaDown"] == 'up{job="prometheus"} == 0'
    left_out = f'up{{job=~"prometheus|{watched_job}", instance=~"{east}|{west}"}}'
    assert found["TargetDown"] == f"up == 0 unless {left_out}"
    (job,) = (
        job
        for job in configuration.prometheus_yml(site, site.hosts["east-1"])["scrape_configs"]
        if job["job_name"] == relations.WATCHED_JOB
    )
    assert job["metric_relabel_configs"] == [{"action": "drop", "source_labels": ["__name__"]}]
    reckoned = {job.name: job.series for job in capacity.jobs(site, site.hosts["east-1"])}
    assert reckoned[relations.WATCHED_JOB] == 2 * capacity.SAMPLES_ABOUT


def test_with_one_cluster_all_is_its_own():
    """Whatever `cluster` the other hosts have: nothing says so to anybody but Prometheus."""
    site = several("east", am_1={"cluster": "other"}, east_db={"cluster": "other"})
    found = jobs(site, "east-1")
    assert found["node_exporter"] == set(site.hosts) and found["alertmanager"] == {"am-1", "am-2"}
    assert relations.WATCHED_JOB not in found and "ClusterDown" not in alerts(site, "east-1")
    assert alerts(site, "east-1")["TargetDown"].count(relations.WATCHED_JOB) == 0


def test_a_setting_says_who_scrapes_a_host():
    given = {"scraped_by": "west"}
    site = several("east", "west", am_1=given, am_2=given, east_db=given)
    assert jobs(site, "west-1")["alertmanager"] == {"am-1", "am-2"}
    assert "alertmanager" not in jobs(site, "east-1")
    assert "east-db" in jobs(site, "west-1")["node_exporter"]
    assert "east-db" not in jobs(site, "east-1")["node_exporter"]
    assert "AlertmanagerPeersMissing" in alerts(site, "west-1")
    assert "AlertmanagerPeersMissing" not in alerts(site, "east-1")
    # Alerts go to all of them all the same.
    targets = {"10.0.0.16:9093", "10.0.0.17:9093"}
    for name in ("east-1", "west-1"):
        alerting = configuration.prometheus_yml(site, site.hosts[name])["alerting"]
        assert targets <= set(alerting["alertmanagers"][0]["static_configs"][0]["targets"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"am_1": {"scraped_by": "south"}}, "a cluster with a Prometheus: east, west"),
        ({"east_1": {"scraped_by": "west"}}, "its own `cluster`"),
    ],
)
def test_a_cluster_that_cannot_scrape_a_host(change, said):
    with pytest.raises(SettingsErrors) as caught:
        several("east", "west", **change)
    (finding,) = [f for f in caught.value.findings if f.severity == "fail"]
    assert finding.check == "scraped_by" and finding.wanted.startswith(said)


def test_a_prometheus_dials_what_it_scrapes_and_alerts():
    site = several("east", "west")
    dialled = {(e.host_name, e.port) for e in site.dials(site.hosts["west-1"])}
    assert {host for host, port in dialled if port == 9100} == {"west-2", "west-db"}
    assert {host for host, port in dialled if port == 9093} == {"am-1", "am-2"}
    # Its pair, and the cluster that it watches.
    assert {host for host, port in dialled if port == 9090} == {"west-2", "east-1", "east-2"}
    assert ("ring-1", 10908) in dialled and ("ring-1", 10909) not in dialled


def test_verify_counts_each_replica_once():
    site = several("east", "west")
    replicas = {cluster: {"r1", "r2"} for cluster in site.clusters}
    targets = {cluster: len(site.hosts) for cluster in site.clusters}

    def judged(**counts):
        raw = [({"cluster": c, "replica": r}, targets[c]) for c in replicas for r in sorted(replicas[c])]
        answers = {
            "up-raw": answer(raw),
            "up": answer([({"cluster": c}, targets[c]) for c in replicas]),
            "prometheus-up": answer([({"cluster": c}, n) for c, n in counts.items()]),
        }
        read = {name: promql.read_query(one) for name, one in answers.items()}
        return list(querier._judge_deduplication(read, replicas, targets, {}, {}))

    assert judged(east=2, west=2) == []
    assert judged(east=2, west=1) and judged(east=3, west=1)


def test_what_is_rendered_names_no_stranger():
    """Nothing of a cluster is in the files of another, but the Prometheus that it watches."""
    site = several("east", "west", "north")
    text = json.dumps(configuration.prometheus_yml(site, site.hosts["east-1"]))
    assert "west-db" not in text and "north" not in text
