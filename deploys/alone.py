"""One role as a run of its own: `pyinfra inventory.py deploys/ROLE.py`."""

from prometheus_ha.deploys import base, preflight, software, web
from prometheus_ha.deploys.lib.engine.role import Role
from prometheus_ha.deploys.lib.run import rollout


def deploy(role: Role) -> None:
    """The role, after all that its daemons are started with; it goes from the hosts that are no members any more."""
    preflight.deploy()
    base.deploy()
    software.deploy()
    web.deploy()
    rollout.leave(role)
    rollout.roll(role)
