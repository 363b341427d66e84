"""What of pyinfra is replaced is what it was when that was written."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.arguments import pop_global_arguments
from pyinfra.api.exceptions import PyinfraError
from pyinfra_cli import cli

from prometheus_ha.deploys.lib.run import pyinfra_patches


@pytest.fixture
def module(monkeypatch):
    made = ModuleType("a_module_of_pyinfra")
    made.function = lambda first, second=None: "theirs"
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_it_is_replaced_by_what_is_made_of_it(module):
    pyinfra_patches.replace(
        f"{module.__name__}:function", "first second", lambda original: lambda first: f"ours for {original(first)}"
    )
    assert module.function(1) == "ours for theirs"


@pytest.mark.parametrize(
    ("path", "arguments", "says"),
    [
        ("a_module_of_pyinfra:function", "first", r"function takes \(first second\), and not \(first\): use the"),
        ("a_module_of_pyinfra:gone", "first", "has no a_module_of_pyinfra:gone: use the version that setup.cfg names"),
    ],
)
def test_another_than_was_known_is_refused(module, path, arguments, says):
    before = module.function
    with pytest.raises(PyinfraError, match=says):
        pyinfra_patches.replace(path, arguments, lambda original: original)
    assert module.function is before


@pytest.mark.parametrize("path", pyinfra_patches.REPLACED)
def test_this_pyinfra_has_them(path, monkeypatch):
    arguments, make = pyinfra_patches.REPLACED[path]
    module, name = path.split(":")
    where = import_module(module)
    monkeypatch.setattr(where, name, getattr(where, name))  # put back as it is
    pyinfra_patches.replace(path, arguments, make)
    pyinfra_patches.replace(path, arguments, make)  # a second run in one process


def test_how_operations_are_executed_is_what_pyinfra_makes_of_a_hosts_data():
    groups = {"one": (["a"], {"_sudo": True, "_env": {"A": "1"}, "other": 1}), "two": (["a"], {"_sudo_user": "ops"})}
    inventory = Inventory(([("a", {"_env": {"B": "2"}}), "b"], {"_retries": 3}), **groups)
    state = State(inventory, Config(SUDO_PASSWORD="x"))
    ours = pyinfra_patches._arguments(pop_global_arguments)
    inventory.get_host("a").data._timeout = 7  # as a deploy does it
    for host in inventory:
        given = [{"_su_user": "c", "_sudo_user": "d", "mode": 1} for _ in range(2)]
        assert ours(state, host, given[0]) == pop_global_arguments(state, host, given[1])
        assert given[0] == given[1] == {"mode": 1}
    assert pop_global_arguments(state, inventory.get_host("a"), {})[0]["_timeout"] == 7


def test_an_inventory_with_other_options_of_the_connection_is_made_anew(monkeypatch):
    monkeypatch.setattr(cli, "make_inventory", cli.make_inventory)  # put back as it is
    made = object()
    pyinfra_patches.use(made, {"a": 1})
    assert cli.make_inventory("a-host", override_data={"a": 1}, cwd=".") is made
    assert cli.make_inventory("a-host", override_data={"a": 1, "ssh_user": "ops"}, cwd=".") is not made
