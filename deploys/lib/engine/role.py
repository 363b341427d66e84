"""What a role is to the rollout, and how a member is seen to do its job. The roles themselves are in `roles/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from prometheus_ha.deploys.lib.common import preflight_view
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.declare import Daemon, Group
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.engine.component import Change, Component
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import Call
from prometheus_ha.facts.reports.look import State

PATIENCE = 90.0
"""Seconds a gate waits without any progress before it fails: longer than Alertmanager's
`--cluster.settle-timeout`, the querier's reading of its stores, and the half minute between two looks
of the sidecar at Prometheus."""


@dataclass(frozen=True)
class Progress:
    """What a gate saw: `ok` when it may open, else what it waits for; a changed `measure` is progress, and where it is
    `over`, waiting is in vain."""

    ok: bool
    says: str
    measure: object = None
    over: bool = False


class Followed(Protocol):
    """What can be waited for: a probe script, run on a host, and the judgement of its output."""

    @property
    def script(self) -> str: ...

    @property
    def patience(self) -> float: ...

    @property
    def judge(self) -> Callable[[list[str]], Progress]: ...


@dataclass(frozen=True)
class Gate:
    """How to see whether a member does its job: a probe script, run on a host, and the judgement of its output."""

    script: str
    judge: Callable[[list[str]], Progress]
    patience: float = PATIENCE


@dataclass(frozen=True)
class Scrape:
    """A scrape job beside those of the daemons: what one of them is asked about (a probe). That its targets are up is
    for alerts of the role to watch, and not for that of all targets."""

    job: Data
    """In upstream's keys, with its job_name, and without its targets."""
    targets: list[Data]
    """Targets and labels, in a file that Prometheus watches: a change needs no reload."""
    samples: int
    """Samples of one target, at most."""
    files: tuple[str, ...] = ()
    """Patterns of more such files, which are somebody else's."""

    @property
    def name(self) -> str:
        return self.job["job_name"]


ROLES: dict[str, Role] = {}
"""Every role that was imported, by name."""


def alike(what: Callable[[Member], object]) -> Callable[[Member, Member], bool]:
    """For `Role.stands_in`: those that have the same of `what`."""
    return lambda other, member: what(other) == what(member)


def nobody(other: Member, member: Member) -> bool:
    """For `Role.stands_in`: each member is a tier of one."""
    return False


@dataclass(frozen=True)
class Role:
    """A tier of the site: what it wants on a member, how a member is seen to do its job, and what is said of it."""

    name: str
    group: Group
    """Group of the inventory whose hosts are its members."""
    component: Callable[[Site, Member, State], Component]
    """What it wants on a member: files, directories, units, and the checks before they go live."""
    gate: Callable[[Site, Member, Member], Gate] | None = None
    """How the second member sees whether the first one does its job: a member asks itself after its own restart, and
    another one before. A role without it gates nobody."""
    reloaded: Callable[[Site, Member], Gate] | None = None
    """How a member sees that it loaded what is on its disk."""
    needs: tuple[Role, ...] = ()
    """The roles whose failure stops this one."""
    stands_in: Callable[[Member, Member], bool] = lambda other, member: True
    """Whether the first one has the series, rules or ring that the second one has, and so does its job while that one
    is down. Where nobody does, a member is a tier of one, restarted with its outage said beforehand."""
    enough: Callable[[Site, Member], int] = lambda site, member: 1
    """How many others have to do their job while a member is down."""
    values: Mapping[Daemon, Mapping[str, flags.Here]] = field(default_factory=dict)
    """Its daemons, and their flags that need a site (`HERE` in the declaration)."""
    together: Callable[[Site, Member, State], str] | None = None
    """Why all members have to be restarted in one step, as they would not know each other in turns; empty where nothing
    is to."""
    alerts: Callable[[Site, Member], Iterable[dict[str, Any]]] = lambda site, member: ()
    """The starter alerts about it, for a Prometheus that scrapes it."""
    scrapes: Callable[[Site, Member], Iterable[Scrape]] = lambda site, member: ()
    """Scrape jobs beside those of its daemons, for a Prometheus."""
    findings: tuple[Callable[[Site, Member], Iterable[Finding]], ...] = ()
    """What settings of one host may not be."""
    site_findings: tuple[Callable[[Site], Iterable[Finding]], ...] = ()
    """The same of all hosts together."""
    surveys: Callable[[Site, Member], Mapping[str, str]] = lambda site, member: {}
    """Name -> script: what the preflight asks on a host beside what it asks on all; none where the script is empty."""
    judges: tuple[Callable[[preflight_view.View], Iterable[Finding]], ...] = ()
    """What the preflight says of it."""
    verdicts: tuple[Callable[[View], Iterable[Finding]], ...] = ()
    """What `verify` says of it."""
    questions: Mapping[Daemon, Callable[[Site], Sequence[Call]]] = field(default_factory=dict)
    """What `verify` asks its daemons beside what their declarations have: of the whole site."""
    journals: Mapping[str, str] = field(default_factory=dict)
    """Name -> script: what `verify` reads on its hosts beside that."""
    means: Callable[[Site, Member, State, Change], Iterable[str]] = lambda site, member, state, change: ()
    """More lines for the operator on what a change means."""

    def __post_init__(self) -> None:
        if not isinstance(self.group, Group):
            raise TypeError(f"role {self.name}: {self.group!r} is no group")
        if wrong := [need for need in self.needs if not isinstance(need, Role)]:
            raise TypeError(f"role {self.name} needs {wrong[0]!r}, which is no role")
        for daemon, values in self.values.items():
            flags.give(daemon, values)
        ROLES[self.name] = self

    @property
    def place(self) -> int:
        """Where it stands among the roles: as the first of its daemons does among those."""
        return min((list(DAEMONS.values()).index(one) for one in self.values), default=len(DAEMONS))

    def members(self, site: Site) -> list[Member]:
        return site.members(self.group)

    def others(self, site: Site, member: Member) -> list[Member]:
        """The members that do its job while `member` is down, from the one after it on: the one before it may have been
        restarted just now."""
        members = self.members(site)
        after = [m.name for m in members].index(member.name) + 1 if member in members else 0
        turned = [*members[after:], *members[:after]]
        return [m for m in turned if m.name != member.name and self.stands_in(m, member)]


def in_order() -> list[Role]:
    """All roles, in the order of their daemons."""
    return sorted(ROLES.values(), key=lambda role: role.place)


def on(member: Member) -> list[Role]:
    """The roles whose daemons run on a host, in their order."""
    return [role for role in in_order() if any(daemon.name in member.components for daemon in role.values)]


def scrapes(site: Site, member: Member) -> list[Scrape]:
    """Those of all roles, for the Prometheus of `member`."""
    return [scrape for role in in_order() for scrape in role.scrapes(site, member)]
