"""A port, a path, a unit and a flag are each defined in one place: `git grep` for one finds it."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS, alertmanager, exporters, objectstores, prometheus, thanos
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site.settings import Settings
from tests.unit.recorded import ROOT

FILES = [*sorted((ROOT / "deploys").rglob("*.py")), *sorted((ROOT / "facts").rglob("*.py"))]
PATHS = {
    name: value
    for module in (topology, alertmanager, exporters, objectstores, prometheus, thanos)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str) and value.startswith("/") and value.count("/") > 1
}


def _docstrings(tree: ast.AST) -> set[ast.AST]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def _constants(path: Path) -> list[tuple[str, Any]]:
    tree = ast.parse(path.read_text())
    texts = _docstrings(tree)
    name = str(path.relative_to(ROOT))
    return [(name, node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in texts]


CONSTANTS = [found for path in FILES for found in _constants(path)]


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_port_is_defined_once(daemon):
    for port in DAEMONS[daemon].ports.values():
        number = Settings.model_fields[port.setting].default
        places = [name for name, value in CONSTANTS if type(value) is int and value == number]
        # 9000 and the like are numbers of other things as well.
        assert "deploys/lib/site/settings.py" in places
        assert len(places) == 1, f"{port.setting}, {number}: {places}"


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_defined_once(name):
    places = [place for place, value in CONSTANTS if value == PATHS[name]]
    assert len(places) <= 1, places  # none where it is made of another


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_unit_is_defined_once(daemon):
    service = DAEMONS[daemon].service
    assert not [place for place, value in CONSTANTS if value == service]


@pytest.mark.parametrize("path", sorted((ROOT / "deploys/lib/daemons").glob("*.py")), ids=lambda path: path.stem)
def test_a_flag_is_defined_once_for_a_product(path):
    """But where its value differs: `objstore.config-file` of a ruler that keeps no blocks."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = Counter(
        ast.unparse(call.args[0]) + ast.unparse(call.args[1])
        for call in calls
        if ast.unparse(call.func) == "Flag" and not ast.unparse(call.args[0]).isidentifier()
    )
    assert not [name for name, count in names.items() if count > 1]
