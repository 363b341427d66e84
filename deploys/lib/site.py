"""The site: every host of the inventory with its settings, checked before anything is touched.

It holds all hosts, whichever of them a run is limited to, so that every run sees the same peers. What is
wrong is reported all at once, as `SettingsErrors`. Nothing here needs pyinfra, a host or the network.
"""

from __future__ import annotations

import copy
import fnmatch
import json
import re
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, partial
from typing import Any

from pydantic import ValidationError

from deploys.lib import ROOT, site_checks, topology, web
from deploys.lib.findings import Finding, SettingsErrors, host_finding, nearest
from deploys.lib.live import Live
from deploys.lib.secrets import USERINFO, dotted, for_host
from deploys.lib.settings import FREE_FORM, Settings, listens_on
from deploys.lib.topology import COMPONENTS, GROUPS, Endpoint


@dataclass(frozen=True, eq=False)
class Member:
    """One host of the inventory."""

    name: str
    settings: Settings
    groups: tuple[str, ...]
    """Its groups in the inventory, without the one pyinfra names after the inventory file."""
    address: str
    """Where other hosts reach its services: an IP address (IPv6 without brackets) or DNS name."""
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Setting -> file that holds it."""
    management: str = ""
    """Where SSH reaches it."""

    @property
    def sources_of_dials(self) -> tuple[str, ...]:
        """The IP addresses that it may dial others from: on which network is the kernel's choice."""
        found = [topology.ip(address) for address in (self.address, self.management)]
        return tuple(dict.fromkeys(str(address) for address in found if address))

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Names of the components it runs, in the order of `topology.COMPONENTS`."""
        return tuple(c.name for c in topology.of_groups(self.groups))


@dataclass(frozen=True)
class Site:
    """All hosts of the inventory, in its order, whichever of them this run is limited to."""

    hosts: dict[str, Member]
    findings: tuple[Finding, ...] = ()
    """Warnings: doubtful, but no reason to refuse. `describe` makes lines of them."""
    live: Live = field(default_factory=Live, repr=False, compare=False)
    """The hosts as the run has seen them."""
    _dials: dict[str, list[Endpoint]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def members(self, group: str) -> list[Member]:
        """The hosts of `group`, in the order in which the inventory first names them.

        `all` and `node_exporter` are every host; a group without hosts is an empty list. Raises KeyError where there
        is no such group: taken for one without hosts, whoever needs it would be stopped by nothing.
        """
        everyone = group in ("all", "node_exporter")
        if not everyone and group not in GROUPS:
            raise KeyError(group)
        return [m for m in self.hosts.values() if everyone or group in m.groups]

    def running(self, component: str) -> list[Member]:
        """The hosts that run `component`, in inventory order."""
        return self.members(COMPONENTS[component].group)

    def peers(self, member: Member, group: str) -> list[Member]:
        """The other hosts of `group`, in inventory order."""
        return [m for m in self.members(group) if m.name != member.name]

    @cached_property
    def clusters(self) -> dict[str, list[Member]]:
        """Cluster -> its Prometheus, as the inventory first names them."""
        found: dict[str, list[Member]] = {}
        for member in self.members("prometheus"):
            found.setdefault(member.settings.cluster, []).append(member)
        return found

    def replicas(self, member: Member) -> list[Member]:
        """All Prometheus of the cluster of `member`, itself included."""
        return self.clusters.get(member.settings.cluster, [])

    def scraped_by(self, member: Member) -> str | None:
        """The one cluster whose Prometheus scrape this host, and alert about it: `scraped_by`, else its own `cluster`.

        A cluster without a Prometheus in the inventory is what all share (Alertmanagers, queriers, the object
        store): the first cluster has it. None where there is no Prometheus.
        """
        for cluster in (member.settings.scraped_by, member.settings.cluster):
            if cluster in self.clusters:
                return cluster
        return next(iter(self.clusters), None)

    def scraped(self, prometheus: Member, component: str) -> list[Member]:
        """The hosts that run `component` and that the cluster of this Prometheus scrapes, in inventory order."""
        cluster = prometheus.settings.cluster
        return [m for m in self.running(component) if self.scraped_by(m) == cluster]

    def watched(self, prometheus: Member) -> list[Member]:
        """The Prometheus of the next cluster, after the last of which comes the first; empty where there is only one.

        A cluster of which one replica is dead says so itself. One that is dead as a whole cannot, and its
        silence is not noticed outside either, where the Watchdogs of the others go on: so each cluster looks
        whether those of the next one are there, and no other does, so that there is one alert.
        """
        names, own = list(self.clusters), prometheus.settings.cluster
        if own not in names or len(names) == 1:
            return []
        return self.clusters[names[(names.index(own) + 1) % len(names)]]

    def stores(self) -> list[tuple[str, Member]]:
        """Every StoreAPI that the queriers ask, as component and host."""
        return [
            (name, member)
            for name in topology.STORE_APIS
            for member in self.running(name)
            # A ruler that sends what it records has nothing to be asked for.
            if not (name == "thanos-rule" and member.settings.rule_remote_write)
        ]

    def dials(self, member: Member) -> list[Endpoint]:
        """Every port that `member` dials on other hosts, whatever for (`topology.DIALS`)."""
        if member.name not in self._dials:
            ports: dict[tuple[str, str], dict[str, Member]] = {}
            for component, kind, others in self._dialled_by(member):
                known = ports.setdefault((component, kind), {})
                known |= {other.name: other for other in others if other.name != member.name}
            self._dials[member.name] = [
                self.endpoint(component, other, kind)
                for (component, kind), others in ports.items()
                for other in others.values()
            ]
        return self._dials[member.name]

    def _dialled_by(self, member: Member) -> Iterator[tuple[str, str, list[Member]]]:
        """Component, kind of port, and the hosts on which `member` dials it."""
        for name in member.components:
            if name == "prometheus":
                for component in COMPONENTS:
                    yield component, "http", self.scraped(member, component)
                yield name, "http", self.watched(member)
            for component, kind in topology.DIALS.get(name, ()):
                yield component, kind, self.running(component)

    def dialled(self, member: Member) -> dict[tuple[str, int], list[Member]]:
        """The ports of `member` that others dial, as transport and number, and who those are."""
        found: dict[tuple[str, int], list[Member]] = {}
        for other in self.hosts.values():
            for endpoint in self.dials(other):
                if endpoint.host_name != member.name:
                    continue
                info = COMPONENTS[endpoint.component]
                ports = {getattr(member.settings, s): kind for kind, s in info.ports.items()}
                for protocol in info.protocols.get(ports[endpoint.port], ("tcp",)):
                    found.setdefault((protocol, endpoint.port), []).append(other)
        return found

    def endpoint(self, component: str, member: Member, port: str = "http") -> Endpoint:
        """Where other hosts reach `component` on `member`; `port` is a kind of its ports."""
        return self._endpoint(component, member, port, member.address)

    def local(self, component: str, member: Member, port: str = "http") -> Endpoint:
        """Where processes on the same host reach it: loopback, unless it listens elsewhere, or has a
        certificate, which names the service address."""
        if COMPONENTS[component].web and web.tls(member.settings):
            return self.endpoint(component, member, port)
        listens = listens_on(COMPONENTS[component], member.settings)
        found = topology.ip(listens)
        # An address, never the name localhost, which may lead to DNS or to the other family.
        address = "127.0.0.1" if found is None or found.is_unspecified else str(found)
        return self._endpoint(component, member, port, address)

    def listen(self, component: str, member: Member, port: str = "http") -> str:
        """`address:port` to listen on. With an IPv6 address the wildcard covers both families."""
        default = "::" if ":" in member.address else "0.0.0.0"
        address = listens_on(COMPONENTS[component], member.settings) or default
        return self._endpoint(component, member, port, address).target

    def _endpoint(self, component: str, member: Member, port: str, address: str) -> Endpoint:
        info = COMPONENTS[component]
        number = getattr(member.settings, info.ports[port])
        scheme = "https" if port == "http" and info.web and web.tls(member.settings) else "http"
        return Endpoint(member.name, component, address, number, scheme)


# --- Reading an inventory -------------------------------------------------------------------------

_SSH_KEYS = (
    *("hostname", "port", "user", "password", "key", "key_password", "allow_agent"),
    *("look_for_keys", "forward_agent", "config_file", "known_hosts_file"),
    *("strict_host_key_checking", "paramiko_connect_kwargs", "connect_retries"),
    *("connect_retry_min_delay", "connect_retry_max_delay", "file_transfer_protocol"),
)
_FOREIGN = ("_", "x_", "ssh_", "docker_", "fake_", "winrm_", "vagrant_", "terraform_")
"""Beginnings of names that belong to pyinfra, its connectors or the user."""
_PRINTED = {
    "ssh_password": "ssh_key, an agent, or pyinfra's --ssh-password-prompt",
    "ssh_key_password": "an agent that holds the key",
    "_sudo_password": "pyinfra's --same-sudo-password",
    "_su_password": "sudo, or root by key",
}
"""pyinfra's own secrets, which `debug-inventory` prints."""


@dataclass(frozen=True)
class _Host:
    """A host as the inventory has it."""

    name: str
    groups: tuple[str, ...]
    data: dict[str, Any]
    sources: dict[str, str]


_COMMAND_LINE = "--data"
_SITES: weakref.WeakKeyDictionary[Any, dict[bool, Site]] = weakref.WeakKeyDictionary()


def load_site(inventory: Any, *, check_secrets: bool = True) -> Site:
    """The site of a pyinfra inventory: all its hosts, also where the run is limited to some.

    `check_secrets` also sees whether every secret and SSH key is there to be read; in a run that only looks
    (`secrets.look_only`), a secret that is not is a warning. The result is
    kept for the inventory, so that calling it in every role and for every host costs nothing.
    Raises SettingsErrors with everything that is wrong.
    """
    hosts = list(inventory)
    # `from pyinfra import inventory` is a stand-in for the real one, which the hosts know.
    real = hosts[0].inventory if hosts else inventory
    kept = _SITES.setdefault(real, {}) if hosts else {}
    if check_secrets not in kept:
        orphans = {g for g, data in real.group_data.items() if data} - set(real.groups)
        kept[check_secrets] = _build([_from_pyinfra(h) for h in hosts], check_secrets, orphans)
    return kept[check_secrets]


def site_from_dicts(hosts: Mapping[str, Mapping[str, Any]], *, check_secrets: bool = False) -> Site:
    """The same from plain data: host -> {"groups": [...], "data": {...}}, in inventory order.

    `pyinfra inventory.py debug-inventory --json` prints a list of such hosts with their `name`:
    `site_from_dicts({host["name"]: host for host in printed})`. Raises SettingsErrors.
    """
    return _build(
        [_Host(n, _groups(h["groups"]), dict(h["data"]), {}) for n, h in hosts.items()],
        check_secrets,
    )


def _from_pyinfra(host: Any) -> _Host:
    """Merges as pyinfra does, and remembers where each setting is from.

    `host.data` is not used: a deploy may have put something of its own there.
    """
    inventory, groups = host.inventory, _groups(host.groups)
    file = f"{groups[-1]}.py" if groups and (ROOT / f"{groups[-1]}.py").is_file() else "inventory"
    layers = [(_data_file("all", file), inventory.get_data())]
    layers += [(_data_file(group, file), inventory.get_group_data(group)) for group in groups]
    layers += [
        (file, inventory.get_host_data(host.name)),
        (_COMMAND_LINE, inventory.get_override_data()),
    ]
    data: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        data.update(layer)
        sources.update(dict.fromkeys(layer, source))
    return _Host(host.name, groups, data, sources)


def _groups(groups: Iterable[str]) -> tuple[str, ...]:
    """Each once, without those of pyinfra's connectors (`@local`, ...)."""
    return tuple(dict.fromkeys(group for group in groups if not group.startswith("@")))


def _data_file(group: str, inventory_file: str) -> str:
    name = f"group_data/{group}.py"
    return name if (ROOT / name).is_file() else f"{inventory_file}, group {group}"


def _build(hosts: list[_Host], check_secrets: bool, orphans: Iterable[str] = ()) -> Site:
    if not hosts:
        raise SettingsErrors([Finding("", "inventory", "no host", "at least one")])
    # The group that pyinfra names after the inventory file holds every host, and comes last.
    last = {host.groups[-1] if host.groups else "" for host in hosts}
    file_group = last.pop() if len(last) == 1 else None
    own = file_group if file_group not in GROUPS else None
    findings: list[Finding] = []
    members: dict[str, Member] = {}
    for host in hosts:
        groups = tuple(g for g in host.groups if g not in (own, "all"))
        settings, wrong = _read(host)
        address, missing = site_checks.service_address_of(host, settings)
        findings += [*site_checks.check_groups(host, groups), *wrong, *missing]
        given = host.data.get("ssh_hostname")
        management = given if isinstance(given, str) else host.name
        members[host.name] = Member(host.name, settings, groups, address, host.sources, management)
    for group in sorted(set(orphans) - set(GROUPS) - {own, "all"}):
        if not group.startswith("x_"):
            findings.append(
                Finding(
                    "",
                    f"group {group}",
                    "settings, but no host",
                    site_checks.known_group(group),
                    group,
                )
            )
    findings += site_checks.check_ssh(hosts)
    if check_secrets:
        findings += site_checks.check_keys(hosts)
    site = Site(members)
    for check in site_checks.SITE_CHECKS:
        findings += check(site)
    for member in members.values():
        for check in (
            *site_checks.MEMBER_CHECKS,
            *(site_checks.SECRET_CHECKS if check_secrets else ()),
        ):
            findings += check(site, member)
    if any(f.severity == "fail" for f in findings):
        raise SettingsErrors(sorted(findings, key=lambda f: f.severity == "warn"))
    return Site(members, tuple(findings))


def _read(host: _Host) -> tuple[Settings, list[Finding]]:
    """The settings of a host. Wrong ones are reported and left at their default, to go on."""
    data = {k: v for k, v in host.data.items() if not k.startswith(_FOREIGN)}
    finding = partial(host_finding, host)
    findings = [
        finding(key, "a secret that debug-inventory prints", _PRINTED[key], "warn")
        for key in host.data
        if key in _PRINTED and host.data[key] and host.sources.get(key) != _COMMAND_LINE
    ]
    ssh = [f"ssh_{name}" for name in _SSH_KEYS]
    for key in host.data:
        if key.startswith("ssh_") and key not in ssh:
            allowed = f"{nearest(key, ssh) or 'the settings of its ssh connector'}"
            findings.append(finding(key, "a name that pyinfra does not know", allowed, "warn"))
    for key in list(data):
        if key not in Settings.model_fields:
            near = nearest(key, Settings.model_fields)
            allowed = f"{near} is the nearest setting" if near else "the settings of the package"
            allowed += "; names of your own begin with x_"
            findings.append(finding(key, "an unknown setting", allowed))
            del data[key]
    for key, value in list(data.items()):
        if _too_deep(value):
            findings.append(finding(key, f"a {type(value).__name__}", _PLAIN))
            del data[key]
        elif odd := next(_no_data(value, (key,), ()), None):
            path, what, named = odd
            place = f", in {named}" if named else ""
            findings.append(finding(dotted(path), f"{what}{place}", _PLAIN))
            del data[key]
    data = {key: for_host(value, host.name) for key, value in data.items()}
    findings += site_checks.check_literals(finding, data)
    try:
        return Settings.model_validate(copy.deepcopy(data)), findings
    except ValidationError as error:
        seen: set[tuple[str, ...]] = set()
        # The error's own text is not used: it could show what was found.
        for item in error.errors(include_url=False, include_input=True):
            key = str(item["loc"][0])
            if item["type"] == "value_error":
                allowed = str(item["ctx"]["error"])
            elif item["type"] == "extra_forbidden":
                known = list(Settings.model_fields[key].annotation.model_fields)
                near = nearest(item["loc"][-1], known)
                allowed = ", ".join(known) + (f" (did you mean {near}?)" if near else "")
            else:
                allowed = item["msg"].removeprefix("Input should be ")
            if key.endswith("_flags") and item["type"] != "value_error":
                allowed = "text, a number, true or false, or a list of texts"
            path = (key, *_within(data[key], item["loc"][1:]))
            if path not in seen:
                findings.append(finding(dotted(path), _shown(key, item["input"]), allowed))
            seen.add(path)
        good = {k: v for k, v in data.items() if k not in {path[0] for path in seen}}
        return Settings.model_validate(copy.deepcopy(good)), findings


_PLAIN = "plain data: text (UTF-8), numbers, lists and mappings, 64 deep at most"
_NAMES = ("name", "job_name", "alert", "record")
"""Keys by which people know an element of a list in upstream's files."""


def _no_data(
    value: Any, path: tuple[str, ...], names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Each place that no file can hold as it is: its path, what is there, and the elements it is within, by name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not _is_data({key: 0}):
                yield path, f"a key that is {_kind(key)}", ", ".join(names)
            else:
                yield from _no_data(inner, (*path, str(key)), names)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            given = inner if isinstance(inner, Mapping) else {}
            known = [
                f"{k} {given[k]}"
                for k in _NAMES
                if isinstance(given.get(k), str) and re.fullmatch(r"[\w .:-]{1,80}", given[k])
            ]
            yield from _no_data(inner, (*path, f"[{index}]"), (*names, *known[:1]))
    elif not _is_data(value):
        yield path, _kind(value), ", ".join(names)


def _is_data(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True


def _kind(value: Any) -> str:
    if isinstance(value, date):
        return "a date (in YAML text that looks like one needs quotes)"
    return f"a {type(value).__name__}"


def _too_deep(value: Any, most: int = 64) -> bool:
    """Whether lists and mappings are nested deeper than any file that a daemon reads, or for ever."""
    inner = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list | tuple):
        return False
    return most == 0 or any(_too_deep(one, most - 1) for one in inner)


def _within(value: Any, location: Iterable[Any]) -> Iterator[str]:
    """The keys of a pydantic location; it also names the types that it tried."""
    for part in location:
        if isinstance(value, Mapping) and part in value:
            yield str(part)
            value = value[part]


def _shown(key: str, value: Any) -> str:
    """What was found, in a form that cannot be a secret."""
    if isinstance(value, Mapping | list | tuple) or key in FREE_FORM - {
        "versions",
        "sysctl",
        "preflight",
    }:
        return f"a {type(value).__name__}"
    text = repr(value)
    if USERINFO.search(text) or re.search(r"://[^/]*@", text):
        return "a URL with a user in it"
    return text if len(text) <= 60 else f"{text[:56]} ..."


# --- Limits ---------------------------------------------------------------------------------------


def chosen(
    hosts: Mapping[str, Iterable[str]], limit: Iterable[str], exclude: Iterable[str]
) -> list[str]:
    """The hosts that pyinfra connects to: all, or those of `--limit`, without those of `--exclude`."""

    def named(host: str, patterns: Iterable[str]) -> bool:
        return any(pattern in hosts[host] or fnmatch.fnmatch(host, pattern) for pattern in patterns)

    return [
        host for host in hosts if (not limit or named(host, limit)) and not named(host, exclude)
    ]


def check_limit(
    hosts: Mapping[str, Iterable[str]], patterns: Iterable[str], option: str = "--limit"
) -> list[Finding]:
    """What is wrong with `--limit` or `--exclude`: patterns that match no host.

    `hosts` is host -> its groups. pyinfra itself only warns, runs nothing and reports success.
    """
    groups = {group for named in hosts.values() for group in named}
    findings = []
    for pattern in patterns:
        if pattern in groups or fnmatch.filter(hosts, pattern):
            continue
        near = nearest(pattern, [*hosts, *groups])
        hint = f"; {near} is the nearest" if near else ""
        allowed = f"hosts: {', '.join(hosts)}; groups: {', '.join(sorted(groups))}{hint}"
        findings.append(Finding("", option, f"{pattern!r}, which matches no host", allowed))
    return findings
