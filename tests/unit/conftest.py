"""Unit tests need no host and no root. `make unit` runs them in several processes, which share the modules out."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

import prometheus_ha.deploys.lib.roles  # noqa: F401  flags are rendered by what they say
from prometheus_ha.deploys.lib.ground import folder, secrets

DEAR = ("test_turns", "test_plan", "test_site_run", "test_seaweedfs", "test_references")
"""Modules that take longest: begun with first, so that no process is left alone with one."""

_ours: dict[str, bool] = {}


def pytest_collection_modifyitems(items):
    order = {name: number for number, name in enumerate(DEAR)}
    items.sort(key=lambda item: order.get(item.module.__name__.rpartition(".")[2], len(DEAR)))


@pytest.fixture(autouse=True)
def _no_run_left():
    """What a run within this process, as a plan, was allowed is over with it: modules have no order."""
    yield
    secrets.look_only(False)
    folder.forget()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    """Each module is run by the process that is first to claim it, as a whole: what its fixtures made is used again."""
    claims, name = os.environ.get("UNIT_CLAIMS"), item.module.__name__
    if claims and name not in _ours:
        _ours[name] = False
        with suppress(FileExistsError):
            (Path(claims) / name).touch(exist_ok=False)
            _ours[name] = True
    return None if _ours.get(name, True) else True
