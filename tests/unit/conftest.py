"""Unit tests need no host and no root. `make unit` runs them in several processes, which share the modules out."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

import pytest

import prometheus_ha.deploys.lib.roles  # noqa: F401  flags are rendered by what they say
from prometheus_ha.deploys.lib.ground import folder, secrets

HERE = Path(__file__).parent
CLAIMS = os.environ.get("UNIT_CLAIMS", "")
"""The directory in which processes claim modules. Without it, this one runs what it is asked to."""
DEAR = ("test_turns", "test_plan", "test_site_run", "test_seaweedfs", "test_references")
"""Modules that take longest: begun with first, so that no process is left alone with one."""


def _claimed() -> Iterator[Path]:
    """Modules that no other process has claimed: those of `DEAR` first."""
    for path in sorted(HERE.glob("test_*.py"), key=lambda path: (path.stem not in DEAR, path.stem)):
        with suppress(FileExistsError):
            (Path(CLAIMS) / path.stem).touch(exist_ok=False)
            yield path


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> bool | None:
    return True if CLAIMS else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Each module is read and run by the process that is first to claim it, as a whole: nobody reads what others run,
    and what its fixtures made is used again."""
    if not CLAIMS:
        return None
    for path in _claimed():
        gc.collect()
        gc.freeze()  # what is there by now stays, and is not looked through again and again
        before = session.testscollected
        items = session.perform_collect([str(path)])
        session.testscollected += before
        for item, following in zip_longest(items, items[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    return True


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if CLAIMS and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:  # the others left it nothing to do
        session.exitstatus = pytest.ExitCode.OK


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """What a run within this process, as a plan, was allowed is over with it: modules have no order.

    No fixture: where modules are collected one by one, those of this file are known in the first one alone.
    """
    secrets.look_only(False)
    secrets.read_none(False)
    folder.forget()
