"""Alerts that reach a chat: by stand-ins of the bots of Feishu, DingTalk and WeCom, which cannot be had in a lab."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import requests

from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles.alertmanager import configuration
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.site.settings import PROFILES
from tests.drills.canaries import Canaries
from tests.drills.site import (
    alerts,
    healthy,
    live_files,
    moved,
    notifications,
    plan_site,
    post_alert,
    run_site,
    shell,
    stopped,
    units,
    wait_for,
)
from tests.lab import bots, plan

pytestmark = pytest.mark.usefixtures("_well")


def _behave(**how: dict[str, Any]) -> None:
    """What the bots ask for, and how those named fail."""
    sign = (plan.LAB.secrets / "bot_sign").read_text().strip()
    given = plan.bots(sign)
    for vendor, more in how.items():
        given[f"{vendor}/lab"] |= more
    requests.post(f"{plan.LAB.bots_url}/behave", json=given, timeout=5).raise_for_status()


@pytest.fixture
def _well(site: Site) -> Iterator[None]:
    """Bots and Alertmanagers are well again, whatever a drill did to them: most of these change no setting."""
    yield
    _behave()
    wait_for("the site to be healthy again", lambda: healthy(site), 60)


def _told(name: str) -> Counter[str]:
    """How many messages each bot took in which this alert is named."""
    text = plan.LAB.bots_file.read_text() if plan.LAB.bots_file.exists() else ""
    taken = [json.loads(line) for line in text.splitlines()]
    vendors = [(one["bot"].partition("/")[0], one["body"]) for one in taken]
    return Counter(vendor for vendor, body in vendors if name in bots._text(vendor, body))


def _name() -> str:
    return f"Chat{time.time_ns()}"


@pytest.mark.parametrize("down", [None, "alert_relay", pytest.param("alertmanager", marks=pytest.mark.long)])
def test_one_message_in_each_chat(site: Site, down: str | None) -> None:
    """With all members, without the relay of the first one, and without the first one itself."""
    name, first = _name(), site.running("alertmanager")[0]
    timing = first.settings.timing
    quiet = seconds(timing.group_interval) + 3 * seconds(timing.peer_timeout) + 2
    with stopped(first.name, down) if down else nullcontext():
        post_alert(site, name, chat="all")
        # Without its relay, the first member fails, and the next one sends.
        wait_for("a message in each chat", lambda: set(_told(name)) == set(plan.BOTS), 60)
        time.sleep(quiet)
        assert _told(name) == dict.fromkeys(plan.BOTS, 1)
        post_alert(site, name, over=True, chat="all")
        wait_for(
            "the all-clear in each chat",
            lambda: set((_told(name) - Counter(plan.BOTS.keys())).keys()) == set(plan.BOTS),
            60,
        )
        time.sleep(quiet)
        assert _told(name) == dict.fromkeys(plan.BOTS, 2)


def test_what_a_bot_refuses_is_told_elsewhere_and_delivered_when_it_is_well(site: Site) -> None:
    name, failed = _name(), configuration.FAILED_TO_SEND["warning"]
    before = notifications(failed)["firing"]
    _behave(dingtalk={"fails": "token"})
    post_alert(site, name, chat="dingtalk")
    am = site.running("alertmanager")[0]
    (alert, *_) = wait_for("the alert about the receiver", lambda: alerts(site, am, failed), 90)
    assert alert["labels"]["receiver_name"] == "dingtalk"
    wait_for("its notification by another receiver", lambda: notifications(failed)["firing"] > before, 60)
    refused = wait_for("the alert about the bot", lambda: alerts(site, am, "AlertChannelRefuses"), 60)
    assert {one["labels"]["channel"] for one in refused} == {"dingtalk"}
    assert not _told(name)
    _behave()
    wait_for("the message, late", lambda: _told(name)["dingtalk"], 60)
    post_alert(site, name, over=True, chat="dingtalk")
    # At most once more a member.
    assert _told(name)["dingtalk"] <= len(site.running("alertmanager")) + 1
    journal = shell(am.name, "journalctl -u alert_relay -n 200 -o cat --no-pager")
    assert "code=300001" in journal and "access_token" not in journal


ERRORS: dict[str, dict[str, tuple[str, str]]] = {
    "refused": {
        "dingtalk": ("keyword", "AlertChannelRefuses"),
        "feishu": ("sign", "AlertChannelRefuses"),
        "wecom": ("shape", "AlertChannelRefuses"),
    },
    "slow": {
        "dingtalk": ("timeout", configuration.FAILED_TO_SEND["warning"]),
        "feishu": ("long", "AlertChannelRefuses"),
        "wecom": ("busy", configuration.FAILED_TO_SEND["warning"]),
    },
    "no bot's words": {
        "dingtalk": ("rate", "AlertChannelBlocked"),
        "feishu": ("html", configuration.FAILED_TO_SEND["warning"]),
        "wecom": ("500", configuration.FAILED_TO_SEND["warning"]),
    },
}
"""Vendor -> how its bot fails, and the alert that says so."""


@pytest.mark.long
@pytest.mark.parametrize("errors", ERRORS.values(), ids=ERRORS)
def test_each_error_of_a_bot_is_told_elsewhere(site: Site, errors: dict[str, tuple[str, str]]) -> None:
    """Three bots fail at once, each in its own way; they are told late, and nobody twice by the same member."""
    names = {vendor: f"{_name()}{vendor}" for vendor in errors}
    told = {alert: notifications(alert)["firing"] for _, alert in errors.values()}
    am = site.running("alertmanager")[0]
    _behave(**{vendor: {"fails": fails} for vendor, (fails, _) in errors.items()})
    for vendor, name in names.items():
        post_alert(site, name, chat=vendor)
    for vendor, (fails, alert) in errors.items():

        def says(vendor: str = vendor, alert: str = alert) -> bool:
            found = [one["labels"] for one in alerts(site, am, alert)]
            return vendor in {one.get("channel") or one.get("receiver_name") for one in found}

        wait_for(f"{alert} of {vendor}: {fails}", says, 120)
        assert not _told(names[vendor])
    for alert, before in told.items():
        wait_for(f"the notification of {alert}", lambda a=alert, n=before: notifications(a)["firing"] > n, 60)
    _behave()
    # DingTalk's ten minutes are waited for, unless a relay is started anew.
    for member in site.running("alert_relay"):
        shell(member.name, "systemctl restart alert_relay")
    for vendor, name in names.items():
        wait_for(f"the message of {vendor}, late", lambda v=vendor, n=name: _told(n)[v], 120)
        post_alert(site, name, over=True, chat=vendor)
        assert _told(name)[vendor] <= len(site.running("alertmanager")) + 1


@pytest.mark.usefixtures("restored")
def test_a_new_channel_is_a_reload_and_a_wrong_one_nothing(site: Site) -> None:
    running, files = units(), live_files()
    more = {**plan.CHANNELS, "second": {**plan.CHANNELS["wecom"], "language": "en"}}
    run = run_site(data={"alert_channels": more})
    assert run.status == 0, str(run)
    assert moved(running) == set(), "a channel restarts nothing"
    name = _name()
    post_alert(site, configuration.TEST_ALERT, test_receiver="second", instance=name)
    wait_for("the test in the new chat", lambda: _told(name)["wecom"] == 1, 60)
    wrong = {"second": {**plan.CHANNELS["wecom"], "template": {"title": "${nothing}"}}}
    run = plan_site(data={"alert_channels": {**plan.CHANNELS, **wrong}})
    assert run.status == 1, str(run)
    assert "channels.second.template.title: found ${nothing}" in run.log, str(run)
    assert set(files) <= set(live_files())


@pytest.mark.usefixtures("restored")
def test_a_change_that_breaks_a_test_of_routes_is_refused(site: Site) -> None:
    running, files = units(), live_files()
    tests = [{"labels": {"team": "db", "severity": "critical"}, "receivers": ["dingtalk"]}]
    route = {"route": {"routes": [{"matchers": ['team="db"'], "receiver": "dingtalk"}]}}
    data = {"alert_routing_tests": tests, "alertmanager_config": route}
    run = run_site("--limit", "alertmanager", data=data, deploy="deploys/alertmanager.py")
    assert run.status == 0, str(run)
    moved_to = {"alert_routing_tests": tests, "alertmanager_config": {}}
    run = plan_site("--limit", "alertmanager", data=moved_to)
    assert run.status == 1, str(run)
    assert 'alert_routing_tests: an alert with team="db", severity="critical"' in run.log, str(run)
    assert "alerts that went to dingtalk go to web.hook: team=db, severity=critical" in run.log, str(run)
    assert moved(running) == set() and set(files) == set(live_files())


def _alert(**data: str) -> tuple[int, str]:
    """`deploys/alert.py`: how it ended, and what it said."""
    run = run_site(data=data, deploy="deploys/alert.py")
    return run.status, run.log


def test_the_command_sends_silences_and_says_who_was_told(site: Site) -> None:
    assert _alert()[0] == 0
    for vendor in plan.BOTS:
        status, said = _alert(send=vendor)
        assert status == 0 and f"{vendor} ({vendor}): delivered by am-" in said, said
    _behave(wecom={"fails": "token"})
    status, said = _alert(send="wecom")
    assert status == 1 and "wecom (wecom): refused" in said and "93000" in said, said
    status, said = _alert(send="opsgeni")
    assert status == 1 and "expected: a receiver (web.hook, feishu, dingtalk, wecom" in said, said
    name = _name()
    status, said = _alert(silence=f"alertname={name}", silence_for="10m", comment="a drill")
    assert status == 0, said
    post_alert(site, name)
    for member in site.running("alertmanager"):
        (one,) = wait_for(f"the alert on {member.name}", lambda member=member: alerts(site, member, name))
        assert one["status"]["silencedBy"], f"{member.name} does not know the silence"
    (silence,) = re.findall(r"--data end_silence=(\S+)", said)
    # One by one, all are restarted: it is not lost.
    for member in site.running("alertmanager"):
        shell(member.name, "systemctl restart alertmanager")
        wait_for(f"{member.name}", lambda member=member: alerts(site, member, "Watchdog"), 60)
    post_alert(site, name)  # as Prometheus does: it has no memory of alerts
    status, said = wait_for("what became of it", lambda: _alert(why=f"alertname={name}"))
    assert status == 0 and silence in said and "a drill" in said, said
    assert not notifications(name)
    assert _alert(end_silence=silence)[0] == 0
    wait_for("its notification", lambda: notifications(name)["firing"], 60)
    status, said = _alert(why=f"alertname={name}")
    assert status == 0 and "web.hook (webhook) was told that it fires" in said, said
    status, said = _alert(canary="10s")
    assert status == 0 and "canaries: 1 sent, 1 arrived, 0 lost" in said, said
    post_alert(site, name, over=True)


def _flags(number: int) -> dict[str, Any]:
    """Restarts each member in its turn."""
    return {"alertmanager_flags": {"log.level": ("info", "debug")[number % 2], **_PATIENT}}


def _config(number: int) -> dict[str, Any]:
    """Has them all read their configuration again."""
    return {"alertmanager_config": {"global": {"smtp_hello": f"drill-{number}"}}, "alertmanager_flags": _PATIENT}


_PATIENT = {"cluster.peer-timeout": PROFILES["production"].peer_timeout}
"""The first in line is stopped once in each restart, and the others may not know yet what it sent last. Production lets
them wait until it is back and tells them; the lab's one second is shorter than a restart: 4 of about 200."""


def _changed(data: dict[str, Any]) -> None:
    run = run_site("--limit", "alertmanager", data=data, deploy="deploys/alertmanager.py")
    assert run.status == 0 and run.changed, str(run)


@pytest.mark.usefixtures("restored")
def test_no_canary_is_lost_in_a_rolling_change(site: Site) -> None:
    with Canaries(site) as canaries:
        _changed(_flags(1))
    assert len(canaries.sent) > 5
    # Until its turn, a member waits as it did before.
    assert len(canaries.doubled()) <= len(site.running("alertmanager"))


@pytest.mark.long
@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("change", [_flags, _config], ids=["flags", "config"])
def test_ten_rolling_changes_in_a_row(site: Site, change: Callable[[int], dict[str, Any]]) -> None:
    _changed(change(0))
    with Canaries(site) as canaries:
        for number in range(1, 11):
            _changed(change(number))
    assert len(canaries.sent) > 10
    doubled = canaries.doubled()
    assert not doubled, [_alert(why=f"canary_id={name}")[1] for name in doubled]
