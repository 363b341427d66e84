"""Drills run on the lab, one after another, and each leaves the site as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prometheus_ha.deploys.lib.site.members import Site
from tests.drills import site as under_drill
from tests.lab import hosts, plan


def _switched_on() -> None:
    if not all(hosts.is_on(plan.LAB, name) for name in plan.HOSTS):
        under_drill.lab("up")


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The site, deployed and healthy."""
    _switched_on()
    under_drill.converge()
    site = under_drill.load()
    under_drill.wait_for("the site to be healthy", lambda: under_drill.healthy(site), 60)
    yield site
    # The last ones may leave it with TLS or without: whatever follows begins there.
    again = under_drill.run_site(env=under_drill.spoken())
    assert not again.changed, f"the drills left something to be done: {again}"


@pytest.fixture
def restored(site: Site) -> Iterator[None]:
    """Whatever a drill did, and however it ended, the site is as the inventory says for the next one."""
    under_drill.touched.clear()
    yield
    if not under_drill.touched:
        return
    _switched_on()
    under_drill.restore()
    under_drill.wait_for("the site to be healthy again", lambda: under_drill.healthy(site), 60)


@pytest.fixture
def put_back(restored: None) -> Iterator[None]:
    """`restored`, where the drill's run restarted many and the way back would do so once more, one after another."""
    under_drill.keep()
    yield
    _switched_on()
    under_drill.put_back()
