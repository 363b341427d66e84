"""What the lab is made of: its hosts, addresses, names and files.

Pure and fast (``inventory.py`` imports it on every run): nothing is started or changed here. All
names and addresses follow from the path of the clone, so that two clones never meet.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

MIRROR_PORT = 8080
SINK_PORT = 8081
BOTS_PORT = 8082
S3_PORT = 8333
S3_HOST = "store-1"
RECEIVER = "receiver-1"
RING = "ring-1"
"""The member of the hashring that the lab's Prometheus write to."""
BUCKET = "thanos"
MEMCACHED_HOST = "query-2"


@dataclass(frozen=True)
class Host:
    """One host of the lab.

    ``suite`` is the Debian release it runs, ``user`` the login (root, or one that needs sudo),
    ``number`` the last byte of its service address, ``management_number`` that of the address
    SSH uses where it is another one. ``packages`` are in its root tree besides the usual ones; a
    host with ``ipv6`` has no IPv4 address.
    """

    name: str
    suite: str
    user: str
    number: int
    management_number: int
    packages: tuple[str, ...] = ()
    ipv6: bool = False


def _host(
    name: str,
    number: int,
    suite: str = "bookworm",
    user: str = "root",
    management: int = 0,
    packages: tuple[str, ...] = (),
    ipv6: bool = False,
) -> Host:
    return Host(name, suite, user, number, management or number, packages, ipv6)


HOSTS: dict[str, Host] = {
    host.name: host
    for host in (
        _host("prom-1", 11, user="ops"),
        _host("prom-2", 12, suite="trixie", management=112),
        _host("am-1", 21),
        _host("am-2", 22, suite="trixie", user="ops"),
        _host("am-3", 23, suite="bullseye"),
        _host("query-1", 31, user="ops"),
        _host("query-2", 32, packages=("memcached",)),
        _host("store-1", 41),
        _host("upper-1", 51),
        _host("receiver-1", 52, suite="trixie"),
        _host("ring-1", 61),
        _host("ring-2", 62),
        _host("ring-3", 63, suite="trixie"),
    )
}

ODD: dict[str, Host] = {
    host.name: host
    for host in (
        _host("odd-1", 71),
        _host("odd-2", 72),
        _host("odd-deb", 73, packages=("prometheus", "prometheus-node-exporter")),
        _host("odd-3", 74),
        _host("odd-4", 75),
        _host("odd-six-1", 81, ipv6=True),
        _host("odd-six-2", 82, ipv6=True),
    )
}
"""Hosts for tests/odd, which boots and spoils them one by one: not part of the site."""

ALL: dict[str, Host] = {**HOSTS, **ODD}

DEBIAN = {"bullseye": "Debian 11", "bookworm": "Debian 12", "trixie": "Debian 13"}


@dataclass(frozen=True)
class Lab:
    """The lab of the clone at ``root``.

    ``attempt`` counts the times that ``lab up`` found the derived names or subnet taken on this
    machine; it is kept in ``.lab/plan.json``.
    """

    root: Path
    attempt: int = 0

    @cached_property
    def _digest(self) -> bytes:
        return hashlib.sha256(f"{self.root}#{self.attempt}".encode()).digest()

    @cached_property
    def id(self) -> str:
        """Six hex digits, part of every name the lab gives to something on the machine."""
        return self._digest[:3].hex()

    @cached_property
    def subnet(self) -> ipaddress.IPv4Network:
        """A /24 in 10.130.0.0 to 10.189.255.0: beside what VPNs and clusters usually take."""
        number = int.from_bytes(self._digest[3:5], "big") % (60 * 256)
        return ipaddress.IPv4Network((f"10.{130 + number // 256}.{number % 256}.0", 24))

    @cached_property
    def subnet6(self) -> ipaddress.IPv6Network:
        """A /64 of unique local addresses, for hosts that have no others."""
        return ipaddress.IPv6Network((b"\xfd" + self._digest[5:10] + bytes(10), 64))

    @property
    def gateway(self) -> str:
        """The machine's own address on the bridge, where mirror and sink listen."""
        return str(self.subnet[1])

    @property
    def gateway6(self) -> str:
        """The same for hosts without IPv4; the mirror listens here too."""
        return str(self.subnet6[1])

    @property
    def bridge(self) -> str:
        return f"lab{self.id}"

    @property
    def table(self) -> str:
        """The nft table (bridge family) of cut connections."""
        return f"lab{self.id}"

    @property
    def cgroup(self) -> str:
        return f"lab{self.id}"

    def veth(self, host: str) -> str:
        """The machine's end of a host's cable."""
        return f"lab{self.id}-{ALL[host].number}"

    def netns(self, host: str) -> str:
        return f"lab{self.id}-{host}"

    def mac(self, host: str) -> str:
        """Fixed, so that the other hosts' neighbour tables stay right across a reboot."""
        pairs = (self.id[0:2], self.id[2:4], self.id[4:6])
        return f"02:{':'.join(pairs)}:00:{ALL[host].number:02x}"

    def address(self, host: str) -> str:
        """The address a host's services use."""
        return str(self._subnet_of(host)[ALL[host].number])

    def management_address(self, host: str) -> str:
        """The address SSH uses."""
        return str(self._subnet_of(host)[ALL[host].management_number])

    def _subnet_of(self, host: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return self.subnet6 if ALL[host].ipv6 else self.subnet

    @property
    def mirror_url(self) -> str:
        """Base URL of the archives, in the place of upstream's."""
        return f"http://{self.gateway}:{MIRROR_PORT}"

    @property
    def mirror_url6(self) -> str:
        """The same for hosts without IPv4."""
        return f"http://[{self.gateway6}]:{MIRROR_PORT}"

    @property
    def sink_url(self) -> str:
        return f"http://{self.gateway}:{SINK_PORT}"

    @property
    def s3_endpoint(self) -> str:
        """host:port, as objstore settings want it (plain HTTP)."""
        return f"{self.address(S3_HOST)}:{S3_PORT}"

    @property
    def remote_write_url(self) -> str:
        return f"https://{self.address(RECEIVER)}:9090/api/v1/write"

    @property
    def ring_url(self) -> str:
        return f"http://{self.address(RING)}:10908/api/v1/receive"

    @property
    def dir(self) -> Path:
        return self.root / ".lab"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def ssh_key(self) -> Path:
        return self.dir / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        return self.dir / "known_hosts"

    @property
    def sink_file(self) -> Path:
        """One JSON object a line: what the sink received."""
        return self.dir / "sink.jsonl"

    @property
    def bots_file(self) -> Path:
        """One JSON object a line: what the stand-ins of chat bots took."""
        return self.dir / "bots.jsonl"

    @property
    def bots_url(self) -> str:
        return f"http://{self.gateway}:{BOTS_PORT}"

    def host_dir(self, host: str) -> Path:
        return self.dir / "hosts" / host

    def log(self, name: str) -> Path:
        return self.dir / "log" / f"{name}.log"


def load(root: Path = ROOT) -> Lab:
    """The lab of the clone at ``root`` as ``lab up`` settled it, else as it would first try it."""
    try:
        attempt = int(json.loads((root / ".lab" / "plan.json").read_text())["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        attempt = 0
    return Lab(root, attempt)


def cache_dir() -> Path:
    """Root trees and archives, shared by all clones of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "pyinfra-prometheus-ha"


def host(name: str, lab: Lab | None = None, **data: Any) -> tuple[str, dict[str, Any]]:
    """An entry of a pyinfra inventory: how the lab's host ``name`` is reached, and ``data``."""
    lab = lab or LAB
    entry = ALL[name]
    reach: dict[str, Any] = {
        "ssh_hostname": lab.management_address(name),
        "ssh_user": entry.user,
        "ssh_key": str(lab.ssh_key),
        "ssh_known_hosts_file": str(lab.known_hosts),
        "ssh_strict_host_key_checking": "yes",
        # The user's own SSH settings are meant for other hosts.
        "ssh_config_file": os.devnull,
    }
    if entry.user != "root":
        reach["_sudo"] = True
    if entry.management_number != entry.number:
        reach["service_address"] = lab.address(name)
    if entry.ipv6:
        reach["base_url"] = lab.mirror_url6
    if name in HOSTS and name not in ASK_SYSTEMD:
        reach["node_exporter_flags"] = {**COLLECTORS, **dict.fromkeys(_OF_SYSTEMD, False)}
    return name, {**reach, **data}


LAB = load()
MIRROR_URL = LAB.mirror_url
SINK_URL = LAB.sink_url
S3_ENDPOINT = LAB.s3_endpoint
REMOTE_WRITE_URL = LAB.remote_write_url
RING_URL = LAB.ring_url
PROBES: dict[str, dict[str, Any]] = {
    "mirror": {"module": "http_2xx", "targets": [f"{MIRROR_URL}/"], "labels": {"team": "lab"}},
    # Two of them are those that probe.
    "hosts": {"module": "icmp", "targets": [LAB.address(name) for name in ("query-1", "ring-3", "am-1")]},
    "querier": {"module": "grpc_plain", "targets": [f"{LAB.address('query-1')}:10904"]},
}
"""What the lab's Prometheus probe, beside the platform's own ports."""

BOTS = {
    "feishu": "/open-apis/bot/v2/hook/lab",
    "dingtalk": "/robot/send?access_token=lab",
    "wecom": "/cgi-bin/webhook/send?key=lab",
}
"""Vendor -> the path of the lab's stand-in for its bot."""

CHANNELS: dict[str, dict[str, Any]] = {
    name: {"type": name, "url": f"secret:file:secrets/{name}_url", "language": "zh", "mention": {"critical": ["u1"]}}
    for name in BOTS
}
CHANNELS["feishu"]["sign"] = CHANNELS["dingtalk"]["sign"] = "secret:file:secrets/bot_sign"
CHANNELS["dingtalk"]["keyword"] = KEYWORD = "监控"
"""The group bots of the lab's site."""

CHAT_ROUTES = [
    *({"matchers": ['chat="all"'], "receiver": vendor, "continue": vendor != "wecom"} for vendor in BOTS),
    *({"matchers": [f'chat="{vendor}"'], "receiver": vendor} for vendor in BOTS),
]
"""Alerts with the label `chat` go to all chats, or to one: drills send such alerts."""


def bots(sign: str) -> dict[str, dict[str, Any]]:
    """What the stand-ins ask for."""
    return {"feishu/lab": {"sign": sign}, "dingtalk/lab": {"sign": sign, "keywords": [KEYWORD]}, "wecom/lab": {}}


COLLECTORS: dict[str, Any] = {
    "collector.disable-defaults": True,
    **{
        f"collector.{name}": True
        for name in (
            *("cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo", "netdev", "stat", "textfile"),
            *("time", "timex", "uname", "vmstat"),
        )
    },
}
"""Two dozen hosts of the lab share two cores, and four Prometheus have each of their series: only what rules and tests
look at."""

ASK_SYSTEMD = ("prom-1", "am-3", "store-1", "ring-3")
"""Where node_exporter tells of units, with one of each Debian release: on all hosts, what it has systemd and D-Bus do
for that took a tenth of the machine."""

_OF_SYSTEMD = ("collector.systemd", "collector.systemd.enable-restarts-metrics", "collector.systemd.unit-include")

RELEASE = os.environ.get("RELEASE") or "current"
SETTINGS: dict[str, Any] = {
    "release": RELEASE,
    "profile": os.environ.get("PROFILE") or "production",
    # The lab's hosts have no way out, and get the archives from a mirror on this machine.
    "base_url": MIRROR_URL,
    "node_exporter_flags": COLLECTORS,
    # spec/000 names Thanos 0.32.0, which cannot be built as a Go module: 0.32.2 stands in for it.
    **({"versions": {"thanos": "0.32.2"}} if RELEASE == "reference" else {}),
    "starter_alerts": {
        # A container's clock is the machine's, which nobody may keep.
        "NodeClockNotSynchronising": False,
        "NodeClockSkewDetected": False,
        # Drill after drill restarts each daemon, and the half hour in which it counts is ten minutes here.
        "DaemonCrashlooping": {"threshold": 50},
    },
}
"""What every site of the lab is told."""


def secret(name: str) -> str:
    """The reference of a secret of the lab's, from whichever directory."""
    return f"secret:file:{LAB.secrets / name}"
