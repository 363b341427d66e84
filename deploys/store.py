"""The Thanos store gateway (spec/003 4): series of blocks that are in the bucket and on no local disk any more.

It keeps nothing but a cache: its data directory can be lost. Several may serve one bucket, all of it each or a part of
the time each (`store_min_time`, `store_max_time`). Blocks that are new in the bucket are found by itself; a new flag,
release or key is a restart, one gateway at a time. Back up means: ready, which it is once it has loaded the blocks.
"""

from deploys import alone
from deploys.lib import config, gates, rollout, topology
from deploys.lib.component import Component, File
from deploys.lib.service import daemons, thanos_directories
from deploys.lib.site import Member, Site
from facts.look import State


def component(site: Site, member: Member, found: State) -> Component:
    files = {}
    if cache := member.settings.store_index_cache:
        files[topology.STORE_INDEX_CACHE] = File(config.dump(cache))
    return daemons(
        "store",
        *(site, member, found, "thanos-store"),
        files=files,
        directories=thanos_directories("thanos-store"),
    )


STORE = rollout.Role("store", "store", component, gates.store, needs=("seaweedfs", "minio"))


def deploy() -> None:
    rollout.roll(STORE)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(STORE)
