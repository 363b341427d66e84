"""As a run of its own: deploys/lib/roles/alert_relay.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.alert_relay import ALERT_RELAY
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(ALERT_RELAY)


def finish() -> None:
    """It goes where no channel is left, once no Alertmanager has a route to it."""
    rollout.leave_last(ALERT_RELAY)


def run() -> None:
    """As a run of its own."""
    alone.deploy(ALERT_RELAY)


if __name__ == "builtins":  # as a deploy file
    run()
