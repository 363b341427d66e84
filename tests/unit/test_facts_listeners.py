"""ss by release; recorded, but for the files that end in _doc."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.facts import listeners
from prometheus_ha.facts.listeners import Listener, parse

DATA = Path(__file__).parent / "data/facts"


def lines(name: str) -> list[str]:
    text = (DATA / f"listeners_{name}.txt").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("system", ["debian11", "debian12", "debian13"])
def test_debian(system):
    found = parse(lines(system))
    assert len(found) == 9
    assert {(one.proto, one.address, one.port, one.process) for one in found} == {
        ("udp", "127.0.0.1", 323, "chronyd"),
        ("udp", "::1", 323, "chronyd"),
        ("udp", "0.0.0.0", 1123, "chronyd"),
        ("udp", "::", 1123, "chronyd"),
        ("tcp", "127.0.0.1", 7778, "systemd-socket-"),
        ("tcp", "127.0.0.1", 8080, "systemd-socket-"),
        ("tcp", "::1", 8080, "systemd-socket-"),
        ("tcp", "*", 7777, "systemd-socket-"),
        ("tcp", "*", 9999, "systemd-socket-"),
    }
    assert all(one.pid and one.interface is None for one in found)


def test_bound_to_an_interface_and_held_by_two_processes():
    found = parse(lines("interface_debian12"))
    assert len(found) == 10
    assert {one.pid for one in found} == {20040, 20099}
    assert {(one.address, one.port, one.interface) for one in found} == {
        ("127.0.0.53", 53, "lo"),
        ("fe80::1", 546, "v0"),
        ("0.0.0.0", 7000, "v0"),
        ("*", 7001, "v0"),
    }


def test_not_root_sees_no_process():
    assert parse(lines("unprivileged_debian12")) == [
        Listener("tcp", "0.0.0.0", 22),
        Listener("tcp", "*", 9100),
        Listener("tcp", "::", 22),
    ]


def test_rhel7():
    found = parse(lines("rhel7_doc"))
    assert ("tcp", "::", 9090, "prometheus", 1410) in [
        (one.proto, one.address, one.port, one.process, one.pid) for one in found
    ]
    assert ("udp", "::1", 323) in [(one.proto, one.address, one.port) for one in found]
    assert ("tcp", "*", 22) in [(one.proto, one.address, one.port) for one in found]


@pytest.mark.parametrize(
    "line",
    [
        "sh: 1: ss: not found",
        "ss failed: 127",
        "tcp LISTEN 0 128 nowhere *:*",
        "tcp LISTEN 0 128",
    ],
)
def test_other_text(line):
    with pytest.raises(FactProcessError):
        parse([line])


def test_nothing_listens():
    assert parse([]) == []


def test_reads_this_machine():
    done = subprocess.run(["sh", "-c", listeners.SCRIPT], capture_output=True, text=True, check=True)
    if "not found" not in done.stdout:
        assert isinstance(parse(done.stdout.splitlines()), list)
