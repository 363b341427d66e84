"""Group bots as receivers, tests of routes, and what a change sends elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_CONFIG
from prometheus_ha.deploys.lib.engine import documents
from prometheus_ha.deploys.lib.engine.component import Change
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.roles import alert_relay as role
from prometheus_ha.deploys.lib.roles.alertmanager import configuration, payloads, routes
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.site.settings import RoutingTest, time_zone
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.facts.reports.look import State
from tests.unit.golden import SECRET, WEB

BOT = {"type": "dingtalk", "url": "secret:env:BOT_URL", "sign": "secret:env:BOT_SIGN"}


def site(channels: Any = None, **data: Any) -> Site:
    """Two Alertmanagers with channels, and a Prometheus."""
    given = {"alert_channels": {"ops": BOT} if channels is None else channels, **data}
    hosts = {
        "prom-1": ("prometheus", {"ssh_hostname": "10.0.0.11", "replica": "a", **data}),
        **{f"am-{i}": ("alertmanager", {"ssh_hostname": f"10.0.0.2{i}", **given}) for i in (1, 2)},
        "query-1": ("querier", {"ssh_hostname": "10.0.0.41", **data}),
    }
    return site_from_dicts({name: {"groups": [group], "data": data} for name, (group, data) in hosts.items()})


def refused(**channel: Any) -> str:
    with pytest.raises(SettingsErrors) as caught:
        site({"ops": {**BOT, **channel}})
    return str(caught.value)


# --- Where the relay runs, and what it is told ----------------------------------------------------


def test_the_relay_is_beside_every_alertmanager_that_has_channels_or_canaries():
    hook = {"alertmanager_webhook_url": "secret:env:W"}
    for found in (site(), site({}, **hook), site(alert_canary=False)):
        assert [member.name for member in found.running("alert_relay")] == ["am-1", "am-2"]
    assert site({}, **hook, alert_canary=False).running("alert_relay") == []


def test_a_host_in_its_group_without_an_alertmanager_is_refused():
    with pytest.raises(SettingsErrors, match=r"x-1: group alert_relay: found a host without an Alertmanager"):
        site_from_dicts({"x-1": {"groups": ["alert_relay"], "data": {"ssh_hostname": "10.0.0.9"}}})


def test_what_it_is_told(monkeypatch):
    monkeypatch.setenv("BOT_URL", "https://bot.example.org/x")
    monkeypatch.setenv("BOT_SIGN", "hunter2-sign")
    found = site({"ops": {**BOT, "mention": {"critical": ["all"]}}}, alert_time_zone="Asia/Shanghai")
    told = role.relay_json(found, found.hosts["am-1"])
    assert told == {
        "channels": {
            "ops": {
                "type": "dingtalk",
                "webhook_url": "https://bot.example.org/x",
                "sign_secret": "hunter2-sign",
                "language": "en",
                "mention": {"critical": ["all"]},
                "per_minute": 15,
            }
        },
        "alertmanager": "http://10.0.0.21:9093",
        "query": "http://10.0.0.41:10903",
        "time_zone": "CST-8",
    }


@pytest.mark.parametrize("limit", [None, 1, 2, 6, 20])
@pytest.mark.parametrize("vendor", ["dingtalk", "feishu"])
def test_all_members_together_stay_below_the_bots_limit(limit, vendor):
    found = site({"ops": {**BOT, "type": vendor, "per_minute": limit}})
    channel = found.hosts["am-1"].settings.alert_channels["ops"]
    shares = [role.share(found, member, channel) for member in found.running("alert_relay")]
    total = limit or {"dingtalk": 18, "feishu": 90}[vendor]
    assert shares[0] >= shares[1] >= 1
    assert sum(shares) == max(total, len(shares)) < role.PER_MINUTE[vendor] + (limit == 20)


def test_its_metrics_are_served_as_those_of_the_others(monkeypatch):
    monkeypatch.setenv(SECRET.rpartition(":")[2], "hunter2-hunter2")
    found = site({}, **WEB, alertmanager_webhook_url=SECRET)
    served = role.relay_json(found, found.hosts["am-1"])["serve"]
    assert served["cert_file"].startswith("/etc/monitoring/") and served["key_file"].startswith("/etc/monitoring/")
    [(user, how)] = served["users"].items()
    assert user == "site" and len(how["sha256_password"]) == 64 and "hunter2" not in json.dumps(served)


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({"type": "slack"}, "alert_channels.ops.type: found a str; expected: 'feishu', 'dingtalk' or 'wecom'"),
        ({"url": "https://example.org/hook"}, "alert_channels.ops.url: found a literal (not shown); expected: secret:"),
        ({"sign": "abc"}, "alert_channels.ops.sign: found a literal (not shown)"),
        ({"keyword": "secret:env:X"}, "alert_channels.ops.keyword: found a secret; expected: the value itself"),
        ({"type": "wecom"}, "alert_channels.ops.sign: found a key; expected: none: WeCom's bots know no signature"),
        ({"per_minute": 21}, "alert_channels.ops.per_minute: found 21; expected: at most 20"),
        ({"type": "wecom", "sign": None, "mention": {"critical": ["all"]}}, "alert_channels.ops.mention: found all"),
        ({"templates": {}}, "alert_channels.ops.templates: found"),
    ],
)
def test_what_a_channel_may_not_be(channel, said):
    assert said in refused(**channel)


def test_a_name_is_taken_once():
    given = {"receivers": [{"name": "ops"}], "route": {"receiver": "ops"}}
    with pytest.raises(SettingsErrors, match=r"alert_channels.ops: found a receiver of this name"):
        site(alertmanager_config=given)
    given = {"receivers": [{"name": "canary"}], "route": {"receiver": "canary"}}
    with pytest.raises(SettingsErrors, match=r"alert_canary: found True beside a receiver canary of yours"):
        site({}, alertmanager_config=given)
    assert site({}, alertmanager_config=given, alert_canary=False)


def test_a_canary_is_counted_and_tells_nobody():
    found = site()
    config = configuration.alertmanager_yml(found, found.hosts["am-1"])
    assert routes.routing.receivers(config["route"], {"alertname": configuration.CANARY_ALERT}) == ["canary"]
    [receiver] = [one for one in config["receivers"] if one["name"] == "canary"]
    assert receiver["webhook_configs"][0]["url"] == "http://127.0.0.1:9097/-/canary"
    assert "canary" not in str(configuration._test_route(config["receivers"][:1]))
    off = site(alert_canary=False)
    assert "anary" not in str(configuration.alertmanager_yml(off, off.hosts["am-1"]))


@pytest.mark.parametrize(
    ("name", "posix"), [("UTC", "UTC0"), ("Asia/Shanghai", "CST-8"), ("Europe/Berlin", "CET-1CEST")]
)
def test_a_time_zone_is_told_as_posix_has_it(name, posix):
    assert time_zone(name).startswith(posix)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "", "Asia"])
def test_a_time_zone_that_is_none(name):
    with pytest.raises(ValueError, match="time zone"):
        time_zone(name)


# --- Receivers ------------------------------------------------------------------------------------


def test_a_channel_is_a_receiver_and_the_first_one_the_default():
    found = site({"ops": BOT, "dev": {**BOT, "send_resolved": False}})
    config = configuration.alertmanager_yml(found, found.hosts["am-1"])
    assert config["route"]["receiver"] == "ops"
    hook = {"url": "http://127.0.0.1:9097/ops", "send_resolved": True, "timeout": "10s"}
    assert config["receivers"][0] == {"name": "ops", "webhook_configs": [hook]}
    assert config["receivers"][1]["webhook_configs"][0]["send_resolved"] is False
    old = site(release="reference")
    [receiver] = configuration.alertmanager_yml(old, old.hosts["am-1"])["receivers"][:1]
    assert "timeout" not in receiver["webhook_configs"][0], "0.26 would refuse the file"


def test_a_test_alert_has_its_way_to_each_receiver():
    found = site({"ops": BOT, "dev": BOT})
    route = configuration.alertmanager_yml(found, found.hosts["am-1"])["route"]
    for name in ("ops", "dev"):
        labels = {"alertname": configuration.TEST_ALERT, configuration.TEST_RECEIVER: name}
        assert routes.routing.receivers(route, labels) == [name]
    assert routes.routing.receivers(route, {"alertname": configuration.TEST_ALERT}) == ["ops"]


def test_two_sites_are_each_others_dead_man():
    urls = ["secret:env:WEST_1", "secret:env:WEST_2"]
    found = site(deadman_url=urls, deadman_sites={"west": "3m"})
    config = configuration.alertmanager_yml(found, found.hosts["am-1"])
    hooks = [{"url": url, "send_resolved": False} for url in urls]
    assert config["receivers"][-1] == {"name": "watchdog", "webhook_configs": hooks}
    [alert] = [one for one in role.alerts(found, found.hosts["prom-1"]) if one["alert"] == "OtherSiteDead"]
    assert alert["expr"].startswith("time() - max by (site) (alert_relay_deadman_timestamp_seconds{job=")
    assert alert["expr"].endswith(', site="west"}) > 180')
    with pytest.raises(SettingsErrors, match=r"deadman_url\[0\]: found a literal"):
        site(deadman_url=["https://example.org/x"])


# --- Routes ---------------------------------------------------------------------------------------

CONFIG = {
    "route": {"routes": [{"matchers": ["severity=critical"], "receiver": "pager"}]},
    "receivers": [{"name": "team"}, {"name": "pager"}],
}


def moved(before: Site, after: Site) -> list[str]:
    text = documents.dump(configuration.alertmanager_yml(before, before.hosts["am-1"]))
    lines = text[text.index("\nroute:") + 1 : text.index("\nreceivers:")].splitlines()
    change = Change(files=[ALERTMANAGER_CONFIG])
    return list(routes.moved(after, after.hosts["am-1"], State(extra={"routes": lines}), change))


def test_what_a_change_sends_elsewhere_is_said():
    other = {**CONFIG, "route": {"routes": [{"matchers": ["severity=critical", "team=db"], "receiver": "pager"}]}}
    tests = [{"labels": {"severity": "critical", "team": "db"}, "receivers": ["pager"]}]
    before = site({}, alertmanager_config=CONFIG, alert_routing_tests=tests)
    after = site({}, alertmanager_config=other, alert_routing_tests=tests)
    assert moved(before, before) == []
    [said] = moved(before, after)
    assert said.startswith("alerts that went to pager go to team: ") and "PrometheusReplicaDown" in said
    assert "team=db" not in said, "it goes where it went"


def test_what_a_hand_wrote_is_no_error():
    found = site()
    change = Change(files=[ALERTMANAGER_CONFIG])
    for lines in (["route: ["], ["route:", "  - x"], ["route: x"]):
        assert list(routes.moved(found, found.hosts["am-1"], State(extra={"routes": lines}), change)) == []


AMTOOL = """#!/bin/sh
printf '%s\\n' "$@" >"$0.args"
echo 'WARNING: Expected receivers did not match resolved receivers.'
exit 1
"""


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
def test_a_test_that_fails_says_of_which_alert(tmp_path):
    amtool = tmp_path / "amtool"
    amtool.write_text(AMTOOL)
    amtool.chmod(0o755)
    test = RoutingTest(labels={"team": 'it\'s "db" $x', "severity": "critical"}, receivers=["dba", "ops"])
    script = routes.check(str(amtool), site().hosts["am-1"], test)
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert found.returncode == 1
    words = ", ".join(labels := ['team="it\'s \\"db\\" $x"', 'severity="critical"'])
    assert found.stdout.endswith(f"\nalert_routing_tests: an alert with {words}; expected: dba, ops\n")
    told = (tmp_path / "amtool.args").read_text().splitlines()
    assert told[-2:] == labels
    assert "--verify.receivers=dba,ops" in told


def test_what_the_look_reads_of_the_routes_is_yaml():
    found = site()
    text = documents.dump(configuration.alertmanager_yml(found, found.hosts["am-1"]))
    script = ["sed", "-n", "/^route:/,/^[a-z]/p"]
    said = subprocess.run(script, input=text, capture_output=True, text=True, check=True).stdout
    assert "secret:" not in said
    assert yaml.safe_load(said)["route"] == configuration.alertmanager_yml(found, found.hosts["am-1"])["route"]


# --- Payloads -------------------------------------------------------------------------------------


def with_payload(payload: Any, **data: Any) -> Site:
    hook = {"url": "http://10.0.0.50:9000/alerts", "payload": payload}
    return site({}, alertmanager_config={"receivers": [{"name": "team", "webhook_configs": [hook]}]}, **data)


def test_a_payload_is_for_releases_that_send_it_as_it_is():
    with pytest.raises(SettingsErrors, match=r"team.webhook_configs\[0\].payload: found a payload with 0.26.0"):
        with_payload("{}", release="migration")
    said, *_ = [one for one in with_payload({"a": "{{ .Status }}"}).findings if "payload" in one.check]
    assert said.severity == "warn" and "toJson" in said.wanted
    assert not [one for one in with_payload("{}").findings if "payload" in one.check]


@pytest.mark.parametrize(
    ("rendered", "status", "says"),
    [
        ('{"text": "x"}', 0, ""),
        ('{"text": "a "quote""}', 1, "alertmanager_config: team.webhook_configs[0].payload: it renders no JSON"),
        ("FAIL", 1, "no such template"),
    ],
)
def test_a_payload_is_rendered_and_has_to_be_json(rendered, status, says, tmp_path):
    """By a stand-in of amtool, which tells what it was given; the real one is the drill's."""
    amtool = tmp_path / "amtool"
    failing = 'echo "no such template" >&2; exit 1'
    prints = f"printf '%s' '{rendered}'"
    amtool.write_text(f"#!/bin/sh\ncat >$0.data\n{failing if rendered == 'FAIL' else prints}\n")
    amtool.chmod(0o755)
    found = with_payload('{{ template "x" . }}')
    [command] = payloads.checks(str(amtool), found.hosts["am-1"])
    done = subprocess.run(["sh", "-euc", command], capture_output=True, text=True)
    assert (done.returncode != 0) == bool(status) and says in done.stdout
    assert json.loads((tmp_path / "amtool.data").read_text()) == payloads.DATA


def test_a_release_in_which_inhibition_forgets_is_named_once():
    named = [one for one in site(release="reference").findings if one.check == "versions.alertmanager"]
    assert len(named) == 1 and "0.34.1 or newer" in named[0].wanted
    none = {"inhibit_rules": []}
    assert not [o for o in site(release="reference", alertmanager_config=none).findings if o.check == named[0].check]
    assert not [one for one in site().findings if one.check == named[0].check]
