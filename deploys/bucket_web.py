"""As a run of its own: deploys/lib/roles/bucket_web.py is the role."""

from deploys import alone
from deploys.lib.roles.bucket_web import BUCKET_WEB
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(BUCKET_WEB)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(BUCKET_WEB)
