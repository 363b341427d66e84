"""Runs that end before their end: exit codes, the one sentence, and what record and hosts are told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.unit.recorded import ROOT, run_site


@pytest.fixture
def run(tmp_path, monkeypatch):
    return lambda *arguments, **options: run_site(tmp_path, monkeypatch, *arguments, **options)


@pytest.mark.parametrize(
    ("number", "code", "when"), [(signal.SIGINT, 130, "waiting"), (signal.SIGTERM, 143, "at work")]
)
def test_an_interrupted_run_says_so_everywhere(tmp_path, number, code, when):
    command = [sys.executable, "-m", "tests.unit.interrupted", str(tmp_path), str(int(number)), when]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    out, err = done.stdout, done.stderr
    assert done.returncode == code, err
    assert "Traceback" not in err
    (said,) = [line for line in err.splitlines() if "Interrupted" in line]
    assert "am-1, am-2, am-3 changed so far" in said and "Run it again" in said
    ended = json.loads(out.splitlines()[-1])["ended"]
    # Who began and was not told, is told now, and what was done there.
    assert set(ended) == {"am-1", "am-2", "am-3"}
    (second,) = ended["am-2"]
    assert "result: interrupted, during alertmanager: turn of am-2" in second
    assert "start alertmanager" in second and "changed: nothing" not in second
    (first,) = ended["am-1"]
    assert "result: interrupted\n" in first and "start alertmanager" in first
    [path] = (tmp_path / ".runs").glob("*.json")
    record = json.loads(path.read_text())
    assert record["result"] == "interrupted" and record["ended"]
    assert any("start alertmanager" in line for line in record["changed"]["am-2"])
    assert not any("start alertmanager" in line for line in record["changed"].get("am-3", ()))


def test_a_host_that_was_begun_with_does_not_say_that_nothing_was_changed(run, monkeypatch):
    """What a run that is killed leaves there."""
    begun = []

    def note(last_run, text):
        begun.append(text)
        return "true"

    monkeypatch.setattr("prometheus_ha.deploys.lib.ground.lock.changing_script", note)
    run("--limit", "am-1", deploy="kernel")
    (text,) = begun
    assert "result: unfinished" in text and "changed: nothing" not in text


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_a_run_that_is_not_confirmed_has_failed(run, answer, tmp_path):
    done = run("--limit", "am-1", deploy="kernel", yes=False, answers=answer)
    assert done.rc == 1 and "Traceback" not in done.output
    assert "Nothing was changed" in done.output and "-y asks nothing" in done.output
    assert ("no terminal" in done.output) is (answer == "")
    assert done.commands == {"am-1": ["look"]} and not (tmp_path / ".runs").exists()


@pytest.mark.parametrize("answer", ["\nn\n", "\n"])
def test_one_that_is_not_to_go_on_after_a_failure_tells_the_others(run, answer):
    def fail(host, script):
        return host == "am-2" and "sysctl" in script

    limit = ("--limit", "am-1", "--limit", "am-2")
    done = run(*limit, yes=False, hosts={}, fail=fail, answers=answer, deploy="kernel")
    assert done.rc == 1 and "Traceback" not in done.output
    assert "Run it again" in done.output
    assert "result: ended early; the run failed on am-2" in done.ended["am-1"][0]
    assert "sysctl" in done.ended["am-1"][0].replace("kernel: ", "sysctl")
    assert "result: failed at kernel" in done.ended["am-2"][0]


@pytest.mark.parametrize(
    ("options", "place", "says"),
    [
        ({"data": "retention = (\n"}, "group_data/all.py, line", "'(' was never closed"),
        ({"data": "a = 1\nb = nothing\n"}, "group_data/all.py, line", "name 'nothing' is not"),
        ({"data": "import no_such_module\n"}, "group_data/all.py, line", "no_such_module"),
        ({"inventory": "\n\nprometheus = [\n  'a' 7\n]\n"}, "inventory.py, line 4", "syntax"),
        ({"inventory": "\nprometheus = hosts()\n"}, "inventory.py, line 2", "'hosts'"),
    ],
)
@pytest.mark.parametrize("deploy", ["site", "verify"])
def test_what_python_says_of_the_operators_files_is_a_line(run, options, place, says, deploy):
    done = run(deploy=deploy, **options)
    assert done.rc == 1 and not done.commands
    (line,) = [line for line in done.output.splitlines() if "nothing was changed" in line]
    assert f"{place}" in line and says in line
    assert "Traceback" not in done.output and "config.py line" not in done.output


def test_of_a_file_that_an_operators_file_imports_too(run, tmp_path, monkeypatch):
    (tmp_path / "helper_of_mine.py").write_text("def hosts():\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    done = run(inventory="import helper_of_mine\nprometheus = helper_of_mine.hosts()\n")
    assert "helper_of_mine.py, line 2: ZeroDivisionError: division by zero" in done.output
