"""Entries of remote_write: who takes remote write 2.0."""

import pytest

from prometheus_ha.deploys.lib.survey import remote_write_checks, site_checks
from tests.unit.example_site import example_site

V2 = {"protobuf_message": remote_write_checks.VERSION_2}
RING = "http://10.0.0.72:10908/api/v1/receive"
UPPER = "http://10.0.0.51:9090/api/v1/write"


def judged(url=RING, site=None, **data):
    """What is found, by host, where all Prometheus and rulers write to `url`."""
    entry = {"url": url, **V2}
    data = {"prometheus_config": {"remote_write": [entry]}, "rule_remote_write": [entry], **data}
    site = example_site(storage=True, **data)
    assert remote_write_checks.check_protocol in site_checks.MEMBER_CHECKS
    return [finding for member in site.hosts.values() for finding in remote_write_checks.check_protocol(site, member)]


def test_remote_write_2_to_a_receiver_that_stores_nothing_of_it():
    found = judged()
    assert {f.host for f in found} == {"prom-1", "prom-2", "upper-1", "ring-1", "ring-2"}
    assert {f.check for f in found if f.host.startswith("ring")} == {"rule_remote_write[0].protobuf_message"}
    assert found[0].check == "prometheus_config.remote_write[0].protobuf_message"
    assert found[0].found == "io.prometheus.write.v2.Request to ring-2, which has thanos 0.42.5"
    assert "thanos before 0.43.0 answers that all is well, and stores nothing" in found[0].wanted
    assert {f.severity for f in found} == {"fail"}


@pytest.mark.parametrize(
    ("component", "version", "url", "refused"),
    [
        ("thanos", "0.43.0", RING, False),
        ("thanos", "0.43.0-rc.0", RING, False),
        ("thanos", "0.42.99", RING, True),
        ("prometheus", "2.53.5", UPPER, True),
        ("prometheus", "2.54.0", UPPER, False),
        ("prometheus", "3.15.0", UPPER, False),
    ],
)
def test_by_version(component, version, url, refused):
    assert bool(judged(url, versions={component: version})) is refused


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        (RING, True),
        ("HTTP://RING-2:10908/api/v1/receive", True),
        ("http://me:pw@10.0.0.72:10908/api/v1/receive?x=y", True),
        ("http://10.0.0.72:10909/api/v1/receive", False),  # its HTTP port takes none
        ("http://10.0.0.99:10908/api/v1/receive", False),  # whoever's
        ("https://mimir.example.org/api/v1/push", False),
        ("http://[::1", False),
        ("http://10.0.0.72:port/", False),
        ("", False),
        (None, False),
        (9, False),
    ],
)
def test_whose_url_it_is(url, ours):
    assert bool(judged(url)) is ours


def test_an_ipv6_address_is_compared_as_one():
    from dataclasses import replace

    site = example_site(storage=True)
    site.hosts["ring-1"] = replace(site.hosts["ring-1"], address="2001:db8::7")
    for url in ("http://[2001:db8::7]:10908/", "http://[2001:0DB8:0:0::7]:10908/"):
        assert remote_write_checks.receiver(site, url) == ("thanos-receive", site.hosts["ring-1"])


def test_an_upper_prometheus_that_is_told_to_take_1_only():
    flag = "web.remote-write-receiver.accepted-protobuf-messages"
    for value, refused in (
        ("prometheus.WriteRequest", True),
        (["prometheus.WriteRequest", remote_write_checks.VERSION_2], False),
    ):
        assert bool(judged(UPPER, prometheus_flags={flag: value})) is refused


def test_remote_write_1_goes_to_all():
    site = example_site(storage=True, prometheus_config={"remote_write": [{"url": RING}]})
    for member in site.hosts.values():
        assert not list(remote_write_checks.check_protocol(site, member))
