"""As a run of its own: deploys/lib/roles/upper.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.upper import UPPER
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(UPPER)


def run() -> None:
    """As a run of its own."""
    alone.deploy(UPPER)


if __name__ == "builtins":  # as a deploy file
    run()
