"""What `verify` judges: the site, and what its hosts and their daemons reported."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import causes, faults
from prometheus_ha.deploys.lib.daemons import DAEMONS, Ref, of
from prometheus_ha.deploys.lib.ground.findings import Daemon, Finding
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.site import derived, relations
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import Answer
from prometheus_ha.facts.reports import look, prometheus
from prometheus_ha.facts.reports import prometheus as reports_prometheus

PROMETHEUS = (daemons.PROMETHEUS.name, daemons.UPPER.name)
"""The components that are a Prometheus, of which a host runs at most one."""

QUERIES, REPLICAS = "queries", "replicas"
SETTLING = (QUERIES, REPLICAS)
"""The checks of what queriers answer, and whether replicas scrape the same: they may be asked too early, while targets
come up, or a Prometheus that was started has found none of its targets yet, and are asked again."""


@dataclass(frozen=True)
class Seen:
    """What a host reported: the look (None where it failed), and its daemons by name."""

    look: look.State | None = None
    daemons: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """The answers to `Role.questions`, by their name."""
    journals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What `Role.journals` printed, the oldest first."""
    crashes: Mapping[str, faults.Crashes] = field(default_factory=dict)
    """Units that systemd brought back."""


@dataclass(frozen=True)
class View:
    """The site beside what was seen of it. Hosts in neither `seen` nor `dead` were not asked."""

    site: Site
    seen: Mapping[str, Seen]
    dead: Collection[str] = ()

    def reports(self, daemon: Ref) -> list[tuple[Member, Any]]:
        """The asked hosts that run `daemon`, and what it said, in inventory order."""
        return [
            (member, self.seen[member.name].daemons[of(daemon).name])
            for member in self.site.running(daemon)
            if member.name in self.seen and of(daemon).name in self.seen[member.name].daemons
        ]

    def prometheus(self) -> list[tuple[Member, Any]]:
        """The asked Prometheus, replicas and upper ones."""
        return [found for component in PROMETHEUS for found in self.reports(component)]

    def sidecars(self) -> list[tuple[Member, Any]]:
        """The asked sidecars, whosever Prometheus they stand beside."""
        return [found for component in relations.SIDECARS for found in self.reports(component)]

    def clusters(self) -> dict[str, list[tuple[Member, reports_prometheus.Report]]]:
        """The Prometheus that reported what they scrape, by cluster."""
        found: dict[str, list[tuple[Member, reports_prometheus.Report]]] = {}
        for member, report in self.reports(daemons.PROMETHEUS):
            if report.ready:
                found.setdefault(member.settings.cluster, []).append((member, report))
        return found

    @cached_property
    def addresses(self) -> dict[str, Daemon]:
        """`address:port` -> whose port it is."""
        return causes.addresses(self.site)

    @cached_property
    def broken(self) -> dict[Daemon, Daemon]:
        """Every daemon that does not do its job -> the cause."""
        return causes.broken(self.site, self.seen, self.dead)

    def by_cause(self, found: Mapping[str, Daemon | None]) -> list[tuple[list[str], Daemon | None]]:
        """What was found, with the daemons that it is about, by what explains it: a result for each of them, and one
        (about nobody) for what nothing explains."""
        groups: dict[Daemon | None, tuple[list[str], Daemon | None]] = {}
        for what, about in found.items():
            cause = self.broken.get(about) if about else None
            groups.setdefault(cause, ([], about if cause else None))[0].append(what)
        return list(groups.values())

    def querier_behind(self, frontend: Member) -> Daemon | None:
        """The querier that a query frontend asks, where it is one of the site."""
        if daemons.QUERIER.group in frontend.groups and not frontend.settings.frontend_downstream:
            return frontend.name, daemons.QUERIER.name
        url = derived.frontend_downstream(self.site, frontend)
        return self.addresses.get(urlsplit(url).netloc)

    @property
    def not_asked(self) -> list[str]:
        """Hosts that this run left out (`--limit`)."""
        return [name for name in self.site.hosts if name not in self.seen and name not in self.dead]


def our_target(view: View, target: prometheus.Target) -> Daemon | None:
    """The daemon of the site that a target is, or that is asked about it (a probe); None for the user's own ones."""
    daemon = view.addresses.get(target.instance)
    if daemon is None:
        return view.addresses.get(urlsplit(target.scrape_url).netloc)
    name = DAEMONS[daemon[1]].job_name
    ours = target.job == name or (target.job.startswith("federate-") and name == daemons.PROMETHEUS.name)
    return daemon if ours else None


def targets_not_up(view: View, host: str) -> list[str]:
    """Our targets that this host's Prometheus did not reach, or has not asked yet, though they may come up: for one of
    a dead host, and for one that is known to be down, waiting is in vain."""
    return [
        f"{target.job} {target.instance}"
        for name in PROMETHEUS
        for target in getattr(view.seen[host].daemons.get(name), "targets", [])
        if target.health != "up" and (daemon := our_target(view, target))
        if daemon not in view.broken
    ]


def labels(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) + "}"


def journal(unit: str) -> str:
    return f"systemctl status {unit}; journalctl -u {unit}"


def unanswered(member: Member, check: str, daemon: Ref, call: str, report: Any) -> Finding:
    return Finding(
        member.name,
        check,
        f"{of(daemon).name} did not answer for its {call}: {report.errors[call]}",
        "an answer",
        journal(member.own(daemon).unit),
    )


def names_of(pairs: Iterable[tuple[str, str]]) -> str:
    return some(f"{job} {instance}" for job, instance in pairs)
