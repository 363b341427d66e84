"""Rendered configuration: what the site adds to upstream's keys, and what users can change."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace

import pytest
import yaml
from example_site import example_site

from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.prometheus import TARGETS_DIR
from prometheus_ha.deploys.lib.engine import documents
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import describe
from prometheus_ha.deploys.lib.roles import querier as querier_role
from prometheus_ha.deploys.lib.roles import upper as upper_role
from prometheus_ha.deploys.lib.roles.alertmanager import configuration as alertmanager_role
from prometheus_ha.deploys.lib.roles.prometheus import alerts as prometheus_alerts
from prometheus_ha.deploys.lib.roles.prometheus import configuration, findings
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings


def prometheus(site: Site | None = None, name: str = "prom-1", **data):
    site = site or example_site(**data)
    return configuration.prometheus_yml(site, site.hosts[name])


def alertmanager(**data):
    site = example_site(**data)
    return alertmanager_role.alertmanager_yml(site, site.hosts["am-1"])


def rules(**data):
    site = example_site(**data)
    found = prometheus_alerts.starter_rules(site, site.hosts["prom-1"])
    return [rule for group in found for rule in group["rules"]]


# --- prometheus.yml -------------------------------------------------------------------------------


def test_replicas_differ_in_one_label_only():
    site = example_site()
    first, second = (prometheus(site, name) for name in ("prom-1", "prom-2"))
    assert first["global"].pop("external_labels") == {"cluster": "main", "replica": "replica-01"}
    assert second["global"].pop("external_labels") == {"cluster": "main", "replica": "replica-02"}
    assert first == second


def test_timing_is_the_documents():
    found = prometheus()["global"]
    assert (found["scrape_interval"], found["evaluation_interval"]) == ("15s", "15s")
    assert prometheus(profile="drill")["global"]["scrape_interval"] == "5s"


def test_alerts_lose_the_replica_and_go_to_all_alertmanagers():
    found = prometheus()["alerting"]
    assert found == {
        "alert_relabel_configs": [{"action": "labeldrop", "regex": "replica"}],
        "alertmanagers": [
            {
                "api_version": "v2",
                "static_configs": [{"targets": ["10.0.0.21:9093", "10.0.0.22:9093", "10.0.0.23:9093"]}],
            }
        ],
    }


def test_alerts_lose_every_replica_label():
    found = prometheus(replica_labels=["replica", "rule_replica"])["alerting"]
    assert found["alert_relabel_configs"][0]["regex"] == "replica|rule_replica"


def test_a_site_without_alertmanagers():
    assert prometheus(alertmanagers=0)["alerting"]["alertmanagers"] == []


def test_every_component_of_the_site_is_scraped_by_address():
    found = prometheus()
    jobs = {job["job_name"]: job["static_configs"] for job in found["scrape_configs"]}
    assert list(jobs) == [
        "prometheus",
        "thanos-sidecar",
        "alert_relay",
        "alertmanager",
        "thanos-query",
        "seaweedfs",
        "prometheus-upper",
        "node_exporter",
    ]
    assert jobs["prometheus"] == [
        {"targets": ["10.0.0.11:9090"], "labels": {"host": "prom-1"}},
        {"targets": ["10.0.0.12:9090"], "labels": {"host": "prom-2"}},
    ]
    assert len(jobs["node_exporter"]) == len(example_site().hosts)
    assert jobs["thanos-query"][0]["targets"] == ["10.0.0.41:10903"]
    text = json.dumps(found)
    assert "localhost" not in text and "127.0.0.1" not in text


def test_a_component_that_is_not_there_has_no_job():
    names = [job["job_name"] for job in prometheus(alertmanagers=0)["scrape_configs"]]
    assert "alertmanager" not in names


def test_ports_come_from_the_settings():
    found = prometheus(node_exporter_port=9200)["scrape_configs"][-1]
    assert found["static_configs"][0]["targets"] == ["10.0.0.11:9200"]


def test_users_keys():
    job = {"job_name": "mine", "static_configs": [{"targets": ["10.1.0.1:80"]}]}
    write = [{"url": "http://10.1.0.2/api/v1/write"}]
    relabel = {"action": "labeldrop", "regex": "noise"}
    other = {"static_configs": [{"targets": ["10.1.0.3:9093"]}]}
    given = {
        "global": {
            "scrape_interval": "30s",
            "query_log_file": "queries.log",
            "external_labels": {"region": "north", "replica": "mine", "cluster": "mine"},
        },
        "scrape_configs": [job],
        "remote_write": write,
        "alerting": {"alert_relabel_configs": [relabel], "alertmanagers": [other]},
    }
    before = json.dumps(given)
    found = prometheus(prometheus_config=given)
    assert found["global"] == {
        "scrape_interval": "30s",
        "evaluation_interval": "15s",
        "query_log_file": "queries.log",
        "external_labels": {"region": "north", "cluster": "main", "replica": "replica-01"},
    }
    assert found["scrape_configs"][-1] == job
    assert found["remote_write"] == write
    assert found["alerting"]["alert_relabel_configs"][1] == relabel
    assert found["alerting"]["alertmanagers"][1] == other
    assert json.dumps(given) == before


def test_watched_targets_are_a_job():
    groups = [{"targets": ["10.1.0.1:80"]}]
    found = prometheus(prometheus_targets={"web": groups})["scrape_configs"][-1]
    assert found == {
        "job_name": "web",
        "file_sd_configs": [{"files": [f"{TARGETS_DIR}/web.yml"], "refresh_interval": "30s"}],
    }


@pytest.mark.parametrize(
    "data",
    [
        {"prometheus_config": {"scrape_configs": [{"job_name": "node_exporter"}]}},
        {"prometheus_targets": {"prometheus": []}},
        {
            "prometheus_targets": {"web": []},
            "prometheus_config": {"scrape_configs": [{"job_name": "web"}]},
        },
    ],
)
def test_a_job_name_twice(data):
    with pytest.raises(ValueError, match=r"prom-1: found the job .* twice; expected: once"):
        prometheus(**data)


@pytest.mark.parametrize(("release", "written"), [("current", "a$$b"), ("reference", "a$b")])
def test_dollar_in_an_external_label(release, written):
    """Prometheus 3 expands it, whichever way it came past the check of the settings."""
    site = example_site(release=release)
    member = site.hosts["prom-1"]
    settings = member.settings.model_copy(update={"cluster": "a$b"})
    changed = type(member)(member.name, settings, member.groups, member.address)
    assert configuration.prometheus_yml(site, changed)["global"]["external_labels"]["cluster"] == written


# --- Rules ----------------------------------------------------------------------------------------


def test_starter_rules():
    found = rules()
    assert found[0] == {"record": "job:up:sum", "expr": "sum by (job) (up)"}
    recorded = [rule["record"] for rule in found if "record" in rule]
    assert all(name.startswith("job:") for name in recorded), "what an upper Prometheus federates by default"
    alerts = found[len(recorded) :]
    names = {rule["alert"] for rule in alerts}
    assert {"Watchdog", "TargetDown", "AlertmanagerPeersMissing", "NodeClockSkewDetected"} <= names
    storage = {rule["alert"] for rule in rules(storage=True) if "alert" in rule}
    here = {name for name, alert in starter.ALERTS.items() if alert.chapter in ("thanos", "storage", "probes")}
    assert storage - names == (here | {"AlertChannelRefuses", "AlertChannelBlocked"}) - names - UNCOMMON
    for rule in alerts:
        name = rule["alert"]
        assert rule["labels"]["severity"] in starter.ALERTS[name].levels
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"].endswith(f".md#{name.lower()}")
        patience = starter.ALERTS[name].patience
        assert seconds(rule.get("for", "0s")) == 300 * patience
        assert not re.search(r"<[a-z_]+>", json.dumps(rule)), "a word that was not filled in"


UNCOMMON = {"ThanosQueryHighDNSFailures", "FederationDown", "ProbeFailed"}
"""Alerts of stores by their names, of an upper Prometheus, and of the user's own probes."""


def test_a_starter_alert_is_changed_or_switched_off_by_its_name():
    changes = {
        "DataDiskFilling": {"threshold": {"warning": 0.2}},
        "TargetDown": {"for": "7m", "severity": "critical"},
        "PrometheusHighQueryLoad": {"threshold": 0.5, "for": "0s"},
        "JobMissing": False,
    }
    found = rules(starter_alerts=changes)
    disks = {rule["labels"]["severity"]: rule["expr"] for rule in named("DataDiskFilling", found)}
    assert disks["warning"].endswith("< 0.2") and disks["critical"].endswith("< 0.05")
    (down,) = named("TargetDown", found)
    assert (down["for"], down["labels"]) == ("7m", {"severity": "critical"})
    (load,) = named("PrometheusHighQueryLoad", found)
    assert load["expr"].endswith("> 0.5") and load["for"] == "0s"
    assert not named("JobMissing", found)
    others = [rule for rule in found if rule.get("alert") not in changes]
    assert others == [rule for rule in rules() if rule.get("alert") not in changes]
    (moved,) = named("TargetDown", rules(runbook_url="https://wiki.example/{chapter}/{alert}"))
    assert moved["annotations"]["runbook_url"] == "https://wiki.example/prometheus/targetdown"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"TargetDwn": False}, "starter_alerts.TargetDwn: found no such alert.*the nearest one is TargetDown"),
        ({"TargetDown": {"threshold": 1}}, "TargetDown.threshold: found 1.*this alert has no threshold"),
        ({"DataDiskFilling": {"threshold": 0.1}}, "found 0.1; .*as {'warning': 0.15, 'critical': 0.05}"),
        ({"DataDiskFilling": {"threshold": {"info": 1}}}, "found for info; .*for warning or critical"),
        ({"DataDiskFilling": {"severity": "critical"}}, "found critical; .*those of its levels"),
    ],
)
def test_a_change_that_a_starter_alert_cannot_have(change, said):
    site = example_site(starter_alerts=change)
    (first, *_) = describe(list(findings._check_starter_alerts(site, site.hosts["prom-1"])))
    assert re.search(said, first), first


def test_an_object_store_of_ours_is_watched_and_no_other():
    found = [r["expr"] for r in rules(storage=True) if r.get("alert") == "ObjectStoreCannotStore"]
    seaweedfs, minio = found
    assert seaweedfs.count('{job="seaweedfs"') == 2
    assert minio.count('{job="minio"}') == 2
    (alone,) = [r["expr"] for r in rules() if r.get("alert") == "ObjectStoreCannotStore"]
    assert alone == seaweedfs


def test_peers_are_counted_by_the_inventory():
    (rule,) = [r for r in rules() if r.get("alert") == "AlertmanagerPeersMissing"]
    assert rule["expr"] == 'alertmanager_cluster_members{job="alertmanager"} < 3'
    assert "port 9094" in rule["annotations"]["description"]
    assert not any(r.get("alert") == "AlertmanagerPeersMissing" for r in rules(alertmanagers=1))


def test_disks_are_those_of_the_data_directories():
    found = {r["labels"]["severity"]: r["expr"] for r in rules() if r.get("alert") == "DataDiskFilling"}
    assert set(found) == {"warning", "critical"}
    for expression in found.values():
        assert 'instance=~"10[.]0[.]0[.]11:9100|10[.]0[.]0[.]12:9100|' in expression
        assert '10[.]0[.]0[.]51:9100"' in expression
        assert '"/|/var|/var/lib|/var/lib/prometheus|/var/lib/prometheus/data"' in expression
        assert '"10[.]0[.]0[.]21:9100|10[.]0[.]0[.]22:9100|10[.]0[.]0[.]23:9100"' in expression
        assert "10[.]0[.]0[.]41" not in expression


REMOTE_WRITE = {"remote_write": [{"url": "http://a/b"}]}


def test_a_host_more_changes_the_rules_of_disks_alone():
    """Rules are read in a plan: those about a job name no host."""
    site = example_site(storage=True, prometheus_config=REMOTE_WRITE)
    more = Site(site.hosts | {"node-1": Member("node-1", Settings(), ("node_exporter",), "10.0.0.99")})
    of_site, of_more = (
        {
            (rule.get("alert"), rule["labels"]["severity"]): rule["expr"]
            for group in prometheus_alerts.starter_rules(one, one.hosts["prom-1"])
            for rule in group["rules"]
            if "alert" in rule
        }
        for one in (site, more)
    )
    assert of_site == of_more
    assert not [name for (name, _), expr in of_site.items() if "instance=~" in expr and name not in BY_INSTANCE]


BY_INSTANCE = {"DataDiskFilling", "NodeFilesystemAlmostOutOfSpace", "PrometheusReplicasDisagree"}
"""Alerts about some of the targets of a job."""


JOB = {"target_label": "job", "replacement": "prometheus"}


@pytest.mark.parametrize(
    ("given", "strange"),
    [
        ({"prometheus_targets": {"a": [{"targets": ["b:1"], "labels": {"job": "prometheus"}}]}}, True),
        ({"prometheus_targets": {"a": [{"targets": ["b:1"], "labels": {"job": "alertmanager"}}]}}, False),
        ({"prometheus_targets": {"a": [{"targets": ["b:1"]}]}}, False),
        ({"static_configs": [{"targets": ["b:1"], "labels": {"job": "prometheus"}}]}, True),
        ({"static_configs": [{"targets": ["b:1"], "labels": {"other": "prometheus"}}]}, False),
        ({"honor_labels": True}, True),
        ({"file_sd_configs": [{"files": ["/srv/targets/*.yml"]}]}, True),
        ({"file_sd_configs": [{"files": [f"{TARGETS_DIR}/a.yml"]}], "given": {"a": [{"targets": ["b:1"]}]}}, False),
        ({"http_sd_configs": [{"url": "http://a/b"}]}, True),
        ({"dns_sd_configs": [{"names": ["a.example"]}]}, False),
        ({"relabel_configs": [JOB]}, True),
        ({"relabel_configs": [JOB | {"replacement": "other"}]}, False),
        ({"relabel_configs": [JOB | {"source_labels": ["x"], "replacement": "$1"}]}, True),
        ({"relabel_configs": [{"source_labels": ["x"], "target_label": "job"}]}, True),
        ({"relabel_configs": [{"source_labels": ["x"], "target_label": "${1}b"}]}, True),
        ({"relabel_configs": [{"source_labels": ["x"], "target_label": "x"}]}, False),
        ({"relabel_configs": [{"action": "labelmap", "regex": "__meta_(.*)"}]}, True),
        ({"relabel_configs": [{"action": "drop", "source_labels": ["job"], "regex": "x"}]}, False),
        ({"metric_relabel_configs": [JOB | {"action": "Lowercase"}]}, True),
        ({"prometheus_flags": {"web.enable-otlp-receiver": True}}, True),
        ({"prometheus_config": {"scrape_config_files": ["/srv/*.yml"]}}, True),
    ],
)
def test_rules_name_instances_where_a_stranger_may_have_the_job(given, strange):
    targets = given.pop("given", {})
    if not any(key.startswith("prometheus_") for key in given):
        given = {"prometheus_config": {"scrape_configs": [{"job_name": "theirs", **given}]}}
        given |= {"prometheus_targets": targets} if targets else {}
    (down,) = (rule["expr"] for rule in rules(**given) if rule.get("alert") == "PrometheusReplicaDown")
    own = 'up{job="prometheus", instance=~"10[.]0[.]0[.]11:9090|10[.]0[.]0[.]12:9090"} == 0'
    assert down == (own if strange else 'up{job="prometheus"} == 0')


def test_rules_are_about_our_own_targets():
    """A target of the user's may have the job of one of ours as a label, or be relabelled to it: it is a stranger's
    that is down then, for which nobody is woken."""
    config = REMOTE_WRITE | {"scrape_configs": [{"job_name": "pushed", "honor_labels": True}]}
    site = example_site(storage=True, prometheus_config=config)
    upper = upper_role.rules(site, site.hosts["upper-1"])["starter.yml"]
    rules = [*prometheus_alerts.starter_rules(site, site.hosts["prom-1"]), upper["groups"][0]]
    named = [rule for group in rules for rule in group["rules"] if "alert" in rule]
    for rule in named:
        for selector in re.findall(r"{([^}]*)}", rule["expr"]):
            # What is probed may be listed in somebody else's file: no instance of a probe is known.
            ours = r'(__name__=~"[^"]+", )?job=~?"([^"]+", instance=~"[^"]+:\d+|probe-[a-z]+)"'
            assert re.match(ours, selector), rule
    without = {rule["alert"] for rule in named if "{" not in rule["expr"]}
    # Whoever runs it: there is no lock in the bucket.
    assert without == {"Watchdog", "ThanosCompactMultipleRunning"}
    down = {rule["alert"]: rule["expr"] for rule in named}
    own = 'up{job="prometheus", instance=~"10[.]0[.]0[.]11:9090|10[.]0[.]0[.]12:9090"}'
    assert down["PrometheusReplicaDown"] == f"{own} == 0"
    # A stranger of this job is not left out of what is told of all other targets.
    assert down["TargetDown"] == f'up == 0 unless {own}\nunless up{{job=~"probe-platform"}}'


@pytest.mark.filterwarnings("ignore:Possible nested set")  # of Python, not of RE2
def test_a_selector_matches_what_it_names_and_nothing_else():
    targets = ["[fd00::1]:9090", "a.example:1", "10.0.0.1:9090"]
    found = starter.selected({"a|b": targets, "c": []})
    jobs, instances = re.fullmatch(r'job=~"(.*)", instance=~"(.*)"', found).groups()
    assert [one for one in ("a|b", "c", "a", "b") if re.fullmatch(jobs, one)] == ["a|b", "c"]
    near = ["10.0.0.1:90900", "10x0.0.1:9090", "f:9090", "axexample:1"]
    assert [one for one in [*targets, *near] if re.fullmatch(instances, one)] == targets


def named(name, found):
    return [rule for rule in found if rule.get("alert") == name]


def test_failed_notifications_are_alerts():
    (warning,) = named("AlertmanagerFailedToSendAlerts", rules())
    (critical,) = named("AlertmanagerClusterFailedToSendAlerts", rules())
    assert (warning["labels"], critical["labels"]) == (
        {"severity": "warning"},
        {"severity": "critical"},
    )
    # Where one member fails another sends; where as good as all fails, nobody is told.
    assert warning["expr"].startswith("sum by (instance, host, integration, receiver_name) (rate(")
    assert critical["expr"].endswith("> 0.9") and "\n/ sum by (integration" in critical["expr"]
    assert 'reason!="contextCanceled"' in warning["expr"] and "[900s]" in warning["expr"]
    slow = {"route": {"routes": [{"routes": [{"group_interval": "1h"}, {"group_interval": "x"}]}]}}
    (warning,) = named("AlertmanagerFailedToSendAlerts", rules(alertmanager_config=slow))
    assert "[10800s]" in warning["expr"]
    assert not named("AlertmanagerFailedToSendAlerts", rules(alertmanagers=0))


def test_a_prometheus_that_reaches_no_alertmanager_is_an_alert():
    (rule,) = named("PrometheusNotConnectedToAlertmanagers", rules())
    discovered, dropped = rule["expr"].split("\nor ")
    assert discovered.endswith("< 1") and "[240s]" in dropped
    # From 3.10 on each Alertmanager has a queue of its own.
    assert dropped.startswith("min without (alertmanager) (rate(prometheus_notifications_dropped_")
    assert not named("PrometheusNotConnectedToAlertmanagers", rules(alertmanagers=0))
    theirs = {"alerting": {"alertmanagers": [{"static_configs": [{"targets": ["a:9093"]}]}]}}
    found = rules(alertmanagers=0, prometheus_config=theirs)
    assert named("PrometheusNotConnectedToAlertmanagers", found)


@pytest.mark.parametrize(("interval", "window"), [(None, "60s"), ("10m", "2400s"), ("5s", "60s"), ("soon", "60s")])
def test_rules_that_fail_are_counted_over_some_evaluations(interval, window):
    """Also of a group that is evaluated every ten minutes, whose failures are as far apart."""
    group = {"name": "mine", "rules": [], **({"interval": interval} if interval else {})}
    data = {name: {"a.yml": {"groups": [group]}} for name in ("prometheus_rules", "rule_rules")}
    found = rules(storage=True, **data)
    for name in ("PrometheusRuleFailures", "RulerCannotEvaluate"):
        (rule,) = named(name, found)
        assert f"[{window}]" in rule["expr"], name
    scraped = {"prometheus_config": {"global": {"scrape_interval": "1m"}}}
    (rule,) = named("PrometheusRuleFailures", rules(**scraped))
    assert "[240s]" in rule["expr"]


def test_rule_files():
    mine = {"groups": [{"name": "mine", "rules": []}]}
    site = example_site(prometheus_rules={"mine.yml": mine})
    found = prometheus_alerts.rules(site, site.hosts["prom-1"])
    assert list(found) == ["starter.yml", "mine.yml"]
    assert found["mine.yml"] == mine
    assert found == prometheus_alerts.rules(site, site.hosts["prom-2"])
    site = example_site(starter_rules=False)
    assert prometheus_alerts.rules(site, site.hosts["prom-1"]) == {}


# --- alertmanager.yml -----------------------------------------------------------------------------


def receivers_of(config):
    """Its receivers without that of canaries."""
    return [one for one in config["receivers"] if one["name"] != "canary"]


def routes_of(config):
    """Its routes without those of test alerts and canaries, which every site has."""
    found = config["route"]["routes"]
    ours = {'alertname="TestAlert"', 'alertname="Canary"'}
    return [route for route in found if not ours & set(route.get("matchers", []))]


def test_alertmanager_is_the_documents():
    found = alertmanager(alert_canary=False)
    recorded = {"file_outputs": [{"name": "file", "path": "/var/lib/alertmanager/data/events.jsonl"}]}
    assert found.pop("event_recorder") == recorded
    assert "event_recorder" not in alertmanager(release="migration"), "it would refuse the file"
    older = alertmanager(versions={"alertmanager": "0.34.1"})["event_recorder"]
    assert older == {"file_outputs": [{"path": "/var/lib/alertmanager/data/events.jsonl"}]}, "no names below 0.35"
    watchdog = routes_of({"route": {"routes": found["route"].pop("routes")}})
    assert found == {
        "global": {"resolve_timeout": "5m"},
        "templates": ["/etc/alertmanager/templates/*.tmpl"],
        "route": {
            "receiver": "web.hook",
            "group_by": ["alertname", "cluster"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "4h",
        },
        "receivers": [
            {"name": "web.hook", "webhook_configs": [{"url": "secret:env:WEBHOOK_URL"}]},
            {"name": "watchdog"},
        ],
        "inhibit_rules": [
            {
                "source_matchers": ['severity="critical"'],
                "target_matchers": ['severity="warning"'],
                "equal": ["alertname", "instance"],
            }
        ],
    }
    assert [route["matchers"] for route in watchdog] == [['alertname="Watchdog"']]


@pytest.mark.parametrize("profile", ["production", "drill"])
def test_the_watchdog_is_repeated_in_time(profile):
    site = example_site(profile=profile)
    (route,) = routes_of(alertmanager_role.alertmanager_yml(site, site.hosts["am-1"]))
    repeat, step = seconds(route["repeat_interval"]), seconds(route["group_interval"])
    wanted = seconds(site.hosts["am-1"].settings.timing.watchdog_repeat)
    assert repeat < wanted
    assert repeat + step == pytest.approx(wanted)


def test_all_members_are_told_the_same():
    site = example_site()
    one, *others = (alertmanager_role.alertmanager_yml(site, m) for m in site.members("alertmanager"))
    assert all(other == one for other in others)


def test_users_route_is_merged():
    mine = {"receiver": "mail", "matchers": ['team="db"']}
    found = alertmanager(
        alertmanager_config={
            "global": {"smtp_from": "a@example.org"},
            "route": {"group_wait": "10s", "routes": [mine]},
            "receivers": [{"name": "mail"}],
            "templates": ["/srv/x.tmpl"],
            "inhibit_rules": [],
            "time_intervals": [],
        }
    )
    assert found["global"] == {"resolve_timeout": "5m", "smtp_from": "a@example.org"}
    assert found["route"]["group_wait"] == "10s"
    assert found["route"]["group_by"] == ["alertname", "cluster"]
    assert found["route"]["receiver"] == "web.hook"
    assert routes_of(found)[1:] == [mine]
    assert [receiver["name"] for receiver in receivers_of(found)] == ["web.hook", "mail", "watchdog"]
    assert found["templates"][1:] == ["/srv/x.tmpl"]
    assert found["inhibit_rules"] == found["time_intervals"] == []


def past(**data):
    """Where the alert that a receiver fails is sent as well: (receiver, severity) -> another one."""
    found = {}
    for route in routes_of(alertmanager(**data)):
        if {f'alertname="{name}"' for name in alertmanager_role.FAILED_TO_SEND.values()} & set(
            route.get("matchers", [])
        ):
            assert route["continue"] is True
            _, failing, severity = (line.partition("=")[2].strip('"') for line in route["matchers"])
            found[failing, severity] = route["receiver"]
    return found


def test_a_failing_receiver_is_told_of_past_itself():
    """Where the alert would go to that receiver alone, and there is another."""
    given = {
        "route": {
            "receiver": "team",
            "routes": [{"matchers": ["severity=critical"], "receiver": "pager"}],
        },
        "receivers": [
            {"name": "pager", "pagerduty_configs": [{}]},
            {"name": "team", "slack_configs": [{}]},
            {"name": "null"},
        ],
    }
    data = {"alertmanager_webhook_url": None, "alertmanager_config": given}
    assert past(**data) == {("team", "warning"): "pager", ("pager", "critical"): "team"}
    # Below 0.27 the alert does not say which receiver it is about.
    assert past(**data, release="reference") == {}
    # A dead man's switch is nobody who reads.
    assert past(**data, deadman_url="secret:env:D") == past(**data)
    assert past() == {}
    # Whoever has it go nowhere has chosen so.
    muted = {"matchers": ["alertname=~Alertmanager.*"], "receiver": "null"}
    given["route"]["routes"].insert(0, muted)
    assert past(**data) == {}
    given["route"]["routes"] = [{"matchers": ["a=~(b"]}]
    assert past(**data) == {}


def test_the_way_past_a_failing_receiver_is_the_same_on_all_members():
    """Whatever is a member's own: the alert has the label of the cluster that scrapes it."""
    given = {
        "route": {"receiver": "team", "routes": [{"matchers": ["cluster=b"], "receiver": "pager"}]},
        "receivers": [
            {"name": "team", "slack_configs": [{}]},
            {"name": "pager", "pagerduty_configs": [{}]},
        ],
    }
    site = example_site(alertmanager_webhook_url=None, alertmanager_config=given)
    first = site.hosts["am-1"]
    other = replace(first, settings=first.settings.model_copy(update={"cluster": "b"}))
    site = replace(site, hosts={**site.hosts, "am-1": other})
    one, *others = (alertmanager_role.alertmanager_yml(site, m) for m in site.members("alertmanager"))
    assert all(found == one for found in others)
    assert [r["receiver"] for r in routes_of(one)] == [
        "watchdog",
        "pager",
        "pager",
        "pager",
    ]


FOR_THE_WATCHDOG = [
    {"matchers": ["alertname=Watchdog"]},
    {"matchers": ['{alertname=~"Watchdog|InfoInhibitor", severity!="critical"}']},
    {"matchers": ['"alertname" = "Watchdog"', 'region="north"']},
    {"match": {"alertname": "Watchdog"}},
    {"match_re": {"alertname": "Watch.*"}},
    {"matchers": ["severity=none"]},
    {"matchers": ["severity!~critical|warning"]},
    {"matchers": ['cluster="main"'], "routes": [{"match": {"alertname": "Watchdog"}}]},
]
NOT_FOR_IT = [
    {"matchers": ['alertname!="Watchdog"']},
    {"matchers": ['alertname="WatchdogOfTheLab"']},
    {"matchers": ['alertname="Disk"', 'team="Watchdog"']},
    {"match": {"team": "Watchdog"}},
    {"matchers": ['alertname=~".+"', "severity=~none|warning"]},
    {"matchers": ['severity="critical"'], "routes": [{"match": {"alertname": "Watchdog"}}]},
    {"receiver": "mail"},
    {"matchers": ["alertname=~(Watchdog"]},
    {"matchers": ["Watchdog"]},
    {"matchers": "alertname=Watchdog"},
]


@pytest.mark.parametrize("mine", FOR_THE_WATCHDOG)
def test_a_route_for_the_watchdog_replaces_ours(mine):
    found = alertmanager(alertmanager_config={"route": {"routes": [mine]}})
    assert routes_of(found) == [mine]
    assert [receiver["name"] for receiver in receivers_of(found)] == ["web.hook"]


@pytest.mark.parametrize("mine", NOT_FOR_IT)
def test_a_route_that_only_names_the_watchdog_does_not(mine):
    found = alertmanager(alertmanager_config={"route": {"routes": [mine]}})
    ours, *others = routes_of(found)
    assert ours["receiver"] == "watchdog" and others == [mine]


def test_the_watchdog_tells_nobody_but_a_dead_mans_switch():
    """Neither whoever gets all other alerts, nor that all is over: that would be a sign of life."""
    slack = {"receivers": [{"name": "team", "slack_configs": [{"channel": "#a"}]}]}
    for given in ({"alertmanager_config": slack, "alertmanager_webhook_url": None}, {}):
        found = alertmanager(**given)
        assert routes_of(found)[0]["receiver"] == "watchdog"
        assert receivers_of(found)[-1] == {"name": "watchdog"}
        found = alertmanager(**given, deadman_url="secret:env:DEADMAN")
        hook = {"url": "secret:env:DEADMAN", "send_resolved": False}
        assert receivers_of(found)[-1] == {"name": "watchdog", "webhook_configs": [hook]}


def test_a_receiver_named_watchdog_has_it():
    mine = {"name": "watchdog", "email_configs": [{"to": "a@example.org"}]}
    found = alertmanager(alertmanager_config={"receivers": [mine]})
    assert [route["receiver"] for route in routes_of(found)] == ["watchdog"]
    assert receivers_of(found)[1:] == [mine]


def test_own_receivers_need_no_webhook():
    found = alertmanager(alertmanager_webhook_url=None, alertmanager_config={"receivers": [{"name": "mail"}]})
    assert found["route"]["receiver"] == "mail"
    assert receivers_of(found) == [{"name": "mail"}, {"name": "watchdog"}]


def test_no_receiver_at_all():
    with pytest.raises(ValueError, match="am-1: alertmanager_webhook_url: found nothing; expected"):
        alertmanager(alertmanager_webhook_url=None)


def test_names_of_hosts_are_no_regular_expressions():
    """They are matched as they are: read back as PromQL reads a string, and then as a regular expression."""
    names = ["a.b", "a+b", "a(b", "a|b", "a[b]c", "a^b", "a\\b", 'a"b', "a$b", "a{2}", "a*?"]
    pattern = json.loads(f'"{starter.any_of(names)}"')
    # RE2 has no nested sets, of which Python warns.
    with warnings.catch_warnings(action="ignore"):
        assert all(re.fullmatch(pattern, name) for name in names)
    assert not any(re.fullmatch(pattern, name) for name in ("axb", "aab", "a", "b", "ab"))
    assert starter.any_of(["prom-1.example"]) == "prom-1[.]example"


# --- Upper Prometheus and remote write ------------------------------------------------------------


def upper(**data):
    site = example_site(**data)
    return upper_role.upper_yml(site, site.hosts["upper-1"])


def test_an_upper_prometheus_scrapes_itself_and_federates_every_replica():
    own, federate = upper()["scrape_configs"]
    assert own["static_configs"] == [{"targets": ["10.0.0.51:9090"], "labels": {"host": "upper-1"}}]
    # spec/000 8.1, job by job
    assert federate == {
        "job_name": "federate-main",
        "scrape_interval": "1m",
        "scrape_timeout": "1m",
        "honor_labels": True,
        "metrics_path": "/federate",
        "params": {"match[]": ['{job="node_exporter"}', '{__name__=~"job:.*"}']},
        "static_configs": [{"targets": ["10.0.0.11:9090", "10.0.0.12:9090"]}],
    }


def test_each_cluster_is_a_job_of_its_own():
    site = example_site()
    hosts = dict(site.hosts)
    hosts["prom-2"] = replace(hosts["prom-2"], settings=hosts["prom-2"].settings.model_copy(update={"cluster": "b"}))
    jobs = configuration.federation_jobs(Site(hosts), hosts["upper-1"])
    assert {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs} == {
        "federate-main": ["10.0.0.11:9090"],
        "federate-b": ["10.0.0.12:9090"],
    }


def test_without_selectors_nothing_is_federated():
    site = example_site(federation_match=[])
    names = [job["job_name"] for job in upper(federation_match=[])["scrape_configs"]]
    assert names == ["prometheus-upper"]
    assert upper_role.rules(site, site.hosts["upper-1"]) == {}


def test_an_upper_prometheus_needs_no_replica_and_alerts_about_what_only_it_sees():
    assert upper()["global"]["external_labels"] == {"cluster": "main"}
    assert upper(replica="r")["global"]["external_labels"] == {"cluster": "main", "replica": "r"}
    site = example_site()
    (group,) = upper_role.rules(site, site.hosts["upper-1"])["starter.yml"]["groups"]
    assert [rule["alert"] for rule in group["rules"]] == ["FederationDown"]


def test_a_users_job_cannot_take_a_federation_jobs_name():
    jobs = {"scrape_configs": [{"job_name": "federate-main"}]}
    with pytest.raises(ValueError, match="found the job federate-main twice"):
        upper(prometheus_config=jobs)


def test_remote_write_brings_its_alerts():
    written = {"remote_write": [{"url": "https://10.0.0.9/api/v1/write"}]}
    found = {rule.get("alert"): rule for rule in rules(prometheus_config=written)}
    assert "[60s]" in found["RemoteWriteRefused"]["expr"]
    assert "protobuf_message" in found["RemoteWriteRefused"]["annotations"]["description"]
    behind, prefix = found["RemoteWriteBehind"]["expr"], "prometheus_remote_storage"
    # The newest of a full queue stands still.
    assert "> 120" in behind and f"{prefix}_samples_pending" in behind and "_highest_timestamp" not in behind
    assert not any("RemoteWrite" in str(rule.get("alert")) for rule in rules())
    assert prometheus(prometheus_config=written)["remote_write"] == written["remote_write"]


# --- Querier and files ----------------------------------------------------------------------------


def test_endpoints_are_strict():
    site = example_site()
    assert querier_role.endpoints_yml(site, site.hosts["query-1"]) == {
        "endpoints": [
            {"address": "10.0.0.11:10901", "strict": True},
            {"address": "10.0.0.12:10901", "strict": True},
        ]
    }


OTHERS = [
    {"address": "query.other.example:10904"},
    {"address": "dnssrv+_grpc._tcp.third.example:10904"},
    {"address": "dns+queries.fourth.example:10904", "group": True},
]


def test_endpoints_of_other_sites_and_groups_of_store_gateways():
    site = example_site(storage=True, querier_endpoints=OTHERS, store_group="blocks.example:10905")
    found = {
        entry.pop("address"): entry for entry in querier_role.endpoints_yml(site, site.hosts["query-1"])["endpoints"]
    }
    assert found["query.other.example:10904"] == {"strict": True}
    assert found["dnssrv+_grpc._tcp.third.example:10904"] == {}
    assert found["dns+queries.fourth.example:10904"] == {"group": True}
    assert found["dns+blocks.example:10905"] == {"group": True}
    for gateway in site.running("thanos-store"):
        assert site.endpoint("thanos-store", gateway, "grpc").target not in found


def test_dump():
    shared = ["x"]
    data = {"z": shared, "a": shared, "s": "one\ntwo", "n": "0x1F", "empty": {}, "u": "ü"}
    text = documents.dump(data, "first\nsecond")
    assert text.startswith("# first\n# second\nz:\n- x\na:\n- x\ns: |-\n  one\n  two\n")
    assert yaml.safe_load(text) == data
    assert "ü" in text


def test_secrets_stay_references():
    text = documents.dump(alertmanager()) + documents.dump(prometheus())
    assert "secret:env:WEBHOOK_URL" in text


def test_no_path_or_port_is_written_twice():
    """Every job's port is the one its component has a setting for."""
    site = example_site(storage=True)
    jobs = [job for job in prometheus(site)["scrape_configs"] if "static_configs" in job]
    for job, info in zip(jobs, DAEMONS.values(), strict=True):
        for static in job["static_configs"]:
            member = site.hosts[static["labels"]["host"]]
            assert static["targets"] == [site.endpoint(info.name, member).target]
