"""As a run of its own: deploys/lib/roles/rule.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.rule import RULE
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(RULE)


def run() -> None:
    """As a run of its own."""
    alone.deploy(RULE)


if __name__ == "builtins":  # as a deploy file
    run()
