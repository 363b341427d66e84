"""As a run of its own: deploys/lib/roles/rule.py is the role."""

from deploys import alone
from deploys.lib.roles.rule import RULE
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(RULE)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(RULE)
