"""As a run of its own: deploys/lib/roles/node_exporter.py is the role."""

from prometheus_ha.deploys import preflight, software, web
from prometheus_ha.deploys.lib.roles.node_exporter import NODE_EXPORTER
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.spread(NODE_EXPORTER)


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    software.deploy()
    web.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
