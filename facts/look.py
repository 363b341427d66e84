"""One look at a host: everything the platform wants to know about it, read by one command.

pyinfra caches no fact and pays about three round trips for each command, so that a fact per file costs seconds on a
run that changes nothing. This fact reads it all at once; what is wanted is compared with it on the control machine.

    pyinfra inventory.py fact facts.look.Look
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from pyinfra.api import FactBase

from deploys.lib import topology
from facts import Reading, guarded

MARK = "=== "
SECTIONS = (
    *("os", "users", "groups", "paths", "sums", "units"),
    *("processes", "stamps", "installed", "manifests", "commands", "sysctl"),
)
"""The look's own sections, in the order printed; those of other facts follow."""
UNIT_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "NeedDaemonReload",
    "NRestarts",
    "FragmentPath",
    "DropInPaths",
    "ExecMainStartTimestampMonotonic",
)


@dataclass(frozen=True)
class Path(Reading):
    """What stands at one path: `kind` is find's letter (f, d, l ...), `mode` octal digits, `target` a link's."""

    kind: str
    mode: str
    owner: str
    group: str
    target: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Process(Reading):
    """A unit's main process as it runs: its executable (with ` (deleted)` where that was replaced) and argv."""

    pid: int
    exe: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Installed(Reading):
    """An unpacked release below /opt: the sha256 its archive had when it was verified, and the names in it now."""

    sha256: str
    names: frozenset[str]


@dataclass
class State(Reading):
    """A host as the look found it. Paths that do not exist are absent from `paths`."""

    os: str = ""
    os_version: str = ""
    machine: str = ""
    systemd: int = 0
    users: dict[str, str] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    paths: dict[str, Path] = field(default_factory=dict)
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    stamps: dict[str, dict[str, str]] = field(default_factory=dict)
    installed: dict[str, Installed] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    sysctl: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, set[str]] = field(default_factory=dict)
    extra: dict[str, list[str]] = field(default_factory=dict)

    @property
    def arch(self) -> str:
        """The architecture in the words of the release archives."""
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(self.machine, self.machine)

    def below(self, *roots: str) -> dict[str, str]:
        """Path and hash of every regular file at or below `roots`, links followed by name only."""
        return {
            name: path.sha256
            for name, path in self.paths.items()
            if path.kind == "f"
            and any(name == root or name.startswith(f"{root}/") for root in roots)
        }


def _quote(words) -> str:
    return " ".join(shlex.quote(word) for word in words)


def script(roots, paths, units, commands, sysctls, users, extra=None) -> str:
    """The look as one POSIX shell script, which exits 0 on a blank host too.

    `roots` are read with all below them, `paths` alone; `extra` is section name to shell snippet of another fact.
    """
    places = _quote(paths)
    listing = "-printf '%p\\t%y\\t%m\\t%u\\t%g\\t%l\\n'"
    show = f"systemctl show -p {','.join(UNIT_PROPERTIES)} {_quote(units)} 2>/dev/null"
    snippets = (
        # os
        '(. /etc/os-release; echo "$ID"; echo "$VERSION_ID"); uname -m; '
        "systemctl --version 2>/dev/null | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'",
        # users, groups
        f"for u in {_quote(users)}; do getent passwd $u; done",
        f"for u in {_quote(users)}; do getent group $u; done",
        # paths, sums; no binary is hashed on every run
        f"find {_quote(roots)} {listing} 2>/dev/null; find {places} -maxdepth 0 {listing} 2>/dev/null",
        f"find {_quote(roots)} -type f -exec sha256sum {{}} + 2>/dev/null; "
        f"find {places} -maxdepth 0 -type f -size -1024k -exec sha256sum {{}} + 2>/dev/null",
        # units, processes
        f'units=$({show}); echo "$units"',
        """for pid in $(echo "$units" | sed -n 's/^MainPID=//p'); do [ "$pid" != 0 ] || continue; """
        'echo "$pid"; readlink /proc/$pid/exe || echo; '
        'tr "\\0\\n" "\\037 " </proc/$pid/cmdline; echo; done 2>/dev/null',
        # stamps
        f"for s in {topology.STAMPS}/*; do [ -f $s ] || continue; "
        'echo "> ${s##*/}"; cat $s; done',
        # installed
        "for i in /opt/*/.installed; do [ -f $i ] || continue; "
        'd=${i%/.installed}; echo "${d##*/}" "$(cat $i)" $(ls $d); done',
        # manifests
        f"for m in {topology.STATE}/manifest/*; do [ -f $m ] || continue; "
        'echo "> ${m##*/}"; cat $m; done',
        # commands
        f"for c in {_quote(commands)}; do command -v $c >/dev/null && echo $c; done",
        # sysctl
        f"cd /proc/sys; for k in {_quote(sysctls)}; do f=$(echo $k | tr . /); "
        '[ -r $f ] && echo "$k = $(cat $f)"; done; cd /',
    )
    named = [*zip(SECTIONS, snippets, strict=True), *(extra or {}).items()]
    lines = [f"echo '{MARK}{name}'\n{snippet}" for name, snippet in named]
    return "PATH=$PATH:/usr/sbin:/sbin\n" + "\n".join(lines) + "\nexit 0\n"


def sections(lines: list[str]) -> dict[str, list[str]]:
    """Split the output at its marks."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if line.startswith(MARK):
            current = found.setdefault(line[len(MARK) :], [])
        else:
            current.append(line)
    return found


def _blocks(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("> "):
            current = found.setdefault(line[2:], [])
        elif line:
            current.append(line)
    return found


def _sums(lines: list[str]) -> dict[str, str]:
    return {name: digest for digest, name in (line.split(None, 1) for line in lines if line)}


def _units(lines: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    properties: dict[str, str] = {}
    for line in [*lines, ""]:
        if line:
            key, _, value = line.partition("=")
            properties[key] = value
        elif properties:  # a blank line ends a unit
            found[properties["Id"].removesuffix(".service")] = properties
            properties = {}
    return found


@guarded
def parse(lines: list[str]) -> State:
    """The look's output as a `State`; raises `FactProcessError` where it is none."""
    part = sections(lines)
    os, os_version, machine, *systemd = part["os"]
    state = State(
        os=os, os_version=os_version, machine=machine, systemd=int(systemd[0]) if systemd else 0
    )
    state.users = {line.split(":")[0]: line for line in part["users"]}
    state.groups = {line.split(":")[0] for line in part["groups"]}
    digests = _sums(part["sums"])
    for line in part["paths"]:
        name, *rest = line.split("\t")
        state.paths[name] = Path(*rest, sha256=digests.get(name, ""))
    state.units = _units(part["units"])
    pids = {properties.get("MainPID"): unit for unit, properties in state.units.items()}
    rows = iter(part["processes"])
    for pid, exe, argv in zip(rows, rows, rows, strict=True):
        state.processes[pids[pid]] = Process(int(pid), exe, tuple(argv.split("\x1f")[:-1]))
    state.stamps = {name: _sums(rows) for name, rows in _blocks(part["stamps"]).items()}
    for directory, digest, *names in (line.split() for line in part["installed"]):
        state.installed[directory] = Installed(digest, frozenset(names))
    state.manifests = {name: set(rows) for name, rows in _blocks(part["manifests"]).items()}
    state.commands = set(part["commands"])
    for line in part["sysctl"]:
        key, _, value = line.partition(" = ")
        state.sysctl[key] = " ".join(value.split())
    state.extra = {name: part[name] for name in list(part)[len(SECTIONS) :]}
    return state


class Look(FactBase):
    """A host as one command sees it, as a `State`; `None` where the look failed."""

    def command(self, script: str | None = None) -> str:
        if script is None:
            from deploys.lib.look import default_script

            script = default_script()
        return script

    def process(self, output):
        return parse(output)

    @staticmethod
    def default():
        return None
