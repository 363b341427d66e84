"""Thanos queriers (spec/000 9): one view over all replicas, deduplicated by the replica label.

The list of stores is a file that the querier watches: a new Prometheus needs neither reload nor restart. A new flag
or release is a restart, one querier at a time. Back up means: ready, and every store that is alive listed without
error.
"""

from deploys import alone
from deploys.lib import config, flags, gates, rollout, topology
from deploys.lib.component import Component, Directory
from deploys.lib.service import daemons
from deploys.lib.site import Member, Site
from deploys.prometheus import PROMETHEUS
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    files = {}
    if flags.endpoints_file(member):  # older releases get their stores as flags
        files[topology.ENDPOINTS_FILE] = config.file(config.endpoints_yml(site, member))
    return daemons(
        "querier",
        *(site, member, found, "thanos-querier"),
        files=files,
        directories={topology.THANOS_DIR: Directory("750", managed=True)},
    )


QUERIER = rollout.Role(
    "querier",
    "querier",
    component,
    gates.querier,
    needs=(PROMETHEUS,),
    stands_in=rollout.alike(lambda member: member.settings.querier_endpoints),
)


def deploy() -> None:
    rollout.roll(QUERIER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(QUERIER)
