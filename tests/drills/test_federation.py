"""A Prometheus above the cluster has what it asked for, as the replicas have it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from tests.drills.site import (
    api,
    argv,
    interval,
    moved,
    query,
    run_site,
    stopped,
    units,
    value,
    wait_for,
)

MATCHED = ('up{job="node_exporter"}', 'job:up:sum{job!="drill"}', 'node_load1{job="node_exporter"}')
"""Series of which each replica has its own: scraped ones, and the recording rule's. Not of the job that another drill
had for a while: a federated series that is gone at its origin is not marked as stale, and seen for five minutes."""
NOT_MATCHED = ('up{job="prometheus"}', "prometheus_build_info", "ALERTS")


@pytest.fixture
def upper(site: Site) -> Member:
    """The one that federates."""
    return next(m for m in site.running("prometheus-upper") if m.settings.federation_match)


def _series(site: Site, member: Member, expression: str) -> set[frozenset[tuple[str, str]]]:
    answer = query(site, expression, member=member, component=member.components[0])
    return {frozenset(found["metric"].items()) for found in answer["result"]}


def _labels(replica: Member) -> dict[str, str]:
    return {CLUSTER_LABEL: replica.settings.cluster, REPLICA_LABEL: str(replica.settings.replica)}


def _arrived(site: Site, upper: Member, expression: str) -> bool:
    """Are the series of all replicas there, each with the labels of its own and its replica's?"""
    wanted = {
        one | frozenset(_labels(replica).items())
        for replica in site.running("prometheus")
        for one in _series(site, replica, expression)
    }
    # What it scrapes itself has no cluster.
    found = {one for one in _series(site, upper, expression) if CLUSTER_LABEL in dict(one)}
    assert wanted and found == wanted, f"{expression}: {found ^ wanted}"
    return True


@pytest.mark.parametrize("expression", MATCHED)
def test_what_was_matched_arrives_with_its_labels(site: Site, upper: Member, expression: str) -> None:
    wait_for("the series of both replicas", lambda: _arrived(site, upper, expression))


def test_nothing_else_arrives(site: Site, upper: Member) -> None:
    for expression in NOT_MATCHED:
        assert all(_series(site, m, expression) for m in site.running("prometheus")), "the premise"
    others = f'{{{CLUSTER_LABEL}!="",job!="node_exporter",__name__!~"job:.*"}}'
    assert query(site, f"count({others})", member=upper, component="prometheus-upper")["result"] == []


def test_samples_are_the_origins(site: Site, upper: Member) -> None:
    """Value and time are those of the scrape, and not of the federation."""

    def samples(member: Member, **labels: str) -> dict[Any, set]:
        given = ",".join(f'{name}="{value}"' for name, value in labels.items())
        expression = f'node_time_seconds{{job="node_exporter",{given}}}[1m]'
        answer = query(site, expression, member=member, component=member.components[0])
        return {
            found["metric"]["instance"]: {(when, value) for when, value in found["values"]}
            for found in answer["result"]
        }

    def same() -> bool:
        for replica in site.running("prometheus"):
            above = samples(upper, **_labels(replica))
            below = samples(replica)
            assert set(above) == set(below) != set()
            for instance, found in above.items():
                # The oldest and the newest may be beyond the other one's minute.
                kept = [one for one in found if one in below[instance]]
                assert len(kept) >= len(found) - 2 and len(kept) > 2, (replica.name, instance)
        return True

    # A replica that was away just now has too few for a while.
    wait_for("samples of the last minute", same, 60)


@pytest.fixture
def without_one(site: Site, restored: None) -> Iterator[Member]:
    """A replica is stopped."""
    replica = site.running("prometheus")[1]
    with stopped(replica.name, "prometheus"):
        yield replica


def test_a_replica_that_is_away_is_noticed(site: Site, upper: Member, without_one: Member) -> None:
    target = site.endpoint("prometheus", without_one).target
    labels = f'job="federate-{without_one.settings.cluster}",instance="{target}"'

    def noticed() -> bool:
        firing = f'ALERTS{{alertname="FederationDown",alertstate="firing",{labels}}}'
        return bool(query(site, firing, member=upper, component="prometheus-upper")["result"])

    wait_for("the alert", noticed, 60)
    other = next(m for m in site.running("prometheus") if m.name != without_one.name)
    given = ",".join(f'{name}="{value}"' for name, value in _labels(other).items())
    # A sample is as old as the scrape, and then waits for the next federation.
    timing = upper.settings.timing
    age = seconds(timing.federation_interval) + 3 * interval(site)
    fresh = f'count(timestamp(up{{job="node_exporter",{given}}}) > time() - {age})'

    def goes_on() -> bool:
        answer = query(site, fresh, member=upper, component="prometheus-upper")
        return value(answer) == len(site.hosts)

    wait_for("fresh samples of the other replica", goes_on, 2 * age)


@pytest.mark.usefixtures("restored")
def test_other_selectors_are_a_reload(site: Site, upper: Member) -> None:
    before = units()
    run = run_site("--limit", upper.name, data={"federation_match": ["prometheus_build_info"]})
    assert run.status == 0 and moved(before) == set(), str(run)
    wait_for("what is matched now", lambda: _arrived(site, upper, "prometheus_build_info"))


@pytest.mark.usefixtures("restored")
def test_none_is_asked_before_a_restart_as_none_stands_in(site: Site, upper: Member) -> None:
    (other,) = (m for m in site.running("prometheus-upper") if m.name != upper.name)
    with stopped(other.name, "prometheus"):
        run = run_site("--limit", upper.name, data={"prometheus_flags": {"query.timeout": "3m"}})
    assert run.status == 0, str(run)
    assert "prometheus-upper is a tier of one: an outage of prometheus follows" in run.log
    assert "--query.timeout=3m" in argv(upper.name, "prometheus")
    assert api(site, upper.name, "status/runtimeinfo")["reloadConfigSuccess"] is True
