"""Runs that drills fork (tests/lab/runner.py) are what the command does."""

import os
import subprocess

import pytest

from tests.lab import runner

ENV = {**os.environ, "PYINFRA_PROGRESS": "off"}


@pytest.mark.parametrize("words", [["nonsense"], ["@local", "exec", "--", "echo $GIVEN; cat; echo $PPID"]])
def test_a_run_is_what_the_command_does(words):
    env = {**ENV, "GIVEN": "this"}
    forked = runner.run([*words, "-y"], env, "some input")
    command = [str(runner.PYINFRA), *words, "-y"]
    done = subprocess.run(
        command, cwd=runner.ROOT, env=env, input="some input", capture_output=True, text=True, check=False
    )
    assert forked.returncode == done.returncode
    assert _without_numbers(forked.stdout) == _without_numbers(done.stdout)
    assert _without_numbers(forked.stderr) == _without_numbers(done.stderr)


def _without_numbers(text: str) -> str:
    return "".join(c for c in text if not c.isdigit())


def test_one_that_takes_too_long_is_ended():
    with pytest.raises(subprocess.TimeoutExpired):
        runner.run(["-y", "@local", "exec", "--", "sleep 60"], ENV, timeout=1)
