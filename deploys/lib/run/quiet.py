"""What a run prints, where nobody asked for more with -v: what is of interest, and that once.

pyinfra says of every host that it is connected and ready, and at each step that it changed or did not: hundreds of
lines for nothing. Here a step is printed where something is said in it; hosts of which the same is said share a line;
what happens in a turn, and whoever waits, is printed at once. At the end stands what came of it.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from pyinfra import logger
from pyinfra.api.output import format_text

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.run import plan, runs
from prometheus_ha.deploys.lib.site import derived

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"--> Starting operation: (.*?) *$")
_HOST = re.compile(r"\[([^\]]+)\] +(.*)$", re.S)
_NOISE = re.compile(r"(Connected|Success|No changes|Skipped|Ready: .*|Loading: .*)$")
_STAGES = re.compile(
    r"--> (Loading inventory|Connecting to hosts|Preparing operation files|Skipping change detection|"
    r"Beginning operation run|Results|Disconnecting from hosts)[.:]*$"
)
TOGETHER = {"together": True}
"""`extra` of a message to the log that waits for those of other hosts in its step: what is done, not how it goes."""


class Quiet(logging.Filter):
    """Lets through what is of interest. What several hosts say in a step is kept until its end."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()
        self.step, self.told = "", False
        self.said: dict[str, list[str]] = {}
        self.printing = False

    def filter(self, record: logging.LogRecord) -> bool:
        if self.printing or record.levelno < logging.INFO:
            return True
        text = _COLOURS.sub("", str(record.msg)).strip()
        if step := _STEP.match(text):
            self.flush()
            self.step, self.told = step[1], False
            return False
        if _STAGES.match(text):
            self.flush()
            return False
        host = _HOST.match(text)
        if host is None:
            # A table, or what pyinfra says of the run.
            self.flush()
            return not _NOISE.match(text)
        if _NOISE.match(host[2]):
            return False
        if not getattr(record, "together", False) or plan.in_turn(self.step):
            self.flush()  # what was done comes before what it led to
            self._head()
            return True
        # Each line begins with its role, as the step does.
        line = host[2].removeprefix(f"{plan.role_of(self.step)}: ")
        self.said.setdefault(line, []).append(host[1])
        return False

    def flush(self) -> None:
        """Print what was kept of the step that is over."""
        kept, self.said = self.said, {}
        if not kept:
            return
        self._head()
        by_hosts: dict[tuple[str, ...], list[str]] = {}
        for line, names in kept.items():
            by_hosts.setdefault(tuple(names), []).append(line)
        for hosts, lines in by_hosts.items():
            who = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts ({some(hosts)})"
            self._print(f"{who}: {'; '.join(lines)}")

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


_filters: list[Quiet] = []


def install() -> None:
    """Print no more than is of interest, from now on."""
    uninstall()
    logger.addFilter(quiet := Quiet())
    _filters.append(quiet)


def uninstall() -> None:
    while _filters:
        logger.removeFilter(_filters.pop())


def flush() -> None:
    """Print what is still kept: the run ends here."""
    for quiet in _filters:
        quiet.flush()


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
    flush()
    run = runs.current(state)
    if not _filters or run is None or not run.began:
        return
    lines = closing(run, time.monotonic() - _filters[-1].began)
    uninstall()
    logger.info(format_text(f"--> {lines[0]}", fg="red" if run.failed_on else "green", bold=True))
    for line in lines[1:]:
        logger.info(line)


def closing(run: runs.Run, seconds: float) -> list[str]:
    """What came of a run, what it leaves, and what to do next."""
    changed, hosts = sorted(run.changing), run.site.hosts
    dead = sorted(name for name, step in run.record["failed"].items() if step == runs.CONNECT)
    lines = [f"not reached, and left as they are: {some(dead, 8)}"] if dead else []
    if failed := run.failed_on:
        where = "; ".join(f"{step} on {some(names)}" for step, names in failed.items())
        lines.append(f"changed: {some(changed, 8) if changed else 'no host'}; the reason stands above, where it failed")
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
