"""Thanos bucket web: the blocks of the bucket on a page, for people. Optional, and read-only.

Nobody waits for it. A new flag, release or key is a restart.
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
        "bucket-web",
        *(site, member, found, "thanos-bucket-web"),
        directories=thanos_directories("thanos-bucket-web"),
    )


BUCKET_WEB = rollout.Role(
    "bucket-web",
    "bucket_web",
    component,
    gates.bucket_web,
    needs=(SEAWEEDFS, MINIO),
    stands_in=rollout.nobody,
)


def deploy() -> None:
    rollout.roll(BUCKET_WEB)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(BUCKET_WEB)
