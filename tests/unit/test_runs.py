"""The record of a run, on the control machine and on its hosts; and runs that are refused by a lock."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from prometheus_ha.deploys.lib.ground import alive, lock
from prometheus_ha.deploys.lib.run import runs
from tests.unit.recorded import BLANK, ROOT, first_run, run_site

COMMIT = runs.commit  # recorded runs ask for none

OTHER = lock.Holder("x-1", "bob@desk (pid 2)", "2026-11-21T13:13:00Z", "pyinfra inventory.py deploys/site.py")
HELD = f"held\n1 2 {OTHER.run}\n{OTHER.who}\n{OTHER.since}\n{OTHER.command}"


@pytest.fixture
def run(tmp_path, monkeypatch):
    return lambda *arguments, **options: run_site(tmp_path, monkeypatch, *arguments, **options)


@pytest.fixture
def records(tmp_path):
    """The records that there are, the oldest first."""
    return lambda: [json.loads(path.read_text()) for path in sorted((tmp_path / ".runs").glob("*.json"))]


def test_a_run_leaves_a_record(run, records, tmp_path):
    data = ("--data", "querier_timeout=3m", "--limit", "querier")
    done = run(*data, deploy="querier", hosts={})
    assert done.rc == 0, done.output
    [record] = records()
    assert record["result"] == "ok" and record["failed"] == {}
    assert record["started"] <= record["ended"]
    assert record["limit"] == ["querier"] and record["hosts"] == ["query-1", "query-2"]
    assert "--limit querier --data querier_timeout=... inventory.py" in record["command"]
    assert "3m" not in record["command"]
    assert record["releases"]["query-1"]["thanos-querier"]["from"] is None
    assert record["releases"]["query-1"]["thanos-querier"]["to"]
    assert "querier: start thanos-querier: it is absent" in record["changed"]["query-2"]
    assert {"preflight", "software", "querier"} <= set(record["seconds"])
    [path] = (tmp_path / ".runs").glob("*.json")
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert oct(path.parent.stat().st_mode)[-3:] == "700"
    [end] = done.ended["query-1"]
    assert "result: ok" in end and "querier: start thanos-querier: it is absent" in end


def test_nothing_to_do_is_recorded_and_no_change(run, records):
    hosts = {}
    run("--limit", "querier", deploy="querier", hosts=hosts)
    again = run("--limit", "querier", "--json", deploy="querier", hosts=hosts)
    operations = json.loads(again.stdout)["results"]["operations"]
    assert not [one["name"] for one in operations if one["success"]]
    assert records()[-1]["changed"] == {} and records()[-1]["result"] == "ok"
    before = records()[-1]["releases"]["query-1"]["thanos-querier"]
    assert before["from"] == before["to"]
    assert again.ended == {} and again.commands["query-1"] == ["look"]


def test_a_failed_host_is_told_where_it_failed_and_the_others_that_it_did(run, records):
    def fail(host, script):
        assert records()[-1]["result"] == "unfinished"  # what a killed run leaves
        return host == "am-2" and "systemctl restart alertmanager" in script

    part = {"deploy": "alertmanager", "hosts": {}}
    run("--limit", "alertmanager", **part)
    done = run("--limit", "alertmanager", fail=fail, data="nofile = 70000\n", **part)
    assert done.rc == 1
    *_, record = records()
    assert record["result"] == "failed"
    assert record["failed"] == {"am-2": "alertmanager: turn of am-2"}
    assert "result: failed at alertmanager: turn of am-2" in done.ended["am-2"][0]
    assert "result: ok here; the run failed on am-2" in done.ended["am-1"][0]


def test_a_daemon_that_crashed_after_its_gate_is_told_at_the_end(run, records):
    unit = ("Id=thanos-querier.service", "ActiveState=active", "SubState=running", "NRestarts=1")
    hosts, words = {}, {"query-1": [*unit, alive.MARK]}
    done = run("--limit", "querier", deploy="querier", hosts=hosts, last_words=words)
    assert done.rc == 0
    says = "crashed once and came back (not a known fault)"
    assert f"query-1: thanos-querier {says}" in done.output
    assert records()[-1]["crashed"] == {"query-1": {"thanos-querier": says}}
    # What a run did not start may have crashed long ago.
    again = run("--limit", "querier", deploy="querier", hosts=hosts, last_words=words)
    assert again.rc == 0 and "crashed" not in again.output
    assert records()[-1]["crashed"] == {}


def test_all_hosts_failed(run, records):
    done = run("--limit", "am-1", deploy="kernel", fail=lambda host, script: "sysctl" in script)
    assert done.rc == 1 and records()[-1]["failed"] == {"am-1": "kernel"}
    assert "result: failed at kernel" in done.ended["am-1"][0]


def test_dead_hosts_and_refusals_are_recorded(run, records):
    run("--limit", "am-1", "--limit", "am-2", deploy="kernel", dead=("am-2",))
    assert records()[-1]["failed"] == {"am-2": "connect"}
    run("--limit", "am-1", deploy="kernel", states={"am-1": replace(BLANK, machine="riscv64")})
    assert {record["result"] for record in records()} >= {"refused"}


def test_a_lock_of_another_run_refuses_on_all_hosts(run, records):
    done = run("--limit", "alertmanager", locks={"am-2": HELD})
    assert done.rc == 1
    assert done.output.count(f"am-2: {OTHER}") == 1, done.output
    assert "Traceback" not in done.output
    assert done.commands == {name: ["look"] for name in ("am-1", "am-2", "am-3")}
    assert {name: len(scripts) for name, scripts in done.ended.items()} == {"am-1": 1, "am-3": 1}
    assert not any("last-run" in script for scripts in done.ended.values() for script in scripts)
    assert records()[-1]["result"] == "refused"


def test_a_lock_that_was_left_is_told(run):
    left = HELD.replace("held", "left") + "\nours"
    done = run("--limit", "am-1", deploy="kernel", locks={"am-1": left})
    assert done.rc == 0
    assert f"the lock of a run that is no more is taken over: am-1: {OTHER}" in done.output


def test_another_run_from_here(run, records, tmp_path):
    (tmp_path / ".runs").mkdir()
    file = lock.lock_file(tmp_path / ".runs" / "lock.inventory.py", OTHER)
    done = run("--limit", "am-1", deploy="kernel")
    file.close()
    assert done.rc == 1 and str(OTHER) in done.output and not done.commands
    assert records()[-1]["result"] == "refused"
    assert run("--limit", "am-1", deploy="kernel").rc == 0


def test_a_run_on_another_inventory_of_this_checkout_is_none_of_its_business(run, tmp_path):
    (tmp_path / ".runs").mkdir()
    with lock.lock_file(tmp_path / ".runs" / "lock.sites_other.py", OTHER):
        assert run("--limit", "am-1", deploy="kernel").rc == 0


def test_a_lock_has_one_name_however_the_inventory_is_written(tmp_path, monkeypatch):
    (tmp_path / "sites").mkdir()
    path = tmp_path / "sites" / "north.py"
    path.touch()
    monkeypatch.chdir(tmp_path)
    for given in ("sites/north.py", "./sites/../sites/north.py", str(path)):
        assert runs.lock_name(given) == "lock.north.py", "in the directory of the site"
    assert runs.lock_name("a-1,a-2/../x") == "lock.a-1_a-2_.._x"
    assert runs.lock_name(None) == "lock."


@pytest.mark.parametrize("deploy", ["verify", "preflight", "capacity"])
def test_who_only_looks_takes_no_lock(run, deploy, tmp_path):
    run("--limit", "am-1", deploy=deploy, locks={"am-1": HELD})
    assert not (tmp_path / ".runs").exists()


def test_a_plan_takes_no_lock_and_is_no_run(run, tmp_path):
    done = run("--dry", "--limit", "am-1", yes=False, locks={"am-1": HELD})
    assert done.rc == 0 and not (tmp_path / ".runs").exists()


def test_hosts_are_not_taken_one_by_one(run):
    done = run("--serial", "--limit", "alertmanager", deploy="kernel")
    assert done.rc == 1 and not done.commands


def test_no_secret_is_recorded():
    text = first_run().record
    assert "x_token=..." in text
    for word in ("hunter2", "10.1.0.1/hook"):
        assert word not in text


def test_a_commit_is_that_of_the_checkout(tmp_path):
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", COMMIT(ROOT))
    assert COMMIT(tmp_path) is None


def test_the_newest_are_kept(tmp_path):
    for number in range(205):
        runs.write(tmp_path / f"20261121T{number:06}Z-1.json", {"run": number})
    runs.prune(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == runs.KEPT and left[0] == "20261121T000005Z-1.json"
