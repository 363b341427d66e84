"""node_exporter on every host. It gates nobody: a host without its metrics is still a host that works.

A new flag or release goes to one living host first, and stops there where it does not answer with its metrics.
"""

from __future__ import annotations

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import exporters
from prometheus_ha.deploys.lib.engine import service
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, nobody
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import NO_ANSWER, Call, only_metrics, split
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State):
    return service.component("node_exporter", site, member, found, daemons.exporters.NODE_EXPORTER)


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """It answers with its metrics."""
    info = exporters.NODE_EXPORTER
    calls = [Call("ready", info.ready_path, only_metrics(info.version_metric))]

    def judge(lines: list[str]) -> Progress:
        answer = split(lines).get("ready", NO_ANSWER)
        return Progress(answer.ok, answer.problem or "answers with its metrics", answer.status or None)

    return Gate(script(site, member, info.name, calls), judge)


NODE_EXPORTER = Role(
    "node_exporter",
    exporters.NODE_EXPORTER.group,
    component,
    gate,
    stands_in=nobody,
    values={exporters.NODE_EXPORTER: {}},
)
