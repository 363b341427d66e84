"""Every store gateway: it has read the bucket, and queriers know it."""

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.facts.reports import thanos
from prometheus_ha.suites.ask import eventually, metric
from prometheus_ha.suites.daemon import Daemon, as_component

COMPONENT = "thanos-store"


class TestDaemon(Daemon):
    pass


def test_every_block_it_found_is_loaded(member):
    def check():
        assert metric(member, COMPONENT, thanos.BLOCKS_FAILED) == 0

    eventually(check, 30)


def test_its_key_reads_the_bucket(member):
    bucket = f"--objstore.config-file={DAEMONS[COMPONENT].bucket}"
    as_component(member, COMPONENT, f"{topology.BIN_DIR}/thanos tools bucket ls {bucket}")
