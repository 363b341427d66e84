"""The relay to group bots: it knows its channels, and nobody else knows their keys."""

import json

from prometheus_ha.deploys.lib.daemons.alertmanager import RELAY_CONFIG
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.suites.ask import listing, metrics
from prometheus_ha.suites.daemon import Daemon, look

COMPONENT = "alert_relay"


class TestDaemon(Daemon):
    def test_configuration_is_for_it_to_read_and_not_to_write(self, host, member, info):
        assert listing(member, info.config_dir, RELAY_CONFIG) == {
            info.config_dir: f"d 750 root:{topology.GROUP}",
            RELAY_CONFIG: f"f 640 root:{COMPONENT}",
        }


def test_it_takes_notifications_on_loopback_alone(site, member):
    port = site.endpoint(COMPONENT, member, "webhook").port
    places = [row.split()[4] for row in look(member, COMPONENT).parts["sockets"] if row.split()[4].endswith(f":{port}")]
    assert places == [f"127.0.0.1:{port}"]


def test_it_has_the_channels_that_it_is_to_have(host, site, member):
    port = site.endpoint(COMPONENT, member, "webhook").port
    told = json.loads(host.check_output(f"curl -sS http://127.0.0.1:{port}/status"))
    assert set(told["channels"]) == set(member.settings.alert_channels)
    [(_, loaded)] = metrics(member, COMPONENT, "alert_relay_config_last_reload_successful")
    assert loaded == 1
