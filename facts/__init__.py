"""What a host says of itself, read with one command each.

Every module holds the shell snippet that is run, a pure function ``parse(lines)`` for what it
prints, and the pyinfra fact that joins the two. ``parse`` is used outside pyinfra too; importing it
loads ``pyinfra.api`` (and so gevent, a fifth of a second) but patches nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import wraps
from typing import Any, TypeVar

import yaml
from pyinfra.api.exceptions import FactProcessError

T = TypeVar("T")

_UNIT_PLACES = " ".join(
    f"{root}/{place}"
    for root, places in {
        "/etc/systemd": ("system",),
        "/run/systemd": ("system", "generator", "generator.late", "transient"),
        "/usr/local/lib/systemd": ("system",),
        "/usr/lib/systemd": ("system",),
        "/lib/systemd": ("system",),
        "/sys/fs/cgroup": ("system.slice", "systemd/system.slice"),
    }.items()
    for place in places
)
"""Where a service has a file, or a control group while it runs."""


def known_units(services: Iterable[str]) -> str:
    """Shell that sets `$known` to those of `services` (names with `.service`) that have a file or run. systemd itself
    searches for each one that it does not know, which takes it a millisecond and more."""
    names = " ".join(map(shlex.quote, services))
    return (
        f"known=; for n in {names}; do for d in {_UNIT_PLACES}; do "
        'if [ -e $d/$n ] || [ -L $d/$n ]; then known="$known $n"; break; fi; done; done'
    )


_PARSE_TROUBLE = (AttributeError, LookupError, TypeError, ValueError, yaml.YAMLError)


class Reading:
    """Base of what facts return; ``pyinfra ... fact`` prints it by ``to_json``."""

    def to_json(self) -> dict[str, Any]:
        """The fields, nested ones too, as plain data."""
        return asdict(self)  # type: ignore[call-overload]


def guarded(parse: Callable[[list[str]], T]) -> Callable[[Iterable[str]], T]:
    """Let ``parse`` fail with FactProcessError only.

    Any other exception raised while a fact is processed ends the whole pyinfra run, on all hosts.
    """

    @wraps(parse)
    def parse_or_explain(lines: Iterable[str]) -> T:
        found = list(lines)
        try:
            return parse(found)
        except FactProcessError:
            raise
        except _PARSE_TROUBLE as error:
            fact = parse.__module__.replace(".reports.", ".")
            text = " | ".join(line for line in found if line.strip())
            raise FactProcessError(
                f"{fact}: not understood ({type(error).__name__}: {error}), found: {text[:300] or 'nothing'}"
            ) from error

    return parse_or_explain
