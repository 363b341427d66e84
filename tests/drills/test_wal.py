"""A gate waits as long as there is progress, and no longer.

A write-ahead log that takes minutes to replay is had by a brake: for most of the time the process is stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.probe import Probe
from tests.drills.site import argv, healthy, moved, run_site, shell, units, wait_for

PLACE = "/root/.drill"


HOST = "prom-1"
NEW = "--query.timeout=3m"
_BRAKE = f"""
pid() {{ systemctl show -p MainPID prometheus | cut -d= -f2; }}
ready() {{ curl -s -m 1 -f -o /dev/null OPTIONS/-/ready; }}
old=$(pid)
touch {PLACE}/on
# Not before it is active: systemd waits for the executable to run.
until p=$(pid); [ "$p" != "$old" ] && [ "$p" != 0 ] && systemctl -q is-active prometheus; do sleep 0.02; done
began=$(date +%s)
kill -STOP $p
while sleep STOP; kill -CONT $p; sleep GO; ! ready; do kill -STOP $p; done
echo $(($(date +%s) - began)) >{PLACE}/took
"""


@contextmanager
def brake(site: Site, stop: float, go: float) -> Iterator[None]:
    """The next Prometheus that starts on the host stops for `stop` seconds, goes for `go`, and so on, till ready."""
    member = site.hosts[HOST]
    url, options = web.curl(site.local("prometheus", member), member.settings)
    script = _BRAKE.replace("STOP;", f"{stop};").replace("GO;", f"{go};")
    script = script.replace("OPTIONS", shlex.join([*options, url]))
    shell(HOST, f"mkdir -m 700 {PLACE}; cat >{PLACE}/brake <<'END'\n{script}END\n")
    shell(HOST, f"setsid sh {PLACE}/brake </dev/null >/dev/null 2>&1 & echo $! >{PLACE}/pid")
    try:
        wait_for("the brake", lambda: shell(HOST, f"ls {PLACE}/on", check=False), 10)
        yield
    finally:
        shell(
            HOST,
            f"kill $(cat {PLACE}/pid); kill -CONT $(systemctl show -p MainPID prometheus | cut -d= -f2); "
            f"rm -rf {PLACE}; true",
        )


@pytest.mark.long
@pytest.mark.usefixtures("restored")
def test_a_long_replay_is_waited_for(site: Site) -> None:
    for _ in range(12):  # each start begins a segment of its own
        shell(HOST, "systemctl restart prometheus; sleep 0.5")
    wait_for("the site to be healthy", lambda: healthy(site), 90)
    with Probe(site) as probe, brake(site, 6, 0.01):
        run = run_site(data={"prometheus_flags": {"query.timeout": "3m"}})
        took = int(shell(HOST, f"cat {PLACE}/took 2>/dev/null || echo 0"))
    assert run.status == 0, str(run)
    assert "write-ahead log replayed to segment" in run.log, str(run)
    assert took > rollout.PATIENCE, f"the replay took {took} s: not slow enough to tell"
    for member in site.running("prometheus"):
        assert NEW in argv(member.name, "prometheus"), member.name
    assert probe.down_together() == []
    # A stopped process accepts connections and says nothing: the queriers wait for it, longer than the probe does.
    probe.assert_no_gap()


@pytest.mark.long
@pytest.mark.usefixtures("restored")
def test_a_replay_that_stands_still_stops_the_roll(site: Site) -> None:
    before = units(["prom-2"])
    with Probe(site) as probe, brake(site, 3600, 0):
        run = run_site(data={"prometheus_flags": {"query.timeout": "3m"}})
    assert run.status == 1, str(run)
    assert f"no progress for {rollout.PATIENCE:.0f} s" in run.log, str(run)
    assert "prometheus keeps what it runs: prom-1 failed" in run.log, str(run)
    assert moved(before) == set()
    probe.assert_never_blind()
