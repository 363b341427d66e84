"""As a run of its own: deploys/lib/roles/compactor.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.compactor import COMPACTOR
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(COMPACTOR)


def run() -> None:
    """As a run of its own."""
    alone.deploy(COMPACTOR)


if __name__ == "builtins":  # as a deploy file
    run()
