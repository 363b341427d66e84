"""What is wrong in an inventory or its settings, said so that the place to mend is found at once."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from traceback import walk_tb
from typing import Any, Protocol

from prometheus_ha.deploys.lib.ground import folder
from prometheus_ha.deploys.lib.ground.yaml_text import line_of


class Sourced(Protocol):
    """Whatever has a name, and knows where its settings are from."""

    @property
    def name(self) -> str: ...

    @property
    def sources(self) -> Mapping[str, str]: ...


Daemon = tuple[str, str]
"""A host and the daemon on it; without a daemon, the host itself."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (`fail`), that a person should look at (`warn`), or may know (`note`): in the settings,
    on a host before a run, or in the site that stands."""

    host: str
    """A host that was asked, or whose setting it is; empty where it concerns the site."""
    check: str
    """The check that found it; of a setting its name, with the path inside it."""
    found: str
    """What is there; never a secret."""
    wanted: str
    advice: str = ""
    """What to do, where `wanted` does not say it."""
    severity: str = "fail"
    about: Daemon | None = None
    """The daemon that it is about: where that one is down, this is no news (lib/common/causes.py)."""
    consequences: tuple[str, ...] = ()
    """What it explains: checks that failed for this reason alone, with their hosts."""
    where: str = ""
    """File, with line where it can be told, that holds the setting."""

    def __str__(self) -> str:
        return describe([self])[0]


_SEVERITIES = {"fail": "", "warn": "warning: ", "note": "note: "}


def describe(findings: Iterable[Finding]) -> list[str]:
    """The findings as lines. One that concerns several hosts for the same reason is one line."""
    hosts: dict[tuple, list[str]] = {}
    for f in findings:
        named = hosts.setdefault((f.severity, f.where, f.check, f.found, f.wanted), [])
        if f.host and f.host not in named:
            named.append(f.host)
    lines = []
    for (severity, where, key, found, allowed), names in hosts.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        place = ": ".join(part for part in (where, shown, key) if part)
        says = f"{found}; {allowed}" if severity == "note" else f"found {found}; expected: {allowed}"
        lines.append(printable(f"{_SEVERITIES[severity]}{place}: {says}"))
    return lines


def refusal(error: SettingsErrors) -> str:
    """What a run that is refused for its settings says."""
    return "nothing was changed:\n  " + "\n  ".join(describe(f for f in error.findings if f.severity != "note"))


_NOT_THEIRS = ("config.py", "deploys", "facts", "prometheus_ha", ".venv")
"""What lies in an operator's checkout and is none of his files."""


def python_error(error: BaseException, directory: Path) -> str:
    """What Python says of the inventory or its data below `directory`: file, line and one sentence."""
    error = getattr(error, "exception", error)  # as pyinfra wraps it
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
        says = f"{error.msg}: {error.text.strip()}" if error.text else error.msg
    else:
        steps = [(frame.f_code.co_filename, number) for frame, number in walk_tb(error.__traceback__)]
        theirs = [(file, line) for file, line in steps if _below(directory, file)]
        file, line = theirs[-1] if theirs else ("", None)
        says = f"{type(error).__name__}: {error}"
    name = _below(directory, file) or file or "the inventory or its data"
    place = f"{name}, line {line}" if line else name
    return printable(f"{place}: {' '.join(says.split())}; nothing was changed")


def _below(directory: Path, file: str) -> str:
    """The name of `file` in `directory`; empty where it is none of the operator's."""
    path = (directory / file).resolve()
    if not file or not path.is_relative_to(directory.resolve()):
        return ""
    name = path.relative_to(directory.resolve())
    return "" if name.parts[0] in _NOT_THEIRS else str(name)


def printable(text: str) -> str:
    """`text` on one line, with everything escaped that a terminal would act on or cannot show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class SettingsErrors(Exception):
    """The inventory or its settings cannot be deployed. `findings` holds all, warnings too."""

    def __init__(self, findings: Iterable[Finding]):
        self.findings = list(findings)
        super().__init__("\n".join(describe(self.findings)))


def nearest(name: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return found[0] if found else None


YAML = (".yml", ".yaml", ".rules")
"""Endings of files in upstream's form."""


def located(source: str, key: str, host: str, within: Iterable[str] = ()) -> str:
    """`source` with the line on which `key` is set, where it is a file with such a line. Of several the last one: that
    is the one that Python goes by. In a file of upstream's it is the line of what is at the path `within`."""
    if re.search(r":\d+$", source):
        return source  # with its line already
    try:
        text = (folder.of_site() / source).read_text(encoding="utf-8")
        if source.endswith(YAML):
            line = line_of(text, list(within))
            return f"{source}:{line}" if line else source
        lines = _set_on(text, key, host)
    except (OSError, ValueError, SyntaxError, RecursionError):
        return source
    return f"{source}:{max(lines)}" if lines else source


@lru_cache(maxsize=256)
def _set_on(text: str, key: str, host: str) -> list[int]:
    """The lines of a Python file that set `key`: in an inventory among the data of `host`, else at the top."""
    nodes = list(ast.walk(ast.parse(text)))
    own = [inner for node in nodes if _data_of(node, host) for inner in ast.walk(node)]
    at_top = [
        node.lineno
        for node in nodes
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == key
    ]
    return _keys(own, key) or at_top or _keys(nodes, key)


def _data_of(node: ast.AST, host: str) -> bool:
    """Whether this is how an inventory gives a host its data: `("host", {...})`, or a call with its name first."""
    parts = node.elts if isinstance(node, ast.Tuple) else []
    parts = node.args if isinstance(node, ast.Call) else parts
    return bool(parts) and isinstance(parts[0], ast.Constant) and parts[0].value == host


def _keys(nodes: Iterable[ast.AST], key: str) -> list[int]:
    found = []
    for node in nodes:
        if isinstance(node, ast.Dict):
            names = [name for name in node.keys if isinstance(name, ast.Constant)]
            found += [name.lineno for name in names if name.value == key]
        elif isinstance(node, ast.keyword) and node.arg == key:
            found.append(node.value.lineno)
    return found


def host_finding(host: Sourced, key: str, found: str, allowed: str, severity: Any = "fail") -> Finding:
    known = [name for name in host.sources if key == name or key.startswith((f"{name}.", f"{name}["))]
    name = max(known, key=len, default="")
    source, within = host.sources.get(name, ""), re.findall(r"\[\d+\]|[^.\[\]]+", key[len(name) :])
    where = located(source, name, host.name, within) if source else ""
    return Finding(host.name, key, found, allowed, severity=severity, where=where)


def as_list(value: Any) -> list:
    return value if isinstance(value, list) else []


def as_dict(value: Any) -> dict:
    return value if isinstance(value, dict) else {}
