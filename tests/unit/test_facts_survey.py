"""The survey, as recorded on lab hosts of three Debian versions, and what other hosts say by their documentation."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib.survey.preflight import default_script
from prometheus_ha.facts.reports.survey import AT_ONCE, Holder, Host, parse, script

DATA = Path(__file__).parent / "data" / "facts"
RELEASES = ("debian11", "debian12", "debian13")


def recorded(name: str) -> Host:
    return parse((DATA / f"survey_{name}.txt").read_text().splitlines())


def with_section(section: str, *lines: str, base: str = "blank_debian12") -> Host:
    """A recorded host of which one section says something else."""
    text = (DATA / f"survey_{base}.txt").read_text().splitlines()
    begin = text.index(f"--- {section}") + 1
    end = next((i for i in range(begin, len(text)) if text[i].startswith("--- ")), len(text))
    return parse([*text[:begin], *lines, *text[end:]])


@pytest.mark.parametrize("release", RELEASES)
def test_a_blank_host(release):
    host = recorded(f"blank_{release}")
    assert host.cpus == 2 and host.memory == 24684084 * 1024 and host.swap == 0
    assert host.room["/opt"].mount == "/" and host.room["/opt"].free > 0
    assert host.room["/opt"].kind == "unknown"  # an overlay has no disk of its own
    assert (host.holders, host.units, host.data, host.firewall) == ([], [], {}, "")
    assert host.selinux == "disabled"
    assert {says for peer, says in host.reach.items() if peer} == {"refused"}


@pytest.mark.parametrize("release", RELEASES)
def test_a_host_of_ours(release):
    host = recorded(f"deployed_{release}")
    assert {unit.name for unit in host.units if unit.ours} == {unit.name for unit in host.units}
    node = next(h for h in host.holders if h.port == 9100)
    assert (node.proto, node.process) == ("tcp", "node_exporter")
    assert node.unit == "node_exporter.service"
    assert node.exe == "/opt/node_exporter-1.12.1.linux-amd64/node_exporter"
    assert {says for peer, says in host.reach.items() if peer} == {"open"}
    assert all(directory.owner == "prometheus" for directory in host.data.values())


def test_gossip_is_held_twice():
    gossip = [h for h in recorded("deployed_debian11").holders if h.port == 9094]
    assert {(h.proto, h.unit) for h in gossip} == {
        ("tcp", "alertmanager.service"),
        ("udp", "alertmanager.service"),
    }


def test_reach():
    host = with_section(
        "reach",
        *("tried", "10.0.0.1/9090 open", "10.0.0.2/9090 Connection refused"),
        *("10.0.0.3/9090 No route to host", "fd00::1/9090 Network is unreachable"),
        "no.such.name/9090 Invalid argument",
    )
    assert host.reach == {
        "": "tried",
        "10.0.0.1:9090": "open",
        "10.0.0.2:9090": "refused",
        "10.0.0.3:9090": "unreachable",
        "[fd00::1]:9090": "unreachable",
        "no.such.name:9090": "Invalid argument",
    }


NFT = """chain inet filter input
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iif "lo" accept
		tcp dport 22 accept
	}
}
chain ip6 raw pre
table ip6 raw {
	chain pre {
		type filter hook input priority raw; policy accept;
	}
}"""
LAST = """chain inet filter input
table inet filter {
	chain input {
		type filter hook input priority 0; policy accept;
		tcp dport 22 accept
		counter packets 3 bytes 180 reject with icmpx type admin-prohibited comment "no more"
	}
}"""


def test_nftables():
    host = with_section("nft", *NFT.splitlines())
    strict, raw = host.chains
    assert (strict.family, strict.table, strict.name) == ("inet", "filter", "input")
    assert strict.policy == "drop" and strict.drops and len(strict.rules) == 3
    assert not raw.drops
    assert host.firewall == "nftables"


def test_nftables_that_reject_at_the_end():
    (chain,) = with_section("nft", *LAST.splitlines()).chains
    assert chain.policy == "accept" and chain.drops


def test_nftables_that_drop_something():
    some = LAST.replace("counter packets 3 bytes 180 reject", "ip saddr 10.0.0.1 drop #")
    assert with_section("nft", *some.splitlines()).firewall == ""


@pytest.mark.parametrize(
    ("section", "lines", "firewall"),
    [
        ("managers", ["firewalld"], "firewalld"),
        ("managers", ["ufw"], "ufw"),
        ("iptables", ["-P INPUT DROP", "-A INPUT -i lo -j ACCEPT"], "iptables"),
        (
            "iptables",
            ["-P INPUT ACCEPT", "-A INPUT -j REJECT --reject-with icmp-host-prohibited"],
            "iptables",
        ),
        ("iptables", ["-P INPUT ACCEPT", "-A INPUT -s 10.0.0.1/32 -j DROP"], ""),
    ],
)
def test_other_firewalls(section, lines, firewall):
    assert with_section(section, *lines).firewall == firewall


@pytest.mark.parametrize(("line", "mode"), [("1", "enforcing"), ("0", "permissive"), ("", "disabled")])
def test_selinux(line, mode):
    assert with_section("selinux", *([line] if line else [])).selinux == mode


def test_units_and_packages_that_are_not_ours():
    text = (DATA / "survey_blank_debian12.txt").read_text()
    text = text.replace(
        "--- units\n--- packages\n",
        "--- units\n"
        "/lib/systemd/system/prometheus.service\n"
        "/lib/systemd/system/prometheus-node-exporter.service\n"
        "Id=prometheus.service\nActiveState=active\nUnitFileState=enabled\n\n"
        "Id=prometheus-node-exporter.service\nActiveState=inactive\nUnitFileState=disabled\n"
        "--- packages\n"
        "prometheus: /lib/systemd/system/prometheus.service\n"
        "prometheus-node-exporter: /lib/systemd/system/prometheus-node-exporter.service\n",
    )
    ours, other = parse(text.splitlines()).units
    assert (ours.name, ours.active, ours.state, ours.package) == (
        *("prometheus", True, "enabled"),
        "prometheus",
    )
    assert not ours.ours
    assert (other.name, other.active, other.state) == (
        *("prometheus-node-exporter", False),
        "disabled",
    )


def test_a_holder_in_cgroup_v1_and_its_package():
    text = (DATA / "survey_blank_debian12.txt").read_text()
    socket = 'tcp LISTEN 0 4096 127.0.0.1:9100 0.0.0.0:* users:(("prometheus-node",pid=77,fd=3))'
    text = text.replace(
        "/usr/bin/ss\n\n--- holders\n",
        f"/usr/bin/ss\n{socket}\n--- holders\n/proc/77/exe /usr/bin/prometheus-node-exporter\n"
        "/proc/77/cgroup:1:name=systemd:/system.slice/prometheus-node-exporter.service\n",
    ).replace(
        "--- packages\n",
        "--- packages\nprometheus-node-exporter:amd64: /usr/bin/prometheus-node-exporter\n",
    )
    (holder,) = parse(text.splitlines()).holders
    assert (holder.address, holder.port, holder.pid) == ("127.0.0.1", 9100, 77)
    assert holder.unit == "prometheus-node-exporter.service"
    assert holder.package == "prometheus-node-exporter"


def test_mounts_and_disks():
    host = with_section(
        "room",
        *("place /opt /opt", "place /var/lib/prometheus/data /var/lib/prometheus"),
        *("size /opt 4096 100 1000 0 0", "size /var/lib/prometheus 1024 7 10 5 9"),
        *("/opt /opt", "/var/lib/prometheus /var/lib/prometheus"),
        "30 1 8:3 / /opt ro,noexec,relatime shared:1 - ext4 /dev/sda3 rw",
        "31 1 254:0 / /var/lib/prometheus rw - xfs /dev/vda ro",
    )
    opt, data = host.room.values()
    assert (opt.free, opt.size, opt.free_inodes) == (409600, 4096000, None)
    assert {"ro", "noexec"} <= set(opt.options)
    assert (data.free_inodes, data.kind) == (5, "rotational")
    assert "ro" in data.options  # the file system, though not the mount


def test_a_directory_mounted_on_itself_and_one_behind_a_link():
    host = with_section(
        "room",
        *("place /usr/local /usr/local", "place /opt /opt"),
        *("size /usr/local 4096 1 2 3 4", "size /opt 4096 1 2 3 4"),
        *("/usr/local /usr/local", "/srv/opt /opt"),
        "30 1 8:3 / / rw shared:1 - ext4 /dev/sda3 rw",
        "31 30 8:3 /usr/local /usr/local ro shared:1 - ext4 /dev/sda3 rw",
        "32 30 8:4 / /srv rw,noexec shared:1 - ext4 /dev/sda4 rw",
    )
    local, opt = host.room.values()
    assert (local.mount, "ro" in local.options) == ("/usr/local", True)
    assert (opt.mount, opt.options) == ("/srv", ("noexec", "rw"))


def test_it_runs_here_and_says_nothing_of_what_is_not_there():
    done = subprocess.run(["sh", "-c", default_script()], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert parse(done.stdout.splitlines()).cpus > 0


def test_peers_are_tried_from_here():
    asked = script(peers=[("127.0.0.1", 1), ("::1", 1)])
    done = subprocess.run(["sh", "-c", asked], capture_output=True, text=True)
    reach = parse(done.stdout.splitlines()).reach
    assert reach["127.0.0.1:1"] == "refused" and "[::1]:1" in reach


def test_what_is_not_open_at_once_is_tried_again_with_others_in_turns():
    """An open peer comes after one that does not answer, and after more than are tried at once."""
    with ExitStack() as stack:
        deaf, server, *waiting = (stack.enter_context(socket.socket()) for _ in range(6))
        for one, backlog in ((deaf, 0), (server, 1)):
            one.bind(("127.0.0.1", 0))
            one.listen(backlog)
        for one in waiting:  # the queue of one that accepts nobody, so that it does not answer
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        peers = [("127.0.0.1", port) for port in range(1, AT_ONCE + 1)]
        peers += [deaf.getsockname(), server.getsockname()]
        asked = script(peers=peers)
        done = subprocess.run(["sh", "-c", asked], capture_output=True, text=True)
    reach = parse(done.stdout.splitlines()).reach
    assert "{}:{}".format(*peers[-2]) not in reach
    assert "refused" in reach.values()  # all of them on an idle machine, a few on one that is very busy
    assert reach["{}:{}".format(*peers[-1])] == "open"
    assert f"xargs -n {AT_ONCE} timeout 3 bash" in asked


def test_other_text_is_refused():
    with pytest.raises(FactProcessError):
        parse(["Permission denied"])


@pytest.mark.parametrize(
    ("unit", "exe", "ours"),
    [
        ("prometheus.service", "/opt/prometheus-3.16.0.linux-amd64/prometheus", True),
        ("prometheus.service", "/usr/bin/prometheus", False),
        ("alert_relay.service", "/usr/bin/python3.11", True),
        ("alert_relay.service", "/opt/other/relay", False),
        ("other.service", "/usr/bin/python3.11", False),
    ],
)
def test_whose_a_listener_is(unit, exe, ours):
    assert Holder("tcp", 9096, "0.0.0.0", 1, "x", exe, unit).ours is ours
