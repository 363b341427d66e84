"""Somebody outside notices that the platform is dead, in the time that `verify` promises, and that it lives again."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests

from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles import alertmanager
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import alerts, ask, on_all, run_site, shell, stopped, wait_for
from tests.lab import plan

pytestmark = [pytest.mark.usefixtures("restored"), pytest.mark.long]


def _signs() -> list[dict[str, Any]]:
    """What the dead man's switch was sent."""
    lines = map(json.loads, plan.LAB.sink_file.read_text().splitlines())
    return [one for one in lines if one["path"] == "/deadman"]


@contextmanager
def _uplink_cut(site: Site) -> Iterator[None]:
    """No Alertmanager reaches what is outside of the site: here, the sink."""
    table = "inet drill_uplink"
    chain = "add chain %s leaving { type filter hook output priority 0; policy accept; }"
    drop = f"add rule %s leaving ip daddr {plan.LAB.gateway} tcp dport {plan.SINK_PORT} drop"
    rules = "\n".join((f"add table {table}", chain % table, drop % table))
    names = [member.name for member in site.running("alertmanager")]
    on_all(lambda host: shell(host, f"printf '%s\n' {shlex.quote(rules)} | nft -f -"), names)
    try:
        yield
    finally:
        on_all(lambda host: shell(host, f"nft delete table {table}"), names)


@pytest.mark.parametrize("daemon", ["prometheus", "alertmanager", ""], ids=["prometheus", "alertmanager", "uplink"])
def test_a_dead_platform_is_silent_in_time_and_lives_again_by_itself(site: Site, daemon: str) -> None:
    member = site.running("alertmanager")[0]
    last, waits = alertmanager.dead_man(site, member)
    promised = (last if daemon == "prometheus" else 0) + waits
    every = seconds(member.settings.timing.watchdog_repeat)
    wait_for("a sign of life", lambda: _signs() and time.time() - _signs()[-1]["time"] < 2 * every, 60)
    died = time.time()
    with ExitStack() as stack:
        if not daemon:
            stack.enter_context(_uplink_cut(site))
        for one in site.running(daemon) if daemon else ():
            stack.enter_context(stopped(one.name, daemon))
        wait_for("the outside to notice", lambda: time.time() - _signs()[-1]["time"] > waits, promised + 60)
        # Its last word came in time, and it was not that all is well again.
        assert _signs()[-1]["time"] - died < promised - waits + 2 * every
        assert _signs()[-1]["body"]["status"] == "firing"
        silent = len(_signs())
    wait_for("a sign of life again", lambda: len(_signs()) > silent, 120)


def test_one_site_notices_that_another_is_dead(site: Site) -> None:
    """Its Watchdog comes to one of our relays, then to none."""
    run = run_site(data={"deadman_sites": {"other": "15s"}})
    assert run.status == 0, str(run)
    am, second = site.running("alertmanager")[:2]
    url = f"{site.endpoint('alert_relay', second).url}/deadman/other"
    until = time.monotonic() + 40
    while time.monotonic() < until:
        assert ask(url, "POST", json={"alerts": [{"labels": {"alertname": "Watchdog"}}]}).ok
        time.sleep(5)
    assert not alerts(site, am, "OtherSiteDead"), "one relay that is told is enough"
    (alert,) = wait_for("the alert", lambda: alerts(site, am, "OtherSiteDead"), 60)
    assert alert["labels"]["site"] == "other"
    assert requests.post(url, json={}, timeout=5).ok
    wait_for("its end", lambda: not alerts(site, am, "OtherSiteDead"), 60)
