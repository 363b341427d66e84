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
        directories=thanos_directories(daemons.COMPACTOR),
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


def alerts(site: Site, member: Member) -> Iterator[Data]:
    compactors, for_ = site.scraped(member, daemons.COMPACTOR), member.settings.timing.for_
    if not compactors:
        return
    job = starter.ours(site, member, daemons.COMPACTOR)
    yield starter.alert(
        "ThanosCompactHalted",
        f"thanos_compact_halted{{{job}}} == 1",
        "warning",
        "The compactor on {{ or $labels.host $labels.instance }} has halted",
        "It found blocks that overlap or are broken, and does nothing more until somebody has "
        "looked: its journal names them, docs/storage.md has the way out. Queries go on; "
        "no retention is applied meanwhile.",
        for_,
    )
    yield starter.alert(
        "ThanosCompactMultipleRunning",
        # Whatever the job: one that somebody else runs is not in ours. There is no lock in the bucket.
        f"count(thanos_compact_halted) > {len(compactors)}",
        "critical",
        "{{ $value }} compactors are scraped, and the site has " + str(len(compactors)),
        "Two compactors on one bucket write over each other. Stop the one that is not the "
        "site's at once, and look for overlaps with thanos tools bucket verify.",
        for_,
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
                f"{verify_view.journal(daemons.COMPACTOR.unit)}",
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
