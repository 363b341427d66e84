"""What a drill's probe takes for a gap: judged by what each replica has, so that a busy machine is none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.drills import probe
from tests.drills.probe import Probe

USUAL = 5


def every(step: float, *parts: tuple[float, float]) -> list[float]:
    """A scrape every `step` seconds in these parts of the minute."""
    return [at for start, end in parts for at in _steps(start, end, step)]


def _steps(start: float, end: float, step: float) -> list[float]:
    return [start + n * step for n in range(round((end - start) / step) + 1)]


def seen(monkeypatch, once: list[float], *replicas: list[float]) -> Probe:
    """A probe of a minute, with what the deduplicated series has, and each replica."""
    monkeypatch.setattr(probe, "interval", lambda site: USUAL)
    probed = Probe(SimpleNamespace())
    probed.began, probed.ended = 0.0, 60.0
    stamps = {True: {"": once}, False: {str(n): found for n, found in enumerate(replicas)}}
    monkeypatch.setattr(probed, "_stamps", lambda dedup: {"store-1": stamps[dedup]})
    return probed


WHOLE = every(5, (0, 60))


def test_a_querier_that_changes_over_leaves_no_gap(monkeypatch):
    once = every(5, (0, 20), (35, 60))
    seen(monkeypatch, once, every(5, (0, 20), (50, 60)), WHOLE).assert_no_gap()


def test_late_scrapes_are_no_gap(monkeypatch):
    late = every(7.5, (0, 60))
    seen(monkeypatch, every(7.5, (0, 15), (37.5, 60)), late, late).assert_no_gap()


def test_a_series_that_has_less_than_its_replicas_has_a_gap(monkeypatch):
    with pytest.raises(AssertionError, match="store-1: a gap of 25.0 s, with steps of 5.0 s"):
        seen(monkeypatch, every(5, (0, 20), (45, 60)), WHOLE, WHOLE).assert_no_gap()


def test_a_host_that_nobody_scraped_is_told(monkeypatch):
    part = every(5, (0, 20), (45, 60))
    with pytest.raises(AssertionError, match="store-1 was scraped by nobody for 25.0 s"):
        seen(monkeypatch, part, part, part).assert_no_gap()
