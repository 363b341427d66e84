"""As a run of its own: deploys/lib/roles/upper.py is the role."""

from deploys import alone
from deploys.lib import rollout
from deploys.lib.roles.upper import UPPER


def deploy() -> None:
    rollout.roll(UPPER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(UPPER)
