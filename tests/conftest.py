"""Where the time of the tests went: by module, and how much of it somebody worked. And which of them failed."""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tests.lab import runner

ROWS = 25
"""Modules that are listed, the dearest first."""

REASON = 1500
"""The last characters of a failure that are printed again at the end of a run."""

_spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])


def _worked() -> float:
    """Seconds of CPU of this process and of runs and logins that it waited for, not of the lab's daemons."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(runner.worked)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    began, worked = time.monotonic(), _worked()
    done = yield
    module = item.nodeid.partition("::")[0]
    if module in _spent:
        _spent[module][0] += time.monotonic() - began
        _spent[module][1] += _worked() - worked
    return done


def pytest_runtest_logreport(report):
    if report.when == "setup":  # one that another process has claimed has no report
        _spent[report.nodeid.partition("::")[0]][2] += 1
    if report.failed and (path := os.environ.get("RED")):  # .ci/run prints these last, where they are found
        with Path(path).open("a") as file:
            file.write(f"== {report.nodeid} ({report.when})\n{report.longreprtext[-REASON:]}\n")


def pytest_terminal_summary(terminalreporter):
    if not _spent:
        return
    dearest = sorted(_spent.items(), key=lambda each: -each[1][0])
    total, worked, tests = map(sum, zip(*_spent.values(), strict=True))
    terminalreporter.section("where the time went")
    lines = [f"{'seconds':>8} {'working':>8} {'tests':>6}  module"]
    lines += [f"{s:8.1f} {w:8.1f} {n:6.0f}  {module}" for module, (s, w, n) in dearest[:ROWS]]
    lines.append(f"{total:8.1f} {worked:8.1f} {tests:6.0f}  all; the rest of the seconds was waiting")
    terminalreporter.write("\n".join(lines) + "\n")
    if path := os.environ.get("SPENT"):  # .ci/run prints those of all suites at its end
        with Path(path).open("a") as file:
            file.writelines(f"{line}\n" for line in lines[1:-1])
