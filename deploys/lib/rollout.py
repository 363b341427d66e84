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
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.context import ctx_state

from deploys.lib import plan, runs, topology
from deploys.lib.component import (
    Change,
    Component,
    Service,
    compare,
    foresee,
    foresee_directories,
    stage_script,
    swap_script,
)
from deploys.lib.findings import printable
from deploys.lib.look import forget, look_at_host
from deploys.lib.site import Member, Site, load_site
from facts.look import State
from facts.probe import Probe

PATIENCE = 90.0
"""Seconds a gate waits without any progress before it fails: longer than Alertmanager's
`--cluster.settle-timeout`, the querier's reading of its stores, and the half minute between two looks
of the sidecar at Prometheus."""
STANDSTILL = 20.0
"""Seconds without progress after which a member that does not do its job is taken for broken."""
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


ROLES: dict[str, Role] = {}
"""Every role that was imported, by name."""


@dataclass(frozen=True)
class Role:
    """A tier of the site, and what the rollout needs to know of it.

    `component(site, member, state)` is what the role wants on a member; `gate(site, member, asked_by)` is how
    `asked_by` sees whether `member` does its job (a member asks itself after its own restart, and another one before);
    `reloaded(site, member)` how the member itself sees that it loaded what is on its disk. `needs` are the groups
    whose failure stops this role. A role without a gate gates nobody. Members of one that is `alone` do not stand in
    for each other: each is a tier of one, restarted with its outage said beforehand. `enough(site, member)` is how many
    others have to do their job while `member` is down.
    """

    name: str
    group: str | None
    component: Callable[[Site, Member, State], Component]
    gate: Callable[[Site, Member, Member], Gate] | None = None
    reloaded: Callable[[Site, Member], Gate] | None = None
    needs: tuple[str, ...] = ()
    alone: bool = False
    enough: Callable[[Site, Member], int] = lambda site, member: 1

    def __post_init__(self) -> None:
        ROLES[self.name] = self

    def members(self, site: Site) -> list[Member]:
        return site.members(self.group) if self.group else list(site.hosts.values())

    def others(self, site: Site, member: Member) -> list[Member]:
        """The members that do its job while `member` is down."""
        return [m for m in self.members(site) if m.name != member.name and not self.alone]


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
    """A command that fails the host, saying why: in words that may be a daemon's or a user's, and
    must not become a part of the script."""
    lines = [printable(line) for line in reason.splitlines()]
    text = "\n".join(f"{line} " if line == "END" else line for line in lines)
    return run(f"cat >&2 <<'END'\n{text}\nEND\nexit 1")


def say(message: str) -> None:
    """Tell the operator what is done to this host: at once, or as a line of the plan while that is being made."""
    _note(message)
    if state.is_executing:
        host.log(message)


def planning() -> bool:
    """Is the run only being planned? Then nothing may be done, and commands are dropped."""
    return not state.is_executing


def _note(message: str) -> None:
    names = state.op_meta[host.current_op_hash].names if host.current_op_hash else ()
    plan.book().say(", ".join(names), host.name, message)


def see(host, gate: Gate) -> Progress:
    """What the gate sees now. An answer that cannot be read (the connection broke) is no progress."""
    try:
        return gate.judge(host.get_fact(Probe, script=gate.script))
    except FactProcessError as error:
        return Progress(False, str(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # Let out, it would end the run of every host with a traceback.
        return Progress(False, f"an answer that is not understood ({error!r})")


def follow(look: Callable[[], Progress], patience: float, tell: Callable[[str], None]) -> Progress:
    """Look until the gate opens, and return what was seen last. Ends once nothing has moved for `patience` seconds: a
    large write-ahead log may take minutes to replay, and does so visibly."""
    measure, since, said, told = None, time.monotonic(), "", -TELL
    while True:
        progress, now = look(), time.monotonic()
        if progress.measure not in (None, measure):  # no answer is no progress
            measure, since = progress.measure, now
        if progress.ok or now - since > patience:
            return progress
        if progress.says != said and now - told >= TELL:
            said, told = progress.says, now
            tell(said)
        time.sleep(PAUSE)


def wait(state, host, gate: Gate, purpose: str) -> bool:
    """Follow a gate until it opens; false, and said, where it does not."""

    def tell(what: str) -> None:
        host.log(f"{purpose}: waiting, {what}")

    progress = follow(lambda: see(host, gate), gate.patience, tell)
    if progress.ok:
        host.log(f"{purpose}: {progress.says}")
    else:
        why = f"no progress for {gate.patience:.0f} s: {progress.says}"
        host.log_styled(f"{purpose}: {why}", fg="red")
    return progress.ok


def _ask_others(
    state, host, gates: list[tuple[str, Gate]], enough: int = 1, own: Gate | None = None
) -> bool:
    """Never the last one: do `enough` others do their job? Those that are about to (replaying) are waited for.

    Where they do not, one that does no job itself (`own`), and comes no nearer to it, may go down all the same: what is
    broken everywhere, as by a change that all of them wait for, would otherwise be mended nowhere.
    """
    if enough == 1:
        wanted, lacking = (
            "another member of its tier is",
            "no other member of its tier does its job",
        )
    else:
        wanted, lacking = (
            f"{enough} others of its tier are",
            f"{enough} others of its tier must do their job",
        )

    def look() -> Progress:
        seen = [(name, see(host, gate)) for name, gate in gates]
        measures = tuple(progress.measure for _, progress in seen if not progress.ok)
        return Progress(
            sum(progress.ok for _, progress in seen) >= enough,
            "; ".join(f"{name}: {progress.says}" for name, progress in seen),
            None if set(measures) == {None} else measures,
        )

    def tell(what: str) -> None:
        host.log(f"{wanted} to do the job first: waiting, {what}")

    progress = look()
    if not progress.ok and own:
        mine = follow(lambda: see(host, own), STANDSTILL, tell)
        if not mine.ok:
            host.log(
                f"{lacking} ({progress.says}); nor does this one do its own ({mine.says}), and "
                "nothing is lost by a restart"
            )
            return True
    if progress.measure is not None:  # where nobody is about to, waiting is in vain
        progress = follow(look, PATIENCE, tell)
    if not progress.ok:
        host.log_styled(
            f"not taken down: {lacking} ({progress.says}). Mend that first, "
            "or accept the outage with --data allow_outage=true",
            fg="red",
        )
    return progress.ok


# --- The run --------------------------------------------------------------------------------------


def begin() -> None:
    """This run changes hosts: the first look at each takes its lock, and what is done is recorded."""
    current = ctx_state.get()
    if "_monitoring_run" not in current.__dict__:
        current._monitoring_run = runs.Run(current, site())
        current.add_callback_handler(current._monitoring_run)
        # pyinfra's own order lets a host that has fewer steps run ahead of the others; ours is that of the files.
        current.get_op_order = lambda: sorted(
            current.op_meta, key=lambda step: current.op_meta[step].op_order
        )


def first_look(extra: dict[str, str] | None = None) -> State | None:
    """The run's first look at this host, with `extra` sections. Where the run changes things, it takes the host's lock
    by the same command; once all hosts were looked at, the run ends where another one holds one of them."""
    current = ctx_state.get().__dict__.get("_monitoring_run")
    if not current or planning() or host.name in current.answers:
        return look_at_host(extra)
    if not current.began:  # where pyinfra tells of no operation
        raise PyinfraError("--serial: hosts cannot be locked one by one")
    found = look_at_host({"lock": current.lock_script(host.name), **(extra or {})})
    if found is not None:
        current.looked(host.name, found)
    return found


def _first_change() -> Iterator:
    current = ctx_state.get().__dict__.get("_monitoring_run")
    if current and not planning() and (script := current.changing_script(host.name)):
        yield run(script)


@operation()
def lock():
    """The first look, for a run that has no preflight."""
    if not planning() and first_look() is None:
        yield refuse("the look at this host failed")


# --- Steps ----------------------------------------------------------------------------------------

Part = Callable[[State], Iterator]
"""Given the look, yields the commands that change what differs: none where nothing does."""


@operation()
def _step(title: str, parts: tuple[Part, ...]):
    """The one operation of this package: parts, each with a fresh look where the one before it did something.

    While the run is planned, the parts are drained at once (pyinfra takes the first command only, for a yes or no), and
    each goes on with what the one before it has foreseen.
    """
    changed = False
    plan.book().steps.add(title)
    for part in parts:
        found = look_at_host()
        if found is None:
            yield refuse("the look at this host failed")
            return
        try:
            for command in part(found):
                if not changed:
                    changed = True
                    plan.book().act(title, host.name)
                    yield from _first_change()
                if not planning():
                    yield command
        except ValueError as error:
            # Let out, it would end the run of every host, without a table.
            _note(f"refused: {error}")
            plan.book().act(title, host.name)
            yield refuse(f"{title}: {error}")
            return
        if changed and not planning():
            forget()
    if not changed:
        host.noop(f"{title} is as wanted")
    elif planning():
        yield refuse("this is a plan")  # never run: it says that there is a change


def step(name: str, *parts: Part) -> None:
    """A step of the run that every host takes. It counts as a change only where a part yields a command."""
    _step(name=name, title=name, parts=parts)


def converge(role: Role) -> None:
    """Roll a role out on all its hosts at once. For what no other host waits for (exporters, log rotation)."""
    step(role.name, converging(role))


def leave(*roles: Role) -> None:
    """What a host has of these roles (by default: of all that were imported), and is no member of any more, goes.

    Before any of them is rolled out: two replicas of one name, or two compactors, would be worse than a gap.
    """
    gone = [role for role in roles or ROLES.values() if member() not in role.members(site())]
    step("roles that left", *(partial(_leave, role) for role in gone))


def roll(role: Role) -> None:
    """Roll a role out: staged and checked on all its hosts at once, activated host by host in inventory order."""
    members = [member.name for member in role.members(site())]
    if host.name in members:
        step(f"{role.name}: stage and check", partial(_stage, role))
        for name in host.loop(members):  # host.loop gives each turn an identity of its own
            if name == host.name:
                step(plan.turn(role.name, name), partial(_turn, role))


def converging(role: Role) -> Part:
    """A part that stages, checks and activates a role at once."""
    return partial(_converge, role)


# --- Parts ----------------------------------------------------------------------------------------


def _difference(role: Role, found: State) -> tuple[Component, Change]:
    """What the role wants here, and how the host differs. Of one look the same is wanted, staged or live."""
    made = {} if planning() else found.__dict__.setdefault("_differences", {})
    if role.name not in made:
        component = role.component(site(), member(), found)
        made[role.name] = component, compare(component, found)
    return made[role.name]


def _leave(role: Role, found: State) -> Iterator:
    if found.manifests.get(role.name):
        component = Component(role.name)
        change = compare(component, found)
        say(f"{role.name} leaves this host: {'; '.join(change.lines())}")
        yield run(swap_script(component, change))
        foresee(component, change, found)


def _converge(role: Role, found: State) -> Iterator:
    component, change = _difference(role, found)
    for line in change.lines():
        say(f"{role.name}: {line}")
    if change.content or change.directories:
        yield run(stage_script(component, change))
    if change.live:
        yield from _activate(role, component, change)
    foresee(component, change, found)


def _stage(role: Role, found: State) -> Iterator:
    """Bring what differs beside the live files, and let the new version's own checkers judge it there."""
    component, change = _difference(role, found)
    for name in change.foreign:
        say(f"{role.name}: {name} is not ours and is left alone")
    if _failed((*role.needs, role.group)):
        host.noop(f"{role.name} is stopped by a failure before it")
        return
    for name in change.directories:
        say(f"{role.name}: directory {name}")
    if change.content or change.directories:
        yield run(stage_script(component, change))
    foresee_directories(component, change, found)
    if role.gate and (restarts := change.actions("restart")):
        _warn_of_outage(role, ", ".join(restarts))


def _warn_of_outage(role: Role, services: str) -> None:
    """Say before anything is restarted what nobody stands in for."""
    others = [other.name for other in role.others(site(), member())]
    if not others:
        say(f"{role.name} is a tier of one: an outage of {services} follows")
    elif set(others) <= dead():
        nobody = f"{role.name}: no other member can be reached ({', '.join(others)})"
        if member().settings.allow_outage:
            say(f"{nobody}: an outage of {services} follows")
        else:
            say(f"{nobody}: no outage is risked, {services} goes down only if one does its job yet")


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
    foresee(component, change, found)


def _activate(role: Role, component: Component, change: Change) -> Iterator:
    me = member()
    starts, restarts, reloads = (change.actions(a) for a in ("start", "restart", "reload"))
    if restarts and role.gate and not me.settings.allow_outage:
        others = role.others(site(), me)
        if others:
            gates = [(m.name, role.gate(site(), m, me)) for m in others]
            enough = min(role.enough(site(), me), len(gates))
            # As the others would ask it: it still runs with the scheme and the intervals of before.
            own = role.gate(site(), me, others[0])
            yield FunctionCommand(_ask_others, [gates, enough, own], {})
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
    if reloads and role.reloaded:
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
