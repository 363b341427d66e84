"""A stand-in for the group bots of Feishu, DingTalk and WeCom, which cannot be had here.

It checks what the vendors' pages say: shape and required fields, the signature after one decoding of the URL, a clock
within an hour, keyword, bytes, and messages in a minute with DingTalk's ten-minute block. As theirs it answers 200 to
what it refuses, with a code. Each message that was taken is one JSON object a line in a file: time, bot (`feishu/lab`),
body. ``GET /records`` returns all of them, ``POST /reset`` forgets them and how bots behave, ``POST /behave``
({"feishu/lab": {"keywords": ["prod"]}}) says what a bot asks for, and how it fails.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

HOUR, BLOCK, MINUTE = 3600, 600, 60
PATHS = {
    "/open-apis/bot/v2/hook/": "feishu",
    "/robot/send": "dingtalk",
    "/cgi-bin/webhook/send": "wecom",
}
RATES = {"feishu": 100, "dingtalk": 20, "wecom": 20}
BYTES = {"feishu": 20 * 1024, "dingtalk": 20_000}
CODES = {
    "feishu": {"shape": 9499, "sign": 19021, "keyword": 19024, "rate": 11232, "long": 9499, "token": 19001, "busy": -1},
    "dingtalk": {
        **{"shape": 400402, "sign": 310000, "keyword": 310000, "rate": 130101, "long": 460101, "token": 300001},
        "busy": -1,
    },
    "wecom": {"shape": 40058, "rate": 45009, "long": 40058, "token": 93000, "busy": -1},
}
WORDS = {
    **{"shape": "bad request", "sign": "sign not match or timestamp is expired", "keyword": "Key Words Not Found"},
    **{"rate": "send too fast", "long": "message too long", "token": "token is not exist", "busy": "system busy"},
}

Answer = tuple[int, dict[str, Any] | str]


@dataclass
class Bot:
    """What one bot asks for, and how it fails."""

    sign: str = ""
    keywords: list[str] = field(default_factory=list)
    rate: int = 0
    fails: str = ""
    """What it answers whatever comes: a word of `WORDS`, `html`, `timeout`, or a number of HTTP."""
    times: int = 0
    """How often it fails before it is well again; 0 for always."""
    sent: list[float] = field(default_factory=list)
    blocked_until: float = 0.0


class Bots:
    """All bots: `handle` is a pure function of request and clock, but for what they remember."""

    def __init__(self, clock: Callable[[], float] = time.time, file: Path | None = None) -> None:
        self.clock, self.bots, self.taken, self.requests, self.file = clock, {}, [], 0, file
        self._lock = threading.Lock()

    bots: dict[str, Bot]
    taken: list[dict[str, Any]]

    def behave(self, given: dict[str, dict[str, Any]]) -> None:
        for name, how in given.items():
            self.bots[name] = Bot(**how)

    def reset(self) -> None:
        self.taken.clear()
        for bot in self.bots.values():
            bot.fails, bot.sent, bot.blocked_until = "", [], 0.0

    def handle(self, path: str, body: bytes) -> Answer:
        with self._lock:
            return self._handle(path, body)

    def _handle(self, path: str, body: bytes) -> Answer:
        self.requests += 1
        url = urlsplit(path)
        vendor = next((each for start, each in PATHS.items() if url.path.startswith(start)), None)
        if vendor is None:
            return 404, "not found"
        query = dict(parse_qsl(url.query))
        place = {"feishu": url.path.rpartition("/")[2], "dingtalk": query.get("access_token")}
        name = f"{vendor}/{place.get(vendor, query.get('key'))}"
        bot = self.bots.get(name)
        if bot is None:
            return self._says(vendor, "token")
        if bot.fails:
            fails, bot.times = bot.fails, bot.times - 1
            if bot.times == 0:
                bot.fails = ""
            return self._failed(vendor, fails)
        if refused := self._refused(vendor, bot, query, body):
            return self._says(vendor, refused)
        self.taken.append({"time": self.clock(), "bot": name, "body": json.loads(body)})
        if self.file:
            with self.file.open("a") as file:
                file.write(json.dumps(self.taken[-1], ensure_ascii=False) + "\n")
        return self._says(vendor, "")

    def _failed(self, vendor: str, fails: str) -> Answer:
        if fails == "html":
            return 200, "<html><body>gateway</body></html>"
        if fails.isdigit():
            return int(fails), "no"
        return self._says(vendor, fails) if fails in WORDS else (0, "")

    def _says(self, vendor: str, word: str) -> Answer:
        code, text = (
            (CODES[vendor].get(word, 1), WORDS[word]) if word else (0, "ok" if vendor != "feishu" else "success")
        )
        return 200, {"code": code, "msg": text} if vendor == "feishu" else {"errcode": code, "errmsg": text}

    def _refused(self, vendor: str, bot: Bot, query: dict[str, str], body: bytes) -> str:
        now = self.clock()
        try:
            data = json.loads(body)
            text = _text(vendor, data)
        except (ValueError, KeyError, TypeError, AssertionError):
            return "shape"
        if bot.sign and not _signed(vendor, bot.sign, query, data, now):
            return "sign"
        if bot.keywords and not any(word in text for word in bot.keywords):
            return "keyword"
        size = len(body)
        limit = BYTES.get(vendor) or (4096 if data["msgtype"] == "markdown" else 2048)
        if vendor == "wecom":
            size = len(text.encode())
        if size > limit:
            return "long"
        bot.sent = [one for one in bot.sent if one > now - MINUTE]
        if now < bot.blocked_until or len(bot.sent) >= (bot.rate or RATES[vendor]):
            if vendor == "dingtalk" and now >= bot.blocked_until:
                bot.blocked_until = now + BLOCK
            return "rate"
        bot.sent.append(now)
        return ""


def _text(vendor: str, data: dict[str, Any]) -> str:
    """What people read in a message. KeyError, TypeError or AssertionError where a required field is missing."""
    if vendor == "feishu":
        if data["msg_type"] == "text":
            return data["content"]["text"]
        card = data["card"]
        parts = [card["header"]["title"]["content"]]
        for element in card["elements"]:
            assert element["tag"] == "div" and element["text"]["tag"] in ("plain_text", "lark_md")
            parts.append(element["text"]["content"])
        assert all(isinstance(part, str) and part for part in parts) and card["elements"]
        return "\n".join(parts)
    content = data[data["msgtype"]]
    if data["msgtype"] == "text":
        return content["content"]
    if vendor == "wecom":
        return content["content"]
    assert content["title"] and content["text"]
    assert isinstance(data.get("at", {}).get("isAtAll", False), bool)
    return content["title"] + content["text"]


def _signed(vendor: str, secret: str, query: dict[str, str], data: dict[str, Any], now: float) -> bool:
    if vendor == "feishu":
        stamp, sign = str(data.get("timestamp", "")), data.get("sign", "")
        digest = hmac.new(f"{stamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
        seconds = float(stamp or 0)
    else:
        stamp, sign = query.get("timestamp", ""), query.get("sign", "")
        digest = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()
        seconds = float(stamp or 0) / 1000
    return base64.b64encode(digest).decode() == sign and abs(now - seconds) < HOUR


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bots: Bots

    def _answer(self, status: int, content: Any) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if 300 <= status < 400:
            self.send_header("Location", "/records")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer(*((200, self.bots.taken) if self.path == "/records" else (404, "")))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/reset":
            self.bots.reset()
            return self._answer(200, "")
        if self.path == "/behave":
            self.bots.behave(json.loads(body))
            return self._answer(200, "")
        status, answer = self.bots.handle(self.path, body)
        if status == 0:  # until whoever asks gives up
            time.sleep(30)
            self.close_connection = True
            return None
        return self._answer(status, answer)

    def log_message(self, *args: Any) -> None:
        """The record is the log."""


def server(address: str, port: int, bots: Bots) -> ThreadingHTTPServer:
    handler = type("Handler", (Handler,), {"bots": bots})
    made = ThreadingHTTPServer((address, port), handler)
    made.daemon_threads = True
    return made


def serve(address: str, port: int, file: Path, bots: dict[str, dict[str, Any]]) -> None:
    """Be `bots`, until the process is ended."""
    standing = Bots(file=file)
    standing.behave(bots)
    server(address, port, standing).serve_forever()
