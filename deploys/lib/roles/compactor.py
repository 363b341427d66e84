"""The Thanos compactor: merges blocks, makes the copies of lower resolution, and deletes what is older than wanted.

One for a bucket, anywhere: Thanos has no lock in the bucket, and two of them spoil it. Blocks that overlap halt it; it
then goes on answering as a healthy one does, so its gate, verify and an alert ask for just that. Queries do not need
it: while it is down, blocks wait. Its data directory is scratch, and can be lost between two passes. A new flag,
release or key is a restart. Back up means: ready, and not halted.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter, verify_view
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.daemons.declare import Value
from prometheus_ha.deploys.lib.engine import gates, service
from prometheus_ha.deploys.lib.engine.component import Component
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, nobody
from prometheus_ha.deploys.lib.engine.service import thanos_directories
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.roles.minio import MINIO
from prometheus_ha.deploys.lib.roles.seaweedfs import SEAWEEDFS
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return service.component(
        "compactor",
        *(site, member, found, daemons.COMPACTOR),
        directories=thanos_directories(member.own(daemons.COMPACTOR)),
    )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and not halted: a compactor that has halted answers as a healthy one does."""

    def judged(report: thanos.Report) -> Progress:
        if report.values.get(thanos.HALTED):
            return Progress(False, "halted: see its journal, and docs/storage.md", "halted")
        return Progress(True, "ready, not halted", "ok")

    return gates.thanos_gate(site, member, asked_by, daemons.COMPACTOR, thanos.COMPACTOR_CALLS, judged)


def no_downsampling(site: Site, member: Member, found: State) -> Value:
    return not member.settings.compactor_downsampling


HALTED = Alert(
    "ThanosCompactHalted",
    "storage",
    {"warning": None},
    "The compactor on <host> has halted",
    "It found blocks that overlap or are broken, and does nothing more until somebody has looked: its journal names "
    "them, docs/storage.md has the way out. Queries go on; no retention is applied meanwhile.",
)
MULTIPLE_RUNNING = Alert(
    "ThanosCompactMultipleRunning",
    "storage",
    {"critical": None},
    "{{ $value }} compactors are scraped, and the site has <wanted>",
    "Two compactors on one bucket write over each other. Stop the one that is not the site's at once, and look for "
    "overlaps with thanos tools bucket verify.",
)
HAS_NOT_RUN = Alert(
    "ThanosCompactHasNotRun",
    "storage",
    {"warning": None},
    "The compactor on <host> has not finished a pass for a day",
    "It hangs, one pass takes longer than a day, every pass fails, or it has halted. Blocks pile up, queries over "
    "long ranges get slow, and no retention is applied. See journalctl -u <unit> on the host, its memory and its "
    "disk.",
)
FAILS = Alert(
    "ThanosCompactFailing",
    "storage",
    {"warning": None},
    "The compactor on <host> fails to merge, downsample or delete",
    "What failed is tried again in its next pass. While it goes on, blocks pile up and retention is late. journalctl "
    "-u <unit> on the host names the block and the error.",
    patience=3,
)
FALLS_BEHIND = Alert(
    "ThanosCompactFallsBehind",
    "storage",
    {"warning": None},
    "The compactor on <host> has more left to do than a day ago: {{ $value }} compactions",
    "More blocks come than it merges. Give it more CPU and disk (--compact.concurrency in compactor_flags), or find "
    "out why its passes take longer: journalctl -u <unit>.",
    patience=12,
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    info = daemons.COMPACTOR
    compactors = site.scraped(member, info)
    if not compactors:
        return
    job, by, hour = starter.ours(site, member, info), "sum by (instance, host)", starter.window(member, count=240)
    yield from HALTED.rules(member, f"thanos_compact_halted{{{job}}} == 1")
    # Whatever the job: one that somebody else runs is not in ours. There is no lock in the bucket.
    wanted = len(compactors)
    yield from MULTIPLE_RUNNING.rules(member, f"count(thanos_compact_halted) > {wanted}", wanted=wanted)
    yield from HAS_NOT_RUN.rules(
        member,
        f"increase(thanos_compact_iterations_total{{{job}}}[1d]) == 0\n"
        f"and on (instance) time() - process_start_time_seconds{{{job}}} > 86400",
        unit=info.unit,
    )
    parts = ("group_compactions", "downsample", "garbage_collection", "block_cleanup")
    failed = "\nor ".join(
        f"{by} (increase(thanos_compact_{part}_failures_total{{{job}}}[{hour}])) > 0" for part in parts
    )
    yield from FAILS.rules(member, failed, unit=info.unit)
    todo = f"thanos_compact_todo_compactions{{{job}}}"
    yield from FALLS_BEHIND.rules(
        member,
        f"{by} ({todo}) > {by} ({todo} offset 1d)\nand {by} (min_over_time({todo}[1d])) > 0",
        unit=info.unit,
    )


def _check_compactor(view: View) -> Iterator[Finding]:
    """The compactor has not halted."""
    for member, report in view.reports(daemons.COMPACTOR):
        if report.ready and report.values.get(thanos.HALTED):
            yield Finding(
                member.name,
                "compaction",
                "thanos-compactor has halted, and does nothing any more",
                f"{thanos.HALTED} 0",
                f"its journal names the blocks; docs/storage.md has the way out. "
                f"{verify_view.journal(member.own(daemons.COMPACTOR).unit)}",
            )


COMPACTOR = Role(
    "compactor",
    daemons.COMPACTOR.group,
    component,
    gate,
    needs=(SEAWEEDFS, MINIO),
    stands_in=nobody,
    values={daemons.COMPACTOR: {"downsampling.disable": no_downsampling}},
    alerts=alerts,
    verdicts=(_check_compactor,),
)
