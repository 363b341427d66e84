"""As a run of its own: deploys/lib/roles/prometheus is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.prometheus import PROMETHEUS
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(PROMETHEUS)


def run() -> None:
    """As a run of its own."""
    alone.deploy(PROMETHEUS)


if __name__ == "builtins":  # as a deploy file
    run()
