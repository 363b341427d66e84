"""As a run of its own: deploys/lib/roles/node_exporter.py is the role."""

from deploys import preflight, software, web
from deploys.lib.roles.node_exporter import NODE_EXPORTER
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.spread(NODE_EXPORTER)


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    software.deploy()
    web.deploy()
    deploy()
