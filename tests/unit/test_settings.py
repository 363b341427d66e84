"""Settings and inventory: what is refused, how it is said, and that no secret is ever shown."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Inventory

from prometheus_ha.deploys.lib.ground import findings, folder
from prometheus_ha.deploys.lib.ground.durations import seconds, written
from prometheus_ha.deploys.lib.ground.findings import Finding, SettingsErrors, describe
from prometheus_ha.deploys.lib.ground.secrets import SecretError, resolve
from prometheus_ha.deploys.lib.roles import rule as rule_role
from prometheus_ha.deploys.lib.roles.alertmanager import configuration as alertmanager_role
from prometheus_ha.deploys.lib.roles.prometheus import alerts as prometheus_alerts
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site.settings import PROFILES, Settings
from prometheus_ha.deploys.lib.survey.load import check_limit, load_site, site_from_dicts

ROOT = Path(__file__).resolve().parents[2]
LEAK = "hunter2-very-secret"


def host(*groups, **data):
    return {"groups": [*groups, "inventory"], "data": data}


def small(everywhere=None, **changes):
    """Two Prometheus, three Alertmanagers, two queriers; `changes` is host -> more data.

    A host's name has `_` for `-`; a change to None leaves the host out.
    """
    hosts = {
        "prom-1": host("prometheus", ssh_hostname="10.0.0.11", replica="a"),
        "prom-2": host("prometheus", ssh_hostname="10.0.0.12", replica="b"),
        **{
            f"am-{n}": host(
                "alertmanager",
                ssh_hostname=f"10.0.0.2{n}",
                alertmanager_webhook_url="secret:env:W",
                deadman_url="secret:env:W",
            )
            for n in (1, 2, 3)
        },
        "query-1": host("querier", ssh_hostname="10.0.0.31"),
        "query-2": host("querier", ssh_hostname="10.0.0.32"),
    }
    for name, data in changes.items():
        if data is None:
            del hosts[name.replace("_", "-")]
        else:
            hosts[name.replace("_", "-")]["data"].update(data)
    for entry in hosts.values():
        entry["data"] = {**(everywhere or {}), **entry["data"]}
    return hosts


def refused(hosts, **kwargs):
    with pytest.raises(SettingsErrors) as caught:
        site_from_dicts(hosts, **kwargs)
    assert LEAK not in str(caught.value)
    assert LEAK not in repr(caught.value)
    assert LEAK not in repr(caught.value.findings)
    return caught.value.findings


def failures(hosts):
    """The keys of what is refused."""
    return {f.check for f in refused(hosts) if f.severity == "fail"}


def only(hosts, **kwargs):
    """The one failure; warnings aside."""
    (finding,) = [f for f in refused(hosts, **kwargs) if f.severity == "fail"]
    return finding


def prometheus(**config):
    """The same prometheus_config on both replicas."""
    data = {"prometheus_config": config}
    return small(prom_1=data, prom_2=data)


def alertmanagers(**data):
    return small(am_1=data, am_2=data, am_3=data)


# --- The model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means(name):
    assert len(Settings.model_fields[name].description) > 10


def test_defaults_are_valid_and_the_documents():
    settings = Settings.model_validate(Settings().model_dump())
    assert settings.timing.scrape_interval == settings.scrape_interval == "15s"
    assert settings.version("thanos-sidecar") == settings.all_versions["thanos"]
    assert settings.sysctl["net.ipv4.ip_local_port_range"] == "1024 65000"


def test_versions_go_over_the_release_set():
    settings = Settings(release="reference", versions={"thanos": "0.32.2"})
    assert settings.version("thanos-querier") == "0.32.2"
    assert settings.version("prometheus") == "2.45.0"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_profiles_hold_together(profile):
    timing = PROFILES[profile]
    last_waits = 2 * seconds(timing.peer_timeout)
    assert 2 * last_waits <= seconds(timing.group_interval)
    assert seconds(timing.scrape_timeout) <= seconds(timing.scrape_interval)
    assert seconds(timing.group_interval) < seconds(timing.repeat_interval) < seconds("120h")
    # An alert lives for four resend delays without being sent again.
    assert seconds(timing.evaluation_interval) < 4 * seconds(timing.resend_delay)
    assert not site_from_dicts(small({"profile": profile})).findings


@pytest.mark.parametrize(("text", "value"), [("15s", 15), ("1h30m", 5400), ("15d", 1296000), ("100ms", 0.1), ("0", 0)])
def test_seconds(text, value):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "15", "1.5h", "s", "-1m", "5m1h", "soon", None, 7])
def test_seconds_refuses(text):
    with pytest.raises(ValueError, match="a duration like"):
        seconds(text)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("release", "refrence", "did you mean reference?"),
        ("profile", "fast", "production, drill"),
        ("timesync", "ntp", "'auto', 'chrony' or 'host'"),
        ("prometheus_port", 80, "greater than or equal to 1024"),
        ("store_group", "10.0.0.1:10905", "a DNS name and a port"),
        ("querier_endpoints", [{"address": "query.example"}], "HOST:PORT"),
        ("querier_endpoints", [{"address": "a:1", "tls": True}], "HOST:PORT"),
        ("querier_endpoints", [{"address": "dns+a:1", "strict": True}], "no strict for dns+a:1"),
        ("querier_endpoints", [{"address": "a:1", "group": True}], "dns+a:1 for the group"),
        ("prometheus_port", "web", "valid integer"),
        ("prometheus_retention_time", "15 days", "a duration like 15s"),
        ("prometheus_retention_size", "50", "a size like 50GB"),
        ("prometheus_listen_address", "0.0.0.0:9090", "without port"),
        ("prometheus_listen_address", "127.0.0.1", "other hosts can reach"),
        ("prometheus_external_url", "prom.example.org", "http:// or https://"),
        ("base_url", "ftp://mirror", "http:// or https://"),
        ("cluster", "a$b", "without spaces and $"),
        ("replica", "", "without spaces and $"),
        ("service_address", "127.0.0.1", "neither loopback nor wildcard"),
        ("service_address", "0.0.0.0", "neither loopback nor wildcard"),
        ("service_address", "localhost", "that all hosts can reach"),
        ("service_address", "10.0.0.1:9090", "without port"),
        ("service_address", "10.0.0.999", "that all hosts can reach"),
        ("service_address", "my_host.example", "no underscore"),
        ("checksums", {"x.tar.gz": "abc"}, "64 hexadecimal digits"),
        ("versions", {"prometheus": 3.15}, "valid string"),
        ("bucket_config", {"type": "S4", "config": {}}, "did you mean S3?"),
        ("bucket_config", {"type": "S3"}, "config is a mapping"),
        ("prometheus_rules", {"../x.yml": {"groups": []}}, "file names ending in .yml"),
        ("prometheus_rules", {"x.yml": []}, "x.yml is a mapping"),
        ("prometheus_rules", {"x.yml": {"groups": ["a"]}}, "x.yml.groups[0] is a mapping"),
        ("prometheus_config", {"scrape_configs": [{"job_name": ["a"]}]}, "job_name is text"),
        ("prometheus_config", {"scrape_configs": [None]}, "scrape_configs[0] is a mapping"),
        ("prometheus_config", {"remote_write": {}}, "remote_write is a list of mappings"),
        ("alertmanager_config", {"receivers": [{"name": {}}]}, "receivers[0].name is text"),
        ("alertmanager_config", {"route": {"routes": [{"routes": [1]}]}}, "routes[0] is a mapping"),
        ("prometheus_rules", {"starter.yml": {"groups": []}}, "starter.yml is the package's"),
        ("prometheus_targets", {"a": ["10.0.0.1:80"]}, "'targets': [...]"),
        (
            "prometheus_config",
            {"scrape_configs": [{"name": "a"}]},
            "scrape_configs[0] has a job_name",
        ),
        ("prometheus_config", {"global": {"scrape_interval": "fast"}}, "global.scrape_interval"),
        ("alertmanager_config", {"route": []}, "route is a mapping"),
        ("alertmanager_templates", {"a.html": ""}, "file names ending in .tmpl"),
        ("prometheus_flags", {"--log.level": "debug"}, "without dashes"),
        ("prometheus_flags", {"log.level": None}, "true or false"),
        ("sysctl", {"swappiness": 1}, "vm.swappiness"),
        ("nofile", 10, "greater than or equal to 1024"),
    ],
)
def test_a_wrong_value_names_key_and_what_is_allowed(key, value, allowed):
    # On a host without a part of its own, so that nothing else is wrong.
    hosts = small()
    hosts["db"] = host("node_exporter", ssh_hostname="10.0.0.41", **{key: value})
    finding = only(hosts)
    assert finding.check.split(".")[0] == key
    assert allowed in finding.wanted
    assert finding.host == "db"


def test_all_errors_come_at_once():
    findings = refused(small({"relase": "current"}, prom_1={"prometheus_port": 1}, prom_2={"replica": "a"}))
    assert {f.check for f in findings} == {"relase", "prometheus_port", "replica"}


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("prometheus_prot", "prometheus_port"),
        ("relase", "release"),
        ("alertmanager_conf", "alertmanager_config"),
    ],
)
def test_an_unknown_setting_names_the_nearest(key, near):
    findings = refused(small({key: LEAK}))
    assert {f.check for f in findings} == {key}
    assert all(f.wanted.startswith(near) for f in findings)
    (line,) = describe(findings)
    assert "prom-1, prom-2, am-1 and 4 more" in line


def test_names_of_others_are_left_alone():
    site = site_from_dicts(small({"x_team": "a", "_sudo": True, "ssh_user": "ops", "yes": True}))
    assert site.findings == ()


def test_a_misspelt_ssh_setting_is_a_warning():
    (finding,) = site_from_dicts(small(prom_1={"ssh_usr": "ops"})).findings
    assert (finding.severity, finding.wanted) == ("warn", "ssh_user")


def test_what_is_no_plain_data_is_refused():
    assert only(small(prom_1={"prometheus_config": {"a": print}})).check == "prometheus_config.a"


def test_a_date_among_many_rules_is_located():
    """YAML makes one of text that looks like one."""
    rules = {f"{n}.yml": {"groups": [{"name": "disks", "rules": [{"alert": "Full", "expr": "1"}]}]} for n in range(113)}
    rules["77.yml"]["groups"][0]["rules"][0]["annotations"] = {"since": date(2024, 1, 1)}
    found = only(small(prom_1={"prometheus_rules": rules}))
    assert found.check == "prometheus_rules.77.yml.groups[0].rules[0].annotations.since"
    assert found.found.startswith("a date (") and found.found.endswith(", in name disks, alert Full")
    rules["77.yml"]["groups"][0]["rules"][0]["annotations"] = {date(2024, 1, 1): "x"}
    found = only(small(prom_1={"prometheus_rules": rules}))
    assert found.found.startswith("a key that is a date")


EMPTY = [
    ("prometheus", "prometheus_config", key)
    for key in (
        *("global", "alerting", "rule_files", "scrape_configs", "remote_write", "remote_read"),
        *("storage", "scrape_config_files", "otlp", "tracing"),
        *("global.external_labels", "alerting.alertmanagers", "alerting.alert_relabel_configs"),
        *("storage.tsdb", "storage.tsdb.out_of_order_time_window", "global.scrape_interval"),
    )
] + [
    ("alertmanager", "alertmanager_config", key)
    for key in (
        *("global", "templates", "route", "receivers", "inhibit_rules", "time_intervals"),
        *("route.routes", "route.group_by", "route.receiver", "route.repeat_interval"),
    )
]


@pytest.mark.parametrize(("group", "setting", "path"), EMPTY)
def test_an_empty_key_of_upstreams_is_no_key(group, setting, path):
    """Upstream's own shipped prometheus.yml has `rule_files:` with comments only below it."""
    value: Any = None
    for key in reversed(path.split(".")):
        value = {key: value}
    hosts = small({setting: value})
    site = site_from_dicts(hosts)
    assert site.findings == ()
    member = site.members(group)[0]
    render = configuration.prometheus_yml if group == "prometheus" else alertmanager_role.alertmanager_yml
    without = site_from_dicts(small())
    plain, rendered = render(without, without.members(group)[0]), render(site, member)
    assert {key: rendered[key] for key in plain} == plain


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("prometheus_config", {"rule_files": [], "scrape_configs": [], "remote_write": []}),
        ("alertmanager_config", {"templates": [], "receivers": []}),
        ("prometheus_rules", {"a.yml": {"groups": None}, "b.yml": {"groups": []}, "c.yml": {}}),
        ("rule_rules", {"a.yml": {"groups": None}, "b.yml": {"groups": [{"rules": None}]}}),
        ("prometheus_targets", {"a": [{"targets": ["10.0.0.9:1"], "labels": None}]}),
        ("web_config", {"tls_server_config": None, "basic_auth_users": None}),
        ("web_client", {"basic_auth": None}),
    ],
)
def test_other_empty_keys(setting, value):
    site = site_from_dicts(small({setting: value}))
    assert not [f for f in site.findings if f.severity == "fail"]
    for member in site.hosts.values():
        rule_role.ruler_files(member)
        if "prometheus" in member.groups:
            configuration.prometheus_yml(site, member)
            prometheus_alerts.rules(site, member)


# --- Secrets --------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_directory", tmp_path)
    return tmp_path


def test_resolve_copies_deeply(checkout, monkeypatch):
    (checkout / "key").write_text("from file\n")
    monkeypatch.setenv("W", "from env")
    given = {"config": {"k": "secret:file:key"}, "list": ["secret:env:W", 1, None]}
    assert resolve(given) == {"config": {"k": "from file"}, "list": ["from env", 1, None]}
    assert given["config"]["k"] == "secret:file:key"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("secret:env:NOT_THERE", "the environment has no NOT_THERE"),
        ("secret:file:nowhere", "No such file"),
        ("secret:file:empty", "it is empty"),
        ("secret:file:binary", "it is no text"),
        ("secret:file:.", "Is a directory"),
        (f"secret:vault:{LEAK}", "is expected"),
    ],
)
def test_a_secret_that_cannot_be_read(checkout, monkeypatch, reference, reason):
    monkeypatch.delenv("NOT_THERE", raising=False)
    (checkout / "empty").write_text("\n")
    (checkout / "binary").write_bytes(LEAK.encode() + b"\xff")
    with pytest.raises(SecretError, match=reason) as caught:
        resolve({"a": [reference]})
    assert str(caught.value).startswith("a[0]: ")
    assert LEAK not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_secret_is_found_before_the_run(monkeypatch):
    monkeypatch.delenv("W", raising=False)
    findings = refused(small(), check_secrets=True)
    assert {(f.host, f.check) for f in findings} == {
        (f"am-{n}", key) for n in (1, 2, 3) for key in ("alertmanager_webhook_url", "deadman_url")
    }
    assert "secret:env:W: the environment has no W" in findings[0].found


def test_a_missing_ssh_key_is_found_before_the_run(checkout, monkeypatch):
    monkeypatch.setenv("W", LEAK)
    hosts = small({"ssh_key": "id_ed25519"})
    findings = refused(hosts, check_secrets=True)
    assert {f.found for f in findings} == {"id_ed25519, which is no file"}
    (checkout / "id_ed25519").touch()
    site_from_dicts(hosts, check_secrets=True)


def test_a_readable_secret_file_is_a_warning(checkout, monkeypatch):
    monkeypatch.setenv("W", LEAK)
    (checkout / "key").write_text(LEAK)
    (checkout / "key").chmod(0o644)
    bucket = {"type": "S3", "config": {"secret_key": "secret:file:key"}}
    both = {"bucket_config": bucket}
    site = site_from_dicts(small(prom_1=both, prom_2=both), check_secrets=True)
    key = "bucket_config.config.secret_key"
    assert ("warn", key) in {(f.severity, f.check) for f in site.findings}
    (checkout / "key").chmod(0o600)
    again = site_from_dicts(small(prom_1=both, prom_2=both), check_secrets=True)
    assert key not in {f.check for f in again.findings}
    assert LEAK not in repr(site)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"bucket_config": {"type": "S3", "config": {"access_key": LEAK}}}, "config.access_key"),
        ({"bucket_config": {"type": "S3", "config": {"secret_key": LEAK}}}, "config.secret_key"),
        (
            {"prometheus_config": {"remote_write": [{"basic_auth": {"password": LEAK}}]}},
            "remote_write[0].basic_auth.password",
        ),
        (
            {"prometheus_config": {"remote_read": [{"authorization": {"credentials": LEAK}}]}},
            "remote_read[0].authorization.credentials",
        ),
        (
            {"prometheus_config": {"remote_write": [{"bearer_token": LEAK}]}},
            "remote_write[0].bearer_token",
        ),
        (
            {"prometheus_config": {"remote_write": [{"url": f"https://me:{LEAK}@host/"}]}},
            "remote_write[0].url",
        ),
    ],
)
def test_a_literal_secret_is_refused(data, key):
    findings = [f for f in refused(small(prom_1=data, prom_2=data)) if f.severity == "fail"]
    assert {f.host for f in findings} == {"prom-1", "prom-2"}
    assert all(f.check.endswith(key) for f in findings)


@pytest.mark.parametrize(
    ("receiver", "key"),
    [
        ({"webhook_configs": [{"url": LEAK}]}, "webhook_configs[0].url"),
        ({"slack_configs": [{"api_url": LEAK}]}, "slack_configs[0].api_url"),
        ({"pagerduty_configs": [{"routing_key": LEAK}]}, "pagerduty_configs[0].routing_key"),
        ({"discord_configs": [{"webhook_url": LEAK}]}, "discord_configs[0].webhook_url"),
        ({"telegram_configs": [{"bot_token": LEAK}]}, "telegram_configs[0].bot_token"),
        ({"email_configs": [{"auth_password": LEAK}]}, "email_configs[0].auth_password"),
        ({"pushover_configs": [{"user_key": LEAK}]}, "pushover_configs[0].user_key"),
    ],
)
def test_a_literal_secret_of_a_receiver_is_refused(receiver, key):
    config = {"alertmanager_config": {"receivers": [{"name": "team", **receiver}]}}
    findings = refused(alertmanagers(**config))
    assert {f.check for f in findings} == {f"alertmanager_config.receivers[0].{key}"}
    assert all("secret:env:NAME" in f.wanted for f in findings)


def test_what_only_looks_like_a_secret_is_allowed():
    site_from_dicts(
        prometheus(
            remote_write=[{"basic_auth": {"password_file": "/etc/elsewhere/password"}}],
            scrape_configs=[
                {
                    "job_name": "a",
                    "oauth2": {"token_url": "https://auth.example.org", "client_id": "me"},
                    "static_configs": [{"targets": ["10.0.0.1:80"], "labels": {"token": "x"}}],
                }
            ],
        )
    )
    config = {"receivers": [{"name": "a", "telegram_configs": [{"api_url": "https://api.telegram.org"}]}]}
    site_from_dicts(alertmanagers(alertmanager_config=config))


@pytest.mark.parametrize("key", ["alertmanager_webhook_url", "deadman_url"])
def test_the_webhook_url_is_a_reference(key):
    findings = refused(alertmanagers(**{key: f"https://hooks/{LEAK}"}))
    assert all(f.check == key and f.found.startswith("a literal") for f in findings)


def test_a_malformed_reference_is_refused():
    findings = refused(alertmanagers(alertmanager_webhook_url=f"secret:{LEAK}"))
    assert {f.found for f in findings} == {"a malformed secret reference"}


def test_a_secret_has_no_place_in_a_command_line():
    data = {"prometheus_flags": {"some.password": "secret:env:W"}}
    findings = refused(small(prom_1=data, prom_2=data))
    assert {f.found for f in findings} == {"a secret"}


@pytest.mark.parametrize(
    "data",
    [
        {"base_url": f"https://me:{LEAK}@mirror"},
        {"base_url": f"https://{LEAK}@mirror"},
        {"bucket_config": LEAK},
        {"alertmanager_webhook_url": [LEAK]},
        {"prometheus_config": [LEAK]},
        {"prometheus_config": {"global": LEAK}},
        {"alertmanager_templates": {"a.tmpl": [LEAK]}},
        {"prometheus_flags": {"x": {"y": LEAK}}},
        {"x" * 3: LEAK},
    ],
)
def test_no_error_shows_what_could_be_a_secret(data):
    refused(small(data))


def test_pyinfras_own_secrets_are_a_warning():
    (finding,) = site_from_dicts(small(prom_1={"ssh_password": LEAK})).findings
    assert finding.check == "ssh_password"
    assert LEAK not in str(finding)


# --- Groups and addresses -------------------------------------------------------------------------


def test_members_are_in_inventory_order():
    hosts = small()
    site = site_from_dicts(dict(reversed(hosts.items())))
    assert [m.name for m in site.members("alertmanager")] == ["am-3", "am-2", "am-1"]
    assert len(site.members("all")) == len(site.members("node_exporter")) == 7
    assert site.members("store") == []
    assert [m.name for m in site.running("thanos-sidecar")] == ["prom-2", "prom-1"]
    assert [m.name for m in site.peers(site.hosts["am-2"], "alertmanager")] == ["am-3", "am-1"]


def test_an_unknown_group_names_the_nearest():
    hosts = small()
    for name in ("am-1", "am-2", "am-3"):
        hosts[name]["groups"] = ["alertmanger", "inventory"]
    findings = [f for f in refused(hosts) if f.severity == "fail"]
    assert {f.check for f in findings} == {"group alertmanger", "groups"}
    assert "(alertmanager is the nearest)" in findings[0].wanted


def test_the_only_group_is_misspelt_too():
    hosts = {"a": host("promtheus", ssh_hostname="10.0.0.1", replica="a")}
    assert "group promtheus" in {f.check for f in refused(hosts)}


def test_groups_of_ones_own_begin_with_x():
    hosts = small()
    hosts["prom-1"]["groups"] = ["prometheus", "x_paris", "inventory", "@local", "prometheus"]
    site = site_from_dicts(hosts)
    assert site.hosts["prom-1"].groups == ("prometheus", "x_paris")
    assert site.hosts["prom-1"].components == ("prometheus", "thanos-sidecar", "node_exporter")


def test_an_empty_inventory_is_an_error():
    assert only({}).found == "no host"


@pytest.mark.parametrize(
    ("data", "address"),
    [
        ({"ssh_hostname": "10.9.9.9"}, "10.9.9.9"),
        ({"ssh_hostname": "mgmt.example.org", "service_address": "10.9.9.9"}, "10.9.9.9"),
        ({"service_address": "2001:DB8:0::1"}, "2001:db8::1"),
        ({"service_address": "[2001:db8::1]"}, "2001:db8::1"),
        ({"service_address": "prom.example.org"}, "prom.example.org"),
    ],
)
def test_the_service_address(data, address):
    assert site_from_dicts(small(prom_1=data)).hosts["prom-1"].address == address


def test_a_host_named_by_its_address():
    hosts = small()
    hosts["10.0.0.50"] = host("node_exporter")
    assert site_from_dicts(hosts).hosts["10.0.0.50"].address == "10.0.0.50"


@pytest.mark.parametrize("name", ["prom.example.org", "127.0.0.1", "localhost"])
def test_a_name_alone_is_no_service_address(name):
    finding = only(small(prom_1={"ssh_hostname": name}))
    assert (finding.host, finding.check) == ("prom-1", "ssh_hostname")
    assert finding.wanted.startswith("service_address: ")


def test_an_alertmanager_advertises_an_ip_address():
    finding = only(small(am_1={"service_address": "am.example.org"}))
    assert (finding.host, finding.check) == ("am-1", "service_address")


def test_no_address_twice():
    finding = only(small(am_2={"service_address": "10.0.0.21"}))
    assert (finding.host, finding.check) == ("am-2", "service_address")
    assert finding.found == "10.0.0.21, which is am-1 too"


def test_one_machine_under_two_names():
    finding = only(small(query_2={"ssh_hostname": "10.0.0.31", "service_address": "10.0.0.99"}))
    assert (finding.check, finding.found) == ("ssh_hostname", "10.0.0.31, which is query-1 too")
    site_from_dicts(small(query_2={"ssh_hostname": "10.0.0.31", "ssh_port": 2222, "service_address": "10.0.0.99"}))


def test_no_port_twice_on_a_host():
    finding = only(small(prom_1={"sidecar_http_port": 9090}))
    assert finding.found == "9090, which is prometheus_port too"
    # The same ports are free on a host without these components.
    site_from_dicts(small(query_1={"sidecar_http_port": 9090}))


def test_endpoints():
    site = site_from_dicts(small(prom_1={"prometheus_port": 19090}))
    prom, am = site.hosts["prom-1"], site.hosts["am-1"]
    assert site.endpoint("prometheus", prom).url == "http://10.0.0.11:19090"
    assert site.endpoint("thanos-sidecar", prom, "grpc").target == "10.0.0.11:10901"
    assert site.endpoint("alertmanager", am, port="cluster").target == "10.0.0.21:9094"
    assert site.local("prometheus", prom).url == "http://127.0.0.1:19090"
    assert site.listen("prometheus", prom) == "0.0.0.0:19090"


def test_endpoints_with_ipv6_and_a_listen_address():
    site = site_from_dicts(
        small(
            prom_1={"service_address": "2001:db8::11"},
            am_1={"alertmanager_listen_address": "10.0.0.21"},
        )
    )
    prom, am = site.hosts["prom-1"], site.hosts["am-1"]
    assert site.endpoint("prometheus", prom).target == "[2001:db8::11]:9090"
    assert site.listen("prometheus", prom) == "[::]:9090"
    assert site.listen("alertmanager", am, "cluster") == "10.0.0.21:9094"
    assert site.local("alertmanager", am).url == "http://10.0.0.21:9093"


def test_a_listen_address_that_others_do_not_dial_is_a_warning():
    (finding,) = site_from_dicts(small(prom_1={"prometheus_listen_address": "10.7.7.7"})).findings
    assert "while others dial 10.0.0.11" in finding.found


# --- What holds a pair together -------------------------------------------------------------------


def test_replicas_differ():
    finding = only(small(prom_2={"replica": "a"}))
    assert (finding.host, finding.check) == ("prom-2", "replica")
    assert finding.found == "'a', which is that of prom-1 in cluster 'main' too"


def test_a_replica_of_another_cluster_may_have_the_same_name():
    site = site_from_dicts(small(prom_2={"replica": "a", "cluster": "other"}))
    assert [f.check for f in site.findings] == ["cluster", "cluster"]
    assert [m.name for m in site.replicas(site.hosts["prom-1"])] == ["prom-1"]


def test_a_prometheus_needs_a_replica_name():
    hosts = small()
    del hosts["prom-2"]["data"]["replica"]
    finding = only(hosts)
    assert (finding.host, finding.check, finding.found) == ("prom-2", "replica", "nothing")


def test_deduplication_needs_the_replica_label():
    finding = only(small(query_1={"replica_labels": ["instance"]}))
    assert (finding.host, finding.check) == ("query-1", "replica_labels")


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"global": {"external_labels": {"replica": "x"}}}, "global.external_labels.replica"),
        ({"global": {"external_labels": {"cluster": "x"}}}, "global.external_labels.cluster"),
        ({"rule_files": ["/etc/prometheus/mine/*.yml"]}, "rule_files"),
        (
            {"alerting": {"alert_relabel_configs": [{"target_label": "replica", "replacement": "x"}]}},
            "alerting.alert_relabel_configs",
        ),
        (
            {"alerting": {"alert_relabel_configs": [{"source_labels": ["replica"], "target_label": "r"}]}},
            "alerting.alert_relabel_configs",
        ),
        (
            {"alerting": {"alert_relabel_configs": [{"source_labels": ["replica"], "regex": "b", "action": "drop"}]}},
            "alerting.alert_relabel_configs",
        ),
        (
            {"alerting": {"alertmanagers": [{"alert_relabel_configs": [{"target_label": "replica"}]}]}},
            "alerting.alertmanagers[0].alert_relabel_configs",
        ),
        ({"scrape_configs": [{"job_name": "node_exporter"}]}, "scrape_configs[0]"),
        ({"scrape_configs": [{"job_name": "a"}, {"job_name": "a"}]}, "scrape_configs[1]"),
        (
            {"scrape_configs": [{"job_name": "a", "static_configs": [{"labels": {"replica": "x"}}]}]},
            "scrape_configs[0]",
        ),
        (
            {"scrape_configs": [{"job_name": "a", "relabel_configs": [{"target_label": "replica"}]}]},
            "scrape_configs[0].relabel_configs",
        ),
    ],
)
def test_what_breaks_the_pair_is_refused(config, key):
    findings = [f for f in refused(prometheus(**config)) if f.severity == "fail"]
    assert {f.check for f in findings} == {f"prometheus_config.{key}"}


def test_what_upstream_allows_is_allowed():
    site = site_from_dicts(
        prometheus(
            **{"global": {"external_labels": {"cluster": "main", "region": "eu"}}},
            alerting={
                "alert_relabel_configs": [
                    {"action": "labeldrop", "regex": "pod"},
                    {"source_labels": ["severity"], "target_label": "prio"},
                ]
            },
            scrape_configs=[{"job_name": "app", "static_configs": [{"targets": ["10.1.1.1:80"]}]}],
        )
    )
    assert site.findings == ()


def test_a_job_of_targets_collides_too():
    targets = {"prometheus_targets": {"app": [{"targets": ["10.1.1.1:80"]}]}}
    data = {**targets, "prometheus_config": {"scrape_configs": [{"job_name": "app"}]}}
    assert {f.check for f in refused(small(prom_1=data, prom_2=data))} == {"prometheus_config.scrape_configs[0]"}


@pytest.mark.parametrize(
    ("config", "severity"),
    [
        ({"global": {"scrape_interval": "30s"}}, "fail"),
        ({"scrape_configs": [{"job_name": "a", "scrape_interval": "30s"}]}, "fail"),
        ({"global": {"external_labels": {"region": "eu"}}}, "fail"),
        ({"scrape_configs": [{"job_name": "a"}]}, "warn"),
        ({"remote_write": [{"url": "https://a"}]}, "warn"),
    ],
)
def test_replicas_are_alike(config, severity):
    hosts = small(prom_2={"prometheus_config": config})
    try:
        findings = site_from_dicts(hosts).findings
    except SettingsErrors as errors:
        findings = errors.findings
    assert findings[0].severity == severity
    assert findings[0].host == "prom-2"


def test_uploads_need_time_and_order():
    data = {"bucket_config": {"type": "S3", "config": {}}, "prometheus_retention_time": "1h"}
    assert failures(small(prom_1=data, prom_2=data)) == {"prometheus_retention_time"}
    # As short as spec/003 has it: whether uploads are proven is the preflight's question.
    data["prometheus_retention_time"] = "2h"
    site = site_from_dicts(small(prom_1=data, prom_2=data))
    assert "prometheus_retention_time" not in {f.check for f in site.findings}
    tsdb = {"storage": {"tsdb": {"out_of_order_time_window": "30m"}}}
    # Without uploads, both are the user's choice.
    data = {"prometheus_config": tsdb, "prometheus_retention_time": "2h"}
    assert site_from_dicts(small(prom_1=data, prom_2=data)).findings == ()


@pytest.mark.parametrize(
    ("setting", "flag", "instead"),
    [
        ("prometheus_flags", "web.listen-address", "prometheus_port"),
        ("prometheus_flags", "no-web.enable-lifecycle", "prometheus_lifecycle"),
        ("prometheus_flags", "storage.tsdb.retention.time", "prometheus_retention_time"),
        ("prometheus_flags", "storage.tsdb.min-block-duration", "uploads"),
        ("sidecar_flags", "tsdb.path", "data directory"),
        ("alertmanager_flags", "cluster.peer", "the group alertmanager"),
        ("querier_flags", "endpoint.sd-config-file", "querier_endpoints"),
        ("querier_flags", "query.replica-label", "replica_labels"),
        ("node_exporter_flags", "web.listen-address", "node_exporter_port"),
    ],
)
def test_a_flag_of_the_package_is_refused(setting, flag, instead):
    finding = only(small(prom_1={setting: {flag: "x"}}))
    assert finding.check == f"{setting}.{flag}"
    assert instead in finding.wanted


def test_other_flags_are_allowed():
    flags = {"log.level": "debug", "query.max-concurrency": 10, "enable-feature": ["a", "b"]}
    both = {"prometheus_flags": flags}
    assert site_from_dicts(small(prom_1=both, prom_2=both)).findings == ()


# --- What holds the Alertmanagers together --------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"alertmanager_config": {"route": {"group_wait": "1s"}}},
        {"alertmanager_templates": {"a.tmpl": "x"}},
        {"alertmanager_webhook_url": "secret:env:OTHER"},
        {"deadman_url": "secret:env:OTHER"},
    ],
)
def test_alertmanagers_are_alike(data):
    finding = only(small(am_2=data))
    assert (finding.host, finding.check) == ("am-2", next(iter(data)))
    assert finding.found == "another than on am-1"


def test_alerts_go_somewhere():
    findings = refused(alertmanagers(alertmanager_webhook_url=None))
    assert {f.check for f in findings} == {"alertmanager_webhook_url"}
    site_from_dicts(
        alertmanagers(
            alertmanager_webhook_url=None,
            alertmanager_config={"receivers": [{"name": "a"}], "route": {"receiver": "a"}},
        )
    )


def test_nobody_outside_who_notices_is_one_warning():
    (finding,) = site_from_dicts(alertmanagers(deadman_url=None)).findings
    assert (finding.check, finding.severity, finding.found) == ("deadman_url", "warn", "nothing")
    assert "nobody outside notices" in finding.wanted
    own = {"route": {"routes": [{"matchers": ["alertname=Watchdog"], "receiver": "web.hook"}]}}
    named = {"receivers": [{"name": "watchdog"}]}
    for given in (own, named):
        hosts = alertmanagers(deadman_url=None, alertmanager_config=given)
        assert site_from_dicts(hosts).findings == ()
        # Two ways to say one thing, of which the other would be as if it were not there.
        finding = only(alertmanagers(alertmanager_config=given))
        assert finding.check == "deadman_url" and "alertmanager_config" in finding.found
    assert site_from_dicts(alertmanagers(deadman_url=None) | unwatched()).findings == ()


def unwatched():
    """The Prometheus of `small` without rules, and so without a Watchdog."""
    hosts = {name: entry for name, entry in small().items() if name.startswith("prom")}
    for entry in hosts.values():
        entry["data"]["starter_rules"] = False
    return hosts


def test_waiting_in_turn_stays_below_group_interval():
    config = {"route": {"routes": [{"group_interval": "40s"}]}}
    findings = site_from_dicts(alertmanagers(alertmanager_config=config)).findings
    assert len(findings) == 3
    assert "waits 30s for the others" in findings[0].found
    site = site_from_dicts(alertmanagers(alertmanager_config=config, alertmanager_flags={"cluster.peer-timeout": "5s"}))
    assert site.findings == ()


def test_notifications_are_remembered_for_repeat_interval():
    findings = refused(alertmanagers(alertmanager_config={"route": {"repeat_interval": "7d"}}))
    assert {f.check for f in findings} == {"alertmanager_flags.data.retention"}
    site_from_dicts(
        alertmanagers(
            alertmanager_config={"route": {"repeat_interval": "7d"}},
            alertmanager_flags={"data.retention": "8d"},
        )
    )


def test_durations_are_printed_as_people_write_them():
    route = {"routes": [{"repeat_interval": "99999h"}, {"repeat_interval": "30d"}]}
    (found, *_) = refused(alertmanagers(alertmanager_config={"route": route}))
    assert found.found == "120h, while repeat_interval is 99999h"


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0s"), (0.1, "100ms"), (90, "1m30s"), (5400, "1h30m"), (399 * 86400, "399d")],
)
def test_written(amount, text):
    assert written(amount) == text
    assert seconds(text) == pytest.approx(amount)


def test_a_duration_that_the_daemon_does_not_read():
    findings = refused(alertmanagers(alertmanager_flags={"data.retention": "1y"}))
    assert {(f.check, f.found) for f in findings} == {("alertmanager_flags.data.retention", "'1y'")}
    assert "8760h for a year" in findings[0].wanted


def test_an_interval_that_is_none():
    config = {"route": {"repeat_interval": "often"}}
    assert {f.check for f in refused(alertmanagers(alertmanager_config=config))} == {"alertmanager_config"}


# --- The site -------------------------------------------------------------------------------------


def test_tiers_of_none_and_of_one_are_warnings():
    site = site_from_dicts(small(query_1=None, query_2=None, am_2=None, am_3=None, prom_2=None))
    assert [(f.severity, f.check, f.found) for f in site.findings] == [
        ("warn", "group alertmanager", "one host"),
        ("warn", "group querier", "no host"),
        ("warn", "cluster", "one Prometheus in cluster 'main'"),
    ]


def test_releases_that_do_not_go_together():
    findings = refused(small({"versions": {"thanos": "0.35.1"}}))
    (line,) = describe(findings)
    assert "do not go together" in line
    assert "prom-1, prom-2, am-1 and 4 more" in line


def test_a_version_that_is_none():
    assert {f.check for f in refused(small({"versions": {"thanos": "new"}}))} == {"release"}


def test_hosts_on_another_release_are_a_warning():
    (finding,) = site_from_dicts(small(prom_2={"versions": {"prometheus": "3.14.0"}})).findings
    assert finding.found == "3.14.0 on prom-2; 3.16.0 on prom-1"


def test_one_profile_for_all():
    assert only(small(am_3={"profile": "drill"})).check == "profile"


# --- pyinfra's inventory --------------------------------------------------------------------------


def inventory(**override):
    groups = {}
    for name, entry in small().items():
        groups.setdefault(entry["groups"][0], ([], {}))[0].append((name, entry["data"]))
    groups["prometheus"][1].update(prometheus_port=9091)
    groups["inventory"] = (list(small()), {})
    return Inventory((list(small()), {"cluster": "paris"}), override_data=override, **groups)


def test_the_site_of_an_inventory_is_made_once():
    given = inventory()
    site = load_site(given, check_secrets=False)
    assert site is load_site(given, check_secrets=False)
    assert list(site.hosts) == list(small())
    member = site.hosts["prom-1"]
    assert (member.groups, member.settings.prometheus_port) == (("prometheus",), 9091)
    assert member.settings.cluster == "paris"


def test_the_command_line_is_named():
    with pytest.raises(SettingsErrors) as caught:
        load_site(inventory(prometheus_prot=1), check_secrets=False)
    assert str(caught.value).startswith("--data: prom-1, prom-2, am-1 and 4 more: prometheus_prot:")


def test_file_and_line_are_named(checkout):
    (checkout / "group_data").mkdir()
    (checkout / "group_data/prometheus.py").write_text('"""x"""\n\nprometheus_port = 80\n')
    (checkout / "inventory.py").write_text(
        'x = [\n    ("prom-1", {"replica": "a b"}),\n    ("prom-2", {"replica": "a b"}),\n]\n'
    )
    given = inventory()
    given.group_data["prometheus"]["prometheus_port"] = 80
    for name in ("prom-1", "prom-2"):
        given.host_data[name]["replica"] = "a b"
    with pytest.raises(SettingsErrors) as caught:
        load_site(given, check_secrets=False)
    places = {(f.host, f.check): f.where for f in caught.value.findings}
    assert places["prom-1", "prometheus_port"] == "group_data/prometheus.py:3"
    assert places["prom-2", "replica"] == "inventory.py:3"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("zone = 1\n\n# zone=2\nzone = 3\n", 4),  # the last one is what Python goes by
        ("zone: str = 1\nif True:\n    zone = 2\nx = {'zone': 3}\n", 3),
        ("a = [('h', {'zone': 1, 'zone':\n 2}),\n ('i', {'zone': 3})]\n", 1),
        ("a = [('i', {'zone': 3}),\n ('h', {'zone': 1,\n 'zone': 2})]\n", 3),
        ("a = [host('i', zone=3),\n host('h', zone=1)]\n", 2),
        ("each = {'zone': 1}\na = [('h', each)]\n", 1),
        ("a = {\n", None),
        ("a = 1\n", None),
    ],
)
def test_the_line_of_a_setting(checkout, text, line):
    (checkout / "x.py").write_text(text)
    assert findings.located("x.py", "zone", "h") == (f"x.py:{line}" if line else "x.py")


def test_a_file_of_group_data_without_hosts_is_refused():
    given = inventory()
    given.group_data["promtheus"] = {"prometheus_port": 9091}
    with pytest.raises(SettingsErrors, match="prometheus is the nearest"):
        load_site(given, check_secrets=False)


@pytest.mark.parametrize("pattern", ["prom-1", "prom-*", "alertmanager", "am-[12]"])
def test_a_limit_that_matches(pattern):
    assert check_limit({n: h["groups"] for n, h in small().items()}, [pattern]) == []


@pytest.mark.parametrize(("pattern", "near"), [("prom-9", "prom-"), ("alertmanger", "alertmanager"), ("all", "")])
def test_a_limit_that_matches_nothing(pattern, near):
    (finding,) = check_limit({n: h["groups"] for n, h in small().items()}, ["am-1", pattern])
    assert repr(pattern) in finding.found
    assert near in finding.wanted.rpartition(";")[2]


# --- Files that a configuration names -------------------------------------------------------------


def receivers(**keys):
    receiver = {"name": "team", "slack_configs": [{"channel": "a", **keys}]}
    return {"alertmanager_config": {"receivers": [receiver]}}


@pytest.mark.parametrize(
    ("file", "near"),
    [
        ("/etc/alertmanager/secrets/slack", "slack_url is the nearest"),
        ("/etc/alertmanager/templates/../secrets/x", ""),
        ("/etc/monitoring/ca.pem", "a name in web_files"),
        ("secrets/slack_url", "/etc/alertmanager/secrets/NAME"),
        ("slack_url", "/etc/alertmanager/secrets/NAME"),
    ],
)
@pytest.mark.parametrize("key", ["api_url_file", "http_config.tls_config.ca_file"])
def test_a_file_that_alertmanager_would_miss_is_refused(key, file, near):
    first, *inner = key.split(".")
    value = {inner[0]: {inner[1]: file}} if inner else file
    brought = {"alertmanager_secret_files": {"slack_url": "secret:env:W"}}
    data = receivers(**{first: value}) | brought
    found = refused(alertmanagers(**data))
    assert {f.check for f in found} == {f"alertmanager_config.receivers[0].slack_configs[0].{key}"}
    assert found[0].found == file and near in found[0].wanted


@pytest.mark.parametrize("file", ["/etc/alertmanager/secrets/slack_url", "/run/vault/slack_url"])
def test_a_file_that_is_brought_or_the_operators(file):
    brought = {"alertmanager_secret_files": {"slack_url": "secret:env:W"}}
    assert site_from_dicts(alertmanagers(**receivers(api_url_file=file), **brought))


def test_a_name_of_the_users_is_no_file():
    jobs = [{"job_name": "a", "static_configs": [{"targets": [], "labels": {"file": "app.log"}}]}]
    assert site_from_dicts(prometheus(scrape_configs=jobs))
    details = [{"routing_key": "secret:env:W", "details": {"config_file": "{{ .x }}"}}]
    team = {"receivers": [{"name": "team", "pagerduty_configs": details}]}
    assert site_from_dicts(alertmanagers(alertmanager_config=team))


def test_alertmanagers_have_the_same_files():
    hosts = alertmanagers(alertmanager_secret_files={"a": "secret:env:{host}"})
    assert site_from_dicts(hosts)
    hosts["am-2"]["data"]["alertmanager_secret_files"] = {}
    finding = only(hosts)
    assert (finding.host, finding.check) == ("am-2", "alertmanager_secret_files")


def test_a_file_that_a_ruler_would_miss_is_refused():
    auth = {"username": "a", "password_file": "/etc/thanos/rule/secrets/pass"}
    data = {"rule_remote_write": [{"url": "https://w.example.org", "basic_auth": auth}]}
    hosts = {**small(), "rule-1": host("rule", ssh_hostname="10.0.0.61", **data)}
    finding = only(hosts)
    assert finding.check == "rule_remote_write[0].basic_auth.password_file"
    assert "a name in rule_secret_files" in finding.wanted
    hosts["rule-1"]["data"]["rule_secret_files"] = {"pass": "secret:env:W"}
    assert site_from_dicts(hosts)


# --- What upstream lets one say twice --------------------------------------------------------------


@pytest.mark.parametrize("retention", [{"time": "365d"}, {"time": "30m"}, {"percentage": 95}, {}])
def test_a_retention_in_the_file_is_refused(retention):
    tsdb = {"storage": {"tsdb": {"retention": retention}}}
    found = {f.check for f in refused(prometheus(**tsdb))}
    assert found == {"prometheus_config.storage.tsdb.retention"}
    hosts = upper(prometheus_config=tsdb)
    assert "prometheus_retention_time and prometheus_retention_size" in only(hosts).wanted


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (
            {"prometheus_config": {"storage": {"tsdb": {"chunk_encoding": {"floats": "xor2"}}}}},
            "prometheus_config.storage.tsdb.chunk_encoding.floats",
        ),
        ({"prometheus_flags": {"enable-feature": "a,xor2-encoding"}}, "enable-feature"),
        ({"prometheus_flags": {"enable-feature": ["a", "st-storage"]}}, "enable-feature"),
    ],
)
def test_chunks_that_thanos_cannot_read_are_refused(data, key):
    (found,) = failures(small(prom_1=data, prom_2=data))
    assert found.endswith(key)
    assert site_from_dicts(upper(**data)), "which has no sidecar"


def test_a_log_level_is_said_once():
    data = {"prometheus_config": {"runtime": {"log_level": "debug"}}}
    assert site_from_dicts(small(prom_1=data, prom_2=data))
    data["prometheus_flags"] = {"log.level": "warn"}
    assert failures(small(prom_1=data, prom_2=data)) == {"prometheus_flags.log.level"}


def test_a_flag_and_the_file_of_the_same_flag_are_one_too_many():
    flags = {"tracing.config-file": "/etc/mine.yml"}
    assert site_from_dicts(small(query_1={"querier_flags": flags}))
    flags["tracing.config"] = "type: OTLP"
    assert failures(small(query_1={"querier_flags": flags})) == {"querier_flags.tracing.config"}
    cache = {"store_flags": {"index-cache-size": "1GB"}}
    assert site_from_dicts(small(query_1=cache))
    cache["store_index_cache"] = {"type": "IN-MEMORY", "config": {}}
    assert failures(small(query_1=cache)) == {"store_flags.index-cache-size"}


# --- Upper Prometheus, remote write ---------------------------------------------------------------


def upper(groups=("upper",), **data):
    hosts = small()
    hosts["upper-1"] = host(*groups, ssh_hostname="10.0.0.51", **data)
    return hosts


def test_an_upper_prometheus_needs_no_replica_and_no_second_one():
    assert site_from_dicts(upper(prometheus_remote_write_receiver=True)).findings == ()


def test_a_replica_is_no_upper_prometheus():
    found = only(upper(("prometheus", "upper"), replica="c"))
    assert found.found == "prometheus and upper"
    finding = only(small(prom_1={"prometheus_remote_write_receiver": True}))
    assert finding.check == "prometheus_remote_write_receiver"


def test_what_an_upper_prometheus_federates_is_its_own_job():
    mine = {"scrape_configs": [{"job_name": "federate-main"}]}
    assert only(upper(prometheus_config=mine)).found == "the job federate-main"
    assert site_from_dicts(prometheus(**mine))  # a replica has no such job


def test_compaction_is_free_where_nothing_is_uploaded():
    flags = {"storage.tsdb.min-block-duration": "2h"}
    assert site_from_dicts(upper(prometheus_flags=flags))
    assert "min-block-duration" in only(small(prom_1={"prometheus_flags": flags})).check


def writes(*rules, secret_files=None, **entry):
    entry = {"url": "https://10.0.0.9/api/v1/write", "write_relabel_configs": list(rules), **entry}
    data = {
        "prometheus_config": {"remote_write": [entry]},
        "prometheus_secret_files": secret_files or {},
    }
    return small(prom_1=data, prom_2=data)


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "labeldrop", "regex": "replica"},
        {"action": "labeldrop", "regex": "clus.*|pod"},
        {"action": "labelkeep", "regex": "__name__|job|instance|cluster"},
        {"target_label": "replica", "replacement": "x"},
        {"source_labels": ["job"], "target_label": "cluster"},
        {"action": "lowercase", "source_labels": ["job"], "target_label": "replica"},
        {"action": "labelmap", "regex": "dc", "replacement": "cluster"},
    ],
)
def test_relabelling_that_melts_the_replicas_into_one_is_refused(rule):
    drop = {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}
    found = [f for f in refused(writes(drop, rule)) if f.severity == "fail"]
    assert {f.host for f in found} == {"prom-1", "prom-2"}
    key = "prometheus_config.remote_write[0].write_relabel_configs[1]"
    assert {f.check for f in found} == {key}
    assert "drops or overwrites the label" in found[0].found


@pytest.mark.parametrize(
    "lost",
    [{"action": "labeldrop", "regex": "__.*"}, {"target_label": "__replica__", "replacement": "x"}],
)
def test_a_copy_that_is_lost_again_keeps_nothing_apart(lost):
    found = refused(writes(COPY, lost, DROP))
    assert {f.check for f in found if f.severity == "fail"} == {
        "prometheus_config.remote_write[0].write_relabel_configs[2]"
    }


@pytest.mark.parametrize(
    "rules",
    [
        [{"action": "labeldrop", "regex": "pod"}],
        [{"action": "labelkeep", "regex": "__name__|job|instance|cluster|replica"}],
        [{"action": "drop", "source_labels": ["replica"], "regex": "b"}],
        [{"action": "labeldrop", "regex": "(?i"}],  # promtool's to judge
        # As somebody writes it who writes upstream's defaults out
        [
            {
                "source_labels": ["replica"],
                "regex": "(.*)",
                "replacement": "$1",
                "target_label": "__replica__",
                "action": "replace",
            },
            {"action": "labeldrop", "regex": "replica"},
        ],
        # Mimir's name for it
        [
            {"source_labels": ["replica"], "target_label": "__replica__"},
            {"action": "labeldrop", "regex": "replica"},
        ],
    ],
)
def test_relabelling_that_keeps_the_replicas_apart(rules):
    assert site_from_dicts(writes(*rules)).findings == ()


DROP = {"action": "labeldrop", "regex": "replica"}
COPY = {"source_labels": ["replica"], "target_label": "__replica__"}


@pytest.mark.parametrize(
    ("store", "rules", "says"),
    [
        ("victoriametrics", [DROP], ""),
        ("victoriametrics", [{"action": "labeldrop", "regex": "cluster"}], "the label cluster"),
        ("mimir", [COPY, DROP], ""),
        ("cortex", [COPY, DROP], ""),
        ("mimir", [DROP], "none for mimir"),
        (None, [DROP], "the label replica"),
    ],
)
def test_a_store_that_deduplicates(store, rules, says):
    hosts = writes(*rules, name="far")
    for name in ("prom-1", "prom-2"):
        hosts[name]["data"]["remote_write_deduplicates"] = {"far": store} if store else {}
    if not says:
        assert site_from_dicts(hosts).findings == ()
    else:
        assert any(says in f.found for f in refused(hosts))


def test_a_store_of_no_entry():
    hosts = writes(name="far")
    hosts["prom-1"]["data"]["remote_write_deduplicates"] = {"fra": "mimir"}
    found = only(hosts)
    assert (found.check, "far" in found.wanted) == ("remote_write_deduplicates", True)


def test_a_constant_cluster_is_the_same_on_both_replicas():
    found = site_from_dicts(writes({"target_label": "cluster", "replacement": "prod-eu"})).findings
    assert {f.severity for f in found} == {"warn"} and "one for all" in found[0].found


@pytest.mark.parametrize("name", ["/etc/prometheus/secrets/pass", "secrets/pass"])
def test_a_file_among_the_secrets_is_a_settings(name):
    auth = {"basic_auth": {"username": "me", "password_file": name}}
    (finding, *_) = refused(writes(secret_files={"passw": "secret:env:W"}, **auth))
    assert finding.check == "prometheus_config.remote_write[0].basic_auth.password_file"
    assert (finding.found, "passw is the nearest" in finding.wanted) == (name, True)
    assert site_from_dicts(writes(secret_files={"pass": "secret:env:W"}, **auth)).findings == ()
    auth["basic_auth"]["password_file"] = "pass"  # /etc/prometheus/pass, which nobody brings
    assert "/etc/prometheus/secrets/NAME" in refused(writes(**auth))[0].wanted


def test_secret_files_are_references_and_have_plain_names():
    for files in ({"a": LEAK}, {"../a": "secret:env:W"}, {".a": "secret:env:W"}):
        found = refused(writes(secret_files=files))
        assert {f.check for f in found} == {"prometheus_secret_files"}


def test_a_password_in_the_clear_is_a_warning():
    auth = {"basic_auth": {"username": "me", "password": "secret:env:W"}}
    (finding, _) = site_from_dicts(writes(url="http://10.0.0.9/api/v1/write", **auth)).findings
    assert (finding.severity, finding.found) == ("warn", "http with basic_auth")


def test_findings_read_well():
    finding = Finding("am-1", "replica", "'a'", "another", where="inventory.py:3")
    assert str(finding) == "inventory.py:3: am-1: replica: found 'a'; expected: another"


# --- This checkout's own inventory ----------------------------------------------------------------


@pytest.fixture(scope="module")
def printed():
    """The hosts that `debug-inventory --json` prints, with a secret in the environment."""
    done = subprocess.run(
        [sys.executable, "-m", "pyinfra", "inventory.py", "debug-inventory", "--json"],
        cwd=ROOT,
        env={**os.environ, "RELEASE": "reference", "PROFILE": "drill", "W": LEAK},
        capture_output=True,
        text=True,
        check=True,
    )
    secrets = [f.read_text().strip() for f in (ROOT / "secrets").glob("*") if f.is_file()]
    for secret in [LEAK, *filter(None, secrets)]:
        assert secret not in done.stdout + done.stderr
    return {entry["name"]: entry for entry in json.loads(done.stdout)}


def said_of(site):
    """What is doubtful in it."""
    return tuple(finding.check for finding in site.findings)


def test_our_inventory_is_valid(printed):
    site = site_from_dicts(printed)
    # The Alertmanager of that release forgets inhibitions.
    assert said_of(site) == ("versions.alertmanager",)
    assert list(site.hosts) == [
        *("prom-1", "prom-2", "am-1", "am-2", "am-3", "query-1", "query-2"),
        *("ring-1", "ring-2", "ring-3", "store-1", "upper-1", "receiver-1"),
    ]
    for member in site.hosts.values():
        assert (member.settings.release, member.settings.profile) == ("reference", "drill")
        assert member.settings.version("thanos") == "0.32.2"
    # SSH reaches it at another address than the other hosts do.
    prom = printed["prom-2"]["data"]
    assert site.hosts["prom-2"].address == prom["service_address"] != prom["ssh_hostname"]


@pytest.mark.parametrize("release", ["current", "migration"])
@pytest.mark.parametrize("profile", PROFILES)
def test_our_inventory_in_other_releases(printed, release, profile):
    hosts = {name: {**entry, "data": {**entry["data"]}} for name, entry in printed.items()}
    for entry in hosts.values():
        entry["data"].update(release=release, profile=profile, versions={})
    assert said_of(site_from_dicts(hosts)) == (() if release == "current" else ("versions.alertmanager",))
