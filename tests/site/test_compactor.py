"""The compactor: one, at work, and not halted."""

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.facts.reports import thanos
from prometheus_ha.suites.ask import eventually, metric
from prometheus_ha.suites.daemon import Daemon, as_component

COMPONENT = "thanos-compactor"


class TestDaemon(Daemon):
    pass


def test_it_has_not_halted(member):
    assert metric(member, COMPONENT, thanos.HALTED) == 0


def test_it_makes_its_passes(member):
    def check():
        assert metric(member, COMPONENT, thanos.ITERATIONS) > 0

    eventually(check, 60)


def test_its_key_reads_the_bucket(member):
    bucket = f"--objstore.config-file={DAEMONS[COMPONENT].bucket}"
    as_component(member, COMPONENT, f"{topology.BIN_DIR}/thanos tools bucket ls {bucket}")
