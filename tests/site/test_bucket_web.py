"""The bucket on a page."""

from prometheus_ha.suites.ask import get
from prometheus_ha.suites.daemon import Daemon

COMPONENT = "thanos-bucket-web"


class TestDaemon(Daemon):
    pass


def test_it_serves_a_page(member):
    assert "<html" in get(member, COMPONENT, "/blocks").lower()
