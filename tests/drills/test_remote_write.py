"""What both replicas scrape reaches a receiver behind TLS and a password, told apart, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.facts.http import metric, metrics
from tests.drills.site import (
    ask,
    interval,
    moved,
    query,
    reloads,
    run_site,
    stopped,
    units,
    wait_for,
)
from tests.lab import keys

SERIES = ("up", "job:up:sum", "prometheus_build_info", "ALERTS")
SCRAPED = ('up{job="node_exporter"}', "job:up:sum")
"""Series of which every single sample is looked for."""
WRITE = "/api/v1/write"
AWAY = 25.0
"""Seconds that the receiver is away: five scrapes, and longer than any pause between two tries."""


@pytest.fixture
def receiver(site: Site) -> Member:
    return next(m for m in site.running("prometheus-upper") if m.settings.prometheus_remote_write_receiver)


def _ask(site: Site, member: Member, expression: str, at: float | None = None) -> list[Any]:
    component = member.components[0]
    return query(site, expression, member=member, component=component, time=at)["result"]


def _labels(replica: Member) -> dict[str, str]:
    return {CLUSTER_LABEL: replica.settings.cluster, REPLICA_LABEL: str(replica.settings.replica)}


def _of(replica: Member) -> str:
    """A selector of what the receiver has of a replica."""
    return ",".join(f'{name}="{value}"' for name, value in _labels(replica).items())


def _sent(site: Site, what: str) -> dict[str, float]:
    """A counter of remote write on each sender."""
    name = f"prometheus_remote_storage_{what}"
    return {
        member.name: metric(metrics(ask(f"{site.endpoint('prometheus', member).url}/metrics").text), name) or 0.0
        for member in site.running("prometheus")
    }


def _grown(site: Site, what: str, before: dict[str, float]) -> bool:
    after = _sent(site, what)
    return all(after[name] > before[name] for name in before)


def _newest(site: Site, receiver: Member) -> dict[str, float]:
    """When the last sample was scraped that the receiver has of each replica."""
    newest = {}
    for replica in site.running("prometheus"):
        expression = f"max(max_over_time(timestamp(up{{{_of(replica)}}})[5m:1s]))"
        (found,) = _ask(site, receiver, expression)
        newest[replica.name] = float(found["value"][1])
    return newest


def _up_to_date(site: Site, receiver: Member) -> bool:
    oldest = min(_newest(site, receiver).values())
    return oldest > time.time() - 2 * interval(site) - 1


def _whole(site: Site, receiver: Member, since: float, until: float) -> bool:
    """Every sample that a replica has of this time, the receiver has as well."""
    window = f"[{round((until - since) * 1000)}ms]"
    for replica in site.running("prometheus"):
        for series in SCRAPED:
            selector = f"{series[:-1]},{_of(replica)}}}" if "{" in series else f"{series}{{{_of(replica)}}}"
            there = {
                frozenset(found["metric"].items()): found["values"]
                for found in _ask(site, receiver, selector + window, until)
            }
            here = _ask(site, replica, series + window, until)
            assert max(len(found["values"]) for found in here) > 2, "the premise"
            for found in here:
                labels = frozenset({**found["metric"], **_labels(replica)}.items())
                lost = [one for one in found["values"] if one not in there.get(labels, [])]
                assert not lost, f"{replica.name}: {found['metric']}: {len(lost)} lost: {lost[:3]}"
    return True


@pytest.fixture
def well(site: Site, receiver: Member) -> None:
    """Everything arrives."""
    wait_for("the receiver to be up to date", lambda: _up_to_date(site, receiver), 60)


pytestmark = pytest.mark.usefixtures("well")


@pytest.mark.parametrize("series", SERIES)
def test_both_replicas_arrive_told_apart(site: Site, receiver: Member, series: str) -> None:
    def arrived() -> bool:
        wanted = {
            frozenset({**found["metric"], **_labels(replica)}.items())
            for replica in site.running("prometheus")
            for found in _ask(site, replica, series)
        }
        found = {frozenset(one["metric"].items()) for one in _ask(site, receiver, f'{series}{{{REPLICA_LABEL}!=""}}')}
        assert wanted and found == wanted, f"{series}: {found ^ wanted}"
        return True

    wait_for("the series of both replicas", arrived)


def test_what_relabelling_drops_does_not_arrive(site: Site, receiver: Member) -> None:
    for replica in site.running("prometheus"):
        assert _ask(site, replica, 'count({__name__=~"go_.*"})'), "the premise"
    assert _ask(site, receiver, f'count({{__name__=~"go_.*",{REPLICA_LABEL}!=""}})') == []


def test_the_receiver_serves_nobody_without_tls_and_a_password(site: Site, receiver: Member) -> None:
    url = site.endpoint("prometheus-upper", receiver).url
    assert ask(f"{url}/-/ready").status_code == 200
    for path in ("/-/ready", "/metrics", WRITE):
        assert ask(f"{url}{path}", auth=None).status_code == 401, path
        assert ask(f"{url}{path}", auth=("writer", "wrong")).status_code == 401, path
        plain = ask(f"{url.replace('https', 'http')}{path}")
        assert (plain.status_code, "HTTPS server" in plain.text) == (400, True), path
    with pytest.raises(requests.exceptions.SSLError):
        ask(f"{url}/-/ready", verify=True)


def test_an_upper_prometheus_takes_no_remote_write_unasked(site: Site, receiver: Member) -> None:
    (other,) = (m for m in site.running("prometheus-upper") if m.name != receiver.name)
    url = f"{site.endpoint('prometheus-upper', other).url}{WRITE}"
    assert ask(url, "POST").status_code == 404


REFUSED: dict[str, tuple[Callable[[Member], dict[str, Any]], str]] = {
    # The receiver answers that it does not want these samples: they are not sent again.
    "plain HTTP": (lambda member: _plain(member), "samples_failed_total"),
    "wrong password": (
        lambda member: _files(member, "remote_write_password"),
        "samples_failed_total",
    ),
    # Nobody answers whom the sender would believe: it tries again.
    "wrong CA": (lambda member: _files(member, "ca.crt"), "samples_retried_total"),
}


def _plain(member: Member) -> dict[str, Any]:
    entries = [
        {**entry, "url": entry["url"].replace("https:", "http:")}
        for entry in member.settings.prometheus_config["remote_write"]
    ]
    # The files too: `--data` is for every host, and the others have none.
    return {
        "prometheus_config": {"remote_write": entries},
        "prometheus_secret_files": member.settings.prometheus_secret_files,
    }


def _files(member: Member, name: str) -> dict[str, Any]:
    return {
        "prometheus_secret_files": {
            **member.settings.prometheus_secret_files,
            name: "secret:env:DRILL_SECRET",
        }
    }


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_refused_and_seen(site: Site, receiver: Member, what: str) -> None:
    make, counter = REFUSED[what]
    secret = keys.make_ca("another")[1] if what == "wrong CA" else "wrong"
    before, loaded, began = units(), reloads(site), time.time()
    counted, failed = _sent(site, counter), _sent(site, "samples_failed_total")
    data = make(site.running("prometheus")[0])
    run = run_site("--limit", "prometheus", data=data, env={"DRILL_SECRET": secret})
    assert run.status == 0, str(run)
    if what == "plain HTTP":  # another queue, which has counted nothing yet
        counted = dict.fromkeys(counted, 0.0)
    changed = time.time()
    wait_for(f"{counter} to grow", lambda: _grown(site, counter, counted), 60)
    # What was scraped since does not arrive.
    assert max(_newest(site, receiver).values()) < changed
    if what != "plain HTTP":
        # Secrets are read whenever they are needed: nothing was told to.
        assert moved(before) == set() and reloads(site) == loaded
    run = run_site("--limit", "prometheus")
    assert run.status == 0, str(run)
    wait_for("everything to arrive again", lambda: _up_to_date(site, receiver), 60)
    if what == "wrong CA":
        assert _sent(site, "samples_failed_total") == failed
        until = time.time() + 2 * interval(site)
        wait_for("two scrapes after it", lambda: time.time() > until + 2 * interval(site), 60)
        # The newest is not the last that arrives: shards send side by side.
        wait_for("the backlog", lambda: _whole(site, receiver, began, until), 60)


@pytest.mark.usefixtures("restored")
def test_a_receiver_that_was_away_lacks_nothing(site: Site, receiver: Member) -> None:
    failed, retried = _sent(site, "samples_failed_total"), _sent(site, "samples_retried_total")
    began = time.time()
    with stopped(receiver.name, "prometheus"):
        gone = time.time()
        wait_for("the senders to try again", lambda: _grown(site, "samples_retried_total", retried))
        wait_for("a while to pass", lambda: time.time() - gone > AWAY, AWAY + 10, pause=1)
    until = time.time() + interval(site)
    wait_for("two scrapes after it", lambda: time.time() > until + 2 * interval(site), 60)
    wait_for("the backlog", lambda: _whole(site, receiver, began - interval(site), until), 180, pause=1)
    assert _sent(site, "samples_failed_total") == failed
