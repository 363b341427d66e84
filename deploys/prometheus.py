"""As a run of its own: deploys/lib/roles/prometheus is the role."""

from deploys import alone
from deploys.lib.roles.prometheus import PROMETHEUS
from deploys.lib.run import rollout


def deploy() -> None:
    rollout.roll(PROMETHEUS)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(PROMETHEUS)
