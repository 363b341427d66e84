"""One run at a time, whoever starts it, and a record of each."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.lock import LOCK
from prometheus_ha.deploys.lib.run import runs
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import (
    ENVIRONMENT,
    RUN_SECONDS,
    command,
    live_files,
    moved,
    on_all,
    run_site,
    shell,
    units,
    wait_for,
)
from tests.drills.test_killed import kill_at
from tests.lab import plan

pytestmark = pytest.mark.usefixtures("restored")

DATA = {"querier_timeout": "3m"}
LEFT = "of a run that is no more"
_PLACE = "/root/.drill"
_SHIM = f"""#!/bin/sh
if [ "$1" = restart ]; then
    touch {_PLACE}/reached
    while [ -e {_PLACE}/hold ]; do sleep 0.1; done
fi
exec {_PLACE}/systemctl "$@"
"""


@contextmanager
def waiting(host: str) -> Iterator[subprocess.Popen]:
    """A run that waits in its first restart on `host`; it goes on when the block ends, and has ended thereafter."""
    shell(
        host,
        f"set -e; rm -rf {_PLACE}; mkdir -m 700 {_PLACE}; touch {_PLACE}/hold; "
        f"cp $(command -v systemctl) {_PLACE}/systemctl; printf %s {shlex.quote(_SHIM)} >{_PLACE}/shim; "
        f"chmod 755 {_PLACE}/shim; mount --bind {_PLACE}/shim /usr/bin/systemctl",
    )
    run = subprocess.Popen(
        command(data=DATA),
        cwd=plan.ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        reached = f"test -e {_PLACE}/reached && echo yes || true"
        wait_for(f"the restart on {host}", lambda: shell(host, reached), 120)
        yield run
    finally:
        shell(host, f"rm -f {_PLACE}/hold")
        try:
            run.wait(RUN_SECONDS)
        finally:
            run.kill()
            shell(host, f"umount /usr/bin/systemctl; rm -rf {_PLACE}")


def records() -> list[dict[str, Any]]:
    """The records of this machine's runs, the oldest first."""
    paths = sorted((plan.ROOT / runs.DIRECTORY).glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def last_run(host: str) -> str:
    return shell(host, f"cat {topology.LAST_RUN}")


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """Another checkout of the project, as another operator has one: with no lock in common but the hosts'."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for path in plan.ROOT.iterdir():
        if path.name not in (runs.DIRECTORY, ".git"):
            (copy / path.name).symlink_to(path)
    return copy


def test_a_second_run_is_refused_and_the_first_ends_well(site: Site, elsewhere: Path) -> None:
    host = site.members("querier")[0].name
    with waiting(host) as first:
        files, before = live_files(), units()
        here = run_site("--limit", "prom-1", data={"nofile": 4096})
        there = subprocess.run(
            command(data={"nofile": 4096}),
            cwd=elsewhere,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        assert live_files() == files and moved(before) == set()
        assert first.poll() is None
    assert first.returncode == 0
    for status, log in ((here.status, here.log), (there.returncode, there.stderr)):
        assert status == 1, log
        assert f"(pid {first.pid})" in log and "deploys/site.py" in log, log
        assert "another run" in log and "Traceback" not in log, log
    for name in site.hosts:
        assert name in there.stderr
    mine = [one for one in records() if one["run"].endswith(f"-{first.pid}")]
    assert [one["result"] for one in mine] == ["ok"]
    assert any("restart thanos-querier" in line for line in mine[0]["changed"][host])
    assert "result: ok" in last_run(host) and "restart thanos-querier" in last_run(host)
    changed = list(mine[0]["changed"])
    assert not any(on_all(lambda name: shell(name, f"ls {LOCK} 2>/dev/null || true"), changed).values())
    # Where it changed nothing its lock is over as well, and nobody is told of it.
    again = run_site(data=DATA)
    assert again.status == 0 and not again.changed and LEFT not in again.log, str(again)


def test_a_killed_run_leaves_no_lock(site: Site) -> None:
    host = site.members("querier")[0].name
    kill_at(host, "restart", data=DATA)
    assert records()[-1]["result"] == "unfinished" and "no end recorded" in last_run(host)
    run = run_site(data=DATA)
    assert run.status == 0, str(run)
    line = next(line for line in run.log.splitlines() if LEFT in line)
    assert host in line and "prom-1" not in line, line  # those that it changed, or was about to
    assert records()[-1]["result"] == "ok" and "result: ok" in last_run(host)


def test_a_lock_whose_connection_hangs_is_broken_on_request(site: Site) -> None:
    host = "am-2"
    start = "$(cut -d' ' -f22 /proc/1/stat)"  # a process that will not go away
    text = "ann@desk (pid 1)\\n2026-01-01T00:00:00Z\\npyinfra inventory.py deploys/site.py"
    shell(host, f"printf '%s\\n' \"1 {start} x-1\" >{LOCK}; printf '{text}\\n' >>{LOCK}")
    try:
        refused = run_site()
        assert refused.status == 1 and f"{host}: ann@desk (pid 1)" in refused.log, str(refused)
        run = run_site(data={"break_lock": True})
        assert run.status == 0 and "whose connection still stands is broken" in run.log, str(run)
        assert not run.changed
    finally:
        shell(host, f"rm -f {LOCK}")
