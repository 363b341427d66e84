"""What is valid in a rule, and wrong: the syntax trees are those of a real Prometheus."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from prometheus_ha.deploys.lib.survey import rule_lint
from tests.rules import test_rules
from tests.rules.conftest import Program

Parse = Callable[[str], Any]


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory, program: Program) -> Iterator[Parse]:
    """The syntax tree of an expression."""
    place = tmp_path_factory.mktemp("prometheus")
    (place / "prometheus.yml").write_text("")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        program("current", "prometheus"),
        f"--config.file={place}/prometheus.yml",
        f"--storage.tsdb.path={place}/data",
    ]
    daemon = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                get("/api/v1/status/buildinfo")
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline and daemon.poll() is None, "Prometheus does not answer"
                time.sleep(0.1)
        yield lambda expr: get(f"/api/v1/parse_query?query={quote(expr, safe='')}")
    finally:
        daemon.terminate()
        daemon.wait(30)


WRONG = [
    # windows below two intervals of the job
    ("rate(a_total[20s]) > 1", "the window [20s] of a_total holds fewer than two samples: it is scraped every 15 s"),
    ('rate(a_total{job="slow"}[1m]) > 1', 'the window [60s] of a_total{job="slow"} holds fewer than two samples'),
    ("max_over_time(rate(a_total[10s])[10m:1m]) > 1", "the window [10s] of a_total"),
    # never true
    ("count(up) == 0", "is never true: count of nothing has no value; ask absent()"),
    ("count by (job) (up == 1) < 1", "is never true: count of nothing has no value"),
    ("absent(up) == 0", "is never true: absent is 1 or has no value"),
    ("rate(a_total[5m]) < 0", "is never true: rate is not below 0"),
    ("sum(increase(a_total[5m])) < 0", "is never true: increase is not below 0"),
    ("min(up) < 0", "is never true: up is 0 or 1"),
    ("a > 1 and count(b) <= 0", "is never true: count of nothing"),
    # always true
    ("up", "fires whatever the value is: it compares nothing"),
    ("sum by (job) (rate(a_total[5m]))", "fires whatever the value is: it compares nothing"),
    ("a > bool 5", "fires whatever the value is: a comparison with bool has a value in either case"),
    ("up >= 0", "fires whatever the value is: >= 0 holds for every value (up is 0 or 1)"),
    ("rate(a_total[5m]) >= 0", ">= 0 holds for every value"),
    ("count(up) > 0", "> 0 holds for every value"),
    ("a > 1 or b", "fires whatever the value is: it compares nothing"),
    # labels that are not there
    ("sum by (job) (a) > 1", "its texts name the label instance, and its expression has job alone"),
    ("sum(a) > 1", "its texts name the label instance, and its expression has no label"),
    ("a / on (job) b > 1", "its texts name the label instance, and its expression has job alone"),
    ("sum without (instance) (sum by (instance, job) (a)) > 1", "expression has job alone"),
    ("histogram_quantile(0.9, sum by (le, job) (rate(a_bucket[5m]))) > 1", "expression has job alone"),
    ('label_replace(sum by (job) (a), "x", "$1", "job", "(.*)") > 1', "expression has job, x alone"),
]
RIGHT = [
    "up == 0",
    "a > 1 and on (job) b",
    "a > 1 unless b",
    "a unless b > 1",
    'absent(up{job="a"})',
    "vector(1)",
    "sum by (job, instance) (rate(a_total[1m])) > 1",
    "a / on (job) group_left b > 1",
    "sum by (instance) (a) > 1 or b > 1",
    "rate(a_total[1m]) > 0",
    "rate(a_total[1m]) == 0",
    "count by (instance) (up == 0) > 1",
    "up < 1",
    "-a < -5",
    "changes(a[1m]) > 2",
    "topk(3, a) > 1",
    "predict_linear(a[1h], 3600) < 0",
    "a > bool 5 == 1",
    "(a > 1) * b",
    "absent_over_time(a[5m])",
]


def said(parse: Parse, expr: str) -> list[str]:
    texts = ["{{ $labels.instance }} of {{ $labels.alertname }} {{ $labels.team }}"]
    return list(rule_lint.problems(parse(expr), True, texts, ["team"], every))


def every(job: str) -> float:
    return {"slow": 60.0}.get(job, 15.0)


@pytest.mark.parametrize(("expr", "problem"), WRONG, ids=[expr for expr, _ in WRONG])
def test_what_is_wrong_is_named(parse: Parse, expr: str, problem: str) -> None:
    found = said(parse, expr)
    assert any(problem in one for one in found), found


@pytest.mark.parametrize("expr", RIGHT)
def test_what_is_right_is_not(parse: Parse, expr: str) -> None:
    without = [one for one in said(parse, expr) if "texts name" in one]
    assert said(parse, expr) == without and bool(without) is (expr == "vector(1)")


def test_a_recording_rule_may_compare_nothing(parse: Parse) -> None:
    assert not list(rule_lint.problems(parse("sum by (job) (rate(a_total[5m]))"), False, interval=every))


def test_our_own_are_well(parse: Parse) -> None:
    site = test_rules.rules("current")
    for name, rules in site.items():
        for rule in rules:
            texts = [*rule["annotations"].values()]
            found = list(rule_lint.problems(parse(rule["expr"]), True, texts, rule["labels"], every))
            assert not found, f"{name}: {found}"


def test_what_it_reads(parse: Parse) -> None:
    tree = parse('sum(rate(a_total{x=~"y|z"}[5m] offset 1h)) / b unless absent(c) or d == 1 and {__name__=~"e.*"} > 1')
    assert rule_lint.selectors(tree) == ['a_total{x=~"y|z"}', "b", "d", '{__name__=~"e.*"}']


def test_what_functions_are_for(parse: Parse) -> None:
    tree = parse("rate(a[5m]) > deriv(b_total[5m]) + max_over_time(c[5m])")
    assert list(rule_lint.counted(tree)) == [("rate", "a", "counter"), ("deriv", "b_total", "gauge")]
