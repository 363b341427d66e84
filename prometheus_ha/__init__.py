"""The platform as one package: what a wheel installs, and the name by which all code imports it.

In a checkout the directories are links to those at its top. `pyinfra inventory.py prometheus_ha.site` is what
`deploys/site.py` is, and so is every other deploy by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def configure(guest: bool = False) -> None:
    """What a site's `config.py` calls; see `deploys/lib/run/configure.py`.

    :param guest: the project is another one, which calls deploys of ours among its own operations: hosts that are in
        none of our groups, and groups and settings that are not ours, are left to it.
    """
    _module("deploys.lib.run.configure").load(guest)


def __getattr__(name: str) -> Callable[..., None]:
    """The deploy of that name, as a function for pyinfra: `prometheus_ha.site`, `prometheus_ha.verify`, ..."""
    if name.startswith("_") or find_spec(f"{__name__}.deploys.{name}") is None:
        raise AttributeError(f"{__name__} has no deploy {name}")
    run = getattr(_module(f"deploys.{name}"), "run", None)
    if run is None:
        raise AttributeError(f"{__name__}.deploys.{name} is no deploy")
    return _module("deploys.lib.run.guests").deploy(run)


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name}")
