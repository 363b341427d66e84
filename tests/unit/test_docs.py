"""Documentation that would rot: what it lists is compared with what there is."""

from __future__ import annotations

import ast
import re

from deploys.lib import ROOT
from deploys.lib.survey.preflight import CHECKS


def test_odd_hosts_are_the_cases_of_tests_odd() -> None:
    listed = [
        line.split(" | ")[0].removeprefix("| ")
        for line in (ROOT / "docs" / "hosts.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| host |")
    ]
    cases = [
        (ast.get_docstring(node) or node.name).splitlines()[0]
        for path in sorted((ROOT / "tests" / "odd").glob("test_*.py"))
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
