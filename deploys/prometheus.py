"""As a run of its own: deploys/lib/roles/prometheus.py is the role."""

from deploys import alone
from deploys.lib import rollout
from deploys.lib.roles.prometheus import PROMETHEUS


def deploy() -> None:
    rollout.roll(PROMETHEUS)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(PROMETHEUS)
