"""What upstream has that is newer: asked of a server on loopback, which answers as upstream's links do."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from prometheus_ha.deploys import newer as command
from prometheus_ha.deploys.lib.site.releases import RELEASES

LATEST = {
    "prometheus/prometheus": "v99.1.0",
    "thanos-io/thanos": f"v{RELEASES['current']['thanos']}",
    "prometheus/node_exporter": "v0.1.0",
    "minio/minio": "RELEASE.2099-01-01T00-00-00Z",
    "seaweedfs/seaweedfs": RELEASES["current"]["seaweedfs"],
}


class _Upstream(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        repository = self.path.removeprefix("/").removesuffix("/releases/latest")
        tag = LATEST.get(repository)
        self.send_response(302 if tag else 404)
        if tag:
            self.send_header("Location", f"https://github.com/{repository}/releases/tag/{tag}")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream():
    server = HTTPServer(("127.0.0.1", 0), _Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_newer_ones_are_told_from_the_others(upstream, capsys):
    assert command.main(["current", upstream]) == 2, "two could not be asked"
    lines = {line.split()[1]: line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("newer")}
    assert set(lines) == {"prometheus", "minio"}
    assert lines["prometheus"][2:] == [
        *(RELEASES["current"]["prometheus"], "99.1.0"),
        "https://github.com/prometheus/prometheus/releases",
    ]


def test_who_cannot_be_asked_is_named(capsys):
    assert command.main(["current", "http://127.0.0.1:9"]) == 2
    out = capsys.readouterr().out
    assert out.count("?") == len(RELEASES["current"]) and "ConnectionError" in out


def test_an_unknown_set_is_refused(capsys):
    assert command.main(["newest"]) == 2
    assert "found 'newest', expected: current, reference, migration" in capsys.readouterr().err
