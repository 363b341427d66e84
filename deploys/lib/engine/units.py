"""systemd units: the text of each daemon's, with the hardening that the host's systemd knows.

The directives are a table with the systemd version each came with, so that no host is given one it
would only warn about. What a component cannot live with is an exception of that component.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.declare import WRITE, Daemon, Own
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.templates import template
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import HOMES, account_of
from prometheus_ha.facts.reports.look import State


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


def hardening(component: str, systemd_version: int, writable: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The lines of hardening of `component`, which writes to `writable`, that systemd of this version knows."""
    daemon = DAEMONS[component]
    exceptions = dict(daemon.hardening)
    if any(PurePosixPath(path).is_relative_to(home) for path in writable for home in HOMES):
        exceptions["ProtectHome"] = "read-only"  # what is hidden cannot be made writable
    lines = []
    for directive in HARDENING:
        value = exceptions.get(directive.name, directive.value)
        if value is not None and systemd_version >= directive.since:
            lines.append((directive.name, value))
    lines += [("SystemCallFilter", name) for name in daemon.system_calls]
    return lines


def _writable(member: Member, daemon: Daemon) -> list[str]:
    """The directories that it writes to: its data, and the bucket where that is a directory."""
    found = [daemon.data_dir] if daemon.data_dir else []
    found += [getattr(member.settings, daemon.data_setting)] if daemon.data_setting else []
    shared = bucket.directory(member)
    return found + ([shared] if shared and WRITE in daemon.rights else [])


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
        raise ValueError(f"{member.name}: found systemd {systemd_version}; expected: {OLDEST_SYSTEMD} and newer")
    daemon = member.own(component)
    argv = flags.argv(component, site, member, found)
    given = {word.partition("=")[2] for word in argv} | set(daemon.environment.values())
    starts = (*daemon.restart_paths, *([daemon.bucket] if daemon.bucket else []))
    restart_paths = tuple(p for p in starts if {p, str(PurePosixPath(p).parent)} & given)
    restart_paths += (daemon.path,) if isinstance(daemon.product, Own) else ()
    # `+`: as root, as the hashes are of files that the daemon may not read. `-`: what cannot be
    # stamped is loaded again by the next run; it must not keep a daemon down.
    started = ["started", daemon.unit, f"{topology.UNIT_DIR}/{daemon.service}", *restart_paths]
    loaded = ["loaded", daemon.unit, *daemon.reload_paths]
    stamps = [started, loaded] if daemon.reload_paths else [started]
    user, group = account_of(daemon, member.settings)
    writable = _writable(member, daemon)
    above = [member.own(daemon.stands_on)] if daemon.stands_on else []
    # The first owns what all daemons of ours read; in the second it is alone, so that no other can read its key.
    groups = [topology.GROUP] if daemon.account else []
    groups += [component] if {daemon.bucket, daemon.keys} & given else []
    # As root, so that no sandbox has to be built, which fails once its /tmp was cleaned up.
    load = f"+{daemon.keys_tool}" if daemon.keys_tool else "+/bin/kill -HUP $MAINPID"
    text = template(
        "unit.service.j2",
        unit=daemon.unit,
        type="exec" if systemd_version >= 240 else "simple",
        description=daemon.description,
        documentation=daemon.documentation,
        web=web.read_at_start(member.settings) if daemon.web else "",
        # A clock that jumps after the start makes samples that are refused or in the future.
        after=["network-online.target", "time-sync.target", *(one.service for one in above)],
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
    return Unit(daemon.unit, text, argv, daemon.reload_paths, restart_paths)
