"""As a run of its own: deploys/lib/roles/compactor.py is the role."""

from deploys import alone
from deploys.lib.roles.compactor import COMPACTOR
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(COMPACTOR)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(COMPACTOR)
