"""Thanos' answers, recorded from 0.42.5 (current) and 0.35.1 (migration)."""

from __future__ import annotations

from pathlib import Path

import pytest

from prometheus_ha.facts.reports.thanos import parse_querier, parse_sidecar
from prometheus_ha.facts.thanos import Querier, Sidecar

DATA = Path(__file__).parent / "data/facts"


def lines(name: str) -> list[str]:
    return (DATA / f"{name}.txt").read_text().splitlines()


@pytest.mark.parametrize(("release", "version"), [("current", "0.42.5"), ("migration", "0.35.1")])
def test_querier(release, version):
    found = parse_querier(lines(f"querier_ready_{release}"))
    assert found.ready
    assert found.errors == {}
    assert found.version == version
    assert found.connections == 2
    assert [store.name for store in found.stores] == ["127.0.0.1:19101", "127.0.0.1:19201"]
    for store in found.stores:
        assert store.kind == "sidecar"
        assert store.last_error == ""
        assert store.label_sets == [{"cluster": "main", "replica": "A"}]
        assert store.max_time == 2**63 - 1
        assert store.last_check > 1_700_000_000


def test_querier_with_a_store_gone():
    gone, there = parse_querier(lines("querier_degraded_current")).stores
    assert "connection refused" in gone.last_error
    assert there.last_error == ""


@pytest.mark.parametrize(("release", "version"), [("current", "0.42.5"), ("migration", "0.35.1")])
def test_sidecar(release, version):
    found = parse_sidecar(lines(f"sidecar_ready_{release}"))
    assert found.ready
    assert found.errors == {}
    assert found.version == version
    assert found.prometheus_up is True
    assert (found.uploads, found.upload_failures) == (0, 0)
    assert found.last_upload is None


def test_sidecar_without_a_bucket():
    found = parse_sidecar(lines("sidecar_nobucket_current"))
    assert found.ready
    assert (found.uploads, found.upload_failures, found.last_upload) == (None, None, None)


@pytest.mark.parametrize("release", ["current", "migration"])
def test_sidecar_of_a_prometheus_that_is_down(release):
    found = parse_sidecar(lines(f"sidecar_promdown_{release}"))
    assert not found.ready
    assert found.prometheus_up is False
    assert found.errors == {"ready": "HTTP 503: NOT OK"}


def test_sidecar_that_has_uploaded():
    text = "\n".join(lines("sidecar_ready_current"))
    text = text.replace('bucket"} 0', 'bucket"} 1.795257054e+09').replace("loads_total 0", "loads_total 3")
    found = parse_sidecar(text.splitlines())
    assert (found.uploads, found.last_upload) == (3, 1795257054.0)


def test_down():
    down = lines("prometheus_down_current")
    assert not parse_querier(down).ready
    assert not parse_sidecar(down).ready
    assert not Querier().default().ready
    assert not Sidecar().default().ready
