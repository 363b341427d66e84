"""A Prometheus above the clusters (spec/000 7 and 8): it federates them, or takes their remote write.

Files and checks are a replica's; there is no sidecar, and no other member stands in for one: what it does not scrape
or is not sent while it is down, it lacks (a sender tries again for as long as its write-ahead log reaches back). So
each is a tier of one. Back up means: log replayed, an interval scraped.
"""

from __future__ import annotations

from deploys.lib import config, daemons, gates, service
from deploys.lib.component import Component
from deploys.lib.daemons import DAEMONS
from deploys.lib.role import Gate, Role, nobody
from deploys.lib.roles import prometheus
from deploys.lib.site import Member, Site
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return service.component(
        "prometheus-upper",
        *(site, member, found, "prometheus-upper"),
        files=prometheus.files(site, member, found, config.upper_yml(site, member)),
        directories=prometheus.DIRECTORIES,
        checks=prometheus.checks(member, found),
    )


def reloaded(site: Site, member: Member) -> Gate:
    return gates.loaded(site, member, "prometheus-upper", "prometheus")


SCRAPES_ALONE = 1
"""The same for one that nobody stands in for: no next one waits for its data."""


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, its write-ahead log replayed, an interval scraped since its start: of itself, as nobody waits for it
    as long as federation's intervals are."""
    info = DAEMONS["prometheus-upper"]
    jobs = {info.job_name}
    return prometheus.scraping(
        site, member, asked_by, info.name, jobs, SCRAPES_ALONE, sidecar=False
    )


UPPER = Role(
    "prometheus-upper",
    "upper",
    component,
    gate,
    reloaded,
    needs=(prometheus.PROMETHEUS,),
    stands_in=nobody,
    values={daemons.UPPER: {"storage.tsdb.retention.size": prometheus.retention_size}},
)
