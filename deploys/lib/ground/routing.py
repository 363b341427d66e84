"""Which of the user's routes take an alert: Alertmanager's matchers, as far as they can be judged without it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Labels = Mapping[str, str]

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_MATCHER = re.compile(rf'\s*({_QUOTED}|[^\s=!~{{}},"]+)\s*(=~|!~|!=|=)\s*({_QUOTED}|[^,"{{}}]*?)\s*(?:,|$)')
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


@dataclass(frozen=True)
class Matcher:
    """One condition on a label. An alert without the label has it empty, as upstream has it."""

    label: str
    operator: str
    value: str

    def takes(self, labels: Labels) -> bool:
        """Whether an alert with these labels is one. ValueError for a regular expression that is none here."""
        try:
            return _OPERATORS[self.operator](labels.get(self.label, ""), self.value)
        except re.error as error:
            raise ValueError(str(error)) from None


def matchers(route: Mapping[str, Any]) -> Iterator[Matcher]:
    """The conditions of a route, in the three ways in which upstream takes them. ValueError where they are none."""
    for key, operator in (("match", "="), ("match_re", "=~")):
        for label, value in _mapping(route.get(key)).items():
            yield Matcher(str(label), operator, str(value))
    lines = route.get("matchers")
    for line in lines if isinstance(lines, list) else []:
        # A line may have several, as in a query: {a="b", c=~"d"}.
        text = str(line).strip()
        text = text[1:-1] if text.startswith("{") and text.endswith("}") else text
        at = 0
        while at < len(text):
            found = _MATCHER.match(text, at)
            if found is None or found.end() == at:
                raise ValueError(f"no matcher: {text[at:]}")
            yield Matcher(_plain(found[1]), found[2], _plain(found[3]))
            at = found.end()


def _plain(word: str) -> str:
    if not word.startswith('"'):
        return word
    try:
        return json.loads(word)
    except ValueError:
        return word[1:-1]


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def below(route: Any) -> list[Mapping[str, Any]]:
    """The routes below one."""
    routes = _mapping(route).get("routes")
    return [one for one in routes if isinstance(one, Mapping)] if isinstance(routes, list) else []


def within(route: Any) -> Iterator[Mapping[str, Any]]:
    """The routes below one, at every depth."""
    for one in below(route):
        yield one
        yield from within(one)


def receivers(route: Mapping[str, Any], alert: Labels, inherited: str = "") -> list[str]:
    """The receivers that an alert with these labels goes to, by this route. ValueError where a matcher is none."""
    own = str(route.get("receiver") or inherited)
    found: list[str] = []
    for one in below(route):
        if all(m.takes(alert) for m in matchers(one)):
            found += receivers(one, alert, own)
            if not one.get("continue"):
                break
    return found or [own]


def is_for(route: Mapping[str, Any], alert: Labels, others: Sequence[Labels], above: Sequence[Matcher] = ()) -> bool:
    """Whether a route, or one below it, is there for `alert`: it takes that one and not just any (`others`).

    Judged by the labels that `alert` has; a condition on another one may hold or not. What cannot be
    read takes nothing: it is Alertmanager's to refuse.
    """
    try:
        all_ = [*above, *(m for m in matchers(route) if m.label in alert)]
        if not all(m.takes(alert) for m in all_):
            return False
        if not any(all(m.takes(other) for m in all_) for other in others):
            return True
    except ValueError:
        return False
    return any(is_for(one, alert, others, all_) for one in below(route))
