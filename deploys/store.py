"""As a run of its own: deploys/lib/roles/store.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.store import STORE
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(STORE)


def run() -> None:
    """As a run of its own."""
    alone.deploy(STORE)


if __name__ == "builtins":  # as a deploy file
    run()
