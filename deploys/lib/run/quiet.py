"""What a run prints, where nobody asked for more with -v: what is of interest, and that once.

pyinfra says of every host that it is connected and ready, and at each step that it changed or did not: hundreds of
lines for nothing. Here a step is printed where something is said in it; hosts of which the same is said share a line;
what happens in a turn, and whoever waits, is printed at once. At the end stands what came of it.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

from pyinfra import logger
from pyinfra.api.output import format_text

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.run import plan, runs, trials
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.survey import upstream_files

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"--> Starting operation: (.*?) *$")
_HOST = re.compile(r"\[([^\]]+)\] *(.*)$", re.S)
_NOISE = re.compile(r"(Connected|Success|No changes|Skipped|Ready: .*|Loading: .*|Error: executed \d+ commands)$")
_WAITS = re.compile(r".*: waiting, ")
_OFTEN = 30.0
"""Seconds between two words of a host that waits."""
_STAGES = re.compile(
    r"--> (Loading inventory|Connecting to hosts|Preparing operation (files|func)|Skipping change detection|"
    r"Beginning operation run|Results|Disconnecting from hosts)[.:]*$"
)
TOGETHER = {"together": True}
"""`extra` of a message to the log that waits for those of other hosts in its step: what is done, not how it goes."""
DETAIL = {"detail": True}
"""The same of a message that is for the record alone, and for -v."""


class WaitingLine:
    """Who waits for what, on the last line of a terminal: the next word of it takes its place, and so does whatever
    else is printed. Elsewhere (a file, CI) there is none."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr  # to which pyinfra's messages go
        self._shown = False

    def renew(self, text: str) -> bool:
        """Show it. False where it cannot be renewed, and has to be printed."""
        if not self._stream.isatty():
            return False
        self._stream.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        self._stream.flush()
        self._shown = True
        return True

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False


class Quiet(logging.Filter):
    """Lets through what is of interest. What several hosts say in a step is kept until its end."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()
        self.step, self.told = "", False
        self.said: dict[str, list[str]] = {}
        self.printing = self.closed = False
        self.waited: dict[str, float] = {}
        """Host that waits in this step -> when it said so."""
        self.line = WaitingLine()
        self.failures: dict[str, dict[str, list[str]]] = {}
        """Step -> host that failed at it -> what was said of that: printed at the end of the run, once."""
        self.order: list[str] = []
        """The hosts as the inventory has them."""

    def filter(self, record: logging.LogRecord) -> bool:
        passes = self._passes(record)
        if passes:
            self.line.clear()
        return passes

    def _passes(self, record: logging.LogRecord) -> bool:
        if self.printing or record.levelno < logging.INFO:
            return True
        text = _COLOURS.sub("", str(record.msg)).strip()
        if step := _STEP.match(text):
            self.flush()
            self.step, self.told = step[1], False
            self.waited.clear()
            return False
        if _STAGES.match(text):
            self.flush()
            return False
        host = _HOST.match(text)
        if host is None:
            # A table, or what pyinfra says of the run.
            self.flush()
            return not _NOISE.match(text)
        if not host[2] or _NOISE.match(host[2]) or getattr(record, "detail", False):
            return False
        if record.levelno >= logging.ERROR and self.step:
            self.failures.setdefault(self.step, {}).setdefault(host[1], []).append(host[2])
            return False
        if _WAITS.match(host[2]) and (self.line.renew(f"{host[1]}: {host[2]}") or self._waits_still(host[1])):
            return False
        if not getattr(record, "together", False) or plan.in_turn(self.step):
            self.flush()  # what was done comes before what it led to
            self._head()
            return True
        # Each line begins with its role, as the step does.
        line = host[2].removeprefix(f"{plan.role_of(self.step)}: ")
        self.said.setdefault(line, []).append(host[1])
        return False

    def _waits_still(self, host: str) -> bool:
        now = time.monotonic()
        if now - self.waited.get(host, -_OFTEN) < _OFTEN:
            return True
        self.waited[host] = now
        return False

    def flush(self) -> None:
        """Print what was kept of the step that is over."""
        kept, self.said = self.said, {}
        if not kept:
            return
        self._head()
        by_hosts: dict[tuple[str, ...], list[str]] = {}
        for line, names in kept.items():
            by_hosts.setdefault(tuple(self._in_order(names)), []).append(line)
        for hosts, lines in by_hosts.items():
            who = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts ({some(hosts)})"
            self._print(f"{who}: {'; '.join(summed_up(lines))}")

    def _in_order(self, names: list[str]) -> list[str]:
        places = {name: number for number, name in enumerate(self.order)}
        return sorted(names, key=lambda name: places.get(name, len(places)))

    def _head(self) -> None:
        if self.step and not self.told:
            self.told = True
            self._print(f"--> {time.monotonic() - self.began:.0f} s: {self.step}")

    def _print(self, line: str) -> None:
        self.printing = True
        try:
            logger.info(line)
        finally:
            self.printing = False


_KINDS = ("group", "directory", "file", "link", "fetch")
_SAID_ANYWAY = re.compile(r"(daemon-reload|enable .*)$")
"""What goes with the start that is said beside it."""


def summed_up(lines: list[str]) -> list[str]:
    """What is done to a host, things of one kind counted: the record of the run has each."""
    found: list[str] = []
    starts = any(line.startswith(("start ", "restart ")) for line in lines)
    for line in lines:
        kind, _, what = line.partition(" ")
        alike = [one for one in lines if one.startswith(f"{kind} ")] if kind in _KINDS else []
        if len(alike) > 1:
            text = f"{len(alike)} {'archives fetched' if kind == 'fetch' else _many(kind)}"
        elif kind == "fetch":
            text = f"fetch {what.rpartition('/')[2]}"
        elif starts and _SAID_ANYWAY.match(line):
            continue
        else:
            text = line.removesuffix(": it is absent")
        if text not in found:
            found.append(text)
    return found


def _many(kind: str) -> str:
    return "directories" if kind == "directory" else f"{kind}s"


_filters: list[Quiet] = []


def install(hosts: Iterable[str] = ()) -> None:
    """Print no more than is of interest, from now on. `hosts` are those of the inventory, in its order."""
    uninstall()
    logger.addFilter(quiet := Quiet())
    quiet.order = list(hosts)
    _filters.append(quiet)


def uninstall() -> None:
    while _filters:
        logger.removeFilter(_filters.pop())


def flush() -> None:
    """Print what is still kept: the run ends here."""
    for quiet in _filters:
        quiet.flush()
        for line in failed(quiet, lambda line: line):
            quiet._print(line)
        quiet.failures.clear()


def failed(quiet: Quiet, users: Callable[[str], str]) -> list[str]:
    """What failed, as lines: the same words once for all hosts that have them. `users` says a line with the user's own
    file in it."""
    lines = []
    for step, said in quiet.failures.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for host, words in said.items():
            alike.setdefault(tuple(trials.offending(words)), []).append(host)
        for texts, hosts in alike.items():
            lines += [f"{step}: {some(quiet._in_order(hosts), 8)}:", *(f"    {users(text)}" for text in texts)]
    return lines


# --- What came of it ------------------------------------------------------------------------------


def results_with(pyinfras_table: Any) -> Any:
    """pyinfra's table of results, which counts hosts for each step: what came of the run instead."""

    def results(state: Any) -> None:
        if not _filters:
            pyinfras_table(state)
        close(state)

    return results


def close(state: Any) -> None:
    """Print what is still kept, and what came of the run: once, however it ends."""
    run = runs.current(state)
    if not _filters or run is None or not run.ended:
        flush()  # whoever refused it, or broke it off, says so
        return
    _filters[-1].flush()
    quiet = _filters[-1]
    if quiet.closed:
        return
    quiet.closed = quiet.printing = True
    files = upstream_files.of(state.inventory)
    reasons = failed(quiet, lambda line: files.in_users_words({}, line))
    quiet.failures.clear()
    lines = closing(run, time.monotonic() - quiet.began, reasons)
    logger.info(format_text(f"--> {lines[0]}", fg="red" if run.failed_on else "green", bold=True))
    for line in lines[1:]:
        logger.info(line)
    quiet.printing = False


def closing(run: runs.Run, seconds: float, reasons: Sequence[str] = ()) -> list[str]:
    """What came of a run, for which `reasons` where it failed, what it leaves, and what to do next."""
    changed, hosts = sorted(run.changing), run.site.hosts
    dead = sorted(name for name, step in run.record["failed"].items() if step == runs.CONNECT)
    lines = [f"not reached, and left as they are: {some(dead, 8)}"] if dead else []
    if failed := run.failed_on:
        where = "; ".join(f"{step} on {some(names)}" for step, names in failed.items())
        reasons = reasons or ["the reason stands above, where it failed"]
        lines = [*reasons, *lines, f"changed: {some(changed, 8) if changed else 'no host'}"]
        return [f"FAILED in {seconds:.0f} s: {where}", *lines, "mend it, and run again: it goes on with what is left"]
    names = run.record["hosts"]
    daemons = sum(len(hosts[name].components) for name in names)
    if not changed:
        return [f"Nothing to do: {len(names)} hosts, {daemons} daemons, {seconds:.0f} s", *lines]
    first = f"Done in {seconds:.0f} s: {len(changed)} of {len(names)} hosts were changed"
    return [first, *lines, *_pages(run), f"see whether all is well: {run.command_of('verify')}"]


def _pages(run: runs.Run) -> list[str]:
    """Where people open what stands now."""
    pages: dict[str, str] = {}
    for daemon in DAEMONS.values():
        members = run.site.running(daemon) if daemon.page else []
        if members:
            pages[daemon.page] = " ".join(derived.address(daemon, run.site, member) for member in members)
    return [f"{page}: {addresses}" for page, addresses in pages.items()]
