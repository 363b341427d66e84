"""As a run of its own: deploys/lib/roles/receive.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.receive import RECEIVE
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(RECEIVE)


def run() -> None:
    """As a run of its own."""
    alone.deploy(RECEIVE)


if __name__ == "builtins":  # as a deploy file
    run()
