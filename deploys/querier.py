"""As a run of its own: deploys/lib/roles/querier.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.querier import QUERIER
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(QUERIER)


def run() -> None:
    """As a run of its own."""
    alone.deploy(QUERIER)


if __name__ == "builtins":  # as a deploy file
    run()
