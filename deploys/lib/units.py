"""systemd units: the text of each daemon's, with the hardening that the host's systemd knows.

The directives are a table with the systemd version each came with, so that no host is given one it
would only warn about. What a component cannot live with is an exception of that component.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from deploys.lib import bucket, flags, topology, web
from deploys.lib.settings import HOMES, account_of
from deploys.lib.site import Member, Site
from deploys.lib.templates import template
from facts.reports.look import State


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

OLDEST_SYSTEMD = topology.OLDEST_SYSTEMD


@dataclass(frozen=True)
class Daemon:
    """What a unit needs besides its command line."""

    description: str
    documentation: str
    data: str | None = None
    """Directory it writes to; everything else is read-only for it."""
    data_setting: str | None = None
    """Setting with that directory, where it is somebody else's."""
    after: tuple[str, ...] = ()
    stop_seconds: int = 90
    reload_paths: tuple[str, ...] = ()
    restart_paths: tuple[str, ...] = ()
    """Files that only a start reads, where a flag names them or their directory."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of its environment; what they name may be in `restart_paths`."""
    keys_tool: str | None = None
    """Program that loads `reload_paths` once the daemon is up, and at a reload: as root, and not a signal."""
    hardening: dict[str, str | None] | None = None
    """Directive -> another value, or None where it must not be set."""
    system_calls: tuple[str, ...] = ()
    """More lines of SystemCallFilter."""


# Thanos waits up to 2 minutes each for its HTTP and gRPC servers to drain, one after the other.
_THANOS_STOP = 250

_PROMETHEUS = Daemon(
    description="Prometheus",
    documentation="https://prometheus.io/docs/",
    data=topology.PROMETHEUS_DATA,
    # Flushing a large head takes minutes; a kill in between means replaying all of it.
    stop_seconds=600,
    # Files of targets are not among them: Prometheus watches those itself. Nor are secrets: it
    # reads a password at each request, a CA likewise, a client's certificate at each handshake.
    reload_paths=(topology.PROMETHEUS_CONFIG, topology.RULES_DIR),
)

DAEMONS: dict[str, Daemon] = {
    "prometheus": _PROMETHEUS,
    "prometheus-upper": _PROMETHEUS,
    "thanos-sidecar": Daemon(
        description="Thanos sidecar of Prometheus",
        documentation="https://thanos.io/tip/components/sidecar.md/",
        data=topology.PROMETHEUS_DATA,
        # Only the order. It outlives restarts of Prometheus and waits for it by itself; and its own
        # restart must not start a Prometheus that somebody stopped, as Wants would.
        after=("prometheus.service",),
        stop_seconds=_THANOS_STOP,
        restart_paths=(topology.SIDECAR_CLIENT,),
    ),
    "thanos-sidecar-attached": Daemon(
        description="Thanos sidecar of a Prometheus that is not ours",
        documentation="https://thanos.io/tip/components/sidecar.md/",
        data_setting="attached_data_dir",
        stop_seconds=_THANOS_STOP,
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
    "thanos-query-frontend": Daemon(
        description="Thanos query frontend",
        documentation="https://thanos.io/tip/components/query-frontend.md/",
        stop_seconds=_THANOS_STOP,
        restart_paths=(topology.FRONTEND_CLIENT, topology.FRONTEND_CACHE),
    ),
    "thanos-store": Daemon(
        description="Thanos store gateway",
        documentation="https://thanos.io/tip/components/store.md/",
        data=topology.STORE_DATA,
        stop_seconds=_THANOS_STOP,
        restart_paths=(topology.STORE_INDEX_CACHE,),
    ),
    "thanos-compactor": Daemon(
        description="Thanos compactor",
        documentation="https://thanos.io/tip/components/compact.md/",
        data=topology.COMPACTOR_DATA,
        # Halted, or in wait for its bucket, it ends by no signal. A pass that is cut short is begun again.
        stop_seconds=30,
    ),
    "thanos-rule": Daemon(
        description="Thanos ruler",
        documentation="https://thanos.io/tip/components/rule.md/",
        data=topology.RULE_DATA,
        stop_seconds=_THANOS_STOP,
        reload_paths=(topology.RULE_RULES_DIR,),
        restart_paths=(
            topology.RULE_QUERY,
            topology.RULE_ALERTMANAGERS,
            topology.RULE_REMOTE_WRITE,
        ),
    ),
    "thanos-receive": Daemon(
        description="Thanos receive",
        documentation="https://thanos.io/tip/components/receive.md/",
        data=topology.RECEIVE_DATA,
        # It uploads what it holds before it ends.
        stop_seconds=900,
    ),
    "thanos-bucket-web": Daemon(
        description="Thanos bucket web",
        documentation="https://thanos.io/tip/components/tools.md/",
        stop_seconds=_THANOS_STOP,
    ),
    "seaweedfs": Daemon(
        description="SeaweedFS, an S3 server",
        documentation="https://github.com/seaweedfs/seaweedfs/wiki",
        data=topology.SEAWEEDFS_DATA,
        # It waits 15 s for its own streams to end, which never do, and stores nothing meanwhile.
        # What it has acknowledged is written by then.
        stop_seconds=5,
        reload_paths=(topology.SEAWEEDFS_KEYS,),
        restart_paths=(topology.SEAWEEDFS_SECURITY,),
    ),
    "minio": Daemon(
        description="MinIO, an S3 server",
        documentation="https://github.com/minio/minio/tree/master/docs",
        data=topology.MINIO_DATA,
        stop_seconds=30,
        environment={
            "MINIO_CONFIG_ENV_FILE": topology.MINIO_ENV,
            # Its port tells nobody more than those of the other daemons do.
            "MINIO_PROMETHEUS_AUTH_TYPE": "public",
            "MINIO_UPDATE": "off",
        },
        reload_paths=(topology.MINIO_KEYS_DIR, topology.MINIO_KEYS),
        restart_paths=(topology.MINIO_ENV,),
        keys_tool=topology.MINIO_KEYS,
        # It lists the addresses of the host.
        hardening={"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK"},
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


def hardening(
    component: str, systemd_version: int, writable: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """The lines of hardening of `component`, which writes to `writable`, that systemd of this version knows."""
    daemon = DAEMONS[component]
    exceptions = dict(daemon.hardening or {})
    if any(PurePosixPath(path).is_relative_to(home) for path in writable for home in HOMES):
        exceptions["ProtectHome"] = "read-only"  # what is hidden cannot be made writable
    lines = []
    for directive in HARDENING:
        value = exceptions.get(directive.name, directive.value)
        if value is not None and systemd_version >= directive.since:
            lines.append((directive.name, value))
    lines += [("SystemCallFilter", name) for name in daemon.system_calls]
    return lines


def _writable(component: str, member: Member, daemon: Daemon) -> list[str]:
    """The directories that it writes to: its data, and the bucket where that is a directory."""
    found = [daemon.data] if daemon.data else []
    found += [getattr(member.settings, daemon.data_setting)] if daemon.data_setting else []
    shared = bucket.directory(member)
    return found + ([shared] if shared and bucket.WRITE in bucket.RIGHTS.get(component, ()) else [])


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


def unit(component: str, site: Site, member: Member, found: State) -> Unit:
    """The unit of `component` on this host, of which the look `found` what it is.

    Raises ValueError where its systemd is too old, and `flags.FlagError` where the user's extra
    flags are refused.
    """
    systemd_version = found.systemd
    if systemd_version < OLDEST_SYSTEMD:
        raise ValueError(
            f"{member.name}: found systemd {systemd_version}; allowed: {OLDEST_SYSTEMD} and newer"
        )
    info, daemon = topology.COMPONENTS[component], DAEMONS[component]
    argv = flags.argv(component, site, member, found)
    given = {word.partition("=")[2] for word in argv} | set(daemon.environment.values())
    starts = (*daemon.restart_paths, *([info.bucket] if info.bucket else []))
    restart_paths = tuple(p for p in starts if {p, str(PurePosixPath(p).parent)} & given)
    # `+`: as root, as the hashes are of files that the daemon may not read. `-`: what cannot be
    # stamped is loaded again by the next run; it must not keep a daemon down.
    started = ["started", info.unit, f"{topology.UNIT_DIR}/{info.service}", *restart_paths]
    loaded = ["loaded", info.unit, *daemon.reload_paths]
    stamps = [started, loaded] if daemon.reload_paths else [started]
    user, group = account_of(info, member.settings)
    writable = _writable(component, member, daemon)
    # The first owns what all daemons of ours read; in the second it is alone, so that no other can read its key.
    groups = [topology.GROUP] if info.account else []
    groups += [component] if {info.bucket, info.keys} & given else []
    # As root, so that no sandbox has to be built, which fails once its /tmp was cleaned up.
    load = f"+{daemon.keys_tool}" if daemon.keys_tool else "+/bin/kill -HUP $MAINPID"
    text = template(
        "unit.service.j2",
        unit=info.unit,
        type="exec" if systemd_version >= 240 else "simple",
        description=daemon.description,
        documentation=daemon.documentation,
        web=web.read_at_start(member.settings) if info.web else "",
        # A clock that jumps after the start makes samples that are refused or in the future.
        after=["network-online.target", "time-sync.target", *daemon.after],
        user=user,
        group=group,
        groups=groups,
        stamps={
            "start": [_stamp(words) for words in stamps],
            # Stamped first: a file that changes in between is loaded once more, and never missed.
            "reload": [_stamp(loaded), load] if daemon.reload_paths else [],
        },
        environment=daemon.environment,
        after_start=load if daemon.keys_tool else "",
        command=[quote(word) for word in argv],
        stop_seconds=daemon.stop_seconds,
        nofile=member.settings.nofile,
        nproc=member.settings.nproc,
        writable=[quote(path) for path in writable],
        hardening=hardening(component, systemd_version, writable),
    )
    return Unit(info.unit, text, argv, daemon.reload_paths, restart_paths)
