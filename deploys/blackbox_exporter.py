"""As a run of its own: deploys/lib/roles/blackbox_exporter.py is the role."""

from prometheus_ha.deploys import alone
from prometheus_ha.deploys.lib.roles.blackbox_exporter import BLACKBOX_EXPORTER
from prometheus_ha.deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(BLACKBOX_EXPORTER)


def run() -> None:
    """As a run of its own."""
    alone.deploy(BLACKBOX_EXPORTER)


if __name__ == "builtins":  # as a deploy file
    run()
