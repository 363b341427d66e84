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
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from pyinfra import host, inventory, logger, state
from pyinfra.api import FileUploadCommand, FunctionCommand, StringCommand, operation
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.context import ctx_state

from prometheus_ha.deploys.lib.common import faults
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST
from prometheus_ha.deploys.lib.engine.ask import AT_ONCE, at_once, script, side_by_side
from prometheus_ha.deploys.lib.engine.component import (
    Change,
    Component,
    compare,
    foresee,
    foresee_directories,
    stage_script,
    swap_script,
)
from prometheus_ha.deploys.lib.engine.role import PATIENCE, ROLES, Followed, Gate, Progress, Role
from prometheus_ha.deploys.lib.ground import alive, topology
from prometheus_ha.deploys.lib.ground.findings import printable
from prometheus_ha.deploys.lib.run import backtests, checkers, differences, plan, quiet, runs, trials
from prometheus_ha.deploys.lib.run.look import forget, look_at_host, looks, parts
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.site import live, relations
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey.load import load_site
from prometheus_ha.facts.http import Call, split
from prometheus_ha.facts.probe import probe
from prometheus_ha.facts.reports.look import State, sections

STANDSTILL = 20.0
"""Seconds without progress after which a member that does not do its job is taken for broken."""
PAUSE = 0.5
"""Seconds between two looks of a gate, at first. Then a tenth of the time that it has waited: each look is work for a
host that may have much to do."""
LONGEST_PAUSE = 2.0
"""Seconds between two looks of a gate, at most."""
TELL = 5.0
"""Seconds between two words of a gate that waits."""
STEADY = 10.0
"""Seconds that a daemon which crashed once must stay up before its gate opens: otherwise a gate that opens early opens
between two crashes, and the next member follows."""


KNOWN_CRASHES = 15
"""Crashes in a row that are let pass, where each is a fault that the release is known to have. One of Thanos comes at
each start within a minute (thanos#8990): twelve, as systemd waits for five seconds in between."""


@dataclass
class _Known:
    """What the steps of a run know of its tiers."""

    site: Site | None = None
    new: dict[str, bool] = field(default_factory=dict)
    """Role -> whether no member had anything of it as the run came to it."""
    canaries: dict[str, str | None] = field(default_factory=dict)
    """Role -> the host that goes first."""


def site() -> Site:
    """The site as the inventory and its data describe it, read once a run."""
    known = kept(_Known)
    if known.site is None:
        # Who cannot be reached is known before the first operation, and must not stop the reloads of the living.
        seen = live.Live({failed.name for failed in state.failed_hosts}, looks(), parts())
        known.site = replace(load_site(inventory), live=seen)
    return known.site


def member() -> Member:
    """The current host as a member of the site."""
    return site().hosts[host.name]


def living() -> set[str]:
    """Names of the site's hosts that are at work in this run. In a project of somebody else's there are others too."""
    return {one.name for one in inventory.get_active_hosts()} & set(site().hosts)


def dead() -> set[str]:
    """Names of the hosts that could not be reached when the run began."""
    return site().live.away


def _failed(*roles: Role) -> list[str]:
    """Members of `roles` that failed in this run, after it reached them."""
    names = {member.name for role in roles for member in role.members(site())}
    return sorted(failed.name for failed in state.failed_hosts if failed.name in names - dead())


def run(script: str) -> StringCommand:
    """A script as a command. It goes in by stdin: it may hold secrets, and argv is everybody's to read.

    Each command of ours brings its own stdin, since pyinfra hands the last one on to the next command.
    """
    return StringCommand("sh", "-s", _stdin=script)


FAILED: dict[str, Any] = {"fg": "red", "log_func": logger.error}
"""How a failure is said: it is printed at the end of the run, with all others."""
_PROTOCOL = "ssh_file_transfer_protocol"


class Upload(FileUploadCommand):
    """A file of the control machine for a host: as pyinfra is told to (SFTP), else by scp, where the SSH server has no
    SFTP. One that cannot be brought fails its host, and not the run of all: pyinfra lets such errors through."""

    def execute(self, state, host, connector_arguments):
        data, wrong = host.connector.data, []
        for protocol in dict.fromkeys((data.get(_PROTOCOL, "sftp"), "scp")):
            data[_PROTOCOL] = protocol
            try:
                return super().execute(state, host, connector_arguments)
            except Exception as error:  # of pyinfra, paramiko, its scp, or the system
                wrong += [f"{protocol}: {printable(str(error) or repr(error))}"]
        host.log_styled(
            f"{self.dest} cannot be uploaded ({'; '.join(wrong)}): let this host's SSH server have SFTP or scp, or put "
            "the file there by other means",
            **FAILED,
        )
        return False


def refuse(reason: str) -> StringCommand:
    """A command that fails the host, saying why: in words that may be a daemon's or a user's, and
    must not become a part of the script."""
    lines = [printable(line) for line in reason.splitlines()]
    text = "\n".join(f"{line} " if line == "END" else line for line in lines)
    return run(f"cat >&2 <<'END'\n{text}\nEND\nexit 1")


def say(message: str, how: Mapping[str, bool] = quiet.TOGETHER) -> None:
    """Tell the operator what is done to this host: at once, or as a line of the plan while that is being made."""
    _note(message)
    if state.is_executing:
        _tell(host, message, how)


def _tell(host, message: str, how: Mapping[str, bool] = quiet.TOGETHER) -> None:
    """What is done to a host, to be printed with those of which the same is said."""
    host.log(message, log_func=partial(logger.info, extra=how))


def planning() -> bool:
    """Is the run only being planned? Then nothing may be done, and commands are dropped."""
    return not state.is_executing


def _note(message: str) -> None:
    names = state.op_meta[host.current_op_hash].names if host.current_op_hash else ()
    plan.book().say(", ".join(names), host.name, message)


def see(host, gate: Followed) -> Progress:
    """What the gate sees now."""
    return _read(gate, lambda: probe(host, gate.script))


def _read(gate: Followed, answer: Callable[[], list[str]]) -> Progress:
    """The gate's judgement of an answer. One that cannot be read (the connection broke) is no progress."""
    try:
        return gate.judge(answer())
    except FactProcessError as error:
        return Progress(False, str(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # Let out, it would end the run of every host with a traceback.
        return Progress(False, f"an answer that is not understood ({error!r})")


def follow(
    look: Callable[[], Progress], patience: float, tell: Callable[[str], None], silence: float = float("inf")
) -> Progress:
    """Look until the gate opens, and return what was seen last. Ends once nothing has moved for `patience` seconds: a
    large write-ahead log may take minutes to replay, and does so visibly. Ends too once nothing was there to be
    measured for `silence` seconds."""
    began = time.monotonic()
    measure, since, heard, said, told = None, began, began, "", -TELL
    while True:
        progress, now = look(), time.monotonic()
        if progress.measure is not None:
            heard = now
        if progress.measure not in (None, measure):  # no answer is no progress
            measure, since = progress.measure, now
        if progress.ok or progress.over or now - since > patience or now - heard > silence:
            return progress
        if progress.says != said and now - told >= TELL:
            said, told = progress.says, now
            tell(said)
        time.sleep(min(max(PAUSE, (now - began) / 10), LONGEST_PAUSE))


def wait(state, host, gate: Followed, purpose: str) -> bool:
    """Follow a gate until it opens; false, and said, where it does not."""

    def tell(what: str) -> None:
        host.log(f"{purpose}: waiting, {what}")

    progress = follow(lambda: see(host, gate), gate.patience, tell)
    if progress.ok:
        _tell(host, f"{purpose}: {progress.says}")
    else:
        long = "" if progress.over else f"no progress for {gate.patience:.0f} s: "
        why = f"{long}{progress.says}"
        host.log_styled(f"{purpose}: {why}", **FAILED)
    return progress.ok


def see_each(host, gates: list[tuple[str, Gate]]) -> list[tuple[str, Progress]]:
    """What several gates see now, asked side by side in one command; `gates` have names."""
    asked, said, lost = side_by_side({name: gate.script for name, gate in gates}), {}, None
    try:
        said = sections(probe(host, asked))
    except FactProcessError as error:
        lost = Progress(False, str(error))
    return [(name, lost or _read(gate, partial(_answer, said, name))) for name, gate in gates]


def _answer(said: Mapping[str, list[str]], name: str) -> list[str]:
    return said.get(name, [])


def _ask(host, gates: list[tuple[str, Gate]], enough: int) -> list[tuple[str, Progress]]:
    """What is seen of these members, until `enough` of them do their job: no more than these are asked at first, as
    they mostly do."""
    seen: list[tuple[str, Progress]] = []
    while len(seen) < len(gates) and sum(progress.ok for _, progress in seen) < enough:
        seen += see_each(host, gates[len(seen) :][: AT_ONCE if seen else max(enough, 1)])
    return seen


def _ask_others(
    state,
    host,
    gates: list[tuple[str, Gate]],
    enough: int = 1,
    own: Gate | None = None,
    away: Sequence[str] = (),
) -> bool:
    """Never the last one: do `enough` others do their job? Those that are about to (replaying) are waited for, those
    that are `away` are known not to.

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
    unreachable = [(name, Progress(False, "cannot be reached")) for name in away]

    def look() -> Progress:
        seen = [*_ask(host, gates, enough), *unreachable]
        measures = tuple(progress.measure for _, progress in seen if not progress.ok)
        return Progress(
            sum(progress.ok for _, progress in seen) >= enough,
            "; ".join(f"{name}: {progress.says}" for name, progress in seen),
            None if set(measures) <= {None} else measures,
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
    if not progress.ok and progress.measure is not None:  # where nobody is about to, waiting is in vain
        progress = follow(look, PATIENCE, tell, STANDSTILL)
    if not progress.ok:
        host.log_styled(
            f"not taken down: {lacking} ({progress.says}). Mend that first, "
            "or accept the outage with --data allow_outage=true",
            **FAILED,
        )
    return progress.ok


# --- The run --------------------------------------------------------------------------------------


def begin() -> None:
    """This run changes hosts: the first look at each takes its lock, and what is done is recorded."""
    current = ctx_state.get()
    if runs.begin(current, site(), partial(announcements, site())):
        # pyinfra's own order lets a host that has fewer steps run ahead of the others; ours is that of the files.
        current.get_op_order = lambda: sorted(current.op_meta, key=lambda step: current.op_meta[step].op_order)


def first_look(extra: dict[str, str] | None = None) -> State | None:
    """The run's first look at this host, with `extra` sections. Where the run changes things, it takes the host's lock
    by the same command; once all hosts were looked at, the run ends where another one holds one of them."""
    current = runs.current()
    extra = {**_asks_outside(), **(extra or {})}
    if not current or planning() or host.name in current.answers:
        return _heard(look_at_host(extra))
    if not current.began:  # where pyinfra tells of no operation
        raise PyinfraError("--serial: hosts cannot be locked one by one")
    found = _heard(look_at_host({**current.scripts(host.name), **extra}))
    if found is not None:
        current.looked(host.name, found)
    return found


def _in_run(name: str) -> bool:
    return state.is_host_in_limit(inventory.get_host(name))


def _asks_outside() -> dict[str, str]:
    """The question to members outside this run with what arguments they run, where all members must have the same."""
    asked = [
        script(site(), other, role.name, [Call(other.name, *live.ARGV)], either=True)
        for role in ROLES.values()
        if role.together and member() in role.members(site())
        for other in role.members(site())
        if not _in_run(other.name)
    ]
    return {"outside": at_once(asked)} if asked else {}


def _heard(found: State | None) -> State | None:
    answers = split(found.extra["outside"]) if found and found.extra.get("outside") else {}
    site().live.heard |= {name: tuple(a.body.split()) for name, a in answers.items() if a.ok}
    return found


def _first_change() -> Iterator:
    current = runs.current()
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
            _note(f"{plan.REFUSED}{error}")
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
    """Roll a role out on all its hosts at once. For what no other host waits for (log rotation)."""
    step(role.name, converging(role))


def spread(role: Role) -> None:
    """Roll a daemon out that nobody waits for: on one living host, and where it does its job there, on all others at
    once. So a release that does not start is met once, and not on every host of the site."""
    step(plan.spread(role.name), partial(_first, role))
    step(plan.spread(role.name), partial(_rest, role))


def leave(*roles: Role) -> None:
    """What a host has of these roles (by default: of all that were imported), and is no member of any more, goes.

    Before any of them is rolled out: two replicas of one name, or two compactors, would be worse than a gap. What is
    beside another daemon waits for `leave_last`.
    """
    gone = [role for role in roles or ROLES.values() if member() not in role.members(site())]
    step("roles that left", *(partial(_leave, role) for role in gone if roles or not _is_asked(role)))


def leave_last(role: Role) -> None:
    """The same of a role that is beside another one's daemon, after that one's turn: until then it may be asked."""
    if _is_asked(role):
        leave(role)


def _is_asked(role: Role) -> bool:
    return any(daemon.beside and daemon.beside[0].name in member().components for daemon in role.values)


def roll(role: Role) -> None:
    """Roll a role out: staged and checked on all its hosts at once, activated host by host in inventory order. Members
    of a new tier, which nobody can miss yet, start at once: their gates take their time."""
    members = [member.name for member in role.members(site())]
    if host.name in members:
        step(f"{role.name}: stage and check", partial(_stage, role))
        if role.gate and len(members) > 1:
            step(plan.as_one(role.name), partial(_as_one, role))
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
    if planning():
        trials.want(host.name, component, change)
        differences.want(host.name, component, change)
        backtests.want(member(), component, change, found)
        checkers.want(component, change)
    foresee(component, change, found)


def _stage(role: Role, found: State) -> Iterator:
    """Bring what differs beside the live files, and let the new version's own checkers judge it there."""
    component, change = _difference(role, found)
    for name in change.foreign:
        say(f"{role.name}: {name} is not ours and is left alone")
    if _failed(*role.needs, role):
        host.noop(f"{role.name} is stopped by a failure before it")
        return
    new = role.name not in found.manifests  # whose directories go without saying
    for name in change.directories:
        say(f"{role.name}: directory {name}", quiet.DETAIL if new else quiet.TOGETHER)
    if change.content or change.directories:
        yield run(stage_script(component, change))
    if planning():
        trials.want(host.name, component, change)
        differences.want(host.name, component, change)
        backtests.want(member(), component, change, found)
        checkers.want(component, change)
    foresee_directories(component, change, found)
    for line in (*role.means(site(), member(), found, change), *_ports_that_move(component)):
        say(f"{role.name}: {line}")
    restarts = change.actions("restart")
    if role.gate and restarts and not (role.together and role.together(site(), member(), found)):
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


def _stopped(role: Role) -> bool:
    """Whether a failure before it stops this role, which is said."""
    stopped = _failed(*role.needs, role) if role.gate else []
    if stopped:
        say(f"{role.name} keeps what it runs: {', '.join(stopped)} failed")
    return bool(stopped)


def _turn(role: Role, found: State) -> Iterator:
    """A member's turn: swap; start, restart or reload what runs something else; wait until it does its job."""
    if not _stopped(role):
        yield from _go_live(role, found)


def _go_live(role: Role, found: State, alone: bool = True) -> Iterator:
    component, change = _difference(role, found)
    for line in change.lines():
        say(f"{role.name}: {line}")
    if change.live:
        yield from _activate(role, component, change, alone)
    foresee(component, change, found)


def _as_one(role: Role, found: State) -> Iterator:
    """All members at once: where one that goes first would be alone until the last one has followed, and where the
    tier is a new one."""
    why = role.together(site(), member(), found) if role.together else ""
    if why and not _stopped(role):
        left_out = [
            other.name for other in role.members(site()) if other.name not in dead() and not _in_run(other.name)
        ]
        if left_out:
            raise ValueError(
                f"{why}, for which all members restart in one step, and {', '.join(left_out)} is not in this run: "
                "run it without --limit and --exclude"
            )
        say(f"{role.name}: {why}: all members restart in one step, an outage of seconds")
        yield from _go_live(role, found, alone=False)
    elif _is_idle(role, found):
        if planning():
            members = [one.name for one in role.members(site())]
            plan.book().idle.setdefault(role.name, {})[host.name] = members
        elif _is_new(role) and not _failed(*role.needs, role):
            say(f"{role.name}: {plan.NEW}")
            yield from _go_live(role, found, alone=False)


def _is_idle(role: Role, found: State) -> bool:
    """Is nothing in the way of the role here? Where somebody else's daemon is, others may need it."""
    component, change = _difference(role, found)
    running = [service.name for service in component.services if service.name in found.processes]
    return not running and not change.replaced


def _is_new(role: Role) -> bool:
    """Had no member anything of the role as this step began?"""
    memory = kept(_Known).new
    if role.name not in memory:
        members = [one.name for one in role.members(site())]
        memory[role.name] = plan.nobody_has(role.name, members, parts())
    return memory[role.name]


def _first(role: Role, found: State) -> Iterator:
    """The first living host on which a daemon is to be started. While the run is planned, all are among the rest."""
    if not planning() and host.name == _canary(role):
        yield from _converge(role, found)


def _rest(role: Role, found: State) -> Iterator:
    canary = None if planning() else _canary(role)
    if canary in _failed(role) and _difference(role, found)[1].due:
        say(f"{role.name} keeps what it runs: {canary}, which went first, failed")
        return
    yield from _converge(role, found)


def _canary(role: Role) -> str | None:
    """The first host of the run on which a daemon of this role is to be started, as far as they were looked at."""
    memory = kept(_Known).canaries
    if role.name not in memory:
        failed = {one.name for one in state.failed_hosts}
        memory[role.name] = next(
            (
                one.name
                for one in role.members(site())
                if one.name in looks() and one.name not in failed
                if compare(role.component(site(), one, looks()[one.name]), looks()[one.name]).due
            ),
            None,
        )
    return memory[role.name]


def _ports_that_move(component: Component) -> Iterator[str]:
    """What is dialled at a port that is another one after this turn finds nobody there, until it was told itself."""
    me, units = member(), {service.name for service in component.services}
    for name in me.components:
        info = me.own(name)
        if info.unit not in units:
            continue
        for kind in info.ports:
            before, after = (
                site().live.port(info, me.name, kind),
                site().endpoint(name, me, kind).port,
            )
            if before is None or before == after:
                continue
            who = [one for one, ports in relations.DIALS.items() if (name, kind) in ports and site().running(one)]
            where = "it" if who == [name] else ", ".join(one for one in who if one != name)
            line = f"port {before} of {name} becomes {after}"
            yield (f"{line}: until their own turns {where} and other clients find nobody there" if where else line)


def announcements(site: Site) -> list[str]:
    """What is known to be missed for a while, before anything is done: the job of a tier whose only members leave it,
    from then on until the first new one has it."""
    found = []
    for role in ROLES.values():
        if not role.gate or role.group is EVERY_HOST:
            continue
        members = role.members(site)
        has = [name for name, names in site.live.parts.items() if role.name in names]
        leaving = [name for name in has if site.hosts[name] not in members]
        # One that was not looked at may have it.
        staying = [
            m for m in members if m.name in has or m.name not in site.live.parts and m.name not in site.live.away
        ]
        coming = [m.name for m in members if m.name not in has]
        if leaving and coming and not staying:
            found.append(
                f"{role.name} moves from {', '.join(leaving)} to {', '.join(coming)}, and nobody else does its job: "
                f"an outage of it from the step 'roles that left' until the turn of {coming[0]}"
            )
    return found


def _activate(role: Role, component: Component, change: Change, alone: bool = True) -> Iterator:
    """Let a change go live; where this member goes down `alone`, the others have to do its job."""
    me = member()
    starts, restarts, reloads = (change.actions(a) for a in ("start", "restart", "reload"))
    if alone and restarts and role.gate and not me.settings.allow_outage:
        others = role.others(site(), me)
        if others:
            away = [m.name for m in others if m.name in dead()]
            gates = [(m.name, role.gate(site(), m, me)) for m in others if m.name not in away]
            enough = min(role.enough(site(), me), len(others))
            # As the others would ask it: it still runs with the scheme and the intervals of before.
            own = role.gate(site(), me, others[0])
            yield FunctionCommand(_ask_others, [gates, enough, own, away], {})
    script = swap_script(component, change)
    names = [service.name for service in component.services]
    for action, services in (("restart", [*starts, *restarts]), ("reload", reloads)):
        if services:
            # In the component's order, and in the same command as the swap: the connection may be gone after it.
            ordered = [name for name in names if name in services]
            script += f"{alive.before(action, ordered)}systemctl {action} {' '.join(ordered)}\n"
    yield run(script)
    if started := {*starts, *restarts}:
        current = runs.current()
        if current and not planning():
            current.started.setdefault(me.name, set()).update(started)
        gate = role.gate(site(), me, me) if role.gate else ACTIVE
        known = {name: faults.of_unit(me, name) for name in names}
        says = f"{role.name} does its job"
        yield FunctionCommand(_follow, [gate, names, says, started, known], {})
    if reloads and role.reloaded:
        yield FunctionCommand(_loaded, [role, me, reloads], {})


ACTIVE = Gate("", lambda lines: Progress(True, "it is up"), patience=15)
"""The gate of what cannot be asked."""


@dataclass(frozen=True)
class _Crashed:
    """A unit that crashed while its gate was waited for."""

    when: float
    times: int
    fault: str
    """The known fault that it was, as words to append; empty where it is none."""


def _watched(
    host,
    gate: Gate,
    services: list[str],
    started: Container[str],
    known: Mapping[str, list[faults.Fault]],
) -> Gate:
    """`gate`, which opens only while `services` are up, and ends where one of them is in a crash loop or has failed.

    One crash is let pass where the daemon comes back and stays, and of a fault that its release is known to have
    (`known`, by unit) some more: a busy machine meets it several times in a row, and systemd mends it. Of those that
    were `started`, systemd counts the crashes anew; the others may have some from before.
    """
    before = {name: 0 for name in services if name in started}
    crashed: dict[str, _Crashed] = {}

    def judge(lines: list[str]) -> Progress:
        units, answer = alive.read(lines)
        now, over = time.monotonic(), []
        for unit in units:
            crashes = unit.crashes - before.setdefault(unit.name, unit.crashes)
            seen = crashed.get(unit.name)
            if not unit.failed and crashes <= (seen.times if seen else 0):
                continue
            lines = _journal(host, unit.name)
            found = faults.named(known.get(unit.name, ()), alive.last_life(lines))
            words = alive.last_words(lines)[1] or unit.says
            if unit.failed or crashes > (KNOWN_CRASHES if found else 1):
                how = "has failed" if unit.failed else f"crashed {crashes} times since its start"
                over.append(f"{unit.name} {how}: {words}")
                continue
            crashed[unit.name] = _Crashed(now, crashes, f" ({found})" if found else "")
            host.log(f"{unit.name} crashed{crashed[unit.name].fault}: {words}")
        if over:
            return Progress(False, "; ".join(over), over=True)
        if down := [unit for unit in units if not unit.active]:
            says = "; ".join(f"{unit.name} is {unit.says}" for unit in down)
            return Progress(False, says, says)
        progress = gate.judge(answer)
        for name, crash in crashed.items():
            times = "once" if crash.times == 1 else f"{crash.times} times"
            if progress.ok and now - crash.when < STEADY:
                says = f"{progress.says}; {name} crashed {times}, and must stay up for {STEADY:.0f} s"
                return Progress(False, says, "steady")
            says = f"{progress.says}; {name} crashed {times} and came back{crash.fault}"
            progress = replace(progress, says=says)
        return progress

    return Gate(f"{alive.script(services)}{gate.script}", judge, gate.patience)


def _journal(host, unit: str) -> list[str]:
    return probe(host, f"{alive.journal([unit])}; true")


def _words(host, unit: str) -> tuple[list[str], str]:
    """The last lines of a unit's journal, and the last one that is its own."""
    return alive.last_words(_journal(host, unit))


def _follow(
    state,
    host,
    gate: Gate,
    services: list[str],
    purpose: str,
    started: Container[str] = (),
    known: Mapping[str, list[faults.Fault]] = MappingProxyType({}),
) -> bool:
    """Wait for a gate while `services` stay up; where it does not open, their journals say why."""
    if wait(state, host, _watched(host, gate, services, started, known), purpose=purpose):
        return True
    for name in services:
        host.log(f"the journal of {name} ends with:")
        for line in _words(host, name)[0]:
            host.log(f"  {line}")
    return False


def _loaded(state, host, role: Role, member: Member, services: list[str]) -> bool:
    """Did the daemon accept what it was told to load? If not, nothing may say that it had."""
    assert role.reloaded
    gate = role.reloaded(site(), member)
    if _follow(state, host, gate, services, f"{role.name} loaded its files"):
        return True
    stamps = " ".join(f"{topology.STAMPS}/{name}.loaded" for name in services)
    probe(host, f"rm -f {stamps}; true")
    return False
