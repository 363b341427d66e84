"""blackbox_exporter: it probes what it is asked about, from another host than the target's."""

from urllib.parse import parse_qs, urlsplit

import yaml

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.roles import blackbox_exporter as role
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.suites.ask import api, eventually, get, query
from prometheus_ha.suites.daemon import Daemon

COMPONENT = "blackbox_exporter"


class TestDaemon(Daemon):
    pass


def test_it_has_the_modules_that_it_is_to_have(site, member):
    loaded = yaml.safe_load(get(member, COMPONENT, "/config"))["modules"]
    assert set(loaded) == set(role.modules(site, member))


def test_it_probes_without_being_root(host, member, info):
    """ICMP, where the kernel lets groups of processes do that or not: the capability is enough."""
    probe = get(member, COMPONENT, "/probe", module="icmp", target=member.address)
    assert "\nprobe_success 1\n" in probe, probe


def test_every_probe_succeeds_and_is_of_its_target(site, member):
    """Those of the Prometheus of its cluster, by whichever exporter."""
    for prometheus in site.replicas(member):
        targets = configuration.targets(site, prometheus)
        wanted = {
            (job, target)
            for job, groups in targets.items()
            if job.startswith("probe-")
            for group in groups
            for target in group["targets"]
        }

        def check(prometheus=prometheus, wanted=wanted):
            found = query(prometheus, "prometheus", 'probe_success{job=~"probe-.*"}')
            failed = sorted(one["metric"]["instance"] for one in found if one["value"] != 1)
            assert not failed, f"{prometheus.name}: {failed}"
            assert {(one["metric"]["job"], one["metric"]["instance"]) for one in found} == wanted

        eventually(check, 60)
        own = {f"probe-{name}" for name in prometheus.settings.probes}
        assert own | ({"probe-platform"} if prometheus.settings.probe_platform else set()) <= set(targets)


def test_nobody_is_asked_about_its_own_host(site, member):
    """Each replica begins with another exporter, and asks another one about what is on that one's host."""
    hosts = {site.endpoint(COMPONENT, one).target: one for one in site.running(COMPONENT)}
    used = {}
    for prometheus in site.replicas(member):
        for target in api(prometheus, "prometheus", "/api/v1/targets", state="active")["activeTargets"]:
            if not target["labels"]["job"].startswith("probe-"):
                continue
            url = urlsplit(target["scrapeUrl"])
            [probed] = parse_qs(url.query)["target"]
            exporter = hosts[url.netloc]
            assert exporter.address not in probed, f"{exporter.name} is asked about {probed}"
            used.setdefault(probed, set()).add(exporter.name)
    assert {len(names) for names in used.values()} == {1, 2}


def test_both_replicas_have_one_series_of_a_target(site, member):
    for querier in site.running("thanos-querier"):
        count = 'count(probe_success{job="probe-platform"})'
        replicas = len(site.replicas(member))

        def check(querier=querier, count=count, replicas=replicas):
            [one] = query(querier, "thanos-querier", count, dedup="true")
            [all_] = query(querier, "thanos-querier", count, dedup="false")
            assert all_["value"] == replicas * one["value"] > 0

        eventually(check, 60)


def test_the_platform_says_when_its_certificates_expire(site, member):
    for prometheus in site.replicas(member):
        expected = sum(
            DAEMONS[name].web and web.tls(one.settings) for name in DAEMONS for one in site.scraped(prometheus, name)
        )

        def check(prometheus=prometheus, expected=expected):
            found = query(prometheus, "prometheus", 'probe_ssl_earliest_cert_expiry{job="probe-platform"} - time()')
            assert len(found) == expected
            assert all(one["value"] > 0 for one in found)

        eventually(check, 60)
