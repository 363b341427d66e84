"""The lock of a host as its own shell takes it, and the judgement of what all hosts said."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from prometheus_ha.deploys.lib.ground import lock

ONE = lock.Holder("20261121T131200Z-1", "ann@desk (pid 1)", "2026-11-21T13:12:00Z", "pyinfra -y a")
TWO = lock.Holder("20261121T131300Z-2", "bob@desk (pid 2)", "2026-11-21T13:13:00Z", "pyinfra 'b' $c")


@pytest.fixture
def host(tmp_path):
    """Scripts run here, with the lock in a directory of the test; each by a shell in a shell, as SSH and sudo do."""
    (tmp_path / "state").mkdir()

    def run(script: str, state: str = "state") -> list[str]:
        script = script.replace(lock.LOCK, str(tmp_path / "lock")).replace("/STATE", str(tmp_path / state))
        command = ["sh", "-c", 'sh -c "$1"; true', "sh", script]
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()

    return run


def take(host, holder, **options):
    return lock.parse(host(lock.script(holder, **options)))


def change(host, **options):
    host(lock.changing_script("/STATE/last-run", "begun"), **options)


def test_one_at_a_time(host, tmp_path):
    assert take(host, ONE) == lock.Answer(True)
    assert oct((tmp_path / "lock").stat().st_mode)[-3:] == "600"
    # The nearest ancestor that is no shell is this process, and it goes on.
    assert (tmp_path / "lock").read_text().split()[0] == str(os.getpid())
    assert take(host, TWO) == lock.Answer(False, ONE, "held")
    assert take(host, ONE) == lock.Answer(True), "a run's own lock, by another name of the host"
    host(lock.release_script(TWO, "/STATE/last-run", "not mine"))
    assert take(host, TWO).holder == ONE, "only the holder releases"
    host(lock.release_script(ONE, "/STATE/last-run", "done"))
    assert not (tmp_path / "lock").exists()
    assert (tmp_path / "state" / "last-run").read_text() == "done\n"
    assert take(host, TWO) == lock.Answer(True)
    host(lock.release_script(TWO, "/STATE/last-run", ""))
    assert not (tmp_path / "lock").exists()
    assert (tmp_path / "state" / "last-run").read_text() == "done\n", "it changed nothing"


def test_left_over_and_broken(host, tmp_path):
    take(host, TWO)
    place = tmp_path / "lock"
    idle = place.read_text()
    change(host)
    held = place.read_text()
    assert take(host, ONE, take_over=True) == lock.Answer(True, TWO, "broken")
    pid = held.split()[0]
    for process in (f"{pid} 7", "4194305 1"):  # the process id given to another; no such process
        place.write_text(re.sub(r"^\d+ \d+", process, held))
        assert take(host, ONE) == lock.Answer(True, TWO, "left")
        place.write_text(re.sub(r"^\d+ \d+", process, idle))
        assert take(host, ONE) == lock.Answer(True), "it changed nothing: nothing to tell"
    place.write_text("")  # killed while it was written
    assert take(host, ONE).ours


def test_a_blank_host_gets_no_summary_before_there_is_a_place_for_it(host, tmp_path):
    take(host, ONE)
    change(host, state="none")
    assert not (tmp_path / "none").exists()
    change(host)
    place = tmp_path / "state" / "last-run"
    assert place.read_text() == "begun\n" and oct(place.stat().st_mode)[-3:] == "600"


@pytest.mark.parametrize("lines", [[], ["error"], ["held"], ["held", "1 2 x"]])
def test_what_is_not_said_to_be_ours_is_not(lines):
    answer = lock.parse(lines)
    assert not answer.ours and lock.refusal({"am-1": answer})


def test_one_refusal_for_all_hosts():
    answers = {
        "am-1": lock.Answer(True),
        "am-2": lock.Answer(False, ONE, "held"),
        "am-3": lock.Answer(False, ONE, "held"),
        "prom-1": lock.Answer(False),
        "prom-2": lock.Answer(True, TWO, "left"),
    }
    says = lock.refusal(answers)
    assert "am-2, am-3: ann@desk (pid 1), since 2026-11-21T13:12:00Z: pyinfra -y a" in says
    held, _, unwritten = says.partition("break_lock=true")
    assert "/run/monitoring.lock could not be written" in unwritten and "prom-1" in unwritten
    assert "another run" not in lock.refusal({"prom-1": lock.Answer(False)})
    assert "am-1" not in says and "break_lock=true" in says
    assert lock.taken_over(answers) == [f"the lock of a run that is no more is taken over: prom-2: {TWO}"]
    assert not lock.refusal({"am-1": lock.Answer(True), "prom-2": answers["prom-2"]})


def test_the_control_machines_own(tmp_path):
    place: Path = tmp_path / "lock"
    file = lock.lock_file(place, ONE)
    with pytest.raises(lock.Held, match=re.escape(str(ONE))):
        lock.lock_file(place, TWO)
    file.close()
    lock.lock_file(place, TWO).close()
    assert place.read_text().splitlines()[0] == TWO.who
