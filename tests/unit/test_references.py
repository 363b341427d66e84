"""Secret references, at every place of every setting: each is resolved or refused, and none reaches a host as text."""

import copy
import json

import pytest

from prometheus_ha.deploys.lib.ground import secrets
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.ground.secrets import HOLDS_SECRETS, misplaced
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from tests.unit.test_fuzz import BLANK, RIGHT, ROLES, SECURE, places
from tests.unit.test_fuzz import SITE as EVERY_GROUP

VALUE = "hunter2-resolved"
REFERENCE = "secret:env:REFERENCE"
TEXT = {
    "prometheus_external_url": "https://p.example.org",
    "alertmanager_external_url": "https://a.example.org",
    "alertmanager_listen_address": "0.0.0.0",
    "rule_flags": {"log.format": "json"},
    "blackbox_secret_files": {"probe": "secret:env:PROBE"},
    "blackbox_modules": {
        "login": {"prober": "http", "http": {"basic_auth": {"username": "a", "password": "x"}, "method": "GET"}}
    },
    "store_index_cache": {
        "type": "REDIS",
        "config": {"addr": "10.1.0.9:6379", "password": "x", "tls_config": {"ca_file": "/ca"}},
    },
}
"""Setting -> a value with the places that the one of the fuzz lacks."""
TEXT["frontend_cache"] = TEXT["store_index_cache"]
TEXT |= {name: getattr(EVERY_GROUP.hosts["store-1"].settings, name) for name in ("bucket_config", "bucket_keys")}
TEXT["bucket_config"]["config"]["http_config"] = {"tls_config": {"ca_file": "/ca"}}


def example(name):
    """A right value of a setting that has as many places as there are."""
    return TEXT.get(name, (RIGHT.get(name) or [Settings.model_fields[name].get_default()])[-1])


def poisoned(value, reference=REFERENCE):
    """Place -> `value` with a reference there: instead of what is there, within it, or as a key."""
    for path in places(value):
        for how in ("instead", "within", "key"):
            found = {"": copy.deepcopy(value)}
            inner, last = found, ""
            for step in path:
                inner, last = inner[last], step
            there = inner[last]
            if how == "instead":
                inner[last] = reference
            elif how == "within" and isinstance(there, str) and not secrets.is_secret(there):
                inner[last] = f"{there} {reference}"
            elif how == "key" and isinstance(there, dict):
                there[reference] = "x"
            else:
                continue
            yield (*path, how), found[""]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("REFERENCE", VALUE)
    for number in range(100):
        monkeypatch.setenv(f"REFERENCE_{number}", f"{VALUE}-{number}")
    for name in ("FUZZ_SECRET", "FUZZ_KEY", "FUZZ_HASH", "admin"):
        monkeypatch.setenv(name, f"{VALUE}-{name}")
    for member in EVERY_GROUP.hosts.values():
        for name in member.settings.bucket_keys:
            monkeypatch.setenv(name, f"access-{name}")


HOSTS = {
    member.name: {
        "groups": member.groups,
        "data": {
            **{key: copy.deepcopy(getattr(member.settings, key)) for key in member.settings.model_fields_set},
            "ssh_hostname": member.address,
            "receive_replication": 1,
        },
    }
    for member in EVERY_GROUP.hosts.values()
    if member.name.endswith("-1")
}


def site_with(**data):
    """A site with every group and these settings on all hosts; None where it is refused."""
    hosts = {name: {"groups": host["groups"], "data": {**host["data"], **data}} for name, host in HOSTS.items()}
    try:
        return site_from_dicts(hosts)
    except SettingsErrors as error:
        assert VALUE not in str(error)
        return None


def rendered(site):
    """Host and place -> all that a run would bring there."""
    found = {}
    for role in ROLES:
        for member in role.members(site):
            component = role.component(site, member, BLANK)
            for path, file in component.files.items():
                found[member.name, path] = file.content
                if VALUE in file.content:
                    assert not int(file.mode, 8) & 0o007, f"{path}: others read a secret in it"
            for service in component.services:
                found[member.name, service.name] = "\n".join(service.argv)
            said = [*component.links.values(), *component.checks]
            found[member.name, role.name] = "\n".join(said)
    return found


def test_what_holds_secrets_are_settings():
    assert set(HOLDS_SECRETS) <= set(Settings.model_fields)
    files = {name for name, field in Settings.model_fields.items() if name.endswith("_secret_files")}
    assert len(files) == 4 and files <= set(HOLDS_SECRETS), "whose values are references"


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - set(HOLDS_SECRETS)))
def test_a_setting_that_resolves_nothing_refuses_a_reference_everywhere(name):
    """Also a new one, until it is in HOLDS_SECRETS: then the next test is about it."""
    for value in [REFERENCE, {"x": REFERENCE}, [{"x": [REFERENCE]}], example(name)]:
        for place, wrong in poisoned(value):
            found = [misplaced(path, leaf) for path, leaf in secrets.leaves(wrong, (name,))]
            assert any(found), (name, place)


@pytest.mark.parametrize("name", sorted(HOLDS_SECRETS))
def test_a_reference_is_resolved_or_refused(name):
    taken, resolved = {}, 0
    together = SECURE if name in SECURE else {}
    for place, value in poisoned(example(name)):
        refused = [misplaced(path, leaf) for path, leaf in secrets.leaves(value, (name,))]
        if not any(refused) and (site := site_with(**{**together, name: value})):
            taken[place] = site
    # At once what goes together: to render a site takes its time.
    everywhere = copy.deepcopy(example(name))
    leaves = [place[:-1] for place in taken if place[-1] == "instead" and len(place) > 1]
    for number, path in enumerate(leaves):
        inner = everywhere
        for step in path[:-1]:
            inner = inner[step]
        if not isinstance(inner[path[-1]], dict | list):
            inner[path[-1]] = f"{REFERENCE}_{number}"
    if site := site_with(**{**together, name: everywhere}):
        taken = {place: site for place, site in taken.items() if place[:-1] not in leaves}
        taken["everywhere"] = site
    for place, site in taken.items():
        found = rendered(site)
        texts = json.dumps([*map(str, found), *found.values()])
        assert "secret:env" not in texts, (name, place)
        resolved += VALUE in texts
    assert resolved


def test_files_of_secrets_are_brought_and_what_is_read_once_is_loaded_again(monkeypatch):
    """Alertmanager reads two notifiers' tokens with its configuration."""
    path = "/etc/alertmanager/secrets/token"
    chat = {"name": "a", "rocketchat_configs": [{"channel": "a", "token_file": path}]}
    settings = {f"{role}_secret_files": {"token": REFERENCE} for role in ("alertmanager", "rule")}
    plain = settings | {"alertmanager_config": {"receivers": [{"name": "a"}]}}
    settings |= {"alertmanager_config": {"receivers": [chat]}}
    files, loaded = rendered(site_with(**settings)), "/etc/alertmanager/alertmanager.yml"
    assert files["alertmanager-1", path] == VALUE
    unread = rendered(site_with(**plain))["alertmanager-1", loaded]
    assert files["rule-1", "/etc/thanos/rule/secrets/token"] == VALUE
    monkeypatch.setenv("REFERENCE", "another")
    again = rendered(site_with(**settings))
    assert again["alertmanager-1", loaded] != files["alertmanager-1", loaded]
    unit = "/etc/systemd/system/alertmanager.service"
    assert again["alertmanager-1", unit] == files["alertmanager-1", unit]
    assert rendered(site_with(**plain))["alertmanager-1", loaded] == unread


def test_a_password_of_an_index_cache_reaches_redis():
    cache = {"type": "REDIS", "config": {"addr": "10.1.0.9:6379", "password": REFERENCE}}
    files = rendered(site_with(store_index_cache=cache))
    assert VALUE in files["store-1", "/etc/thanos/store/index_cache.yml"]


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"prometheus_targets": {"a": [{"targets": [REFERENCE]}]}}, "prometheus_targets.a[0].targets[0]"),
        (
            {"prometheus_rules": {"a.yml": {"groups": [{"name": REFERENCE, "rules": []}]}}},
            "prometheus_rules.a.yml.groups[0].name",
        ),
        ({"alertmanager_templates": {"a.tmpl": REFERENCE}}, "alertmanager_templates.a.tmpl"),
        ({"federation_match": [REFERENCE]}, "federation_match[0]"),
        ({"cluster": REFERENCE}, "cluster"),
        ({"prometheus_flags": {"x": f"a,{REFERENCE}"}}, "prometheus_flags.x"),
        (
            {"prometheus_config": {"scrape_configs": [{"job_name": "a", "params": {"t": [f"x {REFERENCE}"]}}]}},
            "prometheus_config.scrape_configs[0].params.t[0]",
        ),
        (
            {"prometheus_config": {"global": {"external_labels": {"dc": REFERENCE}}}},
            "prometheus_config.global.external_labels.dc",
        ),
        (
            {"prometheus_config": {"remote_write": [{"url": "https://w", "basic_auth": {"password_file": REFERENCE}}]}},
            "prometheus_config.remote_write[0].basic_auth.password_file",
        ),
        ({"web_client": {"tls_config": {"server_name": REFERENCE}}}, "web_client.tls_config.server_name"),
        ({"prometheus_config": {REFERENCE: "x"}}, "prometheus_config"),
    ],
)  # fmt: skip
def test_a_reference_in_a_wrong_place_is_named(data, key):
    hosts = copy.deepcopy(HOSTS)
    for host in hosts.values():
        host["data"] |= data
    with pytest.raises(SettingsErrors) as caught:
        site_from_dicts(hosts)
    assert key in {finding.check for finding in caught.value.findings}
