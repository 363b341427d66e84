"""A Prometheus above the clusters (spec/000 7 and 8): it federates them, or takes their remote write.

Files and checks are a replica's; there is no sidecar, and no other member stands in for one: what it does not scrape
or is not sent while it is down, it lacks (a sender tries again for as long as its write-ahead log reaches back). So
each is a tier of one. Back up means: log replayed, an interval scraped.
"""

from deploys import alone, prometheus
from deploys.lib import config, gates, rollout
from deploys.lib.component import Component
from deploys.lib.service import daemons
from deploys.lib.site import Member, Site
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return daemons(
        "prometheus-upper",
        *(site, member, found, "prometheus-upper"),
        files=prometheus.files(site, member, found, config.upper_yml(site, member)),
        directories=prometheus.DIRECTORIES,
        checks=prometheus.checks(member, found),
    )


def reloaded(site: Site, member: Member) -> rollout.Gate:
    return gates.loaded(site, member, "prometheus-upper", "prometheus")


UPPER = rollout.Role(
    "prometheus-upper",
    "upper",
    component,
    gates.upper,
    reloaded,
    needs=(prometheus.PROMETHEUS,),
    stands_in=rollout.nobody,
)


def deploy() -> None:
    rollout.roll(UPPER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(UPPER)
