"""Sockets that listen: TCP in LISTEN, UDP unconnected."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.facts import Reading, guarded

LISTEN = "ss -H -lntup"
# A host without ss must not look like one on which nothing listens.
SCRIPT = f'{LISTEN} 2>&1 || echo "ss failed: $?"'

_PROCESS = re.compile(r'\("(?P<name>(?:[^"\\]|\\.)*)",pid=(?P<pid>\d+),')


@dataclass(frozen=True)
class Listener(Reading):
    """A socket, once for each process that holds it.

    ``proto`` is tcp or udp. ``address`` is as ss prints it, without brackets: ``*`` is both IPv4
    and IPv6. ``process`` and ``pid`` are None where ss was not run as root.
    """

    proto: str
    address: str
    port: int
    process: str | None = None
    pid: int | None = None
    interface: str | None = None


def _where(local: str) -> tuple[str, str | None, int]:
    address, colon, port = local.rpartition(":")
    address, _, interface = address.partition("%")
    if not colon or not port.isdigit():
        raise ValueError(f"no address:port in {local!r}")
    return address.strip("[]"), interface.strip("]") or None, int(port)


@guarded
def parse(lines: Iterable[str]) -> list[Listener]:
    """Read ``ss -H -lntup``; wide columns and a missing process column do no harm."""
    listeners: list[Listener] = []
    for line in lines:
        words = line.split(maxsplit=6)
        if not words or words[0] == "Netid":
            continue
        if words[0] not in ("tcp", "udp") or len(words) < 6:
            raise FactProcessError(f"listeners: not a line of ss -H -lntup: {line!r}")
        address, interface, port = _where(words[4])
        holders = [
            (match["name"], int(match["pid"])) for match in _PROCESS.finditer(words[6] if len(words) > 6 else "")
        ]
        for process, pid in dict.fromkeys(holders) or [(None, None)]:
            listeners.append(Listener(words[0], address, port, process, pid, interface))
    return listeners


class Listeners(FactBase[list[Listener]]):
    """Every listening TCP and UDP socket of the host, with its processes."""

    default = list

    def command(self) -> str:
        return SCRIPT

    def process(self, output: list[str]) -> list[Listener]:
        return parse(output)
