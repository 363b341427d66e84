"""One file or folder a role: its files and unit, how it is checked, what "back up" means, who stands in for it."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
