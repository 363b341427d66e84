"""What a host is before anything is done to it: system, room, who holds our ports and names, firewall, reach of peers.

One command, that exits 0 on a blank host too: every tool in it may be missing. It reads the kernel's own files where it
can, needs ss to see who listens and bash (for /dev/tcp) to try the peers, and asks the package manager only about what
is not ours.

    pyinfra inventory.py fact facts.survey.Survey
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.declare import Own
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.facts import Reading, guarded, listeners
from prometheus_ha.facts.reports.look import State

MARK = "--- "
REACH_SECONDS = 3
"""How long the answer of a peer is waited for."""
QUICK_SECONDS = 0.3
"""How long they are tried one after the other before that: enough where all are near and open."""
AT_ONCE = 256
"""Peers tried at once."""
SECTIONS = (
    *("machine", "room", "disks", "sockets", "holders", "data", "units", "packages"),
    *("selinux", "nft", "iptables", "managers", "reach"),
)


@dataclass(frozen=True)
class Room(Reading):
    """The file system that holds `place`, or will: `stands` is the nearest directory that is there. Bytes; None where
    the host did not say. `kind` is rotational, ssd or unknown, as the kernel has it."""

    place: str
    stands: str
    mount: str = ""
    free: int | None = None
    size: int | None = None
    free_inodes: int | None = None
    options: tuple[str, ...] = ()
    kind: str = "unknown"


@dataclass(frozen=True)
class Holder(Reading):
    """Who listens on a port of ours. What is unknown is empty: a socket of another container, for one."""

    proto: str
    port: int
    address: str
    pid: int = 0
    process: str = ""
    exe: str = ""
    unit: str = ""
    """systemd's unit, with its ending."""
    package: str = ""

    @property
    def ours(self) -> bool:
        """A unit of ours, running what we unpacked, or a program of ours in Python."""
        units = {info.service: isinstance(info.product, Own) for info in DAEMONS.values()}
        if self.unit not in units:
            return False
        python = re.match(r"/usr(/libexec|/bin)/(platform-)?python3", self.exe)
        return bool(python) if units[self.unit] else self.exe.startswith(f"{topology.INSTALL_DIR}/")


@dataclass(frozen=True)
class UnitFile(Reading):
    """A unit file by a name of ours, or of a distribution's package for the same daemon."""

    name: str
    path: str
    ours: bool
    active: bool = False
    state: str = ""
    """enabled, disabled, masked ..., as systemd says of the name."""
    package: str = ""


@dataclass(frozen=True)
class Chain(Reading):
    """A base chain of nftables at the input hook: its policy, and its rules as text."""

    family: str
    table: str
    name: str
    policy: str
    rules: tuple[str, ...] = ()

    @property
    def drops(self) -> bool:
        """Is what no rule of it accepts dropped: by its policy, or by a last rule without a condition?"""
        return self.policy == "drop" or any(_terminal(rule) for rule in self.rules)


@dataclass(frozen=True)
class Directory(Reading):
    """A data directory that is there: its owner, and the owners of what is in it."""

    path: str
    owner: str
    inside: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Host(Reading):
    """A host as it is before the run, as far as the look does not say it."""

    cpus: int = 0
    memory: int = 0
    """Bytes."""
    swap: int = 0
    room: dict[str, Room] = field(default_factory=dict)
    listeners: bool = True
    """Could it be asked who listens? That takes ss."""
    holders: list[Holder] = field(default_factory=list)
    data: dict[str, Directory] = field(default_factory=dict)
    units: list[UnitFile] = field(default_factory=list)
    selinux: str = "disabled"
    chains: list[Chain] = field(default_factory=list)
    managers: list[str] = field(default_factory=list)
    """Managers of the firewall that are active: firewalld, ufw."""
    iptables: list[str] = field(default_factory=list)
    """What `iptables -S INPUT` says, where nftables does not know of it."""
    asked: dict[str, list[str]] = field(default_factory=dict)
    """Name of what was asked besides -> what was said."""
    reach: dict[str, str] = field(default_factory=dict)
    """address:port of each peer that was tried -> open, refused, timeout, unreachable, or what bash said."""

    def by_our_names(self, look: State) -> Host:
        """The same, with executables by the names that we know them by, where links lead to them."""
        self.holders = [replace(one, exe=look.named(one.exe)) for one in self.holders]
        return self

    @property
    def firewall(self) -> str:
        """What drops packets that arrive here; empty where nothing does."""
        if self.managers:
            return self.managers[0]
        if any(chain.drops for chain in self.chains):
            return "nftables"
        policy = any(re.match(r"-P INPUT (DROP|REJECT)", line) for line in self.iptables)
        last = any(re.match(r"-A INPUT -j (DROP|REJECT)", line) for line in self.iptables)
        return "iptables" if policy or last else ""


def _terminal(rule: str) -> bool:
    """A rule that drops or rejects whatever comes to it."""
    bare = re.sub(r'counter( packets \d+ bytes \d+)?|comment "[^"]*"|#.*|log( [a-z]+ \S+)*', "", rule)
    return bool(re.fullmatch(r"\s*(drop|reject( with .*)?)\s*", bare))


# --- Asking ---------------------------------------------------------------------------------------


def _quote(words: Iterable[str]) -> str:
    return " ".join(shlex.quote(str(word)) for word in words)


_QUICK = 'for t; do { echo "$t open"; } 3<>"/dev/tcp/$t"; done'
"""One after the other: next to nothing where all of them are open and near."""
_TRY = """
for t; do
    { echo "$t open"; } 3<>"/dev/tcp/$t" ||
    { m=$( { :; } 2>&1 3<>"/dev/tcp/$t" ) && m=open; echo "$t ${m##*: }"; } &
done
wait
"""
"""All at once, in one group of processes, that timeout ends. A redirection that fails runs nothing, and says why in
more than one write: it is asked again and caught, so that the lines of others do not mix with it."""


def _reach(peers: Iterable[tuple[str, int]]) -> str:
    """Try each peer: a line `ADDRESS/PORT open`, or what bash says of it, and none where nothing answers."""
    listed = [f"{address}/{port}" for address, port in dict.fromkeys(peers)]
    if not listed:
        return ":"
    quick, tries = (
        f"timeout {limit} bash -c {shlex.quote(text)} bash"
        for limit, text in ((QUICK_SECONDS, _QUICK), (REACH_SECONDS, _TRY))
    )
    return (
        "command -v bash >/dev/null && command -v timeout >/dev/null && {\necho tried\n"
        f'p={shlex.quote(" ".join(listed))}\ns="\n$({quick} $p)\n"; echo "$s"\n'
        'l=; for t in $p; do case $s in *"\n$t open\n"*) ;; *) l="$l $t";; esac; done\n'
        f'[ -z "$l" ] || echo "$l" | xargs -n {AT_ONCE} {tries}\n}}'
    )


def script(
    ports: Iterable[int] = (),
    peers: Iterable[tuple[str, int]] = (),
    units: Iterable[str] = (),
    places: Iterable[str] = (),
    data: Iterable[str] = (),
    asked: Mapping[str, str] | None = None,
) -> str:
    """The survey as one POSIX shell script. `ports` are those whose holders are wanted; `peers` are tried; `units` are
    names of units, ours and the distribution's; `places` are what must have room; `data` are data directories;
    `asked` are scripts of further questions by name."""
    where = " or ".join(f"sport = :{port}" for port in sorted(set(ports))) or "sport = :0"
    snippets = (
        # machine
        "grep -hsE '^(processor|MemTotal|SwapTotal)' /proc/cpuinfo /proc/meminfo",
        # room: what holds each place, or will; its size, and how it is mounted
        f'd=; for p in {_quote(places)}; do s=$p; while [ ! -e "$s" ] && [ -n "$s" ]; do s=${{s%/*}}; done; '
        '[ -n "$s" ] || s=/; echo "place $p $s"; d="$d $s"; done\n'
        '[ -z "$d" ] || { stat -f -c "size %n %S %a %b %d %c" $d; set -- $(readlink -f $d); e=/; '
        # Not stat's %m, which does not see a directory that is mounted on itself.
        'for s in $d; do echo "$1 $s"; m=$1; while [ -n "$m" ]; do e="$e|$m"; m=${m%/*}; done; shift; done; '
        'grep -E "^([^ ]+ ){4}($e) " /proc/self/mountinfo; }',
        # disks
        "grep -sH '' /sys/dev/block/*/queue/rotational /sys/dev/block/*/../queue/rotational",
        # sockets of ours. Not of /proc/net, where the kernel goes through all its connections
        f's=; command -v ss && {{ s=$({listeners.LISTEN} "{where}") || s="ss failed: $?"; echo "$s"; }}',
        # holders: their processes' executables and units
        "set -f; o=; p=; for l in $s; do while :; do case $l in *,pid=*) l=${l#*,pid=}; n=${l%%,*}; "
        'case " $p " in *" $n "*) ;; *) p="$p $n";; esac;; *) break;; esac; done; done; set +f\n'
        'e=; c=; for l in $p; do e="$e /proc/$l/exe"; c="$c /proc/$l/cgroup"; done; '
        '[ -z "$p" ] || { l=$(find $e -maxdepth 0 -printf "%p %l\\n"); echo "$l"; grep -sHE "name=systemd:|^0::" $c; '
        f"t={topology.INSTALL_DIR}; if cd -P $t; then t=$PWD; cd /; fi; "
        'for l in $l; do case $l in /proc/*|"$t"/*) ;; /*) o="$o $l";; esac; done; }',
        # data: lost+found is the file system's
        f"find -H {_quote(data)} -maxdepth 1 ! -name lost+found -printf '%p\\t%u\\t%d\\n'",
        # units: files by these names, wherever systemd looks for them
        f"f=; for n in {_quote(units)}; do for w in /etc /usr/lib /lib; do l=$w/systemd/system/$n.service; "
        '{ [ -e "$l" ] && ! { [ $w = /lib ] && [ -L /lib ]; }; } && f="$f $l"; done; done\n'
        f'[ -z "$f" ] || {{ m=" $(grep -ls "^# {OURS}" $f | while read -r l; do echo -n "$l "; done)"; u=; '
        'for l in $f; do case $m in *" $l "*) echo "$l ours";; *) echo "$l"; n=${l##*/}; u="$u $n"; '
        'o="$o $l"; case $l in /usr/*) o="$o ${l#/usr}";; esac;; esac; done; '
        '[ -z "$u" ] || systemctl show -p Id -p ActiveState -p UnitFileState $u; }',
        # packages that own what is not ours
        '[ -z "$o" ] || if command -v dpkg >/dev/null; then dpkg -S $o; '
        "else for f in $o; do p=$(rpm -qf --qf '%{NAME}' $f) && echo \"$p: $f\"; done; fi",
        # selinux
        "[ ! -e /sys/fs/selinux/enforce ] || { read -r x </sys/fs/selinux/enforce; echo $x; }",
        # nft: the base chains at the input hook
        "! command -v nft >/dev/null || nft list chains | while read -r a b c x; do "
        "case $a in table) f=$b t=$c;; chain) n=$b;; "
        'type) case "$a $b $c $x" in *"hook input"*) echo "chain $f $t $n"; nft list chain $f $t $n;; '
        "esac;; esac; done",
        # iptables: only where nftables does not know of its rules, and without loading anything
        "if [ -e /proc/net/ip_tables_names ]; then iptables-legacy -S INPUT || iptables -S INPUT; "
        "elif ! command -v nft >/dev/null && command -v iptables >/dev/null; then iptables -S INPUT; fi",
        # managers
        "command -v firewall-cmd >/dev/null && systemctl -q is-active firewalld && echo firewalld\n"
        "command -v ufw >/dev/null && grep -qsi ^ENABLED=yes /etc/ufw/ufw.conf && echo ufw",
        # reach
        _reach(peers),
    )
    lines = [f"echo '{MARK}{name}'\n{s}" for name, s in zip(SECTIONS, snippets, strict=True)]
    lines += [f"echo '{MARK}asked {name}'\n{s}" for name, s in (asked or {}).items() if s]
    body = "\n".join(lines)
    return f"(\nPATH=$PATH:/usr/sbin:/sbin\nexport LC_ALL=C\nexec 2>/dev/null\n{body}\n)\ntrue\n"


OURS = "Managed by pyinfra-prometheus-ha"
"""First line of each unit of ours."""


# --- Reading --------------------------------------------------------------------------------------


@guarded
def parse(lines: list[str]) -> Host:
    """The survey's output as a `Host`; raises `FactProcessError` where it is none."""
    part: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(MARK):
            current = part.setdefault(line[len(MARK) :], [])
        elif part:
            current.append(line)
    survey = Host()
    for line in part["machine"]:
        words = line.split()
        survey.cpus += words[0] == "processor"
        if words[0] == "MemTotal:":
            survey.memory = int(words[1]) * 1024
        elif words[0] == "SwapTotal:":
            survey.swap = int(words[1]) * 1024
    kinds = {}
    for line in part["disks"]:
        match = re.match(r"/sys/dev/block/(\d+:\d+)/.*:([01])$", line)
        if match:
            kinds[match[1]] = "rotational" if match[2] == "1" else "ssd"
    survey.room = _room(part["room"], kinds)
    packages = _packages(part["packages"])
    survey.listeners = bool(part["sockets"])
    survey.holders = _holders(part["sockets"][1:], part["holders"], packages)
    survey.data = _data(part["data"])
    survey.units = _units(part["units"], packages)
    survey.selinux = {"1": "enforcing", "0": "permissive"}.get("".join(part["selinux"]), "disabled")
    survey.chains = _chains(part["nft"])
    survey.iptables = part["iptables"]
    survey.managers = part["managers"]
    survey.reach = _read_reach(part["reach"])
    survey.asked = {name.removeprefix("asked "): said for name, said in part.items() if name.startswith("asked ")}
    return survey


def _room(lines: list[str], kinds: Mapping[str, str]) -> dict[str, Room]:
    places: dict[str, str] = {}
    sizes: dict[str, list[int]] = {}
    points: dict[str, str] = {}
    mounts: dict[str, list[str]] = {}
    for line in lines:
        words = line.split()
        if words[0] == "place":
            places[words[1]] = words[2]
        elif words[0] == "size":
            sizes[words[1]] = [int(word) for word in words[2:]]
        elif words[0].startswith("/"):
            points[words[1]] = words[0]
        else:
            mounts[words[4]] = words  # the last one at a mount point covers those before it
    found = {}
    for place, stands in places.items():
        if stands not in sizes:
            found[place] = Room(place, stands)
            continue
        block, free, blocks, inodes_free, inodes = sizes[stands]
        at = PurePosixPath(points.get(stands, stands))
        mount = next((str(p) for p in (at, *at.parents) if str(p) in mounts), "/")
        words = mounts.get(mount, [])
        options = set(words[5].split(",")) if words else set()
        # What the file system as a whole is: read-only after an error, for one.
        options |= {"ro"} & set(words[-1].split(",")) if words else set()
        found[place] = Room(
            place,
            stands,
            mount,
            free * block,
            blocks * block,
            inodes_free if inodes else None,  # some make inodes as they go, and say 0 of 0
            tuple(sorted(options)),
            kinds.get(words[2], "unknown") if words else "unknown",
        )
    return found


def _packages(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        package, colon, path = line.rpartition(": ")
        if colon:
            found[path.strip()] = package.split(",")[0].partition(":")[0]
    return found


def _holders(sockets: list[str], lines: list[str], packages: Mapping[str, str]) -> list[Holder]:
    of: dict[int, dict[str, str]] = {}
    for line in lines:
        match = re.match(r"/proc/(\d+)/(\w+)[ :](.*)", line)
        if not match:
            continue
        pid, what, value = int(match[1]), match[2], match[3]
        if what == "cgroup":
            units = re.findall(r"([^/]+\.(?:service|scope))", value)
            if units and (value.startswith("0::") or "name=systemd" in value):
                of.setdefault(pid, {})["unit"] = units[-1]
        else:
            of.setdefault(pid, {})[what] = value
    found = []
    for one in listeners.parse(sockets):
        known = of.get(one.pid or 0, {})
        exe = known.get("exe", "").removesuffix(" (deleted)")
        unit, package = known.get("unit", ""), packages.get(exe, "")
        found.append(
            Holder(
                one.proto,
                one.port,
                one.address,
                one.pid or 0,
                one.process or "",
                exe,
                unit,
                package,
            )
        )
    return found


def _data(lines: list[str]) -> dict[str, Directory]:
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for line in lines:
        path, owner, depth = line.split("\t")
        if depth == "0":
            found[path] = owner, {}
        else:
            parent, _, name = path.rpartition("/")
            found[parent][1][name] = owner
    return {path: Directory(path, *rest) for path, rest in found.items()}


def _units(lines: list[str], packages: Mapping[str, str]) -> list[UnitFile]:
    states: dict[str, dict[str, str]] = {}
    for block in "\n".join(lines).split("\n\n"):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        states[properties.get("Id", "")] = properties
    found = []
    for line in lines:
        path, _, ours = line.partition(" ")
        if not path.startswith("/"):
            continue
        service = path.rpartition("/")[2]
        package = packages.get(path) or packages.get(path.removeprefix("/usr"), "")
        known = states.get(service, {})
        running = known.get("ActiveState") in ("active", "activating", "reloading")
        unit = UnitFile(
            service.removesuffix(".service"),
            path,
            ours == "ours",
            running,
            known.get("UnitFileState", ""),
            package,
        )
        found.append(unit)
    return found


def _chains(lines: list[str]) -> list[Chain]:
    found: list[Chain] = []
    for line in lines:
        words = line.split()
        match = re.search(r"hook input .*?policy (\w+)", line)
        if line.startswith("chain "):
            family, table, name = words[1:4]
            found.append(Chain(family, table, name, "accept"))
        elif not found or not words or words[0] in ("table", "chain", "}"):
            continue
        elif "hook input" in line:
            last = found.pop()
            found.append(Chain(last.family, last.table, last.name, match[1] if match else "accept"))
        else:
            last = found.pop()
            rules = (*last.rules, line.strip())
            found.append(Chain(last.family, last.table, last.name, last.policy, rules))
    return found


_SAYS = {
    "Connection refused": "refused",
    "Connection timed out": "timeout",
    "No route to host": "unreachable",
    "Network is unreachable": "unreachable",
}


def _read_reach(lines: list[str]) -> dict[str, str]:
    """Only peers that answered in some way: what is absent was tried in vain, where `tried` is there at all."""
    found = {"": "tried"} if lines[:1] == ["tried"] else {}
    for line in lines:
        match = re.fullmatch(r"(\S+)/(\d+) (.*)", line)
        if match:
            found[topology.join(match[1], int(match[2]))] = _SAYS.get(match[3], match[3])
    return found
