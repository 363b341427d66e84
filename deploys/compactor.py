"""The Thanos compactor: merges blocks, makes the copies of lower resolution, and deletes what is older than wanted.

One for a bucket, anywhere: Thanos has no lock in the bucket, and two of them spoil it. Blocks that overlap halt it; it
then goes on answering as a healthy one does, so its gate, verify and an alert ask for just that. Queries do not need
it: while it is down, blocks wait. Its data directory is scratch, and can be lost between two passes. A new flag,
release or key is a restart. Back up means: ready, and not halted.
"""

from deploys import alone
from deploys.lib import gates, rollout
from deploys.lib.component import Component
from deploys.lib.service import daemons, thanos_directories
from deploys.lib.site import Member, Site
from deploys.minio import MINIO
from deploys.seaweedfs import SEAWEEDFS
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return daemons(
        "compactor",
        *(site, member, found, "thanos-compactor"),
        directories=thanos_directories("thanos-compactor"),
    )


COMPACTOR = rollout.Role(
    "compactor",
    "compactor",
    component,
    gates.compactor,
    needs=(SEAWEEDFS, MINIO),
    stands_in=rollout.nobody,
)


def deploy() -> None:
    rollout.roll(COMPACTOR)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(COMPACTOR)
