"""A webhook receiver that records what arrives.

Every POST is one JSON object a line in ``.lab/sink.jsonl``: time (seconds since 1970), path,
client, body (decoded where it is JSON). ``GET /records`` returns all of them, ``GET /count`` their
number, ``POST /reset`` forgets them.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.lab import plan
from tests.lab.plan import Lab


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lab: Lab
    lock = threading.Lock()

    def _records(self) -> list[Any]:
        with self.lock:
            text = self.lab.sink_file.read_text() if self.lab.sink_file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def _answer(self, code: int, content: Any = None) -> None:
        body = b"" if content is None else json.dumps(content).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/records":
            self._answer(200, self._records())
        elif self.path == "/count":
            self._answer(200, len(self._records()))
        else:
            self._answer(404)

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
        if self.path == "/reset":
            with self.lock:
                self.lab.sink_file.write_text("")
            return self._answer(200)
        try:
            body = json.loads(text)
        except ValueError:
            body = text
        record = {
            "time": time.time(),
            "path": self.path,
            "client": self.client_address[0],
            "body": body,
        }
        with self.lock, self.lab.sink_file.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self._answer(200)

    def log_message(self, *args: Any) -> None:
        """The record is the log."""


def serve(lab: Lab) -> None:
    """Record webhooks until the process is ended."""
    _Handler.lab = lab
    server = ThreadingHTTPServer((lab.gateway, plan.SINK_PORT), _Handler)
    server.daemon_threads = True
    server.serve_forever()
