"""Run commands side by side, and show what each of them says: the tests of `make test` mostly wait.

    tests/side_by_side.py NAME=COMMAND... [--idly NAME=COMMAND...]

What stands after `--idly` is at work in the time that the others leave. Every line has the name of its command before
it. All run to their end; the exit status is 0 where that of each is. The last lines of one that failed go to the file
`RED` of the environment too, where no test has said there why.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

QUIET = 120.0
"""Seconds of silence after which a command that is still at work is told of."""

LAST = 40
"""Lines of a command that failed which are kept for the end."""

IDLY = "--idly"

IDLY_NICE = 10
"""Not the least there is: a test that gets no time at all misses its deadline."""

_STOP = (signal.SIGINT, signal.SIGTERM)


class _Work:
    """A command at work. It leads a process group, so that all it started can be told to stop."""

    def __init__(self, name: str, command: str, nice: int) -> None:
        self.name, self._began, self.spoke = name, time.monotonic(), time.monotonic()
        self.last: deque[str] = deque(maxlen=LAST)
        self.process = subprocess.Popen(
            ["nice", "-n", str(nice), "/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # To the kernel's scheduler a session is a group, and niceness counts within one alone: the group has its own.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/autogroup").write_text(str(min(os.nice(0) + nice, 19)))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.last.append(line.decode(errors="replace").rstrip())
            self.say(self.last[-1])

    def say(self, line: str) -> None:
        self.spoke = time.monotonic()
        # As one text: print() writes the end of a line apart, and another command's line may come between.
        sys.stdout.write(f"{self.name:>6} | {line}\n")
        sys.stdout.flush()

    def stop(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def ended(self, pause: float) -> bool:
        """Whether it has ended, waiting `pause` seconds for it; one that is long silent is told of."""
        try:
            status = self.process.wait(pause)
        except subprocess.TimeoutExpired:
            if time.monotonic() - self.spoke > QUIET:
                self.say(f"(at work for {self.seconds:.0f} s)")
            return False
        self._reader.join(5)  # what it left running may hold its output open
        self.say(f"ended with {status} after {self.seconds:.0f} s")
        if status and (red := os.environ.get("RED")) and not Path(red).stat().st_size:
            Path(red).write_text("".join(f"{self.name:>6} | {line}\n" for line in self.last))
        return True


def side_by_side(commands: dict[str, str], idly: dict[str, str]) -> dict[str, int]:
    """Run shell commands at once to their ends: name -> exit status. What tells us to stop is passed on to them."""
    works: list[_Work] = []
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        told.append(number)
        for work in works:
            work.stop(number)

    before = {number: signal.signal(number, stop) for number in _STOP}
    try:
        for name, command in {**commands, **idly}.items():
            works.append(_Work(name, command, nice=IDLY_NICE if name in idly else 0))
            for number in told:  # before this one was there
                works[-1].stop(number)
        left = works
        while left:
            left = [work for work in left if not work.ended(0.2)]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return {work.name: work.process.returncode for work in works}


def main() -> int:
    arguments = sys.argv[1:]
    first = arguments.index(IDLY) if IDLY in arguments else len(arguments)
    now, idly = (
        dict(argument.split("=", 1) for argument in part) for part in (arguments[:first], arguments[first + 1 :])
    )
    statuses = side_by_side(now, idly)
    if failed := [f"{name} ({status})" for name, status in statuses.items() if status]:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
