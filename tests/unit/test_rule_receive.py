"""Rulers and the hashring: what they are given, when they are back, what verify and the settings say of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from prometheus_ha.deploys.lib import roles
from prometheus_ha.deploys.lib.common.verify_view import Seen, View
from prometheus_ha.deploys.lib.engine import flags, units
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.roles import receive as receive_role
from prometheus_ha.deploys.lib.roles import rule as rule_role
from prometheus_ha.deploys.lib.roles.prometheus import alerts as prometheus_alerts
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.rollout import Gate, Progress
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.facts.reports import thanos
from tests.unit import example_site as example
from tests.unit.recorded import BLANK
from tests.unit.test_flags import given
from tests.unit.test_gates import Clock, answer, polled, refused

GROUP = {"name": "shop", "rules": [{"record": "a:b", "expr": "sum(up)"}]}
RULES = {"shop.yml": {"groups": [GROUP]}}
REMOTE_WRITE = [{"url": "http://10.0.0.71:10908/api/v1/receive"}]


def example_site(**data):
    return example.example_site(storage=True, **data)


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY"):
        monkeypatch.setenv(name, "of the bucket")


def component(role, name="ring-1", **data):
    site = example_site(**data)
    return role.component(site, site.hosts[name], BLANK)


def argv(component, name="ring-1", **data):
    site = example_site(**data)
    return given(flags.argv(component, site, site.hosts[name], BLANK))


# --- What they are given --------------------------------------------------------------------------


def test_a_ruler_asks_every_querier_and_alerts_every_alertmanager():
    files = component(rule_role, rule_rules=RULES).files
    query = yaml.safe_load(files["/etc/thanos/rule/query.yml"].content)
    assert query == [{"static_configs": [f"10.0.0.4{n}:10903"], "scheme": "http"} for n in (1, 2)]
    alertmanagers = yaml.safe_load(files["/etc/thanos/rule/alertmanagers.yml"].content)
    assert [a["static_configs"] for a in alertmanagers["alertmanagers"]] == [[f"10.0.0.2{n}:9093"] for n in (1, 2, 3)]
    assert "/etc/thanos/rule/remote_write.yml" not in files


def test_a_ruler_asks_with_tls_and_the_password(monkeypatch):
    monkeypatch.setenv("SITE_PASSWORD", "of the site")
    files = component(
        rule_role,
        web_config={
            "tls_server_config": {"cert_file": "host.pem", "key_file": "host.pem"},
            "basic_auth_users": {"site": "x"},
        },
        web_client={
            "tls_config": {"ca_file": "ca.crt"},
            "basic_auth": {"username": "site", "password": "secret:env:SITE_PASSWORD"},
        },
    ).files
    for name in ("query", "alertmanagers"):
        found = yaml.safe_load(files[f"/etc/thanos/rule/{name}.yml"].content)
        entry = (found["alertmanagers"] if name == "alertmanagers" else found)[0]
        assert entry["scheme"] == "https"
        assert entry["http_config"] == {
            "basic_auth": {"username": "site", "password": "of the site"},
            "tls_config": {"ca_file": "/etc/monitoring/ca.crt"},
        }


def test_a_group_of_rules_is_evaluated_while_a_store_is_away():
    strict = {**GROUP, "name": "strict", "partial_response_strategy": "abort"}
    rules = {"shop.yml": {"groups": [GROUP, strict]}}
    file = component(rule_role, rule_rules=rules).files["/etc/thanos/rule/rules/shop.yml"]
    groups = yaml.safe_load(file.content)["groups"]
    assert [g["partial_response_strategy"] for g in groups] == ["warn", "abort"]
    assert [g["rules"] for g in groups] == [GROUP["rules"]] * 2


def test_rules_are_checked_where_there_are_some():
    def judged(**data):
        return [c for c in component(rule_role, **data).checks if "rules-check" in c]

    assert judged() == []  # upstream's checker takes no file at all for a mistake
    (check,) = judged(rule_rules=RULES)
    assert check == ("/opt/thanos-0.42.5.linux-amd64/thanos tools rules-check --rules='/etc/thanos/rule/rules/*.yml'")


def test_alerts_of_two_rulers_are_one():
    one, two = (argv("thanos-rule", name) for name in ("ring-1", "ring-2"))
    assert one.pop("label") == ['rule_replica="main/ring-1"']
    assert two.pop("label") == ['rule_replica="main/ring-2"']
    assert {k: v for k, v in one.items() if one[k] != two[k]} == {}
    assert one["alert.label-drop"] == ["receive_replica", "replica", "rule_replica"]
    (drop,) = configuration.prometheus_yml(example_site(), example_site().hosts["prom-1"])["alerting"][
        "alert_relabel_configs"
    ]
    assert drop["regex"].split("|") == one["alert.label-drop"]


def test_a_stateless_ruler_keeps_no_blocks():
    site = example_site(rule_remote_write=REMOTE_WRITE)
    found = argv("thanos-rule", rule_remote_write=REMOTE_WRITE)
    assert "objstore.config-file" not in found
    assert found["remote-write.config-file"] == ["/etc/thanos/rule/remote_write.yml"]
    file = component(rule_role, rule_remote_write=REMOTE_WRITE).files["/etc/thanos/rule/remote_write.yml"]
    assert yaml.safe_load(file.content) == {"remote_write": REMOTE_WRITE}
    assert "thanos-rule" not in [name for name, _ in site.stores()]


@pytest.mark.parametrize("stateless", [False, True])
def test_what_a_ruler_reloads_and_what_restarts_it(stateless):
    site = example_site(rule_remote_write=REMOTE_WRITE if stateless else [])
    unit = units.unit("thanos-rule", site, site.hosts["ring-1"], BLANK)
    assert unit.reload_paths == ("/etc/thanos/rule/rules",)
    kept = "remote_write" if stateless else "bucket"
    assert unit.restart_paths == tuple(f"/etc/thanos/rule/{name}.yml" for name in ("query", "alertmanagers")) + (
        f"/etc/thanos/rule/{kept}.yml",
    )


def test_the_ring_is_the_group_and_watched():
    file = component(receive_role).files["/etc/thanos/receive/hashrings.json"]
    (ring,) = json.loads(file.content)
    assert ring["endpoints"] == [f"10.0.0.7{n}:10907" for n in (1, 2, 3)]
    site = example_site()
    unit = units.unit("thanos-receive", site, site.hosts["ring-1"], BLANK)
    assert (unit.reload_paths, unit.restart_paths) == ((), ("/etc/thanos/receive/bucket.yml",))
    found = argv("thanos-receive", "ring-2")
    assert found["receive.local-endpoint"] == [ring["endpoints"][1]]
    assert found["receive.hashrings-file-refresh-interval"] == ["30s"]


def test_what_comes_by_remote_write_keeps_its_labels():
    """Upstream puts the labels of a receiver or ruler over those of the series."""
    for name, label in (("thanos-receive", "receive_replica"), ("thanos-rule", "rule_replica")):
        assert argv(name)["label"] == [f'{label}="main/ring-1"']


def test_receive_listens_for_a_protocol_that_nobody_speaks_where_nobody_is():
    assert argv("thanos-receive")["receive.capnproto-address"] == ["127.0.0.1:19391"]
    assert "receive.capnproto-address" not in argv("thanos-receive", release="migration")


@pytest.mark.parametrize(
    ("copies", "release", "quorum", "needed"),
    [
        (
            1,
            "current",
            1,
            2,
        ),  # a write of its series fails while one is down, whichever others are up
        (2, "current", 1, 2),
        (2, "reference", 2, 2),
        (3, "current", 2, 2),
        (5, "current", 3, 1),
    ],
)
def test_how_many_others_a_restart_needs(copies, release, quorum, needed):
    site = example_site(receive_replication=copies, release=release)
    member = site.hosts["ring-1"]
    assert derived.write_quorum(member) == quorum
    assert derived.ring_needs(site, member) == needed


# --- When they are back ---------------------------------------------------------------------------


def rule_answers(*healths, ready=200, error="", loaded=1, lost=0):
    rules = [
        {"name": f"r{n}", "type": "recording", "health": health, "lastError": error} for n, health in enumerate(healths)
    ]
    groups = [{"name": "shop", "file": "shop.yml", "rules": rules}]
    body = {"status": "success", "data": {"groups": groups if rules else []}}
    page = f"thanos_rule_config_last_reload_successful {loaded}\nthanos_alert_sender_alerts_dropped_total {lost}"
    return [*answer("ready", status=ready), *answer("rules", body), *answer("metrics", page)]


def judge(kind, lines, name="ring-1", asked_by="ring-1", **data) -> Progress:
    site = example_site(**data)
    return kind(site, site.hosts[name], site.hosts[asked_by]).judge(lines)


def test_a_ruler_is_back_when_every_rule_was_evaluated():
    assert judge(roles.rule.gate, rule_answers()).ok
    assert judge(roles.rule.gate, rule_answers("ok", "ok")).ok
    waiting = judge(roles.rule.gate, rule_answers("ok", "unknown"))
    assert not waiting.ok and "1 of 2 rules not evaluated yet" in waiting.says
    failing = judge(roles.rule.gate, rule_answers("ok", "err", error="no query API server reachable"))
    assert not failing.ok and "shop/r1: no query API server reachable" in failing.says
    assert not judge(roles.rule.gate, rule_answers("ok", ready=503)).ok
    assert judge(roles.rule.gate, refused("ready")).measure is None


def test_a_ruler_is_waited_for_as_long_as_its_longest_interval():
    def patience(**group):
        site = example_site(rule_rules={"a.yml": {"groups": [{**GROUP, **group}]}})
        return roles.rule.gate(site, site.hosts["ring-1"], site.hosts["ring-1"]).patience

    assert patience(interval="5m") == patience() + 300 - 15
    assert patience(interval="nonsense") == patience()


def receive_answers(nodes, ready=200, ring=42, copies=3):
    page = f"thanos_receive_config_hash {ring}\nthanos_receive_replication_factor {copies}\n"
    page += f'thanos_receive_hashring_nodes{{name="default"}} {nodes}' if nodes else ""
    return [*answer("ready", status=ready), *answer("metrics", page)]


def test_a_receiver_is_back_when_it_has_the_ring():
    assert judge(roles.receive.gate, receive_answers(3)).ok
    assert not judge(roles.receive.gate, receive_answers(2)).ok
    assert not judge(roles.receive.gate, receive_answers(None)).ok
    assert not judge(roles.receive.gate, receive_answers(3, ready=503)).ok
    # The turn of another one may not have come yet.
    assert judge(roles.receive.gate, ["1000", *receive_answers(2)], asked_by="ring-2").ok


def test_another_receiver_may_go_once_what_was_on_its_way_to_this_one_has_come():
    def asked(age):
        page = "thanos_receive_hashring_nodes 3\nprocess_start_time_seconds 1.79e+09"
        lines = [str(1790000000 + age), *answer("ready"), *answer("metrics", page)]
        return judge(roles.receive.gate, lines, asked_by="ring-2")

    assert asked(roles.receive.SETTLED).ok
    young, older = asked(3), asked(9)
    assert not young.ok and not older.ok
    assert young.measure and young.measure != older.measure  # progress, that is followed


# --- What verify says -----------------------------------------------------------------------------


def failures(check, component, lines) -> list:
    """What a check says where ring-2 answers `lines`, and the others are well."""
    well = {"thanos-rule": rule_answers("ok"), "thanos-receive": receive_answers(3)}[component]
    seen = {
        f"ring-{n}": Seen(daemons={component: thanos.parse(lines if n == 2 else well)})
        for n in ((1, 2) if component == "thanos-rule" else (1, 2, 3))
    }
    results = list(check(View(example_site(rule_rules=LOADED), seen)))
    assert {result.host for result in results} <= {"ring-2"}
    return [(result.severity, result.found) for result in results]


LOADED = {"shop.yml": {"groups": [{"name": "shop", "rules": [{"record": "r0", "expr": "1"}]}]}}


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (rule_answers("ok"), []),
        (rule_answers("ok", loaded=0), [("fail", "refused its rules")]),
        (rule_answers(), [("fail", "rules that are not loaded: shop/r0")]),
        (
            rule_answers("err", error="no querier"),
            [("warn", "cannot be evaluated: shop/r0 (no querier)")],
        ),
        (rule_answers("ok", lost=3), [("warn", "3 alerts reached no Alertmanager")]),
        (
            [*answer("ready"), *answer("rules", "no", 500), *answer("metrics")],
            [("fail", "did not answer for its rules: HTTP 500")],
        ),
        (rule_answers("ok", ready=503), []),  # which another check says
    ],
)
def test_verify_of_a_ruler(lines, wanted):
    found = failures(rule_role._check_rulers, "thanos-rule", lines)
    assert [severity for severity, _ in found] == [severity for severity, _ in wanted]
    assert all(words in says for (_, says), (_, words) in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (receive_answers(3), None),
        (receive_answers(2), "a hashring of 2 members"),
        (receive_answers(None), "a hashring of 0 members"),
        (receive_answers(3, ring=43), "another hashring is loaded than on ring-1"),
        (receive_answers(3, copies=1), "kept by 1 members"),
        ([*answer("ready"), *answer("metrics", "no", 500)], "did not answer for its metrics"),
    ],
)
def test_verify_of_the_hashring(lines, words):
    found = failures(receive_role._check_hashring, "thanos-receive", lines)
    assert [words in says for _, says in found] == ([True] if words else [])


def test_alerts_of_rulers_and_receivers_are_there_with_them():
    def names(site):
        groups = prometheus_alerts.starter_rules(site, site.hosts["prom-1"])
        return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}

    ours = {"RulerLosesAlerts", "RulerCannotEvaluate", "RulerConfigReloadFailed"}
    ours |= {"ReceiverRefusesWrites", "ReceiverCannotReplicate", "ReceiverHashringDiffers"}
    ours |= {"ReceiverGetsNothing"}
    site = example_site()
    assert ours <= names(site)
    without = replace(site, hosts={n: m for n, m in site.hosts.items() if not n.startswith("ring")})
    assert not ours & names(without)
    # This one is about remote write 2.0, which is taken from 0.43 on.
    newer = example_site(versions={"thanos": "0.43.0"})
    assert ours - names(newer) == {"ReceiverGetsNothing"}


# --- What the settings may not be -----------------------------------------------------------------


def ring(size=3, each=None, **data):
    hosts = {
        f"ring-{n}": {
            "groups": ["receive"],
            "data": {"ssh_hostname": f"10.0.0.{n}", **data, **(each or {}).get(n, {})},
        }
        for n in range(1, size + 1)
    }
    try:
        findings = site_from_dicts(hosts).findings
    except SettingsErrors as error:
        findings = error.findings
    keys = ("receive_replication", "receive_retention")
    return [(f.host, f.check, f.severity) for f in findings if f.check in keys]


BUCKET = {"type": "S3", "config": {"bucket": "b", "endpoint": "10.0.0.9:8333"}}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, []),
        ({"size": 2}, [("ring-1", "receive_replication", "fail")]),
        ({"size": 2, "receive_replication": 2}, []),
        (
            {"size": 2, "receive_replication": 2, "release": "reference"},
            [("ring-1", "receive_replication", "warn")],
        ),
        ({"receive_replication": 1}, [("ring-1", "receive_replication", "warn")]),
        (
            {"size": 4, "each": {3: {"receive_replication": 2}}},
            [("ring-3", "receive_replication", "fail")],
        ),
        ({"receive_retention": "2h"}, []),
        (
            {"each": {2: {"receive_retention": "1h", "bucket_config": BUCKET}}},
            [("ring-2", "receive_retention", "fail")],
        ),
        ({"receive_retention": "0d", "bucket_config": BUCKET}, []),
        ({"receive_retention": "7d", "bucket_config": BUCKET}, []),
    ],
)
def test_what_a_ring_needs(given, wanted):
    assert ring(**given) == wanted


def test_what_a_ruler_needs():
    hosts = {"a": {"groups": ["rule"], "data": {"ssh_hostname": "10.0.0.1"}}}
    with pytest.raises(SettingsErrors, match="a host of the group querier"):
        site_from_dicts(hosts)
    hosts |= {"q": {"groups": ["querier"], "data": {"ssh_hostname": "10.0.0.2"}}}
    hosts["a"]["data"]["rule_remote_write"] = [{"name": "x"}]
    with pytest.raises(SettingsErrors, match=r"rule_remote_write\[0\].url"):
        site_from_dicts(hosts)
    hosts["a"]["data"] = {"ssh_hostname": "10.0.0.1", "rule_rules": {"a.yml": {"groups": ["x"]}}}
    with pytest.raises(SettingsErrors, match="rule_rules"):
        site_from_dicts(hosts)
    hosts["a"]["data"] = {"ssh_hostname": "10.0.0.1", "rule_rules": RULES}
    hosts["b"] = {"groups": ["rule"], "data": {"ssh_hostname": "10.0.0.3"}}
    found = [(f.host, f.check) for f in site_from_dicts(hosts).findings]
    assert ("b", "rule_rules") in found


def test_as_many_as_writes_need_must_do_their_job(monkeypatch):
    Clock(monkeypatch)
    host, said, _ = polled(monkeypatch, [Progress(True, "")])
    ready = Gate("", lambda lines: Progress(True, "ready", "ok"))
    dead = Gate("", lambda lines: Progress(False, "no answer"))
    assert rollout._ask_others(None, host, [("ring-2", dead), ("ring-3", ready)], 1)
    assert not rollout._ask_others(None, host, [("ring-2", dead), ("ring-3", ready)], 2)
    assert "2 others of its tier must do their job" in said[-1] and "ring-2: no answer" in said[-1]
    left = [Progress(False, f"segment {n}", n) for n in range(200)]
    replaying = Gate("", lambda lines: left.pop(0) if left else Progress(True, "ready", "ok"), patience=60)
    assert rollout._ask_others(None, host, [("ring-2", replaying), ("ring-3", ready)], 2)
