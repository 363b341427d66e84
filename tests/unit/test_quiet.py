"""What a run prints: what is of interest, once."""

from __future__ import annotations

import io
import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest

from prometheus_ha.deploys.lib.run import plan, quiet, trials
from tests.unit.example_site import example_site

HOSTS = {name: SimpleNamespace(components=("a", "b")) for name in ("prom-1", "prom-2", "am-1")}


class _Shown(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(re.sub(r"\x1b\[[0-9;]*m", "", str(record.msg)))


@pytest.fixture
def shown(monkeypatch):
    """The lines that are printed, with a logger and a filter of their own."""
    logger, handler = logging.Logger("a run", logging.INFO), _Shown()
    logger.addHandler(handler)
    monkeypatch.setattr(quiet, "logger", logger)
    monkeypatch.setattr(quiet, "_filters", [])
    quiet.install(HOSTS)
    return SimpleNamespace(log=logger, lines=handler.lines)


def step(shown: Any, title: str, *said: tuple[str, str], done: str = "No changes") -> None:
    shown.log.info(f"--> Starting operation: \x1b[1m{title}\x1b[0m ")
    for host, text in said:
        shown.log.info(f"[\x1b[1m{host}\x1b[0m]   {text}", extra=quiet.TOGETHER)
    for host in HOSTS:
        shown.log.info(f"[{host}]   \x1b[36m{done}\x1b[0m")


def heads(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+ s", "0 s", line) for line in lines]


def test_what_is_of_no_interest_is_not_printed(shown):
    for line in ("--> Connecting to hosts...", "[prom-1] Connected", "[am-1]  Ready: deploys/site.py", "--> Results:"):
        shown.log.info(line)
    step(shown, "base")
    step(shown, "kernel")
    quiet.flush()
    assert shown.lines == []


def test_hosts_that_do_the_same_are_one_line(shown):
    step(shown, "base", *((host, f"base: user {name}") for host in HOSTS for name in ("a", "b")), done="Success")
    step(shown, "kernel", ("am-1", "kernel: swappiness"))
    quiet.flush()
    assert heads(shown.lines) == [
        "--> 0 s: base",
        "3 hosts (prom-1, prom-2, am-1): user a; user b",
        "--> 0 s: kernel",
        "am-1: swappiness",
    ]


def test_who_waits_and_who_has_his_turn_is_told_at_once(shown):
    shown.log.info(f"--> Starting operation: {plan.turn('prometheus', 'prom-1')}")
    shown.log.info("[prom-1] prometheus: restart", extra=quiet.TOGETHER)
    assert heads(shown.lines) == ["--> 0 s: prometheus: turn of prom-1", "[prom-1] prometheus: restart"]
    shown.log.info("--> Starting operation: rule: all members in one step")
    shown.log.info("[ring-1] rule does its job: waiting, not ready")
    assert heads(shown.lines)[-2:] == [
        "--> 0 s: rule: all members in one step",
        "[ring-1] rule does its job: waiting, not ready",
    ]


def test_errors_and_tables_are_printed_where_they_come(shown):
    shown.log.info("--> Starting operation: prometheus: stage and check")
    shown.log.info("[prom-2] prometheus: file a", extra=quiet.TOGETHER)
    shown.log.error("[prom-1] unclosed left parenthesis")
    for line in ("fail  host  check", "", "2 daemons"):
        shown.log.info(line)
    assert heads(shown.lines) == [
        "--> 0 s: prometheus: stage and check",
        "prom-2: file a",
        *("fail  host  check", "", "2 daemons"),
    ]


SITE = example_site()


def run(changing: tuple[str, ...] = (), **failed: str) -> Any:
    found: dict[str, list[str]] = {}
    for host, name in failed.items():
        found.setdefault(name, []).append(host.replace("_", "-"))
    return SimpleNamespace(
        changing=set(changing),
        site=SimpleNamespace(hosts=HOSTS, running=SITE.running, endpoint=SITE.endpoint),
        command_of=lambda deploy: f"pyinfra -y inventory.py deploys/{deploy}.py",
        record={"hosts": list(HOSTS), "failed": {}},
        failed_on=found,
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (run(), "Nothing to do: 3 hosts, 6 daemons, 5 s"),
        (run(("prom-1",)), "Done in 5 s: 1 of 3 hosts were changed"),
        (run(prom_1="prometheus: stage and check"), "FAILED in 5 s: prometheus: stage and check on prom-1"),
    ],
)
def test_it_ends_with_what_came_of_it(given, says):
    first, *more = quiet.closing(given, 5.2)
    assert first == says
    if "Done" in says:
        assert more == [
            "queries: http://10.0.0.41:10903 http://10.0.0.42:10903",
            "alerts: http://10.0.0.21:9093 http://10.0.0.22:9093 http://10.0.0.23:9093",
            "see whether all is well: pyinfra -y inventory.py deploys/verify.py",
        ]
    if "FAILED" in says:
        assert more == [
            "the reason stands above, where it failed",
            "changed: no host",
            "mend it, and run again: it goes on with what is left",
        ]


def test_dead_hosts_are_named():
    given = run(("prom-1",))
    given.record["failed"] = {"am-1": "connect"}
    assert "not reached, and left as they are: am-1" in quiet.closing(given, 5)


def test_failures_come_once_and_last(shown):
    shown.log.info("--> Starting operation: prometheus: stage and check")
    for host in ("prom-2", "prom-1"):
        for line in (
            "Checking /etc/prometheus/prometheus.yml",
            " SUCCESS: 1 rule files found",
            "  FAILED:",
            "unclosed (",
        ):
            shown.log.error(f"[{host}] {line}")
    shown.log.error("[am-1] Error: executed 0 commands")
    shown.log.info("--> Starting operation: querier: stage and check")
    assert shown.lines == []
    quiet.flush()
    assert shown.lines == ["prometheus: stage and check: prom-1, prom-2:", "    FAILED:", "    unclosed ("]
    quiet.flush()
    assert len(shown.lines) == 3


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["user p", "directory a", "directory b", "file x"], ["user p", "2 directories", "file x"]),
        (["file a", "enable p", "daemon-reload", "start p: it is absent"], ["file a", "start p"]),
        (["daemon-reload"], ["daemon-reload"]),
        (["fetch http://a/b/c.tar.gz"], ["fetch c.tar.gz"]),
        (["fetch http://a/b/c.tar.gz", "fetch http://a/b/d.tar.gz"], ["2 archives fetched"]),
    ],
)
def test_what_is_of_one_kind_is_counted(lines, said):
    assert quiet.summed_up(lines) == said


def test_who_waits_is_printed_now_and_then(shown, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(quiet.time, "monotonic", lambda: now[0])
    shown.log.info("--> Starting operation: prometheus: turn of prom-1")
    for second in range(0, 65, 5):
        now[0] = float(second)
        shown.log.info(f"[prom-1] prometheus does its job: waiting, {second} of 60")
    assert [line for line in shown.lines if "waiting" in line] == [
        f"[prom-1] prometheus does its job: waiting, {second} of 60" for second in (0, 30, 60)
    ]


def test_what_is_for_the_record_alone_is_not_printed(shown):
    shown.log.info("--> Starting operation: store: stage and check")
    shown.log.info("[prom-1] store: directory /etc/thanos", extra=quiet.DETAIL)
    quiet.flush()
    assert shown.lines == []


def test_of_a_checkers_words_those_on_what_is_well_are_left_out():
    amtool = ["Checking '/etc/alertmanager/alertmanager.yml'  FAILED: undefined receiver", ""]
    assert trials.offending(amtool) == amtool[:1]
    assert trials.offending(["Checking a", " SUCCESS: 2 rules found"]) == ["Checking a", " SUCCESS: 2 rules found"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_who_waits_is_a_line_that_is_renewed_on_a_terminal(monkeypatch):
    """And is gone before anything else is printed. In a file it is a line every half minute."""
    monkeypatch.setenv("COLUMNS", "40")
    screen = Terminal()
    line = quiet.WaitingLine(screen)
    line.clear()
    assert screen.getvalue() == "", "nothing to clear"
    assert line.renew("am-1: waiting, 1 of 3") and line.renew(f"am-1: waiting, {'x' * 100}")
    line.clear()
    shown = screen.getvalue().split("\r\x1b[K")
    assert shown[1] == "am-1: waiting, 1 of 3" and len(shown[2]) == 39 and shown[3] == ""
    assert not quiet.WaitingLine(io.StringIO()).renew("am-1: waiting")
    said = quiet.Quiet()
    said.line = quiet.WaitingLine(Terminal())
    said.step = "prometheus: turn of prom-1"
    waits = logging.LogRecord("x", logging.INFO, "", 0, "    [prom-1] x: waiting, not ready", (), None)
    assert not said.filter(waits) and said.line._shown
    done = logging.LogRecord("x", logging.INFO, "", 0, "    [prom-1] x: ready", (), None)
    assert said.filter(done) and not said.line._shown
