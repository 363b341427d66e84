"""Documentation that would rot: what it lists is compared with what there is."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from prometheus_ha.deploys.lib.survey.preflight import CHECKS
from tests.unit.recorded import ROOT

_spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs/make.py")
assert _spec and _spec.loader
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)

PAGES = make.pages()


def test_odd_hosts_are_the_cases_of_tests_odd() -> None:
    listed = [
        line.split(" | ")[0].removeprefix("| ")
        for line in (ROOT / "docs" / "hosts.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| host |")
    ]
    cases = [
        (ast.get_docstring(node) or node.name).splitlines()[0]
        for path in sorted((ROOT / "tests" / "odd").glob("test_*.py"))
        if path.stem != "test_folder"  # no odd host: a directory of its own
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert sorted(listed) == sorted(cases)


def test_findings_of_odd_hosts_are_the_preflights() -> None:
    text = (ROOT / "docs" / "hosts.md").read_text()
    named = {
        check
        for found in re.findall(r"findings? (`[\w-]+`(?: and `[\w-]+`)*)", text)
        for check in re.findall(r"[\w-]+", found.replace(" and ", " "))
    }
    assert named and named <= set(CHECKS)


@pytest.mark.parametrize("name", PAGES)
def test_it_is_as_it_is_made(name):
    assert (ROOT / "docs" / name).read_text() == PAGES[name], "make it anew: .venv/bin/python docs/make.py"


def test_nothing_is_left_out():
    page = PAGES["settings.md"]
    models = (make.Settings, make.Probe, make.Capacity)
    assert not [name for model in models for name in model.model_fields if f"| `{name}` |" not in page]
    page = PAGES["reference.md"]
    assert not [name for name in make.DAEMONS if f"| {name} | `" not in page]
    assert "spec/" not in "".join(PAGES.values())
    assert not re.findall(r"\| *\|$", page.split("## When")[1].split("## Places")[0], re.M), (
        "a gate says what it waits for"
    )


@pytest.mark.parametrize("path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda path: path.name)
def test_links_lead_to_files(path: Path):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text())
    assert not [link for link in links if not (path.parent / link).exists()]
