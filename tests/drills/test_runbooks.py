"""The commands of the runbooks, on the hosts: all of them are what the releases know, and show what is broken."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pytest
import requests

from prometheus_ha.deploys.lib.common.starter import ALERTS
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.site.members import Member, Site
from tests.drills import blocks
from tests.drills.causes import LEFT, ROUNDS, Cause
from tests.drills.runbooks import COMMANDS, Command
from tests.drills.site import ask, get, on_all, read, run_site, shell, wait_for
from tests.lab import disks, plan

NOT_THERE = re.compile(r"\b(ethtool|lsof|timedatectl|chronyc|chronyd|minio)\b")
"""What the small hosts of the lab lack, or what says nothing in a container."""

FOR_WHO_SITS_THERE = {
    "pyinfra -y inventory.py prometheus_ha.verify",
    "pyinfra -y inventory.py prometheus_ha.alert",
    'pyinfra -y inventory.py prometheus_ha.alert --data why="alertname=NAME"',
    'pyinfra -y inventory.py prometheus_ha.alert --data why="alertname=Watchdog"',
    "pyinfra -y inventory.py prometheus_ha.alert --data send=RECEIVER",
    "pyinfra --dry inventory.py prometheus_ha.site",
    "ls -t .runs | head -3",
}
"""Commands of the control machine, each of which another drill runs: test_tools, test_channels, test_plan."""


def _asking() -> str:
    """`ask`, as the runbooks define it for their reader."""
    found = {
        re.search(r"^```\n(ask\(\).*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        for path in (plan.ROOT / "docs" / "runbooks").glob("*.md")
    }
    (text,) = {match[1] for match in found if match}
    return text


def test_every_alert_has_commands() -> None:
    assert {command.section for command in COMMANDS} - {""} <= set(ALERTS)
    assert {command.line for command in COMMANDS if command.kind == "control"} == FOR_WHO_SITS_THERE


def _daemon(site: Site, command: Command) -> tuple[Member, str]:
    """A host on which it can be tried, with the daemon that it is about."""
    units = sorted(DAEMONS.values(), key=lambda info: -len(info.unit))
    for info in units:
        members = site.running(info.name)
        ports = "|".join(f"\\b{site.endpoint(info, members[0], kind).port}\\b" for kind in info.ports if members)
        named = rf"\b{info.unit}\b|/{info.unit.removeprefix('thanos-')}\b|{ports or info.unit}"
        if members and re.search(named, command.line):
            return members[0], info.unit
    name = {"alertmanager": "alertmanager", "probes": "blackbox_exporter", "thanos": "thanos-querier"}
    info = DAEMONS[name.get(command.chapter, "prometheus")]
    return site.running(info.name)[0], info.unit


def _filled(site: Site, line: str, member: Member, unit: str, known: Mapping[str, str] = MappingProxyType({})) -> str:
    """With the words in capitals that its reader puts there; `known` has other ones."""
    target = site.endpoint("prometheus", site.running("prometheus")[0]).target
    words = {
        "HOST:PORT": target,
        "HOST": member.name,
        "UNIT": unit,
        "MOUNTPOINT": "/run",
        "DEVICE": "lo",
        "INSTANCE": target,
        "JOB": "prometheus",
        "MODULE": "http_2xx",
        "NAME": member.name,
        "TARGET": f"http://{target}/-/ready",
    }
    for word, value in (words | dict(known)).items():
        line = re.sub(rf"\b{word}\b", lambda _, value=value: value, line)  # type: ignore[misc]
    return line


def _tried(host: str, lines: list[str]) -> list[tuple[str, list[int], str]]:
    """Lines run one after another in one shell: each with the exit statuses of its pipeline, and what it said."""
    # Braces give one status: those of the pipeline itself are asked for within them.
    steps = [
        f'echo \'#line\'; {{ {line}\nstatus="${{PIPESTATUS[*]}}"; }} 2>&1; echo; echo "#status $status"'
        for line in lines
    ]
    said = read(host, f"bash -c {shlex.quote(_asking() + chr(10) + chr(10).join(steps))} </dev/null")
    found = re.findall(r"^#line\n(.*?)^#status ([\d ]+)$", said, re.MULTILINE | re.DOTALL)
    assert len(found) == len(lines), said
    return [(line, [int(n) for n in status.split()], text) for line, (text, status) in zip(lines, found, strict=True)]


_UNKNOWN = re.compile(
    r"command not found|[Nn]o such file|unknown (flag|option|command)|[Uu]nrecognized|[Uu]sage:|unexpected"
)


def _problem(line: str, status: list[int], text: str) -> str:
    """Why a line of a runbook is of no use on a healthy site; empty where it is."""
    if NOT_THERE.search(line):
        return ""
    # A journal has the errors of others.
    if not line.startswith("journalctl") and (match := _UNKNOWN.search(text)):
        return f"{line}: {match[0]} in {text.strip()[:300]}"
    # What looks for a mistake finds none, and `head` may close its input.
    fine = {0, 23, 141} if "| head" in line else {0}
    first = {0, 1} if line.startswith("grep") else fine
    if status[0] not in first or any(each > 1 and each not in fine for each in status[1:]):
        return f"{line}: ended with {status}: {text.strip()[:300]}"
    return ""


def test_the_commands_are_what_the_hosts_know(site: Site) -> None:
    by_host: dict[str, list[str]] = {}
    for command in COMMANDS:
        # What is about one block is run where there are some: in test_storage.
        if command.kind == "shell" and "ULID" not in command.line:
            member, unit = _daemon(site, command)
            by_host.setdefault(member.name, []).append(_filled(site, command.line, member, unit))
    tried = on_all(lambda host: _tried(host, list(dict.fromkeys(by_host[host]))), by_host)
    found = [problem for lines in tried.values() for one in lines if (problem := _problem(*one))]
    assert not found, "\n".join(found)
    assert sum(map(len, tried.values())) > 100


BORN_LATER = ("thanos_compact_group_compactions_total",)
"""No series before the first compaction."""


def test_the_queries_have_an_answer(site: Site) -> None:
    member = site.running("prometheus")[0]
    url = f"{site.endpoint('prometheus', member).url}/api/v1/query"
    tls = get(url, query='probe_ssl_earliest_cert_expiry{job="probe-platform"}')["data"]["result"]
    (mirror,) = plan.PROBES["mirror"]["targets"]

    def probed(line: str) -> str:
        """A target that has such a series: of the platform's own, the one with TLS."""
        return tls[0]["metric"]["instance"] if "probe-platform" in line else mirror

    empty = []
    for command in COMMANDS:
        if command.kind == "query":
            asked = _filled(site, command.line.replace("TARGET", probed(command.line)), member, "prometheus")
            answer = get(url, query=asked)
            assert answer["status"] == "success", asked
            healthy = re.search(r"[<>]=? ?\d|== 0|!=\"OK\"|code!=", asked)
            if not answer["data"]["result"] and not healthy and not any(name in asked for name in BORN_LATER):
                empty.append(f"{command.section}: {asked}")
    assert not empty, "\n".join(empty)


# --- What they show of a cause --------------------------------------------------------------------


def _firing(site: Site) -> set[str]:
    member = site.running("alertmanager")[1]  # which nothing happens to
    url = f"{site.endpoint('alertmanager', member).url}/api/v2/alerts"
    return {alert["labels"]["alertname"] for alert in get(url)}


@pytest.fixture
def forgotten(site: Site) -> Iterator[None]:
    """The next drill may count what fires, and some alerts look back on ten minutes: all of them have to end. It finds
    no blocks of this one either."""
    yield
    blocks.clear(site)
    wait_for("all alerts but the Watchdog to be over", lambda: _firing(site) <= {"Watchdog"}, 900, 3)


def _spoil(cause: Cause) -> None:
    if cause.disk:
        with disks.disk(plan.LAB, cause.host, cause.disk) as device:
            shell(cause.host, f"disk={device}; {cause.spoil}")
    else:
        shell(cause.host, cause.spoil)
    other, script = cause.also
    if other:
        shell(other, script)


@pytest.fixture(params=ROUNDS.values(), ids=ROUNDS)
def spoiled(site: Site, request: pytest.FixtureRequest, forgotten: None, restored: None) -> Iterator[tuple[Cause, ...]]:
    causes = request.param
    hosts = list(dict.fromkeys(host for cause in causes for host in (cause.host, cause.also[0]) if host))
    data = {name: value for cause in causes for name, value in cause.data.items()}
    try:
        if data:
            assert run_site(data=data).status == 0
        on_all(lambda host: [_spoil(cause) for cause in causes if cause.host == host], hosts)
        yield causes
    finally:
        on_all(lambda host: shell(host, LEFT), hosts)
        for member in site.running("prometheus"):
            url = f"{site.endpoint('prometheus', member).url}/api/v1/admin/tsdb/delete_series"
            for counter in filter(None, (cause.counter for cause in causes)):
                match = {"match[]": f'{{__name__=~"{counter}"}}'}
                wait_for("it to forget", lambda url=url, match=match: ask(url, "POST", params=match).ok, 60)


def _answer(site: Site, asked_on: str, query: str) -> list[dict[str, Any]]:
    """What the Prometheus of this host says, or another one: the next, where one is too busy."""
    kinds = ("prometheus", "prometheus-upper")
    own = [(kind, member) for kind in kinds for member in site.running(kind) if member.name == asked_on]
    for kind, member in [*own, *(("prometheus", member) for member in site.running("prometheus"))]:
        with suppress(requests.Timeout):
            return get(f"{site.endpoint(kind, member).url}/api/v1/query", query=query)["data"]["result"]
    raise AssertionError(f"no Prometheus answers {query}")


@pytest.mark.long
def test_the_commands_show_the_cause(site: Site, spoiled: tuple[Cause, ...]) -> None:
    """Each alert fires, and the commands of its section say why."""

    def fired() -> bool:
        names = _firing(site)
        missing = [cause.alert for cause in spoiled if cause.alert not in names]
        assert not missing, f"not fired: {missing}"
        return True

    wait_for("all alerts", fired, 1200)  # a file system is looked at by what it was a quarter of an hour ago
    silent = []
    for cause in spoiled:
        host = site.hosts[cause.asked_on or cause.host]
        unit = "blackbox_exporter"  # what of them has no unit of its own in the text
        commands = [command for command in COMMANDS if command.section == cause.alert]
        lines = [_filled(site, one.line, host, unit, cause.words) for one in commands if one.kind == "shell"]
        said = "\n".join(text for _, _, text in _tried(host.name, lines)) if lines else ""
        for one in commands:
            if one.kind == "query":
                line = _filled(site, one.line, host, unit, cause.words)
                for sample in _answer(site, cause.asked_on, line):
                    said += f"\n{line}: {json.dumps(sample['metric'])} {sample['value'][1]}"
        if not re.search(cause.shown, said):
            silent.append(f"{cause.alert}: no {cause.shown} in:\n{said[-1500:]}")
    assert not silent, "\n\n".join(silent)
