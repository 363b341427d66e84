"""Every ruler: it has the rules of the inventory, evaluates them, and its alerts are those of the others."""

import yaml

from prometheus_ha.deploys.lib.daemons.thanos import RULE_ALERTMANAGERS, RULE_QUERY, RULE_RULES_DIR
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles import rule as rule_role
from prometheus_ha.deploys.lib.site import derived, relations
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.suites.ask import api, eventually, metric, query
from prometheus_ha.suites.daemon import Daemon, look
from prometheus_ha.suites.inventory import connect, only

COMPONENT = "thanos-rule"
LABEL = relations.REPLICA_LABELS[COMPONENT]


class TestDaemon(Daemon):
    pass


def named(groups):
    """Group and name of the rules in groups, as the files or the API have them."""
    return [
        (group["name"], rule.get("name") or rule.get("record") or rule.get("alert"))
        for group in groups
        for rule in group["rules"]
    ]


def recorded(member):
    """The names of the series that it records."""
    rules = member.settings.rule_rules.values()
    groups = [group for content in rules for group in content["groups"]]
    return [rule["record"] for group in groups for rule in group["rules"] if "record" in rule]


def test_last_reload_succeeded(member):
    assert metric(member, COMPONENT, "thanos_rule_config_last_reload_successful") == 1


def test_rules_are_those_of_the_inventory(host, member):
    wanted = rule_role.ruler_files(member)
    assert sorted(host.file(RULE_RULES_DIR).listdir()) == sorted(wanted)
    for name, content in wanted.items():
        text = host.file(f"{RULE_RULES_DIR}/{name}").content_string
        assert yaml.safe_load(text) == content
    loaded = named(api(member, COMPONENT, "/api/v1/rules")["groups"])
    assert sorted(loaded) == sorted(named(g for c in wanted.values() for g in c["groups"]))


def test_every_rule_is_evaluated(member):
    def check():
        groups = api(member, COMPONENT, "/api/v1/rules")["groups"]
        failing = [rule for group in groups for rule in group["rules"] if rule["health"] != "ok"]
        assert not failing

    eventually(check, 15 + seconds(member.settings.evaluation_interval))


def test_it_asks_every_querier_and_alerts_every_alertmanager(host, site):
    for path, component, entries in (
        (RULE_QUERY, "thanos-querier", lambda content: content),
        (RULE_ALERTMANAGERS, "alertmanager", lambda content: content["alertmanagers"]),
    ):
        found = entries(yaml.safe_load(host.file(path).content_string))
        assert [target for entry in found for target in entry["static_configs"]] == [
            site.endpoint(component, other).target for other in site.running(component)
        ]


def test_no_alert_has_a_replica(site):
    for other in site.members("alertmanager"):
        alerts = api(other, "alertmanager", "/api/v2/alerts")
        assert not [a for a in alerts if LABEL in a["labels"]]
        # Somebody else's alerts may have a label of that name.
        clusters = {m.settings.cluster for m in site.members("prometheus")}
        ours = [a for a in alerts if a["labels"].get(CLUSTER_LABEL) in clusters]
        assert not [a for a in ours if REPLICA_LABEL in a["labels"]]


def test_rulers_have_the_same_rules(site, member):
    def on(other):
        script = f"cd {RULE_RULES_DIR} && find . -type f | sort | xargs -r sha256sum"
        return connect(other.name).check_output(script)

    for other in site.peers(member, "rule"):
        assert on(other) == on(member), f"{other.name} has others than {member.name}"


@only(lambda member, _: not derived.stateless(member) and bool(recorded(member)))
def test_queriers_have_what_it_records(site, member):
    def check():
        for querier in site.members("querier"):
            for name in recorded(member):
                selector = f'{name}{{{LABEL}="{derived.replica_of(member)}"}}'
                assert query(querier, "thanos-querier", selector, dedup="false"), selector
                once = query(querier, "thanos-querier", name, dedup="true")
                assert once and not any(LABEL in sample["metric"] for sample in once)

    eventually(check, 30)


@only(lambda member, _: derived.uploads(member) and not derived.stateless(member))
def test_no_upload_has_failed(member):
    assert metric(member, COMPONENT, "thanos_shipper_upload_failures_total") == 0


def test_it_drops_every_label_that_tells_senders_apart(site, member):
    dropped = [w for w in look(member, COMPONENT).argv if w.startswith("--alert.label-drop=")]
    assert {w.partition("=")[2] for w in dropped} == set(derived.dropped_from_alerts(site))
