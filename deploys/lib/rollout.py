"""Staging in parallel, activating in series: the only place that orders hosts.

A role is rolled out by two calls of pyinfra operations:

- `stage`, one operation that *every* host of the run passes, whether it has the role or not. So it is the barrier
  as well: without one, hosts with different roles run past each other.
- one turn a member, in inventory order. Each is an operation that only this member has, and pyinfra finishes an
  operation on all its hosts before it begins the next.

Nothing here yields a command where nothing is to be done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pyinfra import host, inventory, state
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.exceptions import FactProcessError
from pyinfra.context import ctx_state

from deploys.lib import topology
from deploys.lib.component import (
    Change,
    Component,
    Service,
    compare,
    stage_script,
    swap_script,
)
from deploys.lib.look import forget, look_at_host
from deploys.lib.site import Member, Site, load_site
from facts.look import State
from facts.probe import Probe

PATIENCE = 90.0
"""Seconds a gate waits without any progress before it fails: longer than Alertmanager's
`--cluster.settle-timeout`, the querier's reading of its stores, and the half minute between two looks
of the sidecar at Prometheus."""
PAUSE = 0.5
"""Seconds between two looks of a gate."""
TELL = 5.0
"""Seconds between two words of a gate that waits."""


@dataclass(frozen=True)
class Progress:
    """What a gate saw: `ok` when it may open, else what it waits for; a changed `measure` is progress."""

    ok: bool
    says: str
    measure: object = None


@dataclass(frozen=True)
class Gate:
    """How to see whether a member does its job: a probe script, run on a host, and the judgement of its output."""

    script: str
    judge: Callable[[list[str]], Progress]
    patience: float = PATIENCE


@dataclass(frozen=True)
class Role:
    """A tier of the site, and what the rollout needs to know of it.

    `component(site, member, state)` is what the role wants on a member; `gate(site, member, asked_by)` is how
    `asked_by` sees whether `member` does its job (a member asks itself after its own restart, and another one before);
    `reloaded(site, member)` how the member itself sees that it loaded what is on its disk. `needs` are the groups
    whose failure stops this role. A role without a gate gates nobody.
    """

    name: str
    group: str | None
    component: Callable[[Site, Member, State], Component]
    gate: Callable[[Site, Member, Member], Gate] | None = None
    reloaded: Callable[[Site, Member], Gate] | None = None
    needs: tuple[str, ...] = ()

    def members(self, site: Site) -> list[Member]:
        return site.members(self.group) if self.group else list(site.hosts.values())


def site() -> Site:
    """The site as the inventory and its data describe it, read once a run."""
    memory = ctx_state.get().__dict__
    if "_monitoring_site" not in memory:
        memory["_monitoring_site"] = load_site(inventory)
        # Who cannot be reached is known before the first operation, and must not stop the reloads of the living.
        memory["_monitoring_dead"] = {failed.name for failed in state.failed_hosts}
    return memory["_monitoring_site"]


def member() -> Member:
    """The current host as a member of the site."""
    return site().hosts[host.name]


def dead() -> set[str]:
    """Names of the hosts that could not be reached when the run began."""
    site()
    return ctx_state.get().__dict__["_monitoring_dead"]


def _failed(groups) -> list[str]:
    """Hosts of `groups` that failed in this run, after it reached them."""
    names = {member.name for group in groups for member in site().members(group)}
    return sorted(failed.name for failed in state.failed_hosts if failed.name in names - dead())


def run(script: str) -> StringCommand:
    """A script as a command. It goes in by stdin: it may hold secrets, and argv is everybody's to read.

    Each command of ours brings its own stdin, since pyinfra hands the last one on to the next command.
    """
    return StringCommand("sh", "-s", _stdin=script.splitlines())


def refuse(reason: str) -> StringCommand:
    """A command that fails the host, saying why."""
    return run(f"cat >&2 <<'END'\n{reason}\nEND\nexit 1")


def say(message: str) -> None:
    """Tell the operator, while the run is on (and not while it is being planned, which happens before)."""
    if state.is_executing:
        host.log(message)


def see(host, gate: Gate) -> Progress:
    """What the gate sees now. An answer that cannot be read (the connection broke) is no progress."""
    try:
        return gate.judge(host.get_fact(Probe, script=gate.script))
    except FactProcessError as error:
        return Progress(False, str(error))


def wait(state, host, gate: Gate, purpose: str) -> bool:
    """Look until the gate opens. Fails once nothing has moved for its patience: a large write-ahead log may
    take minutes to replay, and does so visibly."""
    measure, since, said, told = None, time.monotonic(), "", -TELL
    while True:
        progress = see(host, gate)
        if progress.ok:
            host.log(f"{purpose}: {progress.says}")
            return True
        now = time.monotonic()
        if progress.measure not in (None, measure):  # no answer is no progress
            measure, since = progress.measure, now
        if progress.says != said and now - told >= TELL:
            said, told = progress.says, now
            host.log(f"{purpose}: waiting, {said}")
        if now - since > gate.patience:
            host.log_styled(
                f"{purpose}: no progress for {gate.patience:.0f} s: {progress.says}", fg="red"
            )
            return False
        time.sleep(PAUSE)


def _ask_others(state, host, gates: list[tuple[str, Gate]], patience: float = PATIENCE) -> bool:
    """Never the last one: is there another member that does its job? One that is about to (replaying) is waited for."""
    measure, since = None, time.monotonic()
    while True:
        seen = [(name, see(host, gate)) for name, gate in gates]
        if any(progress.ok for _, progress in seen):
            return True
        now = time.monotonic()
        if measure != [progress.measure for _, progress in seen]:
            measure, since = [progress.measure for _, progress in seen], now
        elif now - since > patience or all(progress.measure is None for _, progress in seen):
            why = "; ".join(f"{name}: {progress.says}" for name, progress in seen)
            host.log_styled(
                f"not taken down: no other member of its tier does its job ({why}). Mend that one first, "
                "or accept the outage with --data allow_outage=true",
                fg="red",
            )
            return False
        time.sleep(PAUSE)


# --- Steps ----------------------------------------------------------------------------------------

Part = Callable[[State], Iterator]
"""Given the look, yields the commands that change what differs: none where nothing does."""


@operation()
def _step(title: str, parts: tuple[Part, ...]):
    """The one operation of this package: parts, each with a fresh look where the one before it did something."""
    changed = False
    for part in parts:
        found = look_at_host()
        if found is None:
            yield refuse("the look at this host failed")
            return
        try:
            for command in part(found):
                changed = True
                yield command
        except ValueError as error:
            # Let out, it would end the run of every host, without a table.
            yield refuse(f"{title}: {error}")
            return
        if changed:
            forget()
    if not changed:
        host.noop(f"{title} is as wanted")


def step(name: str, *parts: Part) -> None:
    """A step of the run that every host takes. It counts as a change only where a part yields a command."""
    _step(name=name, title=name, parts=parts)


def converge(role: Role) -> None:
    """Roll a role out on all its hosts at once. For what no other host waits for (exporters, log rotation)."""
    step(role.name, converging(role))


def roll(role: Role) -> None:
    """Roll a role out: staged and checked on all its hosts at once, activated host by host in inventory order."""
    step(f"{role.name}: stage and check", partial(_stage, role))
    members = [member.name for member in role.members(site())]
    if host.name in members:
        for name in host.loop(members):  # host.loop gives each turn an identity of its own
            if name == host.name:
                step(f"{role.name}: turn of {name}", partial(_turn, role))


def converging(role: Role) -> Part:
    """A part that stages, checks and activates a role at once."""
    return partial(_converge, role)


# --- Parts ----------------------------------------------------------------------------------------


def _difference(role: Role, found: State) -> tuple[Component, Change]:
    """What the role wants here (nothing at all where the host left it), and how the host differs."""
    if any(member().name == other.name for other in role.members(site())):
        component = role.component(site(), member(), found)
    else:
        component = Component(role.name)
    return component, compare(component, found)


def _converge(role: Role, found: State) -> Iterator:
    component, change = _difference(role, found)
    for line in change.lines():
        say(f"{role.name}: {line}")
    if change.content or change.directories:
        yield run(stage_script(component, change))
    if change.live:
        yield from _activate(role, component, change)


def _stage(role: Role, found: State) -> Iterator:
    """Bring what differs beside the live files, and let the new version's own checkers judge it there."""
    component, change = _difference(role, found)
    for name in change.foreign:
        say(f"{role.name}: {name} is not ours and is left alone")
    if _failed((*role.needs, *([role.group] if role.group else []))):
        host.noop(f"{role.name} is stopped by a failure before it")
        return
    if not component.files:
        if change.content:
            say(f"{role.name} leaves this host: {'; '.join(change.lines())}")
            yield run(swap_script(component, change))
        return
    for name in change.directories:
        say(f"{role.name}: directory {name}")
    if change.content or change.directories:
        yield run(stage_script(component, change))
    restarts = change.actions("restart")
    if restarts and role.gate and len(role.members(site())) == 1:
        say(f"{role.name} is a tier of one: an outage of {', '.join(restarts)} follows")


def _turn(role: Role, found: State) -> Iterator:
    """A member's turn: swap; start, restart or reload what runs something else; wait until it does its job."""
    stopped = _failed((*role.needs, role.group) if role.gate else ())
    if stopped:
        say(f"{role.name} keeps what it runs: {', '.join(stopped)} failed")
        return
    component, change = _difference(role, found)
    for line in change.lines():
        say(f"{role.name}: {line}")
    if change.live:
        yield from _activate(role, component, change)


def _activate(role: Role, component: Component, change: Change) -> Iterator:
    me = member()
    starts, restarts, reloads = (change.actions(a) for a in ("start", "restart", "reload"))
    if restarts and role.gate and not me.settings.allow_outage:
        others = [m for m in role.members(site()) if m.name != me.name]
        if others:
            gates = [(m.name, role.gate(site(), m, me)) for m in others]
            yield FunctionCommand(_ask_others, [gates], {})
    script = swap_script(component, change)
    names = [service.name for service in component.services]
    for action, services in (("restart", [*starts, *restarts]), ("reload", reloads)):
        if services:
            # In the component's order, and in the same command as the swap: the connection may be gone after it.
            ordered = [name for name in names if name in services]
            script += f"systemctl {action} {' '.join(ordered)}\n"
    yield run(script)
    if starts or restarts:
        yield FunctionCommand(_settled, [component.services], {})
        if role.gate:
            yield FunctionCommand(
                wait, [role.gate(site(), me, me)], {"purpose": f"{role.name} does its job"}
            )
    elif reloads and role.reloaded:
        yield FunctionCommand(_loaded, [role, me, reloads], {})


def _settled(state, host, services: tuple[Service, ...]) -> bool:
    """Are the services active, and not on their way round a crash loop?"""
    names = " ".join(service.name for service in services)
    script = f"systemctl is-active {names} || true"

    def judge(lines: list[str]) -> Progress:
        return Progress(
            all(line == "active" for line in lines), f"{names}: {', '.join(lines)}", tuple(lines)
        )

    if wait(state, host, Gate(script, judge, patience=15), purpose="started"):
        return True
    journal = "for u in %s; do systemctl is-active --quiet $u || journalctl -n 15 -o cat --no-pager -u $u; done"
    for line in host.get_fact(Probe, script=journal % names + "; true"):
        host.log(line)
    return False


def _loaded(state, host, role: Role, member: Member, services: list[str]) -> bool:
    """Did the daemon accept what it was told to load? If not, nothing may say that it had."""
    if wait(
        state,
        host,
        role.reloaded(site(), member),
        purpose=f"{role.name} loaded its files",
    ):
        return True
    stamps = " ".join(f"{topology.STAMPS}/{name}.loaded" for name in services)
    host.get_fact(Probe, script=f"rm -f {stamps}; true")
    return False
