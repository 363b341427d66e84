"""What fires, a test of each way to people, silences, and who was told of an alert: as the Alertmanagers have it.

    pyinfra -y inventory.py deploys/alert.py                                       # what fires, and what is silenced
    ... deploys/alert.py --data send=ops                                           # a test alert to a receiver
    ... deploys/alert.py --data send=severity=critical,team=db                     # the same by labels
    ... deploys/alert.py --data silence="alertname=HostDown,instance=~'web.*'" \\
                         --data silence_for=2h --data comment="disk is being replaced"
    ... deploys/alert.py --data end_silence=ID
    ... deploys/alert.py --data why="alertname=HostDown,instance=db-1"             # who was told, when, why not others
    ... deploys/alert.py --data canary=1m                                          # does what is sent arrive, and once?

Each Alertmanager is asked on its own host, side by side; with `--limit` only those that are chosen. One that is down is
named, and the others are asked. Nothing is changed on a host: a test ends with the run, else by itself after minutes.

A test alert goes to every Alertmanager, as Prometheus sends it. It is taken for delivered once the bot of a channel
took it (its relay knows), or, at other receivers, once a try of that receiver succeeded (which is counted for the
receiver, not for the alert). With labels, it goes the way of alerts with these labels, and whoever is there is told.
"""

import getpass
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from pyinfra import host, inventory, logger, state
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.output import format_text
from pyinfra_cli.exceptions import CliError

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey.alerting import canary, seen, silences, story, table, trial, wanted
from prometheus_ha.facts.probe import probe


class _Refused(CliError, PyinfraError):
    """Ends the run with its words alone: of a PyinfraError, pyinfra names the line here that raised it."""


@dataclass
class _Memory:
    """What the hosts of this run tell each other."""

    said: dict[str, seen.Seen] = field(default_factory=dict)
    """Host -> what its Alertmanager said last."""
    refused: str = ""
    test: trial.Trial | None = None
    silence: str = ""
    """Id of the silence that was made or is to be ended."""
    ended: seen.Silence | None = None
    flight: canary.Flight | None = None


def _members() -> list[str]:
    """The Alertmanager hosts of this run, in the order of the inventory."""
    members = rollout.site().running(daemons.ALERTMANAGER)
    return [one.name for one in members if state.is_host_in_limit(inventory.get_host(one.name))]


def _settings() -> Settings:
    return rollout.site().hosts[_members()[0]].settings


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _answered() -> dict[str, seen.Seen]:
    """What the members said that answered, in the order of the inventory."""
    said = {name: kept(_Memory).said[name] for name in _members() if name in kept(_Memory).said}
    return seen.living(said)


def _said() -> dict[str, seen.Seen]:
    """The same, with those that did not answer, or whose host cannot be reached."""
    lost = seen.Seen("its host cannot be reached")
    return {name: kept(_Memory).said.get(name, lost) for name in _members()}


def _first() -> bool:
    """Whether this host does what one does for all: the first one whose Alertmanager answered, else that is there."""
    there = [name for name in (*_answered(), *_members()) if name in rollout.living()]
    return there[:1] == [host.name]


@operation()
def _ask():
    """Ask the Alertmanager of this host. Nothing is changed, so nothing is yielded."""
    yield from ()
    if not state.is_executing:
        return
    settings = _settings()
    why = wanted.wanted_labels(settings) if settings.why else []
    script = seen.questions(rollout.site(), rollout.member(), why)
    kept(_Memory).said[host.name] = seen.read(probe(host, script))


# --- A test alert ---------------------------------------------------------------------------------


@operation()
def _test():
    """Send the test alert to the Alertmanager of this host, and follow it there."""
    memory = kept(_Memory)
    if state.is_executing:
        if host.name not in _answered() or memory.refused:
            return
        try:
            memory.test = memory.test or trial.Trial(rollout.site(), _answered(), _settings().send, _who())
        except wanted.Refused as error:
            memory.refused = str(error)
            return
    yield FunctionCommand(_send, [], {})


def _send(state, host) -> bool:
    test, member = kept(_Memory).test, rollout.site().hosts[host.name]
    assert test
    first = host.name == next(iter(test.before))
    if first:
        host.log(f"test alert {test.id} to {', '.join(test.before)}")
    try:
        test.took(host.name, probe(host, test.post(member)))
        gate = test.gate(member)

        def tell(what: str) -> None:
            if first:
                host.log(f"test alert: waiting, {what}")

        rollout.follow(lambda: rollout.see(host, gate), gate.patience, tell)
    finally:
        probe(host, test.post(member, over=True))
    return True


# --- Canaries -------------------------------------------------------------------------------------


@operation()
def _canaries():
    """Send canaries to the Alertmanager of this host, as long as it is asked for, and see them arrive."""
    memory = kept(_Memory)
    if state.is_executing:
        if host.name not in _answered():
            return
        memory.flight = memory.flight or canary.Flight.of(secrets.token_hex(4), _settings().canary or "")
    yield FunctionCommand(_fly, [], {})


def _fly(state, host) -> bool:
    flight, site = kept(_Memory).flight, rollout.site()
    assert flight
    member, begun = site.hosts[host.name], time.monotonic()
    for number, name in enumerate(flight.names()):
        time.sleep(max(begun + number * canary.EVERY - time.monotonic(), 0))
        _, answer = seen.read_change(probe(host, canary.post(site, member, name, time.time())), "canary")
        flight.sent |= {name} if answer.ok else set()
    gate = flight.gate(site, member)
    rollout.follow(lambda: rollout.see(host, gate), gate.patience, lambda what: None)
    return True


# --- Silences -------------------------------------------------------------------------------------


@operation()
def _silence():
    """Make the silence, or end it, at one member that answers."""
    memory, settings = kept(_Memory), _settings()
    if state.is_executing:
        if not _answered() or not _first():
            return
        try:
            if settings.end_silence:
                memory.ended = silences.silence_to_end(_answered(), settings.end_silence)
                if memory.ended.state == "expired":
                    return
                memory.silence = memory.ended.id
        except wanted.Refused as error:
            memory.refused = str(error)
            return
    yield FunctionCommand(_change, [], {})


def _change(state, host) -> bool:
    memory, member, settings = kept(_Memory), rollout.site().hosts[host.name], _settings()
    try:
        if settings.end_silence:
            where = next((name for name, one in _answered().items() if memory.silence in one.silences), host.name)
            member = rollout.site().hosts[where]
            silences.read_end(probe(host, silences.delete_silence(rollout.site(), member, memory.silence)))
        else:
            script = silences.post_silence(rollout.site(), member, memory.said[host.name], settings, _who())
            memory.silence = silences.read_silence(probe(host, script))
    except wanted.Refused as error:
        memory.refused, memory.silence = str(error), ""
    return True


@operation()
def _everywhere():
    """Wait until the member on this host has the silence, or has ended it."""
    yield from ()
    memory = kept(_Memory)
    if not state.is_executing or not memory.silence or host.name not in _answered():
        return

    def tell(found: seen.Seen) -> None:
        memory.said[host.name] = found

    there = not _settings().end_silence
    gate = silences.spread(rollout.site(), rollout.member(), memory.silence, there, tell)
    if not rollout.wait(state, host, gate, purpose=f"silence {table.short(memory.silence)}"):
        yield rollout.refuse(
            f"{host.name} {'lacks' if there else 'still has'} the silence {memory.silence}. "
            "Do the Alertmanagers hear each other? deploys/verify.py says so"
        )


# --- What came of it ------------------------------------------------------------------------------


@operation()
def _report():
    """Print what was found, once for all hosts; fail where it is not what was asked for."""
    yield from ()
    if not state.is_executing or not _first():
        return
    memory, settings, said = kept(_Memory), _settings(), _said()
    how = wanted.clock(settings)
    if not _answered():
        _print(seen.down(said))
        yield rollout.refuse(
            "no Alertmanager answers. deploys/verify.py says more; journalctl -u alertmanager on a host"
        )
    elif memory.refused:
        _print(seen.down(said))
        yield rollout.refuse(memory.refused)
    elif settings.send and memory.test:
        lines, ok = memory.test.lines()
        _print([*seen.down(said), *lines])
        if not ok:
            yield rollout.refuse("not every receiver took the test alert: the lines above say which, and why")
    elif settings.canary and memory.flight:
        lines, ok = memory.flight.lines()
        _print([*seen.down(said), *lines])
        if not ok:
            yield rollout.refuse("canaries were lost: so would alerts be. The lines above say which")
    elif settings.silence:
        _print(silences.made(said, memory.silence, how))
    elif settings.end_silence and memory.ended:
        _print(silences.ended(said, memory.ended, how))
    elif settings.why:
        _print(story.story(said, wanted.wanted_labels(settings), how))
    else:
        _print(table.table(said, how))


def _print(lines: Iterable[str]) -> None:
    colours = {"fail": "red", "warn": "yellow"}
    for line in lines:
        style = {"fg": colours[line[:4]]} if line[:4] in colours else {}
        logger.info(format_text(line, **style))


def deploy() -> None:
    """Ask, do what is asked for, and print what came of it."""
    if not _members():
        raise _Refused("no Alertmanager is in this run; expected: hosts of the group alertmanager. See --limit")
    settings = _settings()
    try:
        wish = wanted.wish(settings)
    except wanted.Refused as error:
        raise _Refused(str(error)) from None
    if host.name not in _members():
        return
    _ask(name="alert: ask every Alertmanager")
    if wish == "send":
        _test(name="alert: send a test alert and follow it")
    if wish == "canary":
        _canaries(name="alert: send canaries and count them")
    if wish in ("silence", "end_silence"):
        _silence(name=f"alert: {'end' if wish == 'end_silence' else 'make'} a silence")
        _everywhere(name="alert: see it on every Alertmanager")
    _report(name="alert: what came of it")


def run() -> None:
    """As a run of its own."""
    preflight.settings()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
