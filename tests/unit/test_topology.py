"""The table of components, and addresses as other processes write them."""

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS, of_groups
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.topology import Endpoint
from prometheus_ha.deploys.lib.site.settings import Settings


def test_names_are_the_documents():
    units = {name: info.unit for name, info in DAEMONS.items() if info.unit != name}
    # The same program, one part a host.
    assert units == {"prometheus-upper": "prometheus", "thanos-sidecar-attached": "thanos-sidecar"}
    assert list(DAEMONS) == [
        "prometheus",
        "thanos-sidecar",
        "thanos-sidecar-attached",
        "alert_relay",
        "alertmanager",
        "thanos-querier",
        "thanos-query-frontend",
        "thanos-store",
        "thanos-compactor",
        "thanos-rule",
        "thanos-receive",
        "thanos-bucket-web",
        "seaweedfs",
        "minio",
        "prometheus-upper",
        "node_exporter",
        "blackbox_exporter",
    ]
    assert DAEMONS["thanos-querier"].service == "thanos-querier.service"
    assert DAEMONS["thanos-querier"].path == "/usr/local/bin/thanos"


def test_ports_are_the_documents():
    ports = {
        (name, kind): Settings.model_fields[port.setting].default
        for name, info in DAEMONS.items()
        for kind, port in info.ports.items()
    }
    assert ports == {
        ("prometheus", "http"): 9090,
        ("thanos-sidecar", "http"): 10902,
        ("thanos-sidecar", "grpc"): 10901,
        ("thanos-sidecar-attached", "http"): 10902,
        ("thanos-sidecar-attached", "grpc"): 10901,
        ("alertmanager", "http"): 9093,
        ("alertmanager", "cluster"): 9094,
        ("alert_relay", "http"): 9096,
        ("alert_relay", "webhook"): 9097,
        ("thanos-querier", "http"): 10903,
        ("thanos-querier", "grpc"): 10904,
        # Beside them on one host, as in upstream's quickstart.
        ("thanos-store", "grpc"): 10905,
        ("thanos-store", "http"): 10906,
        ("thanos-receive", "grpc"): 10907,
        ("thanos-receive", "remote_write"): 10908,
        ("thanos-receive", "http"): 10909,
        ("thanos-rule", "grpc"): 10910,
        ("thanos-rule", "http"): 10911,
        ("thanos-compactor", "http"): 10912,
        ("thanos-query-frontend", "http"): 10913,
        ("thanos-bucket-web", "http"): 10914,
        ("seaweedfs", "http"): 9327,
        ("seaweedfs", "s3"): 8333,
        ("minio", "http"): 9000,
        ("minio", "console"): 9001,
        ("prometheus-upper", "http"): 9090,
        ("node_exporter", "http"): 9100,
        ("blackbox_exporter", "http"): 9115,
    }


def test_job_names_differ():
    jobs = [info.job_name for info in DAEMONS.values()]
    assert len(set(jobs)) == len(jobs)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("10.0.0.1", "10.0.0.1:9090"),
        ("mon.example.org", "mon.example.org:9090"),
        ("2001:db8::1", "[2001:db8::1]:9090"),
    ],
)
def test_an_ipv6_address_has_brackets(address, target):
    endpoint = Endpoint("a", "prometheus", address, 9090)
    assert (endpoint.target, endpoint.url) == (target, f"http://{target}")


def test_the_scheme_is_in_one_place():
    assert Endpoint("a", "prometheus", "10.0.0.1", 9090, "https").url == "https://10.0.0.1:9090"


def test_ip():
    assert str(topology.ip("[2001:db8:0::1]")) == "2001:db8::1"
    assert topology.ip("mon.example.org") is None
    assert topology.ip(None) is None


def test_components_of_groups():
    def names(*groups):
        return [info.name for info in of_groups(groups)]

    assert names("prometheus") == ["prometheus", "thanos-sidecar", "node_exporter"]
    assert names("querier", "alertmanager") == ["alertmanager", "thanos-querier", "node_exporter"]
    assert names("node_exporter") == names() == ["node_exporter"]
