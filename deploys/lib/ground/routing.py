"""Which of the user's routes take an alert: Alertmanager's matchers, as far as they can be judged without it."""

from __future__ import annotations

import itertools
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

    def __str__(self) -> str:
        return f"{self.label}{self.operator}{json.dumps(self.value, ensure_ascii=False)}"

    @property
    def values(self) -> list[str] | None:
        """All values that the label may have by this; None where they cannot be listed."""
        if self.operator == "=":
            return [self.value]
        parts = self.value.removeprefix("(").removesuffix(")").split("|")
        plain = self.operator == "=~" and all(re.escape(part).replace("\\-", "-") == part for part in parts)
        return parts if plain else None


def unquoted(word: str) -> str:
    """A word without its quotes, of whichever kind."""
    if word.startswith("'"):
        return word[1:-1].replace("\\'", "'")
    return _plain(word)


def matchers(route: Mapping[str, Any], side: str = "") -> Iterator[Matcher]:
    """The conditions of a route, or of the `side` of an inhibition (`source_`, `target_`), in the three ways in which
    upstream takes them. ValueError where they are none."""
    for key, operator in ((f"{side}match", "="), (f"{side}match_re", "=~")):
        for label, value in _mapping(route.get(key)).items():
            yield Matcher(str(label), operator, str(value))
    lines = route.get(f"{side}matchers")
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
    except ValueError:  # a backslash of a regular expression
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


# --- What conditions mean for each other ----------------------------------------------------------


def excluding(conditions: Sequence[Matcher]) -> tuple[Matcher, Matcher] | None:
    """Two conditions that no alert meets at once; None where there are none, or it cannot be told. ValueError for a
    regular expression that is none here."""
    for one, other in itertools.permutations(conditions, 2):
        values = one.values if one.label == other.label else None
        if values is not None and not any(other.takes({one.label: value}) for value in values):
            return one, other
    return None


def covers(wide: Sequence[Matcher], narrow: Sequence[Matcher]) -> bool:
    """Whether all alerts that meet the conditions `narrow` meet `wide` too; False where it cannot be told. ValueError
    for a regular expression that is none here."""
    return all(_follows(condition, narrow) for condition in wide)


def _follows(wanted: Matcher, given: Sequence[Matcher]) -> bool:
    if (wanted.operator, wanted.value) in (("=~", ".*"), ("=~", "(.*)")):
        return True
    filled = (wanted.operator, wanted.value) in (("=~", ".+"), ("!=", ""))
    for one in given:
        if one.label == wanted.label and (
            one == wanted
            or (filled and not one.takes({}))
            or (one.values is not None and all(wanted.takes({one.label: value}) for value in one.values))
        ):
            return True
    return False


def never_taken(route: Any, above: Sequence[Matcher] = (), at: str = "") -> Iterator[tuple[str, str]]:
    """Routes that no alert ever comes to: where below `route` (`routes[1].routes[0]`), and why. ValueError where a
    condition is none."""
    before: dict[str, list[Matcher]] = {}
    for index, one in enumerate(below(route)):
        name, own = f"routes[{index}]", list(matchers(one))
        place, met = f"{at}{name}", [*above, *own]
        if two := excluding(met):
            yield place, f"{two[0]} and {two[1]}, which no alert has at once"
        elif taker := next((each for each, wide in before.items() if covers(wide, met)), None):
            yield place, f"what {at}{taker} takes before it, which has no continue: true"
        else:
            yield from never_taken(one, met, f"{place}.")
            if not one.get("continue"):
                before[name] = own


def mutes(rule: Mapping[str, Any], always: Labels) -> Iterator[tuple[str, str]]:
    """What is wrong with an inhibition, and what would be right, where there is an alert that always fires (`always`)
    and must be told. ValueError where a condition is none."""
    source, target = (list(matchers(rule, side)) for side in ("source_", "target_"))
    equal = [str(label) for label in rule.get("equal") or []]
    for side, conditions in (("source", source), ("target", target)):
        if two := excluding(conditions):
            yield f"a {side} with {two[0]} and {two[1]}", f"a {side} that an alert can be: it mutes nothing"
            return
    name, everything = always["alertname"], covers(target, ()) and not equal
    if everything:
        yield "a target that is every alert, and nothing in equal", "one of the two: one alert mutes all others"
    if any(label in equal for label in always):
        return
    if all(condition.takes(always) for condition in source):
        yield f"a source that takes the {name}, which always fires", "another source: the targets are never told"
    elif not everything and all(condition.takes(always) for condition in target):
        yield f"a target that takes the {name}", "one that leaves it out: a dead man's switch would call"
