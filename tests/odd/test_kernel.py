"""Ports of ours in the running kernel of a host: given to no connection, and merged with what others reserve."""

from __future__ import annotations

import subprocess
import sys

from prometheus_ha.deploys.lib.ground.topology import PORT_RANGE, PORTS_FILE, RESERVED_PORTS
from tests.drills.site import lab, shell, wait_for
from tests.lab import plan
from tests.odd.site import blank, deployed

HOST = "odd-1"
SITE = {"alertmanager": {HOST: {}}}
THEIRS = "/etc/sysctl.d/99-sysctl.conf"

CONNECT = """
import socket
server = socket.create_server(("127.0.0.1", 1500), backlog=64)
given = []
try:
    while len(given) < 64:
        given.append(socket.create_connection(("127.0.0.1", 1500)))
except OSError:
    pass
print(*sorted(one.getsockname()[1] for one in given))
"""
"""Open connections until there is no port for another one, and print the ports that they were given."""


def given(ports: range) -> set[int]:
    """What the host's kernel gives to connections while it has only these ports to give."""
    before = shell(HOST, f"sysctl -n {PORT_RANGE}").strip()
    # SSH comes in, and needs none of them.
    shell(HOST, f'sysctl -q -w {PORT_RANGE}="{ports[0]} {ports[-1]}"')
    try:
        inside = ("ip", "netns", "exec", plan.LAB.netns(HOST), sys.executable, "-c", CONNECT)
        done = subprocess.run(inside, capture_output=True, text=True, check=True, timeout=30)
    finally:
        shell(HOST, f'sysctl -q -w {PORT_RANGE}="{before}"')
    return {int(port) for port in done.stdout.split()}


def reserved() -> str:
    return shell(HOST, f"sysctl -n {RESERVED_PORTS}").strip()


def test_no_connection_is_given_a_port_of_ours() -> None:
    """Ports that an administrator has reserved"""
    blank(HOST)
    shell(HOST, f"echo '{RESERVED_PORTS} = 8000' >{THEIRS}; sysctl -q -p {THEIRS}")
    shell(HOST, f"sysctl -q -w {RESERVED_PORTS}=7000,8000")
    deployed(SITE)
    assert reserved() == "7000,8000,9093-9094,9096-9097,9100"
    shell(HOST, "systemctl stop alertmanager")
    window = range(9088, 9098)
    assert given(window) == {*window} - {9093, 9094, 9096, 9097}
    # As it was: one of them is what the daemon would not get back.
    shell(HOST, f"sysctl -q -w {RESERVED_PORTS}=")
    assert {9093, 9094} <= given(window)

    # A port that moves, and an administrator's who needs it no more.
    shell(HOST, f"rm {THEIRS}")
    deployed({"alertmanager": {HOST: {"alertmanager_port": 9193}}})
    assert reserved() == "9094,9096-9097,9100,9193"
    lab("restart", HOST)
    wait_for("it to be booted", lambda: "9193" in shell(HOST, f"cat {PORTS_FILE}", check=False))
    assert reserved() == "9094,9096-9097,9100,9193"
