"""What an inventory and its settings may not be. `load.load_site` runs these checks, and those that the roles bring."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS, GROUPS
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_SECRETS_DIR
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_DIR, SECRETS_DIR
from prometheus_ha.deploys.lib.daemons.thanos import RULE_SECRETS_DIR
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.ground import folder, topology
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding, nearest
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.ground.secrets import (
    PRIVATE_KEY,
    REFERENCE,
    SECRET_HELP,
    USERINFO,
    SecretError,
    dotted,
    is_plain_webhook,
    is_secret,
    is_secret_place,
    leaves,
    looks_only,
    misplaced,
    read_secret,
)
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import InventoryHost, Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings, listens_on, reachable
from prometheus_ha.deploys.lib.survey import remote_write_checks, web_checks

# --- Checks of one host ---------------------------------------------------------------------------


def known_group(group: str) -> str:
    near = nearest(group, GROUPS)
    hint = f" ({near} is the nearest)" if near else ""
    return f"{', '.join(GROUPS)}{hint}; groups of your own begin with x_"


def check_groups(host: InventoryHost, groups: tuple[str, ...]) -> Iterator[Finding]:
    for group in groups:
        if group not in GROUPS and not group.startswith("x_"):
            yield Finding(host.name, f"group {group}", "an unknown group", known_group(group))
    if not set(groups) & set(GROUPS):
        allowed = f"at least one of {', '.join(GROUPS)}"
        yield Finding(host.name, "groups", "none that gives it a part", allowed)


def service_address_of(host: InventoryHost, settings: Settings) -> tuple[str, list[Finding]]:
    key, address = "service_address", settings.service_address
    if address is None:
        key = "ssh_hostname" if "ssh_hostname" in host.data else "service_address"
        address = host.data.get("ssh_hostname", host.name)
        if not isinstance(address, str):
            found = f"a {type(address).__name__}"
            return host.name, [host_finding(host, key, found, "an IP address or DNS name")]
        number = topology.ip(address)
        if number is None:
            allowed = "service_address: the IP address at which other hosts reach its services"
            return address, [host_finding(host, key, f"the name {address!r}", allowed)]
        try:
            address = reachable(address)
        except ValueError as error:
            allowed = f"service_address: {error}"
            return address, [host_finding(host, key, address, allowed)]
    if daemons.ALERTMANAGER.group in host.groups and topology.ip(address) is None:
        allowed = "an IP address: Alertmanager advertises no names"
        return address, [host_finding(host, key, repr(address), allowed)]
    return address, []


def check_literals(finding: Callable[..., Finding], data: dict[str, Any]) -> Iterator[Finding]:
    """Secrets written out, and references that nothing would resolve. Values are never shown."""
    for path, value in leaves(data, ()):
        if wrong := misplaced(path, value):
            shown = path[:1] if "as a key" in wrong[0] else path
            yield finding(dotted(shown), *wrong)
            continue
        if value is None or isinstance(value, bool) or value == "" or is_secret(value):
            continue
        key, value = dotted(path), str(value)
        if is_plain_webhook(path, value):
            continue
        if path[0] in Settings.model_fields and is_secret_place(path):
            yield finding(key, "a literal secret (not shown)", SECRET_HELP)
        elif path[0] in ("alertmanager_webhook_url", "deadman_url") or (
            path[0] == "alert_channels" and path[-1] in ("url", "sign")
        ):
            yield finding(key, "a literal (not shown)", SECRET_HELP)
        elif PRIVATE_KEY in value:
            yield finding(key, "a literal private key (not shown)", SECRET_HELP)
        elif USERINFO.search(value):
            allowed = "basic_auth with a secret in it"
            if path[-1] == "proxy_url":
                allowed = "the whole URL as a secret reference, or a proxy that needs no password"
            yield finding(key, "a URL with a password (not shown)", allowed)


def check_readable(site: Site, member: Member) -> Iterator[Finding]:
    """Secrets are there. Their values are read and forgotten. A run that only looks goes on without."""
    for path, value in leaves(member.settings.model_dump(), ()):
        if not (is_secret(value) and REFERENCE.fullmatch(value)):
            continue
        key = dotted(path)
        try:
            read_secret(value)
        except SecretError as error:
            allowed, severity = "one that can be read on this machine", "fail"
            if looks_only():
                allowed += ": what needs it is not compared"
                severity = "warn"
            yield host_finding(member, key, f"{value}: {error.reason}", allowed, severity)
            continue
        file = value.removeprefix("secret:file:")
        if file != value:
            mode = stat.S_IMODE((folder.of_site() / file).stat().st_mode)
            if mode & 0o077:
                found = f"{value}, which others on this machine can read (mode {mode:04o})"
                yield host_finding(member, key, found, "mode 0600", "warn")


def _check_flags(site: Site, member: Member) -> Iterator[Finding]:
    judged = set()
    # Its own first: two components may share a setting, where a host runs one of them at most.
    for component in (*member.components, *DAEMONS):
        if DAEMONS[component].extra in judged:
            continue
        judged.add(DAEMONS[component].extra)
        for problem in flags.problems(component, member.settings):
            yield host_finding(member, problem.key, problem.found, problem.allowed)


def _check_versions(site: Site, member: Member) -> Iterator[Finding]:
    try:
        problems = releases.check(member.settings.all_versions)
    except ValueError as error:
        problems = [str(error)]
    key = "versions" if "versions" in member.sources else "release"
    for problem in problems:
        yield host_finding(member, key, problem, "releases that go together")


def _check_ports(site: Site, member: Member) -> Iterator[Finding]:
    used: dict[int, str] = {}
    for name in member.components:
        for one in DAEMONS[name].ports.values():
            setting = one.setting
            port = getattr(member.settings, setting)
            if used.get(port, setting) != setting:
                found = f"{port}, which is {used[port]} too"
                yield host_finding(member, setting, found, "a port of its own")
            used.setdefault(port, setting)
    for name in member.components:
        info = DAEMONS[name]
        listens = topology.ip(listens_on(info, member.settings))
        if listens and not listens.is_unspecified and str(listens) != member.address:
            found = f"{listens}, while others dial {member.address}"
            allowed = "the service address, or none for all"
            yield host_finding(member, info.listen_address or "", found, allowed, "warn")


def _check_firewall(site: Site, member: Member) -> Iterator[Finding]:
    """Who dials a host that opens its firewall is known by address: a packet filter knows no names."""
    if member.settings.firewall != "open":
        return
    named = [m for m in site.hosts.values() if not topology.ip(m.address)]
    dialling = [m for m in named if any(e.host_name == member.name for e in site.dials(m))]
    way_out = (
        'service_address = its IP address for each of these, as packet filters know no names; or firewall = "leave" '
        "on this host, and rules of your own"
    )
    if unknown := [m.name for m in dialling if not m.sources_of_dials]:
        found = f"open to hosts known by DNS names only ({some(unknown)}): no rule would let them in"
        yield host_finding(member, "firewall", found, way_out)
    if half := [m.name for m in dialling if m.sources_of_dials]:
        found = (
            f"open to hosts whose service_address is a DNS name ({some(half)}): they are let in from their "
            "ssh_hostname alone, and may dial from another network"
        )
        yield host_finding(member, "firewall", found, way_out, "warn")


_NAMES_FILES = (
    (
        (daemons.PROMETHEUS, daemons.UPPER),
        "prometheus_config",
        ("prometheus_secret_files", SECRETS_DIR, PROMETHEUS_DIR),
    ),
    (
        (daemons.ALERTMANAGER,),
        "alertmanager_config",
        ("alertmanager_secret_files", ALERTMANAGER_SECRETS_DIR, None),
    ),
    ((daemons.RULE,), "rule_remote_write", ("rule_secret_files", RULE_SECRETS_DIR, None)),
)
"""Daemons, their setting that names files, and the setting that brings those: with its directory, and where upstream
takes a relative name from (Alertmanager: some from its configuration's directory, others from /; rulers: from /)."""

_KEYS_OF_THE_USER = {
    *("labels", "external_labels", "set_labels", "annotations", "params", "headers"),
    *("details", "attributes", "fields", "payload"),
}
"""Mappings in which `file` is a name that the user chose, and no file."""


def _check_secret_files(site: Site, member: Member) -> Iterator[Finding]:
    """A file that the configuration names in a directory of ours is one that we bring: others are not there, or are
    purged, and whoever needs one finds out when a notification or a request fails. Elsewhere it is the operator's."""
    settings = member.settings
    for infos, names, (setting, directory, relative) in _NAMES_FILES:
        if not {info.group for info in infos} & set(member.groups):
            continue
        at = member.own(infos[0]).at
        directory, relative = at(directory), relative and at(relative)
        brought = {directory: setting, topology.WEB_DIR: "web_files"}
        for path, value in leaves(getattr(settings, names), (names,)):
            last = path[-1]
            if not (isinstance(value, str) and value and re.fullmatch(r"(.*_)?file", last)):
                continue
            if _KEYS_OF_THE_USER & set(path):
                continue
            if last.endswith("log_file"):  # one that is written
                continue
            file = PurePosixPath(os.path.normpath(PurePosixPath(relative or "/", value)))
            if not value.startswith("/") and not (relative and file.is_relative_to(directory)):
                allowed = f"its whole path: {directory}/NAME for a NAME in {setting}, or that of a file of yours"
                yield host_finding(member, dotted(path), value, allowed)
                continue
            for place, source in brought.items():
                given = getattr(settings, source)
                if file.is_relative_to(place) and str(file.relative_to(place)) not in given:
                    near = nearest(file.name, given)
                    hint = f" ({near} is the nearest)" if near else ""
                    yield host_finding(member, dotted(path), value, f"a name in {source}{hint}")


# --- Checks of the site ---------------------------------------------------------------------------


def check_ssh(hosts: list[InventoryHost]) -> Iterator[Finding]:
    seen: dict[tuple, str] = {}
    for host in hosts:
        name, port = host.data.get("ssh_hostname"), host.data.get("ssh_port", 22)
        if not (isinstance(port, str) or isinstance(port, int) and 0 < port < 65536):
            found = f"a {type(port).__name__}"
            yield host_finding(host, "ssh_port", found, "a number from 1 to 65535")
            continue
        if not isinstance(name, str):
            if "ssh_hostname" in host.data:
                found = f"a {type(name).__name__}"
                yield host_finding(host, "ssh_hostname", found, "an IP address or DNS name")
            continue
        place = (name, str(port))
        if place in seen:
            found = f"{place[0]}, which is {seen[place]} too"
            yield host_finding(host, "ssh_hostname", found, "an address of its own for each host")
        seen.setdefault(place, host.name)


def check_keys(hosts: list[InventoryHost]) -> Iterator[Finding]:
    for host in hosts:
        key = host.data.get("ssh_key")
        if isinstance(key, str) and not (folder.of_site() / os.path.expanduser(key)).is_file():
            yield host_finding(host, "ssh_key", f"{key}, which is no file", "a private key's file")


def _check_addresses(site: Site) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for member in site.hosts.values():
        if member.address in seen:
            key = "service_address" if member.settings.service_address else "ssh_hostname"
            found = f"{member.address}, which is {seen[member.address]} too"
            yield host_finding(member, key, found, "an address of its own for each host")
        seen.setdefault(member.address, member.name)


def _check_tiers(site: Site) -> Iterator[Finding]:
    tiers = {
        daemons.PROMETHEUS.group: "scraped",
        daemons.ALERTMANAGER.group: "notified",
        daemons.QUERIER.group: "deduplicated",
    }
    for group, done in tiers.items():
        size = len(site.members(group))
        if size == 0:
            yield Finding(
                "",
                f"group {group}",
                "no host",
                "one or more, or nothing is " + done,
                severity="warn",
            )
        elif size == 1 and group != daemons.PROMETHEUS.group:
            allowed = "two or more: this one's restart is an outage"
            yield Finding("", f"group {group}", "one host", allowed, severity="warn")


def _check_versions_agree(site: Site) -> Iterator[Finding]:
    for name, info in DAEMONS.items():
        found: dict[str, list[str]] = {}
        for member in site.running(name):
            try:
                version = member.settings.version(name)
            except ValueError:
                continue  # reported by _check_versions
            found.setdefault(version, []).append(member.name)
        if len(found) > 1:
            listed = "; ".join(f"{v} on {', '.join(names)}" for v, names in sorted(found.items()))
            allowed = "one version, but for the time of a trial"
            yield Finding("", f"versions.{info.archive}", listed, allowed, severity="warn")


def _check_profiles(site: Site) -> Iterator[Finding]:
    first = next(iter(site.hosts.values()))
    for member in site.hosts.values():
        if member.settings.profile != first.settings.profile:
            found = f"{member.settings.profile}, while {first.name} has {first.settings.profile}"
            yield host_finding(member, "profile", found, "one profile for the whole site")


SITE_CHECKS = (
    _check_addresses,
    _check_tiers,
    _check_versions_agree,
    _check_profiles,
    web_checks.check_clients,
)
MEMBER_CHECKS = (
    _check_versions,
    _check_ports,
    _check_flags,
    _check_secret_files,
    _check_firewall,
    remote_write_checks.check_protocol,
    web_checks.check_server,
)
SECRET_CHECKS = (check_readable, web_checks.check_password, web_checks.check_certificate)
"""Of each host, where the secrets are there to be read."""
