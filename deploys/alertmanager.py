"""As a run of its own: deploys/lib/roles/alertmanager is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.alertmanager import ALERTMANAGER
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(ALERTMANAGER)


def run() -> None:
    """As a run of its own."""
    alone.deploy(ALERTMANAGER)


if __name__ == "builtins":  # as a deploy file
    run()
