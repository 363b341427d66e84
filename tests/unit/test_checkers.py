"""Checkers of others: pint is a stand-in here (tests/rules has the real one), amlint is itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from prometheus_ha.deploys.lib.engine import documents
from prometheus_ha.deploys.lib.roles.alertmanager import configuration
from prometheus_ha.deploys.lib.run import checkers
from prometheus_ha.deploys.lib.site import releases
from tests.unit.test_alert_channels import site

PINT, AMLINT = checkers.CHECKERS
RULES = """groups:
- name: a
  rules:
  - alert: First
    expr: up
  - record: b:c
    expr: sum(up)
"""
AT = "/etc/prometheus/rules/mine.yml"


def _program(place: Path, name: str, body: str) -> str:
    path = place / name
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)
    return str(path)


def _pint(place: Path, *problems: dict) -> str:
    find = "report = [word[7:] for word in sys.argv if word.startswith('--json=')][0]\n"
    return _program(place, "pint", f"{find}open(report, 'w').write({json.dumps(json.dumps(problems))})\nsys.exit(1)")


def test_a_problem_is_said_with_the_name_of_its_rule(tmp_path: Path) -> None:
    always = {"lines": [5], "reporter": "alerts/comparison", "problem": "always firing\n alert", "severity": "Warning"}
    program = _pint(tmp_path, always, always | {"lines": [6, 7]}, always | {"lines": []})
    assert checkers.found_in(PINT, program, "mine.yml", RULES) == [
        "First: alerts/comparison: always firing alert",
        "b:c: alerts/comparison: always firing alert",
        "alerts/comparison: always firing alert",
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit('no such flag: --offline')", "cannot be asked: no such flag: --offline"),
        ("print('[1]')", "cannot be asked: [1]"),
        ("sys.exit(3)", "cannot be asked: ended with 3"),
    ],
)
def test_one_that_cannot_be_asked_says_so_and_stops_nothing(tmp_path: Path, body: str, said: str) -> None:
    program = _program(tmp_path, "pint", body)
    assert checkers.found_in(PINT, program, "mine.yml", RULES) == [said]
    assert "cannot be asked" in checkers.found_in(PINT, str(tmp_path / "none"), "mine.yml", RULES)[0]


def test_the_plan_asks_those_that_are_here_once_for_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace()
    monkeypatch.setattr(checkers, "kept", lambda kind, of=None: state.__dict__.setdefault("it", kind()))
    starter = "/etc/prometheus/rules/starter.yml"
    files = {
        AT: SimpleNamespace(content=RULES),
        starter: SimpleNamespace(content="groups: []"),
        "/etc/other": SimpleNamespace(content="x"),
    }
    for _ in range(2):  # two replicas
        checkers.want(SimpleNamespace(files=files), SimpleNamespace(files=dict.fromkeys(files)))  # type: ignore[arg-type]
    monkeypatch.setattr(checkers, "_here", lambda name: None)
    assert checkers.lines(state) == []
    program = _pint(tmp_path, {"lines": [4], "reporter": "r", "problem": "p"})
    monkeypatch.setattr(checkers, "_here", lambda name: program if name == "pint" else None)
    assert checkers.lines(state) == ["doubtful, says pint: mine.yml: First: r: p"]


def test_amlint_has_something_to_say_of_a_dead_route() -> None:
    program = checkers._here("amlint")
    assert program
    text = json.dumps(
        {
            "route": {"receiver": "a", "routes": [{"receiver": "a"}, {"receiver": "a", "matchers": ['b="c"']}]},
            "receivers": [{"name": "a"}],
        }
    )
    (said,) = [one for one in checkers.found_in(AMLINT, program, "alertmanager.yml", text) if "route.routes" in one]
    assert said.startswith("route.routes[0]: unreachable-route: ")


@pytest.mark.parametrize("release", releases.RELEASES)
def test_amlint_has_nothing_to_say_of_ours(release: str) -> None:
    found = site(release=release)
    text = documents.dump(configuration.alertmanager_yml(found, found.running("alertmanager")[0]))
    program = checkers._here("amlint")
    assert program and checkers.found_in(AMLINT, program, "alertmanager.yml", text) == []
