"""The platform as a guest in somebody else's pyinfra project: its deploys are functions among their operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from pyinfra import host, inventory, state

from prometheus_ha.deploys.lib.daemons import GROUPS
from prometheus_ha.deploys.lib.survey.load import is_guest


def are_we(run: Any) -> bool:
    """Whether the run is of a project that has the platform as a guest."""
    return is_guest(run.inventory)


def deploy(run: Callable[[], None]) -> Callable[[], None]:
    """A deploy of ours as a function: on a host that is in none of our groups it does nothing, where we are guests."""

    @wraps(run)
    def on_host() -> None:
        if not (are_we(state) and not set(inventory.get_host(host.name).groups) & set(GROUPS)):
            run()

    return on_host
