"""node_exporter on every host. It gates nobody: a host without its metrics is still a host that works."""

from deploys import preflight, software, web
from deploys.lib import rollout
from deploys.lib.service import daemons
from deploys.lib.site import Member, Site
from facts.look import State


def component(site: Site, member: Member, found: State):
    return daemons("node_exporter", site, member, found, "node_exporter")


NODE_EXPORTER = rollout.Role("node_exporter", None, component)


def deploy() -> None:
    rollout.converge(NODE_EXPORTER)


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    software.deploy()
    web.deploy()
    deploy()
