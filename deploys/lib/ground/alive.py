"""Does a unit that was started stay up? What systemd and the daemon itself say of it, beside what a gate asks.

A daemon that dies seconds after its start says why in its journal, while whoever asks its port hears `refused` until
patience is at an end. Everything here is text and its judgement; `rollout` asks and tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_ha.deploys.lib.ground.findings import printable

MARK = "==[up]=="
"""Ends what is said of the units; the gate's own answer follows."""
WORDS = 15
"""Lines of a journal that are shown."""
WIDTH = 500
"""Characters of a line that are shown."""


@dataclass(frozen=True)
class Unit:
    """A unit as systemd has it. `crashes` is how often it ended by itself since systemd began to count: with its first
    start, or the last `systemctl reset-failed`."""

    name: str
    active: bool
    failed: bool
    """Given up: systemd does not start it again."""
    crashes: int
    says: str


def script(units: Iterable[str]) -> str:
    """What systemd says of `units`."""
    names = " ".join(f"{name}.service" for name in units)
    return f"systemctl show -p Id,ActiveState,SubState,Result,NRestarts {names}\necho '{MARK}'\n"


def read(lines: list[str]) -> tuple[list[Unit], list[str]]:
    """The units in what `script` printed, and what a gate printed after it. ValueError where it was not printed."""
    end = lines.index(MARK)
    blocks = "\n".join(lines[:end]).strip().split("\n\n")
    return [_unit(block) for block in blocks], lines[end + 1 :]


def _unit(block: str) -> Unit:
    said = dict(line.split("=", 1) for line in block.splitlines())
    state, sub, result = said["ActiveState"], said["SubState"], said.get("Result", "success")
    # systemd counts when it starts it again, which is some seconds after the crash.
    crashes = int(said.get("NRestarts") or 0) + sub.startswith("auto-restart")
    return Unit(
        said["Id"].removesuffix(".service"),
        state == "active",
        state == "failed",
        crashes,
        f"{state} ({sub}{'' if result == 'success' else f', {result}'})",
    )


def journal(units: Iterable[str]) -> str:
    """The journal's last lines of `units`: enough for two crashes of a Go program with all its goroutines."""
    names = " ".join(f"-u {name}.service" for name in units)
    return f"journalctl -q -n 400 -o short --no-hostname --no-pager {names}"


def before(action: str, units: list[str]) -> str:
    """Lines of a script, before it starts `units` or reloads them: their crashes are counted from here, and where
    systemd says no, their journal says why."""
    words = f"{journal(units)} | tail -n {WORDS} | cut -c 1-{WIDTH} >&2"
    lines = [f"trap '[ $? = 0 ] || {words}' EXIT"]
    if action != "reload":
        lines += [f"systemctl reset-failed {' '.join(units)} 2>/dev/null || true"]
    return "\n".join(lines) + "\n"


_LINE = re.compile(r"\w{3} [ \d]\d [\d:]+ (?P<who>[^\s\[]+?)(\[\d+\])?: ?(?P<text>.*)")
_TRACE = re.compile(r"goroutine \d+ .*:|created by .*|\s.*|[\w./*()\[\]{}-]+\(.*\)|\[signal .*|r\w+ +0x[0-9a-f]+|")
"""A line of Go's stack traces, which would push what was said before them out of sight."""


def last_words(lines: Iterable[str]) -> tuple[list[str], str]:
    """The last lines of what `journal` printed, without stack traces, and the last one that the daemon wrote itself
    (empty where it wrote none). Where a Go program panicked, that is the panic."""
    kept: list[str] = []
    own = ""
    for line in lines:
        match = _LINE.fullmatch(line)
        if not match or _TRACE.fullmatch(match["text"]):
            continue
        kept.append(printable(match["text"])[:WIDTH])
        if match["who"] != "systemd":
            own = kept[-1]
    return kept[-WORDS:], own


_BEGINS = re.compile(r"(Starting|Started) ")
_ENDS = "Main process exited"


def last_life(lines: list[str]) -> list[str]:
    """Of a journal's last lines those of the process that ended last."""
    end = max((number for number, line in enumerate(lines) if _ENDS in line), default=len(lines) - 1) + 1
    begin = max((number for number, line in enumerate(lines[:end]) if _BEGINS.search(line)), default=0)
    return lines[begin:end]
