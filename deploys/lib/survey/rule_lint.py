"""What is valid in a rule, and wrong: by the syntax tree that Prometheus itself makes of its expression
(`/api/v1/parse_query`, 3.0 and newer), by the types that targets give their metrics, and by the series that there are.

Each word of it is a warning: the one who wrote the rule may know better.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]

_OF_COUNTERS = {"rate", "irate", "increase", "resets"}
_OF_GAUGES = {"deriv", "delta", "idelta", "predict_linear", "double_exponential_smoothing", "holt_winters"}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "*": operator.mul,
    "+": operator.add,
    "-": operator.sub,
}
_COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
_NOT_BELOW_ZERO = _OF_COUNTERS | {"count_over_time", "changes", "stddev_over_time", "stdvar_over_time"}
_SAY_THAT_IT_LACKS = {"absent", "absent_over_time"}


def nodes(tree: Any) -> Iterator[Node]:
    """Every part of an expression, the whole first."""
    if isinstance(tree, Mapping):
        if "type" in tree:
            yield tree
        for key, value in tree.items():
            if key not in ("func", "matching", "matchers"):
                yield from nodes(value)
    elif isinstance(tree, list):
        for one in tree:
            yield from nodes(one)


def selector(node: Node) -> str:
    """A selector as it is written, without its range and its offset."""
    name = node["name"]
    others = [m for m in node["matchers"] if m["name"] != "__name__" or not name]
    written = ",".join(f"{m['name']}{m['type']}{json.dumps(m['value'], ensure_ascii=False)}" for m in others)
    return name + (f"{{{written}}}" if written else "")


def selectors(tree: Any) -> list[str]:
    """What an expression reads; not what it asks for the absence of, which may well be absent."""
    lacking = {
        id(inner) for node in nodes(tree) if _function(node) in _SAY_THAT_IT_LACKS for inner in nodes(node["args"])
    }
    found = [selector(n) for n in nodes(tree) if n["type"].endswith("Selector") and id(n) not in lacking]
    return list(dict.fromkeys(found))


def counted(tree: Any) -> Iterator[tuple[str, str, str]]:
    """Function, metric, and the type that the metric has to have for it."""
    for node in nodes(tree):
        name = _function(node)
        wanted = "counter" if name in _OF_COUNTERS else "gauge" if name in _OF_GAUGES else ""
        for inner in node.get("args") or () if wanted else ():
            if inner["type"] == "matrixSelector" and inner["name"]:
                yield name, inner["name"], wanted


def problems(
    tree: Any,
    alert: bool,
    texts: Collection[str] = (),
    given: Collection[str] = (),
    interval: Callable[[str], float] = lambda job: 0.0,
) -> Iterator[str]:
    """What can be said without asking for series.

    :param texts: the templates of the rule: annotations and labels.
    :param given: labels that the alert has anyway: those of the rule.
    :param interval: seconds between two scrapes of a job, by its name; an empty name is any other job.
    """
    for node in nodes(tree):
        if node["type"] == "matrixSelector":
            job = next((m["value"] for m in node["matchers"] if m["name"] == "job" and m["type"] == "="), "")
            window, every = node["range"] / 1000, interval(job)
            if window < 2 * every:
                yield (
                    f"the window [{window:g}s] of {selector(node)} holds fewer than two samples: it is scraped every "
                    f"{every:g} s"
                )
        if node["type"] == "binaryExpr" and (why := _never(node)):
            yield f"is never true: {why}"
    if alert:
        if why := _always(tree):
            yield f"fires whatever the value is: {why}"
        labels = _labels(tree)
        used = {name for text in texts for name in re.findall(r"\$labels\.(\w+)", text)}
        if labels is not None and (lost := sorted(used - labels - {*given} - {"alertname"})):
            has = f"has {', '.join(sorted(labels))} alone" if labels else "has no label"
            yield f"its texts name the label {', '.join(lost)}, and its expression {has}"


def _function(node: Node) -> str:
    return node["func"]["name"] if node["type"] == "call" else ""


def _number(node: Node | None) -> float | None:
    if node is None:
        return None
    if node["type"] == "parenExpr":
        return _number(node["expr"])
    if node["type"] == "unaryExpr" and (value := _number(node["expr"])) is not None:
        return -value if node["op"] == "-" else value
    if node["type"] == "binaryExpr" and node["op"] in _ARITHMETIC:
        left, right = _number(node["lhs"]), _number(node["rhs"])
        return None if left is None or right is None else _ARITHMETIC[node["op"]](left, right)
    return float(node["val"]) if node["type"] == "numberLiteral" else None


def _plain(node: Node) -> Node:
    return _plain(node["expr"]) if node["type"] in ("parenExpr", "stepInvariantExpr") else node


def _is_scalar(node: Node) -> bool:
    node = _plain(node)
    if node["type"] == "binaryExpr":
        return _is_scalar(node["lhs"]) and _is_scalar(node["rhs"])
    return _number(node) is not None or (node.get("func") or {}).get("returnType") == "scalar"


def _least(node: Node) -> tuple[float, str] | None:
    """The least value that an expression can have, and why."""
    node = _plain(node)
    if node["type"] == "aggregation" and node["op"] in ("count", "group"):
        return 1, f"{node['op']} of nothing has no value; ask absent()"
    if _function(node) in _SAY_THAT_IT_LACKS:
        return 1, f"{_function(node)} is 1 or has no value"
    if _function(node) in _NOT_BELOW_ZERO:
        return 0, f"{_function(node)} is not below 0"
    if node["type"] == "vectorSelector" and node["name"] == "up":
        return 0, "up is 0 or 1"
    if node["type"] == "aggregation" and node["op"] in ("sum", "min", "max", "avg"):
        return _least(node["expr"])
    return None


def _never(node: Node) -> str:
    """Why a comparison holds for no value; empty where it may."""
    number, least = _number(node["rhs"]), _least(node["lhs"])
    if node["op"] not in _COMPARISONS or node["bool"] or number is None or least is None:
        return ""
    value, why = least
    below = {"<": value >= number, "<=": value > number, "==": value > number}
    return why if below.get(node["op"]) else ""


def _always(node: Node) -> str:
    """Why an alert fires for whatever series there is; empty where its expression asks for something."""
    node = _plain(node)
    kind = node["type"]
    if kind == "binaryExpr":
        if node["op"] in ("and", "unless"):
            return ""  # it asks whether there is something
        if node["op"] == "or":
            return _always(node["lhs"]) or _always(node["rhs"])
        if node["op"] in _COMPARISONS:
            if node["bool"]:
                return "a comparison with bool has a value in either case"
            number, least = _number(node["rhs"]), None if _asks(node["lhs"]) else _least(node["lhs"])
            if number is not None and least and (node["op"], number) in ((">=", least[0]), (">", least[0] - 1)):
                return f"{node['op']} {number:g} holds for every value ({least[1]})"
            return ""
        return _always(node["lhs"]) if not _asks(node["rhs"]) else ""
    if kind == "call" and _function(node) in {*_SAY_THAT_IT_LACKS, "vector"}:
        return ""  # vector(1) is meant
    if _asks(node):
        return ""
    return "it compares nothing"


def _asks(node: Node) -> bool:
    """Whether a part of it lets through some series only."""
    return any(
        (n["type"] == "binaryExpr" and n["op"] in _COMPARISONS and not n["bool"]) or _function(n) in _SAY_THAT_IT_LACKS
        for n in nodes(node)
    )


def _labels(node: Node) -> set[str] | None:
    """The labels that an expression has at most; None where they are those of its series."""
    node = _plain(node)
    if node["type"] == "aggregation":
        if node["op"] in ("topk", "bottomk", "limitk", "limit_ratio"):
            return _labels(node["expr"])
        inner = _labels(node["expr"])
        if node["without"]:
            return None if inner is None else inner - set(node["grouping"])
        kept = set(node["grouping"]) if inner is None else set(node["grouping"]) & inner
        return kept | ({str(node["param"].get("val"))} if node["op"] == "count_values" and node["param"] else set())
    if node["type"] == "binaryExpr":
        left, right, matching = _labels(node["lhs"]), _labels(node["rhs"]), node["matching"]
        if _is_scalar(node["rhs"]) or node["op"] in ("and", "unless"):
            return left
        if _is_scalar(node["lhs"]):
            return right
        if node["op"] == "or":
            return None if left is None or right is None else left | right
        if matching and matching["card"] == "many-to-one":
            return None if left is None else left | set(matching["include"])
        if matching and matching["card"] == "one-to-many":
            return None if right is None else right | set(matching["include"])
        if matching and matching["on"]:
            return set(matching["labels"])
        return left if left is not None else right
    if node["type"] == "subquery":
        return _labels(node["expr"])
    if name := _function(node):
        if name in _SAY_THAT_IT_LACKS or not node["args"]:
            return None if name in _SAY_THAT_IT_LACKS else set()
        inner = _labels(node["args"][1 if name == "histogram_quantile" else 0])
        if name in ("label_replace", "label_join"):
            return None if inner is None else inner | {str(node["args"][1].get("val", "")).strip('"')}
        return inner - {"le"} if inner is not None and name == "histogram_quantile" else inner
    return set() if node["type"] == "numberLiteral" else None
