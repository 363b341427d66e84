"""What the package renders for example sites, as texts: what a change that moves code must leave as it is.

.venv/bin/python -m tests.unit.golden DIRECTORY    # writes them, to be compared with those of another commit
.venv/bin/python -m tests.unit.golden --record     # takes them for right: the commit says why they changed
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import pyinfra_cli  # noqa: F401  first: it patches gevent in
import pytest

from prometheus_ha.deploys.lib import PACKAGE, roles
from prometheus_ha.deploys.lib.common import bucket, promql
from prometheus_ha.deploys.lib.common.look_script import default_script
from prometheus_ha.deploys.lib.engine.component import Component, compare, stage_script, swap_script
from prometheus_ha.deploys.lib.ground.lock import LOCK
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.releases import RELEASES
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey import checks, preflight
from prometheus_ha.facts.reports.look import State
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK, run_site

for _path in sorted(Path(PACKAGE, "deploys").glob("*.py")):
    if "Role(" in _path.read_text():  # those of every host
        import_module(f"prometheus_ha.deploys.{_path.stem}")
assert roles

RECORD = Path(__file__).parent / "data/golden.txt"
KEYS = {name: f"KEY_{number}" for number, name in enumerate((bucket.ADMIN, *bucket.RIGHTS))}
SECRETS = {
    name: f"hunter2hunter2-{name}"
    for name in ("GOLDEN", "S3_ACCESS_KEY", "S3_SECRET_KEY", "WEBHOOK_URL", "BOT_URL", "BOT_SIGN", *KEYS.values())
}
"""Variables of the environment that hold a secret."""
SECRET = "secret:env:GOLDEN"
WEB = {
    "web_config": {
        "tls_server_config": {"cert_file": "host.pem", "key_file": "host.pem"},
        "basic_auth_users": {"site": "$2y$10$" + "a" * 53},
    },
    "web_files": {"host.pem": SECRET, "ca.crt": SECRET},
    "web_client": {
        "basic_auth": {"username": "site", "password": SECRET},
        "tls_config": {"ca_file": "ca.crt"},
    },
}
"""TLS and a password on every HTTP port."""
FULL = {
    "alertmanager_webhook_url": SECRET,
    "deadman_url": SECRET,
    "alertmanager_templates": {"own.tmpl": '{{ define "own" }}{{ end }}'},
    "alertmanager_secret_files": {"token": SECRET},
    "prometheus_rules": {"own.yml": {"groups": [{"name": "own", "rules": [{"record": "a:b", "expr": "sum(up)"}]}]}},
    "prometheus_targets": {"app": [{"targets": ["10.9.0.1:8080"], "labels": {"team": "a"}}]},
    "prometheus_secret_files": {"password": SECRET},
    "prometheus_config": {"remote_write": [{"url": "http://10.9.0.2/write"}]},
    "rule_rules": {"own.yml": {"groups": [{"name": "own", "interval": "1m", "rules": []}]}},
    "rule_secret_files": {"token": SECRET},
    "frontend_cache": {"type": "IN-MEMORY", "config": {"max_size": "64MB"}},
    "store_index_cache": {"type": "IN-MEMORY", "config": {"max_size": "64MB"}},
    "federation_match": ['{__name__=~"job:.*"}'],
    "firewall": "open",
    "querier_endpoints": [{"address": "10.9.0.3:10903"}],
}
"""A value for what makes a file or a part of one."""


def _site(**data) -> Site:
    keys = {name: {"access_key": f"secret:env:{key}", "secret_key": SECRET} for name, key in KEYS.items()}
    return example_site(storage=True, bucket_keys=keys, **data)


def _two_clusters() -> Site:
    hosts = {}
    for number, cluster in enumerate(("one", "two"), 1):
        for replica in "ab":
            name = f"{cluster}-{replica}"
            settings = Settings(cluster=cluster, replica=replica)
            hosts[name] = Member(name, settings, ("prometheus",), f"10.{number}.0.{ord(replica)}")
    for name in ("am-1", "am-2"):
        settings = Settings(alertmanager_webhook_url=SECRET)
        hosts[name] = Member(name, settings, ("alertmanager",), f"10.3.0.{name[-1]}")
    hosts["query"] = Member("query", Settings(), ("querier", "upper"), "2001:db8::1")
    return Site(hosts)


SITES = {
    **{release: partial(_site, release=release) for release in RELEASES},
    **{f"{release}, all set, TLS": partial(_site, release=release, **FULL, **WEB) for release in RELEASES},
    "two clusters": _two_clusters,
}

STATES = {"new": BLANK, "old": replace(BLANK, systemd=241, machine="aarch64", disk=0)}
"""Hosts: only what the rendering looks at."""


def _component(component: Component, state: State) -> Iterator[str]:
    for name, directory in component.directories.items():
        yield f"{directory} {name}"
    for name, file in component.files.items():
        yield f"== {name} {file.mode} {file.owner}:{file.group}\n{file.content}"
    yield f"links {component.links}"
    yield from map(str, component.services)
    yield from component.checks
    yield f"trials {sorted(component.trials)}, kept {sorted(component.kept)}"
    change = compare(component, state)
    yield "\n".join(change.lines())
    yield stage_script(replace(component, trials={}), change)
    yield swap_script(component, change)


def _role(role: rollout.Role, site: Site, member: Member) -> Iterator[str]:
    for name, state in STATES.items():
        yield f"== on a host that is {name}"
        yield from _component(role.component(site, member, state), state)
    yield f"needs {[one.name for one in role.needs]}, others {[m.name for m in role.others(site, member)]}"
    yield f"enough {role.enough(site, member)}"
    if role.gate:
        others = role.others(site, member)
        for who in (member, *others[:1]):
            gate = role.gate(site, member, who)
            yield f"== gate asked by {who.name}, patience {gate.patience}\n{gate.script}"
    if role.reloaded:
        yield role.reloaded(site, member).script


def _host(site: Site, member: Member) -> Iterator[tuple[str, str]]:
    for role in rollout.ROLES.values():
        if member in role.members(site):
            yield role.name, "\n".join(_role(role, site, member))
    yield "verify", checks.questions(site, member)
    yield "preflight", preflight.questions(site, member)
    yield "look", default_script(member.settings.sysctl)
    yield "dials", "\n".join(map(str, site.dials(member)))


def texts(site: Site) -> Iterator[tuple[str, str]]:
    """Host and topic -> text, of a site."""
    for name, member in site.hosts.items():
        for topic, text in _host(site, member):
            yield f"{name}/{topic}", text
    yield "queries", "\n".join(map(str, promql.queries(site)))


def plans() -> Iterator[tuple[str, str]]:
    """What a run says that it does: to blank hosts, and where a flag of every tier is another one."""
    hosts: dict = {}
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        for name, data in (("blank", ""), ("flags", "nofile = 70000\n")):
            done = run_site(Path(directory), patch, hosts=hosts, data=data)
            assert done.rc == 0, done.output
            said = done.said[True]
            # Hosts come as they are done.
            lines = [f"{title}: {sorted(said.lines.get(title, {}).items())}" for title in done.order]
            yield name, "\n".join([*lines, *map(str, sorted(_scripts(done.commands)))])


def _scripts(commands: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Those that are the same in each run: the lock has the time, and a signature of a request too."""
    for name, scripts in commands.items():
        for script in scripts:
            if LOCK not in script and "X-Amz-" not in script:
                yield name, script


def everything() -> Iterator[tuple[str, str]]:
    for name, make in SITES.items():
        yield from ((f"{name}/{what}", text) for what, text in texts(make()))
    yield from ((f"plan/{name}", text) for name, text in plans())


def digests() -> dict[str, str]:
    return {what: hashlib.sha256(text.encode()).hexdigest()[:12] for what, text in everything()}


def recorded() -> dict[str, str]:
    return dict(line.rsplit(" ", 1) for line in RECORD.read_text().splitlines())


def main(where: str) -> None:
    os.environ.update(SECRETS)
    if where == "--record":
        RECORD.write_text("".join(f"{what} {digest}\n" for what, digest in digests().items()))
        return
    for what, text in everything():
        path = Path(where) / what
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
