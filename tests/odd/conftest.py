"""Odd hosts are booted by the tests that need them, and are gone after the last one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drills.site import lab
from tests.lab import hosts, plan, proc


@pytest.fixture(scope="session", autouse=True)
def network() -> Iterator[None]:
    """The lab's network and mirror; of its hosts, only the odd ones are used."""
    if not proc.running(plan.LAB, "mirror"):
        lab("up", "odd-1")
    yield
    for name in plan.ODD:
        if hosts.is_on(plan.LAB, name):
            lab("kill", name)
