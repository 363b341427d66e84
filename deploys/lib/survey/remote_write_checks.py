"""What is wrong in an entry of `remote_write`: in prometheus_config, and in a ruler's rule_remote_write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member, Site

VERSION_2 = "io.prometheus.write.v2.Request"
"""Upstream's name of the message of remote write 2.0; its default is that of 1.0."""
_RECEIVERS = {daemons.RECEIVE.name: "remote_write", daemons.UPPER.name: "http"}
"""Component that takes remote write -> kind of its port for that."""
_ACCEPTED = "web.remote-write-receiver.accepted-protobuf-messages"


def entries(member: Member) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each entry that a process of this host reads, with its place in the settings."""
    settings = member.settings
    for groups, key, written in (
        (
            {daemons.PROMETHEUS.group, daemons.UPPER.group},
            "prometheus_config.remote_write",
            settings.prometheus_config.get("remote_write") or [],
        ),
        ({daemons.RULE.group}, "rule_remote_write", settings.rule_remote_write),
    ):
        if groups & set(member.groups):
            for index, entry in enumerate(written):
                yield f"{key}[{index}]", entry


def receiver(site: Site, url: Any) -> tuple[str, Member] | None:
    """The component of ours, and its host, that this URL leads to; None for whoever else's."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    address = topology.ip(host)
    for component, kind in _RECEIVERS.items():
        for member in site.running(component):
            if port != getattr(member.settings, DAEMONS[component].ports[kind].setting):
                continue
            names = (member.address, member.management, member.name)
            if host in [name.lower().rstrip(".") for name in names if name] or (
                address and address in [topology.ip(name) for name in names]
            ):
                return component, member
    return None


def check_protocol(site: Site, member: Member) -> Iterator[Finding]:
    """Remote write 2.0 goes to those who take it. Others find nothing in it that they know, as none of its fields has a
    number of 1.0, and answer that all is well."""
    for key, entry in entries(member):
        if entry.get("protobuf_message") != VERSION_2:
            continue
        found = receiver(site, entry.get("url"))
        if found is None:
            continue
        component, other = found
        archive = DAEMONS[component].archive
        since = releases.REMOTE_WRITE_2[archive]
        try:
            version = other.settings.version(component)
            taken = releases.at_least(version, since)
        except ValueError:
            continue  # reported with the versions
        place = f"{key}.protobuf_message"
        if not taken:
            allowed = (
                f"prometheus.WriteRequest, which is upstream's default: {archive} before "
                f"{since.removesuffix('-0')} answers that all is well, and stores nothing of it"
            )
            says = f"{VERSION_2} to {other.name}, which has {archive} {version}"
            yield host_finding(member, place, says, allowed)
        elif component == daemons.UPPER.name:
            accepted = other.settings.prometheus_flags.get(_ACCEPTED, VERSION_2)
            if VERSION_2 not in (accepted if isinstance(accepted, list) else [accepted]):
                allowed = f"what its prometheus_flags allow in {_ACCEPTED}"
                yield host_finding(member, place, f"{VERSION_2} to {other.name}", allowed)
