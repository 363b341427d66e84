"""As a run of its own: deploys/lib/roles/upper.py is the role."""

from deploys import alone
from deploys.lib.roles.upper import UPPER
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(UPPER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(UPPER)
