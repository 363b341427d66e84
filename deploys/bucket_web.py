"""As a run of its own: deploys/lib/roles/bucket_web.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.bucket_web import BUCKET_WEB
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(BUCKET_WEB)


def run() -> None:
    """As a run of its own."""
    alone.deploy(BUCKET_WEB)


if __name__ == "builtins":  # as a deploy file
    run()
