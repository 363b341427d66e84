"""The platform as one package: what a wheel installs, and the name by which all code imports it.

In a checkout the directories are links to those at its top. `pyinfra inventory.py prometheus_ha.site` is what
`deploys/site.py` is, and so is every other deploy by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec


def configure() -> None:
    """What a site's `config.py` calls; see `deploys/lib/run/configure.py`."""
    import_module(f"{__name__}.deploys.lib.run.configure").load()


def __getattr__(name: str) -> Callable[..., None]:
    """The deploy of that name, as a function for pyinfra: `prometheus_ha.site`, `prometheus_ha.verify`, ..."""
    module = f"{__name__}.deploys.{name}"
    if name.startswith("_") or find_spec(module) is None:
        raise AttributeError(f"{__name__} has no deploy {name}")
    run = getattr(import_module(module), "run", None)
    if run is None:
        raise AttributeError(f"{module} is no deploy")
    return run
