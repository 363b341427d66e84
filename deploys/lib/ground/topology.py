"""Places on a host, each defined here and only here, and addresses: an `Endpoint` is how another process reaches a
port. Nothing here knows a host or a daemon: `Site.endpoint` joins a daemon's ports with the settings of a host."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

USER = "prometheus"
GROUP = "prometheus"
SHELL = "/sbin/nologin"

OLDEST_SYSTEMD = 239
"""That of RHEL 8. CentOS 7 (219) is older, and its kernel too old for current releases."""

SOFTWARE_DIR = "/opt/software"
"""Archives as downloaded (spec/000 2)."""
INSTALL_DIR = "/opt"
"""Each archive is unpacked to `<INSTALL_DIR>/<archive's directory>`."""
BIN_DIR = "/usr/local/bin"
"""Links to the binaries of the version in use."""
UNIT_DIR = "/etc/systemd/system"
TOOLS_DIR = "/usr/local/libexec/monitoring"
"""Programs that units run beside their daemons."""

WEB_DIR = "/etc/monitoring"
"""The web configuration of every daemon, certificates, and what our own clients ask with."""
LOG_DIR = "/var/log/prometheus"
STATE = "/etc/.monitoring"
"""What we know of a host: staged files, and lists of what is ours. Root's alone, as it holds secrets on their way."""
LAST_RUN = f"{STATE}/last-run"
"""The last run of a deploy, in words: who, from where, when, its result, and what it changed on this host."""
ADDRESS = f"{STATE}/address"
"""The address at which the others were told to reach this host."""
STAMPS = "/run/monitoring"
"""What each unit read when it was started and when it was reloaded: `<unit>.started`, `<unit>.loaded`."""
STAMP = f"{TOOLS_DIR}/stamp"
"""The tool with which units write those."""
FIREWALL = f"{TOOLS_DIR}/firewall"
"""The tool that lets the site's members through the host's own firewall."""
FIREWALL_UNIT = "monitoring-firewall"
RSYSLOG_FILE = "/etc/rsyslog.d/30-prometheus.conf"
RSYSLOG_DROP_IN = "/etc/systemd/system/rsyslog.service.d/monitoring.conf"
SYSCTL_FILE = "/etc/sysctl.d/99-prometheus.conf"
PORTS_FILE = "/etc/sysctl.d/99-zz-prometheus-ports.conf"
"""The ports of ours that no outgoing connection may be given. Of several files that set the same value the last one by
name holds at boot, and an administrator's own is often in `99-sysctl.conf`, a link to /etc/sysctl.conf."""
RESERVED_PORTS = "net.ipv4.ip_local_reserved_ports"
PORT_RANGE = "net.ipv4.ip_local_port_range"
LIMITS_FILE = "/etc/security/limits.d/99-prometheus.conf"
LOGROTATE_FILE = "/etc/logrotate.d/prometheus"
ATTACHED_LOG_DIR = "/var/log/monitoring"
ATTACHED_LOGROTATE_FILE = "/etc/logrotate.d/monitoring"
"""The same beside a Prometheus of somebody else: a distribution's package has the other names."""


@dataclass(frozen=True)
class Endpoint:
    """One port of one component on one host, as another process reaches it."""

    host_name: str
    """Name in the inventory."""
    component: str
    address: str
    """IP address (an IPv6 one without brackets) or DNS name."""
    port: int
    scheme: str = "http"

    @property
    def target(self) -> str:
        """`address:port`, with an IPv6 address in brackets: for targets, peers and listeners."""
        return join(self.address, self.port)

    @property
    def url(self) -> str:
        """`scheme://address:port`, without a trailing slash."""
        return f"{self.scheme}://{self.target}"


def join(address: str, port: int) -> str:
    """`address:port`, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ip(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`address` as an IP address, with or without brackets; None where it is none."""
    try:
        return ipaddress.ip_address((address or "").removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def read_ports(text: object) -> set[int]:
    """The ports of `9090-9091,9093`, as the kernel writes them. ValueError for anything else."""
    ports: set[int] = set()
    for part in str(text).replace(" ", "").split(","):
        if part:
            first, _, last = part.partition("-")
            one, other = int(first), int(last or first)
            if not 0 < one <= other <= 65535:
                raise ValueError("ports and ranges of ports, as 8000-8100,9090")
            ports |= set(range(one, other + 1))
    return ports


def write_ports(ports: Collection[int]) -> str:
    """Ports as the kernel writes them: `9090-9091,9093`."""
    runs: list[list[int]] = []
    for port in sorted(ports):
        if runs and port == runs[-1][-1] + 1:
            runs[-1][1:] = [port]
        else:
            runs.append([port])
    return ",".join("-".join(map(str, run)) for run in runs)


SHARED_DIRECTORIES = (
    *(INSTALL_DIR, BIN_DIR, UNIT_DIR, str(PurePosixPath(RSYSLOG_DROP_IN).parent)),
    *(str(PurePosixPath(path).parent) for path in (RSYSLOG_FILE, SYSCTL_FILE, LIMITS_FILE, LOGROTATE_FILE)),
)
"""Directories of the system in which files of ours lie."""
