"""TLS and passwords come and go host by host, are enforced on every port, and are replaced without a restart.

Last of the drills, by its name: each goes on with what the one before it left, and so may the suites that follow.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import bcrypt
import pytest
import requests
from cryptography import x509

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.deploys.lib.site.members import Member, Site
from tests.drills.probe import Probe
from tests.drills.runbooks import COMMANDS
from tests.drills.site import (
    HTTP_SECONDS,
    Run,
    alerts,
    ask,
    get,
    healthy,
    load,
    moved,
    on_all,
    run_site,
    shell,
    spoken,
    units,
    wait_for,
)
from tests.lab import keys, plan

TLS, PLAIN = {"WEB": "tls"}, {"WEB": ""}
WEB = "deploys/web.py"


@pytest.fixture(scope="module")
def tls() -> Site:
    return load(TLS)


@pytest.fixture(scope="module")
def plain() -> Site:
    return load(PLAIN)


@pytest.fixture
def with_tls(site: Site, tls: Site) -> None:
    """The site speaks TLS, as it does already after the first drill."""
    if spoken() != TLS:
        assert run_site(env=TLS).status == 0
    wait_for("the site to be healthy", lambda: healthy(tls), 60)


def speaks_tls(site: Site) -> bool:
    """Whether the inventory, as the drills were called, has TLS."""
    return site.endpoint("prometheus", site.running("prometheus")[0]).scheme == "https"


def ports(site: Site) -> list[tuple[Member, str, str]]:
    """Every HTTP port of the site that takes a web configuration: its member, component, and a URL that answers 200."""
    return [
        (member, name, site.endpoint(name, member).url + DAEMONS[name].ready_path)
        for member in site.hosts.values()
        for name in member.components
        if DAEMONS[name].web
    ]


def switched(env: dict[str, str], before: Site, after: Site) -> None:
    """Go from one site to the other, while somebody asks."""
    wait_for("the site to be healthy", lambda: healthy(before), 60)
    with Probe(after, before) as probe:
        run = run_site(env=env)
    assert run.status == 0, str(run)
    assert probe.down_together() == []
    probe.assert_never_blind()
    wait_for("the site to be healthy", lambda: healthy(after), 60)
    again = run_site(env=env)
    assert not again.changed, f"the switch left something to be done: {again}"
    for _, _, url in ports(after):
        assert ask(url).ok, url


def off(tls: Site, plain: Site) -> None:
    switched(PLAIN, tls, plain)
    for host, member in plain.hosts.items():
        left = shell(host, f"ls {topology.WEB_DIR}/web*.yml 2>/dev/null; true").split()
        wanted = web.config_file(member.settings)
        assert left == ([wanted] if wanted else []), f"{host}: files that nothing reads any more"


def test_tls_is_switched_on_while_queries_go_on(site: Site, plain: Site, tls: Site) -> None:
    if speaks_tls(site):
        off(tls, plain)
    switched(TLS, plain, tls)


@pytest.mark.usefixtures("with_tls")
def test_every_port_asks_for_it(tls: Site, tmp_path: Path) -> None:
    other_ca = tmp_path / "ca.crt"
    other_ca.write_text(keys.make_ca("another")[1])
    asked = ports(tls)
    without = {name for m in tls.hosts.values() for name in m.components} - {n for _, n, _ in asked}
    assert without == {"seaweedfs"}
    for member, name, url in asked:
        who = f"{name} on {member.name}"
        assert ask(url).status_code == 200, who
        assert ask(url, auth=None).status_code == 401, who
        assert ask(url, auth=("site", "wrong")).status_code == 401, who
        assert ask(url.replace("https:", "http:", 1)).status_code == 400, who
        with pytest.raises(requests.exceptions.SSLError):
            ask(url, verify=str(other_ca))
        with pytest.raises(requests.exceptions.SSLError):  # nor is a CA of the system's known there
            ask(url, verify=True)


@pytest.mark.usefixtures("with_tls")
def test_nobody_but_root_and_the_daemons_reads_the_files() -> None:
    def open_to_others(host: str) -> str:
        find = f"find {topology.WEB_DIR}"
        return shell(host, f"{find} -perm /007; {find} ! -user root; {find} -name 'curl*' -perm /077")

    assert set(on_all(open_to_others).values()) == {""}


@pytest.mark.usefixtures("with_tls")
def test_a_new_certificate_needs_no_restart_and_one_that_ends_soon_is_told_of(tls: Site) -> None:
    before = units()
    old = {host: keys.tls_file(plan.LAB, f"{host}.pem").read_text() for host in tls.hosts}
    ends, name = "query-1", "CertificateFileExpires"
    new = {host: keys.certificate_of(plan.LAB, host, days=10 if host == ends else 365) for host in tls.hosts}
    (look,) = (command.line for command in COMMANDS if command.section == name and command.kind == "shell")
    try:
        run = _served(tls, new)
        assert run.changed == {"web": sorted(tls.hosts)}, str(run)
        member = tls.running("alertmanager")[0]
        told = wait_for("the alert", lambda: [alert["labels"]["host"] for alert in alerts(tls, member, name)], 60)
        assert told == [ends]
        date = x509.load_pem_x509_certificate(new[ends].encode()).not_valid_after_utc
        assert f"notAfter={date:%b %e %T %Y}" in shell(ends, look)
    finally:
        _served(tls, old)
    assert moved(before) == set()


def _served(site: Site, certificates: dict[str, str]) -> Run:
    """The certificates are put where the deploy finds them, and are served on every port after it."""
    for host, text in certificates.items():
        keys.tls_file(plan.LAB, f"{host}.pem").write_text(text)
    run = run_site(env=TLS, deploy=WEB)
    assert run.status == 0, str(run)
    for member, name, _ in ports(site):
        endpoint = site.endpoint(name, member)
        served = ssl.get_server_certificate((endpoint.address, endpoint.port), timeout=HTTP_SECONDS)
        assert served.strip() in certificates[member.name], f"{name} on {member.name}"
    return run


@pytest.mark.usefixtures("with_tls")
def test_a_password_that_does_not_fit_is_refused_before_any_connection(tls: Site) -> None:
    client = next(iter(tls.hosts.values())).settings.web_client
    wrong = {"basic_auth": {"username": "site", "password": "secret:env:DRILL_PASSWORD"}}
    run = run_site(env={**TLS, "DRILL_PASSWORD": "hunter2-hunter2"}, data={"web_client": client | wrong})
    assert run.status != 0
    assert "found another password than the hash of site" in run.log, str(run)
    assert "Connected" not in run.log and "hunter2" not in run.log, str(run)


@pytest.mark.long
@pytest.mark.usefixtures("with_tls")
def test_a_password_is_replaced_while_queries_go_on(tls: Site) -> None:
    """Another user beside the old one, then our own clients go over to it, then the old one leaves; and back."""
    settings = next(iter(tls.hosts.values())).settings
    users: dict[str, str] = {}  # on all hosts, also those that one host alone has
    for member in tls.hosts.values():
        users |= member.settings.web_config["basic_auth_users"]
    hashed = bcrypt.hashpw(b"drill-password", bcrypt.gensalt(8)).decode()
    both = {"web_config": settings.web_config | {"basic_auth_users": {**users, "next": hashed}}}
    user = {"username": "next", "password": "secret:env:DRILL_PASSWORD"}
    other = both | {"web_client": settings.web_client | {"basic_auth": user}}
    without = {**users, "next": hashed}
    del without["site"]
    alone = other | {"web_config": settings.web_config | {"basic_auth_users": without}}
    environment = {**TLS, "DRILL_PASSWORD": "drill-password"}
    before = units()
    # Whoever has the password in a file that is read at the start alone.
    clients = {(m.name, c) for c in ("thanos-sidecar", "thanos-rule") for m in tls.running(c)}

    def step(data: dict, restarts: set) -> None:
        running = units()
        run = run_site(env=environment, data=data)
        assert run.status == 0, str(run)
        assert moved(running) == restarts

    with Probe(tls) as probe:
        step(both, set())
        step(other, clients)
    probe.assert_never_blind()
    step(alone, set())
    for _, _, url in ports(tls):
        assert ask(url, auth=("next", "drill-password")).ok, url
        assert ask(url).status_code == 401, url
    step(other, set())
    with Probe(tls) as probe:
        step(both, clients)
        step({}, set())
    probe.assert_never_blind()
    assert moved(before) == clients


def test_scrapes_and_alerts_work_with_it(tls: Site, with_tls: None) -> None:
    for member in tls.running("prometheus"):
        url = tls.endpoint("prometheus", member).url

        def all_up(url: str = url) -> bool:
            targets = get(f"{url}/api/v1/targets")["data"]["activeTargets"]
            assert {target["health"] for target in targets} == {"up"}
            plain = {t["scrapePool"] for t in targets if not t["scrapeUrl"].startswith("https:")}
            assert plain == {DAEMONS["seaweedfs"].job_name}
            return True

        def all_known(url: str = url) -> bool:
            found = get(f"{url}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
            assert all(one["url"].startswith("https:") for one in found)
            return len(found) == len(tls.running("alertmanager"))

        wait_for("all targets to be scraped", all_up, 30)
        wait_for("all Alertmanagers to be known by their new URLs", all_known)


def test_tls_is_switched_off_while_queries_go_on(plain: Site, tls: Site, with_tls: None) -> None:
    off(tls, plain)
