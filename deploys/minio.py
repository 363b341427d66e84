"""As a run of its own: deploys/lib/roles/minio.py is the role."""

from deploys import alone
from deploys.lib.roles.minio import MINIO
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(MINIO)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(MINIO)
