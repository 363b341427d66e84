"""As a run of its own: deploys/lib/roles/alertmanager is the role."""

from deploys import alone
from deploys.lib.roles.alertmanager import ALERTMANAGER
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(ALERTMANAGER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(ALERTMANAGER)
