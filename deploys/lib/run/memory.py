"""What a run remembers of itself: on pyinfra's own state, so that it ends with the run, and by one name there."""

from __future__ import annotations

from typing import Any, TypeVar

from pyinfra.context import ctx_state

T = TypeVar("T")

_NAME = "_monitoring"


def kept(kind: type[T], state: Any = None) -> T:
    """The one `kind` of this run (of that of `state`), made by `kind()` where there is none yet."""
    memory = (ctx_state.get() if state is None else state).__dict__.setdefault(_NAME, {})
    # By name: pyinfra runs a deploy file anew for each host, and its classes are others each time.
    key = f"{kind.__module__}.{kind.__qualname__}"
    if key not in memory:
        memory[key] = kind()
    return memory[key]
