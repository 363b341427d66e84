"""As a run of its own: deploys/lib/roles/minio.py is the role."""

from deploys import alone
from deploys.lib import rollout
from deploys.lib.roles.minio import MINIO


def deploy() -> None:
    rollout.roll(MINIO)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(MINIO)
