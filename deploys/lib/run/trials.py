"""What a plan would write is judged by the hosts' own checkers before anybody is asked: all files of a host together,
as a later role may read what an earlier one brings. In a run that is not planned (-y), staging does it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_ha.deploys.lib.engine.component import (
    NOT_CHECKED,
    Change,
    Checked,
    Component,
    check_script,
    read_checks,
)
from prometheus_ha.deploys.lib.run.hosts import at_once
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.facts.probe import probe
from prometheus_ha.facts.reports.look import sections


@dataclass
class Trials:
    """What is to be judged, and what was said of it."""

    wanted: dict[str, dict[str, tuple[Component, Change]]] = field(default_factory=dict)
    """Host -> role -> what would be written."""
    said: dict[str, dict[str, Checked]] = field(default_factory=dict)
    """Host -> role -> the checkers' words."""


def of(state: Any) -> Trials:
    """Those of a run."""
    return kept(Trials, state)


def want(host: str, component: Component, change: Change) -> None:
    """Have this judged before the plan is shown."""
    if change.content and component.checks:
        kept(Trials).wanted.setdefault(host, {})[component.name] = component, change


def judge(state: Any) -> Trials:
    """Ask the checkers on all hosts, side by side, of what was planned for them."""
    trials = of(state)

    heard: dict[str, dict[str, Checked]] = {}

    def ask(host: Any) -> None:
        parts = trials.wanted[host.name]
        try:
            said = sections(probe(host, check_script(parts.values())))
        except Exception as error:  # noqa: BLE001  (of pyinfra, its connector, or an answer that is none)
            said, lost = {}, Checked((), (f"the host did not answer ({error})",))
        else:
            lost = Checked((), ("the checkers did not answer",))
        heard[host.name] = {name: read_checks(said[name]) if name in said else lost for name in parts}

    hosts = at_once(state, trials.wanted, ask)
    trials.said = {host.name: heard[host.name] for host in hosts}
    return trials


def refused(trials: Trials, users: Callable[[Component, str], str]) -> list[str]:
    """What the checkers refused, as lines: the same words once for all hosts that have them. `users` says a line with
    the user's own file in it, where the text is from one."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for host, roles in trials.said.items():
        for role, checked in roles.items():
            if checked.refused:
                component, _ = trials.wanted[host][role]
                words = tuple(users(component, line) for line in offending(checked.refused))
                found.setdefault((role, words), []).append(host)
    lines = []
    for (role, words), hosts in found.items():
        lines += [f"{role} on {', '.join(hosts)} is refused by its checker:", *(f"    {word}" for word in words)]
    return lines


_HEADER = re.compile(r"\s*(Checking (?!.*FAILED).*|SUCCESS.*|)")
"""Lines of promtool and amtool that say what is well, or which file is next."""


def offending(lines: Sequence[str]) -> list[str]:
    """A checker's lines without those on what is well: all of them where nothing else is left."""
    return [line.strip() for line in lines if not _HEADER.fullmatch(line)] or list(lines)


def refusal(trials: Trials) -> str:
    """The same in one sentence; empty where nothing was refused."""
    roles = dict.fromkeys(role for said in trials.said.values() for role, one in said.items() if one.refused)
    return f"{', '.join(roles)}: mend what the checker says above" if roles else ""


def not_checked(trials: Trials) -> list[str]:
    """What was not checked, and which checkers were missing."""
    found: dict[str, list[str]] = {}
    for host, roles in trials.said.items():
        for tool in dict.fromkeys(_each(checked.without for checked in roles.values())):
            found.setdefault(tool, []).append(host)
    return [f"{NOT_CHECKED}{tool}, on {', '.join(hosts)}" for tool, hosts in found.items()]


def _each(groups: Iterable[Iterable[str]]) -> list[str]:
    return [one for group in groups for one in group]
