"""Several questions in one command, and their answers."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.facts.http import Answer, Call, data, metric, metrics, only_metrics, script, split


class Daemon(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pages = {
        "/ok": (200, b'{"status": "success", "data": {"a": "==[status]== 500"}}'),
        "/refused": (503, b"Service\nUnavailable"),
        "/metrics": (200, b'# HELP up x\nup 1\nupper 2\nup{a="b"} 3\n'),
        "/user": (200, b""),
    }

    def do_GET(self) -> None:
        status, body = self.pages[self.path]
        if self.path == "/user":
            body = self.headers.get("Authorization", "").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Daemon)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def answers(command: str) -> dict[str, Answer]:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return split(done.stdout.splitlines())


def test_one_command_asks_all(url):
    found = answers(
        script(
            url + "/",
            [
                Call("first", "/refused"),
                Call("second", "/ok"),
                Call("metrics", "/metrics", only_metrics("up")),
            ],
        )
    )
    assert found["first"].problem == "HTTP 503: Service Unavailable"
    assert found["second"].json()["data"] == {"a": "==[status]== 500"}
    assert found["metrics"].body == 'up 1\nup{a="b"} 3'


def test_proxy_and_curlrc_of_the_host_are_no_part_of_it(url, tmp_path, monkeypatch):
    (tmp_path / ".curlrc").write_text("fail-early\nurl = http://127.0.0.1:1/\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert answers(script(url, [Call("first", "/ok")]))["first"].ok


def test_credentials_come_from_a_file(url, tmp_path):
    config = tmp_path / "a file.curl"
    config.write_text('user = "monitor:hunter2"\n')
    command = script(url, [Call("first", "/user")], ("--config", str(config)))
    assert "hunter2" not in command
    assert answers(command)["first"].body == "Basic bW9uaXRvcjpodW50ZXIy"


def test_the_rest_is_not_asked_when_nobody_answers():
    found = answers(script("http://127.0.0.1:1", [Call("first", "/a"), Call("second", "/b")]))
    assert list(found) == ["first"]
    assert not found["first"].ok
    assert found["first"].problem.startswith("no connection to 127.0.0.1:1")


def test_a_host_without_curl_says_so(monkeypatch):
    command = script("http://127.0.0.1:1", [Call("first", "/a")]).replace("curl -q", "no-curl -q")
    found = answers(command)["first"]
    assert found.status == 0
    assert "not found" in found.problem


def test_an_answer_that_was_cut_off_is_not_taken():
    found = split(
        [
            "==[name]== config",
            '{"status":"succ',
            "==[status]== 200",
            "curl: (18) transfer closed with 3 bytes remaining to read",
            "==[exit]== 18",
        ]
    )["config"]
    assert not found.ok
    assert found.problem.startswith("transfer closed with 3 bytes")


def test_text_of_another_kind_is_refused():
    with pytest.raises(FactProcessError, match="Permission denied"):
        split(["sh: 1: Permission denied"])


@pytest.mark.parametrize("body", ["<html>", '{"data": {}}', '{"status": "error", "data": 1}', "[]"])
def test_an_api_that_answers_200_and_not_in_its_form(body):
    with pytest.raises(FactProcessError):
        data({"config": Answer(200, body)}, "config", {})


def test_a_refusal_is_kept_as_the_reason():
    errors: dict[str, str] = {}
    assert data({"config": Answer(401, "Unauthorized")}, "config", errors) is None
    assert data({}, "flags", errors) is None
    assert errors == {"config": "HTTP 401: Unauthorized", "flags": "not asked"}


def test_metrics_page():
    samples = metrics(
        "# TYPE a gauge\n"
        "a 1\n"
        'a{x="1",y="say \\"hi\\", {z}\\n\\\\"} 2.5e3 1700000000000\n'
        'a{x="1"} NaN\n'
        "b +Inf\n"
        "\n"
        "curl: (28) timed out\n"
    )
    assert [sample.name for sample in samples] == ["a", "a", "a", "b"]
    assert samples[1].labels == {"x": "1", "y": 'say "hi", {z}\n\\'}
    assert metric(samples[:2], "a") == 2501
    assert metric(samples[:2], "a", x="1") == 2500
    assert metric(samples, "b") == float("inf")
    assert metric(samples, "c") is None


def test_importing_the_facts_patches_nothing():
    code = (
        "import prometheus_ha.facts.prometheus, prometheus_ha.facts.timesync, gevent.monkey as m;"
        "assert not any(map(m.is_module_patched, ('socket', 'time', 'os', 'threading')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_of_several_words_is_one_name():
    """Unquoted, its second word would be taken for the URL."""
    text = script("http://127.0.0.1:1", [Call("other am-2", "/-/ready")])
    assert "ask 'other am-2' http://127.0.0.1:1/-/ready" in text
