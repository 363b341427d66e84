"""As a run of its own: deploys/lib/roles/sidecar.py is the role."""

from deploys import alone
from deploys.lib.roles.sidecar import SIDECAR
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(SIDECAR)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(SIDECAR)
