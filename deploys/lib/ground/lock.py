"""One run at a time: a lock on each host of a run, and one on the control machine.

A host's lock names who holds it and the process that carries the holder's commands: the SSH server's part of its
connection. So it is over as soon as that process is gone, whether the run ended, was killed or the host was rebooted,
and nobody has to say so: a run that changed nothing on a host does not. Before its first change there it writes that
down, so that the next one tells of what was left over. Everything here is text and its judgement; `runs.Run` takes and
releases.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOCK = "/run/monitoring.lock"
"""The lock of a host. In no directory that any other user may write to, and gone with a reboot."""
_SHELLS = "sh|ash|bash|dash|ksh|mksh|zsh|fish|csh|tcsh|busybox|sudo|su|doas|dzdo"

_CHANGING = "changing"
# Parts of the script. The kernel's `stat` of a process: after its name in brackets state, parent, ..., start (20th).
_STAT = "read -r stat </proc/{pid}/stat && set -- ${{stat##*') '}}"
_GUARDED = f"umask 077\nexec 9>{LOCK}.guard && flock -w 10 9 || exit 0"


@dataclass(frozen=True)
class Holder:
    """A run, as its lock names it."""

    run: str
    who: str
    since: str
    command: str

    def __str__(self) -> str:
        return f"{self.who}, since {self.since}: {self.command}"


@dataclass(frozen=True)
class Answer:
    """What a host said: does this run hold its lock, who does if not, and whose lock was taken over (`why`: `left` or
    `broken`)."""

    ours: bool
    holder: Holder | None = None
    why: str = ""

    @property
    def held(self) -> bool:
        """Is it another run's?"""
        return not self.ours and self.holder is not None


def _lines(holder: Holder) -> str:
    words = (holder.who, holder.since, holder.command)
    return "\n".join(word.replace("\n", " ") for word in words)


def script(holder: Holder, take_over: bool = False) -> str:
    """Take the host's lock for `holder`. `take_over` breaks the lock of a run whose connection hangs."""
    find = _STAT.format(pid="$p")
    return f"""(
{_GUARDED}
p=$PPID
while read -r name </proc/$p/comm; do
    case $name in {_SHELLS}) {find} && p=$2 ;; *) break ;; esac
done
{find}; session="$p ${{20}}"
if [ -f {LOCK} ]; then
    why=left; changing=
    read -r pid start run <{LOCK}
    while read -r line; do case $line in {_CHANGING}) changing=yes ;; esac; done <{LOCK}
    if [ "$run" != {holder.run} ] && [ -n "$start" ] && {_STAT.format(pid="$pid")} && [ "${{20}}" = "$start" ]; then
        why={"broken" if take_over else "held"}
    fi
    if [ "$run" != {holder.run} ] && [ "$why$changing" != left ]; then echo $why; cat {LOCK}; fi
    if [ $why = held ]; then exit 0; fi
fi
{{ echo "$session {holder.run}"; cat; }} >{LOCK} <<'END_OF_LOCK'
{_lines(holder)}
END_OF_LOCK
echo ours
) 2>/dev/null"""


def changing_script(last_run: str, text: str) -> str:
    """Write down that the holder of the host's lock is about to change the host: in the lock, and as the summary of the
    run (`last_run` is the path of a file) if its directory is there."""
    return f"""echo {_CHANGING} >>{LOCK}
[ ! -d {os.path.dirname(last_run)} ] || (umask 077; cat >{last_run}) <<'END_OF_RUN'
{text}
END_OF_RUN
"""


def release_script(holder: Holder, last_run: str, text: str) -> str:
    """Release the host's lock, if it is still `holder`'s, and leave `text` as the summary of the run; none where it is
    empty."""
    if not text:
        return f"""(
{_GUARDED}
read -r pid start run <{LOCK} && [ "$run" = {holder.run} ] && rm -f {LOCK}
) 2>/dev/null
true"""
    return f"""(
{_GUARDED}
read -r pid start run <{LOCK} && [ "$run" = {holder.run} ] && rm -f {LOCK}
[ ! -d {os.path.dirname(last_run)} ] || {{ cat >{last_run}.new <<'END_OF_RUN' && mv -f {last_run}.new {last_run}
{text}
END_OF_RUN
}}
) 2>/dev/null
true"""


def parse(lines: list[str]) -> Answer:
    """What `script` printed."""
    ours = bool(lines) and lines[-1] == "ours"
    why, *rest = lines or [""]
    if why not in ("left", "held", "broken"):
        return Answer(ours)
    first, who, since, command = (*rest[: len(rest) - ours], "", "", "", "")[:4]
    run = (first.split() or [""])[-1]
    holder = Holder(run, who or "somebody", since or "an unknown time", command or "an unknown run")
    return Answer(ours, holder, why)


def refusal(answers: Mapping[str, Answer]) -> str:
    """Why the run must not go on, on none of its hosts; empty where it may."""
    held: dict[str, list[str]] = {}
    for name, answer in answers.items():
        if answer.held:
            held.setdefault(str(answer.holder), []).append(name)
    said = []
    if held:
        lines = [f"{', '.join(names)}: {by}" for by, names in held.items()]
        said.append(
            "another run is at work, so nothing was changed on any host:\n  "
            + "\n  ".join(lines)
            + "\n  Wait until it has ended. If its connection hangs, which the hosts cannot see: --data break_lock=true"
        )
    unwritten = [name for name, a in answers.items() if not a.ours and not a.held]
    if unwritten:
        said.append(
            f"{LOCK} could not be written, so nothing was changed on any host: {', '.join(unwritten)}\n  "
            "Are commands run as root there? Can /run be written to?"
        )
    return "\n".join(said)


def taken_over(answers: Mapping[str, Answer]) -> list[str]:
    """What to tell of locks that were taken over."""
    old: dict[tuple[str, str], list[str]] = {}
    for name, answer in answers.items():
        if answer.ours and answer.holder:
            old.setdefault((answer.why, str(answer.holder)), []).append(name)
    says = {
        "left": "the lock of a run that is no more is taken over",
        "broken": "the lock of a run whose connection still stands is broken, as asked",
    }
    return [f"{says[why]}: {', '.join(names)}: {by}" for (why, by), names in old.items()]


class Held(Exception):
    """Another process of this machine holds the control machine's lock; its text says which."""


def lock_file(path: Path, holder: Holder) -> IO[str]:
    """Take the control machine's lock: it covers runs from here that have no host in common. It lasts as long as the
    file is open, so never longer than the process. Raises `Held`."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who, since, command = (*file.read().splitlines(), "", "", "")[:3]
        file.close()
        raise Held(f"{who or 'somebody'}, since {since}: {command}") from None
    file.truncate(0)
    file.write(_lines(holder) + "\n")
    file.flush()
    return file
