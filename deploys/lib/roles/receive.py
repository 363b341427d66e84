"""The receivers: a hashring that takes remote write (upstream's receive.md).

A sender may write to any member. That one passes each series on to those that the ring names for it, as many as
`receive_replication`, and the write is done once more than half of them have it. Of three, one may be away: what it
lacks, the others have, and queries are deduplicated. The ring is watched; a new flag, release or key is a restart, one
member at a time, and only while the others are enough for every write. Back up means: ready, which it is once its
write-ahead log is replayed, and the ring loaded.
"""

from __future__ import annotations

from deploys.lib import config, daemons, derived, gates, service, topology
from deploys.lib.component import Component, File
from deploys.lib.daemons.declare import Value
from deploys.lib.role import Gate, Progress, Role
from deploys.lib.roles.minio import MINIO
from deploys.lib.roles.seaweedfs import SEAWEEDFS
from deploys.lib.service import thanos_directories
from deploys.lib.site import Member, Site
from facts.reports import thanos
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return service.component(
        "receive",
        *(site, member, found, "thanos-receive"),
        files={topology.RECEIVE_HASHRINGS: File(config.hashrings_json(site))},
        directories=thanos_directories("thanos-receive"),
    )


SETTLED = 15.0
"""Seconds from the start of a receiver until another one may stop. One that stops closes its block, and takes nothing
older any more; what is on its way to two of them in that time finds no majority, and its sender is told (409) to drop
it. By then it was tried again: a batch waits 5 s, a write to a member that is away 5 s, a sender before its next try at
most 5 s (defaults of Prometheus' `queue_config` and of Thanos' `receive-forward-timeout`)."""


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, which is after its log was replayed, and the hashring loaded; to others, some time after its start."""
    size = len(site.running("thanos-receive"))

    def judged(report: thanos.Report) -> Progress:
        found = report.values.get(thanos.RING_NODES, 0)
        # Another member may not have had its turn yet, and have the ring of before.
        if found == size or (found and member.name != asked_by.name):
            return Progress(True, f"ready, in a hashring of {found:.0f}", "ok")
        return Progress(False, f"ready, with a hashring of {found:.0f} of {size} members", found)

    gate = gates.thanos_gate(site, member, asked_by, "thanos-receive", thanos.RECEIVE_CALLS, judged)

    def settled(lines: list[str]) -> Progress:
        progress = gate.judge(lines[1:])
        age = float(lines[0]) - thanos.parse(lines[1:]).values.get(thanos.STARTED, 0)
        if not progress.ok or age >= SETTLED:
            return progress
        says = f"started {age:.0f} s ago: what senders had on their way comes first"
        return Progress(False, says, ("settling", round(age)))

    return gate if member.name == asked_by.name else Gate(f"date +%s\n{gate.script}", settled)


def local_endpoint(site: Site, member: Member, found: State) -> Value:
    return site.endpoint("thanos-receive", member, "grpc").target


RECEIVE = Role(
    "receive",
    "receive",
    component,
    gate,
    needs=(SEAWEEDFS, MINIO),
    enough=lambda site, member: derived.ring_needs(site, member),
    values={
        daemons.RECEIVE: {
            "label": lambda site, member, found: derived.replica_label("thanos-receive", member),
            "receive.local-endpoint": local_endpoint,
        }
    },
)
