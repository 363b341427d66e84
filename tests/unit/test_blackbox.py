"""What a Prometheus asks which exporter, and what may not be asked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from prometheus_ha.deploys.lib.roles import blackbox_exporter as role
from prometheus_ha.deploys.lib.roles.prometheus import alerts, configuration
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey import capacity
from tests.unit.golden import WEB
from tests.unit.recorded import BLANK

PROBES: dict[str, Any] = {"shop": {"module": "http_2xx", "targets": ["https://shop.example.org/"], "interval": "1m"}}


def site(exporters: int = 2, **data: Any) -> Site:
    """Two replicas, with the exporters on the first hosts of three."""
    given = {"probes": PROBES, **data}
    hosts = {
        f"prom-{i}": Member(f"prom-{i}", Settings(replica=f"r{i}", **given), ("prometheus",), f"10.0.0.{i}")
        for i in (1, 2)
    }
    for i in range(1, exporters + 1):
        name = f"far-{i}"
        hosts[name] = Member(name, Settings(**data), ("blackbox_exporter",), f"10.0.1.{i}", management=f"10.9.1.{i}")
    return Site(hosts)


def jobs(site: Site, name: str) -> dict[str, Any]:
    found = configuration.prometheus_yml(site, site.hosts[name])["scrape_configs"]
    return {job["job_name"]: job for job in found if job["job_name"].startswith("probe-")}


def relabelled(job: dict[str, Any], target: str) -> dict[str, str]:
    """What Prometheus makes of a target by rules of the kinds that are used here."""
    labels = {"__address__": target}
    for rule in job["relabel_configs"]:
        value = ";".join(labels.get(name, "") for name in rule.get("source_labels", []))
        if re.fullmatch(rule.get("regex", "(.*)"), value):
            labels[rule["target_label"]] = rule.get("replacement", value)
    return labels


def test_replicas_ask_different_exporters_and_instance_is_the_target():
    asked = site()
    target = "https://shop.example.org/"
    for name, exporter in (("prom-1", "10.0.1.1:9115"), ("prom-2", "10.0.1.2:9115")):
        job = jobs(asked, name)["probe-shop"]
        labels = relabelled(job, target)
        assert labels == {"__address__": exporter, "__param_target": target, "instance": target}
        assert (job["metrics_path"], job["params"]) == ("/probe", {"module": ["http_2xx"]})
        assert job["scrape_interval"] == "1m"
        [entry] = job["file_sd_configs"]
        assert entry["files"] == ["/etc/prometheus/targets/probe-shop.yml"]


@pytest.mark.parametrize(
    ("target", "exporter"),
    [
        ("10.0.1.1", 2),
        ("10.0.1.1:9100", 2),
        ("http://10.0.1.1", 2),
        ("https://user@10.0.1.1:8443/x?y", 2),
        ("http://[10.0.1.1]/", 2),
        ("far-1", 2),
        ("far-1:22", 2),
        ("10.9.1.1:22", 2),
        ("10.0.1.10", 1),
        ("10.0.1.2", 1),
        ("http://10.0.2.1/?of=10.0.1.1", 1),
        ("far-10", 1),
        ("1000011:1", 1),
    ],
)
def test_nobody_is_asked_about_its_own_host(target: str, exporter: int):
    job = jobs(site(), "prom-1")["probe-shop"]
    assert relabelled(job, target)["__address__"] == f"10.0.1.{exporter}:9115"


def test_one_exporter_is_asked_about_all():
    for name in ("prom-1", "prom-2"):
        job = jobs(site(exporters=1), name)["probe-shop"]
        assert relabelled(job, "10.0.1.1")["__address__"] == "10.0.1.1:9115"


def test_without_an_exporter_there_are_no_jobs():
    nobody = site(exporters=0, probes={})
    assert jobs(nobody, "prom-1") == {}
    assert not list(role.alerts(nobody, nobody.hosts["prom-1"]))


def test_a_cluster_asks_its_own_exporters():
    asked = site(exporters=1)
    other = Settings(cluster="other", replica="r1", probes=PROBES)
    asked.hosts["else-1"] = Member("else-1", other, ("prometheus",), "10.0.2.1")
    assert jobs(asked, "prom-1") and not jobs(asked, "else-1")
    assert "of this cluster" in str(*role._check_probes(asked, asked.hosts["else-1"]))


def test_the_platform_is_probed_as_its_ports_are_asked(monkeypatch):
    monkeypatch.setenv("GOLDEN", "hunter2")
    guarded = site(**WEB)
    job = jobs(guarded, "prom-1")["probe-platform"]
    assert (job["scheme"], job["basic_auth"]["username"]) == ("https", "site")
    groups = configuration.targets(guarded, guarded.hosts["prom-1"])["probe-platform"]
    urls = {group["targets"][0]: group["labels"] for group in groups}
    assert urls["https://10.0.0.2:9090/-/healthy"] == {
        "host": "prom-2",
        "endpoint": "10.0.0.2:9090",
        "__param_module": "platform_tls_password",
    }
    assert "https://10.0.0.1:9100/metrics" in urls
    module = role.modules(guarded, guarded.hosts["far-1"])["platform_tls_password"]["http"]
    assert module["tls_config"] == {"ca_file": "/etc/monitoring/ca.crt"}
    files = role.component(guarded, guarded.hosts["far-1"], BLANK).files
    assert "hunter2" in files["/etc/blackbox_exporter/blackbox.yml"].content
    off = site(probe_platform=False)
    assert set(jobs(off, "prom-1")) == {"probe-shop"}


def test_alerts_tell_an_exporter_that_is_away_from_a_target_that_is():
    asked = site()
    found = {rule["alert"]: rule for rule in role.alerts(asked, asked.hosts["prom-1"])}
    assert found["ProbeFailed"]["expr"] == 'probe_success{job=~"probe-shop"} == 0'
    assert 'up{job=~"probe-shop|probe-platform"} == 0' in found["ProbesMissing"]["expr"]
    days = [r["expr"] for r in role.alerts(asked, asked.hosts["prom-1"]) if r["alert"] == "CertificateExpires"]
    assert [expr[-10:] for expr in days] == ["14 * 86400", " 3 * 86400"]
    [down] = [r["expr"] for r in alerts.alerts(asked, asked.hosts["prom-1"]) if r["alert"] == "TargetDown"]
    assert down.endswith('unless up{job=~"probe-shop|probe-platform"}')


def test_capacity_counts_probes():
    asked = site()
    found = {job.name: job for job in capacity.jobs(asked, asked.hosts["prom-1"])}
    assert (found["probe-shop"].targets, found["probe-shop"].samples) == (1, role.SAMPLES)
    # Each replica and exporter has two ports or more.
    assert found["probe-platform"].targets == 2 * 3 + 2 * 2


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"probes": {"a": {"module": "icmpp", "targets": ["x"]}}}, "probes.a.module: found 'icmpp'; expected: one of"),
        ({"probes": {"a": {"module": "icmp"}}}, "probes.a: found neither targets nor files"),
        ({"probes": {"platform": {"module": "icmp", "targets": ["x"]}}}, "probes.platform: found a job"),
        ({"blackbox_modules": {"platform_x": {"prober": "icmp"}}}, "blackbox_modules.platform_x: found a module"),
    ],
)
def test_findings(data: dict[str, Any], found: str):
    asked = site(**data)
    said = [str(one) for member in asked.hosts.values() for one in role._check_probes(asked, member)]
    assert said and all(found in line for line in said)


def test_probes_need_an_exporter_and_exporters_the_same_modules():
    nobody = site(exporters=0)
    [finding] = role._check_probes(nobody, nobody.hosts["prom-1"])
    assert "a host of this cluster in the group blackbox_exporter" in str(finding)
    asked = site()
    own = Settings(blackbox_modules={"own": {"prober": "icmp"}})
    asked.hosts["far-2"] = Member("far-2", own, ("blackbox_exporter",), "10.0.1.2")
    [finding] = role._check_alike(asked)
    assert (finding.host, finding.check) == ("far-2", "blackbox_modules")
