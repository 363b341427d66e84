"""node_exporter on every host. It gates nobody: a host without its metrics is still a host that works.

A new flag or release goes to one living host first, and stops there where it does not answer with its metrics.
"""

from deploys import preflight, software, web
from deploys.lib import gates, rollout
from deploys.lib.service import daemons
from deploys.lib.site import Member, Site
from facts.reports.look import State


def component(site: Site, member: Member, found: State):
    return daemons("node_exporter", site, member, found, "node_exporter")


NODE_EXPORTER = rollout.Role(
    "node_exporter", None, component, gates.node_exporter, stands_in=rollout.nobody
)


def deploy() -> None:
    rollout.spread(NODE_EXPORTER)


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    software.deploy()
    web.deploy()
    deploy()
