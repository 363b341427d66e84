"""Are uploads proven, where local blocks are dropped soon? A check of `preflight`, and of `verify`.

Blocks of two hours are uploaded as soon as they are whole. With `prometheus_retention_time` as short as the documents'
2h (spec/003) an object store that is away for hours loses data, so whoever uploads is asked whether it does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib.common.preflight_view import View
from prometheus_ha.deploys.lib.daemons import RECEIVE, SIDECAR
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import PROVEN_RETENTION
from prometheus_ha.facts.reports import thanos

LOCAL = {SIDECAR.name: "prometheus_retention_time", RECEIVE.name: "receive_retention"}
"""Component that uploads -> setting that says how long the local blocks stay. How long somebody else's Prometheus keeps
its own is its owner's to say."""


FRESH = 3
"""Hours within which an upload has to have succeeded: there is a block every two."""


def short(member: Member) -> dict[str, str]:
    """Component -> retention, of those that drop blocks so soon that uploads have to be proven."""
    return {
        component: kept
        for component, setting in LOCAL.items()
        if component in member.components and derived.uploads(member)
        for kept in (getattr(member.settings, setting),)
        if 0 < seconds(kept) < seconds(PROVEN_RETENTION)
    }


def questions(site: Site, member: Member) -> dict[str, str]:
    """Name -> script that asks on the host; empty where local blocks stay for long enough."""
    return {
        f"uploads {component}": script(site, member, component, thanos.SIDECAR_CALLS) for component in short(member)
    }


def unproven(report: thanos.SidecarReport) -> str:
    """Why uploads are not proven; empty where one succeeded in the last hours. A counter of failures proves nothing: it
    cannot tell whether they are over."""
    if not report.ready:
        return f"it is not ready: {report.errors.get('ready', 'no answer')}"
    also = f", and {report.failed} operations on the bucket failed" if report.failed else ""
    if not report.last_upload:
        return f"nothing was uploaded since it was started{also}"
    hours = (time.time() - report.last_upload) / 3600
    return f"the last one was {hours:.0f} hours ago{also}" if hours > FRESH else ""


def finding(member: Member, component: str, check: str, report: thanos.SidecarReport) -> Iterator[Finding]:
    """What is said of a component where it matters, under the name of a check."""
    kept, why = short(member).get(component), unproven(report)
    if kept and why:
        yield Finding(
            member.name,
            check,
            f"blocks are dropped after {kept}, and uploads of {component} are not proven: {why}",
            f"uploads that succeed, or a retention of {PROVEN_RETENTION} or more",
            f"an upload that fails for hours is data that is lost: set {LOCAL[component]} back until "
            "the metric thanos_objstore_bucket_last_successful_upload_time moves",
            "warn",
        )


def judge(view: View) -> Iterator[Finding]:
    """Hosts that are to drop blocks soon while nothing proves that they are in the bucket by then."""
    for member, host in view.members():
        for component in short(member):
            try:
                report = thanos.parse_sidecar(host.asked.get(f"uploads {component}", []))
            except FactProcessError as error:
                report = thanos.SidecarReport(ready=False, errors={"ready": str(error)})
            yield from finding(member, component, "uploads", report)
