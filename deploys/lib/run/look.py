"""The look a run takes at each host: one command, remembered until something on that host is changed.

pyinfra itself remembers no fact, and runs the facts of an operation again when it executes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyinfra import host, state

from prometheus_ha.deploys.lib.common.look_script import default_script
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.facts.look import Look
from prometheus_ha.facts.probe import piped
from prometheus_ha.facts.reports.look import State


@dataclass
class Looks:
    """What this run saw of its hosts."""

    last: dict[str, State] = field(default_factory=dict)
    """Host -> the last look at it, forgotten or not: what the others have to know of it."""
    parts: dict[str, frozenset[str]] = field(default_factory=dict)
    """Host -> the roles that have something there, as the last look found it: not what a plan foresees."""
    valid: dict[str, dict[bool, State]] = field(default_factory=dict)
    """Host -> stage of the run -> a look since which nothing was changed there."""


def looks() -> dict[str, State]:
    """`Looks.last` of this run."""
    return kept(Looks).last


def parts() -> dict[str, frozenset[str]]:
    """`Looks.parts` of this run."""
    return kept(Looks).parts


def look_at_host(extra: dict[str, str] | None = None) -> State | None:
    """The current host as last seen in this stage of the run; `None` where the look failed.

    `extra` (name -> script) has it look again, with more sections in the same command. What was seen before a
    confirmation prompt may be hours old when the run goes on: stages do not share a look.
    """
    memory = kept(Looks).valid.setdefault(host.name, {})
    if extra or state.is_executing not in memory:
        script = default_script(sysctls=host.data.get("sysctl"), extra=extra)
        # Not failed by pyinfra itself, which ends in a traceback where no other host is left.
        found = host.get_fact(Look, sent=True, _stdin=piped(script, at_once=True), _ignore_errors=True)
        if found is None:
            return None
        memory[state.is_executing] = looks()[host.name] = found
        parts()[host.name] = frozenset(found.manifests)
    return memory[state.is_executing]


def forget() -> None:
    """Something on the current host was changed: look again before the next comparison."""
    kept(Looks).valid.pop(host.name, None)
