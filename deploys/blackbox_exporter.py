"""As a run of its own: deploys/lib/roles/blackbox_exporter.py is the role."""

from deploys import alone
from deploys.lib.roles.blackbox_exporter import BLACKBOX_EXPORTER
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(BLACKBOX_EXPORTER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(BLACKBOX_EXPORTER)
