"""As a run of its own: deploys/lib/roles/querier.py is the role."""

from deploys import alone
from deploys.lib.roles.querier import QUERIER
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(QUERIER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(QUERIER)
