"""YAML as people write it: what is read, on which line it stands, and what is said instead of being passed on."""

from __future__ import annotations

import pytest

from prometheus_ha.deploys.lib.ground import yaml_text
from prometheus_ha.deploys.lib.ground.yaml_text import YamlError, line_of, read


def test_what_is_read():
    text = """
a: text
b: [1, -2, 1.5, true, FALSE, null, ~, "0755", 'off', .inf, "2026-01-01", 0o17, 1e3]
c: &c {x: 1}
d: {<<: *c, y: 2}
5m: key
on: key
"""
    data = read(text)
    assert data["b"] == [1, -2, 1.5, True, False, None, None, "0755", "off", float("inf"), "2026-01-01", "0o17", "1e3"]
    assert data["d"] == {"x": 1, "y": 2}
    assert (data["5m"], data["on"], data["a"]) == ("key", "key", "text")
    assert read("") is None and read("# nothing\n") is None


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("a: off\n", (1, 4), "off, which YAML reads as true or false"),
        ("a:\n  - yes\n", (2, 5), "yes, which"),
        ("a: 0755\n", (1, 4), "0755, which YAML reads as the number 493"),
        ("a: 1_000\n", (1, 4), "1_000, which YAML reads as the number 1000"),
        ("a: 1:30\n", (1, 4), "1:30, which YAML reads as the number 90"),
        ("a: 2026-11-27\n", (1, 4), "2026-11-27, which YAML reads as a date"),
        ("labels:\n  version: 1.10\n", (2, 12), "1.10, which YAML reads as another number"),
        ("labels: {a: [1.10]}\n", (1, 14), "1.10, which"),
        ("a: 1\nb: 2\na: 3\n", (3, 1), "the key a twice, first on line 1"),
        ("a: !!python/object:os.system x\n", (1, 4), "the tag"),
        ("a: !!binary aGk=\n", (1, 4), "the tag"),
        ("? [a]\n: 1\n", (1, 3), "a list or mapping as a key"),
        ("a: &a [*a]\n", (1, 4), "nested too deep, or in themselves"),
        ("a: [\n", (2, 1), "while parsing"),
        ("a: b: c\n", (1, 5), "mapping values are not allowed"),
        ("a: 1\n---\nb: 2\n", (2, 1), "expected a single document"),
        ("a: \x00\n", (1, 1), "control characters"),
        ("\n\ta: 1\n", (2, 1), "cannot start any token"),
    ],
)
def test_what_is_said(text, place, found):
    with pytest.raises(YamlError) as caught:
        read(text)
    first = caught.value.places[0]
    assert found in first.found, first
    assert (first.line, first.column) == place, first


def test_a_number_that_is_no_label_may_have_any_form():
    assert read("quantile: 0.90\n") == {"quantile": 0.9}


def test_all_places_are_said_at_once():
    with pytest.raises(YamlError) as caught:
        read("a: off\nb: 010\n")
    assert [place.line for place in caught.value.places] == [1, 2]


def test_what_never_ends_is_said(monkeypatch):
    text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(YamlError, match="aliases of aliases"):
        read(text)
    with pytest.raises(YamlError, match="nested too deep"):
        read("[" * 100 + "]" * 100)
    with pytest.raises(YamlError, match="nest"):
        read("[" * 100_000)


def test_the_line_of_a_place():
    text = "a:\n  b:\n    - x: 1\n    - x: 2\n      y: 3\n"
    assert line_of(text, ["a", "b", "[1]", "y"]) == 5
    assert line_of(text, ["a", "b", "[1]"]) == 4
    assert line_of(text, ["a", "b", "[7]", "y"]) == 2, "the nearest thing above it"
    assert line_of(text, ["z"]) == 1
    assert line_of("a: [\n", ["a"]) is None
    assert yaml_text.line_of("", ["a"]) is None
