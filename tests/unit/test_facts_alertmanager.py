"""An Alertmanager's answers, recorded from 0.34.2 (current) and 0.26.0 (reference)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.facts.alertmanager import Alertmanager
from prometheus_ha.facts.reports.alertmanager import Sent, parse

DATA = Path(__file__).parent / "data/facts"


def report(name: str):
    return parse((DATA / f"alertmanager_{name}.txt").read_text().splitlines())


@pytest.mark.parametrize(("release", "version"), [("current", "0.34.2"), ("reference", "0.26.0")])
def test_ready(release, version):
    found = report(f"ready_{release}")
    assert found.ready and found.settled
    assert found.errors == {}
    assert found.version == version
    assert {peer.address for peer in found.peers} == {"127.0.0.1:19194", "127.0.0.1:19294"}
    assert found.name in {peer.name for peer in found.peers}
    assert (found.members, found.failed_peers) == (2, 0)
    assert found.position in (0, 1)
    assert found.reload_success is True
    assert found.config["route"]["receiver"] == "web.hook"
    assert found.config["receivers"][0]["webhook_configs"][0]["url"] == "<secret>"
    assert found.started is not None


@pytest.mark.parametrize("release", ["current", "reference"])
def test_alerts(release):
    (alert,) = report(f"ready_{release}").alerts
    assert alert.labels == {"alertname": "Watchdog", "cluster": "main", "severity": "none"}
    assert alert.state == "active"
    assert alert.receivers == ["web.hook"]
    # A text of the user's that looks like a marker is no marker.
    assert alert.annotations["summary"].endswith("\n==[status]== 200")
    assert alert.ends_at > alert.starts_at


NAMED = 'integration="slack",receiver_name="team"'
SENT = f"""
alertmanager_notifications_failed_total{{integration="slack",reason="clientError",receiver_name="team"}} 2
alertmanager_notifications_failed_total{{integration="slack",reason="contextCanceled",receiver_name="team"}} 7
alertmanager_notifications_failed_total{{integration="slack",reason="other",receiver_name="team"}} 1
alertmanager_notifications_total{{{NAMED}}} 5
alertmanager_notifications_failed_total{{integration="email",reason="other"}} 0
alertmanager_notifications_total{{integration="email"}} 4
"""


def test_notifications_by_receiver():
    """From 0.27 on; below, by integration. One that a reload cancels is sent again."""
    lines = ["==[name]== ready", "==[status]== 200", "==[name]== metrics", *SENT.splitlines()]
    for name in ("status", "alerts"):
        lines = [*lines, "==[status]== 200", f"==[name]== {name}", {"alerts": "[]"}.get(name, "{}")]
    assert parse([*lines, "==[status]== 200"]).sent == [
        Sent("team", "slack", 5, 3),
        Sent("", "email", 4, 0),
    ]


def test_settling():
    found = report("settling_current")
    assert found.ready and not found.settled


@pytest.mark.parametrize("release", ["current", "reference"])
def test_a_peer_gone_and_a_refused_reload(release):
    found = report(f"degraded_{release}")
    assert found.ready and found.settled
    assert (found.members, found.failed_peers) == (1, 1)
    assert [peer.name for peer in found.peers] == [found.name]
    assert found.reload_success is False
    # The hash is of what is loaded, not of the file that was refused.
    assert found.config_hash == report(f"ready_{release}").config_hash


def test_down():
    lines = (DATA / "prometheus_down_current.txt").read_text().splitlines()
    assert parse(lines).ready is False
    assert "no connection to 127.0.0.1:19" in parse(lines).errors["ready"]
    assert Alertmanager().default().ready is False


def test_without_credentials():
    found = parse(
        [
            part
            for call in ("ready", "status", "alerts", "metrics")
            for part in (f"==[name]== {call}", "Unauthorized", "==[status]== 401")
        ]
    )
    assert not found.ready
    assert set(found.errors.values()) == {"HTTP 401: Unauthorized"}
    assert found.reload_success is None


def test_an_answer_in_another_form_names_what_was_found():
    text = (DATA / "alertmanager_ready_current.txt").read_text()
    with pytest.raises(FactProcessError, match="prometheus_ha.facts.alertmanager: .*fingerprint.*, found: ==.name"):
        parse(text.replace('"fingerprint"', '"finger"').splitlines())
