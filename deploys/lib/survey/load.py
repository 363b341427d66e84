"""Reading an inventory: all its hosts as one site, with everything that is wrong with it said at once.

Nothing here needs pyinfra, a host or the network.
"""

from __future__ import annotations

import fnmatch
import json
import re
import weakref
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from typing import Any

from pydantic import ValidationError

import prometheus_ha.deploys.lib.roles  # noqa: F401  what their settings may not be, roles say
from prometheus_ha.deploys.lib.daemons import DAEMONS, GROUPS
from prometheus_ha.deploys.lib.engine.role import in_order
from prometheus_ha.deploys.lib.ground import folder
from prometheus_ha.deploys.lib.ground.findings import Finding, SettingsErrors, host_finding, nearest
from prometheus_ha.deploys.lib.ground.secrets import USERINFO, dotted, for_host
from prometheus_ha.deploys.lib.site.members import InventoryHost, Member, Site
from prometheus_ha.deploys.lib.site.settings import FREE_FORM, Settings
from prometheus_ha.deploys.lib.survey import site_checks, upstream_files

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


_COMMAND_LINE = "--data"
_GUESTS: weakref.WeakSet[Any] = weakref.WeakSet()


def as_guest(inventory: Any) -> None:
    """The inventory is somebody else's project's: the site is what of it is in groups of ours. Other hosts, groups and
    settings are not looked at."""
    _GUESTS.add(inventory)


def is_guest(inventory: Any) -> bool:
    """Whether `as_guest` was said of it."""
    return inventory in _GUESTS


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
        if is_guest(real):
            hosts, orphans = [host for host in hosts if set(host.groups) & set(GROUPS)], set()
        findings = upstream_files.of(real).findings
        found = [_from_pyinfra(host) for host in hosts]
        kept[check_secrets] = _build(
            list(map(_ours, found)) if is_guest(real) else found, check_secrets, orphans, findings
        )
    return kept[check_secrets]


def site_from_dicts(hosts: Mapping[str, Mapping[str, Any]], *, check_secrets: bool = False) -> Site:
    """The same from plain data: host -> {"groups": [...], "data": {...}}, in inventory order.

    `pyinfra inventory.py debug-inventory --json` prints a list of such hosts with their `name`:
    `site_from_dicts({host["name"]: host for host in printed})`. Raises SettingsErrors.
    """
    return _build(
        [InventoryHost(n, _groups(h["groups"]), dict(h["data"]), {}) for n, h in hosts.items()],
        check_secrets,
    )


def _from_pyinfra(host: Any) -> InventoryHost:
    """Merges as pyinfra does, and remembers where each setting is from.

    `host.data` is not used: a deploy may have put something of its own there.
    """
    inventory, groups = host.inventory, _groups(host.groups)
    directory = folder.of_site()
    file = f"{groups[-1]}.py" if groups and (directory / f"{groups[-1]}.py").is_file() else "inventory"
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
    sources |= upstream_files.of(inventory).sources_of(groups, data)
    return InventoryHost(host.name, groups, data, sources)


def _ours(host: InventoryHost) -> InventoryHost:
    """A host of somebody else's project, with what is ours."""
    data = {key: value for key, value in host.data.items() if key in Settings.model_fields or key.startswith(_FOREIGN)}
    return InventoryHost(host.name, tuple(group for group in host.groups if group in GROUPS), data, host.sources)


def _groups(groups: Iterable[str]) -> tuple[str, ...]:
    """Each once, without those of pyinfra's connectors (`@local`, ...)."""
    return tuple(dict.fromkeys(group for group in groups if not group.startswith("@")))


def _data_file(group: str, inventory_file: str) -> str:
    name = f"group_data/{group}.py"
    return name if (folder.of_site() / name).is_file() else f"{inventory_file}, group {group}"


def _build(
    hosts: list[InventoryHost], check_secrets: bool, orphans: Iterable[str] = (), known: Iterable[Finding] = ()
) -> Site:
    if not hosts:
        raise SettingsErrors([Finding("", "inventory", "no host", "at least one")])
    # The group that pyinfra names after the inventory file holds every host, and comes last.
    last = {host.groups[-1] if host.groups else "" for host in hosts}
    file_group = last.pop() if len(last) == 1 else None
    own = file_group if file_group not in GROUPS else None
    findings: list[Finding] = [*known]
    members: dict[str, Member] = {}
    for host in hosts:
        groups = tuple(g for g in host.groups if g not in (own, "all"))
        settings, wrong = _read(host)
        groups += tuple(beside(groups, settings))
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
    roles = in_order()
    for check in (*site_checks.SITE_CHECKS, *(one for role in roles for one in role.site_findings)):
        findings += check(site)
    for member in members.values():
        for check in (
            *site_checks.MEMBER_CHECKS,
            *(one for role in roles for one in role.findings),
            *(site_checks.SECRET_CHECKS if check_secrets else ()),
        ):
            findings += check(site, member)
    findings = [one for one in findings if not site.accepts(one)]
    if any(f.severity == "fail" for f in findings):
        raise SettingsErrors(sorted(findings, key=lambda f: f.severity != "fail"))
    return Site(members, tuple(findings))


def beside(groups: tuple[str, ...], settings: Settings) -> Iterator[str]:
    """The groups in which a host is by what runs on it, and its settings."""
    for info in DAEMONS.values():
        other, wanted = info.beside or (info, ())
        if other.group in groups and info.group not in groups and any(getattr(settings, one) for one in wanted):
            yield info.group


def _read(host: InventoryHost) -> tuple[Settings, list[Finding]]:
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
        elif not _is_data(value) and (odd := next(_no_data(value, (key,), ()), None)):
            path, what, named = odd
            place = f", in {named}" if named else ""
            findings.append(finding(dotted(path), f"{what}{place}", _PLAIN))
            del data[key]
    data = {key: for_host(value, host.name) for key, value in data.items()}
    findings += site_checks.check_literals(finding, data)
    try:
        return Settings.model_validate(data), findings
    except ValidationError as error:
        seen: set[tuple[str, ...]] = set()
        # The error's own text is not used: it could show what was found.
        for item in error.errors(include_url=False, include_input=True):
            key = str(item["loc"][0])
            if item["type"] == "value_error":
                allowed = str(item["ctx"]["error"])
            elif item["type"] == "extra_forbidden":
                known = list(getattr(Settings.model_fields[key].annotation, "model_fields", {}))
                near = nearest(str(item["loc"][-1]), known)
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
        return Settings.model_validate(good), findings


_PLAIN = "plain data: text (UTF-8), numbers, lists and mappings, 64 deep at most"
_NAMES = ("name", "job_name", "alert", "record")
"""Keys by which people know an element of a list in upstream's files."""


def _no_data(value: Any, path: tuple[str, ...], names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, str]]:
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


def chosen(hosts: Mapping[str, Iterable[str]], limit: Iterable[str], exclude: Iterable[str]) -> list[str]:
    """The hosts that pyinfra connects to: all, or those of `--limit`, without those of `--exclude`."""

    def named(host: str, patterns: Iterable[str]) -> bool:
        return any(pattern in hosts[host] or fnmatch.fnmatch(host, pattern) for pattern in patterns)

    return [host for host in hosts if (not limit or named(host, limit)) and not named(host, exclude)]


def check_limit(hosts: Mapping[str, Iterable[str]], patterns: Iterable[str], option: str = "--limit") -> list[Finding]:
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
