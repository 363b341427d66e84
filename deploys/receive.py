"""The receivers: a hashring that takes remote write (upstream's receive.md).

A sender may write to any member. That one passes each series on to those that the ring names for it, as many as
`receive_replication`, and the write is done once more than half of them have it. Of three, one may be away: what it
lacks, the others have, and queries are deduplicated. The ring is watched; a new flag, release or key is a restart, one
member at a time, and only while the others are enough for every write. Back up means: ready, which it is once its
write-ahead log is replayed, and the ring loaded.
"""

from deploys import alone
from deploys.lib import config, flags, gates, rollout, topology
from deploys.lib.component import Component, File
from deploys.lib.service import daemons, thanos_directories
from deploys.lib.site import Member, Site
from deploys.minio import MINIO
from deploys.seaweedfs import SEAWEEDFS
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return daemons(
        "receive",
        *(site, member, found, "thanos-receive"),
        files={topology.RECEIVE_HASHRINGS: File(config.hashrings_json(site))},
        directories=thanos_directories("thanos-receive"),
    )


RECEIVE = rollout.Role(
    "receive",
    "receive",
    component,
    gates.receive,
    needs=(SEAWEEDFS, MINIO),
    enough=lambda site, member: flags.ring_needs(site, member),
)


def deploy() -> None:
    rollout.roll(RECEIVE)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(RECEIVE)
