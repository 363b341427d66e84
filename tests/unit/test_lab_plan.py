"""The lab's plan: names and addresses that follow from the clone, and the inventory's entries."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from tests.lab import plan

LAB = plan.Lab(Path("/srv/clone"))


def test_one_clone_has_one_plan_and_two_clones_have_two():
    again, other = plan.Lab(Path("/srv/clone")), plan.Lab(Path("/srv/other"))
    assert (again.id, again.subnet) == (LAB.id, LAB.subnet)
    assert (other.id, other.subnet) != (LAB.id, LAB.subnet)


def test_each_attempt_is_another_plan():
    labs = [plan.Lab(Path("/srv/clone"), attempt) for attempt in range(20)]
    assert len({lab.id for lab in labs}) == len({lab.subnet for lab in labs}) == 20


def test_subnets_stay_in_their_range():
    first, last = ipaddress.ip_address("10.130.0.0"), ipaddress.ip_address("10.189.255.255")
    for number in range(500):
        subnet = plan.Lab(Path(f"/srv/{number}")).subnet
        assert subnet.prefixlen == 24
        assert first <= subnet[0] and subnet[-1] <= last


def test_names_of_interfaces_are_short_enough_for_the_kernel():
    names = [LAB.bridge, *(LAB.veth(host) for host in plan.ALL)]
    assert all(len(name) <= 15 for name in names)
    assert len(set(names)) == len(names)


def test_no_address_twice():
    addresses = [LAB.gateway, LAB.gateway6]
    for host in plan.ALL:
        addresses += {LAB.address(host), LAB.management_address(host)}
    assert len(set(addresses)) == len(addresses)
    for each in map(ipaddress.ip_address, addresses):
        assert each in (LAB.subnet if each.version == 4 else LAB.subnet6)


def test_the_odd_hosts_are_beside_the_site():
    assert not plan.ODD.keys() & plan.HOSTS.keys()
    six = {name for name in plan.ALL if ipaddress.ip_address(LAB.address(name)).version == 6}
    assert six == {"odd-six-1", "odd-six-2"}
    _, data = plan.host("odd-six-1", lab=LAB)
    assert data["base_url"] == f"http://[{LAB.gateway6}]:8080"
    assert LAB.subnet6.is_private and LAB.subnet6 != plan.Lab(Path("/srv/other")).subnet6


def test_the_hosts_differ_as_the_tests_need_it():
    suites = {name: host.suite for name, host in plan.HOSTS.items() if host.suite != "bookworm"}
    assert suites == {
        **{"prom-2": "trixie", "am-2": "trixie", "am-3": "bullseye"},
        **{"receiver-1": "trixie", "ring-3": "trixie"},
    }
    users = {name for name, host in plan.HOSTS.items() if host.user != "root"}
    assert users == {"prom-1", "am-2", "query-1"}
    assert {host.suite for host in plan.HOSTS.values()} <= set(plan.DEBIAN)


def test_host_is_an_entry_of_an_inventory():
    name, data = plan.host("am-3", lab=LAB, replica="a")
    assert name == "am-3"
    assert data == {
        "ssh_hostname": LAB.address("am-3"),
        "ssh_user": "root",
        "ssh_key": "/srv/clone/.lab/ssh_key",
        "ssh_known_hosts_file": "/srv/clone/.lab/known_hosts",
        "ssh_strict_host_key_checking": "yes",
        "ssh_config_file": "/dev/null",
        "replica": "a",
    }
    json.dumps(data)


def test_few_hosts_ask_systemd():
    flags = {name: plan.host(name, lab=LAB)[1].get("node_exporter_flags", {}) for name in plan.HOSTS}
    asking = [name for name, given in flags.items() if given.get("collector.systemd", True)]
    assert sorted(asking) == sorted(plan.ASK_SYSTEMD)
    assert {plan.HOSTS[name].suite for name in asking} == set(plan.DEBIAN)


def test_host_with_sudo():
    _, data = plan.host("query-1", lab=LAB)
    assert (data["ssh_user"], data["_sudo"]) == ("ops", True)


def test_host_with_a_management_address():
    _, data = plan.host("prom-2", lab=LAB)
    assert data["ssh_hostname"] == LAB.management_address("prom-2")
    assert data["service_address"] == LAB.address("prom-2") != data["ssh_hostname"]


def test_data_given_to_host_goes_first():
    assert plan.host("am-1", lab=LAB, ssh_user="me")[1]["ssh_user"] == "me"


def test_unknown_host():
    with pytest.raises(KeyError, match="am-9"):
        plan.host("am-9", lab=LAB)


def test_load_follows_what_up_settled(tmp_path: Path):
    assert plan.load(tmp_path) == plan.Lab(tmp_path, 0)
    (tmp_path / ".lab").mkdir()
    (tmp_path / ".lab" / "plan.json").write_text('{"attempt": 3}')
    assert plan.load(tmp_path) == plan.Lab(tmp_path, 3)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"attempt": null}', "nonsense"])
def test_load_of_a_broken_file_starts_over(tmp_path: Path, content: str):
    (tmp_path / ".lab").mkdir()
    (tmp_path / ".lab" / "plan.json").write_text(content)
    assert plan.load(tmp_path).attempt == 0


def test_urls():
    assert LAB.mirror_url == f"http://{LAB.gateway}:8080"
    assert LAB.sink_url == f"http://{LAB.gateway}:8081"
    assert LAB.s3_endpoint == f"{LAB.address('store-1')}:8333"


def test_cache_is_the_users(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert plan.cache_dir() == Path("/var/cache/me/pyinfra-prometheus-ha")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert plan.cache_dir() == Path("/home/me/.cache/pyinfra-prometheus-ha")
