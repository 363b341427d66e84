"""The Thanos sidecar of every Prometheus."""

from prometheus_ha.deploys.lib.daemons.thanos import BUCKET_CONFIG
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.suites.ask import eventually, metric
from prometheus_ha.suites.daemon import Daemon, as_component
from prometheus_ha.suites.inventory import only

COMPONENT = "thanos-sidecar"


class TestDaemon(Daemon):
    pass


def test_sees_its_prometheus(member):
    def check():
        assert metric(member, COMPONENT, "thanos_sidecar_prometheus_up") == 1

    eventually(check, 30)


def test_outlives_a_stop_of_prometheus(host):
    """It starts after Prometheus, and nothing stops or restarts it with that."""
    text = host.check_output("systemctl show -p After,Requires,BindsTo,PartOf,Requisite thanos-sidecar.service")
    found = dict(line.split("=", 1) for line in text.splitlines())
    assert "prometheus.service" in found.pop("After").split()
    assert not [key for key, units in found.items() if "prometheus.service" in units.split()]


@only(lambda member, _: derived.uploads(member))
def test_its_key_reads_the_bucket(member):
    bucket = f"--objstore.config-file={BUCKET_CONFIG}"
    as_component(member, COMPONENT, f"{topology.BIN_DIR}/thanos tools bucket ls {bucket}")
