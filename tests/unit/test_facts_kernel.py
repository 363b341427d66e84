"""Kernel values; recorded on hosts of the lab, as root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError, FactValueError

from prometheus_ha.facts import kernel

DATA = Path(__file__).parent / "data/facts"


def lines(name: str) -> list[str]:
    return (DATA / f"kernel_{name}.txt").read_text().splitlines()


@pytest.mark.parametrize("system", ["debian11", "debian12", "debian13"])
def test_values(system):
    assert kernel.parse(lines(system)) == {
        "net.core.somaxconn": "4096",
        "vm.overcommit_memory": "1",
        "vm.swappiness": "1",
        "net.ipv4.ip_local_port_range": "1024 65000",
        "net.ipv4.no_such_name": None,
    }


def test_whose_a_value_is_and_whether_it_can_be_set():
    entries = kernel.parse_entries(lines("readonly_debian12"))
    assert entries["vm.swappiness"] == kernel.Entry("60", writable=False, machine_wide=True)
    assert entries["net.core.somaxconn"] == kernel.Entry("4096", writable=False, machine_wide=False)
    assert entries["net.ipv4.no_such_name"].value is None
    assert kernel.parse_entries(lines("debian12"))["vm.swappiness"].writable


def test_reads_this_machine():
    command = kernel.Kernel().command(names="kernel.ostype, net.ipv4.ip_local_port_range no.such")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    found = kernel.parse(done.stdout.splitlines())
    assert found["kernel.ostype"] == "Linux"
    assert len(found["net.ipv4.ip_local_port_range"].split(" ")) == 2
    assert found["no.such"] is None


def test_default_names_are_the_settings():
    names = kernel.default_names()
    assert "net.core.somaxconn" in names
    assert all(name in kernel.Kernel().command() for name in names)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vm.swappiness", "/proc/sys/vm/swappiness"),
        ("net.ipv4.conf.eth0/1.forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
        ("net/ipv4/conf/eth0.1/forwarding", "/proc/sys/net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_path(name, path):
    assert kernel.path(name) == path


@pytest.mark.parametrize("name", ["", "vm swappiness", "$(reboot)", "../etc/passwd", "a/../b", "-x"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(FactValueError, match="no sysctl name"):
        kernel.script([name])


def test_other_text():
    with pytest.raises(FactProcessError, match="Permission denied"):
        kernel.parse(["sh: Permission denied"])
