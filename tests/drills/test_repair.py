"""What somebody changed by hand is put back: just that, and with a restart or reload only where one is needed.

Every host is damaged in another way, and one run mends them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_CONFIG, TEMPLATES_DIR
from prometheus_ha.deploys.lib.daemons.prometheus import RULES_DIR, TARGETS_DIR
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.site.settings import STARTER_RULES
from tests.drills.site import Run, converge, moved, reloads, run_site, shell, units

RULES = f"{RULES_DIR}/{STARTER_RULES}"
DAMAGE = {
    # The file only: Prometheus has not read it.
    "prom-1": f"echo '# drill' >>{RULES}",
    # Read as well; and a directory is open to all. One that is gone is am-2's: of targets, Prometheus would not see the
    # new one before it looks for itself, after five minutes.
    "prom-2": f"echo '# drill' >>{RULES}; systemctl reload prometheus; chmod 755 {TARGETS_DIR}",
    "am-1": "systemctl stop alertmanager",
    "am-2": f"rm -r {TEMPLATES_DIR}",
    "am-3": f"chmod 644 {ALERTMANAGER_CONFIG}",
    "query-1": "sysctl -q net.core.somaxconn=128",
    "query-2": "systemctl stop node_exporter",
}


@dataclass
class Mended:
    run: Run
    moved: set[tuple[str, str]]
    reloaded: set[tuple[str, str]]


@pytest.fixture(scope="module")
def mended(site: Site) -> Iterator[Mended]:
    before = units()
    # am-1 will be started, which loads everything as well.
    others = Site({name: member for name, member in site.hosts.items() if name != "am-1"})
    try:
        for host, script in DAMAGE.items():
            shell(host, script)
        loaded = reloads(others)
        run = run_site("-v")  # each host by itself
        after = reloads(others)
        yield Mended(run, moved(before), {key for key, when in loaded.items() if after[key] != when})
    finally:
        converge()


def test_repairs_just_that(mended: Mended) -> None:
    assert mended.run.status == 0, str(mended.run)
    assert mended.run.changed == {
        "kernel": ["query-1"],
        "node_exporter: one host first, then all others at once": ["query-2"],
        "alertmanager: stage and check": ["am-2"],
        "alertmanager: turn of am-1": ["am-1"],
        "alertmanager: turn of am-3": ["am-3"],
        "prometheus: stage and check": ["prom-1", "prom-2"],
        "prometheus: turn of prom-1": ["prom-1"],
        "prometheus: turn of prom-2": ["prom-2"],
    }, str(mended.run)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("prom-1", f"file {RULES}"),
        ("prom-1", f"reload prometheus: it may have read another {RULES}"),
        ("prom-2", f"directory {TARGETS_DIR}"),
        ("prom-2", "reload prometheus"),
        ("am-1", "start alertmanager"),
        ("am-2", f"directory {TEMPLATES_DIR}"),
        ("am-3", f"mode or owner of {ALERTMANAGER_CONFIG}"),
        ("query-1", "net.core.somaxconn is 128, becomes 4096"),
        ("query-2", "start node_exporter"),
    ],
)
def test_says_so(mended: Mended, host: str, said: str) -> None:
    lines = [line for line in mended.run.log.splitlines() if f"[{host}]" in line]
    assert any(said in line for line in lines), "\n".join(lines)


def test_restarts_and_reloads_only_where_needed(mended: Mended) -> None:
    assert mended.moved == {("am-1", "alertmanager"), ("query-2", "node_exporter")}
    assert mended.reloaded == {("prom-1", "prometheus"), ("prom-2", "prometheus")}


@pytest.mark.parametrize(
    ("host", "holds"),
    [
        ("prom-1", f"! grep -q '# drill' {RULES}"),
        ("prom-2", f"! grep -q '# drill' {RULES} && [ \"$(stat -c '%a' {TARGETS_DIR})\" = 750 ]"),
        ("am-2", f"[ \"$(stat -c '%a %U %G' {TEMPLATES_DIR})\" = '750 root prometheus' ]"),
        ("am-3", f"[ \"$(stat -c '%a' {ALERTMANAGER_CONFIG})\" = 640 ]"),
        ("query-1", '[ "$(sysctl -n net.core.somaxconn)" = 4096 ]'),
    ],
)
def test_is_as_it_was(mended: Mended, host: str, holds: str) -> None:
    shell(host, holds)
