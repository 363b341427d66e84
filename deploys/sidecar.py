"""As a run of its own: deploys/lib/roles/sidecar.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.sidecar import SIDECAR
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(SIDECAR)


def run() -> None:
    """As a run of its own."""
    alone.deploy(SIDECAR)


if __name__ == "builtins":  # as a deploy file
    run()
