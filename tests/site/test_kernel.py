"""Kernel values (spec/000 4.2): in the file, in the kernel, and in use by the daemons."""

from deploys.lib import topology
from tests.site.ask import listing
from tests.site.daemon import expected_listeners
from tests.site.inventory import only


def _plain(value) -> str:
    return " ".join(str(value).split())


def test_file_has_the_wanted_values(host, member):
    path = topology.SYSCTL_FILE
    assert listing(member, path) == {path: "f 644 root:root"}
    found = {}
    for line in host.check_output("cat %s", path).splitlines():
        if line.strip() and line[0] not in "#;":
            key, _, value = line.partition("=")
            found[key.strip()] = _plain(value)
    assert found == {key: _plain(value) for key, value in member.settings.sysctl.items()}


def test_kernel_has_the_wanted_values(host, member):
    wanted = {key: _plain(value) for key, value in member.settings.sysctl.items()}
    text = host.check_output("sysctl " + " ".join(wanted))
    found = dict(line.split(" = ", 1) for line in text.splitlines())
    assert {key: _plain(value) for key, value in found.items()} == wanted


def test_no_other_file_changes_them_at_boot(host, member):
    """Files are applied by name, the last one wins: /etc/sysctl.d/99-zzz.conf would undo ours."""
    text = host.check_output("systemd-analyze cat-config sysctl.d --no-pager")
    last = {}
    for line in text.splitlines():
        if "=" in line and line[0] not in "#;":
            key, _, value = line.lstrip("-").partition("=")
            last[key.strip().replace("/", ".")] = _plain(value)
    wanted = {key: _plain(value) for key, value in member.settings.sysctl.items()}
    assert {key: last.get(key.replace("/", ".")) for key in wanted} == wanted


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
