"""As a run of its own: deploys/lib/roles/alertmanager.py is the role."""

from deploys import alone
from deploys.lib import rollout
from deploys.lib.roles.alertmanager import ALERTMANAGER


def deploy() -> None:
    rollout.roll(ALERTMANAGER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(ALERTMANAGER)
