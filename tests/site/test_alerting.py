"""The cluster as a whole: what every Prometheus fires is one alert on every Alertmanager."""

import re

import pytest

from prometheus_ha.deploys.lib.common.starter import ALERTS
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles.prometheus import alerts as prometheus_alerts
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL, STARTER_RULES
from prometheus_ha.suites.ask import api, eventually, metrics, query
from prometheus_ha.suites.inventory import site as the_site

COMPONENT = "alertmanager"
FIRING = {m.settings.cluster for m in the_site().members("prometheus") if m.settings.starter_rules}
"""Clusters whose rules hold the Watchdog, which always fires."""
CLUSTERS = {m.settings.cluster for m in the_site().members("prometheus")}
"""Whose alerts are ours: somebody else's may have a label of that name."""
OURS = any(m.settings.deadman_url for m in the_site().members("alertmanager"))
"""Whether a dead man's switch has it."""


def watchdogs(member):
    found = api(member, COMPONENT, "/api/v2/alerts", filter='alertname="Watchdog"')
    # Others may send theirs to the same Alertmanagers.
    found = [alert for alert in found if alert["labels"].get(CLUSTER_LABEL) in FIRING]
    return {alert["labels"].get(CLUSTER_LABEL): alert for alert in found}, found


@pytest.fixture
def patience(site):
    """Seconds from the start of a Prometheus to its first alerts everywhere."""
    settings = [m.settings for m in site.members("prometheus")]
    return 10 + max([seconds(s.evaluation_interval) + seconds(s.timing.resend_delay) for s in settings] or [0])


def test_every_replica_fires_the_watchdog(site, patience):
    def check():
        for replica in site.members("prometheus"):
            found = query(replica, "prometheus", 'ALERTS{alertname="Watchdog",alertstate="firing"}')
            assert found or not replica.settings.starter_rules, replica.name

    eventually(check, patience)


def test_watchdog_is_one_alert_without_replica(member, patience):
    def check():
        by_cluster, found = watchdogs(member)
        assert set(by_cluster) >= FIRING
        assert len(found) == len(by_cluster), "more than one for a cluster"
        for alert in found:
            assert alert["status"]["state"] == "active"
            assert REPLICA_LABEL not in alert["labels"]

    eventually(check, patience)


def test_it_is_the_same_alert_everywhere(site, patience):
    def check():
        found = {m.name: {alert["fingerprint"] for alert in watchdogs(m)[1]} for m in site.members("alertmanager")}
        assert len({frozenset(prints) for prints in found.values()}) <= 1, found

    eventually(check, patience)


def test_no_alert_at_all_has_a_replica(member):
    found = [alert["labels"] for alert in api(member, COMPONENT, "/api/v2/alerts")]
    found = [labels for labels in found if labels.get(CLUSTER_LABEL) in CLUSTERS]
    assert [labels for labels in found if REPLICA_LABEL in labels] == []


# Where the Watchdog goes by our own route; the user's may have it go elsewhere, and nobody may have it.
@pytest.mark.parametrize("integration", ["webhook"] if FIRING and OURS else [])
def test_notifications_arrive(site, integration):
    """Which member sends is theirs to agree on; together they have sent the Watchdog."""
    members = site.members("alertmanager")

    def total(name):
        return sum(
            value
            for member in members
            for labels, value in metrics(member, COMPONENT, name)
            if labels["integration"] == integration
        )

    def check():
        sent = total("alertmanager_notifications_total")
        assert sent > total("alertmanager_notifications_failed_total")

    eventually(check, 2 * seconds(members[0].settings.timing.watchdog_repeat) + 10)


def test_nothing_fires_but_the_watchdog(site):
    """An alert of the platform's own that fires on a healthy site cries wolf."""

    def check():
        for member in [*site.members("prometheus"), *site.members("upper")]:
            # Its own: an upper one has federated those of the clusters, and may have them for some minutes more.
            found = [
                one["labels"]
                for one in api(member, "prometheus", "/api/v1/alerts")["alerts"]
                if one["state"] == "firing"
            ]
            assert not [labels for labels in found if labels["alertname"] in {*ALERTS} - {"Watchdog"}], member.name

    # A site that was changed just now has alerts that are to end.
    eventually(check, 180)


BORN_LATE = {
    "alertmanager_alerts_limited_total",
    "thanos_compact_downsample_failures_total",
    "thanos_compact_group_compactions_failures_total",
}
"""What there is only once it has happened."""


def test_every_series_of_the_starter_rules_exists(site):
    """A rule about a metric that nobody has would never fire."""
    for member in site.members("prometheus"):
        rules = prometheus_alerts.rules(site, member).get(STARTER_RULES, {"groups": []})
        wanted: dict[str, set[str]] = {}
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            listed = "|".join(re.findall(r'__name__=~"([^"]*)"', rule["expr"])).split("|")
            for name in {*re.findall(r"([a-zA-Z_:][\w:]*){", rule["expr"]), *listed} - {"", *BORN_LATE}:
                wanted.setdefault(name, set()).add(rule.get("alert") or rule["record"])

        def check(member=member, wanted=wanted):
            known = set(api(member, "prometheus", "/api/v1/label/__name__/values"))
            assert not {name: rules for name, rules in wanted.items() if name not in known}

        eventually(check, 60)
