"""YAML as people write it: what it says, on which line, and where it says something else than they meant.

PyYAML reads YAML 1.1: `off` is false, `2026-01-01` a date and `0755` the number 493, while upstream's programs take the
text as it stands. Read by PyYAML and written again, the daemon would be given another value. So each such place is an
error here, with its line and column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
MOST = 200_000
"""Values of one file, those behind aliases counted as often as they are used."""
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_LABELS = {"labels", "external_labels", "annotations", "set_labels"}
"""Mappings of texts: a number there is one only by mistake."""


@dataclass(frozen=True)
class Wrong:
    """A place in a text that cannot be used."""

    line: int
    column: int
    found: str
    wanted: str


class YamlError(ValueError):
    """What is wrong with a text, place by place."""

    def __init__(self, places: list[Wrong]):
        self.places = places
        super().__init__("; ".join(f"line {p.line}, column {p.column}: {p.found}: {p.wanted}" for p in places))


@lru_cache(maxsize=4096)
def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        says = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        raise YamlError([Wrong(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, says, "YAML")]) from None
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise YamlError([Wrong(line, 1, getattr(error, "reason", "no YAML"), "printable text in UTF-8")]) from None
    except RecursionError:
        raise YamlError([Wrong(1, 1, "lists and mappings that are nested too deep", "64 levels at most")]) from None


def read(text: str) -> Any:
    """The data that `text` holds: texts, numbers, true and false, lists, and mappings with texts as keys.

    Raises YamlError with every place that is wrong, or that YAML reads as something else than it looks like.
    """
    node = _composed(text)
    reader = _Reader()
    data = None if node is None else reader.value(node)
    if reader.wrong:
        raise YamlError(reader.wrong)
    return data


def line_of(text: str, path: list[str]) -> int | None:
    """The line of what is at `path` (keys, and `[0]` for the elements of a list), or of the nearest thing above it."""
    try:
        node = _composed(text)
    except YamlError:
        return None
    if node is None:
        return None
    line = node.start_mark.line + 1
    for part in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, inner in node.value:
                if key.value == part:
                    found, line = inner, key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and (index := re.fullmatch(r"\[(\d+)\]", part)):
            found = next(iter(node.value[int(index[1]) :]), None)
            line = found.start_mark.line + 1 if found else line
        if found is None:
            break
        node = found
    return line


class _Reader:
    def __init__(self) -> None:
        self.wrong: list[Wrong] = []
        self.count = 0
        self.within: list[yaml.Node] = []

    def _say(self, node: yaml.Node, found: str, wanted: str) -> None:
        self.wrong.append(Wrong(node.start_mark.line + 1, node.start_mark.column + 1, found, wanted))

    def value(self, node: yaml.Node, texts: bool = False) -> Any:
        """`texts`: whether a text is meant, whatever it looks like."""
        self.count += 1
        if self.count > MOST or len(self.within) > 64 or any(node is outer for outer in self.within):
            if self.count <= MOST:
                self._say(node, "lists and mappings that are nested too deep, or in themselves", "64 levels at most")
            elif self.count == MOST + 1:
                self._say(node, "too many values, maybe by aliases of aliases", f"{MOST} at most")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, texts)
        self.within.append(node)
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(inner, texts) for inner in node.value]
            return self._mapping(node, texts)
        finally:
            self.within.pop()

    def _mapping(self, node: yaml.Node, texts: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        for key, inner in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._say(key, "a list or mapping as a key", "a text as key")
                continue
            name = key.value
            if key.tag == f"{_TAG}merge":
                inner = inner.value if isinstance(inner, yaml.SequenceNode) else [inner]
                for one in reversed(inner):
                    merged |= self.value(one) or {}
                continue
            if name in lines:
                self._say(key, f"the key {name} twice, first on line {lines[name]}", "each key once")
            lines[name] = key.start_mark.line + 1
            found[name] = self.value(inner, texts or name in _LABELS)
        return merged | found

    def _scalar(self, node: yaml.ScalarNode, texts: bool) -> Any:
        text, kind = node.value, node.tag.removeprefix(_TAG)
        quotes = f'"{text}" in quotes where a text is meant'
        if kind in ("str", "value", "merge"):
            return text
        if kind == "null":
            return None
        if kind == "bool":
            if text in _TRUE or text in _FALSE:
                return text in _TRUE
            self._say(node, f"{text}, which YAML reads as true or false", f"true or false, or {quotes}")
        elif kind == "int":
            if re.fullmatch(r"[-+]?(0|[1-9]\d*)", text):
                return int(text)
            self._say(node, f"{text}, which YAML reads as {_number(text)}", f"a decimal number, or {quotes}")
        elif kind == "float":
            number = _float(text)
            if number is not None and not (texts and repr(number) != text):
                return number
            self._say(node, f"{text}, which YAML reads as another number than it looks like", quotes)
        elif kind == "timestamp":
            self._say(node, f"{text}, which YAML reads as a date", quotes)
        else:
            self._say(node, f"the tag {node.tag}", "plain YAML: texts, numbers, lists and mappings")
        return None


def _float(text: str) -> float | None:
    named = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
    try:
        return float(named.get(text.lower(), text if "_" not in text else "none"))
    except ValueError:
        return None


def _number(text: str) -> str:
    try:
        return f"the number {yaml.safe_load(text)}"
    except (yaml.YAMLError, ValueError):
        return "another number"
