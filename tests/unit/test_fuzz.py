"""Whatever an inventory and its settings hold, there is a site or a list of findings, and of a site files or a reason.

Hypothesis makes the inventories: settings that are right, right but for one place, and nothing like it. The examples
are the same in every run; `FUZZ_EXAMPLES=5000` tries more of them, and others with `FUZZ_SEED=1`.
"""

from __future__ import annotations

import ast
import copy
import datetime
import importlib
import ipaddress
import json
import os
import pkgutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha import deploys
from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.daemons import GROUPS
from prometheus_ha.deploys.lib.engine.component import compare, directories_script, stage_script, swap_script
from prometheus_ha.deploys.lib.engine.flags import FlagError
from prometheus_ha.deploys.lib.ground.findings import Finding, SettingsErrors, describe
from prometheus_ha.deploys.lib.ground.secrets import SecretError, read_secret
from prometheus_ha.deploys.lib.roles import rule as rule_role
from prometheus_ha.deploys.lib.roles import upper as upper_role
from prometheus_ha.deploys.lib.roles.alertmanager import configuration as alertmanager_role
from prometheus_ha.deploys.lib.roles.prometheus import alerts as prometheus_alerts
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.rollout import Role
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey import capacity, checks, preflight
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.facts import kernel, listeners, timesync
from prometheus_ha.facts.http import Sample, metrics, split
from prometheus_ha.facts.reports import alertmanager, look, prometheus, survey, thanos
from tests.unit.recorded import BLANK, run_site

MARK, WRITTEN = "s3cr3t-0f-the-fuzz", "wr1tten-0ut-secret"
"""What is behind a reference, and where it is wrongly written out. Never in any message."""
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
SEED = os.environ.get("FUZZ_SEED")
DATA = Path(__file__).parent / "data" / "facts"

FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=SEED is None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

NAMED = [group for group in GROUPS if group != "alert_relay"]
"""The groups that an inventory names; that one comes by itself."""


def fuzzed(*strategies):
    """`given` with what all tests here share."""

    def decorate(test):
        test = FUZZ(given(*strategies)(test))
        return seed(int(SEED))(test) if SEED else test

    return decorate


# --- What to try ----------------------------------------------------------------------------------

CIRCLE: dict = {}
CIRCLE["again"] = CIRCLE

TEXTS = st.one_of(
    st.sampled_from(
        [
            *("", " ", "\n", "\0", "\ud800", "a\nb", "END", "{staged}", "{host}", "{{ x }}", "%n"),
            *("$HOME", "'; false; '", '"', "\\", "auto", "0", "-1", "1s", "15s", "1e9", "5m1h"),
            *("secret:", "secret:env:", "secret:env:FUZZ_SECRET", "secret:env:FUZZ_MISSING"),
            *("secret:file:/nonexistent", "secret:file:..", "secret:file:\0", "ünï.cöde", "日本"),
            *("10.0.0.1", "::1", "[fe80::1]", "fe80::1%eth0", "localhost", "0.0.0.0", "a.example."),
            f"https://user:{WRITTEN}@example.org/",
            *("https://example.org", "http://[::1", "http://[", "//", "x" * 300),
        ]
    ),
    st.text(max_size=12),
)
NUMBERS = st.one_of(
    st.sampled_from(
        [0, -1, 1, 1024, 9090, 65535, 65536, 2**63, -(2**70), 0.1, 1e308, -0.0]
        + [float("nan"), float("inf"), -float("inf")]
    ),
    st.integers(),
    st.floats(),
)
ODD = st.sampled_from([{1, 2}, b"bytes", object(), datetime.date(2024, 1, 1), Path("/x"), 1j, CIRCLE, print])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
KEYS = st.one_of(
    TEXTS.filter(lambda text: WRITTEN not in text),  # keys are shown, and no secrets
    st.sampled_from(
        [
            *("targets", "labels", "static_configs", "job_name", "global", "alerting", "groups"),
            *("external_labels", "replica", "cluster", "route", "routes", "receivers", "config"),
            *("scrape_interval", "alertmanagers", "type", "tsdb", "default", "relabel_configs"),
            *(1, None, True, 0.5),
        ]
    ),
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
JUNK = PLAIN | ODD

SECRET = {"basic_auth": {"username": "me", "password": "secret:env:FUZZ_SECRET"}}
JOB = {
    "job_name": "app",
    "scrape_interval": "30s",
    "static_configs": [{"targets": ["10.9.9.9:80"], "labels": {"team": "a"}}],
    "relabel_configs": [{"source_labels": ["a"], "target_label": "b", "action": "replace"}],
    **SECRET,
}


def self_signed():
    """A certificate for the addresses of made-up hosts, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    now = datetime.datetime.now(datetime.UTC)
    ips = [x509.IPAddress(ipaddress.ip_address(f"10.0.0.{n}")) for n in range(1, 9)]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(ips), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


CERTIFICATE, PRIVATE_KEY = self_signed()
PRIVATE = PRIVATE_KEY.splitlines()[1]
PASSWORD_HASH = bcrypt.hashpw(MARK.encode(), bcrypt.gensalt(4)).decode()
RIGHT = {
    "release": ["current", "reference", "migration"],
    "versions": [{}, {"thanos": "0.42.5"}, {"prometheus": "3.0.0-rc.1"}],
    "checksums": [{"prometheus-3.15.0.linux-amd64.tar.gz": "a" * 64}],
    "base_url": ["https://mirror.example.org/x"],
    "profile": ["production", "drill"],
    "cluster": ["main", "other"],
    "replica": ["a", "b"],
    "service_address": ["10.1.2.3", "2001:db8::7", "host.example.org"],
    "prometheus_listen_address": ["0.0.0.0", "::", "10.1.0.1"],
    "prometheus_external_url": ["https://p.example.org/prom", "http://[2001:db8::1]:90/"],
    "prometheus_retention_time": ["15d", "2h", "6h", "0"],
    "prometheus_retention_size": ["auto", None, "50GB"],
    "prometheus_config": [
        {
            "global": {"scrape_interval": "10s", "external_labels": {"dc": "x"}},
            "alerting": {
                "alert_relabel_configs": [{"action": "labeldrop", "regex": "x"}],
                "alertmanagers": [{"static_configs": [{"targets": ["10.9.9.8:9093"]}]}],
            },
            "scrape_configs": [JOB, {"job_name": "pods", "kubernetes_sd_configs": [{}]}],
            "remote_write": [{"url": "https://w.example.org", **SECRET}],
            "storage": {"tsdb": {"out_of_order_time_window": "0s"}},
        },
    ],
    "prometheus_rules": [{"a.yml": {"groups": [{"name": "a", "rules": [{"record": "b"}]}]}}],
    "prometheus_targets": [{"app2": [{"targets": ["10.9.9.9:80"], "labels": {"a": "b"}}]}],
    "prometheus_flags": [{"web.page-title": "x"}, {"log.level": "debug"}, {"no-x": True}],
    "sidecar_flags": [{"min-time": "-2w"}],
    "attached_url": ["https://10.9.9.9:9090/prom"],
    "attached_data_dir": ["/srv/prometheus", "/home/a/data/"],
    "attached_user": ["nobody", 65534],
    "bucket_config": [
        None,
        {
            "type": "S3",
            "config": {"bucket": "b", "endpoint": "e", "secret_key": "secret:env:FUZZ_SECRET"},
        },
        {"type": "FILESYSTEM", "config": {"directory": "/srv/bucket"}},
        {"type": "GCS", "config": {"bucket": "b"}, "prefix": "p"},
    ],
    "bucket_keys": [
        {
            name: {"access_key": "secret:env:FUZZ_SECRET", "secret_key": "secret:env:FUZZ_SECRET"}
            for name in ("admin", "thanos-sidecar", "thanos-store", "thanos-compactor")
        },
    ],
    "store_min_time": ["-2w", "2026-01-01T00:00:00Z"],
    "store_max_time": ["-1h"],
    "store_group": ["blocks.example:10905"],
    "querier_endpoints": [[{"address": "query.example:10904"}, {"address": "dns+a.example:1"}]],
    "store_index_cache": [{"type": "MEMCACHED", "config": {"addresses": ["10.1.0.9:11211"]}}],
    "store_flags": [{"store.grpc.series-max-concurrency": 10}],
    "compactor_retention_raw": ["0d", "30d"],
    "compactor_downsampling": [True, False],
    "frontend_cache": [{"type": "IN-MEMORY", "config": {"max_size": "1GB"}}, {}],
    "frontend_downstream": ["https://queries.example.org"],
    "rule_rules": [{"a.yml": {"groups": [{"name": "a", "rules": [{"record": "b"}]}]}}],
    "rule_remote_write": [[{"url": "https://w.example.org", **SECRET}]],
    "receive_retention": ["15d"],
    "receive_replication": [1, 3],
    "alertmanager_config": [
        {
            "global": {"resolve_timeout": "5m"},
            "route": {
                "receiver": "team",
                "group_interval": "5m",
                "routes": [{"matchers": ['a="b"'], "repeat_interval": "1h"}],
            },
            "receivers": [{"name": "team", "slack_configs": [{"api_url": "secret:env:FUZZ_SECRET"}]}],
            "inhibit_rules": [],
        },
    ],
    "alertmanager_templates": [{"a.tmpl": '{{ define "a" }}b{{ end }}'}],
    "alertmanager_webhook_url": ["secret:env:FUZZ_SECRET"],
    "deadman_url": ["secret:env:FUZZ_SECRET"],
    "alertmanager_flags": [{"data.retention": "120h"}, {"cluster.peer-timeout": "15s"}],
    "querier_timeout": ["2m"],
    "prometheus_secret_files": [{"ca.crt": "secret:env:FUZZ_SECRET"}],
    "alertmanager_secret_files": [{"slack_url": "secret:env:FUZZ_SECRET"}],
    "rule_secret_files": [{"password": "secret:env:FUZZ_SECRET"}],
    "federation_match": [[], ['{job="a"}']],
    "prometheus_remote_write_receiver": [True],
    "zone": ["a", "b"],
    "firewall": ["leave", "open"],
    "take_over": [True],
    "preflight": [{"cpu": "off", "memory": "fail"}],
    "replica_labels": [["replica", "rule_replica"]],
    "querier_flags": [{"query.max-concurrent": 30}, {"store.response-timeout": False}],
    "node_exporter_flags": [{"collector.systemd": True, "collector.x": ["a", "b"]}],
    "sysctl": [{"vm.swappiness": 1, "net.ipv4.ip_local_port_range": "1024 65000"}],
    "timesync": ["auto", "chrony", "host"],
    "capacity": [{"targets": {"app": 3}, "samples_per_target": {"default": 5}, "churn": 1}],
}
"""Setting -> values that are right; of other settings the default is."""
SECURE = {
    "web_config": {
        "tls_server_config": {"cert_file": "host.crt", "key_file": "host.key"},
        "basic_auth_users": {"me": "secret:env:FUZZ_HASH"},
        "http_server_config": {"http2": True, "headers": {"X-Frame-Options": "deny"}},
    },
    "web_files": {
        "host.crt": CERTIFICATE,
        "ca.crt": CERTIFICATE,
        "host.key": "secret:env:FUZZ_KEY",
    },
    "web_client": {
        "basic_auth": {"username": "me", "password": "secret:env:FUZZ_SECRET"},
        "tls_config": {"ca_file": "ca.crt"},
    },
}
"""What goes together, and is right on all hosts or on none."""
RIGHT |= {name: [value] for name, value in SECURE.items()}
WRONG = {
    "versions": [{"prometheus": "v3.15.0"}, {"thanos": "0.32.0"}],
    "prometheus_config": [
        {"remote_write": [{"url": "https://w", "basic_auth": {"password": WRITTEN}}]},
        {"scrape_configs": [JOB, JOB]},
        {"scrape_configs": [{"job_name": "prometheus"}]},
        {"remote_write": [{"url": f"https://me:{WRITTEN}@example.org"}]},
    ],
    "bucket_config": [{"type": "S3", "config": {"secret_key": WRITTEN}}, {"type": "S4"}],
    "alertmanager_config": [
        {"receivers": [{"name": "team", "webhook_configs": [{"url": WRITTEN}]}]},
        {"route": {"group_interval": "soon"}, "receivers": [{}]},
    ],
    "alertmanager_webhook_url": [f"https://hooks.example.org/{WRITTEN}"],
    "deadman_url": [f"https://hooks.example.org/{WRITTEN}"],
    "prometheus_flags": [{"web.config.file": f"https://me:{WRITTEN}@x"}, {"log.level": None}],
}
"""Setting -> values that are wrong in the ways that users are."""
FREE = [name for name, value in RIGHT.items() if isinstance(value[-1], dict)]
"""What is written in upstream's keys: much of it is nothing to us, and has to come through."""
NAMES = [*Settings.model_fields, "ssh_hostname", "ssh_port", "ssh_key", "ssh_user", "_sudo"]


def places(value, path=()):
    """Every place in nested data, as the keys that lead there."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@st.composite
def nearly(draw, value):
    """`value` with something else at one place, or with one key more or less."""
    value = copy.deepcopy(value)
    path = draw(st.sampled_from(list(places(value))))
    if not path:
        return draw(JUNK)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    how = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
    if how == "remove":
        del inner[path[-1]]
    elif how == "add" and isinstance(inner, dict):
        inner[draw(KEYS)] = draw(JUNK)
    else:
        inner[path[-1]] = draw(JUNK)
    return value


def right(name):
    field = Settings.model_fields.get(name)
    known = RIGHT.get(name) or ([field.get_default()] if field else ["10.5.0.1", 22, "root"])
    return st.sampled_from(known)


def wrong(name):
    return st.sampled_from(WRONG[name]) if name in WRONG else right(name)


@st.composite
def data(draw, wildness):
    """Settings; the wilder, the fewer are right."""
    names = draw(st.lists(st.sampled_from(NAMES), max_size=5, unique=True))
    found = {}
    for name in names:
        kind = draw(st.integers(0, 9))
        if kind < wildness:
            found[name] = draw(JUNK)
        elif kind < 2 * wildness or name in FREE and kind < 5:
            found[name] = draw(right(name).flatmap(nearly))
        elif kind < 2 * wildness + 1:
            found[name] = draw(wrong(name))
        else:
            found[name] = draw(right(name))
    if draw(st.integers(0, 9)) < wildness:
        found[str(draw(KEYS)) or "empty"] = draw(JUNK)
    return found


HOST_NAMES = st.sampled_from(
    ["a-1", "b-2", "c-3", "d-4", "10.0.0.9", "::9", "all", "@local", "ünï", "a b", "x/../y", "$h"]
) | st.text(min_size=1, max_size=8)


@st.composite
def inventories(draw, wildness=0):
    """Host -> groups and data, as `site_from_dicts` takes them."""
    everywhere = (copy.deepcopy(SECURE) if draw(st.booleans()) else {}) | draw(data(wildness))
    addresses = [f"10.0.0.{n}" for n in range(1, 9)] + ["2001:db8::1", "2001:db8::2"]
    if wildness:
        addresses += ["10.0.0.1", "[2001:db8::1]", "web.example.org", "localhost", "0.0.0.0", ""]
    hosts = {}
    names = draw(st.lists(HOST_NAMES, min_size=0 if wildness else 1, max_size=5, unique=True))
    for number, name in enumerate(names):
        known = NAMED + (["all", "x_own", "promethues", "", "@ssh"] if wildness else [])
        groups = draw(st.lists(st.sampled_from(known), min_size=not wildness, max_size=4))
        own = {"ssh_hostname": f"10.0.0.{number + 1}", "replica": f"r{number}"}
        if wildness and draw(st.booleans()):
            own["ssh_hostname"] = draw(st.sampled_from(addresses))
        own |= {"alertmanager_webhook_url": "secret:env:FUZZ_SECRET"}
        own |= {"attached_data_dir": "/srv/prometheus"}
        hosts[name] = {"groups": groups, "data": {**own, **everywhere, **draw(data(wildness))}}
        if not wildness:  # what would only make every site wrong in the same way
            hosts[name]["data"] |= {k: own[k] for k in ("ssh_hostname", "replica")}
            hosts[name]["data"].pop("service_address", None)
    return hosts


# --- What must hold -------------------------------------------------------------------------------

SAID_BY = (*Settings.model_fields, "secret:", "systemd", "architecture")
STATES = {
    "blank": BLANK,
    "used": look.parse((DATA / "look_debian12.txt").read_text().splitlines()),
    "odd": replace(BLANK, machine="riscv64", systemd=219, os="", memory=0, disk=0),
}
SURVEYED = survey.parse((DATA / "survey_deployed_debian12.txt").read_text().splitlines())
ROLES = [
    value
    for module in pkgutil.iter_modules(deploys.__path__)
    if not module.ispkg and module.name != "site"
    for value in vars(importlib.import_module(f"prometheus_ha.deploys.{module.name}")).values()
    if isinstance(value, Role)
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("FUZZ_SECRET", MARK)
    monkeypatch.setenv("FUZZ_KEY", PRIVATE_KEY)
    monkeypatch.setenv("FUZZ_HASH", PASSWORD_HASH)
    monkeypatch.delenv("FUZZ_MISSING", raising=False)


def site_of(hosts):
    """The site, or None where there are findings: which name a place and keep secrets."""
    try:
        site = site_from_dicts(hosts, check_secrets=True)
    except SettingsErrors as error:
        assert error.findings and str(error)
        texts = [str(error), repr(error), repr(error.findings)]
        site = None
        assert all(f.check and f.found and f.wanted for f in error.findings), error.findings
    else:
        texts = [*describe(site.findings), repr(site.findings)]
    assert not any(secret in text for text in texts for secret in (MARK, WRITTEN, PRIVATE)), texts
    for text in texts:
        text.encode()
    return site


def said(member, make):
    """What `make` gives; None where it gives a reason, which names the host or a setting."""
    try:
        return make()
    except (ValueError, FactProcessError) as error:
        assert type(error) in (ValueError, SecretError, FlagError), repr(error)
        text = str(error)
        assert MARK not in text and WRITTEN not in text
        assert member.name in text or any(word in text for word in SAID_BY), text
        return None


def render(site, member, state):
    """Everything that a run would make for a host which the look finds in this state."""
    for role in ROLES:
        if member.name not in [one.name for one in role.members(site)]:
            continue
        component = said(member, lambda role=role: role.component(site, member, state))
        if component is not None:
            change = compare(component, state)
            change.lines()
            for script in (
                *directories_script(component, change),
                stage_script(component, change),
                swap_script(component, change),
            ):
                script.encode()
                assert MARK not in script
        if role.gate:
            role.gate(site, member, member).script.encode()
            for other in role.members(site):
                role.gate(site, other, member).script.encode()
        if role.reloaded:
            role.reloaded(site, member).script.encode()
    checks.questions(site, member).encode()
    preflight.questions(site, member).encode()


def everything(site, state):
    for member in site.hosts.values():
        render(site, member, state)
    seen = {name: checks.Seen(state) for name in site.hosts}
    view = checks.View(site, seen)
    results = checks.judge(view)
    assert not [one for one in results if one.check == "verify"], results
    assert MARK not in "\n".join(checks.table(view, results))
    surveyed = {
        name: replace(SURVEYED, holders=[h for h in SURVEYED.holders if h.port in asked])
        for name, member in site.hosts.items()
        if (asked := preflight._ports(member)) is not None
    }
    view = preflight.View(site, surveyed, dict.fromkeys(site.hosts, state))
    assert MARK not in "\n".join(preflight.table(site, preflight.judge(view)))
    for member in site.members("prometheus"):
        capacity.questions(site, member).encode()
    found = {name: capacity.Seen(state) for name in site.hosts}
    lines = capacity.table(site, found, capacity.findings(site, found))
    assert MARK not in "\n".join(lines)


@pytest.mark.parametrize("reference", ["secret:file:\0", "secret:env:FUZZ_BYTES", "secret:file:" + "x" * 5000])
def test_a_secret_that_is_no_text(reference, monkeypatch):
    monkeypatch.setitem(os.environb, b"FUZZ_BYTES", b"\xff\xfe")
    with pytest.raises(SecretError):
        read_secret(reference)


def test_all_roles_are_under_test():
    assert {"base", "prometheus", "alertmanager", "querier"} <= {role.name for role in ROLES}


@fuzzed(inventories(wildness=2), st.sampled_from(list(STATES)))
def test_wild_inventories_give_a_site_or_findings(hosts, state):
    site = site_of(hosts)
    if site is not None:
        everything(site, STATES[state])


@fuzzed(inventories(), st.sampled_from(list(STATES)))
def test_of_a_site_there_are_files_or_a_reason(hosts, state):
    site = site_of(hosts)
    if site is not None:
        everything(site, STATES[state])


SHAPES = (None, True, 0, "x", "", [], {}, [None], ["x"], [["x"]], [{}], {"x": None}, {"x": ["x"]})
"""What stands where something else should."""
SHAPED = {
    "prometheus_config": {
        **RIGHT["prometheus_config"][0],
        "scrape_configs": [JOB, {"job_name": "b", "metric_relabel_configs": [{"regex": "x"}]}],
        "rule_files": ["x"],
        "remote_write": [
            {
                "name": "w",
                "url": "https://w.example.org",
                "protobuf_message": "io.prometheus.write.v2.Request",
                "write_relabel_configs": [
                    {
                        "source_labels": ["replica"],
                        "separator": ";",
                        "regex": "(.*)",
                        "replacement": "$1",
                        "target_label": "__replica__",
                        "action": "replace",
                    },
                    {"action": "labeldrop", "regex": "replica"},
                    {
                        "action": "hashmod",
                        "source_labels": ["a"],
                        "modulus": 2,
                        "target_label": "b",
                    },
                ],
                **SECRET,
            }
        ],
        "storage": {"tsdb": {"out_of_order_time_window": "0s", "retention": {"time": "1d"}}},
    },
    **{
        name: RIGHT[name][0]
        for name in (
            *("alertmanager_config", "prometheus_rules", "rule_rules", "rule_remote_write"),
            *("prometheus_targets", "store_index_cache", "frontend_cache"),
            *("prometheus_secret_files", "web_config", "web_client"),
        )
    },
    "bucket_config": RIGHT["bucket_config"][1],
}


@pytest.mark.parametrize("name", SHAPED)
def test_another_shape_at_any_place_is_a_finding_or_a_file(name):
    """What upstream would refuse is said, and is no traceback: `job_name: [a]`."""
    groups = {"a": ["prometheus"], "a2": ["prometheus"], "b": ["upper"], "c": ["alertmanager"]}
    groups["d"] = ["rule", "querier"]
    for number, path in enumerate(list(places(SHAPED[name]))[1:]):
        # Here as many as there is time for: a list, which is the key of no mapping, and the others in turns.
        tried = SHAPES if EXAMPLES > 40 else (["x"], SHAPES[number % len(SHAPES)])
        for shape in tried:
            value = copy.deepcopy(SHAPED[name])
            inner = value
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = copy.deepcopy(shape)
            hosts = {
                host: {
                    "groups": named,
                    "data": {
                        "ssh_hostname": f"10.0.0.{n}",
                        "replica": host,
                        "alertmanager_webhook_url": "secret:env:FUZZ_SECRET",
                        name: value,
                    },
                }
                for n, (host, named) in enumerate(groups.items(), 1)
            }
            try:
                site = site_from_dicts(hosts)
            except SettingsErrors as error:
                assert all(f.check and f.wanted for f in error.findings), (path, shape)
                continue
            one, _, upper, alerts, ruler = site.hosts.values()
            for make in (
                lambda one=one, site=site: configuration.prometheus_yml(site, one),
                lambda upper=upper, site=site: upper_role.upper_yml(site, upper),
                lambda alerts=alerts, site=site: alertmanager_role.alertmanager_yml(site, alerts),
                lambda one=one, site=site: prometheus_alerts.rules(site, one),
                lambda ruler=ruler: rule_role.ruler_files(ruler),
                lambda one=one, site=site: capacity.jobs(site, one),
            ):
                said(one, make)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [10**5000, "\ud800", *map(nested, (60, 100, 400, 900, 5000))],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", ["prometheus_config", "cluster", "ssh_hostname", "ssh_port", "x_own"])
def test_values_that_cannot_be_printed(name, value):
    hosts = {"a": {"groups": ["prometheus"], "data": {"ssh_hostname": "10.0.0.1", "replica": "r"}}}
    for wrong in (value, {"x": value}, {1, 2}, None):
        hosts["a"]["data"][name] = wrong
        site = site_of(hosts)
        if site is not None:
            everything(site, BLANK)


def written(value):
    """Whether a file of group data can say this."""
    try:
        ast.literal_eval(repr(value))
    except (ValueError, SyntaxError):
        return False
    return True


IN_A_FILE = st.sampled_from(list(Settings.model_fields)).flatmap(
    lambda name: st.tuples(st.just(name), st.one_of(right(name).flatmap(nearly), wrong(name), PLAIN).filter(written))
)


@settings(FUZZ, max_examples=max(EXAMPLES // 12, 1))
@given(st.lists(IN_A_FILE, max_size=3), st.sampled_from(list(STATES)))
def test_the_command_line_prints_no_traceback(tmp_path, monkeypatch, found, state):
    data = "".join(f"{name} = {value!r}\n" for name, value in found)
    states = dict.fromkeys(("prom-1", "am-2", "query-1"), STATES[state])
    limit = [word for name in states for word in ("--limit", name)]
    done = run_site(tmp_path, monkeypatch, *limit, data=data, states=states)
    assert done.rc in (0, 1)
    assert "Traceback" not in done.output and "xception" not in done.output, done.output
    assert MARK not in done.output and WRITTEN not in done.output
    assert done.rc == 1 or done.files["prom-1"]


def test_what_is_said_is_printed_and_not_run(tmp_path):
    said = f"a\x1b[2J\0\ud800\nEND\ntouch {tmp_path}/run\n"
    command = rollout.refuse(said)
    script = command.connector_arguments["_stdin"]
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert done.stderr.splitlines() == [
        r"a\x1b[2J\x00\ud800",
        "END ",
        f"touch {tmp_path}/run",
    ]
    finding = Finding("h\ud800", "key\n", "\x1b]0;", "text")
    assert describe([finding]) == [r"h\ud800: key\n: found \x1b]0;; expected: text"]
    view = checks.View(SITE, {"prometheus-1": checks.Seen(BLANK)})
    wrong = Finding("prometheus-1", "unit", "reports release \nEND\n", "3.15.0", "none")
    assert all(line.isprintable() for line in checks.table(view, [wrong]))


def test_an_answer_that_is_not_understood_is_no_progress():
    host = SimpleNamespace(get_fact=lambda fact, **_: ["no time", "==[name]== metrics"])
    gate = rollout.Gate("", lambda lines: rollout.Progress(float(lines[0]) > 0, "x"))
    assert not rollout.see(host, gate).ok and "no time" in rollout.see(host, gate).says
    cut = split(["==[name]== ready", "OK", "==[status]== "])["ready"]
    assert not cut.ok and cut.problem
    assert metrics("a 1.2.3\nb 00ff\nc 2") == [Sample("c", {}, 2.0)]


# --- What hosts answer ----------------------------------------------------------------------------

ANSWERS = {path.name: path.read_text().splitlines() for path in sorted(DATA.glob("*_*.txt"))}


PARSERS = (
    *(look.parse, survey.parse, timesync.parse, listeners.parse, prometheus.parse),
    *(
        prometheus.parse_attached,
        alertmanager.parse,
        thanos.parse_querier,
        thanos.parse_sidecar,
        kernel.parse,
    ),
)


@st.composite
def answers(draw):
    """Recorded answers of a daemon with some lines gone, other or cut, and their JSON changed."""
    lines = list(draw(st.sampled_from([ANSWERS[n] for n in ANSWERS])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(lines) - 1, 0)))
        if not lines:
            break
        how = draw(st.sampled_from(["gone", "other", "cut", "json", "json", "json"]))
        if how == "gone":
            del lines[at]
        elif how == "other":
            lines[at] = draw(TEXTS | st.sampled_from(["==[status]== 200", "==[name]== ready"]))
        elif how == "cut":
            lines[at] = lines[at][: draw(st.integers(0, 60))]
        else:
            bodies = [n for n, line in enumerate(lines) if line.startswith(("{", "["))]
            if bodies:
                at = draw(st.sampled_from(bodies))
                try:
                    body = draw(nearly(json.loads(lines[at])))
                    lines[at] = json.dumps(body)
                except (TypeError, ValueError):  # cut before, or no JSON
                    lines[at] = draw(TEXTS)
    return lines


SITE = site_from_dicts(
    {
        f"{group}-{n}": {
            "groups": [group],
            "data": {
                "ssh_hostname": f"10.0.{n}.{number}",
                "replica": str(n),
                "alertmanager_webhook_url": "secret:env:FUZZ_SECRET",
                "receive_replication": 2,
                "attached_data_dir": "/srv/prometheus",
                "bucket_config": {"type": "S3", "config": {"bucket": "b", "endpoint": "e"}},
                "bucket_keys": {
                    name: {
                        "access_key": f"secret:env:{name}",
                        "secret_key": "secret:env:FUZZ_SECRET",
                    }
                    for name in (*bucket.RIGHTS, bucket.ADMIN)
                },
            },
        }
        for number, group in enumerate(NAMED, 1)
        for n in (1, 2)
        if (group, n) != ("compactor", 2)  # one for a bucket
    }
)


@fuzzed(answers(), st.booleans())
def test_gates_and_verify_understand_or_say_that_they_do_not(lines, dated):
    lines = (["1700000000.5"] if dated else []) + lines
    for role in ROLES:
        for one in role.members(SITE)[:1]:
            gates = [role.gate(SITE, one, one)] if role.gate else []
            gates += [role.reloaded(SITE, one)] if role.reloaded else []
            for gate in gates:
                host = SimpleNamespace(get_fact=lambda fact, **_: lines)
                progress = rollout.see(host, gate)
                assert progress.says and progress.ok in (True, False)
    table = capacity.table(SITE, {"prometheus-1": capacity.Seen(BLANK, capacity.read(lines))}, [])
    assert table
    for parse in PARSERS:
        try:
            parse(lines)
        except FactProcessError as error:
            assert str(error)
    seen = {}
    for name, member in SITE.hosts.items():
        text = [line for part in member.components for line in (f"=== {part}", *lines)]
        seen[name] = checks.read(member, BLANK, text)
    view = checks.View(SITE, seen)
    checks.table(view, checks.judge(view))


def test_a_connection_is_checked_also_where_the_services_have_their_own_address():
    data = {"ssh_hostname": ["10.0.0.1"], "service_address": "10.0.0.1"}
    with pytest.raises(SettingsErrors, match="a: ssh_hostname: found a list"):
        site_from_dicts({"a": {"groups": ["node_exporter"], "data": data}})
