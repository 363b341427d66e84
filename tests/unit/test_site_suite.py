"""The verification of a site (tests/site) on an operator's own: what is not ours must not fail it."""

import pytest

from prometheus_ha.suites import inventory
from prometheus_ha.suites.test_base import logs_nobody_in
from tests.unit.example_site import example_site


@pytest.fixture
def site(monkeypatch):
    made = example_site()
    monkeypatch.setattr(inventory, "site", lambda: made)
    return made


@pytest.mark.parametrize("shell", ["/sbin/nologin", "/usr/sbin/nologin", "/bin/false"])
def test_shells_that_log_nobody_in(shell):
    assert logs_nobody_in(shell)


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh", ""])
def test_shells_that_do(shell):
    assert not logs_nobody_in(shell)


def test_our_targets_are_told_by_job_and_address(site):
    """A job of the user's that scrapes the same exporter, or has a label of ours, has not both."""
    prometheus = site.hosts["prom-1"]
    [(_, target), *_] = inventory.jobs(prometheus)["node_exporter"]
    found = inventory.selectors(prometheus, more='x=""')["node_exporter"]
    assert found.startswith('up{job="node_exporter"') and found.endswith(', x=""}')
    assert target.replace(".", "[.]") in found
    assert inventory.fresh(prometheus).count("timestamp(up{") == len(inventory.jobs(prometheus))
