"""As a run of its own: deploys/lib/roles/minio.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.minio import MINIO
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(MINIO)


def run() -> None:
    """As a run of its own."""
    alone.deploy(MINIO)


if __name__ == "builtins":  # as a deploy file
    run()
