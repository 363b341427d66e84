"""Commands, and the lab's background processes: started, recorded, ended by id.

A background process is recorded in ``.lab/state`` by its pid and start time, so that a pid used
again by somebody else is never taken for it. It also lives in a control group of the lab, so that
nothing is lost when the record is.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.plan import Lab

_STARTED = time.monotonic()


class LabError(Exception):
    """Something the user of the lab has to know; printed without a traceback."""


def say(text: str) -> None:
    """A line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:6.1f}s] {text}", flush=True)


def run(*command: str, input: str | None = None, check: bool = True) -> str:
    """Output of a command; raises LabError with its own words where it fails."""
    try:
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        if check:
            raise LabError(f"{command[0]} is not installed") from None
        return ""
    if check and done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise LabError(f"`{' '.join(command)}` failed ({done.returncode}): {words}")
    return done.stdout


def run_visibly(what: str, command: list[str], log: Path, **options: Any) -> None:
    """Run a command that may take minutes: its words go to ``log``, the latest to the user."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, **options)
    while True:
        try:
            status = child.wait(10)
            break
        except subprocess.TimeoutExpired:
            say(f"{what}: {tail(log, 1).strip()[:100]}")
    if status:
        raise LabError(f"{what}: {command[0]} failed ({status}), end of {log}:\n{tail(log)}")


def wait_for(what: str, ready: Callable[[], bool], seconds: float) -> None:
    """Poll ``ready`` until it holds; LabError naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    pause = 0.05
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"gave up waiting for {what} after {seconds:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.2, 1)


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"(no {path.name}: {error.strerror})"
    kept = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join("    " + line for line in kept[-lines:])


@contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[int]:
    """Hold an exclusive lock on a file; it ends with the last process that has its descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        said = 0.0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waiting and time.monotonic() - said > 20:
                    said = time.monotonic()
                    say(waiting)
                time.sleep(0.1)
        yield file.fileno()


def _start_time(pid: int) -> str | None:
    """Boot and start time of a living process: what tells it from a later one of that pid."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def _record(lab: Lab, name: str) -> Path:
    return lab.dir / "state" / f"{name}.json"


def recorded(lab: Lab) -> list[str]:
    """Names of the background processes that were started, alive or not."""
    return [path.stem for path in (lab.dir / "state").glob("*.json")]


def running(lab: Lab, name: str) -> int | None:
    """The pid of a recorded process, if it is alive."""
    try:
        record = json.loads(_record(lab, name).read_text())
        pid, start = int(record["pid"]), record["start"]
    except (OSError, ValueError, KeyError):
        return None
    return pid if _start_time(pid) == start else None


def spawn(lab: Lab, name: str) -> None:
    """Start the lab's own process ``name`` in the background (`lab run NAME`)."""
    log = lab.log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("lab")), "run", name],
            cwd=lab.root,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def recorded() -> bool:
        if child.poll() is not None:
            raise LabError(f"{name} ended at once ({child.returncode}):\n{tail(log)}")
        return running(lab, name) == child.pid

    wait_for(f"the process {name}", recorded, 20)


def claim(lab: Lab, name: str) -> None:
    """Called by a background process: be the only ``name`` of this lab, and say so."""
    join_cgroup(lab, "control")
    record = _record(lab, name)
    record.parent.mkdir(parents=True, exist_ok=True)
    if running(lab, name):
        raise LabError(f"{name} runs already")
    temporary = record.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"pid": os.getpid(), "start": _start_time(os.getpid())}))
    temporary.rename(record)


def stop(lab: Lab, name: str, seconds: float = 20) -> None:
    """End a recorded process: asked first, killed after ``seconds``."""
    pid = running(lab, name)
    if pid:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            handle = None
        if handle is not None:
            try:
                # The handle is of whatever has the pid now; look again before it is used.
                if running(lab, name) == pid:
                    _end(handle, seconds)
            finally:
                os.close(handle)
    _record(lab, name).unlink(missing_ok=True)


def _end(handle: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5)):
        try:
            signal.pidfd_send_signal(handle, sign)
        except ProcessLookupError:
            return
        if poll.poll(patience * 1000):
            return


# --- control groups ------------------------------------------------------------------------------


def cgroup_mounts() -> list[Path]:
    """Where the machine keeps control groups: version 2, and systemd's own of a hybrid set-up."""
    mounts = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            mounts.append(Path(where))
    return mounts


def join_cgroup(lab: Lab, group: str) -> None:
    """Move this process into the lab's control group ``group`` (safe between fork and exec)."""
    for mount in cgroup_mounts():
        directory = mount / lab.cgroup / group
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cgroup.procs").write_text(str(os.getpid()))


def cgroup_pids(lab: Lab, group: str = "") -> set[int]:
    """All processes in a control group of the lab and below it."""
    pids: set[int] = set()
    for mount in cgroup_mounts():
        for procs in (mount / lab.cgroup / group).rglob("cgroup.procs"):
            try:
                pids.update(int(pid) for pid in procs.read_text().split())
            except OSError:
                continue
    return pids


def kill_cgroup(lab: Lab, group: str = "", spare: frozenset[int] = frozenset()) -> bool:
    """Kill what is in a control group of the lab, but for ``spare``; whether there was nothing."""
    left = cgroup_pids(lab, group) - spare
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return not left


def empty_cgroup(lab: Lab, group: str = "") -> None:
    """Kill what is in a control group of the lab, and remove the group.

    A host's processes outlive a killed systemd-nspawn: this is what ends them.
    """
    name = f"{lab.cgroup}/{group}"
    wait_for(f"the processes of {name} to end", lambda: kill_cgroup(lab, group), 20)
    wait_for(f"the control group {name} to go", lambda: _removed(lab, group), 10)


def _removed(lab: Lab, group: str) -> bool:
    for mount in cgroup_mounts():
        top = mount / lab.cgroup / group
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                return False
    return True
