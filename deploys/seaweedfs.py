"""As a run of its own: deploys/lib/roles/seaweedfs.py is the role."""

from deploys import alone
from deploys.lib.roles.seaweedfs import SEAWEEDFS
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(SEAWEEDFS)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(SEAWEEDFS)
