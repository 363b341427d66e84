"""As a run of its own: deploys/lib/roles/seaweedfs.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.seaweedfs import SEAWEEDFS
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(SEAWEEDFS)


def run() -> None:
    """As a run of its own."""
    alone.deploy(SEAWEEDFS)


if __name__ == "builtins":  # as a deploy file
    run()
