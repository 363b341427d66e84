"""Commands side by side: what they say, how they end, and how they are told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "side_by_side.py"


@pytest.fixture(autouse=True)
def _not_of_the_run_that_tests_this(monkeypatch):
    monkeypatch.delenv("RED", raising=False)


def start(**commands: str) -> subprocess.Popen[str]:
    words = [f"{name}={command}" for name, command in commands.items()]
    return subprocess.Popen([sys.executable, str(SCRIPT), *words], stdout=subprocess.PIPE, text=True)


def test_all_run_to_their_ends_and_one_that_fails_fails_all():
    both = start(one="echo a=b; exit 3", other="sleep 0.3; echo late")
    said, _ = both.communicate(timeout=30)
    lines = [line.strip() for line in said.splitlines()]
    assert {"one | a=b", "other | late"} <= set(lines)
    assert any(line.startswith("other | ended with 0 after") for line in lines)
    assert lines[-1] == "failed: one (3)" and both.returncode == 1
    assert start(one="true").wait(30) == 0


def test_the_end_of_one_that_failed_is_kept_unless_a_test_said_why(tmp_path, monkeypatch):
    red = tmp_path / "red"
    red.touch()
    monkeypatch.setenv("RED", str(red))
    start(one="seq 99; exit 3", other="echo well").wait(30)
    assert red.read_text().split() == [word for number in range(60, 100) for word in ("one", "|", str(number))]
    red.write_text("a test\n")
    start(one="exit 3").wait(30)
    assert red.read_text() == "a test\n"


def test_what_is_done_idly_leaves_its_time_to_the_others():
    words = [f"{name}=echo $(nice)" for name in ("now", "later")]
    said = subprocess.run([sys.executable, str(SCRIPT), words[0], "--idly", words[1]], capture_output=True, text=True)
    nice = {
        name.strip(): int(value)
        for name, _, value in (line.partition("|") for line in said.stdout.splitlines())
        if value.strip().isdigit()
    }
    assert nice["now"] < nice["later"]


def test_what_stops_it_stops_all_that_they_started():
    # the trap comes after the child: a child that is told before it has put off its parent's trap sleeps on
    script = "sleep 60 & trap 'echo told' TERM; echo begun; wait"
    both = start(one=script, other="sleep 60 | cat")
    assert both.stdout and "begun" in both.stdout.readline()
    both.send_signal(signal.SIGTERM)
    said, _ = both.communicate(timeout=30)
    assert "one | told" in said and "other | ended with" in said
    assert both.returncode == 1
