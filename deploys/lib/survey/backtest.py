"""What an alert rule would have done: its expression over the last day, and its `for`, as Prometheus would have taken
them. Nothing here asks anybody.

A Prometheus is asked, and not a querier: a rule sees what its own Prometheus has, without the series of other clusters
and of receivers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import yaml

from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import as_dict, as_list
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.facts.http import Answer

HOURS = 24
POINTS = 10_000
"""Steps of a range: upstream refuses more than 11,000."""
SERIES = 100
"""Series of an answer, where Prometheus can be told: of more than that, nobody needs the number."""
RULES = 20
"""Alert rules that are asked about at a time: each is a query over a day."""


@dataclass(frozen=True)
class Rule:
    """A rule, as far as it decides what is recorded, or when the alert fires."""

    name: str
    severity: str
    expr: str
    for_: float
    """Seconds."""
    keep: float
    """Seconds that it goes on firing without its cause."""
    interval: float
    """Seconds between two evaluations."""
    alert: bool = True
    texts: tuple[str, ...] = field(default=(), compare=False)
    """Its annotations and labels, which are templates."""
    labels: tuple[str, ...] = field(default=(), compare=False)
    """Names of the labels that it gives."""

    @property
    def title(self) -> str:
        return f"{self.name} ({self.severity})" if self.severity else self.name

    @property
    def window(self) -> float:
        """Seconds that are looked at: as many evaluations as one question takes."""
        return min(HOURS * 3600, POINTS * self.interval)

    def path(self, now: float) -> str:
        """The question to a Prometheus."""
        return (
            f"/api/v1/query_range?query={quote(self.expr, safe='')}&start={now - self.window:.3f}"
            f"&end={now:.3f}&step={self.interval:.3f}&limit={SERIES}"
        )


@dataclass(frozen=True)
class Fired:
    """How often an alert would have fired, for how many label sets, and for how many it does at the end."""

    times: int
    series: int
    now: int

    def __str__(self) -> str:
        what = f"{self.series} label sets" if self.series > 1 else "1 label set"
        return f"{self.times} {'times' if self.times > 1 else 'time'} on {what}; now: {self.now}"


def rules(text: str, interval: str) -> Iterator[Rule]:
    """The rules of a file, whose groups are evaluated every `interval` where they do not say otherwise. What is no such
    file has none: promtool says so."""
    try:
        groups = as_list(as_dict(yaml.safe_load(text)).get("groups"))
        for group in map(as_dict, groups):
            for rule in map(as_dict, as_list(group.get("rules"))):
                labels, annotations = as_dict(rule.get("labels")), as_dict(rule.get("annotations"))
                yield Rule(
                    str(rule["alert"] if "alert" in rule else rule["record"]),
                    str(labels.get("severity", "")),
                    str(rule["expr"]),
                    seconds(rule.get("for") or "0s"),
                    seconds(rule.get("keep_firing_for") or "0s"),
                    seconds(group.get("interval") or interval),
                    "alert" in rule,
                    tuple(map(str, [*annotations.values(), *labels.values()])),
                    tuple(labels),
                )
    except (yaml.YAMLError, KeyError, ValueError):
        return


def changed(before: Iterable[str], after: Iterable[str], interval: str) -> list[Rule]:
    """The rules of some files that are in none of those of before."""
    known = {rule for text in before for rule in rules(text, interval)}
    return [rule for rule in dict.fromkeys(r for text in after for r in rules(text, interval)) if rule not in known]


def fired(matrix: Iterable[Any], rule: Rule, end: float) -> Fired:
    """What came of the answer to `Rule.path`: runs of evaluations, without a gap, that are as long as `for`."""
    step = rule.interval
    times = now = hit = 0
    for series in matrix:
        began = last = None
        firing = once = False
        for when, _ in series["values"]:
            gap = step * 1.5 + (rule.keep if firing else 0)
            if last is None or when - last > gap:
                began, firing = when, False
            if not firing and when - began >= rule.for_:
                firing = once = True
                times += 1
            last = when
        hit += once
        now += bool(firing and last is not None and end - last <= step * 1.5 + rule.keep)
    return Fired(times, hit, now)


def read(answer: Answer, rule: Rule, end: float) -> Fired | str:
    """The same of an answer; as text, why it is not known."""
    if not answer.ok:
        try:
            return str(json.loads(answer.body)["error"])
        except (ValueError, LookupError, TypeError):
            return answer.problem
    try:
        return fired(answer.json()["data"]["result"], rule, end)
    except (LookupError, TypeError, ValueError) as error:
        return f"not an answer of the query API ({error!r})"


def lines(said: Iterable[tuple[Rule, Fired | str]], left: Iterable[Rule]) -> list[str]:
    """The same, to be read."""
    found, never = [], []
    for rule, what in said:
        if isinstance(what, str):
            found.append(f"{rule.title}: not known: {what}")
        elif what.times:
            hours = "" if rule.window == HOURS * 3600 else f" (in {rule.window / 3600:.1f} hours)"
            found.append(f"{rule.title}: would have fired {what}{hours}")
        else:
            never.append(rule.title)
    if never:
        found.append(f"would not have fired: {some(never, 12)}")
    if others := [rule.title for rule in left]:
        found.append(f"not asked about, as too many are new: {some(others, 6)}")
    return found
