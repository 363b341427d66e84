"""Thanos query frontends: they split long ranges by the day, and keep what was answered.

Before a querier of the same host, else one of the site's. A partial answer is never kept. A new flag, release or cache
is a restart, one frontend at a time. Back up means: a query through it is answered.
"""

from deploys import alone
from deploys.lib import config, gates, rollout, topology
from deploys.lib.component import Component
from deploys.lib.service import daemons, thanos_directories
from deploys.lib.site import Member, Site
from deploys.querier import QUERIER
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    client = config.frontend_client_yml(site, member)
    files = {topology.FRONTEND_CLIENT: config.file(client, "web_client")}
    if cache := member.settings.frontend_cache:
        files[topology.FRONTEND_CACHE] = config.file(cache, "frontend_cache")
    return daemons(
        "query-frontend",
        *(site, member, found, "thanos-query-frontend"),
        files=files,
        directories=thanos_directories("thanos-query-frontend"),
    )


FRONTEND = rollout.Role(
    "query-frontend",
    "query_frontend",
    component,
    gates.frontend,
    needs=(QUERIER,),
    stands_in=rollout.alike(lambda member: member.settings.frontend_downstream),
)


def deploy() -> None:
    rollout.roll(FRONTEND)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(FRONTEND)
