"""Kernel values of a host: those of its settings, and the ports that no outgoing connection may be given.

With `net.ipv4.ip_local_port_range` as spec/000 4.2 has it, the kernel gives a connection that goes out any port from
1024 on, so also one on which a daemon of ours is to listen: while that is down, or about to start. What is in
`net.ipv4.ip_local_reserved_ports` is given to nobody. That value is one for all who reserve, and is merged:

- our file has our ports, and what the other files in sysctl.d would have reserved without it, as the last one holds;
- in the running kernel, what our file had is replaced by what it is to have. What somebody set there besides stays.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.topology import PORT_RANGE, PORTS_FILE, RESERVED_PORTS
from prometheus_ha.deploys.lib.site.members import Member
from prometheus_ha.facts.reports.look import State


def ports(member: Member) -> set[int]:
    """Every port on which a daemon of the host listens: those of settings, of flags, and its own internal ones; and
    that of the Prometheus beside which a sidecar of ours stands."""
    found: set[int] = set()
    for name in member.components:
        info = DAEMONS[name]
        for one in info.ports.values():
            port = getattr(member.settings, one.setting)
            found |= {port, port + one.twin}
        found |= set(info.internal)
        for flag, value in getattr(member.settings, DAEMONS[name].extra).items():
            if flag.lower().endswith("port") and str(value).isdigit():
                found |= {int(value), *(int(value) + one.twin for one in info.ports.values())}
        if name == daemons.ATTACHED.name:
            found |= {urlsplit(member.settings.attached_url).port or 0}
    return {port for port in found if 0 < port <= 65535}


def _range(member: Member, found: State) -> range:
    """What the kernel gives to connections that go out; all where it does not say."""
    text = member.settings.sysctl.get(PORT_RANGE, found.sysctl.get(PORT_RANGE, ""))
    words = str(text).split()
    if len(words) == 2 and all(word.isdigit() for word in words):
        return range(int(words[0]), int(words[1]) + 1)
    return range(1, 65536)


def _read(text: object) -> set[int]:
    """The ports of somebody else's file, or of the kernel; none where the kernel would not understand it either."""
    try:
        return topology.read_ports(text)
    except ValueError:
        return set()


def _by_name(found: State) -> list[str]:
    """The files that reserve ports at boot, in the order in which they are read."""
    return sorted(found.reserved_ports, key=lambda path: PurePosixPath(path).name)


def _reserved(member: Member, found: State) -> set[int]:
    """What our file is to reserve; empty where no port of ours can be given away."""
    ours, given_away = ports(member), _range(member, found)
    wanted = ours if any(port in given_away for port in ours) else set()
    wanted = wanted | _read(member.settings.sysctl.get(RESERVED_PORTS, ""))
    others = [path for path in _by_name(found) if path != PORTS_FILE]
    if wanted and others:
        wanted |= _read(found.reserved_ports[others[-1]])
    return wanted


def files(member: Member, found: State) -> dict[str, dict[str, str]]:
    """Our files in sysctl.d -> what each sets at boot."""
    values = {key: " ".join(str(value).split()) for key, value in member.settings.sysctl.items()}
    values.pop(RESERVED_PORTS, None)
    reserved = _reserved(member, found)
    texts = {topology.SYSCTL_FILE: values}
    if reserved:
        texts[PORTS_FILE] = {RESERVED_PORTS: topology.write_ports(reserved)}
    return texts


def live(member: Member, found: State) -> dict[str, str]:
    """What the running kernel is to have. Ports come first: they are reserved before others may be given away."""
    wanted = files(member, found)
    before = _read(found.reserved_ports.get(PORTS_FILE, ""))
    after = _read(wanted.get(PORTS_FILE, {}).get(RESERVED_PORTS, ""))
    values: dict[str, str] = {}
    if before or after:
        has = _read(found.sysctl.get(RESERVED_PORTS, ""))
        values[RESERVED_PORTS] = topology.write_ports((has - before) | after)
    return values | wanted[topology.SYSCTL_FILE]


def differing(member: Member, found: State) -> dict[str, str]:
    """What the running kernel is to have and has not."""
    return {key: value for key, value in live(member, found).items() if found.sysctl.get(key) != value}


def overridden(member: Member, found: State) -> dict[str, str]:
    """Files that are read after ours at boot, and that would free ports of ours -> what they reserve."""
    wanted = _reserved(member, found)
    paths = [*_by_name(found)]
    later = paths[paths.index(PORTS_FILE) + 1 :] if PORTS_FILE in paths else []
    last = later[-1:]
    return {path: found.reserved_ports[path] for path in last if wanted - _read(found.reserved_ports[path])}
