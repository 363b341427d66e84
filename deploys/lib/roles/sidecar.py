"""A Thanos sidecar beside a Prometheus that somebody else runs (spec/003 1 and 2): attached to it, and no more.

Any version from 2.2.1, in a container or under a hand-written unit. Nothing of it is touched: its files, its data and
its unit stay as they are, and what it lacks is a finding of the preflight. The sidecar runs as the account that owns
the data, as it reads the blocks and writes thanos.shipper.json there. Back up means: ready, and it sees its Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.engine import gates, service
from prometheus_ha.deploys.lib.engine.component import Component
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, nobody
from prometheus_ha.deploys.lib.engine.service import thanos_directories
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding
from prometheus_ha.deploys.lib.roles import attached_checks
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return service.component(
        "sidecar",
        *(site, member, found, daemons.ATTACHED),
        directories=thanos_directories(member.own(daemons.ATTACHED)),
    )


# Whether another one has the same series is its owner's to know.


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and it sees its Prometheus, which is somebody else's."""

    def judged(report: thanos.Report) -> Progress:
        if report.values.get(thanos.PROMETHEUS_UP) != 1:
            return Progress(False, "it does not see its Prometheus yet", "sidecar")
        return Progress(True, "ready, and sees its Prometheus", "ok")

    calls = thanos.calls(thanos.PROMETHEUS_UP)
    return gates.thanos_gate(site, member, asked_by, daemons.ATTACHED, calls, judged)


def _check_attached(site: Site, member: Member) -> Iterator[Finding]:
    """What is needed to stand beside somebody else's Prometheus."""
    if daemons.ATTACHED.group not in member.groups:
        return
    finding = partial(host_finding, member)
    if daemons.PROMETHEUS.group in member.groups:
        allowed = "one of them: the Prometheus of a host is ours, with its sidecar, or somebody else's"
        yield finding("groups", "prometheus and sidecar", allowed)
    if member.settings.attached_data_dir is None:
        allowed = "the data directory of the Prometheus that the sidecar is attached to"
        yield finding("attached_data_dir", "nothing", allowed)


SIDECAR = Role(
    "sidecar",
    daemons.ATTACHED.group,
    component,
    gate,
    stands_in=nobody,
    values={daemons.ATTACHED: {}},
    surveys=attached_checks.questions,
    judges=(attached_checks.judge,),
    findings=(_check_attached,),
)
