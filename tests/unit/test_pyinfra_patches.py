"""What of pyinfra is replaced is what it was when that was written."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import pytest
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


def test_an_inventory_with_other_options_of_the_connection_is_made_anew(monkeypatch):
    monkeypatch.setattr(cli, "make_inventory", cli.make_inventory)  # put back as it is
    made = object()
    pyinfra_patches.use(made, {"a": 1})
    assert cli.make_inventory("a-host", override_data={"a": 1}, cwd=".") is made
    assert cli.make_inventory("a-host", override_data={"a": 1, "ssh_user": "ops"}, cwd=".") is not made
