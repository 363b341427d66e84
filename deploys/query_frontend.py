"""As a run of its own: deploys/lib/roles/query_frontend.py is the role."""

from deploys import alone
from deploys.lib.roles.query_frontend import FRONTEND
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(FRONTEND)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(FRONTEND)
