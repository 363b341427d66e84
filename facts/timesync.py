"""Who keeps the clock, and whether it is right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.facts import Reading, guarded, known_units

# Service names by distribution: Debian's chrony, ntpsec and ntp, RHEL's chronyd and ntpd.
# In the order in which the active one is looked for: timesyncd stands back for all the others.
_UNITS = {
    "chrony": "chrony",
    "chronyd": "chrony",
    "ntpsec": "ntpsec",
    "ntp": "ntpd",
    "ntpd": "ntpd",
    "openntpd": "openntpd",
    "systemd-timesyncd": "systemd-timesyncd",
}

_CAP_SYS_TIME = 1 << 25

UNITS = tuple(f"{unit}.service" for unit in _UNITS)
SERVICE_SCRIPT = "\n".join(
    [
        # What systemd-detect-virt would say, as systemd found it when it started.
        "echo '==[container]=='; read -r n </run/systemd/container && echo $n",
        "echo '==[capabilities]=='; grep CapBnd /proc/1/status",
        # Is it synchronised? Of the two most common services that is known at once.
        "[ ! -e /run/chrony/chronyd.pid ] || { echo '==[chrony]=='; timeout 5 chronyc -n tracking; }",
        "[ ! -e /run/systemd/timesync/synchronized ] || echo '==[timesyncd_flag]=='",
    ]
)
"""Who keeps the clock: the part of ``SCRIPT`` that costs next to nothing, for a look that asks for ``UNITS`` with
others. ``of_look`` reads it."""

# timedatectl has no `show` before systemd 239 (RHEL 7), where its plain page has to do. It starts a
# service over the bus. timeout: a name server or a bus that does not answer must not hold the run.
SCRIPT = "\n".join(
    [
        "(",
        "export LC_ALL=C",
        "echo '==[units]=='",
        known_units(UNITS),
        '[ -z "$known" ] || systemctl show -p Id -p LoadState -p ActiveState $known',
        SERVICE_SCRIPT,
        "echo '==[kernel]=='",
        # 124: the bus hangs, and would again.
        "timeout 5 timedatectl show -p NTPSynchronized || [ $? = 124 ] || timeout 5 timedatectl",
        "if systemctl -q is-active chrony.service || systemctl -q is-active chronyd.service; then",
        "echo '==[chrony]=='; timeout 5 chronyc -n tracking",
        "elif systemctl -q is-active systemd-timesyncd.service; then",
        "echo '==[timesyncd]=='; timeout 5 timedatectl timesync-status",
        "ls /run/systemd/timesync/synchronized",
        "elif systemctl -q is-active openntpd.service; then",
        "echo '==[openntpd]=='; timeout 5 ntpctl -s status",
        "elif command -v ntpq >/dev/null; then",
        "echo '==[ntpq]=='; timeout 5 ntpq -pn",
        "fi",
        ") 2>/dev/null || true",
    ]
)


@dataclass(frozen=True)
class Clock(Reading):
    """``service`` is chrony, ntpd, ntpsec, openntpd, systemd-timesyncd, or None.

    A service that is installed and stopped is named, with ``active`` False. ``synchronised`` is the
    service's own word, else the kernel's (``kernel_synchronised``); None where neither is known.
    ``offset_seconds`` is how far the clock is from true time, positive where it is ahead.
    ``container`` is what systemd-detect-virt calls it, None on a machine of its own.
    """

    service: str | None
    active: bool
    synchronised: bool | None
    offset_seconds: float | None
    container: str | None
    can_set_clock: bool
    kernel_synchronised: bool | None = None
    reference: str | None = None

    @property
    def verdict(self) -> str:
        """One of: synchronised, unsynchronised, clock of the container's host, no service."""
        if not self.can_set_clock:
            return "clock of the container's host"
        # The kernel goes on saying "synchronised" for hours after the last service has stopped.
        if not self.active:
            return "no service"
        return "synchronised" if self.synchronised else "unsynchronised"

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **super().to_json()}


def _sections(lines: Iterable[str]) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for line in lines:
        mark = re.match(r"^==\[(\w+)\]==$", line)
        if mark:
            current = sections.setdefault(mark[1], [])
        elif sections:
            current.append(line.rstrip())
    return sections


def _service(lines: list[str]) -> tuple[str | None, bool]:
    """The active time service, or an installed one that is not active."""
    installed: str | None = None
    for block in "\n".join(lines).split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name = _UNITS.get(unit.get("Id", "").removesuffix(".service"))
        if name is None or unit.get("LoadState") != "loaded":
            continue
        if unit.get("ActiveState") in ("active", "reloading"):
            return name, True
        installed = installed or name
    return installed, False


def _kernel(lines: list[str]) -> bool | None:
    """``timedatectl show``, or the page of ``timedatectl``, whose wording changed twice."""
    for line in lines:
        match = re.match(r"^\s*(?:NTPSynchronized=|System clock synchronized: |NTP synchronized: )(yes|no)", line)
        if match:
            return match[1] == "yes"
    return None


def _fields(lines: list[str]) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


Word = tuple[bool | None, float | None, str | None]
"""What a service says: synchronised, offset in seconds, reference."""


def parse_chrony(lines: list[str]) -> Word:
    """Read ``chronyc -n tracking``."""
    fields = _fields(lines)
    if "Leap status" not in fields:
        return None, None, None  # 506 Cannot talk to daemon
    synchronised = fields["Leap status"] != "Not synchronised"
    match = re.match(r"([\d.]+) seconds (slow|fast) of NTP time", fields.get("System time", ""))
    if not synchronised or match is None:
        return synchronised, None, None
    reference = re.match(r"\w+(?: \((?P<name>.*)\))?", fields.get("Reference ID", ""))
    offset = float(match[1]) * (-1 if match[2] == "slow" else 1)
    return True, offset, (reference["name"] or reference[0]) if reference else None


_SPAN = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_timesyncd(lines: list[str]) -> Word:
    """Read ``timedatectl timesync-status`` and the flag file of systemd-timesyncd."""
    fields = _fields(lines)
    if "Server" not in fields and "Packet count" not in fields:
        return None, None, None  # before systemd 239
    synchronised = any(line.endswith("/synchronized") for line in lines)
    server = re.match(r"\S+", fields.get("Server", ""))
    text = fields.get("Offset", "")
    parts = re.findall(r"([\d.]+)\s*(us|ms|min|s|h|d)\b", text)
    # The offset is that of the server's clock from ours, the other way round than chrony's.
    sign = 1 if text.startswith("-") else -1
    offset = sign * sum(float(number) * _SPAN[unit] for number, unit in parts) if parts else None
    return synchronised, offset, server[0] if server else None


def parse_ntpq(lines: list[str]) -> Word:
    """Read ``ntpq -pn``: the peer marked ``*`` (or ``o``, by PPS) is the one that is followed."""
    for line in lines:
        words = line.split()
        if line[:1] in ("*", "o") and len(words) >= 10:
            # In milliseconds, and of the peer's clock from ours.
            return True, -float(words[8]) / 1000, words[0][1:]
    return (False if any(line.startswith("=") for line in lines) else None), None, None


def parse_openntpd(lines: list[str]) -> Word:
    """Read ``ntpctl -s status``; an offset is printed only while the clock is not synchronised."""
    text = " ".join(lines)
    if "clock synced" in text:
        return True, None, None
    match = re.search(r"clock offset is (-?[\d.]+)ms", text)
    offset = -float(match[1]) / 1000 if match else None
    return (False if "clock unsynced" in text else None), offset, None


_SERVICES = {
    "chrony": parse_chrony,
    "timesyncd": parse_timesyncd,
    "ntpq": parse_ntpq,
    "openntpd": parse_openntpd,
}


@guarded
def parse(lines: Iterable[str]) -> Clock:
    """Read ``SCRIPT``'s sections."""
    sections = _sections(lines)
    if "capabilities" not in sections:
        raise FactProcessError(f"timesync: no sections, found: {list(lines)[:5]}")
    service, active = _service(sections.get("units", []))
    kernel = _kernel(sections.get("kernel", []))
    container = next((line for line in sections.get("container", []) if line), "none")
    bounding = re.search(r"CapBnd:\s*([0-9a-f]+)", "\n".join(sections["capabilities"]))
    synchronised, offset, reference = None, None, None
    for section, read in _SERVICES.items():
        if active and section in sections:
            synchronised, offset, reference = read(sections[section])
    if service == "systemd-timesyncd" and active and synchronised is None:
        synchronised = "timesyncd_flag" in sections or None
    return Clock(
        service=service,
        active=active,
        synchronised=kernel if synchronised is None else synchronised,
        offset_seconds=offset,
        container=None if container == "none" else container,
        # Where the set cannot be read, the clock is taken for ours: then a service is asked for.
        can_set_clock=bounding is None or bool(int(bounding[1], 16) & _CAP_SYS_TIME),
        kernel_synchronised=kernel,
        reference=reference,
    )


def of_look(units: Mapping[str, Mapping[str, str]], lines: Iterable[str]) -> Clock:
    """Read what a look says: its units, and the lines of ``SERVICE_SCRIPT``."""
    asked = ["==[units]=="]
    for unit in _UNITS:
        asked += [*(f"{key}={value}" for key, value in units.get(unit, {}).items()), ""]
    return parse([*asked, *lines])


class TimeSync(FactBase[Clock]):
    """The time service of the host, its offset, and whether the clock is the host's own."""

    @staticmethod
    def default() -> Clock:
        return Clock(None, False, None, None, None, True)

    def command(self) -> str:
        return SCRIPT

    def process(self, output: list[str]) -> Clock:
        return parse(output)
