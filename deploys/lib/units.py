"""systemd units: the text of each daemon's, with the hardening that the host's systemd knows.

The directives are a table with the systemd version each came with, so that no host is given one it
would only warn about. What a component cannot live with is an exception of that component.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.lib import flags, topology
from deploys.lib.templates import template

if TYPE_CHECKING:
    from deploys.lib.site import Member, Site


@dataclass(frozen=True)
class Unit:
    """A rendered unit and what a run compares the live process with."""

    name: str
    """Without `.service`."""
    text: str
    argv: list[str]
    """What /proc/PID/cmdline shows; the first item is the path of the binary."""
    reload_paths: tuple[str, ...] = ()
    """Files and directories that a reload reads again; empty: it knows no reload."""
    restart_paths: tuple[str, ...] = ()
    """Files that only a start reads."""


@dataclass(frozen=True)
class Directive:
    """One line of hardening."""

    name: str
    value: str
    since: int
    """First systemd that knows it."""


HARDENING: tuple[Directive, ...] = (
    Directive("UMask", "0027", 0),
    Directive("NoNewPrivileges", "yes", 187),
    Directive("CapabilityBoundingSet", "", 0),
    Directive("AmbientCapabilities", "", 229),
    Directive("ProtectSystem", "strict", 232),
    Directive("ProtectHome", "yes", 214),
    Directive("PrivateTmp", "yes", 0),
    Directive("PrivateDevices", "yes", 209),
    Directive("DevicePolicy", "closed", 208),
    Directive("PrivateUsers", "yes", 232),
    Directive("PrivateMounts", "yes", 239),
    Directive("PrivateIPC", "yes", 248),
    # Not ProcSubset=pid: Go reads net.core.somaxconn from /proc/sys, and without it queues 128
    # connections whatever the kernel is set to; process_start_time_seconds needs /proc/stat.
    Directive("ProtectProc", "invisible", 247),
    Directive("ProtectClock", "yes", 245),
    Directive("ProtectHostname", "yes", 242),
    Directive("ProtectControlGroups", "yes", 232),
    Directive("ProtectKernelLogs", "yes", 244),
    Directive("ProtectKernelModules", "yes", 232),
    Directive("ProtectKernelTunables", "yes", 232),
    Directive("RemoveIPC", "yes", 232),
    Directive("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6", 211),
    Directive("RestrictNamespaces", "yes", 233),
    Directive("RestrictRealtime", "yes", 231),
    Directive("RestrictSUIDSGID", "yes", 242),
    Directive("LockPersonality", "yes", 235),
    Directive("MemoryDenyWriteExecute", "yes", 231),
    Directive("KeyringMode", "private", 235),
    Directive("SystemCallArchitectures", "native", 209),
    # The second line takes away from the first.
    Directive("SystemCallFilter", "@system-service", 239),
    Directive("SystemCallFilter", "~@privileged", 239),
    Directive("SystemCallErrorNumber", "EPERM", 209),
)
"""For every unit, in the order written."""

OLDEST_SYSTEMD = 240
"""For `Type=exec`. CentOS 7 (219) is older, and its kernel too old for current releases."""


@dataclass(frozen=True)
class Daemon:
    """What a unit needs besides its command line."""

    description: str
    documentation: str
    data: str | None = None
    """Directory it writes to; everything else is read-only for it."""
    after: tuple[str, ...] = ()
    stop_seconds: int = 90
    reload_paths: tuple[str, ...] = ()
    restart_paths: tuple[str, ...] = ()
    hardening: dict[str, str | None] | None = None
    """Directive -> another value, or None where it must not be set."""
    system_calls: tuple[str, ...] = ()
    """More lines of SystemCallFilter."""


# Thanos waits up to 2 minutes each for its HTTP and gRPC servers to drain, one after the other.
_THANOS_STOP = 250

DAEMONS: dict[str, Daemon] = {
    "prometheus": Daemon(
        description="Prometheus",
        documentation="https://prometheus.io/docs/",
        data=topology.PROMETHEUS_DATA,
        # Flushing a large head takes minutes; a kill in between means replaying all of it.
        stop_seconds=600,
        # Files of targets are not among them: Prometheus watches those itself.
        reload_paths=(topology.PROMETHEUS_CONFIG, topology.RULES_DIR),
    ),
    "thanos-sidecar": Daemon(
        description="Thanos sidecar of Prometheus",
        documentation="https://thanos.io/tip/components/sidecar.md/",
        data=topology.PROMETHEUS_DATA,
        # Only the order. It outlives restarts of Prometheus and waits for it by itself; and its own
        # restart must not start a Prometheus that somebody stopped, as Wants would.
        after=("prometheus.service",),
        stop_seconds=_THANOS_STOP,
        restart_paths=(topology.BUCKET_CONFIG,),
    ),
    "alertmanager": Daemon(
        description="Alertmanager",
        documentation="https://prometheus.io/docs/alerting/latest/alertmanager/",
        data=topology.ALERTMANAGER_DATA,
        reload_paths=(topology.ALERTMANAGER_CONFIG, topology.TEMPLATES_DIR),
        # Gossip lists the addresses of the host by netlink.
        hardening={"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK"},
    ),
    "thanos-querier": Daemon(
        description="Thanos querier",
        documentation="https://thanos.io/tip/components/query.md/",
        stop_seconds=_THANOS_STOP,
    ),
    "node_exporter": Daemon(
        description="Prometheus node exporter",
        documentation="https://github.com/prometheus/node_exporter",
        # It describes the host, and has to see it: mounts of /proc/1, home file systems, the host's
        # name as it changes, other users, network devices, and the clock's state (adjtimex, which
        # also sets it, for those who may).
        hardening={
            "UMask": "0077",
            "ProtectHome": "read-only",
            "ProtectProc": None,
            "ProtectClock": None,
            "ProtectHostname": None,
            "PrivateUsers": None,
            "PrivateIPC": None,
            "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        },
        system_calls=("~@resources", "adjtimex"),
    ),
}


def hardening(component: str, systemd_version: int) -> list[tuple[str, str]]:
    """The lines of hardening of `component` that systemd of this version knows."""
    daemon = DAEMONS[component]
    exceptions = daemon.hardening or {}
    lines = []
    for directive in HARDENING:
        value = exceptions.get(directive.name, directive.value)
        if value is not None and systemd_version >= directive.since:
            lines.append((directive.name, value))
    lines += [("SystemCallFilter", name) for name in daemon.system_calls]
    return lines


def quote(word: str) -> str:
    """One argument as systemd reads it back: no specifier, no variable, no word splitting."""
    if "\0" in word:
        raise ValueError(f"an argument cannot hold a zero byte: {word!r}")
    escaped = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%$+=:,./{}\[\]()|^*?!~<>#&-]+", escaped, re.ASCII):
        return escaped
    escaped = escaped.replace("\\", "\\\\").replace('"', '\\"')
    escaped = re.sub(r"[\x01-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", escaped)
    return f'"{escaped}"'


def _stamp(words: list[str]) -> str:
    return f"-+{topology.STAMP} {' '.join(words)}"


def unit(component: str, site: Site, member: Member, systemd_version: int) -> Unit:
    """The unit of `component` on this host.

    `systemd_version` is the host's (252 on Debian 12). Raises ValueError where it is too old, and
    `flags.FlagError` where the user's extra flags are refused.
    """
    if systemd_version < OLDEST_SYSTEMD:
        raise ValueError(
            f"{member.name}: found systemd {systemd_version}; allowed: {OLDEST_SYSTEMD} and newer"
        )
    info, daemon = topology.COMPONENTS[component], DAEMONS[component]
    argv = flags.argv(component, site, member)
    restart_paths = daemon.restart_paths
    if component == "thanos-sidecar" and not flags.uploads(member):
        restart_paths = ()
    # `+`: as root, as the hashes are of files that the daemon may not read. `-`: what cannot be
    # stamped is loaded again by the next run; it must not keep a daemon down.
    started = ["started", info.unit, f"{topology.UNIT_DIR}/{info.service}", *restart_paths]
    loaded = ["loaded", info.unit, *daemon.reload_paths]
    stamps = [started, loaded] if daemon.reload_paths else [started]
    text = template(
        "unit.service.j2",
        unit=info.unit,
        description=daemon.description,
        documentation=daemon.documentation,
        # A clock that jumps after the start makes samples that are refused or in the future.
        after=["network-online.target", "time-sync.target", *daemon.after],
        user=topology.USER,
        group=topology.GROUP,
        stamps={
            "start": [_stamp(words) for words in stamps],
            # Stamped first: a file that changes in between is loaded once more, and never missed.
            # As root, so that no sandbox has to be built, which fails once its /tmp was cleaned up.
            "reload": [_stamp(loaded), "+/bin/kill -HUP $MAINPID"] if daemon.reload_paths else [],
        },
        command=[quote(word) for word in argv],
        stop_seconds=daemon.stop_seconds,
        nofile=member.settings.nofile,
        nproc=member.settings.nproc,
        writable=[daemon.data] if daemon.data else [],
        hardening=hardening(component, systemd_version),
    )
    return Unit(info.unit, text, argv, daemon.reload_paths, restart_paths)
