"""A run that is killed half-way through an activation is completed by the next one.

To die at the right moment every time, a host's systemctl is replaced by one that never returns from the verb in
question. Then pyinfra gets SIGKILL, and what it had started on the host as well.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.mirror import mirror, repack
from tests.drills.site import (
    ENVIRONMENT,
    argv,
    command,
    get,
    moved,
    rules,
    run_site,
    shell,
    units,
    wait_for,
)
from tests.lab import plan

pytestmark = pytest.mark.usefixtures("restored")

_PLACE = "/root/.drill"
_SHIM = """#!/bin/sh
if [ "$1" = {verb} ]; then
    echo $$ $PPID >{place}/reached.new
    mv {place}/reached.new {place}/reached
    exec sleep 3600
fi
exec {place}/systemctl "$@"
"""


@contextmanager
def held(host: str, verb: str) -> Iterator[Callable[[], list[str]]]:
    """`systemctl VERB` hangs on `host`; yields a function with the pids of it and of the script that called it."""
    shim = shlex.quote(_SHIM.format(verb=verb, place=_PLACE))
    shell(
        host,
        f"set -e; rm -rf {_PLACE}; mkdir -m 700 {_PLACE}; cp $(command -v systemctl) {_PLACE}/systemctl; "
        f"printf %s {shim} >{_PLACE}/shim; chmod 755 {_PLACE}/shim; mount --bind {_PLACE}/shim /usr/bin/systemctl",
    )

    def reached() -> list[str]:
        return shell(host, f"cat {_PLACE}/reached 2>/dev/null || true").split()

    try:
        yield reached
    finally:
        pids = reached()
        # The script first, or it would go on once systemctl ends.
        kill = f"kill -9 {pids[1]}; kill -9 {pids[0]}; " if pids else ""
        shell(host, f"{kill}umount /usr/bin/systemctl; rm -rf {_PLACE}")


def kill_at(host: str, verb: str, *arguments: str, data: dict[str, Any]) -> None:
    """Start a run and kill it, here and on `host`, where it calls `systemctl VERB` there."""
    with held(host, verb) as reached:
        run = subprocess.Popen(
            command(*arguments, data=data),
            cwd=plan.ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(f"`systemctl {verb}` on {host}", lambda: reached() or run.poll() is not None, 120)
            assert run.poll() is None, f"the run ended by itself with {run.returncode}"
        finally:
            run.kill()
            run.wait()


@pytest.mark.parametrize(
    ("verb", "unit", "data", "new"),
    [
        ("daemon-reload", "thanos-querier", {"querier_timeout": "3m"}, "--query.timeout=3m"),
        (
            "restart",
            "thanos-store",
            {"store_flags": {"chunk-pool-size": "1GB"}},
            "--chunk-pool-size=1GB",
        ),
    ],
)
def test_between_swap_and_restart(site: Site, verb: str, unit: str, data: dict[str, Any], new: str) -> None:
    members = [member.name for member in site.running(unit)]
    # Hosts have their turns in the order of the inventory.
    first = next(host for host in site.hosts if host in members)
    before = units()
    kill_at(first, verb, data=data)
    # The premise: the unit is swapped, and nobody runs it.
    assert new in shell(first, f"cat /etc/systemd/system/{unit}.service")
    assert moved(before) == set()
    run = run_site(data=data)
    assert run.status == 0, str(run)
    assert any(f"[{first}]" in line and f"restart {unit}" in line for line in run.log.splitlines()), str(run)
    for host in members:
        assert new in argv(host, unit), host
    assert moved(before) == {(host, unit) for host in members}


def test_between_swap_and_reload(site: Site) -> None:
    data = {"prometheus_rules": rules("drill", {"record": "drill:up:count", "expr": "count(up)"})}
    before = units()

    def groups(host: str) -> list[str]:
        answer = get(f"{site.endpoint('prometheus', site.hosts[host]).url}/api/v1/rules")
        return [group["name"] for group in answer["data"]["groups"]]

    kill_at("prom-1", "reload", data=data)
    assert "drill:up:count" in shell("prom-1", "cat /etc/prometheus/rules/drill.yml")
    assert "drill" not in groups("prom-1")
    run = run_site(data=data)
    assert run.status == 0, str(run)
    for host in ("prom-1", "prom-2"):
        wait_for(f"the rule on {host}", lambda host=host: "drill" in groups(host))
    assert moved(before) == set()


def test_between_switching_the_binary_and_the_restart(site: Site, tmp_path) -> None:
    """The case in which Ansible's roles report no change, while the old version runs from a deleted file."""
    host, version = "store-1", "1.12.99"
    directory = repack(tmp_path, "node_exporter", version)
    with mirror(tmp_path) as url:
        data = {"versions": {"node_exporter": version}, "base_url": url}
        try:
            before = units([host])
            kill_at(host, "restart", "--limit", host, data=data)
            assert directory in shell(host, "readlink /usr/local/bin/node_exporter")
            assert moved(before) == set()
            run = run_site("--limit", host, data=data)
            assert run.status == 0, str(run)
            assert moved(before) == {(host, "node_exporter")}
            exe = shell(host, "readlink /proc/$(systemctl show -p MainPID node_exporter | cut -d= -f2)/exe")
            assert exe.strip() == f"/opt/{directory}/node_exporter"
        finally:
            run_site("--limit", host)
            shell(host, f"rm -rf /opt/{directory} /opt/software/{directory}.tar.gz")
