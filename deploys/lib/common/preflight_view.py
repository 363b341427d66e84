"""What the preflight judges: the site, and what was seen of its hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports.look import State
from prometheus_ha.facts.reports.survey import Host


@dataclass(frozen=True)
class View:
    """The site, and what was seen of it. Hosts in neither `seen` nor `dead` are not in this run."""

    site: Site
    seen: Mapping[str, Host]
    looks: Mapping[str, State] = field(default_factory=dict)
    dead: Collection[str] = ()

    def members(self) -> Iterator[tuple[Member, Host]]:
        for name, host in self.seen.items():
            yield self.site.hosts[name], host
