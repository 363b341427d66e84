"""Every Alertmanager, and that together they are one cluster."""

import shlex

import pytest
import yaml

from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_CONFIG, TEMPLATES_DIR
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles.alertmanager import configuration as alertmanager_role
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.suites.ask import api, eventually, metric, metrics
from prometheus_ha.suites.daemon import Daemon, look
from prometheus_ha.suites.inventory import connect

COMPONENT = "alertmanager"


class TestDaemon(Daemon):
    pass


@pytest.fixture
def patience(member):
    """Seconds within which gossip has settled after a start."""
    return seconds(member.settings.timing.settle_timeout) + 15


def test_last_reload_succeeded(member):
    assert metric(member, COMPONENT, "alertmanager_config_last_reload_successful") == 1


def test_configuration_on_disk_is_valid(host):
    done = host.run("amtool check-config %s", ALERTMANAGER_CONFIG)
    assert done.rc == 0, done.stdout + done.stderr


def test_gossip_has_settled_with_every_peer(site, member, patience):
    wanted = {site.endpoint(COMPONENT, m, "cluster").target for m in site.members("alertmanager")}

    def check():
        cluster = api(member, COMPONENT, "/api/v2/status")["cluster"]
        if derived.clustered(site):
            assert cluster["status"] == "ready"
            assert sorted(peer["address"] for peer in cluster["peers"]) == sorted(wanted)
        else:
            assert cluster["status"] == "disabled"

    eventually(check, patience)


def test_no_peer_has_failed(site, member, patience):
    def check():
        failed = metrics(member, COMPONENT, "alertmanager_cluster_failed_peers")
        members = metrics(member, COMPONENT, "alertmanager_cluster_members")
        if derived.clustered(site):
            assert [value for _, value in failed] == [0]
            assert [value for _, value in members] == [len(site.members("alertmanager"))]

    if not any(word.startswith("--cluster.peer-name=") for word in look(member, COMPONENT).argv):
        # A member that restarts has a new name, and the old one counts as failed for this time.
        patience += seconds(member.settings.timing.reconnect_timeout)
    eventually(check, patience)


def test_configuration_is_the_same_on_all(site, member):
    def on(other):
        # Of ours: a file of somebody else's is left where it is.
        names = [f"{TEMPLATES_DIR}/{name}" for name in other.settings.alertmanager_templates]
        paths = shlex.join([ALERTMANAGER_CONFIG, *sorted(names)])
        files = connect(other.name).check_output(f"sha256sum {paths}")
        return files, metric(other, COMPONENT, "alertmanager_config_hash")

    own = on(member)
    for other in site.peers(member, "alertmanager"):
        assert on(other) == own, f"{other.name} has another than {member.name}"


def test_templates_are_those_of_the_inventory(host, member):
    found = host.file(TEMPLATES_DIR).listdir()
    assert set(found) >= set(member.settings.alertmanager_templates)
    for name, text in member.settings.alertmanager_templates.items():
        assert host.file(f"{TEMPLATES_DIR}/{name}").content_string == text


def test_route_is_that_of_the_inventory(site, member):
    """As the process has it loaded, which prints durations in its own way."""
    found = yaml.safe_load(api(member, COMPONENT, "/api/v2/status")["config"]["original"])
    wanted = alertmanager_role.alertmanager_yml(site, member)

    def plain(route):
        times = ("group_wait", "group_interval", "repeat_interval")
        return {
            "receiver": route.get("receiver"),
            "group_by": route.get("group_by"),
            **{key: seconds(route[key]) for key in times if key in route},
            "routes": [plain(each) for each in route.get("routes", [])],
        }

    assert plain(found["route"]) == plain(wanted["route"])
    assert [r["name"] for r in found["receivers"]] == [r["name"] for r in wanted["receivers"]]
