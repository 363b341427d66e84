"""Who imports whom: downwards only, late imports and those for types too."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS, GROUPS
from tests.unit.recorded import ROOT

TOP = "prometheus_ha"
LIB = f"{TOP}.deploys.lib"
FILES = {
    f"{TOP}.{path.relative_to(ROOT).with_suffix('')}".replace("/", ".").removesuffix(".__init__"): path
    for top in ("deploys", "facts")
    for path in (ROOT / top).rglob("*.py")
}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


@cache
def imports(module: str) -> set[str]:
    """The modules of ours that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports are written in full"
            inner = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in FILES else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found & set(FILES) - {module}


def test_no_circle():
    graph = {module: imports(module) for module in FILES}
    assert len(graph) > 80
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_imports_stand_at_the_top():
    """A late one hides a circle, or what a module needs."""
    late = [
        f"{module}: {text}"
        for module in FILES
        for function in ast.walk(tree_of(module))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        if "deploys" in (text := ast.unparse(node)) or "facts" in text
    ]
    assert not late


LAYERS = ("ground", "daemons", "site", "common", "engine", "roles", "survey", "run")
"""The packages below deploys/lib, from the ground up. The facts stand where their imports put them."""


def test_packages_stand_on_those_below():
    def layer(module: str) -> int:
        part = module.removeprefix(f"{LIB}.").partition(".")[0]
        return LAYERS.index(part) if part in LAYERS else -1 if module == LIB else len(LAYERS)

    upward = [
        f"{module} imports {other}"
        for module in FILES
        if module.startswith(f"{LIB}.")
        for other in imports(module)
        if not other.startswith(f"{TOP}.facts") and layer(other) > layer(module)
    ]
    assert not upward
    assert {path.name for path in (ROOT / "deploys/lib").iterdir() if path.is_dir()} - {"__pycache__"} == set(LAYERS)


_TABLES = (
    f"{LIB}.daemons",
    f"{LIB}.ground",
    f"{LIB}.site.settings",
    f"{LIB}.site.releases",
)
"""Where names are given, and read in settings."""

NAMELESS = [
    *(module for module in FILES if re.match(rf"{LIB}\.(engine|run)\.", module)),
    *(
        f"{LIB}.daemons.declare",
        f"{LIB}.ground.lock",
        f"{LIB}.site.live",
    ),
]


@pytest.mark.parametrize("module", NAMELESS)
def test_the_engine_names_no_daemon(module):
    text = FILES[module].read_text()
    names = {*DAEMONS, *GROUPS, *(daemon.unit for daemon in DAEMONS.values())}
    assert not [name for name in names if f'"{name}"' in text or f"'{name}'" in text]


_OWN_NAMES = {
    *("Role", "service.component", "Component", "Call", "Progress", "finding", "answers.get", "gates.loaded"),
    *("Alert", "starter.reload_alert"),
}
"""Calls whose texts are names of their own: of a role and its component, of a question, of a metric, of a runbook."""


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith(f"{TOP}.deploys.") and not m.startswith(_TABLES)])
def test_a_daemon_or_group_is_named_by_its_object(module):
    """A text that names none would be found out by a run alone."""
    tree = tree_of(module)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and node.value in {*DAEMONS, *GROUPS}):
            continue
        above = parents[node]
        while isinstance(above, ast.Tuple | ast.Starred | ast.List | ast.Set | ast.Dict):
            above = parents[above]
        if isinstance(above, ast.Call) and ast.unparse(above.func) not in {*_OWN_NAMES, "key.startswith"}:
            found.append(f"line {node.lineno}: {node.value!r} in {ast.unparse(above.func)}()")
        elif isinstance(above, ast.Compare | ast.Subscript | ast.comprehension | ast.For):
            found.append(f"line {node.lineno}: {node.value!r} in {ast.unparse(above)[:60]}")
    assert not found
