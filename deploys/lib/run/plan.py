"""What a run says it does to each host: before it, as the plan; while it is on, for its record.

The plan is made by the code that makes the change. While pyinfra detects changes, `rollout.step` drains its parts: what
they say is kept here, and what they yield is dropped. Nothing but the look is run on a host for it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from pyinfra.context import ctx_state

from prometheus_ha.deploys.lib.run.look import parts
from prometheus_ha.deploys.lib.run.memory import kept


def as_one(role: str) -> str:
    """Title of the step in which all members go live at once, where that is due."""
    return f"{role}: all members in one step"


NEW = "no member runs it yet: all start in one step"
"""What is said of the members of a new tier."""


_TURN = ": turn of "


def turn(role: str, host: str) -> str:
    """Title of the step in which `host` alone is changed."""
    return f"{role}{_TURN}{host}"


def in_turn(title: str) -> bool:
    """Whether that is the step of one host alone."""
    return _TURN in title


_SPREAD = ": one host first, then all others at once"


def spread(role: str) -> str:
    """Title of the two steps in which one host goes first."""
    return f"{role}{_SPREAD}"


def role_of(title: str) -> str:
    """The role that a step belongs to, by its title."""
    return title.partition(":")[0]


def nobody_has(role: str, members: Iterable[str], parts: Mapping[str, Container[str]]) -> bool:
    """Is the tier a new one? `parts` are the roles that each host has, as it was looked at; one that was not might
    run."""
    return all(name in parts and role not in parts[name] for name in members)


@dataclass
class Book:
    """What was said: step -> host -> lines, and the hosts on which each step does something."""

    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    busy: dict[str, set[str]] = field(default_factory=dict)
    steps: set[str] = field(default_factory=set)
    idle: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Role -> host on which nothing of it runs -> all its members."""

    def settle(self, parts: Mapping[str, Container[str]]) -> None:
        """Members of a new tier have no turns. While a run is planned, hosts are looked at at their own pace: which
        tiers are new is known at its end."""
        for role, hosts in self.idle.items():
            for host, members in hosts.items():
                if nobody_has(role, members, parts):
                    lines = self.lines.pop(turn(role, host), {}).get(host, [])
                    for line in [NEW, *lines]:
                        self.say(as_one(role), host, line)
                    if self.busy.pop(turn(role, host), None):
                        self.act(as_one(role), host)
        self.idle.clear()

    def say(self, step: str, host: str, line: str) -> None:
        line = line.removeprefix(f"{role_of(step)}: ")
        self.lines.setdefault(step, {}).setdefault(host, []).append(line)

    def act(self, step: str, host: str) -> None:
        self.busy.setdefault(step, set()).add(host)

    def of_host(self, host: str) -> list[str]:
        """What was said of one host, each line with its role."""
        return [f"{role_of(step)}: {line}" for step, said in self.lines.items() for line in said.get(host, [])]


class _Books(dict[bool, Book]):
    def __init__(self) -> None:
        super().__init__({False: Book(), True: Book()})


def books(state) -> dict[bool, Book]:
    """The plan (False) and the run's own words (True)."""
    return kept(_Books, state)


def book() -> Book:
    """The book of the stage that the run is in."""
    state = ctx_state.get()
    return books(state)[state.is_executing]


def table(plan: Book, order: Iterable[str], hosts: list[str], away: Iterable[str] = ()) -> list[str]:
    """The plan as lines of text: `order` has the steps' titles as the run takes them, `hosts` those of the run, as the
    inventory has them, and `away` those that cannot be reached."""
    found = []
    titles = [title for title in dict.fromkeys(order) if plan.lines.get(title)]
    for (role, alone), group in groupby(titles, lambda title: (role_of(title), in_turn(title))):
        if alone:
            found.append(f"{role}: one host after another, as numbered")
            found += _turns([plan.lines[title] for title in group])
        else:
            steps = list(group)
            found.append(steps[0] if _SPREAD in steps[0] else f"{role}: all hosts at once")
            said: dict[str, list[str]] = {}
            for title in steps:
                for host, lines in plan.lines[title].items():
                    said.setdefault(host, []).extend(lines)
            found += _at_once(said, hosts)
    idle = [name for name in hosts if not any(name in busy for busy in plan.busy.values())]
    if idle:
        found.append(f"nothing to do: {', '.join(idle)}")
    if away := sorted(away):
        found.append(f"cannot be reached, keep what they have: {', '.join(away)}")
    return found


def _at_once(said: dict[str, list[str]], hosts: list[str]) -> list[str]:
    """Hosts with the same lines together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in hosts:
        if name in said:
            alike.setdefault(tuple(said[name]), []).append(name)
    found = []
    for lines, names in alike.items():
        found += [f"  {', '.join(names)}", *(f"      {line}" for line in lines)]
    return found


def _turns(turns: list[dict[str, list[str]]]) -> list[str]:
    found, before = [], None
    for number, said in enumerate(turns, 1):
        [(name, lines)] = said.items()
        if lines == before:
            found.append(f"  {number}. {name}: the same")
        else:
            found += [f"  {number}. {name}", *(f"      {line}" for line in lines)]
        before = lines
    return found


def of_run(state, announced: Callable[[], list[str]], hosts: Container[str]) -> list[str]:
    """The plan of the run that pyinfra is about to make on these `hosts`, as lines, after what is `announced`; empty
    where it has no step of ours."""
    plan = books(state)[False]
    if not plan.steps:
        return []
    plan.settle(parts())
    titles = [name for op in state.get_op_order() for name in sorted(state.op_meta[op].names)]
    living = [host.name for host in state.inventory if host in state.active_hosts and host.name in hosts]
    return announced() + table(plan, titles, living, [one.name for one in state.failed_hosts if one.name in hosts])


REFUSED = "refused: "
"""Beginning of the line of a step that will not be taken."""


def refusals(state) -> list[str]:
    """What the plan foresees that a host will refuse: host, role and reason."""
    return [
        f"{host}: {role_of(step)}: {line.removeprefix(REFUSED)}"
        for step, said in books(state)[False].lines.items()
        for host, lines in said.items()
        for line in lines
        if line.startswith(REFUSED)
    ]
