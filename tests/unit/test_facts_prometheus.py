"""A Prometheus' answers, recorded from 3.15.0 (current) and 2.47.2 (migration)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.facts.prometheus import Prometheus
from prometheus_ha.facts.reports.prometheus import CALLS, RemoteWrite, parse, unix_time

DATA = Path(__file__).parent / "data/facts"


def report(name: str):
    return parse((DATA / f"prometheus_{name}.txt").read_text().splitlines())


@pytest.mark.parametrize(("release", "version"), [("current", "3.15.0"), ("migration", "2.47.2")])
def test_ready(release, version):
    found = report(f"ready_{release}")
    assert found.ready
    assert found.errors == {}
    assert found.version == version
    assert found.external_labels == {"cluster": "main", "replica": "A"}
    assert found.job_names == ["prometheus", "node_exporter"]
    assert found.flags["storage.tsdb.min-block-duration"] == "2h"
    assert found.flags["web.enable-lifecycle"] == "true"
    assert found.reload_success is True
    assert found.wal_corruptions == 0
    assert found.started is not None and found.last_reload is not None
    assert 0 < found.started - found.last_reload + 1 < 5
    assert found.alertmanagers == [
        "http://127.0.0.1:19193/api/v2/alerts",
        "http://127.0.0.1:19293/api/v2/alerts",
    ]
    assert found.wal_replay is not None and found.wal_replay.done


def test_the_retention_in_force():
    page = """\
prometheus_tsdb_retention_limit_bytes 5.36870912e+10
prometheus_tsdb_retention_limit_seconds 1.296e+06"""
    lines = ["==[name]== ready", "==[status]== 200", "==[name]== remote write", *page.splitlines()]
    assert parse(lines).retention == {"time": 15 * 86400, "size": 50 << 30}
    asked = next(call for call in CALLS if call.name == "remote write")
    assert "prometheus_tsdb_retention_limit_percentage" in asked.filter


def test_remote_write():
    labels = 'remote_name="a1",url="https://10.0.0.9/write"'
    other = 'remote_name="b2",url="https://10.0.0.8/write"'
    page = f"""
prometheus_remote_storage_highest_timestamp_in_seconds 1000
prometheus_remote_storage_queue_highest_sent_timestamp_seconds{{{labels}}} 940
prometheus_remote_storage_queue_highest_sent_timestamp_seconds{{{other}}} 0
prometheus_remote_storage_samples_pending{{{labels}}} 12
prometheus_remote_storage_samples_failed_total{{{labels}}} 3
prometheus_remote_storage_samples_failed_total{{{other}}} 5
prometheus_remote_storage_samples_retried_total{{{labels}}} 4
"""
    lines = ["==[name]== ready", "==[status]== 200", "==[name]== remote write", *page.splitlines()]
    assert parse([*lines, "==[status]== 200"]).remote_write == [
        RemoteWrite("a1", "https://10.0.0.9/write", 60.0, 12.0, 3.0, 4.0),
        RemoteWrite("b2", "https://10.0.0.8/write", None, 0.0, 5.0, 0.0),
    ]


def test_remote_write_is_behind_what_its_queue_is_to_send():
    """From 3.7 on: what relabelling keeps from a queue is not awaited there, and the other metric is deprecated."""
    labels = 'remote_name="a1",url="https://10.0.0.9/write"'
    page = f"""
prometheus_remote_storage_queue_highest_timestamp_seconds{{{labels}}} 960
prometheus_remote_storage_queue_highest_sent_timestamp_seconds{{{labels}}} 940
"""
    for more in ("", "prometheus_remote_storage_highest_timestamp_in_seconds 1000"):
        lines = ["==[name]== ready", "==[status]== 200", "==[name]== remote write"]
        lines = [*lines, *page.splitlines(), more, "==[status]== 200"]
        assert [queue.behind for queue in parse(lines).remote_write] == [20.0]


def test_remote_write_is_behind_what_was_scraped_where_its_queue_is_full():
    """What is to be sent is taken into the queue no more, and its newest stands still."""
    labels = 'remote_name="a1",url="https://10.0.0.9/write"'
    page = f"""
prometheus_remote_storage_highest_timestamp_in_seconds 4000
prometheus_remote_storage_queue_highest_timestamp_seconds{{{labels}}} 960
prometheus_remote_storage_queue_highest_sent_timestamp_seconds{{{labels}}} 940
prometheus_remote_storage_samples_pending{{{labels}}} 500000
"""
    lines = ["==[name]== ready", "==[status]== 200", "==[name]== remote write", *page.splitlines(), "==[status]== 200"]
    assert [queue.behind for queue in parse(lines).remote_write] == [3060.0]


@pytest.mark.parametrize("release", ["current", "migration"])
def test_targets(release):
    found = {target.job: target for target in report(f"ready_{release}").targets}
    assert found["prometheus"].health == "up"
    assert found["prometheus"].last_error == ""
    assert found["node_exporter"].health == "down"
    assert found["node_exporter"].instance == "127.0.0.1:19199"
    assert "connection refused" in found["node_exporter"].last_error
    assert found["node_exporter"].labels["note"] == 'a "quoted" } back\\slash'
    assert found["node_exporter"].last_scrape > 1_700_000_000


@pytest.mark.parametrize("release", ["current", "migration"])
def test_rules(release):
    found = {rule.name: rule for rule in report(f"ready_{release}").rules}
    assert (found["Watchdog"].kind, found["Watchdog"].health) == ("alerting", "ok")
    assert (found["job:up:sum"].kind, found["job:up:sum"].group) == ("recording", "starter")
    assert found["bad:rule"].health == "err"
    assert "many-to-many" in found["bad:rule"].last_error


def test_refused_reload_keeps_what_was_loaded():
    found = report("badreload_current")
    assert found.ready
    assert found.reload_success is False
    assert found.external_labels == {"cluster": "main", "replica": "A"}


@pytest.mark.parametrize("release", ["current", "migration"])
def test_while_the_log_is_replayed(release):
    found = report(f"replaying_{release}")
    assert not found.ready
    assert found.version is None
    assert found.errors["ready"] == "HTTP 503: Service Unavailable"
    assert found.wal_replay is not None and not found.wal_replay.done
    assert (found.wal_replay.first, found.wal_replay.last) == (0, 400)
    assert 0 < found.wal_replay.current < 400


def test_down():
    found = report("down_current")
    assert not found.ready
    assert list(found.errors) == ["ready"]
    assert "no connection to 127.0.0.1:19" in found.errors["ready"]


def test_no_answer_of_the_host_is_not_ready():
    assert not Prometheus().default().ready


def test_an_answer_in_another_form_names_what_was_found():
    lines = [line for line in (DATA / "prometheus_ready_current.txt").read_text().splitlines()]
    broken = [line.replace('"activeTargets":[{"labels"', '"activeTargets":[{"l"') for line in lines]
    with pytest.raises(FactProcessError, match="prometheus_ha.facts.prometheus: not understood .KeyError: 'lab"):
        parse(broken)


def test_discovered_labels_are_left_on_the_host():
    target = {
        "discoveredLabels": {"__address__": "a:1", "__meta_x": 'b"} \\', "empty": ""},
        "labels": {"job": "a", "discoveredLabels": "mine"},
        "health": "up",
    }
    text = json.dumps({"data": {"activeTargets": [target, target]}}, separators=(",", ":"))
    (call,) = [call for call in CALLS if call.name == "targets"]
    done = subprocess.run(["sh", "-c", call.filter], input=text, capture_output=True, text=True)
    left = json.loads(done.stdout)["data"]["activeTargets"]
    assert left == [{"labels": target["labels"], "health": "up"}] * 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("2026-11-21T10:29:55.569990205Z", 1795256995.56999),
        ("2026-11-21T12:29:55.5+02:00", 1795256995.5),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_unix_time(text, seconds):
    assert unix_time(text) == seconds


def test_prints_as_json():
    shown = json.loads(json.dumps(report("ready_current").to_json()))
    assert shown["targets"][0]["job"] == "node_exporter"


def test_another_address():
    assert "http://[::1]:9090/-/ready" in Prometheus().command(url="http://[::1]:9090/")
