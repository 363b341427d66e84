"""As a run of its own: deploys/lib/roles/receive.py is the role."""

from deploys import alone
from deploys.lib.roles.receive import RECEIVE
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(RECEIVE)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(RECEIVE)
