"""alert.py: what fires, test alerts, silences, what became of an alert; on answers as Alertmanager 0.35.0 gave them."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from prometheus_ha.deploys.lib.common import failed_notifications
from prometheus_ha.deploys.lib.ground.routing import Matcher
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey.alerting import events, seen, silences, story, table, trial, wanted
from prometheus_ha.facts.reports.look import MARK
from tests.unit.example_site import CHANNEL, example_site
from tests.unit.recorded import run_site

WAIT = rollout.wait
UTC = wanted.Clock()
START = 1795833726.0
"""2026-11-28 02:42:06 UTC."""
STAMP = "2026-11-28T02:42:06.000Z"
NASTY = 'say "hi" {{ x }} 中文\\'
CONFIG = """
route:
  receiver: mail
  group_by: [alertname]
  group_wait: 1s
  group_interval: 5s
  routes:
  - matchers: ['alertname="TestAlert"', 'test_receiver!=""']
    group_by: ['...']
    group_wait: 0s
    routes:
    - {matchers: ['test_receiver="ops"'], receiver: ops}
    - {matchers: ['test_receiver="mail"'], receiver: mail}
  - {matchers: ['team="db"'], receiver: pager, continue: true, mute_time_intervals: [nights]}
  - {matchers: ['team="db"'], receiver: ops}
receivers:
- name: ops
  webhook_configs: [{url: <secret>}]
- name: mail
  email_configs: [{to: a@b}]
- name: pager
  webhook_configs: [{url: <secret>}]
- name: nobody
"""


# --- Answers --------------------------------------------------------------------------------------


def alert(fingerprint="0a9732835eb395bd", state="active", silenced=(), inhibited=(), receivers=("mail",), **labels):
    """As `GET /api/v2/alerts` has it."""
    return {
        "annotations": {},
        "endsAt": "2026-11-28T02:52:06.000Z",
        "fingerprint": fingerprint,
        "receivers": [{"name": name} for name in receivers],
        "startsAt": STAMP,
        "status": {"inhibitedBy": list(inhibited), "mutedBy": [], "silencedBy": list(silenced), "state": state},
        "updatedAt": STAMP,
        "labels": {"alertname": "HostDown", **labels},
    }


ID = "fcdbab11-5998-4371-8fa1-dab6a0444b46"


def silence(id=ID, state="active", comment="disk 磁盘"):
    """As `GET /api/v2/silences` has it."""
    return {
        "id": id,
        "status": {"state": state},
        "updatedAt": STAMP,
        "comment": comment,
        "createdBy": "li@desk",
        "endsAt": "2026-11-28T02:52:06.000Z",
        "startsAt": STAMP,
        "matchers": [
            {"isEqual": True, "isRegex": False, "name": "alertname", "value": "HostDown"},
            {"isEqual": True, "isRegex": True, "name": "instance", "value": "db.*"},
        ],
    }


def answer(name, body, status=200):
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return ["", f"==[name]== {name}", text, f"==[status]== {status}"]


def metrics(requests=(), failed=()):
    """Lines of a page: (receiver, integration, tries, of them failed), and the notifications that were given up."""
    lines = []
    for receiver, integration, tried, wrong in requests:
        labels = f'integration="{integration}"' + (f',receiver_name="{receiver}"' if receiver else "")
        lines.append(f"alertmanager_notification_requests_total{{{labels}}} {tried}")
        lines.append(f"alertmanager_notification_requests_failed_total{{{labels}}} {wrong}")
    for receiver, integration, count in failed:
        labels = f'integration="{integration}",reason="clientError"' + (
            f',receiver_name="{receiver}"' if receiver else ""
        )
        lines.append(f"alertmanager_notifications_failed_total{{{labels}}} {count}")
    return "\n".join(lines) or "nothing_total 0"


def said(
    alerts=(),
    silences=(),
    version="0.35.0",
    requests=(),
    failed=(),
    relay=None,
    journal=(),
    records=None,
    clock=START + 60,
):
    """What a host prints for `questions`."""
    page = metrics(requests, failed)
    status = {
        "cluster": {"status": "ready", "peers": []},
        "config": {"original": CONFIG},
        "versionInfo": {"version": version},
        "uptime": STAMP,
    }
    lines = [f"{MARK}clock", f"{clock:.9f}", f"{MARK}answers", *answer("ready", "OK"), *answer("status", status)]
    lines += [*answer("alerts", list(alerts)), *answer("metrics", page), *answer("silences", list(silences))]
    lines += answer("requests", page)
    if relay is not None:
        lines += [f"{MARK}relay", *answer("relay", {"channels": relay})]
    lines += [f"{MARK}journal", *journal]
    return [*lines, f"{MARK}events", *records] if records is not None else lines


DOWN = [
    *(f"{MARK}clock", "1795833786.1", f"{MARK}answers", "", "==[name]== ready"),
    *("curl: (7) Failed to connect to 10.0.0.23 port 9093 after 0 ms: Could not connect to server", "==[exit]== 7"),
]


def members(*answers):
    """What am-1, am-2, ... said."""
    return {f"am-{n}": seen.read(lines) for n, lines in enumerate(answers, 1)}


def settings(**given):
    return Settings(**given)


# --- What was asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("alertname=HostDown,instance=~'web.*'", [("alertname", "=", "HostDown"), ("instance", "=~", "web.*")]),
        ('{alertname="a, b", job!~"x|y"}', [("alertname", "=", "a, b"), ("job", "!~", "x|y")]),
        ("summary={{ x }}, instance != db-1", [("summary", "=", "{{ x }}"), ("instance", "!=", "db-1")]),
        (r"instance=~'db\.\d'", [("instance", "=~", r"db\.\d")]),
        (r'instance=~"db\.1"', [("instance", "=~", r"db\.1")]),
        ('说明="磁盘 \\"坏\\""', [("说明", "=", '磁盘 "坏"')]),
        ("team=", [("team", "=", "")]),
    ],
)
def test_matchers_are_read_as_people_write_them(text, found):
    assert wanted.matchers(text, "silence") == [Matcher(*one) for one in found]


@pytest.mark.parametrize("text", ["HostDown", "alertname=Host,Down", "alertname='Host", 'a="b', "=x", "", " "])
def test_what_is_no_matcher_is_refused(text):
    with pytest.raises(wanted.Refused, match="alertname=HostDown,instance=~'web"):
        wanted.matchers(text, "silence")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"send": "ops", "why": "alertname=x"}, "found send and why; expected: one of them in a run"),
        ({"silence": "alertname=x"}, "comment: found nothing; expected: why the silence is made"),
        ({"silence": "alertname=x", "comment": " "}, "comment: found nothing"),
        ({"silence": "instance=~'.*'", "comment": "c"}, "mutes every alert"),
        ({"silence": "alertname=~.+,instance!=x", "comment": "c"}, "mutes every alert"),
        ({"silence": "team=", "comment": "c"}, "mutes every alert"),
        ({"silence": "alertname=A,alertname=B", "comment": "c"}, "no alert can have both"),
        ({"silence": "alertname=A,alertname!~A", "comment": "c"}, "no alert can have both"),
        ({"why": "alertname=~x"}, "why: found .*; expected: one exact label at least"),
    ],
)
def test_what_can_be_seen_at_once_is_refused_at_once(given, says):
    with pytest.raises(wanted.Refused, match=says):
        wanted.wish(settings(**given))


def test_a_good_wish_passes():
    assert wanted.wish(settings()) == ""
    assert wanted.wish(settings(silence="alertname=HostDown,instance=~.+", comment="c")) == "silence"
    # Go's expressions are Alertmanager's to judge.
    assert wanted.wish(settings(silence=r"instance=~'\pL+'", comment="c")) == "silence"
    assert wanted.wish(settings(end_silence=ID)) == "end_silence"


# --- What fires -----------------------------------------------------------------------------------


def test_a_member_that_does_not_answer_is_a_line_and_no_error():
    found = members(said(), DOWN, [], [f"{MARK}answers", "<html>"])
    assert [one.ok for one in found.values()] == [True, False, False, False]
    lines = table.table(found, UTC)
    assert "warn  am-2 does not answer: no connection to 10.0.0.23:9093" in lines
    assert "warn  am-3 does not answer: its host did not answer in full" in lines
    assert "no alert fires (asked: am-1)" in lines and "no silence is active or pending" in lines


def test_the_table_merges_what_the_members_have():
    web = alert("b1", cluster="main", job="node", severity="warning", instance="web-1", inhibited=["c1"])
    db = alert(
        "a1", cluster="main", job="node", severity="warning", instance="db-1", note=NASTY, receivers=["mail", "ops"]
    )
    cause = alert("c1", cluster="main", job="node", severity="critical", instance="web-1")
    watchdog = {**alert("d1", cluster="main", severity="none"), "labels": {"alertname": "Watchdog", "cluster": "main"}}
    muted = {**db, "status": {"inhibitedBy": [], "mutedBy": [], "silencedBy": [ID], "state": "suppressed"}}
    lines = table.table(members(said([web, muted, cause, watchdog], [silence()]), said([web, db, cause])), UTC)
    text = "\n".join(lines)
    assert "4 alerts fire (asked: am-1, am-2; times in UTC)" in lines
    rows = [line for line in lines if re.match("critical|warning|   ", line)]
    assert [row.split()[0] for row in rows[:3]] == ["critical", "warning", "warning"]
    assert re.search(r"critical +HostDown +2026-11-28 02:42:06 \(1m\) +active +mail +instance=web-1$", text, re.M)
    assert re.search(r"inhibited by HostDown \(critical\) +mail +instance=web-1$", text, re.M)
    # What all have (cluster), and what all of the name have (job), tells nothing apart.
    note = re.escape(f"instance=db-1 note={json.dumps(NASTY, ensure_ascii=False)}")
    assert re.search(rf"silenced by fcdbab11 +mail, ops +{note}$", text, re.M)
    assert re.search(r"warn  members differ on HostDown .*: silenced by fcdbab11 on am-1; active on am-2", text)
    assert "warn  am-2 lacks Watchdog, which others have" in text
    assert "warn  am-2 lacks the silence fcdbab11, which others have" in text
    assert re.search(rf'{ID}  2026-11-28 02:52:06  li@desk  alertname="HostDown", instance=~"db.*"  disk 磁盘', text)


def test_a_pending_silence_is_shown_and_an_expired_one_is_not():
    lines = table.table(members(said([], [silence(state="pending"), silence("0" * 36, "expired")])), UTC)
    text = "\n".join(lines)
    assert "(from 2026-11-28 02:42:06)" in text and "0" * 36 not in text


def test_times_are_those_of_the_sites_zone():
    how = wanted.clock(settings(alert_time_zone="Asia/Shanghai"))
    assert how.at(START) == "2026-11-28 10:42:06" and UTC.at(None) == "?"


def test_what_a_terminal_would_act_on_is_escaped():
    lines = table.table(members(said([alert(evil="\x1b[31m", severity="x\ny")])), UTC)
    assert not [line for line in lines if not line.isprintable()]


# --- A test alert ---------------------------------------------------------------------------------


def test_the_ways_of_an_alert_are_those_of_its_routes():
    route = members(said())["am-1"].route
    labels, receiver = trial.labels_of_test("ops", ["ops", "mail"], "1234")
    assert labels == {"alertname": "TestAlert", "test_receiver": "ops", "test_id": "1234"} and receiver == "ops"
    [way] = trial.ways(route, labels)
    assert (way.receiver, way.wait, way.interval, way.own_group) == ("ops", 0.0, 5.0, True)
    labels, receiver = trial.labels_of_test('team=db,note="a,b"', ["ops"], "1")
    assert receiver == "" and labels == {"alertname": "TestAlert", "team": "db", "note": "a,b", "test_id": "1"}
    assert [(one.receiver, one.wait, one.own_group) for one in trial.ways(route, labels)] == [
        ("pager", 1.0, False),
        ("ops", 1.0, False),
    ]


@pytest.mark.parametrize(
    ("send", "says"),
    [
        ("opz", r"found 'opz'; expected: a receiver \(ops, mail\), or labels .* ops is the nearest receiver"),
        ("severity=~x", "expected: labels with a value"),
        ("severity=", "expected: labels with a value"),
    ],
)
def test_what_is_neither_receiver_nor_labels_is_refused(send, says):
    with pytest.raises(wanted.Refused, match=says):
        trial.labels_of_test(send, ["ops", "mail"], "1")


SITE = example_site(2, alert_channels={"ops": CHANNEL}, send="x")


def started(send, *before, site=SITE):
    """A test that was posted to all members, and what is said of its alert from now on."""
    found = members(*(before or (said(), said())))
    test = trial.Trial(site, found, send, "li@desk")
    for n, name in enumerate(found, 1):
        test.took(name, [f"{MARK}clock", f"{START + n / 10:.9f}", f"{MARK}answer", *answer("post", "")])
    mine = {**alert("f00d", receivers=[test.receiver or "mail"]), "labels": test.labels}
    gates = {name: test.gate(site.hosts[name]) for name in found}

    def look(name, **answers):
        return gates[name].judge(said([{**mine, **answers.pop("alert", {})}, *answers.pop("others", ())], **answers))

    return SimpleNamespace(test=test, look=look)


def channel(*last, blocked=None):
    return {"ops": {"blocked_until": blocked, "last": list(last)}}


def message(result, after=1.2, code=0, says="", alerts=("f00d",)):
    return {"time": START + after, "result": result, "code": code, "says": says, "alerts": list(alerts)}


def test_the_alert_says_that_it_is_a_test_and_ends_by_itself():
    run = started("ops")
    script = run.test.post(SITE.hosts["am-1"])
    [body] = json.loads(shlex.split(script)[shlex.split(script).index("-d") + 1])
    assert "This is a test" in body["annotations"]["summary"] and "li@desk" in body["annotations"]["description"]
    assert body["startsAt"] < body["endsAt"]
    script = run.test.post(SITE.hosts["am-1"], over=True)
    [over] = json.loads(shlex.split(script)[shlex.split(script).index("-d") + 1])
    assert over["labels"] == body["labels"] and body["startsAt"] <= over["endsAt"] < body["endsAt"]


def test_a_channel_took_it_where_its_bot_did():
    run = started("ops")
    assert not run.look("am-1", relay=channel()).ok
    other = message("sent", alerts=["beef"])
    assert not run.look("am-2", relay=channel(other, message("retry", 0.4, 130101, "send too fast"))).ok
    run.look("am-1", relay=channel(message("retry", 0.5, "rate", "18 messages in a minute are enough")))
    words = "rate: 18 messages in a minute are enough (am-1); 130101 send too fast (am-2)"
    assert f"its relay goes on trying: {words}" in str(run.test.results()[0])
    assert run.look("am-2", relay=channel(message("sent", 1.4))).ok
    lines, ok = run.test.lines()
    assert ok and lines[1:] == ["ops (dingtalk): delivered by am-2 after 1.2 s"]


def test_a_bot_that_refuses_is_asked_by_every_member_before_that_is_said():
    run = started("ops")
    no = message("refused", code=310000, says="keywords not in content")
    run.look("am-2", relay=channel())
    assert not run.look("am-1", relay=channel(no)).ok
    assert str(run.test.results()[0]) == "ops (dingtalk): refused by the bot: 310000 keywords not in content (am-1)"
    assert run.look("am-2", relay=channel(no)).ok
    lines, ok = run.test.lines()
    assert not ok
    assert lines[1:] == ["fail  ops (dingtalk): refused by the bot: 310000 keywords not in content (am-1, am-2)"]


def test_a_blocked_bot_and_a_relay_that_is_down_are_said():
    run = started("ops")
    for name in ("am-1", "am-2"):
        run.look(name, relay=channel(blocked=START + 600))
    lines, ok = run.test.lines()
    assert not ok and "nothing came to its relay; the bot takes nothing until 2026-11-28 02:52:06" in lines[1]
    assert "s were waited" in lines[1]
    run = started("ops")
    refused = [
        f"{MARK}relay",
        "",
        "==[name]== relay",
        "curl: (7) connect to 127.0.0.1 port 9097 failed",
        "==[exit]== 7",
    ]
    mine = {**alert("f00d", receivers=["ops"]), "labels": run.test.labels}
    for name in ("am-1", "am-2"):
        progress = run.test.gate(SITE.hosts[name]).judge([*said([mine]), *refused])
    assert progress.ok and "its relay does not answer: no connection to 127.0.0.1:9097" in run.test.lines()[0][1]


def test_another_receiver_took_it_where_a_try_succeeded():
    before = said(requests=[("mail", "email", 7, 2)])
    run = started("mail", before, before)
    run.look("am-1", requests=[("mail", "email", 7, 2)])
    assert not run.look("am-2", requests=[("mail", "email", 8, 3)]).ok  # it tries again
    assert run.look("am-2", requests=[("mail", "email", 9, 3)]).ok
    lines, ok = run.test.lines()
    assert ok and re.fullmatch(r"mail \(email\): delivered by am-2 after about \d s", lines[1])


def test_what_else_may_have_been_counted_is_said():
    run = started("mail")
    for name in ("am-1", "am-2"):
        run.look(name, requests=[("mail", "email", 1, 0)], others=[alert("b0")])
    assert "(as it was counted: one of HostDown would be counted too)" in run.test.lines()[0][1]


JOURNAL = (
    "2026-11-28T02:42:07+0000 am-1 alertmanager[7]: time=2026-11-28T02:42:06.313Z level=ERROR source=retry_stage.go:88 "
    'msg="Notify failed" component=dispatcher receiver=mail integration=email[0] '
    'aggrGroup="{}/{team=\\"db\\"}:{alertname=\\"HostDown\\"}" reason=clientError err="mail/email[0]: notify retry '
    'canceled due to unrecoverable error after 1 attempts: 550 http://x/secret/y: \\"no\\" 不行"',
    "2026-11-28T02:42:07+0000 am-1 alertmanager[7]: time=2026-11-28T02:42:06.314Z level=ERROR source=dispatch.go:642 "
    'msg="Notify for alerts failed" component=dispatcher aggrGroup="{}/{team=\\"db\\"}:{alertname=\\"HostDown\\"}" '
    'num_alerts=1 receiver=mail err="mail/email[0]: notify retry canceled due to unrecoverable error after 1 attempts: '
    '550 http://x/secret/y: \\"no\\" 不行"',
)
OLD_JOURNAL = (
    "2026-11-28T02:42:07+0000 am-1 alertmanager[7]: ts=2026-11-28T02:42:06.065Z caller=dispatch.go:352 level=error "
    'component=dispatcher msg="Notify for alerts failed" num_alerts=1 err="mail/email[0]: notify retry canceled due to '
    'unrecoverable error after 1 attempts: 550 no"',
    "2026-11-28T02:42:08+0000 am-1 alertmanager[7]: ts=2026-11-28T02:42:07.865Z caller=notify.go:745 level=warn "
    "component=dispatcher receiver=mail integration=email[0] "
    'msg="Notify attempt failed, will retry later" attempts=1 err="421 busy"',
    "-- Boot 0123 --",
)


def test_a_journal_is_read_without_the_paths_of_urls():
    [one] = failed_notifications.read(JOURNAL)
    assert (one.receiver, one.integration, one.group) == ("mail", "email", '{}/{team="db"}:{alertname="HostDown"}')
    assert one.says == '550 http://x/...: "no" 不行'
    assert [(f.receiver, f.integration, f.says) for f in failed_notifications.read(OLD_JOURNAL)] == [
        ("mail", "email", "550 no"),
        ("mail", "email", "421 busy"),
    ]


def test_a_receiver_that_fails_is_said_with_the_words_of_the_journal():
    run = started("mail")
    wrong = {"requests": [("mail", "email", 1, 1)], "failed": [("mail", "email", 1)]}
    run.look("am-2")
    assert not run.look("am-1", **wrong, journal=JOURNAL).ok
    assert run.look("am-2", **wrong).ok
    [line] = run.test.lines()[0][1:]
    assert line.startswith(
        'fail  mail (email): failed: 550 http://x/...: "no" 不行 (am-1); its journal does not say why'
    )


def test_where_receivers_are_not_counted_apart_the_journal_comes_first():
    run = started("mail", said(version="0.26.0"), said(version="0.26.0"))
    other = {"others": [alert("b0", receivers=["ops"])], "requests": [("", "email", 1, 0)], "version": "0.26.0"}
    run.look("am-2", version="0.26.0")
    assert not run.look("am-1", **other, journal=OLD_JOURNAL).ok
    assert "failed, at least at first: 421 busy (am-1)" in run.test.lines()[0][1]


def test_a_muted_test_is_over_at_once():
    run = started("ops")
    status = {"state": "suppressed", "silencedBy": [ID], "inhibitedBy": [], "mutedBy": []}
    for name in ("am-1", "am-2"):
        progress = run.look(name, alert={"status": status}, silences=[silence()], relay=channel())
    assert progress.ok
    assert run.test.lines()[0][1].startswith(
        "fail  ops (dingtalk): not told: the test alert is silenced by fcdbab11, li@desk: disk 磁盘"
    )


def test_a_configuration_without_the_route_of_tests_is_said():
    run = started("ops")
    for name in ("am-1", "am-2"):
        run.look(name, alert={"receivers": [{"name": "mail"}]}, requests=[("mail", "email", 1, 0)])
    lines, ok = run.test.lines()
    assert not ok and "sends its test to mail. It lacks the route of tests" in lines[1]
    assert lines[2].startswith("mail (email): delivered by am-1")


def test_receivers_without_integration_and_time_intervals_are_said():
    run = started("team=db")
    for name in ("am-1", "am-2"):
        run.look(name, alert={"receivers": [{"name": "nobody"}, {"name": "pager"}]})
    lines, ok = run.test.lines()
    assert not ok
    assert lines[1] == "nobody: nobody is told: it has no integration"
    assert lines[2].startswith("fail  pager (webhook): not told yet") and lines[2].endswith("now: nights")


def test_a_member_that_refuses_the_alert_is_named_and_the_others_go_on():
    run = started("ops")
    test = trial.Trial(SITE, members(said(), said()), "ops", "li@desk")
    test.took("am-1", [f"{MARK}clock", "1.5", f"{MARK}answer", *answer("post", "bad label", 400)])
    test.took("am-2", [f"{MARK}clock", f"{START}", f"{MARK}answer", *answer("post", "")])
    mine = {**alert("f00d", receivers=["ops"]), "labels": test.labels}
    assert test.gate(SITE.hosts["am-2"]).judge(said([mine], relay=channel(message("sent")))).ok
    lines, ok = test.lines()
    assert ok and "warn  am-1 did not take the test alert: HTTP 400: bad label" in lines
    assert run.test.id != test.id


def test_it_is_waited_for_as_long_as_the_settings_make_it_wait():
    # One other member, with 15 s (production); the group of labels may stand since a test before.
    assert started("ops").test.patience == 0 + 15 + 30
    assert started("team=db").test.patience == 5 + 15 + 30
    flags = example_site(2, send="x", alertmanager_flags={"cluster.peer-timeout": "20s"})
    assert started("ops", site=flags).test.patience == 0 + 20 + 30


# --- Silences -------------------------------------------------------------------------------------


def test_a_silence_is_made_by_the_clock_of_its_member():
    wish = settings(silence="alertname=HostDown,instance!~'web.*'", comment="磁盘", silence_for="1h30m")
    script = silences.post_silence(SITE, SITE.hosts["am-1"], members(said())["am-1"], wish, "li@desk")
    body = json.loads(shlex.split(script)[shlex.split(script).index("-d") + 1])
    assert body["matchers"][1] == {"name": "instance", "value": "web.*", "isRegex": True, "isEqual": False}
    assert body["startsAt"] == "2026-11-28T02:43:06.000+00:00" and body["endsAt"] == "2026-11-28T04:13:06.000+00:00"
    assert body["createdBy"] == "li@desk" and body["comment"] == "磁盘"


def test_what_alertmanager_refuses_is_said_in_its_words():
    clock = [f"{MARK}clock", "1", f"{MARK}answer"]
    assert silences.read_silence([*clock, *answer("silence", {"silenceID": ID})]) == ID
    with pytest.raises(wanted.Refused, match="did not take it: HTTP 400: .*invalid regular expression"):
        silences.read_silence([*clock, *answer("silence", '"invalid silence: invalid regular expression"', 400)])
    with pytest.raises(wanted.Refused, match="its host did not answer in full"):
        silences.read_silence([])


def test_the_silence_to_end_is_found_by_its_id_or_its_beginning():
    found = members(said([], [silence(), silence("0" * 36, "expired")]))
    assert silences.silence_to_end(found, ID).id == silences.silence_to_end(found, "fcdb").id == ID
    assert silences.silence_to_end(found, "0" * 36).state == "expired"
    with pytest.raises(wanted.Refused, match=f"found 'abc'; expected: .* that is there: {ID} \\(alertname="):
        silences.silence_to_end(found, "abc")
    with pytest.raises(wanted.Refused, match="none is active or pending"):
        silences.silence_to_end(members(said()), "abc")


def test_each_member_is_waited_for_until_it_has_the_silence():
    told = []
    there = silences.spread(SITE, SITE.hosts["am-2"], ID, True, told.append).judge
    assert not there(said()).ok and not there(DOWN).ok and there(said([], [silence()])).ok
    gone = silences.spread(SITE, SITE.hosts["am-2"], ID, False, told.append).judge
    assert not gone(said([], [silence()])).ok
    assert gone(said([], [silence(state="expired")])).ok and gone(said()).ok
    assert len(told) == 5


def test_a_new_silence_says_what_it_mutes_now():
    muted = alert("a1", "suppressed", silenced=[ID], instance="db-1")
    lines = silences.made(members(said([muted, alert("b1", instance="web-1")], [silence()]), said()), ID, UTC)
    assert lines[1:] == [
        f"silence {ID}",
        "  until 2026-11-28 02:52:06 (UTC)",
        '  mutes alertname="HostDown", instance=~"db.*"',
        "  made by li@desk: disk 磁盘",
        "  now it mutes HostDown instance=db-1",
        f"to end it: --data end_silence={ID}",
    ]
    assert "  no alert that fires now is muted by it" in silences.made(members(said([], [silence()])), ID, UTC)


# --- What became of an alert ----------------------------------------------------------------------

DB, WEB, CAUSE = 763134201673520573, 8747841184971242024, 2430217399320600157
LABELS = {
    DB: {"alertname": "HostDown", "instance": "db-1", "note": NASTY, "severity": "warning"},
    WEB: {"alertname": "HostDown", "instance": "web-1", "severity": "warning"},
    CAUSE: {"alertname": "HostDown", "instance": "web-1", "severity": "critical"},
}


def record(after, **data):
    """A line as protojson writes it: in this build with a space after each comma."""
    seconds = 6 + after
    stamp = f"2026-11-28T02:{42 + seconds // 60:02.0f}:{seconds % 60:09.6f}123Z"
    event = {"@timestamp": stamp, "instance": "vm", "data": data, "clusterPosition": "1"}
    return json.dumps(event, ensure_ascii=False, separators=(", ", ":"))


def full(number):
    return {"fingerprint": str(number), "name": "HostDown", "labels": LABELS[number], "annotations": {"summary": "x"}}


def created(after, number=DB):
    return record(after, alertCreated={"alert": full(number)})


def group(receiver, key='{}/{team="db"}:{alertname="HostDown"}'):
    return {"groupKey": key, "groupLabels": {"alertname": "HostDown"}, "groupId": "e7b9", "receiverName": receiver}


def grouped(after, receiver="ops", number=DB):
    one = {"fingerprint": str(number), "details": full(number)}
    return record(after, alertGrouped={"alert": one, "groupInfo": group(receiver)})


def resolved(after, receiver="ops", number=DB):
    one = {"fingerprint": str(number), "details": {**full(number), "resolved": True}}
    return record(after, alertResolved={"alert": one, "groupInfo": group(receiver)})


def notified(after, reason="FIRST_NOTIFICATION", receiver="ops", firing=(DB,), over=(), muted=()):
    lists = {"firingAlerts": firing, "resolvedAlerts": over, "mutedAlerts": muted}
    data = {"alerts": [{"fingerprint": str(n), "details": full(n)} for n in (*firing, *over, *muted)]}
    data |= {key: [{"fingerprint": str(n)} for n in numbers] for key, numbers in lists.items() if numbers}
    data |= {"groupInfo": group(receiver), "reason": f"NOTIFY_REASON_{reason}", "integration": {"name": "webhook"}}
    return record(after, notification=data)


def silenced(after, number=DB, comment='disk "x" 磁盘'):
    one = {"id": ID, "endsAt": "2026-11-28T02:52:06Z", "createdBy": "li@desk", "comment": comment}
    muted = {"labels": LABELS[number], "fingerprint": str(number)}
    return record(after, silenceMutedAlert={"silence": one, "mutedAlert": muted})


def inhibited(after, number=WEB, by=CAUSE):
    muted = {"labels": LABELS[number], "fingerprint": str(number)}
    data = {"inhibitRules": [{"equalLabels": ["instance"]}], "mutedAlert": muted, "inhibitingFingerprints": [str(by)]}
    return record(after, inhibitionMutedAlert=data)


STARTUP = record(-40, alertmanagerStartupEvent={"version": "0.35.0"})
WHY = wanted.matchers("alertname=HostDown,instance=db-1", "why")


def told(*records, why=WHY, **answers):
    """The lines for what am-1, am-2, ... have on disk."""
    return story.story(members(*(said(records=[STARTUP, *one], **answers) for one in records)), why, UTC)


def test_the_records_of_all_members_are_one_history_in_order_of_time():
    one = [created(0), grouped(0), notified(1), grouped(60), silenced(10), silenced(15), resolved(90)]
    other = [
        *(resolved(91), notified(30, "REPEAT_INTERVAL_ELAPSED"), silenced(12), grouped(0.5), created(0.4)),
        notified(91, "ALL_ALERTS_RESOLVED", firing=(), over=(DB,)),
    ]
    lines = told(one, other)
    at = lines.index(next(line for line in lines if line.startswith("HostDown severity=warning instance=db-1")))
    note = json.dumps(NASTY, ensure_ascii=False)
    assert lines[at:] == [
        f"HostDown severity=warning instance=db-1 note={note} (0a9732835eb395bd)",
        "  ops: told 3 times, last at 2026-11-28 02:43:37 by am-2",
        "  pager, nobody: not told: no route takes it there, as the routes are now",
        "  2026-11-28 02:42:06  am-1, am-2  it fires",
        "  2026-11-28 02:42:06  am-1, am-2  it goes to ops",
        "  2026-11-28 02:42:07  am-1        ops (webhook) was told that it fires: first notification of its group",
        "  2026-11-28 02:42:16  am-1, am-2  muted by the silence fcdbab11-5998-4371-8fa1-dab6a0444b46 until "
        '2026-11-28 02:52:06 (li@desk: disk "x" 磁盘)',
        "  2026-11-28 02:42:36  am-2        ops (webhook) was told that it fires: repeated: it still fires",
        "  2026-11-28 02:43:36  am-1, am-2  it is over for ops",
        "  2026-11-28 02:43:37  am-2        ops (webhook) was told that it is over: all of its group is over",
        "",
        "records: am-1 since 2026-11-28 02:41:26, am-2 since 2026-11-28 02:41:26; times in UTC",
    ]


def test_an_inhibited_alert_names_the_one_that_inhibits_it():
    why = wanted.matchers("alertname=HostDown,severity=warning,instance=web-1", "why")
    records = [created(0, WEB), grouped(0, "mail", WEB), inhibited(5), inhibited(10), grouped(4, "mail", CAUSE)]
    records.append(notified(5, "NEW_ALERTS_IN_GROUP", "mail", firing=(CAUSE,), muted=(WEB,)))
    lines = told(records, why=why)
    muted = "muted, as HostDown severity=critical instance=web-1 fires"
    assert f"  mail: not told: {muted}" in lines
    assert len([line for line in lines if line.endswith(muted)]) == 2
    assert not [line for line in lines if "was told" in line]
    assert not [line for line in lines if line.startswith("HostDown severity=critical")]


def test_a_failed_notification_comes_from_the_journal():
    """Upstream writes no record of it. Failures of other groups, and of other times, are not its own."""
    other = JOURNAL[1].replace('team=\\"db\\"', 'team=\\"web\\"').replace("02:42:06.314", "02:42:09.000")
    old = JOURNAL[1].replace("02:42:06.314", "01:42:06.314")
    later = notified(5, receiver="mail")
    lines = told([created(0), grouped(0, "mail"), later], journal=[old, *JOURNAL, other])
    text = 'told once at 2026-11-28 02:42:11 by am-1; 1 try failed, last: 550 http://x/...: "no" 不行'
    assert f"  mail: {text}" in lines
    assert [line for line in lines if "was not told" in line] == [
        '  2026-11-28 02:42:06  am-1  mail (email) was not told: 550 http://x/...: "no" 不行'
    ]
    places = [next(n for n, line in enumerate(lines) if words in line) for words in ("not told: 550", "was told that")]
    assert places == sorted(places)
    assert "  mail: not told, 1 try failed, last: 550" in "\n".join(
        told([created(0), grouped(0, "mail")], journal=JOURNAL)
    )


def test_what_says_nothing_is_passed_over():
    lines = told([created(0)[10:], "{}", '{"data": {}}', grouped(0), "", created(0, WEB)])
    assert len([line for line in lines if line.startswith("HostDown ")]) == 1
    assert (
        "  ops: not told, and no reason is recorded: too early (group_wait), a time interval, or an older record"
        in lines
    )


def test_no_record_is_said_with_how_far_the_records_go_back():
    lines = told([created(0, WEB)])
    assert lines[-1].startswith('no record of an alert with alertname="HostDown", instance="db-1". Records: am-1 since')
    lines = story.story(members(said(records=[""])), WHY, UTC)
    assert lines[-1].startswith("warn  no records on am-1; expected: /var/lib/alertmanager/data/events.jsonl")


def test_an_older_release_says_what_it_knows_now():
    now = alert("a1", instance="db-1", severity="warning")
    other = alert("b1", instance="web-1")
    lines = story.story(members(said([now, other], version="0.32.1", records=[""])), WHY, UTC)
    assert "1 alert fires (asked: am-1; times in UTC)" in lines
    assert lines[-1].startswith("warn  Alertmanager has no event recorder below 0.33.0 (am-1: 0.32.1): above is what")


def test_very_many_alerts_and_lines_are_not_all_printed(monkeypatch):
    monkeypatch.setattr(story, "MOST_ALERTS", 1)
    monkeypatch.setattr(story, "MOST_ENTRIES", 3)
    records = [created(0), grouped(0), *(notified(n, "REPEAT_INTERVAL_ELAPSED") for n in range(1, 9)), created(0, WEB)]
    lines = told(records, why=wanted.matchers("alertname=HostDown", "why"))
    assert "  (7 older lines are left out)" in lines
    assert "and 1 more alerts. More labels in why leave fewer. All 2: 1 told, 1 not told yet" in lines


# --- Scripts --------------------------------------------------------------------------------------


def sh(script, *options):
    return subprocess.run(["sh", *options], input=script, capture_output=True, text=True, check=False, timeout=20)


def test_the_scripts_are_shell():
    host = SITE.hosts["am-1"]
    test = started("ops").test
    nasty = wanted.matchers("alertname=\"it's $(x) `y`\",说明='a\\b'", "why")
    wish = settings(silence='alertname="it\'s $(x)"', comment="it's `x`")
    for script in (
        seen.questions(SITE, host, nasty),
        test.post(host),
        silences.post_silence(SITE, host, members(said())["am-1"], wish, "li@desk"),
        silences.delete_silence(SITE, host, ID),
    ):
        done = sh(script, "-n")
        assert done.returncode == 0 and not done.stderr, done.stderr


def search(tmp_path, why, **files):
    """What the script finds in files of these names and lines, the oldest first."""
    for age, (name, lines) in enumerate(reversed(files.items())):
        path = tmp_path / name.replace("__", ".")
        text = "".join(f"{line}\n" for line in lines).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
        os.utime(path, (START - 1000 * age, START - 1000 * age))
    done = sh(events.events_script(wanted.matchers(why, "why"), str(tmp_path / "events.jsonl")))
    assert done.returncode == 0 and not done.stderr, done.stderr
    return events.read_events(done.stdout.splitlines())


def test_the_script_finds_the_alert_in_rotated_files(tmp_path):
    why = f"alertname=HostDown,instance=db-1,note={json.dumps(NASTY, ensure_ascii=False)}"
    since, found = search(
        *(tmp_path, why),
        **{
            "events__jsonl__3__gz": [STARTUP, created(0), grouped(0), grouped(0, "mail"), created(0, WEB)],
            "events__jsonl-20261128__gz": [notified(1), grouped(60), grouped(61, "mail"), grouped(62, "ops", WEB)],
            "events__jsonl__1": [silenced(70), silenced(75), grouped(120), notified(80, firing=(WEB,))],
            "events__jsonl": [resolved(100), grouped(200), notified(201), silenced(300)],
        },
    )
    assert since == START - 40
    assert [one.kind for one in found] == [
        *("alertCreated", "alertGrouped", "alertGrouped", "notification", "silenceMutedAlert"),
        *("alertResolved", "alertGrouped", "notification", "silenceMutedAlert"),
    ]
    assert {events.alert_of(one)[0] for one in found} == {"0a9732835eb395bd", ""}
    assert not [one for one in found if "alerts" in one.data], "only their fingerprints are sent"


@pytest.mark.parametrize("release", ["0.33.0", "0.34.1"])
def test_older_recorders_are_read_too(release):
    """As these releases wrote it: labels as lists of pairs, and alerts of a group by another hash."""
    path = Path(__file__).parent / "data/events" / f"{release}.jsonl"
    why = wanted.matchers('alertname=HostDown,note="a \\"quoted\\" \\\\ 磁盘"', "why")
    printed = sh(events.events_script(why, str(path))).stdout.splitlines()
    _, found = events.read_events(printed)
    assert [one.kind for one in found] == [
        *("alertCreated", "alertGrouped", "notification", "silenceMutedAlert", "alertResolved"),
    ]
    fingerprints = {events.alert_of(one)[0] for one in found} - {""}
    assert len(fingerprints) == 1 and all(events.alert_of(one)[1]["instance"] == "db-1" for one in found[:2])
    lines = story.story(members(said(records=printed, version=release)), why, UTC)
    assert any(line.startswith("  ops: told once at") for line in lines), lines
    assert any("muted by the silence" in line and "(li: disk)" in line for line in lines), lines
    why = wanted.matchers("alertname=HostDown,instance=web-1", "why")
    _, found = events.read_events(sh(events.events_script(why, str(path))).stdout.splitlines())
    (cause,) = (one for one in found if events.alert_of(one)[1]["alertname"] == "RackDown")
    (muted,) = (one for one in found if one.kind == "inhibitionMutedAlert")
    assert events.alert_of(cause)[0] == events.fingerprint_of(muted.data["inhibitingFingerprints"][0])


def test_the_script_brings_the_name_of_who_inhibits(tmp_path):
    records = [STARTUP, created(0, CAUSE), grouped(0, "mail", CAUSE), created(1, WEB), inhibited(5), inhibited(9)]
    _, found = search(tmp_path, "severity=warning,instance=web-1", **{"events__jsonl": records})
    assert [one.kind for one in found] == ["alertCreated", "inhibitionMutedAlert", "alertGrouped"]
    assert events.alert_of(found[-1])[0] == f"{CAUSE:016x}"


def test_a_host_without_records_says_nothing(tmp_path):
    assert search(tmp_path, "alertname=HostDown") == (None, ())


def test_the_output_of_the_script_is_bounded(tmp_path, monkeypatch):
    many = [created(0), grouped(0), *(notified(n, firing=(DB, WEB)) for n in range(1, 50))]
    monkeypatch.setattr(events, "MOST_LINES", 20)
    _, found = search(tmp_path, "alertname=HostDown,instance=db-1", **{"events__jsonl": many})
    kinds = [one.kind for one in found]
    # How it began is left.
    assert kinds.count("notification") == 18 and {"alertCreated", "alertGrouped"} < set(kinds)
    monkeypatch.setattr(events, "MOST_BYTES", 3000)
    _, fewer = search(tmp_path, "alertname=HostDown,instance=db-1", **{"events__jsonl": many})
    assert 2 < len(fewer) < len(found)


# --- Whole runs -----------------------------------------------------------------------------------


class Cluster:
    """Alertmanagers that do what they are told, and tell each other of silences."""

    def __init__(self):
        self.alerts: dict[str, dict[str, dict]] = {}
        self.silences: dict[str, dict] = {}
        self.down: set[str] = set()
        self.asked: list[str] = []
        self.changed: list[tuple[str, str]] = []
        self.bot = message("sent")

    def probe(self, host, script, **options):
        name, words = host.name, shlex.split(script)
        self.asked.append(name)
        if name in self.down:
            return DOWN
        before = [f"{MARK}clock", f"{START:.9f}", f"{MARK}answer"]
        urls = [word for word in words if "/api/v2/" in word]
        if "-d" in words:
            body = json.loads(words[words.index("-d") + 1])
            self.changed.append((name, urls[0].rpartition("/")[2]))
            if urls[0].endswith("alerts"):
                [one] = body
                over = one["endsAt"] < "2026-11-28T02:43:30"
                self.alerts.setdefault(name, {})["f00d"] = one if not over else {}
                return [*before, *answer("post", "")]
            self.silences[ID] = {**silence(), **body, "id": ID}
            return [*before, *answer("silence", {"silenceID": ID})]
        if "DELETE" in words:
            self.changed.append((name, "end"))
            self.silences[ID] = {**self.silences[ID], "status": {"state": "expired"}}
            return [*before, *answer("end", "")]
        fires = [
            {**alert("f00d", receivers=[one["labels"].get("test_receiver", "mail")]), "labels": one["labels"]}
            for one in self.alerts.get(name, {}).values()
            if one
        ]
        relay = channel(self.bot) if fires and name == "am-2" else channel()
        db = alert("a1", instance="db-1", silenced=[id for id, one in self.silences.items()])
        return said([*fires, db], self.silences.values(), relay=relay, records=[STARTUP, created(0)])


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    alertmanagers = Cluster()
    monkeypatch.setattr("prometheus_ha.facts.probe.probe", alertmanagers.probe)
    monkeypatch.setattr(rollout, "probe", alertmanagers.probe)
    monkeypatch.setattr(rollout, "PAUSE", 0.01)
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    monkeypatch.setattr("getpass.getuser", lambda: "li")
    for word in re.findall(r"secret:env:(\w+)", str(CHANNEL)):
        monkeypatch.setenv(word, f"https://bots.example.com/{word}")
    data = f"alert_channels = {{'ops': {CHANNEL}}}\n"

    def run(*arguments, **options):
        words = [word for pair in (("--data", one) for one in arguments if "=" in one) for word in pair]
        words += [one for one in arguments if "=" not in one]
        return run_site(tmp_path, monkeypatch, *words, deploy="alert", data=data, wait=WAIT, **options)

    alertmanagers.run = run
    return alertmanagers


def test_a_run_without_a_wish_prints_what_fires(cluster):
    done = cluster.run()
    assert done.rc == 0, done.output
    assert "1 alert fires (asked: am-1, am-2, am-3; times in UTC)" in done.output
    assert sorted(cluster.asked) == ["am-1", "am-2", "am-3"] and not cluster.changed


def test_a_run_that_sends_a_test_follows_it_and_ends_it(cluster):
    done = cluster.run("send=ops")
    assert done.rc == 0, done.output
    assert "ops (dingtalk): delivered by am-2 after 1.2 s" in done.output
    assert sorted(cluster.changed) == [(f"am-{n}", "alerts") for n in (1, 1, 2, 2, 3, 3)]
    assert not any(one for alerts in cluster.alerts.values() for one in alerts.values())


def test_nothing_is_sent_while_a_run_is_only_planned(cluster):
    done = cluster.run("send=ops", "--dry", yes=False)
    assert done.rc == 0 and not cluster.changed and not cluster.asked, done.output


def test_a_receiver_that_there_is_not_fails_the_run_and_sends_nothing(cluster):
    done = cluster.run("send=opz")
    assert done.rc == 1 and not cluster.changed
    assert "found 'opz'; expected: a receiver (ops, mail, pager, nobody)" in done.output


def test_a_silence_is_made_at_the_first_living_member_and_ended(cluster):
    cluster.down = {"am-1"}
    done = cluster.run("silence=alertname=HostDown", "silence_for=1h", "comment=disk")
    assert done.rc == 0, done.output
    assert cluster.changed == [("am-2", "silences")] and cluster.silences[ID]["createdBy"] == "li@desk"
    assert "am-1 does not answer: no connection to 10.0.0.23:9093" in done.output
    assert "now it mutes HostDown instance=db-1" in done.output
    done = cluster.run(f"end_silence={ID}")
    assert done.rc == 0 and cluster.changed[-1] == ("am-2", "end") and "is ended" in done.output
    done = cluster.run("end_silence=abc")
    assert done.rc == 1 and "found 'abc'" in done.output and len(cluster.changed) == 2


def test_limit_asks_only_those_that_are_chosen(cluster):
    done = cluster.run("why=alertname=HostDown,instance=db-1", "--limit", "am-3")
    assert done.rc == 0 and cluster.asked == ["am-3"], done.output
    assert "am-3  it fires" in done.output
    done = cluster.run("--limit", "prom-1")
    assert done.rc == 1 and "no Alertmanager is in this run" in done.output


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        (["send=ops", "end_silence=x"], "found send and end_silence; expected: one of them in a run"),
        (["silence=alertname=HostDown"], "comment: found nothing"),
    ],
)
def test_a_bad_wish_ends_the_run_before_anybody_is_asked(cluster, wishes, says):
    done = cluster.run(*wishes)
    assert done.rc == 1 and says in done.output and not cluster.asked
    assert "alert.py line" not in done.output, "its words alone"


def test_no_living_member_fails_the_run(cluster):
    cluster.down = {"am-1", "am-2", "am-3"}
    done = cluster.run()
    assert done.rc == 1 and "no Alertmanager answers" in done.output
