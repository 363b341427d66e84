"""Another instance of the same daemons has units, directories and files of its own: each name comes from the daemon and
its member."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import PurePosixPath

import pytest

from prometheus_ha.deploys.lib.daemons import ALERT_RELAY, ALERTMANAGER, DAEMONS, PROMETHEUS, SIDECAR
from prometheus_ha.deploys.lib.daemons.alertmanager import AMTOOL_CONFIG
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST, instance
from prometheus_ha.deploys.lib.daemons.prometheus import RULES_DIR
from prometheus_ha.deploys.lib.engine.role import ROLES, Role
from prometheus_ha.deploys.lib.ground.routing import Matcher
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.releases import RELEASES
from prometheus_ha.deploys.lib.site.settings import STARTER_RULES
from prometheus_ha.deploys.lib.survey import checks, preflight
from prometheus_ha.deploys.lib.survey.alerting import seen
from prometheus_ha.facts.reports.look import Process
from tests.unit import golden
from tests.unit.recorded import BLANK

ONCE = {
    "base": "account, limits and the directories that all daemons share",
    "firewall": "the host's own, for the ports of all",
    "kernel": "values of the one kernel",
    "logrotate": "rsyslog and logrotate are the host's, for the logs of all",
    "node_exporter": "what it measures is the host",
    "web": "certificates are of the host's address",
}
"""Role -> why a host has it once."""
PROGRAM = ALERT_RELAY.path
"""The same text for all instances, as is the link to a release."""
ALERTS = f"{RULES_DIR}/{STARTER_RULES}"
"""Their texts are about daemons of all members."""

SITES = {
    **{release: golden.SITES[f"{release}, all set, TLS"] for release in RELEASES},
    "another bucket, and rulers without one": lambda: golden.SITES[f"{next(iter(RELEASES))}, all set, TLS"](
        bucket_config={"type": "GCS", "config": {"bucket": "blocks"}},
        rule_remote_write=[{"url": "http://10.9.0.2/write"}],
        blackbox_secret_files={"token": golden.SECRET},
        alert_routing_tests=[{"labels": {"team": "a"}, "receivers": ["own"]}],
        alertmanager_config={
            "receivers": [{"name": "own", "webhook_configs": [{"url": "http://10.9.0.4/", "payload": "{}"}]}]
        },
    ),
}


def _places() -> Iterator[str]:
    for daemon in DAEMONS.values():
        data = str(PurePosixPath(daemon.data_dir).parent) if daemon.data_dir else None
        yield from (path for path in (daemon.config_dir, daemon.tools_dir, data, daemon.keys_tool) if path)


def _any(names) -> str:
    return "(?:" + "|".join(map(re.escape, sorted(set(names)))) + ")"


PLACE = re.compile(_any(_places()) + r"(?![\w-])")
_UNIT = _any(daemon.unit for daemon in DAEMONS.values() if daemon.group is not EVERY_HOST)
UNIT = re.compile(
    rf"(?:(?<!id )-u |MainPID |started |loaded |SyslogIdentifier=|programname == '){_UNIT}(?![\w-])"
    rf"|(?<![\w-]){_UNIT}\.(?:service|started|loaded)(?!\w)"
)
"""What the first instance has, in a text."""


def _roles(site: Site, member: Member) -> list[Role]:
    return [role for role in ROLES.values() if member in role.members(site)]


def _names(site: Site, member: Member) -> set[str]:
    """Units, files and directories of the daemons of a member."""
    found: set[str] = set()
    for role in _roles(site, member):
        if role.name not in ONCE:
            component = role.component(site, member, BLANK)
            found |= {*(service.path for service in component.services), *component.files, *component.directories}
    return found


def _texts(site: Site, member: Member) -> Iterator[tuple[str, str]]:
    """What is written to the host of a member, run there and asked of it."""
    journals = []
    for role in _roles(site, member):
        component = role.component(site, member, BLANK)
        yield from ((path, file.content) for path, file in component.files.items())
        yield from ((service.name, " ".join(service.argv)) for service in component.services)
        yield from ((f"check of {role.name}", check) for check in component.checks)
        yield from ((f"trial of {path}", make()) for path, make in component.trials.items())
        if role.gate:
            yield f"gate of {role.name}", role.gate(site, member, member).script
        if role.reloaded:
            yield f"reload of {role.name}", role.reloaded(site, member).script
        journals += role.journals.values()
    asked = checks.questions(site, member)
    for script in journals:  # the same on all hosts
        asked = asked.replace(script, "")
    yield "verify", asked
    yield "preflight", preflight.questions(site, member)
    if ALERTMANAGER.name in member.components:
        yield "alert", seen.questions(site, member, [Matcher("alertname", "=", "HostDown")])


@pytest.fixture(scope="module", params=SITES)
def site(request):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in golden.SECRETS.items():
            patch.setenv(name, value)
        yield SITES[request.param]()


def others(site: Site) -> Iterator[tuple[Member, Site, Member]]:
    """Each member, the same as another instance, and the site with that one in its place."""
    for name, member in site.hosts.items():
        other = replace(member, instance="b")
        yield member, Site({**site.hosts, name: other}), other


def test_every_daemon_is_there(site):
    assert {daemon.name for member in site.hosts.values() for daemon in member.daemons} == set(DAEMONS)


def test_the_only_one_is_the_declaration(site):
    for member in site.hosts.values():
        for name, daemon in DAEMONS.items():
            assert member.own(name) is daemon


def test_what_a_host_has_once_is_on_every_host():
    assert set(ONCE) == {role.name for role in ROLES.values() if role.group is EVERY_HOST}


def test_two_instances_share_no_unit_file_or_directory(site):
    for member, with_other, other in others(site):
        first, second = _names(site, member), _names(with_other, other)
        assert len(first) == len(second)
        assert first & second == {PROGRAM} & first, member.name


def test_an_instance_names_nothing_of_the_first_one(site):
    for member, with_other, other in others(site):
        for what, text in _texts(with_other, other):
            if what == other.own(PROMETHEUS).at(ALERTS):
                continue
            found = PLACE.search(text) or UNIT.search(text)
            assert not found, f"{what} of {member.name}: {text[max(found.start() - 80, 0) : found.end() + 40]}"


def test_the_first_one_is_found_by_its_names(site):
    """The patterns above: what they do not find in a first one, they would miss in another one."""
    for member in site.hosts.values():
        texts = dict(_texts(site, member))
        for daemon in (one for one in member.daemons if one.group is not EVERY_HOST):
            unit = texts[f"/etc/systemd/system/{daemon.service}"]
            assert UNIT.search(unit)
            assert PLACE.search(unit) or not daemon.data_dir


def test_what_runs_is_known_by_the_unit_of_its_instance(site):
    argv = (ALERTMANAGER.path, "--web.listen-address=0.0.0.0:9999")
    _, with_other, other = next(one for one in others(site) if ALERTMANAGER.name in one[0].components)
    for unit, ports in (("alertmanager", [9093]), ("alertmanager-b", [9999])):
        with_other.live.looks[other.name] = replace(BLANK, processes={unit: Process(1, ALERTMANAGER.path, argv)})
        assert with_other.ports(ALERTMANAGER, other) == ports


@pytest.mark.parametrize("name", DAEMONS)
def test_no_part_of_a_declaration_is_left(name):
    own = instance(DAEMONS[name], "b")
    assert instance(own, "b") is own is instance(DAEMONS[name], "b")
    for one in fields(own):
        assert not PLACE.search(str(getattr(own, one.name))), one.name


def test_the_places_of_an_instance():
    assert (instance(PROMETHEUS, "b").unit, instance(PROMETHEUS, "b").data_dir) == (
        "prometheus-b",
        "/var/lib/prometheus-b/data",
    )
    assert instance(SIDECAR, "b").bucket == "/etc/prometheus-b/bucket_config.yaml"
    assert instance(ALERTMANAGER, "b").at(AMTOOL_CONFIG) == "/etc/amtool-b/config.yml"
