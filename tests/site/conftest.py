"""Tests are made for the hosts that they are about, and named after them.

A module with `COMPONENT` is run on the hosts of that component. In others, a test that takes
`component` is run for every component of every host, one that takes `project` for every release
that a host needs, and one that takes only `member` on every host. `inventory.only` leaves some out.
"""

from __future__ import annotations

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.suites import inventory


def pytest_configure(config):
    try:
        inventory.site()
        for name, host in inventory.printed().items():
            inventory.ssh_command(name, host["data"])
    except inventory.InventoryError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_unconfigure(config):
    inventory.disconnect()


def pytest_generate_tests(metafunc):
    names = [name for name in ("member", "component", "project") if name in metafunc.fixturenames]
    if "member" not in names:
        return
    only = getattr(metafunc.module, "COMPONENT", None)
    if only:
        cases = [(member, only) for member in inventory.site().running(only)]
    elif "component" in names:
        cases = inventory.components()
    elif "project" in names:
        cases = inventory.projects()
    else:
        cases = [(member, "") for member in inventory.site().hosts.values()]
    applies = getattr(metafunc.function, "applies", lambda member, what: True)
    cases = [case for case in cases if applies(*case)]
    ids = [member.name if only or not what else f"{member.name}-{what}" for member, what in cases]
    metafunc.parametrize(names, [case[: len(names)] for case in cases], ids=ids)


def pytest_collection_modifyitems(config, items):
    """Leave out what pytest would skip for want of a host: a skipped test has verified nothing."""
    empty = [
        item
        for item in items
        if any("empty parameter set" in mark.kwargs.get("reason", "") for mark in item.iter_markers("skip"))
    ]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [item for item in items if item not in empty]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With a failure comes what the daemon last said."""
    report = yield
    parameters = getattr(item, "callspec", None) and item.callspec.params
    if report.failed and parameters and "member" in parameters:
        name = parameters.get("component") or getattr(item.module, "COMPONENT", None)
        if name:
            host, unit = parameters["member"].name, DAEMONS[name].service
            try:
                text = inventory.connect(host).run("journalctl -u %s -n 30 --no-pager -o short-iso", unit)
                report.sections.append((f"journal of {unit} on {host}", text.stdout))
            except (AssertionError, RuntimeError) as error:
                report.sections.append((f"no journal of {unit}", str(error)))
    return report


@pytest.fixture
def host(member):
    """The host of the test, as testinfra has it, as root (in the place of testinfra's own)."""
    return inventory.connect(member.name)


@pytest.fixture
def site():
    """The site as the inventory has it."""
    return inventory.site()


@pytest.fixture
def info(component):
    """What the topology says of the component."""
    return DAEMONS[component]
