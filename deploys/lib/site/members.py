"""The site: every host of the inventory with its settings, whichever of them a run is limited to, so that every run
sees the same peers. Nothing here needs pyinfra, a host or the network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS, GROUPS, Ref, of, of_groups
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST, Daemon, instance
from prometheus_ha.deploys.lib.daemons.exporters import WATCHED
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.ground.topology import Endpoint
from prometheus_ha.deploys.lib.site import relations, web
from prometheus_ha.deploys.lib.site.live import Live
from prometheus_ha.deploys.lib.site.settings import Settings, listens_on


@dataclass(frozen=True)
class InventoryHost:
    """A host as the inventory has it."""

    name: str
    groups: tuple[str, ...]
    data: dict[str, Any]
    sources: dict[str, str]


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
    instance: str = ""
    """Which of several instances of the same daemons on one host this is; empty where it is the only one."""

    @property
    def sources_of_dials(self) -> tuple[str, ...]:
        """The IP addresses that it may dial others from: on which network is the kernel's choice."""
        found = [topology.ip(address) for address in (self.address, self.management)]
        return tuple(dict.fromkeys(str(address) for address in found if address))

    def own(self, daemon: Ref) -> Daemon:
        """The daemon as it is on this member: its unit, its directories and its files."""
        return instance(of(daemon), self.instance)

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Names of the components it runs, in the order of `DAEMONS`."""
        return tuple(c.name for c in of_groups(self.groups))

    @cached_property
    def daemons(self) -> list[Daemon]:
        """The same, as they are on this member."""
        return [self.own(name) for name in self.components]


@dataclass(frozen=True)
class Site:
    """All hosts of the inventory, in its order, whichever of them this run is limited to."""

    hosts: dict[str, Member]
    findings: tuple[Finding, ...] = ()
    """Warnings: doubtful, but no reason to refuse. `describe` makes lines of them."""
    live: Live = field(default_factory=Live, repr=False, compare=False)
    """The hosts as the run has seen them."""
    _dials: dict[str, list[Endpoint]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def accepts(self, finding: Finding) -> bool:
        """Whether this is a warning that the site lives with (`accepted_warnings`, of its host or of all)."""
        hosts = [self.hosts[finding.host]] if finding.host in self.hosts else list(self.hosts.values())
        name = re.split(r"[.\[]", finding.check.removeprefix("group "))[0]
        return finding.severity == "warn" and all(name in host.settings.accepted_warnings for host in hosts)

    def members(self, group: str) -> list[Member]:
        """The hosts of `group`, in the order in which the inventory first names them.

        A group without hosts is an empty list. Raises KeyError where there is no such group: taken for one without
        hosts, whoever needs it would be stopped by nothing.
        """
        everyone = group in (EVERY_HOST, WATCHED)  # every host is watched
        if not everyone and group not in GROUPS:
            raise KeyError(group)
        return [m for m in self.hosts.values() if everyone or group in m.groups]

    def running(self, daemon: Ref) -> list[Member]:
        """The hosts that run `daemon`, in inventory order."""
        return self.members(of(daemon).group)

    def peers(self, member: Member, group: str) -> list[Member]:
        """The other hosts of `group`, in inventory order."""
        return [m for m in self.members(group) if m.name != member.name]

    @cached_property
    def clusters(self) -> dict[str, list[Member]]:
        """Cluster -> its Prometheus, as the inventory first names them."""
        found: dict[str, list[Member]] = {}
        for member in self.running(daemons.PROMETHEUS):
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

    def scraped(self, prometheus: Member, daemon: Ref) -> list[Member]:
        """The hosts that run `daemon` and that the cluster of this Prometheus scrapes, in inventory order."""
        cluster = prometheus.settings.cluster
        return [m for m in self.running(daemon) if self.scraped_by(m) == cluster]

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
            for name in relations.STORE_APIS
            for member in self.running(name)
            # A ruler that sends what it records has nothing to be asked for.
            if not (name == daemons.RULE.name and member.settings.rule_remote_write)
        ]

    def dials(self, member: Member) -> list[Endpoint]:
        """Every port that `member` dials on other hosts, whatever for (`relations.DIALS`)."""
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
            if DAEMONS[name].watches:
                cluster = self.scraped_by(member)
                for component in DAEMONS:
                    scraped = [m for m in self.running(component) if self.scraped_by(m) == cluster]
                    yield component, "http", scraped
            if name == daemons.PROMETHEUS.name:
                yield name, "http", self.watched(member)
            for component, kind in relations.DIALS.get(name, ()):
                yield component, kind, self.running(component)

    def dialled(self, member: Member) -> dict[tuple[str, int], list[Member]]:
        """The ports of `member` that others dial, as transport and number, and who those are. Where a daemon has yet to
        move to another port, the one that it listens on is dialled as well."""
        found: dict[tuple[str, int], list[Member]] = {}
        for other in self.hosts.values():
            for endpoint in self.dials(other):
                if endpoint.host_name != member.name:
                    continue
                info = DAEMONS[endpoint.component]
                ports = {getattr(member.settings, p.setting): kind for kind, p in info.ports.items()}
                kind = ports[endpoint.port]
                numbers = {endpoint.port, self.live.port(member.own(info), member.name, kind) or endpoint.port}
                for protocol in info.ports[kind].transports:
                    for number in sorted(numbers):
                        found.setdefault((protocol, number), []).append(other)
        return found

    def endpoint(self, daemon: Ref, member: Member, port: str = "http") -> Endpoint:
        """Where other hosts reach `daemon` on `member`; `port` is a kind of its ports."""
        return self._endpoint(of(daemon), member, port, member.address)

    def local(self, daemon: Ref, member: Member, port: str = "http") -> Endpoint:
        """Where processes on the same host reach it: loopback, unless it listens elsewhere, or has a
        certificate, which names the service address."""
        info = of(daemon)
        if info.web and web.tls(member.settings):
            return self.endpoint(info, member, port)
        listens = listens_on(info, member.settings)
        found = topology.ip(listens)
        # An address, never the name localhost, which may lead to DNS or to the other family.
        address = "127.0.0.1" if found is None or found.is_unspecified else str(found)
        return self._endpoint(info, member, port, address)

    def listen(self, daemon: Ref, member: Member, port: str = "http") -> str:
        """`address:port` to listen on. With an IPv6 address the wildcard covers both families."""
        default = "::" if ":" in member.address else "0.0.0.0"
        address = listens_on(of(daemon), member.settings) or default
        return self._endpoint(of(daemon), member, port, address).target

    def ports(self, daemon: Ref, member: Member, kind: str = "http") -> list[int]:
        """Where to ask `daemon` on `member`, in this order, while its turn may still have to come."""
        known = self.live.port(member.own(daemon), member.name, kind)
        if known is not None:
            return [known]
        wanted = self.endpoint(daemon, member, kind).port
        # Not looked at (`--limit`): most likely it still listens where those do that were.
        before = (self.live.port(other.own(daemon), other.name, kind) for other in self.running(daemon))
        return list(dict.fromkeys([wanted, *(port for port in before if port)]))

    def _endpoint(self, info: Daemon, member: Member, port: str, address: str) -> Endpoint:
        number = getattr(member.settings, info.ports[port].setting)
        scheme = "https" if port == "http" and info.web and web.tls(member.settings) else "http"
        return Endpoint(member.name, info.name, address, number, scheme)
