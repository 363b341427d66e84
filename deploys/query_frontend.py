"""As a run of its own: deploys/lib/roles/query_frontend.py is the role."""

from deploys import alone
from deploys.lib import rollout
from deploys.lib.roles.query_frontend import FRONTEND


def deploy() -> None:
    rollout.roll(FRONTEND)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(FRONTEND)
