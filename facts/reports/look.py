"""One look at a host: everything the platform wants to know about it, read by one command.

pyinfra caches no fact and pays about three round trips for each command, so that a fact per file costs seconds on a
run that changes nothing. This fact reads it all at once; what is wanted is compared with it on the control machine.

    pyinfra inventory.py fact facts.look.Look
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from prometheus_ha.deploys.lib.daemons import UNITS
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_DATA
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.facts import Reading, guarded, known_units

MARK = "=== "
SECTIONS = (
    *("os", "users", "links", "paths", "units", "drop-ins", "processes"),
    *("records", "installed", "commands", "sysctl", "resources", "account"),
)
"""The look's own sections, in the order printed, after those of other facts."""
_SWAP = str.maketrans("./", "/.")
"""Between the name of a kernel value and its path (sysctl(8))."""
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
DROP_IN_PLACES = (
    *("/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient"),
    *("/run/systemd/generator.early", topology.UNIT_DIR, "/etc/systemd/system.attached"),
    *("/run/systemd/system", "/run/systemd/system.attached", "/run/systemd/generator"),
    *("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
    "/run/systemd/generator.late",
)
"""Where systemd looks for drop-ins, in its order: of two files of one name the first counts (systemd.unit(5))."""


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
    """A host as the look found it. Paths that do not exist are absent from `paths`, and unknown units from `units`."""

    os: str = ""
    os_version: str = ""
    machine: str = ""
    systemd: int = 0
    users: dict[str, str] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)
    """Directory of ours -> what the kernel makes of it, where links on its way lead elsewhere. Everything else here has
    the name that we know it by."""
    blocked: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Directory of ours -> what stands on its way and leads to no directory, and its kind (l, f)."""
    ways: dict[str, Path] = field(default_factory=dict)
    """The directories to which links of ours lead, and those above them."""
    paths: dict[str, Path] = field(default_factory=dict)
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    drop_ins: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Unit of ours -> drop-in that lies on the disk for it, whether systemd has read it or not -> what it sets, as
    `ExecStart=...`, or `ExecStart=` where it empties that. Values may be secrets, and stay on the host."""
    processes: dict[str, Process] = field(default_factory=dict)
    stamps: dict[str, dict[str, str]] = field(default_factory=dict)
    installed: dict[str, Installed] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    sysctl: dict[str, str] = field(default_factory=dict)
    reserved_ports: dict[str, str] = field(default_factory=dict)
    """Files that set `topology.RESERVED_PORTS` at boot, and to what."""
    memory: int = 0
    """Bytes of the machine's memory."""
    disk: int = 0
    """Bytes of the file system that holds the data of Prometheus, or will; 0 where it does not say."""
    manifests: dict[str, set[str]] = field(default_factory=dict)
    account: str = ""
    """Who commands are run as, where that is not root: name and uid."""
    extra: dict[str, list[str]] = field(default_factory=dict)

    @property
    def arch(self) -> str:
        """The architecture in the words of the release archives."""
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(self.machine, self.machine)

    def named(self, path: str) -> str:
        """What the kernel calls `path`, by the name that we know it by, where it lies below a link in /opt or /opt."""
        ways = {real: name for name, real in self.links.items() if f"{name}/".startswith(f"{topology.INSTALL_DIR}/")}
        real = max((one for one in ways if path.startswith(f"{one}/")), key=len, default=None)
        return path if real is None else ways[real] + path[len(real) :]

    def unread(self, unit: str) -> bool:
        """Has systemd not read the unit as it lies on the disk? Before 257 it does not notice a drop-in in a new
        directory itself (systemd #31752)."""
        said = self.units.get(unit, {})
        if said.get("NeedDaemonReload") == "yes":
            return True
        if "DropInPaths" not in said:
            return False
        read = {path.removeprefix("/usr") for path in shlex.split(said["DropInPaths"])}
        return any(
            path.removeprefix("/usr") not in read
            for path in self.drop_ins.get(unit, {})
            if path.rsplit("/", 2)[1] != "service.d"  # of which 244 and older know nothing
        )

    def below(self, *roots: str) -> dict[str, str]:
        """Path and hash of every regular file that was seen at or below `roots`."""
        return {
            name: path.sha256
            for name, path in self.paths.items()
            if path.kind == "f" and any(name == root or name.startswith(f"{root.rstrip('/')}/") for root in roots)
        }


def _quote(words) -> str:
    return " ".join(shlex.quote(word) for word in words)


def drop_in_directories(unit: str) -> list[str]:
    """Names of the directories of drop-ins for `unit` (without `.service`): `a-b` has a-b.service.d and a-.service.d,
    and there is one for all services."""
    words = unit.split("-")
    shorter = ["-".join(words[:n]) + "-" for n in range(len(words) - 1, 0, -1)]
    return [f"{name}.service.d" for name in (unit, *shorter)] + ["service.d"]


def _resolve(listed, leaves, others) -> str:
    """Shell that follows each directory, or the nearest one above it that is there. By the shell's own `cd -P`, which
    starts no process; only where a link is found are those asked about to which it leads. Sets `$linked` and `$pruned`
    to what `find` is to follow, as it follows no link by itself, and to where it is to stop.
    """
    return f"""b=; e=; linked=; pruned=; w=leaf
for i in {topology.INSTALL_DIR}/*/.installed; do i=${{i%/.installed}}; [ ! -L "$i" ] || b="$b $i"; done
for d in {_quote(leaves)} - {_quote(listed)} - {_quote(others)} $b; do
case $w$d in leaf-) w=listed; continue;; listed-) w=; continue;; esac
n=$d; while [ -n "$n" ] && [ ! -e "$n" ] && [ ! -L "$n" ]; do n=${{n%/*}}; done
if [ ! -d "$n/" ]; then k=f; [ ! -L "$n" ] || k=l; printf '%s\\t%s\\t%s\\n' "$d" "$n" $k; continue; fi
cd -P "$n/" || continue
p=${{PWD%/}}${{d#"$n"}}; [ "$p" != "$d" ] || continue
printf '%s\\t%s\\n' "$d" "${{p:-/}}"; while [ -n "$p" ]; do e="$e $p"; p=${{p%/*}}; done
[ -L "$d" ] || continue
[ -z "$w" ] || linked="$linked $d/"; [ $w. != leaf. ] || pruned="$pruned -o -path $d/"
done; cd /
[ -z "$e" ] || find $e -maxdepth 0 -printf '%p\\t%y\\t%m\\t%u\\t%g\\t%l\\n'"""


def _large() -> str:
    """Shell that hashes those of `$@` that are ours, or that a daemon read: those of others would take their time."""
    return (
        f'printf "%s\\n" "$@" | grep -rohsF -f - {topology.STAMPS} {topology.STATE}/manifest | '
        'sort -u | xargs -rd "\\n" sha256sum'
    )


_WITHOUT_VALUES = (
    r"s/^([^:]*:[ \t]*[#;]).*/\1/;t",
    r"s/^([^:]*:[^=]*=)[ \t]*[^ \t].*\\$/\1...\\/;t",
    r"s/^([^:]*:[^=]*=)[ \t]*[^ \t\\].*$/\1.../;t",
    r"s/^([^:]*:)[^=]*[^= \t\\][^=]*\\$/\1...\\/;t",
    r"s/^([^:]*:)[^=]*[^= \t\\][^=]*$/\1.../",
)
"""Expressions of sed that leave of each `path:line` the name that is set, whether to something, and whether it goes on
in the next line."""


def _drop_ins(units) -> str:
    names = dict.fromkeys(name for unit in units for name in drop_in_directories(unit))
    return (
        f"set --; for p in {_quote(DROP_IN_PLACES)}; do [ -d $p ] || continue; for n in {_quote(names)}; do "
        '[ -d $p/$n ] || continue; for f in $p/$n/*.conf; do [ ! -e "$f" ] || set -- "$@" "$f"; done; done; done\n'
        "[ $# = 0 ] || { printf '%s\\n' \"$@\" ''; "
        f"grep -sH '' \"$@\" | sed -E {' '.join(f'-e {shlex.quote(one)}' for one in _WITHOUT_VALUES)}; }}"
    )


def script(*, roots, paths, units, commands, sysctls, users, ours=(), leaves=(), places=()) -> str:
    """The look as one POSIX shell script, which exits 0 on a blank host too.

    `roots` and `paths` are read with all below them, except for those `paths` that are `leaves`: directories in
    which the look has no business. `places` are more directories of which is said where they lead, and `ours` names of
    units whose drop-ins are wanted. On a small host most of a look's time goes into starting processes, so what the
    shell can do itself, it does.
    """
    prune = " -o ".join(f"-path {shlex.quote(leaf)}" for leaf in leaves) or "-false"
    inner = [p for p in places if p in paths or any(p.startswith(f"{root}/") for root in roots)]
    listing = "-printf '%p\\t%y\\t%m\\t%u\\t%g\\t%l\\n'"
    show = f"systemctl show -p {','.join(UNIT_PROPERTIES)} $known"
    each = "[ -f $i ] && read -r sum <$i || continue"
    snippets = (
        # os
        '(. /etc/os-release; echo "$ID"; echo "$VERSION_ID"); '
        "{ read -r m </proc/sys/kernel/arch && echo $m; } || uname -m\n"
        # systemctl takes its time to say so itself
        "v=; for d in /usr/lib/*/systemd /usr/lib/systemd /lib/systemd; do for l in $d/libsystemd-shared-[0-9]*.so; do "
        '[ -e $l ] && v=${l##*-shared-}; done; done; v=${v%%[!0-9]*}; if [ "$v" ]; then echo "systemd $v"; '
        "else systemctl --version; fi",
        # users
        f"getent passwd {_quote(users)}; getent group {_quote(users)}",
        # links
        _resolve([*roots, *inner], leaves, [p for p in places if p not in {*roots, *inner}]),
        # paths, with the hashes of files; no binary is hashed on every run
        f"find {_quote(roots)} {_quote(paths)} $linked \\( {prune} $pruned \\) -prune {listing} -o {listing} "
        f"-type f \\( -size -1024k -exec sha256sum {{}} + -o -exec sh -c {shlex.quote(_large())} sh {{}} + \\)",
        # units
        f'{known_units(units)}; units=; [ -z "$known" ] || units=$({show}); echo "$units"',
        # drop-ins
        _drop_ins(ours),
        # processes
        "e=; c=; for u in $units; do case $u in MainPID=0) ;; MainPID=*) "
        'e="$e /proc/${u#*=}/exe"; c="$c /proc/${u#*=}/cmdline";; esac; done; '
        "[ -z \"$e\" ] || { find $e -maxdepth 0 -printf '%p:%l\\n'; grep -azH '' $c | tr '\\n\\0' ' \\n'; }",
        # records: stamps, and lists of what is ours
        f"grep -rs '' {topology.STAMPS} {topology.STATE}/manifest",
        # installed
        f"for i in /opt/*/.installed; do {each}; d=${{i%/.installed}}; echo ${{d##*/}} $sum $d/*; done",
        # commands
        f"for c in {_quote(commands)}; do command -v $c >/dev/null && echo $c; done",
        # sysctl; not read by the shell, which asks for one byte at a time and gets no second one
        f"cd /proc/sys; grep -sH '' {_quote(key.translate(_SWAP) for key in sysctls)}; cd /\n"
        # and the files that reserve ports: of one name, that of the first directory hides the others
        "n=; f=; for d in /etc /run /usr/local/lib /usr/lib /lib; do for i in $d/sysctl.d/*.conf; do "
        'case $n in *"/${i##*/}/"*) ;; *) n="$n/${i##*/}/" f="$f $i";; esac; done; done; '
        f"grep -sH {topology.RESERVED_PORTS.rpartition('.')[2]} $f /dev/null",
        # resources; of the nearest directory that there is: on a blank host, the data's own is still to be made
        f"d={PROMETHEUS_DATA}; while [ ! -d $d/ ]; do d=${{d%/*}}; done; "
        "read -r _ kilobytes _ </proc/meminfo; echo $kilobytes $(stat -f -c '%S %b' $d/)",
        # account, where it is not root
        "while read -r name _ uid _; do [ $name != Uid: ] || break; done </proc/self/status; [ $uid = 0 ] || id",
    )
    return f"{_HEAD}{_marked(zip(SECTIONS, snippets, strict=True))}exit 0\n"


_HEAD = "PATH=$PATH:/usr/sbin:/sbin\nexec 2>/dev/null\n"


def also(script: str, more: Mapping[str, str]) -> str:
    """The look's script with sections of other facts (name -> shell), which go first: one may be the host's lock."""
    return _HEAD + _marked(more.items()) + script.removeprefix(_HEAD)


def _marked(snippets: Iterable[tuple[str, str]]) -> str:
    return "".join(f"echo '{MARK}{name}'\n{snippet}\n" for name, snippet in snippets)


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
    version = systemd[0].split()[1] if systemd else "0"
    state = State(os=os, os_version=os_version, machine=machine, systemd=int(version))
    for line in part["users"]:
        name, *rest = line.split(":")
        if len(rest) > 3:
            state.users[name] = line
        else:
            state.groups.add(name)
    for line in part.get("links", ()):
        match line.split("\t"):
            case name, real:
                state.links[name] = real
            case name, at, kind:
                state.blocked[name] = at, kind
            case name, *rest:
                state.ways[name] = Path(*rest)
    listed, digests = {}, {}
    for line in part["paths"]:
        if "\t" in line:
            name, *rest = line.split("\t")
            listed[name.rstrip("/")] = rest  # a directory that is a link comes again, followed
        else:
            digest, name = line.split(None, 1)
            digests[name] = digest
    state.paths = {n: Path(*rest, sha256=digests.get(n, "")) for n, rest in listed.items()}  # type: ignore[misc]
    state.units = _units(part["units"])
    state.drop_ins = _read_drop_ins(part.get("drop-ins", []))
    state.processes = {
        unit: replace(process, exe=state.named(process.exe))
        for unit, process in _processes(part["processes"], state.units).items()
    }
    for line in part["records"]:
        place, _, line = line.partition(":")
        directory, _, name = place.rpartition("/")
        if directory == topology.STAMPS:
            digest, path = line.split(None, 1)
            state.stamps.setdefault(name, {})[path] = digest
        else:
            state.manifests.setdefault(name, set()).add(line)
    for directory, digest, *names in (line.split() for line in part["installed"]):
        found = frozenset(name.rpartition("/")[2] for name in names)
        state.installed[directory] = Installed(digest, found)
    state.commands = set(part["commands"])
    for line in part["sysctl"]:
        place, _, value = line.partition(":")
        if not place.startswith("/"):
            state.sysctl[place.translate(_SWAP)] = " ".join(value.split())
            continue
        key, _, value = value.partition("=")
        if key.strip().removeprefix("-").replace("/", ".") == topology.RESERVED_PORTS:
            state.reserved_ports[place] = value.strip()
    kilobytes, *blocks = map(int, part["resources"][0].split())
    state.memory, state.disk = kilobytes * 1024, prod(blocks) if blocks else 0
    account = re.match(r"uid=(\d+)(?:\(([^)]*)\))?", "".join(part.get("account", [])))
    if account and account[1] != "0":
        state.account = f"{account[2] or 'a user'} (uid {account[1]})"
    state.extra = {name: lines for name, lines in part.items() if name not in SECTIONS}
    return state


def _settings(lines: list[str]) -> list[str]:
    """What a file of systemd's sets, in order: `name=...`, or `name=` where it is emptied."""
    found, before = [], ""
    for line in lines:
        bare = line.strip()
        if bare.startswith(("#", ";")):
            continue  # between continued lines as well
        if bare.endswith("\\"):
            before += bare[:-1] + " "
            continue
        name, equals, value = (before + bare).partition("=")
        before = ""
        if equals:
            found.append(f"{name.strip()}={'...' if value.strip() else ''}")
    return found


def _read_drop_ins(lines: list[str]) -> dict[str, dict[str, list[str]]]:
    """A path a file; after an empty line `path:line` a line. Of files of one name the first counts, empty or not."""
    end = lines.index("") if "" in lines else len(lines)
    files: dict[str, list[str]] = {path: [] for path in lines[:end]}
    for line in lines[end + 1 :]:
        path = next((path for path in files if line.startswith(f"{path}:")), None)
        if path:
            files[path].append(line[len(path) + 1 :])
    found: dict[str, dict[str, list[str]]] = {}
    for unit in UNITS:
        names = drop_in_directories(unit)
        taken: set[str] = set()

        def order(path: str, names=names) -> tuple[bool, int, int]:
            place, directory, _ = path.rsplit("/", 2)
            return directory == names[-1], DROP_IN_PLACES.index(place), names.index(directory)

        for path in sorted((p for p in files if p.rsplit("/", 2)[1] in names), key=order):
            name = path.rpartition("/")[2]
            if name not in taken and files[path]:
                found.setdefault(unit, {})[path] = _settings(files[path])
            taken.add(name)
    return found


def _processes(lines: list[str], units: dict[str, dict[str, str]]) -> dict[str, Process]:
    """`/proc/PID/exe:target` a process, and `/proc/PID/cmdline:word` a word of its command line."""
    executables: dict[str, str] = {}
    words: dict[str, list[str]] = {}
    for line in lines:
        place, _, rest = line.partition(":")
        _, _, pid, what = place.split("/")
        if what == "exe":
            executables[pid] = rest
        else:
            words.setdefault(pid, []).append(rest)
    return {
        unit: Process(int(pid), executables[pid], tuple(words.get(pid, ())))
        for unit, properties in units.items()
        if (pid := properties.get("MainPID", "")) in executables
    }
