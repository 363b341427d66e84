"""Thanos query frontends: they split long ranges by the day, and keep what was answered.

Before a querier of the same host, else one of the site's. A partial answer is never kept. A new flag, release or cache
is a restart, one frontend at a time. Back up means: a query through it is answered.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import verify_view
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.daemons.declare import Value
from prometheus_ha.deploys.lib.daemons.thanos import FRONTEND_CACHE, FRONTEND_CLIENT
from prometheus_ha.deploys.lib.engine import documents, gates, service
from prometheus_ha.deploys.lib.engine.component import Component
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, alike
from prometheus_ha.deploys.lib.engine.service import thanos_directories
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.roles.querier import QUERIER
from prometheus_ha.deploys.lib.site import derived, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import NO_ANSWER
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    own, client = member.own(daemons.FRONTEND), frontend_client_yml(site, member)
    files = {own.at(FRONTEND_CLIENT): documents.file(client, "web_client")}
    if cache := member.settings.frontend_cache:
        files[own.at(FRONTEND_CACHE)] = documents.file(cache, "frontend_cache")
    return service.component(
        "query-frontend",
        *(site, member, found, daemons.FRONTEND),
        files=files,
        directories=thanos_directories(own),
    )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """A query through it is answered: before 0.39 it calls itself ready, whatever its querier does."""

    def judged(report: thanos.Report) -> Progress:
        answer = report.answers.get("query", NO_ANSWER)
        if not answer.ok:
            return Progress(False, f"no query is answered: {answer.problem}", answer.status or None)
        return Progress(True, "a query through it is answered", "ok")

    return gates.thanos_gate(site, member, asked_by, daemons.FRONTEND, thanos.FRONTEND_CALLS, judged)


def cache(site: Site, member: Member, found: State) -> Value:
    return member.own(daemons.FRONTEND).at(FRONTEND_CACHE) if member.settings.frontend_cache else None


def forwarded(site: Site, member: Member, found: State) -> Value:
    return "Authorization" if web.asks_password(member.settings) else None


def frontend_client_yml(site: Site, member: Member) -> Data:
    """How a query frontend reaches its querier (upstream's query-frontend.md, downstream tripper).

    The password is that of whoever asks, which the frontend passes on; the CA is ours.
    """
    queriers = site.running(daemons.QUERIER)
    asked = [m for m in queriers if m.name == member.name] or queriers
    tls = web.http_config(m.settings for m in asked).get("tls_config")
    # Upstream keeps two idle connections, and opens one for each further query that goes on.
    return {"max_idle_conns_per_host": 100, **({"tls_config": tls} if tls else {})}


def _check_frontends(view: View) -> Iterator[Finding]:
    """A query through each frontend is answered."""
    for member, report in view.reports(daemons.FRONTEND):
        answer = report.answers.get("query", NO_ANSWER)
        if report.ready and not answer.ok:
            yield Finding(
                member.name,
                "frontend",
                f"a query through thanos-query-frontend is not answered: {answer.problem}",
                "an answer",
                f"does the querier behind it run? {verify_view.journal(member.own(daemons.FRONTEND).unit)}",
                about=view.querier_behind(member),
            )


FRONTEND = Role(
    "query-frontend",
    daemons.FRONTEND.group,
    component,
    gate,
    needs=(QUERIER,),
    stands_in=alike(lambda member: member.settings.frontend_downstream),
    values={
        daemons.FRONTEND: {
            "query-frontend.downstream-url": lambda site, member, found: derived.frontend_downstream(site, member),
            "query-frontend.forward-header": forwarded,
            "query-range.response-cache-config-file": cache,
            "labels.response-cache-config-file": cache,
        }
    },
    verdicts=(_check_frontends,),
)
