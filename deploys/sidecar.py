"""A Thanos sidecar beside a Prometheus that somebody else runs (spec/003 1 and 2): attached to it, and no more.

Any version from 2.2.1, in a container or under a hand-written unit. Nothing of it is touched: its files, its data and
its unit stay as they are, and what it lacks is a finding of the preflight. The sidecar runs as the account that owns
the data, as it reads the blocks and writes thanos.shipper.json there. Back up means: ready, and it sees its Prometheus.
"""

from deploys import alone
from deploys.lib import gates, rollout
from deploys.lib.component import Component
from deploys.lib.service import daemons, thanos_directories
from deploys.lib.site import Member, Site
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return daemons(
        "sidecar",
        *(site, member, found, "thanos-sidecar-attached"),
        directories=thanos_directories("thanos-sidecar-attached"),
    )


# Whether another one has the same series is its owner's to know.
SIDECAR = rollout.Role("sidecar", "sidecar", component, gates.attached, stands_in=rollout.nobody)


def deploy() -> None:
    rollout.roll(SIDECAR)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(SIDECAR)
