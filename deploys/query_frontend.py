"""As a run of its own: deploys/lib/roles/query_frontend.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.query_frontend import FRONTEND
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(FRONTEND)


def run() -> None:
    """As a run of its own."""
    alone.deploy(FRONTEND)


if __name__ == "builtins":  # as a deploy file
    run()
