#!/usr/bin/env python3
"""Brings Alertmanager's notifications to group bots of Feishu (Lark), DingTalk and WeCom.

Alertmanager posts its webhook JSON to http://127.0.0.1:PORT/CHANNEL. The relay makes a message of it that the bot takes
(signed, short enough, with its keyword), reads the bot's answer, and answers Alertmanager so that its own retries and
metrics tell the truth: 200 sent, 503 try again, 400, 401 or 403 refused.

Python's standard library alone, and the syntax of 3.6: hosts have nothing else.
"""

import argparse
import base64
import calendar
import collections
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import socket
import socketserver
import ssl
import string
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler

VERSION = "1.0.0"

SEND_SECONDS = 5.0  # for one try at a bot, its answer read
WAIT_SECONDS = 4.0  # behind another message of the same channel
STOP_SECONDS = 8.0  # for what is under way when the relay is told to stop
IDLE_SECONDS = 15.0  # of a client that says nothing
LARGEST = 32 << 20  # bytes of a notification
REMEMBERED = 50  # deliveries of a channel, and
CANARIES = 20000  # canaries that are kept for whoever asks
BLOCK_SECONDS = 600.0  # DingTalk takes nothing for ten minutes from a bot that sent too much

SEVERITIES = ("critical", "error", "warning", "info", "none")
LEVELS = ("debug", "info", "warn", "error")
WORDS = {
    "en": {
        "firing": "firing",
        "resolved": "resolved",
        "title": "[${status}] ${alertname}: ${firing} firing, ${resolved} resolved",
        "alert": "${mark} ${state} ${severity} ${where}\n${summary}\n${description}\n${started}",
        "more": "${count} more",
        "since": "since %s",
        "long": "%d alerts, too long to show",
        "alerts": "alerts",
        "runbook": "Runbook",
        "silence": "Silence",
        "graph": "Graph",
    },
    "zh": {
        "firing": "告警",
        "resolved": "恢复",
        "title": "[${status}] ${alertname}：${firing} 条告警，${resolved} 条恢复",
        "alert": "${mark} ${state} ${severity} ${where}\n${summary}\n${description}\n${started}",
        "more": "另有 ${count} 条",
        "since": "开始于 %s",
        "long": "%d 条告警，内容过长，无法显示",
        "alerts": "告警",
        "runbook": "处理手册",
        "silence": "静默",
        "graph": "图表",
    },
}
PLACEHOLDERS = {
    "title": {"status", "alertname", "count", "firing", "resolved", "severity", "receiver"},
    "alert": {
        "mark",
        "state",
        "severity",
        "where",
        "alertname",
        "instance",
        "host",
        "summary",
        "description",
        "started",
    },
    "more": {"count"},
}


# --- Messages -------------------------------------------------------------------------------------


def clean(value):
    """One line of text: no control character, no half of a pair."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]+", " ", str(value))
    return text.strip()


def cut(text, size):
    """At most `size` bytes of UTF-8, whole characters, and a mark where something is missing."""
    data = text.encode()
    return text if len(data) <= size else data[: max(size - 3, 0)].decode(errors="ignore") + "…"


def rank(alert):
    """Where an alert stands in a message: what fires first, the worst first."""
    severity = alert["labels"].get("severity", "")
    place = SEVERITIES.index(severity) if severity in SEVERITIES else SEVERITIES.index("warning")
    return alert["status"] != "firing", place


def started(alert, words):
    """Since when it fires, in the time zone of the relay."""
    match = re.match(
        r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$", str(alert.get("startsAt"))
    )
    if not match:
        return ""

    try:
        seconds = calendar.timegm(tuple(int(part) for part in match.groups()[:6]))
    except ValueError:  # no such day
        return ""
    if match.group(7) != "Z":
        hours, minutes = match.group(7)[1:].split(":")
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if match.group(7)[0] == "+" else -offset
    return words["since"] % time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))


def links(alert, words, alertmanager, query):
    """Name and address of what helps: the runbook, a silence, and the alert's expression as a graph."""
    found = []
    runbook = clean(alert["annotations"].get("runbook_url", ""))
    if re.match(r"https?://", runbook):
        found.append((words["runbook"], runbook))
    if alertmanager:
        pairs = ["%s=%s" % (name, json.dumps(value, ensure_ascii=False)) for name, value in alert["labels"].items()]
        filtered = urllib.parse.quote("{%s}" % ",".join(pairs), safe="")
        found.append((words["silence"], "%s/#/silences/new?filter=%s" % (alertmanager, filtered)))
    source = clean(alert.get("generatorURL") or "")
    expression = source.partition("?")[2]
    if query and expression:
        found.append((words["graph"], "%s/graph?%s" % (query, expression)))
    elif re.match(r"https?://", source):
        found.append((words["graph"], source))
    return [(name, re.sub(r"[\s()<>\[\]\"]", lambda each: "%%%02X" % ord(each.group()), url)) for name, url in found]


class Text(string.Template):
    """A template in which what is not known is left out."""

    idpattern = r"[A-Za-z_][A-Za-z0-9_]*"
    flags = 0

    def fill(self, values):
        return self.safe_substitute(collections.defaultdict(str, values))

    def unknown(self, kind):
        """The placeholders that never have a value."""
        names = {match.group("named") or match.group("braced") for match in self.pattern.finditer(self.template)}
        known = PLACEHOLDERS[kind]
        return sorted(
            name for name in names - known - {None} if kind != "alert" or not re.match("(label|annotation)_.", name)
        )


class Message:
    """What is to be said of a notification in one channel, before it is a vendor's."""

    def __init__(self, channel, payload, alertmanager, query):
        self.channel, self.words = channel, WORDS[channel.language]
        self.alertmanager, self.query = alertmanager, query
        self.alerts = sorted(payload["alerts"], key=rank)
        self.firing = [alert for alert in self.alerts if alert["status"] == "firing"]
        self.receiver = payload.get("receiver", "")
        self.severity = (self.firing or self.alerts)[0]["labels"].get("severity", "")

    @property
    def title(self):
        names = {alert["labels"].get("alertname", "") for alert in self.alerts}
        values = {
            "status": self.words["firing" if self.firing else "resolved"],
            "alertname": cut(clean(names.pop()), 120) if len(names) == 1 else self.words["alerts"],
            "count": len(self.alerts),
            "firing": len(self.firing),
            "resolved": len(self.alerts) - len(self.firing),
            "severity": clean(self.severity),
            "receiver": clean(self.receiver),
        }
        text = clean(self.channel.template("title").fill(values))
        keyword = self.channel.keyword
        return text if keyword in text else "%s %s" % (text, keyword)

    def lines(self, alert, size, escaped):
        """The lines of an alert: each of its values at most `size` bytes, and `escaped`."""
        labels, notes = alert["labels"], alert["annotations"]

        def short(value):
            return escaped(cut(clean(value), size))

        values = {"label_" + name: short(value) for name, value in labels.items()}
        values.update({"annotation_" + name: short(value) for name, value in notes.items()})
        values.update({name: short(labels.get(name, "")) for name in ("alertname", "severity", "instance", "host")})
        values.update({name: short(notes.get(name, "")) for name in ("summary", "description")})
        values.update(
            mark="●" if alert["status"] == "firing" else "✓",
            state=self.words["firing" if alert["status"] == "firing" else "resolved"],
            where=values["host"] or values["instance"],
            started=started(alert, self.words),
        )
        text = self.channel.template("alert").fill(values)
        return [line.strip() for line in text.splitlines() if line.strip()]

    def links(self, alert):
        return links(alert, self.words, self.alertmanager, self.query)

    def more(self, count):
        return clean(self.channel.template("more").fill({"count": count}))

    @property
    def mentioned(self):
        """Who is to look: those of the severities that fire, and whom a label names."""
        found = []
        for alert in self.firing:
            labels = alert["labels"]
            found += self.channel.mention.get(labels.get("severity", ""), [])
            named = labels.get(self.channel.mention_label, "") if self.channel.mention_label else ""
            found += [clean(name) for name in named.split(",")]
        # A name comes from a label, too: nothing that is markup.
        return [name for name in collections.OrderedDict.fromkeys(found) if re.match(r"[\w.@+-]{1,64}$", name)]


def escape_markdown(text):
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]])", r"\\\1", text)


# --- Vendors --------------------------------------------------------------------------------------


class Outcome:
    """What became of a message: `result` is sent, retry or refused, `status` the answer to Alertmanager."""

    def __init__(self, result, status, code, says=""):
        self.result, self.status, self.code, self.says = result, status, code, clean(says)


def size_of(body):
    return len(json.dumps(body, ensure_ascii=False).encode())


class Vendor:
    """How one vendor's bots are spoken to. Numbers are those of the vendors' pages for group bots."""

    rate, default_rate, per_second = 20, 18, None
    limit = 19500
    busy, signature, token, long = (-1,), (), (), ()

    def body(self, message, shown, size):
        """The request for the first `shown` alerts of a message, whose values have at most `size` bytes."""
        raise NotImplementedError

    def short(self, text, channel):
        """A request that says no more than one line."""
        raise NotImplementedError

    def weight(self, body):
        return size_of(body)

    def fitted(self, message):
        """The longest request that the bot takes, and how many alerts are in it. Alerts go whole; where not even one
        does, its values are cut."""
        for size in (1500, 400, 150, 60):
            low, high = 0, len(message.alerts)
            if self.weight(self.body(message, high, size)) <= self.limit:
                return self.body(message, high, size), high
            while high - low > 1:
                middle = (low + high) // 2
                if self.weight(self.body(message, middle, size)) <= self.limit:
                    low = middle
                else:
                    high = middle
            if low:
                return self.body(message, low, size), low
        return self.body(message, 0, 60), 0

    def signed(self, url, body, secret, now):
        """URL and request with the signature."""
        return url, body

    def code(self, answer):
        return answer.get("errcode"), answer.get("errmsg", "")

    def judged(self, code, says):
        """What a code means, where it is not 0."""
        if code in self.busy or code in self.rated:
            return Outcome("retry", 503, code, says)
        if code in self.token:
            return Outcome("refused", 403, code, says)
        if code in self.signature and re.search("sign|timestamp|签名|时间", says, re.I):
            return Outcome("refused", 401, code, says)
        return Outcome("refused", 400, code, says)

    rated = ()
    blocks = 60.0
    """Seconds for which the bot takes nothing once it says that there were too many messages."""


class Feishu(Vendor):
    rate, default_rate, per_second = 100, 90, 4
    rated, signature, long = (11232,), (19021,), (19036,)
    colours = {"critical": "red"}

    def body(self, message, shown, size):
        elements = []

        def add(tag, text):
            if text:
                elements.append({"tag": "div", "text": {"tag": tag, "content": text}})

        for alert in message.alerts[:shown]:
            add("plain_text", "\n".join(message.lines(alert, size, str)))
            add("lark_md", " · ".join("[%s](%s)" % link for link in message.links(alert)))
        if shown < len(message.alerts):
            add("plain_text", message.more(len(message.alerts) - shown))
        add("lark_md", " ".join("<at id=%s></at>" % name for name in message.mentioned))
        colour = self.colours.get(message.severity, "orange") if message.firing else "green"
        header = {"template": colour, "title": {"tag": "plain_text", "content": message.title}}
        card = {"config": {"wide_screen_mode": True}, "header": header, "elements": elements}
        return {"msg_type": "interactive", "card": card}

    def short(self, text, channel):
        return {"msg_type": "text", "content": {"text": text}}

    def signed(self, url, body, secret, now):
        stamp = str(int(now))
        digest = hmac.new(("%s\n%s" % (stamp, secret)).encode(), b"", hashlib.sha256).digest()
        return url, dict(body, timestamp=stamp, sign=base64.b64encode(digest).decode())

    def code(self, answer):
        return answer.get("code", answer.get("StatusCode")), answer.get("msg", answer.get("StatusMessage", ""))

    def judged(self, code, says):
        return Outcome("refused", 401, code, says) if code in self.signature else Vendor.judged(self, code, says)


class Markdown(Vendor):
    """Those that take one text of markdown."""

    between = "\n\n"

    def text(self, message, shown, size):
        parts = ["**%s**" % escape_markdown(message.title)]
        for alert in message.alerts[:shown]:
            lines = message.lines(alert, size, escape_markdown)
            lines.append(" · ".join("[%s](%s)" % link for link in message.links(alert)))
            parts.append(self.between.join(line for line in lines if line))
        if shown < len(message.alerts):
            parts.append(message.more(len(message.alerts) - shown))
        called = self.called(message.mentioned)
        return "\n\n".join(parts + ([called] if called else []))

    def called(self, names):
        raise NotImplementedError


class DingTalk(Markdown):
    rated, signature, token = (130101,), (310000,), (300001, 300005)
    long, blocks = (460101, 101002), BLOCK_SECONDS

    def called(self, names):
        return " ".join("@" + name for name in names if name != "all")

    def body(self, message, shown, size):
        names = message.mentioned
        numbers = [name for name in names if re.match(r"\+?\d{11,}$", name)]
        at = {
            "isAtAll": "all" in names,
            "atMobiles": numbers,
            "atUserIds": [name for name in names if name not in numbers and name != "all"],
        }
        text = {"title": cut(message.title, 200), "text": self.text(message, shown, size)}
        return {"msgtype": "markdown", "markdown": text, "at": at}

    def short(self, text, channel):
        return {"msgtype": "text", "text": {"content": text}}

    def signed(self, url, body, secret, now):
        stamp = str(int(now * 1000))
        digest = hmac.new(secret.encode(), ("%s\n%s" % (stamp, secret)).encode(), hashlib.sha256).digest()
        query = urllib.parse.urlencode({"timestamp": stamp, "sign": base64.b64encode(digest).decode()})
        return url + ("&" if "?" in url else "?") + query, body


class WeCom(Markdown):
    rated, token, long = (45009,), (93000,), (40058,)
    limit, between = 4000, "\n"

    def called(self, names):
        return "".join("<@%s>" % name for name in names)

    def body(self, message, shown, size):
        return {"msgtype": "markdown", "markdown": {"content": self.text(message, shown, size)}}

    def weight(self, body):
        return len(body["markdown"]["content"].encode())

    def short(self, text, channel):
        return {"msgtype": "text", "text": {"content": text}}


VENDORS = {"feishu": Feishu(), "dingtalk": DingTalk(), "wecom": WeCom()}


# --- Configuration --------------------------------------------------------------------------------


class Problems(Exception):
    """All that is wrong with a configuration, as lines."""


class Channel:
    """A group bot as it is configured."""

    keys = {
        "type": str,
        "webhook_url": str,
        "sign_secret": str,
        "keyword": str,
        "mention": dict,
        "mention_label": str,
        "language": str,
        "per_minute": int,
        "template": dict,
    }

    def __init__(self, name, given):
        self.name, self.given = name, given
        self.type = given["type"]
        self.vendor = VENDORS[self.type]
        self.url, self.sign = given["webhook_url"], given.get("sign_secret", "")
        self.keyword, self.language = given.get("keyword", ""), given.get("language", "en")
        self.mention, self.mention_label = given.get("mention", {}), given.get("mention_label", "")
        self.per_minute = given.get("per_minute", self.vendor.default_rate)

    def template(self, kind):
        return Text(self.given.get("template", {}).get(kind) or WORDS[self.language][kind])


def wrong_channel(name, given):
    """What is wrong with a channel: place, what was found, what is expected."""
    place = "channels.%s" % name
    if not isinstance(given, dict):
        yield place, type(given).__name__, "a mapping"
        return
    for key, value in given.items():
        kind = Channel.keys.get(key)
        if kind is None:
            yield "%s.%s" % (place, key), "an unknown key", ", ".join(sorted(Channel.keys))
        elif not isinstance(value, kind) or isinstance(value, bool):
            yield "%s.%s" % (place, key), type(value).__name__, kind.__name__
    if given.get("type") not in VENDORS:
        yield "%s.type" % place, given.get("type"), ", ".join(VENDORS)
        return
    vendor = VENDORS[given["type"]]
    if not re.match(r"https?://[^\s/]+/", str(given.get("webhook_url"))):
        yield "%s.webhook_url" % place, "no URL (not shown)", "the bot's URL, with https://"
    if given.get("language", "en") not in WORDS:
        yield "%s.language" % place, given["language"], ", ".join(WORDS)
    if given["type"] == "wecom" and given.get("sign_secret"):
        yield "%s.sign_secret" % place, "a key", "none: WeCom's bots know no signature"
    rate = given.get("per_minute", 1)
    if isinstance(rate, int) and not 1 <= rate <= vendor.rate:
        yield "%s.per_minute" % place, rate, "1 to %d" % vendor.rate
    mention = given.get("mention", {})
    for severity, names in mention.items() if isinstance(mention, dict) else ():
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            yield "%s.mention.%s" % (place, severity), "no list of names", "a list of user ids"
        elif given["type"] == "wecom" and "all" in names:
            yield "%s.mention.%s" % (place, severity), "all", "user ids: WeCom's markdown has no mention of all"
    template = given.get("template", {})
    for kind, text in template.items() if isinstance(template, dict) else ():
        if kind not in PLACEHOLDERS or not isinstance(text, str):
            yield "%s.template.%s" % (place, kind), "no such text", ", ".join(sorted(PLACEHOLDERS))
            continue
        for unknown in Text(text).unknown(kind):
            yield "%s.template.%s" % (place, kind), "${%s}" % unknown, ", ".join(sorted(PLACEHOLDERS[kind]))


KEYS = {"channels": dict, "alertmanager": str, "query": str, "time_zone": str, "serve": dict, "deadman": list}
SERVE_KEYS = ("cert_file", "key_file", "client_ca_file", "client_auth_type", "users")


class Config:
    """The relay's configuration, read whole and judged whole."""

    def __init__(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                given = json.load(file)
        except (OSError, ValueError) as error:
            # Of what could not be parsed, only the place: there are secrets in it.
            says = "line %d: %s" % (error.lineno, error.msg) if hasattr(error, "lineno") else str(error)
            raise Problems("%s: %s" % (path, says))
        if not isinstance(given, dict):
            raise Problems("%s: found no mapping" % path)
        for key, kind in KEYS.items():
            if not isinstance(given.get(key, kind()), kind):
                raise Problems("%s: %s: found %s; expected: %s" % (path, key, type(given[key]).__name__, kind.__name__))
        found = [(key, "an unknown key", ", ".join(KEYS)) for key in sorted(set(given) - set(KEYS))]
        channels, self.serve = given.get("channels", {}), given.get("serve", {})
        for name, channel in channels.items():
            found += wrong_channel(name, channel)
        found += [
            ("serve.%s" % key, "an unknown key", ", ".join(SERVE_KEYS)) for key in set(self.serve) - set(SERVE_KEYS)
        ]
        if found:
            raise Problems("\n".join("%s: %s: found %s; expected: %s" % ((path,) + one) for one in found))
        self.channels = {name: Channel(name, channel) for name, channel in channels.items()}
        self.alertmanager = given.get("alertmanager", "").rstrip("/")
        self.query = given.get("query", "").rstrip("/")
        self.time_zone = given.get("time_zone") or "UTC0"
        self.deadman = [str(name) for name in given.get("deadman", [])]


# --- Sending --------------------------------------------------------------------------------------


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """What a bot redirects to is no bot."""

    def redirect_request(self, *args):
        return None


def post(url, body, seconds=SEND_SECONDS):
    """HTTP status and text of an answer. Raises OSError where there is none in time: whether the name is not found, the
    headers trickle, or the text does."""
    data = json.dumps(body, ensure_ascii=False).encode()
    held = {}

    def work():
        try:
            held["answer"] = _posted(url, data, seconds, held)
        except Exception as error:
            held["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in held:
        raise held["error"]
    if "answer" not in held:
        try:
            held["socket"].shutdown(socket.SHUT_RDWR)
        except (KeyError, OSError):
            pass
        raise socket.timeout("no answer in %d s" % seconds)
    return held["answer"]


def _posted(url, data, seconds, held):
    def kept(base):
        class Connection(base):
            def connect(self):
                base.connect(self)
                held["socket"] = self.sock

        return Connection

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, request):
            return self.do_open(kept(http.client.HTTPConnection), request)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, request):
            return self.do_open(kept(http.client.HTTPSConnection), request)

    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "alert_relay/" + VERSION}
    opener = urllib.request.build_opener(NoRedirect(), Plain(), Secure())
    try:
        answer = opener.open(urllib.request.Request(url, data, headers), timeout=seconds)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.getcode(), answer.read(1 << 16).decode(errors="replace")


def judge(vendor, status, text):
    """What an answer of a bot means."""
    if status == 429 or status >= 500:
        return Outcome("retry", 503, status, "HTTP %d" % status)
    if status >= 300:
        return Outcome("refused", 400, status, "HTTP %d" % status)
    try:
        code, says = vendor.code(json.loads(text))
        code = int(code)
    except (ValueError, TypeError, AttributeError):
        return Outcome("retry", 503, "unreadable", "an answer that is none of a bot's")
    return Outcome("sent", 200, 0, says) if code == 0 else vendor.judged(code, str(says))


class Way:
    """The way to one bot: one message at a time, below its rate, with what came of them."""

    def __init__(self, clock=time.time):
        self.clock, self.lock = clock, threading.Lock()
        self.sent = collections.deque()
        self.blocked_until = 0.0
        self.counts = collections.Counter()
        self.last = collections.deque(maxlen=REMEMBERED)
        self.alerts = self.cut = self.waiting = 0
        self.last_success = self.seconds = 0.0
        self.tries = 0

    @property
    def blocked(self):
        return self.blocked_until > self.clock()

    def _room(self, channel):
        """Whether the bot takes one more message now."""
        now = self.clock()
        while self.sent and self.sent[0] <= now - 60:
            self.sent.popleft()
        burst = channel.vendor.per_second
        return len(self.sent) < channel.per_minute and not (
            burst and len([one for one in self.sent if one > now - 1]) >= burst
        )

    def deliver(self, message):
        """Send a message, or say why not."""
        self.waiting += 1
        try:
            if not self.lock.acquire(timeout=WAIT_SECONDS):
                return self._note(message, Outcome("retry", 503, "busy", "another message is under way"))
            try:
                return self._note(message, self._try(message))
            finally:
                self.lock.release()
        finally:
            self.waiting -= 1

    def _try(self, message):
        channel, vendor = message.channel, message.channel.vendor
        if self.blocked:
            return Outcome(
                "retry", 503, "blocked", "the bot takes nothing for %d s" % (self.blocked_until - self.clock())
            )
        if not self._room(channel):
            return Outcome("retry", 503, "rate", "%d messages in a minute are enough" % channel.per_minute)
        body, shown = vendor.fitted(message)
        outcome = self._send(channel, body)
        if outcome.code in vendor.long:
            text = message.words["long"] % len(message.alerts)
            short = vendor.short(" ".join(filter(None, (text, channel.keyword))), channel)
            again = self._send(channel, short)
            outcome, shown = (again, 0) if again.result == "sent" else (outcome, shown)
        if outcome.code in vendor.rated:
            self.blocked_until = self.clock() + vendor.blocks
        if outcome.result == "sent":
            self.last_success = self.clock()
            self.alerts += len(message.alerts)
            self.cut += len(message.alerts) - shown
        return outcome

    def _send(self, channel, body):
        vendor, url = channel.vendor, channel.url
        if channel.sign:
            url, body = vendor.signed(url, body, channel.sign, self.clock())
        self.sent.append(self.clock())
        begun = time.monotonic()
        try:
            return judge(vendor, *post(url, body))
        except Exception as error:  # whatever answers there: Alertmanager is to try again
            reason = getattr(error, "reason", error)  # urllib's own has the real one within
            says = getattr(reason, "strerror", None) or ("no answer in time" if "time" in str(reason) else "no answer")
            return Outcome("retry", 503, "unreachable", says)
        finally:
            self.seconds += time.monotonic() - begun
            self.tries += 1

    def _note(self, message, outcome):
        self.counts[outcome.result, str(outcome.code)] += 1
        outcome.says = without_secrets(outcome.says)
        prints = [str(alert.get("fingerprint", "")) for alert in message.alerts]
        self.last.append(
            {
                "time": self.clock(),
                "result": outcome.result,
                "code": outcome.code,
                "says": outcome.says,
                "alerts": prints[:200],
            }
        )
        level = {"sent": "info", "retry": "warn", "refused": "error"}[outcome.result]
        log(
            level,
            channel=message.channel.name,
            result=outcome.result,
            code=outcome.code,
            alerts=len(message.alerts),
            says=outcome.says,
        )
        return outcome


def without_secrets(text):
    """What a bot says, without addresses and long words that may be a key."""
    return cut(re.sub(r"https?://\S+|[A-Za-z0-9+/=_-]{20,}", "...", text), 300)


class Relay:
    """Channels and their ways, for as long as the process lives."""

    def __init__(self, path):
        self.path = path
        self.ways, self.canaries = {}, collections.OrderedDict()
        self.lock = threading.Lock()
        self.begun = time.time()
        self.alive = {}  # other site -> when its Watchdog came last
        self.loaded, self.loaded_at = 0, 0.0
        self.under_way = 0
        self.config = None
        self.load()

    def load(self):
        """Read the configuration. A broken one is refused where there is another, and raised where there is none."""
        try:
            config = Config(self.path)
        except Problems as problems:
            self.loaded = 0
            if self.config is None:
                raise
            for line in str(problems).splitlines():
                log("error", says=line)
            return
        os.environ["TZ"] = config.time_zone
        time.tzset()
        # Counters and blocks stay with a bot, which its address is.
        old = self.config.channels if self.config else {}
        self.ways = {
            name: self.ways[name] if name in old and old[name].url == channel.url else Way()
            for name, channel in config.channels.items()
        }
        self.config = config
        self.loaded, self.loaded_at = 1, time.time()
        log("info", says="loaded %d channels" % len(config.channels))

    def notified(self, name, payload):
        """What to answer to a notification for a channel: status and words."""
        config = self.config
        channel, way = config.channels.get(name), self.ways.get(name)
        if channel is None or way is None:
            return 404, "no channel %s" % clean(name)
        message = Message(channel, payload, config.alertmanager, config.query)
        outcome = way.deliver(message)
        return outcome.status, "%s %s %s" % (outcome.result, outcome.code, outcome.says)

    def canary(self, payload):
        """Count what arrived. Nobody is told."""
        with self.lock:
            for alert in payload["alerts"]:
                name = str(alert["labels"].get("canary_id", ""))
                self.canaries[name] = self.canaries.get(name, 0) + 1
                while len(self.canaries) > CANARIES:
                    self.canaries.popitem(last=False)
        return 200, "counted"

    def watchdog(self, name):
        """A sign of life of another site."""
        if name not in self.config.deadman:
            return 404, "no site %s in deadman_sites" % clean(name)
        self.alive[name] = time.time()
        return 200, "seen"

    def status(self):
        with self.lock:
            canaries = dict(self.canaries)
        channels = {
            name: {"blocked_until": way.blocked_until if way.blocked else None, "last": list(way.last)}
            for name, way in self.ways.items()
        }
        return {"channels": channels, "canaries": canaries}

    def metrics(self):
        lines = []

        def add(name, kind, text, *samples):
            lines.extend(["# HELP %s %s" % (name, text), "# TYPE %s %s" % (name, kind)])
            for labels, value in samples:
                pairs = ",".join(
                    "%s=%s" % (key, json.dumps(str(one), ensure_ascii=False)) for key, one in labels.items()
                )
                lines.append("%s%s %s" % (name, "{%s}" % pairs if pairs else "", repr(value)))

        ways, config = self.ways, self.config

        def each(value):
            return [({"channel": name}, value(way)) for name, way in ways.items()]

        python = "%d.%d.%d" % sys.version_info[:3]
        add("alert_relay_build_info", "gauge", "Its version.", ({"version": VERSION, "python": python}, 1))
        total = []
        for name, way in ways.items():
            # From the start on, so that the first one is an increase.
            counts = dict.fromkeys([("sent", "0")], 0)
            counts.update(way.counts)
            kind = config.channels[name].type if name in config.channels else ""
            for (result, code), value in counts.items():
                total.append(({"channel": name, "type": kind, "result": result, "code": code}, value))
        add("alert_relay_messages_total", "counter", "Messages by what became of them, and the bot's code.", *total)
        for result in ("sent", "retry", "refused"):
            name = "alert_relay_%s_total" % result
            counted = [
                ({"channel": one}, sum(count for (each_, _), count in way.counts.items() if each_ == result))
                for one, way in ways.items()
            ]
            add(name, "counter", "The same, whatever the code: there from the start.", *counted)
        add("alert_relay_alerts_total", "counter", "Alerts in messages that were sent.", *each(lambda way: way.alerts))
        add("alert_relay_alerts_cut_total", "counter", "Those that did not fit in.", *each(lambda way: way.cut))
        add(
            "alert_relay_last_success_timestamp_seconds",
            "gauge",
            "When the bot last took a message.",
            *each(lambda way: way.last_success),
        )
        add("alert_relay_blocked", "gauge", "Whether the bot takes nothing now.", *each(lambda way: int(way.blocked)))
        add("alert_relay_waiting", "gauge", "Notifications under way.", *each(lambda way: way.waiting))
        add("alert_relay_send_duration_seconds_sum", "counter", "Time at the bot.", *each(lambda way: way.seconds))
        add("alert_relay_send_duration_seconds_count", "counter", "Tries at the bot.", *each(lambda way: way.tries))
        # Before the first one, from when the relay listens.
        alive = [({"site": name}, self.alive.get(name, self.begun)) for name in config.deadman]
        add("alert_relay_deadman_timestamp_seconds", "gauge", "When the Watchdog of another site came last.", *alive)
        loaded = "alert_relay_config_last_reload_success"
        add(loaded + "ful", "gauge", "Whether the last load was.", ({}, self.loaded))
        add(loaded + "_timestamp_seconds", "gauge", "When that was.", ({}, self.loaded_at))
        add("process_start_time_seconds", "gauge", "When it began.", ({}, self.begun))
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        add("process_resident_memory_bytes", "gauge", "Its memory.", ({}, pages * os.sysconf("SC_PAGE_SIZE")))
        return "\n".join(lines) + "\n"


# --- Listening ------------------------------------------------------------------------------------


def alerts_of(text):
    """Alertmanager's notification. Raises ValueError, with words, where it is none."""
    try:
        payload = json.loads(text.decode("utf-8", "replace"))
    except ValueError:
        raise ValueError("no JSON")
    alerts = payload.get("alerts") if isinstance(payload, dict) else None
    if not isinstance(alerts, list) or not alerts:
        raise ValueError("no alerts in it")
    for alert in alerts:
        if not isinstance(alert, dict):
            raise ValueError("an alert that is no mapping")
        for key in ("labels", "annotations"):
            pairs = alert.setdefault(key, {})
            if not isinstance(pairs, dict):
                raise ValueError("%s that are no mapping" % key)
            alert[key] = {str(name): str(value) for name, value in pairs.items()}
        alert["status"] = "resolved" if alert.get("status") == "resolved" else "firing"
    return payload


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server_version, sys_version = "alert_relay", ""

    def log_message(self, *args):
        """What matters is logged where it happens."""

    def answer(self, status, text, kind="text/plain; charset=utf-8", headers=()):
        body = text.encode()
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    @property
    def relay(self):
        return self.server.relay


class Webhook(Handler):
    """What Alertmanager posts to."""

    def do_POST(self):
        relay = self.relay
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self.close_connection = True
            return self.answer(411, "Content-Length is missing\n")
        if not 0 <= length <= LARGEST:
            self.close_connection = True
            return self.answer(413, "more than %d bytes\n" % LARGEST)
        with relay.lock:
            relay.under_way += 1
        try:
            try:
                payload = alerts_of(self.rfile.read(length))
            except ValueError as error:
                return self.answer(400, "%s\n" % error)
            name = urllib.parse.unquote(self.path.partition("?")[0]).strip("/")
            status, says = relay.canary(payload) if name == "-/canary" else relay.notified(name, payload)
            self.answer(status, says + "\n")
        finally:
            with relay.lock:
                relay.under_way -= 1

    def do_GET(self):
        if self.path == "/status":
            return self.answer(200, json.dumps(self.relay.status(), ensure_ascii=False), "application/json")
        self.answer(404, "POST /CHANNEL, or GET /status\n")


class Web(Handler):
    """What Prometheus scrapes."""

    def do_GET(self):
        if not self.allowed():
            return self.answer(401, "Unauthorized\n", headers=[("WWW-Authenticate", "Basic")])
        path = self.path.partition("?")[0]
        if path == "/metrics":
            return self.answer(200, self.relay.metrics(), "text/plain; version=0.0.4; charset=utf-8")
        if path in ("/-/healthy", "/-/ready"):
            return self.answer(200, "OK\n")
        self.answer(404, "/metrics, /-/healthy\n")

    def do_POST(self):
        """The Watchdog of another site, whose dead man's switch this one is."""
        if not self.allowed():
            self.close_connection = True
            return self.answer(401, "Unauthorized\n", headers=[("WWW-Authenticate", "Basic")])
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST:
            self.close_connection = True
            return self.answer(411, "Content-Length is missing, or too large\n")
        self.rfile.read(int(length))
        match = re.match(r"/deadman/([\w.-]+)$", self.path)
        status, says = self.relay.watchdog(match.group(1)) if match else (404, "/deadman/SITE")
        return self.answer(status, says + "\n")

    def allowed(self):
        users = self.relay.config.serve.get("users")
        if not users:
            return True
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        try:
            pair = base64.b64decode(given, validate=True)
        except ValueError:
            return False
        user = users.get(pair.partition(b":")[0].decode(errors="replace"), {})
        wanted = user.get("sha256_password", "")
        found = hashlib.sha256(pair).hexdigest()
        return kind.lower() == "basic" and hmac.compare_digest(found, wanted)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = allow_reuse_address = True
    request_queue_size = 1 << 16  # as many as the kernel lets wait (net.core.somaxconn)

    def __init__(self, address, handler, relay):
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        self.relay, self._context, self._made_of = relay, None, None
        if ":" in host:
            self.address_family = socket.AF_INET6
        socketserver.TCPServer.__init__(self, (host, int(port)), handler, bind_and_activate=False)
        if ":" in host:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.server_bind()
        self.server_activate()

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, (OSError, ssl.SSLError)):  # a client that went away
            log("error", says="%s: %s" % (type(error).__name__, error))


class WebServer(Server):
    """The port of metrics, with TLS where the site has it. Certificates are read again when their files change."""

    def finish_request(self, request, client_address):
        serve = self.relay.config.serve
        if serve.get("cert_file"):
            request.settimeout(IDLE_SECONDS)
            if request.recv(1, socket.MSG_PEEK) not in (b"\x16", b""):  # no handshake: the words of the other daemons
                text = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
                request.sendall(text)
                return
            request = self.context(serve).wrap_socket(request, server_side=True)
        Server.finish_request(self, request, client_address)

    def context(self, serve):
        try:
            return self._made(serve)
        except (OSError, ValueError, KeyError) as error:
            log("error", says="certificate: %s" % error)
            if self._context is None:
                raise
            return self._context  # the one of before

    def _made(self, serve):
        names = [serve[key] for key in ("cert_file", "key_file", "client_ca_file") if serve.get(key)]
        made_of = (serve, [os.stat(name).st_mtime for name in names])
        if made_of != self._made_of:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS)
            context.options |= ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
            context.load_cert_chain(serve["cert_file"], serve["key_file"])
            if serve.get("client_ca_file"):
                context.load_verify_locations(serve["client_ca_file"])
                asked = serve.get("client_auth_type") == "RequireAndVerifyClientCert"
                context.verify_mode = ssl.CERT_REQUIRED if asked else ssl.CERT_OPTIONAL
            self._context, self._made_of = context, made_of
        return self._context


# --- The process ----------------------------------------------------------------------------------

_level = "info"
_log_lock = threading.Lock()


def log(level, **pairs):
    """One line of logfmt."""
    if LEVELS.index(level) < LEVELS.index(_level):
        return
    said = [
        "%s=%s" % (key, value if re.match(r"[\w./-]+$", str(value)) else json.dumps(str(value), ensure_ascii=False))
        for key, value in pairs.items()
    ]
    with _log_lock:
        sys.stderr.write(" ".join(["level=" + level] + said) + "\n")
        sys.stderr.flush()


def loopback(address):
    if not re.match(r"(127(\.\d{1,3}){3}|\[::1\]):\d{1,5}$", address):
        raise argparse.ArgumentTypeError("a port of 127.0.0.1 or [::1]: whoever reaches it can write to the chats")
    return address


def arguments(words):
    parser = argparse.ArgumentParser(prog="alert_relay", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config.file", dest="config", required=True, metavar="FILE")
    parser.add_argument("--config.check", dest="check", action="store_true", help="read the configuration, and end")
    parser.add_argument("--web.listen-address", dest="web", default="0.0.0.0:9096", help="metrics and health")
    parser.add_argument("--webhook.listen-address", dest="webhook", default="127.0.0.1:9097", type=loopback)
    parser.add_argument("--log.level", dest="level", default="info", choices=LEVELS)
    parser.add_argument("--version", action="version", version="alert_relay " + VERSION)
    return parser.parse_args(words)


def main(words=None):
    global _level
    given = arguments(words)
    _level = given.level
    try:
        if given.check:
            Config(given.config)
            return 0
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM, signal.SIGINT})
        relay = Relay(given.config)
    except Problems as problems:
        print(problems, file=sys.stderr)
        return 1
    servers = [Server(given.webhook, Webhook, relay), WebServer(given.web, Web, relay)]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    log("info", says="listens at %s, and for Alertmanager at %s" % (given.web, given.webhook))
    while signal.sigwait({signal.SIGHUP, signal.SIGTERM, signal.SIGINT}) == signal.SIGHUP:
        relay.load()
    for server in servers:
        server.shutdown()
        server.server_close()
    until = time.monotonic() + STOP_SECONDS
    while relay.under_way and time.monotonic() < until:
        time.sleep(0.05)
    log("info", says="ends, %d notifications under way" % relay.under_way)
    return 0


if __name__ == "__main__":
    sys.exit(main())
