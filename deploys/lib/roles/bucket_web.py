"""Thanos bucket web: the blocks of the bucket on a page, for people. Optional, and read-only.

Nobody waits for it. A new flag, release or key is a restart.
"""

from __future__ import annotations

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.engine import gates, service
from prometheus_ha.deploys.lib.engine.component import Component
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, nobody
from prometheus_ha.deploys.lib.engine.service import thanos_directories
from prometheus_ha.deploys.lib.roles.minio import MINIO
from prometheus_ha.deploys.lib.roles.seaweedfs import SEAWEEDFS
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    return service.component(
        "bucket-web",
        *(site, member, found, daemons.BUCKET_WEB),
        directories=thanos_directories(member.own(daemons.BUCKET_WEB)),
    )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready."""
    ready = Progress(True, "ready", "ok")
    calls = thanos.calls()
    return gates.thanos_gate(site, member, asked_by, daemons.BUCKET_WEB, calls, lambda _: ready)


BUCKET_WEB = Role(
    "bucket-web",
    daemons.BUCKET_WEB.group,
    component,
    gate,
    needs=(SEAWEEDFS, MINIO),
    stands_in=nobody,
    values={daemons.BUCKET_WEB: {}},
)
