"""pyinfra's command, by a process that has imported it already: a suite runs it hundreds of times, and a third of the
work of a run that changes nothing is importing.

Each run is a fork, in a session of its own, with its own arguments, directory, environment and standard files: what it
reads and does is what `bin/pyinfra` does from there.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

PYINFRA = Path(sys.executable).with_name("pyinfra")

ROOT = Path(__file__).parents[2]

worked = [0.0]
"""Seconds of CPU of all runs that ended: they are no children of whoever asked for them."""


def run(
    words: list[str], env: Mapping[str, str], stdin: str = "", timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """`pyinfra` with `words`, in the checkout, to its end. Raises subprocess.TimeoutExpired after `timeout` seconds."""
    with contextlib.ExitStack() as stack:
        request, given, out, err = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(4))
        json.dump({"argv": [str(PYINFRA), *words], "env": dict(env)}, request)
        given.write(stdin)
        for file in (request, given):
            file.flush()
            file.seek(0)
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mine, its:
            _server().ask([request.fileno(), given.fileno(), out.fileno(), err.fileno(), its.fileno()])
            its.close()
            pid = int(mine.recv(64))
            mine.settimeout(timeout)
            try:
                answer = json.loads(mine.recv(1024))
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout or 0, _text(out), _text(err)) from None
        worked[0] += answer["worked"]
        return subprocess.CompletedProcess(words, answer["status"], _text(out), _text(err))


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


class _Server:
    """The process that has imported pyinfra. It ends with this one, as its socket does."""

    def __init__(self) -> None:
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(its.fileno())],
                cwd=ROOT,
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()

    def ask(self, files: list[int]) -> None:
        with self._lock:
            socket.send_fds(self._socket, [b"run"], files)


@functools.cache
def _server() -> _Server:
    return _Server()


# --- In the other process -------------------------------------------------------------------------


def _serve(asked: socket.socket) -> dict[str, Any]:
    """Fork for each request, until there are no more. Returns in the fork alone: what it is to run."""
    # The one which waits for a run and says how it ended is forgotten here.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    fork, wait4 = os.fork, os.wait4  # pyinfra has gevent replace them
    _import()
    while True:
        word, files, _, _ = socket.recv_fds(asked, 16, 5)
        if not word:
            os._exit(0)
        if fork():
            for file in files:
                os.close(file)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asked.close()
        request, *standard, answer = files
        if pid := fork():
            _tell(socket.socket(fileno=answer), pid, wait4)
        os.setsid()
        for number, file in enumerate(standard):
            os.dup2(file, number)
        with os.fdopen(request) as file:
            run = json.load(file)
        for file in (*standard, answer):
            os.close(file)
        return run


def _tell(answer: socket.socket, pid: int, wait4: Any) -> NoReturn:
    answer.send(str(pid).encode())
    _, status, usage = wait4(pid, 0)
    said = {"status": os.waitstatus_to_exitcode(status), "worked": usage.ru_utime + usage.ru_stime}
    with contextlib.suppress(OSError):  # whoever asked has gone
        answer.send(json.dumps(said).encode())
    os._exit(0)


def _import() -> None:
    """pyinfra, and of ours what every run of a site imports."""
    for name in ("pyinfra_cli.main", "pyinfra.connectors.ssh", "prometheus_ha.deploys.site"):
        importlib.import_module(name)
    gc.freeze()  # it is there to the end of each run


def _main() -> int:
    # What `bin/pyinfra` finds, and not the modules beside this file.
    sys.path[0] = str(ROOT)
    asked = socket.socket(fileno=int(sys.argv[1]))
    asked.setblocking(True)  # gevent, where whoever asks has it, makes both ends others
    run = _serve(asked)
    sys.path[0] = str(PYINFRA.parent)
    sys.argv = run["argv"]
    os.environ.clear()
    os.environ.update(run["env"])

    from pyinfra_cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(_main())
