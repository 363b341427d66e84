"""What a host says of itself, read with one command each.

Every module holds the shell snippet that is run, a pure function ``parse(lines)`` for what it
prints, and the pyinfra fact that joins the two. ``parse`` is used outside pyinfra too; importing it
loads ``pyinfra.api`` (and so gevent, a fifth of a second) but patches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import wraps
from typing import Any, TypeVar

import yaml
from pyinfra.api.exceptions import FactProcessError

T = TypeVar("T")

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
            text = " | ".join(line for line in found if line.strip())
            raise FactProcessError(
                f"{parse.__module__}: not understood ({type(error).__name__}: {error}), "
                f"found: {text[:300] or 'nothing'}"
            ) from error

    return parse_or_explain
