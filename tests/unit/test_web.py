"""TLS and passwords: what is refused before connecting, and that servers and clients say the same."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import subprocess
import tempfile
from pathlib import Path

import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from example_site import example_site

from prometheus_ha.deploys import web as web_deploy
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.engine import ask, flags, units
from prometheus_ha.deploys.lib.engine.component import Change, Component, compare, swap_script
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.facts.http import Call, split
from prometheus_ha.facts.reports.look import Path as Seen
from prometheus_ha.facts.reports.look import Process, State

HASH = bcrypt.hashpw(b"correct", bcrypt.gensalt(4)).decode()
TLS = {"cert_file": "host.pem", "key_file": "host.pem"}
CLIENT = {
    "tls_config": {"ca_file": "ca.crt"},
    "basic_auth": {"username": "site", "password": "secret:env:SITE_PASSWORD"},
}
FILES = {"ca.crt": "secret:env:SITE_CA", "host.pem": "secret:env:SITE_PEM_{host}"}
WEB = {
    "web_config": {"tls_server_config": TLS, "basic_auth_users": {"site": HASH}},
    "web_files": FILES,
    "web_client": CLIENT,
}
ADDRESSES = {"prom-1": "10.0.0.11", "prom-2": "10.0.0.12", "am-1": "10.0.0.21"}


def inventory(**data) -> dict:
    """Two Prometheus and an Alertmanager with `data`."""
    own = {"prom-1": {"replica": "a"}, "prom-2": {"replica": "b"}}
    return {
        name: {
            "groups": ["alertmanager" if name == "am-1" else "prometheus"],
            "data": {
                "service_address": address,
                "alertmanager_webhook_url": "secret:env:SITE_PASSWORD",
                **own.get(name, {}),
                **data,
            },
        }
        for name, address in ADDRESSES.items()
    }


def refused(check_secrets=False, **data) -> str:
    """What is said of the site with `data`; empty where it can be deployed."""
    try:
        site_from_dicts(inventory(**data), check_secrets=check_secrets)
    except SettingsErrors as errors:
        return str(errors)
    return ""


def changed(path: str, value) -> dict:
    """`WEB` with another value at a dotted path; None takes the key away."""
    data = {key: dict(part) for key, part in WEB.items()}
    *parents, last = path.split(".")
    place = data
    for name in parents:
        place[name] = dict(place[name])
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return data


# --- Refused before connecting --------------------------------------------------------------------


def test_a_sound_one_is_accepted():
    assert refused(**WEB) == ""


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("web_config.tls_config", {}, "(did you mean tls_server_config?)"),
        ("web_config.tls_server_config.cert_fil", "host.pem", "did you mean cert_file?"),
        ("web_config.tls_server_config.cert", "x", "an unknown key"),
        ("web_config.tls_server_config.key_file", None, "key_file: found nothing"),
        ("web_config.tls_server_config.cert_file", "gone.pem", "a name in web_files"),
        ("web_config.tls_server_config.client_auth_type", "Always", "RequireAndVerifyClientCert"),
        ("web_config.tls_server_config.client_auth_type", "RequireAndVerifyClientCert", "neither"),
        ("web_config.tls_server_config.client_auth_type", "RequireAnyClientCert", "cert_file"),
        ("web_config.basic_auth_users", {"site": "correct"}, "no bcrypt hash (not shown)"),
        ("web_config.basic_auth_users", {"other": HASH}, "basic_auth_users: other"),
        ("web_config.basic_auth_users", [], "basic_auth_users is a mapping"),
        ("web_config.tls_server_config.cert_file", ["x"], "cert_file is text"),
        ("web_config.tls_server_config.key_file", 1, "key_file: found a int; expected: text"),
        ("web_config.http_server_config", {"http2": "no"}, "expected: true or false"),
        ("web_client.basic_auth.password", 12345, "password: found a int; expected: text"),
        ("web_client.tls_config.server_name", 12345, "server_name: found a int; expected: text"),
        ("web_client.basic_auth", None, "username: found nothing"),
        ("web_client.basic_auth.password", None, "username, password"),
        ("web_client.basic_auth.password", "correct", "a literal secret (not shown)"),
        ("web_client.tls_config", None, "nothing, while web_config has TLS"),
        ("web_client.tls_config.ca_file", "gone.crt", "a name in web_files"),
        ("web_client.tls_config.cert_file", "host.pem", "both cert_file and key_file"),
        ("web_client.bearer_token", {}, "basic_auth, tls_config"),
        ("web_files.host.key", "-----BEGIN PRIVATE KEY-----", "a literal private key (not shown)"),
    ],
)
def test_what_cannot_work_is_refused(path, value, said):
    if path.startswith("web_files"):
        data = WEB | {"web_files": FILES | {path.removeprefix("web_files."): value}}
    else:
        data = changed(path, value)
    assert said in refused(**data)
    assert "correct" not in refused(**data)


def test_keys_that_a_release_does_not_know():
    limited = WEB | {"web_config": WEB["web_config"] | {"rate_limit": {"interval": "1s"}}}
    assert refused(**limited) == ""
    said = refused(**limited, release="reference", versions={"thanos": "0.32.2"})
    assert "a key that prometheus 2.45.0 does not know; expected: prometheus 3.8.0" in said
    assert "a key that alertmanager 0.26.0 does not know" in said


def test_clients_are_one_for_the_whole_site():
    hosts = inventory(**WEB)
    hosts["am-1"]["data"]["web_client"] = CLIENT | {"tls_config": {"insecure_skip_verify": True}}
    with pytest.raises(SettingsErrors, match="am-1: web_client: found another than on prom-1"):
        site_from_dicts(hosts)


# --- With the secrets at hand ---------------------------------------------------------------------


def certificate(key, issuer=None, addresses=(), days=90) -> x509.Certificate:
    """A CA's certificate, or with `issuer` (certificate, key) one for `addresses`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "host" if issuer else "CA")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0].subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=200))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    if addresses:
        names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256())


def pem(*parts) -> str:
    text = ""
    for part in parts:
        if isinstance(part, x509.Certificate):
            text += part.public_bytes(serialization.Encoding.PEM).decode()
        else:
            text += part.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode()
    return text


@pytest.fixture
def ca():
    key = ec.generate_private_key(ec.SECP256R1())
    return certificate(key), key


@pytest.fixture
def secrets(monkeypatch, ca):
    """The environment that WEB refers to, sound; a function that replaces prom-1's file."""
    monkeypatch.setenv("SITE_PASSWORD", "correct")
    monkeypatch.setenv("SITE_CA", pem(ca[0]))
    for name, address in ADDRESSES.items():
        key = ec.generate_private_key(ec.SECP256R1())
        monkeypatch.setenv(f"SITE_PEM_{name}", pem(certificate(key, ca, [address]), key))
    return monkeypatch


def test_sound_secrets_are_accepted(secrets):
    assert refused(True, **WEB) == ""


def test_the_wrong_password_is_found_before_connecting(secrets):
    secrets.setenv("SITE_PASSWORD", "hunter2hunter2")
    said = refused(True, **WEB)
    assert "web_client.basic_auth.password: found another password than the hash of site" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("addresses", "days", "other_key", "other_ca", "said"),
    [
        (["10.0.0.99"], 90, False, False, "subject alternative names hold 10.0.0.11"),
        (["10.0.0.11"], -1, False, False, "a certificate in force until"),
        (["10.0.0.11"], 90, True, False, "found another key"),
        (["10.0.0.11"], 90, False, True, "a certificate of another CA"),
        (["10.0.0.11"], 90, False, False, ""),
    ],
)
def test_a_certificate_that_clients_would_refuse(secrets, ca, addresses, days, other_key, other_ca, said):
    key, another = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = (certificate(another), another) if other_ca else ca
    leaf = certificate(key, issuer, addresses, days)
    secrets.setenv("SITE_PEM_prom-1", pem(leaf, another if other_key else key))
    found = refused(True, **WEB)
    assert said in found
    assert bool(said) == bool(found)
    assert "prom-2" not in found


def test_a_certificate_by_way_of_an_intermediate_one(secrets, ca):
    middle_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    middle = certificate(middle_key, ca)
    leaf = certificate(key, (middle, middle_key), ["10.0.0.11"])
    secrets.setenv("SITE_PEM_prom-1", pem(leaf, middle, key))
    # Its subject is "host", as that of the leaf: issuers are told by signature.
    assert refused(True, **WEB) == ""
    secrets.setenv("SITE_PEM_prom-1", pem(leaf, key))
    assert "a certificate of another CA" in refused(True, **WEB)


def test_text_that_is_no_certificate_is_not_shown(secrets):
    secrets.setenv("SITE_PEM_prom-1", "hunter2hunter2")
    said = refused(True, **WEB)
    assert "cannot be read" in said
    assert "hunter2" not in said


# --- Rendered -------------------------------------------------------------------------------------


def with_web(*names: str, **data) -> Site:
    """The example site, with WEB on some hosts (on all where none is named)."""
    on, off = example_site(**{**WEB, **data}), example_site(web_files=FILES, web_client=CLIENT)
    return Site({n: (on if not names or n in names else off).hosts[n] for n in on.hosts})


def test_every_host_name_takes_its_own_secret():
    site = site_from_dicts(inventory(**WEB))
    assert site.hosts["prom-2"].settings.web_files["host.pem"] == "secret:env:SITE_PEM_prom-2"


def test_one_scheme_for_everything():
    site = with_web()
    prom = site.hosts["prom-1"]
    assert site.endpoint("prometheus", prom).url == "https://10.0.0.11:9090"
    # The certificate names the service address, not the loopback.
    assert site.local("prometheus", prom).url == "https://10.0.0.11:9090"
    assert site.endpoint("thanos-sidecar", prom, "grpc").scheme == "http"
    words = flags.argv("thanos-sidecar", site, prom, State(systemd=252))
    assert "--prometheus.url=https://10.0.0.11:9090" in words
    assert "--prometheus.http-client-file=/etc/prometheus/sidecar_client.yml" in words
    assert "--http.config=/etc/monitoring/web-tls-password.yml" in words


def test_the_name_of_the_file_says_what_clients_must_know():
    def name(**web_config) -> str | None:
        return web.config_file(example_site(web_config=web_config).hosts["am-1"].settings)

    asked = TLS | {"client_auth_type": "RequireAnyClientCert"}
    assert name() is None
    assert name(tls_server_config=TLS) == "/etc/monitoring/web-tls.yml"
    assert name(basic_auth_users={"a": HASH}) == "/etc/monitoring/web-password.yml"
    assert name(tls_server_config=asked) == "/etc/monitoring/web-tls-certificate.yml"


def test_what_only_a_start_reads_makes_another_unit():
    def text(**more) -> str:
        site = with_web(web_config=WEB["web_config"] | more)
        return units.unit("alertmanager", site, site.hosts["am-1"], State(systemd=252)).text

    plain = text()
    assert text(http_server_config={"headers": {"X-Frame-Options": "deny"}}) == plain
    assert "# Of its web configuration it reads at its start alone: http2 False" in text(
        http_server_config={"http2": False}
    )
    assert text(rate_limit={"interval": "1s", "burst": 9}) != plain


def test_the_sidecar_starts_again_for_other_credentials():
    site = with_web()
    rendered = units.unit("thanos-sidecar", site, site.hosts["prom-1"], State(systemd=252))
    assert "/etc/prometheus/sidecar_client.yml" in rendered.restart_paths
    plain = example_site()
    rendered = units.unit("thanos-sidecar", plain, plain.hosts["prom-1"], State(systemd=252))
    assert rendered.restart_paths == ("/etc/prometheus/bucket_config.yaml",)


def jobs(site: Site) -> dict:
    made = configuration.prometheus_yml(site, site.hosts["prom-1"])
    return {job["job_name"]: job for job in made["scrape_configs"]} | {"": made["alerting"]}


def test_scrapes_and_alerts_ask_as_they_are_asked_to():
    made = jobs(with_web())
    without = {info.job_name for info in DAEMONS.values() if not info.web}
    for name, job in made.items():
        if name in without:
            assert not {"scheme", "basic_auth", "tls_config"} & set(job)
        elif name:
            assert job["scheme"] == "https", name
            assert job["basic_auth"] == CLIENT["basic_auth"]
            assert job["tls_config"] == {"ca_file": "/etc/monitoring/ca.crt"}
    (entry,) = made[""]["alertmanagers"]
    assert entry["scheme"] == "https"
    assert len(entry["static_configs"][0]["targets"]) == 3


def test_hosts_that_differ():
    made = jobs(with_web("am-2", "prom-1"))
    assert "basic_auth" not in made["thanos-query"]
    assert "scheme" not in made["thanos-query"]
    guarded, plain = made["prometheus"], made["prometheus-http"]
    assert guarded["scheme"] == "https"
    assert [one["labels"]["host"] for one in guarded["static_configs"]] == ["prom-1"]
    # A password goes to nobody who does not ask for it, and the series are of one job all the same.
    assert "scheme" not in plain and "basic_auth" not in plain
    assert [one["labels"]["host"] for one in plain["static_configs"]] == ["prom-2"]
    assert plain["relabel_configs"] == [{"target_label": "job", "replacement": "prometheus"}]
    plain, guarded = made[""]["alertmanagers"]
    assert "basic_auth" not in plain
    assert plain["static_configs"] == [{"targets": ["10.0.0.21:9093", "10.0.0.23:9093"]}]
    assert guarded["basic_auth"] == CLIENT["basic_auth"]
    assert guarded["static_configs"] == [{"targets": ["10.0.0.22:9093"]}]


def test_a_plain_site_asks_as_ever():
    site = example_site(web_client=CLIENT, web_files=FILES)
    assert "basic_auth" not in str(configuration.prometheus_yml(site, site.hosts["prom-1"]))
    assert configuration.sidecar_client_yml(site, site.hosts["prom-1"]) == {}
    assert "curl-" not in ask.script(site, site.hosts["am-1"], "alertmanager", [Call("a", "/")])


# --- On a host ----------------------------------------------------------------------------------


def on_host(site: Site, argv: tuple[str, ...], ours: set[str]) -> tuple[Component, Change]:
    """What the web step wants on am-1, and does there, while a process runs with `argv`."""
    found = State(machine="x86_64", manifests={"web": ours})
    found.processes["alertmanager"] = Process(1, "/opt/a", argv)
    found.paths = {name: Seen("f", "640", "root", "prometheus", sha256="x") for name in ours}
    component = web_deploy.component(site, site.hosts["am-1"], found)
    return component, compare(component, found)


def test_files_with_their_modes(secrets):
    secrets.setenv("SITE_PEM_{host}", "key")  # what an inventory would replace
    component, change = on_host(with_web(), (), set())
    modes = {name: (file.mode, file.group) for name, file in component.files.items()}
    assert modes == {
        "/etc/monitoring/ca.crt": ("640", "prometheus"),
        "/etc/monitoring/host.pem": ("640", "prometheus"),
        "/etc/monitoring/web-tls-password.yml": ("640", "prometheus"),
        "/etc/monitoring/curl-tls.conf": ("600", "root"),
        "/etc/monitoring/curl-user.conf": ("600", "root"),
    }
    assert not change.due


def test_what_a_running_daemon_reads_stays_until_its_turn():
    old = {"/etc/monitoring/web-tls.yml", "/etc/monitoring/host.pem"}
    running = ("alertmanager", "--web.config.file=/etc/monitoring/web-tls.yml")
    component, change = on_host(example_site(), running, old)
    assert (change.purge, change.manifest, change.foreign) == ([], False, [])
    component, change = on_host(example_site(), ("alertmanager",), old)
    assert change.purge == sorted(old)
    script = swap_script(component, change)
    assert "rm -f /etc/monitoring/manifest" not in script
    assert "rm -f /etc/monitoring/host.pem" in script


def test_a_host_without_any_of_it_is_left_alone():
    component, change = on_host(example_site(), ("alertmanager",), set())
    assert not component.files
    assert not component.directories
    assert not change


# --- Asked by curl --------------------------------------------------------------------------------


def test_no_password_in_a_script():
    site = with_web()
    text = ask.script(site, site.hosts["am-1"], "alertmanager", [Call("a", "/")], either=True)
    assert "--config /etc/monitoring/curl-tls.conf --config /etc/monitoring/curl-user.conf" in text
    assert "secret:" not in text


def test_options_of_curl(tmp_path, monkeypatch):
    monkeypatch.setenv("SITE_PASSWORD", 'qu"ote\\')
    files = web.curl_files(resolve(CLIENT | {"tls_config": {"ca_file": "ca.crt", "server_name": "x"}}))
    assert files[web.CURL_TLS] == 'cacert = "/etc/monitoring/ca.crt"\n'
    (tmp_path / "user.conf").write_text(files[web.CURL_USER] + 'url = "file:///dev/null"\n')
    said = subprocess.run(
        ["curl", "-q", "-w", "%{http_code}", "--config", tmp_path / "user.conf"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "000"
    assert files[web.CURL_USER] == 'user = "site:qu\\"ote\\\\"\n'


def test_a_name_of_the_certificate_for_all_hosts():
    client = CLIENT | {"tls_config": {"ca_file": "ca.crt", "server_name": "monitoring.example"}}
    site = with_web(web_client=client)
    text = ask.script(site, site.hosts["am-1"], "alertmanager", [Call("a", "/x")])
    assert "https://monitoring.example:9093/x" in text
    assert "--connect-to ::10.0.0.21:9093" in text


def run(text: str, answers: dict[str, str]) -> dict:
    """The answers of a script, with a curl that answers by scheme."""
    cases = "".join(f"*{scheme}://*) {answer};;\n" for scheme, answer in answers.items())
    with tempfile.TemporaryDirectory() as directory:
        fake = Path(directory, "curl")
        fake.write_text(f"#!/bin/sh\ncase $* in\n{cases}esac\n")
        fake.chmod(0o755)
        path = f"{directory}:{os.environ['PATH']}"
        done = subprocess.run(["sh"], input=text, capture_output=True, text=True, check=True, env={"PATH": path})
    return split(done.stdout.splitlines())


OK = "printf 'hello\\n==[status]== 200\\n'"
NO_TLS = "echo 'curl: (35) wrong version number'; exit 35"
NO_PLAIN = "printf 'Client sent an HTTP request to an HTTPS server.\\n==[status]== 400\\n'"
DOWN = "echo 'curl: (7) refused'; exit 7"


def asked(member: Member, site: Site, **options) -> str:
    return ask.script(site, member, "alertmanager", [Call("ready", "/-/ready")], **options)


def test_a_host_whose_turn_has_not_come_is_asked_as_it_speaks():
    tls = with_web()
    am = tls.hosts["am-1"]
    text = asked(am, tls, either=True)
    assert run(text, {"https": NO_TLS, "http": OK})["ready"].ok
    assert run(text, {"https": OK, "http": NO_PLAIN})["ready"].ok
    assert not run(text, {"https": DOWN, "http": OK})["ready"].ok
    # Its own gate is strict: a start that did not bring TLS is none.
    assert not run(asked(am, tls), {"https": NO_TLS, "http": OK})["ready"].ok
    plain = re.search(r".*-w .*\n(.*\n)*.*http://10.0.0.21", text)[0].split("case $answers")[1]
    assert "--config" not in plain


def test_a_host_that_still_speaks_tls_after_it_was_switched_off():
    back = example_site()
    text = asked(back.hosts["am-1"], back, either=True)
    assert run(text, {"https": OK, "http": NO_PLAIN})["ready"].ok
    assert run(text, {"https": NO_TLS, "http": OK})["ready"].ok
