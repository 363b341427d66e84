"""The relay to group bots, as a process of its own against the stand-ins of the bots (`tests/lab/bots.py`)."""

from __future__ import annotations

import ast
import base64
import datetime
import http.client
import importlib.util
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.lab import bots as lab
from tests.unit.recorded import ROOT

SCRIPT = ROOT / "templates/alert_relay.py"
_spec = importlib.util.spec_from_file_location("alert_relay", SCRIPT)
relay: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(relay)

SIGN, TOKEN = "hunter2-sign-hunter2", "t0ken-hunter2-t0ken"
PATHS = {
    "feishu": f"/open-apis/bot/v2/hook/{TOKEN}",
    "dingtalk": f"/robot/send?access_token={TOKEN}",
    "wecom": f"/cgi-bin/webhook/send?key={TOKEN}",
}
NASTY = '磁盘满了 🔥 "q" \\ {{ .x }} <b>&\n\t\u2028\x7f[a](b) `c` *d* ${x} %s'


def free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(what: str, check: Any, seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def standing() -> Iterator[SimpleNamespace]:
    """The stand-ins, and where they are."""
    bots = lab.Bots()
    server = lab.server("127.0.0.1", 0, bots)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(bots=bots, url=f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _well(standing):
    standing.bots.reset()
    standing.bots.bots.clear()
    standing.bots.behave({f"{vendor}/{TOKEN}": {} for vendor in PATHS})


class Process:
    """A relay at work."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.file, self.log = directory / "relay.json", directory / "log"
        self.file.write_text(json.dumps(config))
        self.web, self.webhook = free(), free()
        command = [
            *(sys.executable, "-I", str(SCRIPT), f"--config.file={self.file}"),
            *(f"--web.listen-address=127.0.0.1:{self.web}", f"--webhook.listen-address=127.0.0.1:{self.webhook}"),
        ]
        self.process = subprocess.Popen(command, stderr=self.log.open("w"))
        until("the relay listens", lambda: "listens at" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def request(self, method: str, path: str, body: Any = None, port: int | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.webhook, timeout=15)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def notify(self, channel: str, *alerts: dict[str, Any]) -> tuple[int, str]:
        """As Alertmanager does: what is too many in a second (Feishu) is tried again."""
        body = {"version": "4", "receiver": channel, "alerts": alerts}

        def sent() -> tuple[int, str] | None:
            found = self.request("POST", f"/{channel}", body)
            return None if found[1].startswith("retry rate") else found

        return until("room in the bot's rate", sent)

    def metric(self, name: str, **labels: str) -> float | None:
        _, text = self.request("GET", "/metrics", port=self.web)
        for line in text.splitlines():
            if re.match(rf"{name}[ {{]", line) and all(f'{key}="{value}"' in line for key, value in labels.items()):
                return float(line.split()[-1])
        return None

    @property
    def status(self) -> dict[str, Any]:
        return json.loads(self.request("GET", "/status")[1])


def alert(status: str = "firing", number: int = 1, **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "DiskFull", "severity": "critical", "instance": f"web-{number}:9100", **labels},
        "annotations": {"summary": "the disk is full", "runbook_url": "https://wiki.example.org/disk(1)"},
        "startsAt": "2026-03-29T00:30:00.123Z",
        "generatorURL": "http://prom-1:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1",
        "fingerprint": f"{number:016x}",
    }


def config(standing: SimpleNamespace, **more: Any) -> dict[str, Any]:
    channels = {
        vendor: {"type": vendor, "webhook_url": standing.url + path, "per_minute": 20, **more.pop(vendor, {})}
        for vendor, path in PATHS.items()
    }
    return {"channels": channels, "alertmanager": "https://am.example.org", **more}


@contextmanager
def running(directory: Path, given: dict[str, Any]) -> Iterator[Process]:
    process = Process(directory, given)
    try:
        yield process
    finally:
        process.process.terminate()
        process.process.wait(10)


@pytest.fixture(scope="module")
def plain(standing, tmp_path_factory) -> Iterator[Process]:
    """One relay for most tests, with a limit that they do not reach."""
    directory = tmp_path_factory.mktemp("relay")
    given = config(standing, query="https://query.example.org", time_zone="CET-1CEST,M3.5.0,M10.5.0/3")
    given["channels"]["feishu"]["per_minute"] = 100
    given["channels"]["dingtalk"]["mention"] = {"critical": ["13800000000", "u1", "all"]}
    given["channels"]["feishu"] |= {"mention": {"critical": ["all"]}, "mention_label": "owner", "language": "zh"}
    with running(directory, given) as process:
        yield process


def taken(standing: SimpleNamespace, vendor: str) -> tuple[dict[str, Any], str]:
    """The last message that a bot took, and what people read in it."""
    last = [one for one in standing.bots.taken if one["bot"].startswith(vendor)][-1]["body"]
    return last, lab._text(vendor, last)


def test_its_syntax_is_that_of_3_6():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def test_it_asks_no_library_for_what_3_6_lacks():
    """The modules that it imports are there, and of what came later it uses nothing that is named here."""
    text = SCRIPT.read_text()
    late = ("ThreadingHTTPServer", "zoneinfo", "removeprefix", "removesuffix", "dataclass", "fromisoformat", "walrus")
    assert not [word for word in late if word in text]


@pytest.mark.parametrize("vendor", PATHS)
def test_a_message_says_what_fires_and_what_is_over(vendor, plain, standing):
    first = alert(number=1, severity="warning", alertname="Slow", owner="ou_7,<at>")
    status, said = plain.notify(vendor, first, alert("resolved", 2), alert(number=3, host="db-1"))
    assert (status, said.split()[0]) == (200, "sent")
    body, text = taken(standing, vendor)
    places = [text.index(word) for word in ("db-1", "web-1:9100", "web-2:9100")]
    assert places == sorted(places), "critical and firing first"
    assert "https://wiki.example.org/disk%281%29" in text
    assert "https://am.example.org/#/silences/new?filter=%7Balertname%3D%22DiskFull%22%2C" in text
    assert "https://query.example.org/graph?g0.expr=up+%3D%3D+0&g0.tab=1" in text
    # Half an hour past midnight UTC, an hour later in winter's Berlin.
    assert "2026-03-29 01:30:00 CET" in text
    if vendor == "feishu":
        assert body["card"]["header"]["template"] == "red"
        assert "<at id=all></at> <at id=ou_7></at>" in text and "2 条告警" in text
    elif vendor == "dingtalk":
        assert body["at"] == {"isAtAll": True, "atMobiles": ["13800000000"], "atUserIds": ["u1"]}
        assert "@13800000000" in body["markdown"]["text"]
        assert "2 firing, 1 resolved" in body["markdown"]["title"]


@pytest.mark.parametrize("vendor", PATHS)
def test_an_all_clear_mentions_nobody(vendor, plain, standing):
    assert plain.notify(vendor, alert("resolved"))[0] == 200
    body, text = taken(standing, vendor)
    assert "<at" not in text and "@" not in text.replace("%40", "")
    if vendor == "feishu":
        assert body["card"]["header"]["template"] == "green"


@pytest.mark.parametrize("vendor", PATHS)
def test_what_labels_and_annotations_hold_is_text(vendor, plain, standing):
    one = alert(alertname="磁盘", x=NASTY)
    one["annotations"] = {"summary": NASTY, "description": NASTY}
    assert plain.notify(vendor, one)[0] == 200
    _, text = taken(standing, vendor)
    assert "磁盘满了 🔥" in text and "{{ .x }}" in text and "${x} %s" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u2028]", text)
    assert ("<b>" in text) == (vendor == "feishu"), "there it is plain text"


@pytest.mark.parametrize("vendor", PATHS)
def test_a_message_is_as_long_as_the_bot_takes(vendor, plain, standing):
    many = [alert(number=n, note="满" * 90) for n in range(50)]
    for one in many:
        one["annotations"]["description"] = "磁盘满了，请尽快处理。" * 12
    assert plain.notify(vendor, *many)[0] == 200
    _, text = taken(standing, vendor)
    shown = text.count("the disk is full")
    left = re.search(r"另有 (\d+) 条" if vendor == "feishu" else r"(\d+) more", text)
    assert left and shown + int(left[1]) == 50 and 0 < shown < 50
    # One that is longer than a whole message.
    long = alert()
    long["annotations"]["summary"] = "长" * 30_000
    assert plain.notify(vendor, long)[0] == 200
    assert "长" * 100 in taken(standing, vendor)[1]
    assert plain.metric("alert_relay_alerts_cut_total", channel=vendor) == int(left[1])


@pytest.mark.parametrize("size", [*range(1, 30), 300])
def test_a_text_is_cut_between_characters(size):
    for text in ("a" * 40, "满" * 40, "🔥" * 40):
        found = relay.cut(text, size)
        assert len(found.encode()) <= max(size, 3) and "\ufffd" not in found
    assert relay.cut("abc", 3) == "abc"


@pytest.mark.parametrize("vendor", ["feishu", "dingtalk"])
def test_signatures_and_keywords(vendor, standing, tmp_path):
    standing.bots.behave({f"{vendor}/{TOKEN}": {"sign": SIGN, "keywords": ["生产"]}})
    given = config(standing, **{vendor: {"sign_secret": SIGN, "keyword": "生产"}})
    with running(tmp_path, given) as process:
        for status in ("firing", "resolved"):
            assert process.notify(vendor, alert(status))[0] == 200, status
            assert "生产" in taken(standing, vendor)[1]
        standing.bots.behave({f"{vendor}/{TOKEN}": {"sign": "another", "keywords": []}})
        assert process.notify(vendor, alert())[0] == 401
        standing.bots.behave({f"{vendor}/{TOKEN}": {"keywords": ["nowhere"]}})
        assert process.notify(vendor, alert())[0] == 400
        said = (
            process.log.read_text()
            + json.dumps(process.status)
            + process.request("GET", "/metrics", port=process.web)[1]
        )
        assert SIGN not in said and TOKEN not in said and "http" not in process.log.read_text()
        assert process.metric("alert_relay_refused_total", channel=vendor) == 2


@pytest.mark.parametrize(
    ("fails", "status", "result"),
    [
        ("busy", 503, "retry"),
        ("html", 503, "retry"),
        ("500", 503, "retry"),
        ("429", 503, "retry"),
        ("302", 400, "refused"),
        ("404", 400, "refused"),
        ("shape", 400, "refused"),
        ("token", 403, "refused"),
    ],
)
def test_what_a_bot_answers_is_told_truly(fails, status, result, standing, tmp_path):
    standing.bots.behave({f"dingtalk/{TOKEN}": {"fails": fails, "times": 1}})
    with running(tmp_path, config(standing)) as process:
        assert process.notify("dingtalk", alert())[0] == status
        assert process.metric(f"alert_relay_{result}_total", channel="dingtalk") == 1
        last = process.status["channels"]["dingtalk"]["last"][-1]
        assert (last["result"], last["alerts"]) == (result, [f"{1:016x}"])
        assert process.notify("dingtalk", alert())[0] == 200, "it is well again"


def test_too_long_though_cut_is_said_in_short(standing, plain):
    standing.bots.behave({f"wecom/{TOKEN}": {"fails": "long", "times": 1}})
    assert plain.notify("wecom", alert(), alert(number=2))[0] == 200
    assert taken(standing, "wecom")[1] == "2 alerts, too long to show"
    standing.bots.behave({f"wecom/{TOKEN}": {"fails": "long"}})
    assert plain.notify("wecom", alert())[0] == 400


def test_nobody_there_is_tried_again(tmp_path):
    channel = {"type": "wecom", "webhook_url": f"http://127.0.0.1:{free()}/x?key={TOKEN}"}
    with running(tmp_path, {"channels": {"ops": channel}}) as process:
        assert process.notify("ops", alert()) == (503, "retry unreachable Connection refused\n")
        assert process.metric("alert_relay_messages_total", channel="ops", result="sent") == 0, "there from the start"


@contextmanager
def answering(*parts: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that answers with these bytes, whatever is asked."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = one.accept()
                    client.recv(1 << 16)
                    for part in parts:
                        client.sendall(part)
                        time.sleep(pause)
                    client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{one.getsockname()[1]}/x?key={TOKEN}"


def test_what_speaks_no_http_is_tried_again():
    with answering(b"220 mail.example.org ESMTP\r\n") as url, pytest.raises(relay.http.client.HTTPException):
        relay.post(url, {})
    way, channel = relay.Way(), relay.Channel("ops", {"type": "wecom", "webhook_url": url})
    payload = relay.alerts_of(json.dumps({"alerts": [alert()]}).encode())
    with answering(b"220 mail.example.org ESMTP\r\n") as url:
        channel.url = url
        assert way.deliver(relay.Message(channel, payload, "", "")).status == 503


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"])
def test_an_answer_that_trickles_is_given_up(head):
    with answering(head, *[b"x"] * 40, pause=0.05) as url:
        begun = time.monotonic()
        with pytest.raises(OSError, match="no answer in"):
            relay.post(url, {}, 0.3)
        assert time.monotonic() - begun < 1.5


# --- Rates, by a clock of ours --------------------------------------------------------------------


@pytest.fixture
def clocked(standing, monkeypatch) -> SimpleNamespace:
    """The way to a bot, whose clock and ours is the same."""
    now = [1_000_000.0]
    bots = lab.Bots(lambda: now[0])
    bots.behave({f"{vendor}/{TOKEN}": {} for vendor in PATHS})

    def post(url, body):
        status, answer = bots.handle(url.removeprefix("http://bot"), json.dumps(body, ensure_ascii=False).encode())
        return status, json.dumps(answer)

    monkeypatch.setattr(relay, "post", post)
    monkeypatch.setattr(relay, "log", lambda *args, **pairs: None)

    def send(vendor: str, count: int = 1, **more: Any) -> list[tuple[int, object]]:
        if vendor not in ways:
            given = {"type": vendor, "webhook_url": f"http://bot{PATHS[vendor]}", **more}
            ways[vendor] = relay.Way(lambda: now[0]), relay.Channel(vendor, given)
        way, channel = ways[vendor]
        payload = relay.alerts_of(json.dumps({"alerts": [alert()]}).encode())
        found = [way.deliver(relay.Message(channel, payload, "", "")) for _ in range(count)]
        return [(one.status, one.code) for one in found]

    ways: dict[str, Any] = {}
    return SimpleNamespace(now=now, bots=bots, send=send, ways=ways)


def test_it_stays_below_the_bots_rate(clocked):
    assert clocked.send("dingtalk", 20) == [(200, 0)] * 18 + [(503, "rate")] * 2
    assert clocked.bots.requests == 18, "the bot was not asked"
    clocked.now[0] += 61
    assert clocked.send("dingtalk") == [(200, 0)]
    assert clocked.send("feishu", 5) == [(200, 0)] * 4 + [(503, "rate")], "five in a second are too many"
    clocked.now[0] += 1.1
    assert clocked.send("feishu") == [(200, 0)]


def test_a_block_is_waited_out(clocked):
    """Another member sends through the same bot: the limit is reached though this one stays below it."""
    clocked.bots.bots[f"dingtalk/{TOKEN}"].rate = 2
    assert clocked.send("dingtalk", 4) == [(200, 0), (200, 0), (503, 130101), (503, "blocked")]
    assert clocked.bots.requests == 3 and clocked.ways["dingtalk"][0].blocked
    clocked.now[0] += 599
    assert clocked.send("dingtalk") == [(503, "blocked")]
    clocked.now[0] += 2
    assert clocked.send("dingtalk") == [(200, 0)]
    clocked.bots.bots[f"wecom/{TOKEN}"].rate = 1
    assert clocked.send("wecom", 2) == [(200, 0), (503, 45009)]
    clocked.now[0] += 61
    assert clocked.send("wecom") == [(200, 0)]


# --- What it is asked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/nowhere", {"alerts": [alert()]}, 404, "no channel nowhere"),
        ("/wecom", b"{", 400, "no JSON"),
        ("/wecom", {"alerts": []}, 400, "no alerts in it"),
        ("/wecom", {"alerts": [1]}, 400, "an alert that is no mapping"),
        ("/wecom", {"alerts": [{"labels": [1]}]}, 400, "labels that are no mapping"),
    ],
)
def test_what_is_no_notification(path, body, status, said, plain):
    assert plain.request("POST", path, body) == (status, said + "\n")


def test_a_notification_that_is_too_large(plain):
    connection = http.client.HTTPConnection("127.0.0.1", plain.webhook, timeout=5)
    connection.putrequest("POST", "/wecom")
    connection.putheader("Content-Length", str(40 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_one_connection_serves_several_notifications(plain):
    connection = http.client.HTTPConnection("127.0.0.1", plain.webhook, timeout=5)
    for _ in range(3):
        connection.request("POST", "/-/canary", json.dumps({"alerts": [alert(canary_id="a")]}))
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"counted\n")
    connection.request("POST", "/-/canary", json.dumps({"alerts": [alert(canary_id="b")]}))
    connection.getresponse().read()
    connection.close()
    assert plain.status["canaries"] == {"a": 3, "b": 1}


def test_the_web_port_takes_no_notification(plain):
    assert plain.request("POST", "/wecom", {"alerts": [alert()]}, port=plain.web)[0] == 404
    for path in ("/-/healthy", "/-/ready"):
        assert plain.request("GET", path, port=plain.web) == (200, "OK\n")
    assert plain.request("GET", "/status", port=plain.web)[0] == 404
    assert plain.metric("alert_relay_build_info", version=relay.VERSION) == 1
    assert (plain.metric("process_resident_memory_bytes") or 0) > 1 << 20


def test_the_watchdog_of_another_site_is_a_sign_of_life(tmp_path):
    with running(tmp_path, {"deadman": ["east"]}) as process:
        before = process.metric("alert_relay_deadman_timestamp_seconds", site="east")
        assert before == process.metric("process_start_time_seconds"), "not dead from the start"
        assert process.request("POST", "/deadman/east", {"alerts": [alert()]}, port=process.web) == (200, "seen\n")
        assert (process.metric("alert_relay_deadman_timestamp_seconds", site="east") or 0) > before
        for path in ("/deadman/west", "/deadman", "/wecom"):
            assert process.request("POST", path, {}, port=process.web)[0] == 404


def test_a_slow_client_holds_up_nobody(plain):
    with socket.create_connection(("127.0.0.1", plain.webhook)) as slow:
        slow.sendall(b"POST /wecom HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert plain.notify("wecom", alert())[0] == 200


# --- Its life -------------------------------------------------------------------------------------


def test_a_reload_loses_nothing_and_a_broken_one_changes_nothing(standing, tmp_path):
    given = config(standing)
    with running(tmp_path, given) as process:
        assert process.notify("wecom", alert())[0] == 200
        given["channels"]["new"] = given["channels"]["wecom"]
        process.file.write_text(json.dumps(given))
        process.process.send_signal(signal.SIGHUP)
        until("the new channel", lambda: process.notify("new", alert())[0] == 200)
        assert process.metric("alert_relay_sent_total", channel="wecom") == 1, "its counters stay"
        loaded = process.metric("alert_relay_config_last_reload_success_timestamp_seconds")
        process.file.write_text('{"channels": {"ops": {"type": "slack"}}}')
        process.process.send_signal(signal.SIGHUP)
        until("the refusal", lambda: process.metric("alert_relay_config_last_reload_successful") == 0)
        assert process.notify("wecom", alert())[0] == 200
        assert process.metric("alert_relay_config_last_reload_success_timestamp_seconds") == loaded
        assert "channels.ops.type: found slack; expected: feishu, dingtalk, wecom" in process.log.read_text()


def test_it_finishes_what_is_under_way(standing, tmp_path):
    """A bot that takes its time: told to stop meanwhile, the relay waits for its answer."""
    going, asked = threading.Event(), threading.Event()
    handle = standing.bots.handle

    def slow(path, body):
        asked.set()
        assert going.wait(10)
        return handle(path, body)

    standing.bots.handle = slow
    try:
        with running(tmp_path, config(standing)) as process:
            found: list[tuple[int, str]] = []
            thread = threading.Thread(target=lambda: found.append(process.notify("wecom", alert())))
            thread.start()
            assert asked.wait(10)
            process.process.terminate()
            time.sleep(0.2)  # for it to have been told
            assert process.process.poll() is None
            going.set()
            thread.join(10)
            assert found == [(200, "sent 0 ok\n")]
            assert process.process.wait(10) == 0
    finally:
        standing.bots.handle = handle


def check(tmp_path: Path, given: Any) -> tuple[int, str]:
    file = tmp_path / "relay.json"
    file.write_text(given if isinstance(given, str) else json.dumps(given))
    problems = ""
    try:
        relay.Config(str(file))
    except relay.Problems as error:
        problems = str(error)
    return int(bool(problems)), problems.replace(str(file), "FILE")


BOT = {"type": "dingtalk", "webhook_url": "https://bot.example.org/robot/send?access_token=x"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "FILE: line 1: "),
        ("[]", "FILE: found no mapping"),
        ({"channels": []}, "FILE: channels: found list; expected: dict"),
        ({"time_zone": 1}, "FILE: time_zone: found int; expected: str"),
        ({"chanels": {}}, "FILE: chanels: found an unknown key; expected: channels, "),
        ({"channels": {"a": 1}}, "FILE: channels.a: found int; expected: a mapping"),
        ({"channels": {"a": {**BOT, "urls": "x"}}}, "FILE: channels.a.urls: found an unknown key"),
        ({"channels": {"a": {**BOT, "webhook_url": "x"}}}, "channels.a.webhook_url: found no URL (not shown)"),
        ({"channels": {"a": {**BOT, "per_minute": 21}}}, "channels.a.per_minute: found 21; expected: 1 to 20"),
        ({"channels": {"a": {**BOT, "language": "de"}}}, "channels.a.language: found de; expected: en, zh"),
        ({"channels": {"a": {**BOT, "mention": {"x": "u"}}}}, "channels.a.mention.x: found no list of names"),
        ({"channels": {"a": {**BOT, "type": "wecom", "mention": {"x": ["all"]}}}}, "a.mention.x: found all"),
        ({"channels": {"a": {**BOT, "type": "wecom", "sign_secret": "s"}}}, "a.sign_secret: found a key"),
        (
            {"channels": {"a": {**BOT, "template": {"title": "${x}"}}}},
            "a.template.title: found ${x}; expected: alertname",
        ),
        ({"channels": {"a": {**BOT, "template": {"titel": "x"}}}}, "a.template.titel: found no such text"),
        ({"serve": {"cert": "x"}}, "FILE: serve.cert: found an unknown key"),
    ],
)
def test_a_configuration_that_is_wrong(given, said, tmp_path):
    status, problems = check(tmp_path, given)
    assert status == 1 and said in problems


def test_own_words(tmp_path, standing):
    template = {
        "title": "${status}: ${count}",
        "alert": "${label_team}/${host} ${annotation_summary}",
        "more": "+${count}",
    }
    assert check(tmp_path, {"channels": {"a": {**BOT, "template": template}}}) == (0, "")
    given = config(standing, wecom={"template": template})
    with running(tmp_path, given) as process:
        assert process.notify("wecom", alert(team="db", host="h-1"))[0] == 200
        assert taken(standing, "wecom")[1].startswith("**firing: 1**\n\ndb/h-1 the disk is full\n")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", str(SCRIPT), *words], capture_output=True, text=True, timeout=20)


def test_its_command_line(tmp_path):
    file = tmp_path / "relay.json"
    file.write_text(json.dumps({"channels": {"ops": BOT}}))
    assert run("--version").stdout == f"alert_relay {relay.VERSION}\n"
    assert run("--config.check", f"--config.file={file}").returncode == 0
    refused = run(f"--config.file={file}", "--webhook.listen-address=0.0.0.0:9097")
    assert refused.returncode == 2 and "127.0.0.1 or [::1]" in refused.stderr
    file.write_text("{}}")
    refused = run("--config.check", f"--config.file={file}")
    assert refused.returncode == 1 and f"{file}: line 1" in refused.stderr


def _certificate(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime(2020, 1, 1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now)
    made = made.not_valid_after(now + datetime.timedelta(days=36500))
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    kept = serialization.PrivateFormat.PKCS8
    pem += key.private_bytes(serialization.Encoding.PEM, kept, serialization.NoEncryption())
    path.write_bytes(pem)


def test_its_metrics_have_tls_and_a_password(tmp_path):
    _certificate(tmp_path / "host.pem")
    digest = relay.hashlib.sha256(b"site:hunter2").hexdigest()
    serve = {"cert_file": str(tmp_path / "host.pem"), "key_file": str(tmp_path / "host.pem")}
    serve["users"] = {"site": {"sha256_password": digest}}
    with running(tmp_path, {"channels": {"ops": BOT}, "serve": serve}) as process:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def get(pair: bytes | None) -> int:
            connection = http.client.HTTPSConnection("127.0.0.1", process.web, timeout=5, context=context)
            headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"} if pair else {}
            connection.request("GET", "/-/healthy", headers=headers)
            return connection.getresponse().status

        assert [get(None), get(b"site:wrong"), get(b"other:hunter2"), get(b"site:hunter2")] == [401, 401, 401, 200]
        assert process.request("GET", "/-/healthy", port=process.web)[0] == 400
        # What Alertmanager posts to is on loopback, and as it was.
        assert process.request("GET", "/status")[0] == 200
