"""What an alert rule would have done over the last day."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from prometheus_ha.deploys.lib.survey.backtest import POINTS, Fired, Rule, changed, fired, lines, read, rules
from prometheus_ha.facts.http import Answer

STEP = 15.0


def rule(for_: float = 0, keep: float = 0) -> Rule:
    return Rule("TargetSlow", "warning", "up == 0", for_, keep, STEP)


def series(*points: float) -> dict:
    return {"metric": {}, "values": [[STEP * n, "1"] for n in points]}


@pytest.mark.parametrize(
    ("matrix", "for_", "keep", "expected"),
    [
        ([], 0, 0, Fired(0, 0, 0)),
        ([series(1, 2, 3)], 0, 0, Fired(1, 1, 0)),
        # `for` begins anew with each gap
        ([series(1, 2, 4, 5)], 15, 0, Fired(2, 1, 0)),
        ([series(1, 2, 4, 5)], 30, 0, Fired(0, 0, 0)),
        # it fires once `for` is over, as long as its cause lasts
        ([series(*range(20))], 60, 0, Fired(1, 1, 0)),
        ([series(*range(4))], 60, 0, Fired(0, 0, 0)),
        ([series(*range(5))], 60, 0, Fired(1, 1, 0)),
        ([series(1, 2), series(5, 6)], 15, 0, Fired(2, 2, 0)),
        # at the end
        ([series(99, 100)], 0, 0, Fired(1, 1, 1)),
        ([series(98, 99, 100)], 60, 0, Fired(0, 0, 0)),
        # `keep_firing_for` bridges a gap once it fires, and not before
        ([series(1, 2, 5, 6)], 15, 60, Fired(1, 1, 0)),
        ([series(1, 3)], 15, 60, Fired(0, 0, 0)),
        ([series(97, 98)], 15, 60, Fired(1, 1, 1)),
    ],
)
def test_it_fires_as_prometheus_would(matrix, for_, keep, expected):
    assert fired(matrix, rule(for_, keep), end=100 * STEP) == expected


def group(*found: dict, **more) -> str:
    return yaml.safe_dump({"groups": [{"name": "g", "rules": list(found), **more}]})


def test_what_is_new_or_another_one():
    down = {"alert": "Down", "expr": "up == 0", "for": "5m", "labels": {"severity": "critical"}}
    before = group(down, {"record": "a:b", "expr": "sum(up)"})
    worded = down | {"annotations": {"summary": "other words"}}
    assert not changed([before], [group(worded)], "15s")
    longer, severe = down | {"for": "10m"}, down | {"labels": {"severity": "warning"}}
    found = changed([before], [group(down, longer, severe), group(longer, interval="1m")], "15s")
    assert [(one.title, one.for_, one.interval) for one in found] == [
        ("Down (critical)", 600, 15),
        ("Down (warning)", 300, 15),
        ("Down (critical)", 600, 60),
    ]
    assert [one.alert for one in changed([], [before], "15s")] == [True, False]


@pytest.mark.parametrize(
    "text",
    ["", "groups: 5", "groups: [{rules: [{alert: a}]}]", "{", "groups: [{rules: [{alert: a, expr: b, for: x}]}]"],
)
def test_a_file_that_is_none_has_no_rules(text):
    assert not list(rules(text, "15s"))


def test_a_question_stays_below_what_upstream_takes():
    for interval in (1.0, 15.0, 60.0):
        one = Rule("a", "", 'up{job=~"a|b"} == 0', 0, 0, interval)
        asked = {key: value[0] for key, value in parse_qs(urlsplit(one.path(1e9)).query).items()}
        points = (float(asked["end"]) - float(asked["start"])) / float(asked["step"])
        assert points <= POINTS and float(asked["step"]) == interval
        assert asked["query"] == one.expr
        assert one.window == min(86400, POINTS * interval)


def test_what_is_said():
    body = json.dumps({"status": "success", "data": {"result": [series(99, 100)]}})
    said = [(rule(), read(Answer(200, body), rule(), 100 * STEP))]
    refused = json.dumps({"status": "error", "error": "query timed out"})
    said += [(rule(), read(Answer(503, refused), rule(), 0)), (rule(), Fired(0, 0, 0)), (rule(), Fired(214, 9, 3))]
    assert lines(said, [rule()]) == [
        "TargetSlow (warning): would have fired 1 time on 1 label set; now: 1",
        "TargetSlow (warning): not known: query timed out",
        "TargetSlow (warning): would have fired 214 times on 9 label sets; now: 3",
        "would not have fired: TargetSlow (warning)",
        "not asked about, as too many are new: TargetSlow (warning)",
    ]
