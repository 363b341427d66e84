"""A shell on a host that stays open: most of what a command over SSH costs is its start, on both sides."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import subprocess
import time
from uuid import uuid4

_ANSWER_SECONDS = 20.0
"""Within these a shell says that it is there, or is of no use."""


class ShellLost(Exception):
    """There is no shell, or none any more; what ssh says of it."""


class Shell:
    """A shell on a host, for one command after another.

    :param command: how ssh reaches the host; its words.
    :param sudo: root's shell, where the user is another one: by sudo without a password.
    """

    def __init__(self, command: list[str], sudo: bool = False) -> None:
        self._process = subprocess.Popen(
            [*command, "exec sudo -n sh" if sudo else "exec sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupt is for the tests, which close it then
        )
        assert self._process.stdin
        self._stdin = self._process.stdin.fileno()
        self._said: str | None = None
        self._heard = b""

    def run(self, script: str, timeout: float | None = None) -> tuple[int, bytes, bytes]:
        """Exit status, stdout and stderr of a script in a shell of its own, with nothing on stdin.

        Raises ShellLost where it is not known how it ended, subprocess.TimeoutExpired after `timeout` seconds; in
        both cases the shell is closed.
        """
        return self._ask(f"(eval {shlex.quote(script)}) </dev/null", timeout)

    def answers(self) -> bool:
        """Whether it is there; what a login prints by itself is gone then. Closed where it is not."""
        with contextlib.suppress(ShellLost, subprocess.TimeoutExpired):
            self._ask(":", _ANSWER_SECONDS)
            return True
        return False

    def close(self) -> str:
        """End it; what ssh said last."""
        if self._said is None:
            self._process.kill()
            self._process.wait()
            said = self._heard
            assert self._process.stdin and self._process.stdout and self._process.stderr
            # What was started by it may hold the pipes for longer.
            os.set_blocking(self._process.stderr.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                said += os.read(self._process.stderr.fileno(), 1 << 16)
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                pipe.close()
            self._said = said.decode(errors="replace").strip()
        return self._said

    def _ask(self, line: str, timeout: float | None) -> tuple[int, bytes, bytes]:
        # Whatever a script prints, and with or without an end of its last line, this is no part of it.
        end = uuid4().hex
        told = f"{line}; set -- $?; printf '{end} %s\\n' $1; printf '{end} \\n' >&2\n"
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            if self._said is not None:
                raise EOFError
            os.write(self._stdin, told.encode())
            (out, status), (err, _) = self._until(end.encode(), deadline)
        except TimeoutError:
            self.close()
            raise subprocess.TimeoutExpired(line, timeout or 0) from None
        except (OSError, EOFError):
            raise ShellLost(self.close()) from None
        return int(status), out, err

    def _until(self, end: bytes, deadline: float | None) -> list[tuple[bytes, bytes]]:
        """What comes from each pipe, and what follows `end` in its line. Raises EOFError, TimeoutError."""
        found = {pipe: bytearray() for pipe in (self._process.stdout, self._process.stderr)}
        ends = {}
        with selectors.DefaultSelector() as waiting:
            for pipe in found:
                waiting.register(pipe, selectors.EVENT_READ)
            while waiting.get_map():
                ready = waiting.select(None if deadline is None else max(deadline - time.monotonic(), 0))
                if not ready:
                    raise TimeoutError
                for key, _ in ready:
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        self._heard = bytes(found[self._process.stderr])
                        raise EOFError
                    text = found[key.fileobj]
                    text += chunk
                    # What a script left at work may go on printing.
                    at = text.rfind(end, max(len(text) - len(chunk) - 2 * len(end), 0))
                    if at >= 0 and b"\n" in text[at:]:
                        rest = text[at + len(end) :].partition(b"\n")[0]
                        ends[key.fileobj] = bytes(text[:at]), bytes(rest)
                        waiting.unregister(key.fileobj)
        return [ends[pipe] for pipe in found]
