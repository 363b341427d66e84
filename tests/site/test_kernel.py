"""Kernel values (spec/000 4.2): in the file, in the kernel, and in use by the daemons."""

import pytest

from prometheus_ha.deploys.lib.common import kernel
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.topology import PORT_RANGE, PORTS_FILE, RESERVED_PORTS, SYSCTL_FILE
from prometheus_ha.suites.ask import listing
from prometheus_ha.suites.daemon import expected_listeners, look
from prometheus_ha.suites.inventory import only


def _plain(value) -> str:
    return " ".join(str(value).split())


def _wanted(member) -> dict[str, str]:
    """What the setting `sysctl` says, but for the ports, which are merged with those of others."""
    values = {key: _plain(value) for key, value in member.settings.sysctl.items()}
    values.pop(RESERVED_PORTS, None)
    return values


def _assigned(text: str) -> dict[str, str]:
    """The values of a file in sysctl.d, or of several in the order in which they are read."""
    found = {}
    for line in text.splitlines():
        if "=" in line and line[0] not in "#;":
            key, _, value = line.lstrip("-").partition("=")
            found[key.strip().replace("/", ".")] = _plain(value)
    return found


def test_file_has_the_wanted_values(host, member):
    assert listing(member, SYSCTL_FILE) == {SYSCTL_FILE: "f 644 root:root"}
    assert _assigned(host.check_output("cat %s", SYSCTL_FILE)) == _wanted(member)


def test_kernel_has_the_wanted_values(host, member):
    wanted = _wanted(member)
    text = host.check_output("sysctl " + " ".join(wanted))
    found = dict(line.split(" = ", 1) for line in text.splitlines())
    assert {key: _plain(value) for key, value in found.items()} == wanted


@pytest.fixture
def at_boot(host):
    """Files are applied by name, the last one wins: /etc/sysctl.d/99-zzz.conf would undo ours."""
    return _assigned(host.check_output("systemd-analyze cat-config sysctl.d --no-pager"))


def test_no_other_file_changes_them_at_boot(member, at_boot):
    wanted = _wanted(member)
    assert {key: at_boot.get(key.replace("/", ".")) for key in wanted} == wanted


def test_no_connection_is_given_a_port_of_ours(host, member, at_boot):
    """Now and after a boot; those that a daemon opens for itself, on loopback, are ports of ours too."""
    first, last = map(int, host.check_output("sysctl -n %s", PORT_RANGE).split())
    wanted = kernel.ports(member)
    for component in member.components:
        wanted |= {port for _, port in look(member, component).listeners}
    if not any(first <= port <= last for port in wanted):
        return
    assert listing(member, PORTS_FILE) == {PORTS_FILE: "f 644 root:root"}
    live = topology.read_ports(host.check_output("sysctl -n %s", RESERVED_PORTS))
    assert wanted <= live
    assert wanted <= topology.read_ports(at_boot[RESERVED_PORTS])


@only(lambda member, _: "net.core.somaxconn" in member.settings.sysctl)
def test_daemons_listen_with_the_wanted_queue(host, site, member):
    """somaxconn counts when a socket is opened; a sandbox that hides it leaves 128."""
    queue = int(member.settings.sysctl["net.core.somaxconn"])
    ports = {
        port
        for component in member.components
        for transport, port in expected_listeners(site, member, component)
        if transport == "tcp"
    }
    lines = [line.split() for line in host.check_output("ss -Hltn").splitlines()]
    found = {int(local.rpartition(":")[2]): int(send) for _, _, send, local, *_ in lines}
    assert {port: found.get(port) for port in ports} == dict.fromkeys(ports, queue)
