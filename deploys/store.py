"""As a run of its own: deploys/lib/roles/store.py is the role."""

from deploys import alone
from deploys.lib.roles.store import STORE
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(STORE)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(STORE)
