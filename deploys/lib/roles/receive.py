"""The receivers: a hashring that takes remote write (upstream's receive.md).

A sender may write to any member. That one passes each series on to those that the ring names for it, as many as
`receive_replication`, and the write is done once more than half of them have it. Of three, one may be away: what it
lacks, the others have, and queries are deduplicated. The ring is watched; a new flag, release or key is a restart, one
member at a time, and only while the others are enough for every write. Back up means: ready, which it is once its
write-ahead log is replayed, and the ring loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter, verify_view
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.daemons.declare import Value
from prometheus_ha.deploys.lib.daemons.thanos import RECEIVE_HASHRINGS
from prometheus_ha.deploys.lib.engine import gates, service
from prometheus_ha.deploys.lib.engine.component import Component, File
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role
from prometheus_ha.deploys.lib.engine.service import thanos_directories
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding
from prometheus_ha.deploys.lib.roles import bucket_checks
from prometheus_ha.deploys.lib.roles.minio import MINIO
from prometheus_ha.deploys.lib.roles.seaweedfs import SEAWEEDFS
from prometheus_ha.deploys.lib.site import derived, releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    own = member.own(daemons.RECEIVE)
    return service.component(
        "receive",
        *(site, member, found, daemons.RECEIVE),
        files={own.at(RECEIVE_HASHRINGS): File(hashrings_json(site))},
        directories=thanos_directories(own),
    )


SETTLED = 15.0
"""Seconds from the start of a receiver until another one may stop. One that stops closes its block, and takes nothing
older any more; what is on its way to two of them in that time finds no majority, and its sender is told (409) to drop
it. By then it was tried again: a batch waits 5 s, a write to a member that is away 5 s, a sender before its next try at
most 5 s (defaults of Prometheus' `queue_config` and of Thanos' `receive-forward-timeout`)."""


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, which is after its log was replayed, and the hashring loaded; to others, some time after its start."""
    size = len(site.running(daemons.RECEIVE))

    def judged(report: thanos.Report) -> Progress:
        found = report.values.get(thanos.RING_NODES, 0)
        # Another member may not have had its turn yet, and have the ring of before.
        if found == size or (found and member.name != asked_by.name):
            return Progress(True, f"ready, in a hashring of {found:.0f}", "ok")
        return Progress(False, f"ready, with a hashring of {found:.0f} of {size} members", found)

    gate = gates.thanos_gate(site, member, asked_by, daemons.RECEIVE, thanos.RECEIVE_CALLS, judged)

    def settled(lines: list[str]) -> Progress:
        progress = gate.judge(lines[1:])
        age = float(lines[0]) - thanos.parse(lines[1:]).values.get(thanos.STARTED, 0)
        if not progress.ok or age >= SETTLED:
            return progress
        says = f"started {age:.0f} s ago: what senders had on their way comes first"
        return Progress(False, says, ("settling", round(age)))

    return gate if member.name == asked_by.name else Gate(f"date +%s\n{gate.script}", settled)


def local_endpoint(site: Site, member: Member, found: State) -> Value:
    return site.endpoint(daemons.RECEIVE, member, "grpc").target


def hashrings_json(site: Site) -> str:
    """The one hashring of the site, for `--receive.hashrings-file`: every member of the group receive."""
    members = site.running(daemons.RECEIVE)
    endpoints = [site.endpoint(daemons.RECEIVE, m, "grpc").target for m in members]
    return json.dumps([{"hashring": "default", "endpoints": endpoints}], indent=1) + "\n"


REFUSES_WRITES = Alert(
    "ReceiverRefusesWrites",
    "thanos",
    {"critical": None},
    "The receiver on <host> refuses writes",
    "Not enough members of the hashring have a sample for it to be kept, so senders try again and fall behind. See "
    "which of the <members> members are away, and journalctl -u <unit> on them.",
)
CANNOT_REPLICATE = Alert(
    "ReceiverCannotReplicate",
    "thanos",
    {"warning": None},
    "The receiver on <host> does not reach all members",
    "Some samples have fewer copies than they should. Nothing is lost while enough members are left. See which of the "
    "<members> is away, and whether its gRPC port can be reached.",
)
HASHRING_DIFFERS = Alert(
    "ReceiverHashringDiffers",
    "thanos",
    {"warning": None},
    "The receiver on <host> knows {{ $value }} of <members> members",
    "It has not loaded <file> as the inventory has it: journalctl -u <unit> on the host, or the host missed a run of "
    "the deploy.",
)
HASHRING_REFUSED = Alert(
    "ReceiverConfigReloadFailed",
    "thanos",
    {"critical": None},
    "The receiver on <host> cannot read its hashring",
    "It goes on with the hashring it had, and would not start again with <file> as it is. journalctl -u <unit> on the "
    "host has the error; the next run of the deploy mends a file that was edited by hand.",
)
GETS_NOTHING = Alert(
    "ReceiverGetsNothing",
    "thanos",
    {"warning": None},
    "Most writes that the receiver on <host> accepts hold no series",
    "A sender uses remote write 2.0 (protobuf_message), of which this Thanos stores nothing while it answers 200: set "
    "prometheus.WriteRequest there. The sender counts what is lost in prometheus_remote_storage_samples_failed_total.",
)
NO_UPLOAD = Alert(
    "ReceiverDoesNotUpload",
    "thanos",
    {"critical": None},
    "The receiver on <host> takes samples and has uploaded no block for three hours",
    "Blocks wait on its disk, and are lost once its retention drops them. See journalctl -u <unit>: is the object "
    "store away, or its key no longer good?",
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    """What upstream's mixin takes for the essence (ThanosReceive*)."""
    info = daemons.RECEIVE
    if not site.scraped(member, info.name):
        return
    window = starter.milliseconds(4 * seconds(member.settings.scrape_interval))
    job, members = starter.ours(site, member, info.name), site.running(info.name)
    words = {"members": len(members), "unit": info.unit, "file": RECEIVE_HASHRINGS}
    yield from REFUSES_WRITES.rules(
        member, f'rate(http_requests_total{{{job}, handler="receive", code=~"5.."}}[{window}]) > 0', **words
    )
    yield from CANNOT_REPLICATE.rules(
        member, f'rate(thanos_receive_forward_requests_total{{{job}, result="error"}}[{window}]) > 0', **words
    )
    yield from HASHRING_DIFFERS.rules(member, f"thanos_receive_hashring_nodes{{{job}}} != {len(members)}", **words)
    # Upstream's own metric of it, config_last_reload_successful, never says that it failed.
    failed = f"increase(thanos_receive_hashrings_file_errors_total{{{job}}}[{starter.window(member, count=20)}]) > 0"
    yield from HASHRING_REFUSED.rules(member, failed, **words)
    since = releases.REMOTE_WRITE_2["thanos"]
    if not all(releases.at_least(m.settings.version(info.name), since) for m in members):
        yield from GETS_NOTHING.rules(member, _empty_writes(job, seconds(member.settings.scrape_interval)))
    if any(map(derived.uploads, site.scraped(member, info))):
        by, appended = "sum by (job, instance, host)", f"prometheus_tsdb_head_samples_appended_total{{{job}}}"
        yield from NO_UPLOAD.rules(
            member,
            f"{by} (increase(thanos_shipper_uploads_total{{{job}}}[3h])) == 0\n"
            # Samples now, and three hours ago: it has had something to upload.
            f"and {by} (increase({appended}[1h])) > 0\n"
            f"and {by} (increase({appended}[1h] offset 3h)) > 0\n"
            f"and on (job, instance, host) time() - process_start_time_seconds{{{job}}} > 3 * 3600",
            **words,
        )


def _empty_writes(job: str, interval: float) -> str:
    """That senders of remote write 2.0 lose everything, as far as a receiver shows it: a request that holds nothing it
    knows is answered with 200, and counted as no write. Senders of 1.0 have some of those too, with metadata alone:
    one a minute, where upstream's default is left."""
    window = starter.milliseconds(max(300, 4 * interval))
    by = "sum by (instance, host)"
    answered = f'{by} (rate(http_requests_total{{{job}, handler="receive", code="200"}}[{window}]))'
    return (
        f"{answered}\n> 3 * (\n"
        f"  {by} (rate(thanos_receive_write_timeseries_count{{{job}}}[{window}]))\n"
        f"  or 0 * {answered}\n)"
    )


def _check_hashring(view: View) -> Iterator[Finding]:
    """All receivers have loaded the same hashring, which is that of the inventory."""
    size = len(view.site.running(daemons.RECEIVE))
    first: tuple[str, float | None] | None = None
    for member, report in view.reports(daemons.RECEIVE):
        if not report.ready:
            continue
        if "metrics" in report.errors:
            yield verify_view.unanswered(member, "hashring", daemons.RECEIVE, "metrics", report)
            continue
        seen, advice = (
            report.values,
            f"it reads a new file by itself: {verify_view.journal(member.own(daemons.RECEIVE).unit)}",
        )
        nodes, loaded = seen.get(thanos.RING_NODES, 0), seen.get(thanos.RING_HASH)
        if nodes != size or seen.get(thanos.RING_LOADED) == 0:
            found = f"a hashring of {nodes:.0f} members is loaded"
            yield Finding(member.name, "hashring", found, f"one of {size}", advice)
        elif first is None:
            first = member.name, loaded
        elif loaded != first[1]:
            found = f"another hashring is loaded than on {first[0]}"
            yield Finding(member.name, "hashring", found, "the same on all", advice)
        wanted = member.settings.receive_replication
        if (copies := seen.get(thanos.RING_COPIES, wanted)) != wanted:
            found = f"each sample is kept by {copies:.0f} members"
            advice = "run the deploy again: it mends this"
            yield Finding(member.name, "hashring", found, f"{wanted}", advice)


def _check_receive(site: Site, member: Member) -> Iterator[Finding]:
    settings = member.settings
    # 0: for ever.
    if daemons.RECEIVE.group in member.groups and settings.bucket_config and seconds(settings.receive_retention):
        finding = partial(host_finding, member)
        yield from bucket_checks.check_local(finding, settings, "receive_retention")


def _check_ring(site: Site) -> Iterator[Finding]:
    """What a hashring takes to accept a write, and to lose nothing with a member down."""
    members = site.running(daemons.RECEIVE)
    if not members:
        return
    first, key = members[0], "receive_replication"
    copies = first.settings.receive_replication
    for member in members[1:]:
        if (found := member.settings.receive_replication) != copies:
            allowed = f"the same on all members of the hashring; {first.name} has {copies}"
            yield host_finding(member, key, str(found), allowed)
    if copies > len(members):
        allowed = f"at most {len(members)}, which is how many hosts the group receive has: "
        allowed += "others would refuse to start"
        yield host_finding(first, key, str(copies), allowed)
    elif not derived.ring_spare(first):
        says = f"{copies} copies on {len(members)} hosts"
        allowed = "3 copies, and as many hosts or more: a write is refused while a member is down"
        yield host_finding(first, key, says, allowed, "warn")


RECEIVE = Role(
    "receive",
    daemons.RECEIVE.group,
    component,
    gate,
    needs=(SEAWEEDFS, MINIO),
    enough=lambda site, member: derived.ring_needs(site, member),
    values={
        daemons.RECEIVE: {
            "label": lambda site, member, found: derived.replica_label(daemons.RECEIVE.name, member),
            "receive.local-endpoint": local_endpoint,
        }
    },
    alerts=alerts,
    verdicts=(_check_hashring,),
    findings=(_check_receive,),
    site_findings=(_check_ring,),
)
