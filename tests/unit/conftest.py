"""Unit tests need no host and no root. `make unit` runs them in several processes, which share the modules out."""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import pytest
from gevent import monkey

# pyinfra patches gevent in as it is imported. A command is started by a copy of this whole process then, and takes ten
# times as long: not by one that has many to start.
monkey.patch_all = partial(monkey.patch_all, os=False, signal=False, subprocess=False)

import prometheus_ha.deploys.lib.roles  # noqa: E402, F401  flags are rendered by what they say
from prometheus_ha.deploys.lib.ground import folder, secrets  # noqa: E402
from tests.unit import recorded  # noqa: E402

PROCESSES = int(os.environ.get("UNIT_PROCESSES", "0"))
"""How many share the modules out. Without it, this one runs what it is asked to."""
DEAR = ("test_plan", "test_turns", "test_site_run", "test_fuzz", "test_seaweedfs", "test_references", "test_shapes")
"""Modules that take longest: begun with first, so that no process is left alone with one."""

_others: dict[int, IO[str]] = {}
"""The processes that this one has forked, and where they write what they have to say."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> bool | None:
    return True if PROCESSES else None


def _fork(config: pytest.Config) -> bool:
    """Another process, which goes on from here and speaks when it is asked; True in the first one.

    Not by xdist: a worker of it hangs once pyinfra has patched gevent into it, and would import all that is here.
    """
    said = TemporaryFile("w+", buffering=1)  # noqa: SIM115
    if pid := os.fork():
        _others[pid] = said
        return True
    _others.clear()
    config.get_terminal_writer()._file = said
    return False


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Each module is read and run by the process that is first to take it, as a whole: nobody reads what others run,
    and what its fixtures made is used again."""
    if not PROCESSES:
        return None
    recorded.first_run()  # so that all have it
    pytest_runtest_teardown()  # as after a test
    gc.disable()  # it would look through all modules again and again, and these processes end soon
    modules = sorted(Path(__file__).parent.glob("test_*.py"), key=lambda path: (path.stem not in DEAR, path.stem))
    left, numbers = os.pipe()
    os.write(numbers, bytes(range(len(modules))))
    os.close(numbers)
    while len(_others) < PROCESSES - 1 and _fork(session.config):
        pass
    while number := os.read(left, 1):
        before = session.testscollected
        items = session.perform_collect([str(modules[number[0]])])
        session.testscollected += before
        for item, following in zip_longest(items, items[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    return True


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if PROCESSES and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:  # the others left it nothing to do
        session.exitstatus = pytest.ExitCode.OK
    gc.freeze()  # nor at the end
    for pid, said in _others.items():
        _, status = os.waitpid(pid, 0)
        said.seek(0)
        sys.stdout.write(f"\n{said.read()}")
        if status:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """What a run within this process, as a plan, was allowed is over with it: modules have no order.

    No fixture: where modules are collected one by one, those of this file are known in the first one alone.
    """
    secrets.look_only(False)
    secrets.read_none(False)
    folder.forget()
