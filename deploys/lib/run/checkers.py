"""Checkers of others, where they are on this machine: what they find doubtful in the user's files that a plan brings.

pint looks at rules, amlint at Alertmanager's configuration. What they find are warnings in the plan: whether a file
goes live is for promtool and amtool of its release to say.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_CONFIG
from prometheus_ha.deploys.lib.daemons.prometheus import RULES_DIR
from prometheus_ha.deploys.lib.engine.component import Change, Component
from prometheus_ha.deploys.lib.ground.secrets import redact
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.site.settings import STARTER_RULES

_SECONDS = 60


@dataclass(frozen=True)
class Checker:
    """A program, and how it is asked."""

    program: str
    of: Callable[[str], bool]
    """Whether it knows a file, by its path on the host."""
    arguments: Callable[[Path, Path], list[str]]
    """Those with which it reads a file (`-` among them: its input, which leaves no secret on this machine's disk), and
    writes a report in JSON to another one, or to its output."""
    finds: Callable[[Any, str], Iterator[str]]
    """What such a report has of a text, in lines."""


def _of_pint(report: Any, text: str) -> Iterator[str]:
    rules = list(_rules(yaml.compose(text)))
    for one in report:
        # The user's own file has other lines.
        names = [name for name, lines in rules if set(one["lines"]) & set(lines)]
        yield ": ".join([*names[:1], one["reporter"], one["problem"]])


def _rules(node: yaml.Node | None) -> Iterator[tuple[str, range]]:
    """The rules in a file, and the lines of each."""
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from _rules(one)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value in ("alert", "record") and isinstance(value, yaml.ScalarNode):
                # A rule on a line of its own ends there, else where the next thing begins.
                first, end = node.start_mark.line, max(node.end_mark.line, node.start_mark.line + 1)
                yield value.value, range(first + 1, end + 1)
            yield from _rules(value)


def _of_amlint(report: Any, text: str) -> Iterator[str]:
    for one in report:
        if one["level"] != "info":
            yield f"{one['where']}: {one['code']}: {one['message']}"


CHECKERS = (
    Checker(
        "pint",
        lambda path: f"/{Path(RULES_DIR).name}/" in path and Path(path).name != STARTER_RULES,
        # A .pint.hcl in the directory of the run is read. Series it is not asked for: the plan asks Prometheus itself.
        lambda file, report: ["--offline", "--no-color", "--log-level=error", "lint", f"--json={report}", str(file)],
        _of_pint,
    ),
    Checker(
        "amlint",
        lambda path: Path(path).name == Path(ALERTMANAGER_CONFIG).name,
        # A receiver that tells nobody is meant so, as ours for the Watchdog where nobody outside has it.
        lambda file, report: ["check", "--format=json", "--exit-zero", "--ignore=empty-receiver", "-"],
        _of_amlint,
    ),
)


@dataclass
class Wanted:
    """Text -> path on the hosts: members that are told the same are looked at once."""

    texts: dict[str, str] = field(default_factory=dict)


def want(component: Component, change: Change) -> None:
    """Have what this brings looked at before the plan is shown."""
    for name in change.files:
        if any(checker.of(name) for checker in CHECKERS):
            kept(Wanted).texts.setdefault(component.files[name].content, name)


def lines(state: Any) -> list[str]:
    """What the checkers that are here say of the files of this plan."""
    found = []
    for checker in CHECKERS:
        if program := _here(checker.program):
            for text, path in kept(Wanted, state).texts.items():
                if checker.of(path):
                    said = [*dict.fromkeys(found_in(checker, program, Path(path).name, text))]
                    found += [f"doubtful, says {checker.program}: {Path(path).name}: {one}" for one in said]
    return found


def _here(program: str) -> str | None:
    """Where a program is: beside this Python, where pip puts them, or in the PATH."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)


def found_in(checker: Checker, program: str, name: str, text: str) -> Iterable[str]:
    """What a checker says of a file."""
    with tempfile.TemporaryDirectory() as place:
        file, report = Path(place) / name, Path(place) / "report.json"
        arguments = checker.arguments(file, report)
        if "-" not in arguments:
            file.write_text(text)
        try:
            done = subprocess.run(
                [program, *arguments],
                input=text if "-" in arguments else "",
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
            said = list(checker.finds(json.loads(report.read_text() if report.exists() else done.stdout), text))
        except (OSError, subprocess.TimeoutExpired) as error:
            return [f"cannot be asked: {error}"]
        except (ValueError, KeyError, TypeError):
            words = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
            return [f"cannot be asked: {redact(words[0])}"]
    return [" ".join(redact(one).split()) for one in said]
