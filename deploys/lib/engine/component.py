"""What a role wants on one host, how that differs from what the look found, and the scripts that mend it.

Everything here is a pure function of data, so that a test needs no host. The protocol, which makes a run that was
killed at any point complete itself on the next one:

1. `stage`: the whole wanted tree is built beside the live one (foreign files included, so that the checkers see what
   the daemon would see) and checked with the new version's own checkers, bind-mounted where it will live.
2. `swap`: the stamps of what the daemons loaded are dropped first, then each file goes live by one rename.
3. The unit itself stamps what it loads (`ExecStartPre=`, `ExecReload=`). A stamp that is missing or differs from what
   is wanted makes a reload or a restart due, whoever changed the file, and in whichever run.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shlex
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.ground.secrets import lacking
from prometheus_ha.deploys.lib.ground.topology import GROUP, INSTALL_DIR, STAMPS, STATE
from prometheus_ha.deploys.lib.ground.topology import UNIT_DIR as UNITS
from prometheus_ha.facts.reports.look import MARK, Path, Process, State

CHECKED = "/run/monitoring.check"
"""Where what is planned is checked: in memory, root's alone, and removed again."""
SAVED = f"{STATE}/replaced"
"""Where files of somebody else are kept, that ours took the place of."""


@dataclass(frozen=True)
class File:
    """A file as it should be. root owns what we write: a daemon must not rewrite its own configuration."""

    content: str
    mode: str = "640"
    owner: str = "root"
    group: str = GROUP

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()

    @property
    def lacks(self) -> list[str]:
        """References of the secrets that the content should have, and this machine lacks: it cannot be compared."""
        return lacking(self.content)


@dataclass(frozen=True)
class Directory:
    """A directory as it should be; files below a `managed` one are purged once they leave the inventory."""

    mode: str = "750"
    owner: str = "root"
    group: str = GROUP
    managed: bool = False


@dataclass(frozen=True)
class Service:
    """A systemd service: its `argv` (empty where the unit is not ours), and the paths it reads when it starts and
    when it is reloaded. The unit stamps both, see `templates/unit.service.j2`. A `oneshot` has no process once it is
    done; `replaces` are units of others that are stopped and masked, as this one takes their place."""

    name: str
    argv: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    oneshot: bool = False
    interpreted: bool = False
    """Whether its first argument runs the program, and is not the program: which file that is, the host knows."""
    replaces: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"{UNITS}/{self.name}.service"


@dataclass(frozen=True)
class Component:
    """A role's part on one host. An empty one is a role that left the host."""

    name: str
    files: dict[str, File] = field(default_factory=dict)
    directories: dict[str, Directory] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    services: tuple[Service, ...] = ()
    checks: tuple[str, ...] = ()
    trials: dict[str, Callable[[], str]] = field(default_factory=dict)
    """File -> makes the script that tries it against what it is for (a key against its bucket), before it goes live for
    the first time. Only then: what it is for may be down at any other time, which must not stop a change."""
    kept: frozenset[str] = frozenset()
    """Files that left the inventory, and that a running process still reads: purged by a later comparison."""

    @property
    def roots(self) -> tuple[str, ...]:
        """The managed directories that are not inside another: what is staged, mounted for the check, and purged."""
        managed = [name for name, directory in self.directories.items() if directory.managed]
        return tuple(name for name in managed if not any(_inside(name, other) for other in managed))


@dataclass(frozen=True)
class Due:
    """What a service needs (`start`, `restart`, `reload`) to be what is wanted, and why."""

    action: str
    reasons: tuple[str, ...]


@dataclass
class Change:
    """How a host differs from a component; falsy where it does not."""

    directories: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    purge: list[str] = field(default_factory=list)
    enable: list[str] = field(default_factory=list)
    daemon_reload: bool = False
    manifest: bool = False
    due: dict[str, Due] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    """Those of `files` whose directory is a link: it may lead to another file system."""
    saved: list[str] = field(default_factory=list)
    """Files of somebody else that ours take the place of."""
    not_compared: dict[str, list[str]] = field(default_factory=dict)
    """File -> references of the secrets that this machine lacks. It is taken for unchanged: the run only looks."""
    replaced: list[str] = field(default_factory=list)
    """Units of somebody else that ours take the place of."""

    @property
    def content(self) -> bool:
        """Does something go live that a checker should see before?"""
        return bool(self.files or self.links or self.purge)

    @property
    def live(self) -> bool:
        """Is there anything to do besides directories?"""
        return bool(
            self.content
            or self.modes
            or self.enable
            or self.daemon_reload
            or self.manifest
            or self.due
            or self.replaced
        )

    def __bool__(self) -> bool:
        return bool(self.directories or self.live)

    def lines(self) -> list[str]:
        """The change in an operator's words, one line a thing."""
        said = [
            f"not compared, as this machine lacks {', '.join(lacks)}: {name}"
            for name, lacks in self.not_compared.items()
        ]
        said += [f"directory {name}" for name in self.directories]
        said += [f"file {name}" for name in self.files]
        said += [f"mode or owner of {name}" for name in self.modes]
        said += [f"link {name}" for name in self.links]
        said += [f"remove {name}" for name in self.purge]
        said += [f"enable {name}" for name in self.enable]
        said += [f"keep what was {name} below {SAVED}" for name in self.saved]
        said += [f"stop and mask {name}, whose place ours takes" for name in self.replaced]
        said += ["daemon-reload"] if self.daemon_reload else []
        said += [f"{due.action} {name}: {', '.join(due.reasons)}" for name, due in self.due.items()]
        return said or (["write down which files are ours"] if self.manifest else [])

    def actions(self, *actions: str) -> list[str]:
        return [name for name, due in self.due.items() if due.action in actions]


def _inside(path: str, root: str) -> bool:
    return path.startswith(f"{root}/")


def _stamp_differs(wanted: dict[str, str], stamp: dict[str, str] | None) -> str:
    """Why the stamp of what a process read is not what it should have read; empty where it is."""
    if stamp is None:
        return "it left no word of what it read"
    names = sorted(name for name in {*wanted, *stamp} if wanted.get(name) != stamp.get(name))
    return f"it read another {', '.join(names)}" if names else ""


def _argument_changes(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """How a command line changes, flag by flag."""
    gone = [one for one in before if one not in after]
    new = [one for one in after if one not in before]
    said = []
    for one in gone:
        name, _, value = one.partition("=")
        others = [other for other in new if other.partition("=")[0] == name]
        if len(others) == 1 and [other.partition("=")[0] for other in gone].count(name) == 1:
            new.remove(others[0])
            said.append(f"{name} {value or 'alone'} -> {others[0].partition('=')[2] or 'alone'}")
        else:
            said.append(f"no more {one}")
    said += [f"new {one}" for one in new]
    return said or ["its arguments in another order"]


def _due(
    service: Service, after: dict[str, str], links: dict[str, str], state: State, changed: Iterable[str]
) -> Due | None:
    """What `service` needs, given `after`, the hash of each file below our roots once the change is live, and the files
    that are `changed` by it."""
    unit = state.units.get(service.name, {})
    process = state.processes.get(service.name)
    if process is None:
        if service.oneshot and unit.get("ActiveState") == "active":
            process = Process(0, "", ())
        else:
            return Due("start", (f"it is {unit.get('ActiveState', 'absent')}",))

    def below(paths):
        return {n: h for n, h in after.items() if any(n == p or _inside(n, p) for p in paths)}

    ours = bool(service.argv) and not service.interpreted
    if ours and not _inside(process.exe, INSTALL_DIR):
        # Somebody else's daemon by our name: no member of the tier, so nobody waits for another one.
        return Due("start", (f"it is {process.exe}, which is not ours",))
    reasons, started = [], [service.path, *service.started]
    if ours and process.exe != (executable := links.get(service.argv[0], service.argv[0])):
        reasons.append(f"it runs {process.exe}, not {executable}")
    if service.argv and process.argv != service.argv:
        reasons.append(", ".join(_argument_changes(process.argv, service.argv)))
        started.remove(service.path)  # which has them
    stamp = state.stamps.get(f"{service.name}.started")
    if stamp and service.path not in started:
        stamp = {name: digest for name, digest in stamp.items() if name != service.path}
    why = _stamp_differs(below(started), stamp)
    if why:
        reasons.append(why)
    if reasons:
        return Due("restart", tuple(reasons))
    if service.loaded:
        why = _stamp_differs(below(service.loaded), state.stamps.get(f"{service.name}.loaded"))
        # Whoever wrote another one may have had it read past the unit (kill -HUP, /-/reload), which leaves no stamp.
        why = why or next((f"it may have read another {name}" for name in changed if name in below(service.loaded)), "")
        if why:
            return Due("reload", (why,))
    return None


def compare(component: Component, state: State) -> Change:
    """How `state` differs from `component`."""
    change = Change()
    for name, wanted in component.directories.items():
        path = state.paths.get(name)
        if path is None or (path.kind, path.mode, path.owner, path.group) != (
            "d",
            wanted.mode,
            wanted.owner,
            wanted.group,
        ):
            change.directories.append(name)
    for name, file in component.files.items():
        path = state.paths.get(name)
        if path is None or path.kind != "f":
            change.files.append(name)
            continue
        if path.sha256 != file.sha256:
            if not file.lacks:
                change.files.append(name)
                continue
            change.not_compared[name] = file.lacks
        if (path.mode, path.owner, path.group) != (file.mode, file.owner, file.group):
            change.modes.append(name)
    for name, target in component.links.items():
        path = state.paths.get(name)
        if path is None or path.kind != "l" or path.target != target:
            change.links.append(name)
    wanted_names = {*component.files, *component.links}
    ours = state.manifests.get(component.name, set())
    # A host that changed its part (replica, upper Prometheus): what its new role has is not the old one's to remove.
    others = set().union(*(m for name, m in state.manifests.items() if name != component.name))
    # Links are shared by the roles of a host (thanos), so one that left this role may be another's: it stays.
    left = ours - others - wanted_names - component.kept
    change.purge = sorted(n for n in left if n in state.paths and state.paths[n].kind != "l")
    change.manifest = ours != wanted_names | (ours & component.kept)
    change.foreign = sorted(
        name
        for name, path in state.paths.items()
        if path.kind != "d"
        and name not in wanted_names | ours | others
        and any(_inside(name, r) for r in component.roots)
    )
    change.linked = [name for name in change.files if any(_inside(name, d) for d in state.links)]
    change.saved = [name for name in change.files if name in state.paths and name not in ours]
    after = {n: h for n, h in state.below("/").items() if n not in change.purge}
    after.update({n: f.sha256 for n, f in component.files.items() if n not in change.not_compared})
    for service in component.services:
        unit = state.units.get(service.name, {})
        if unit.get("UnitFileState") != "enabled":
            change.enable.append(service.name)
        if state.unread(service.name) or service.path in change.files:
            change.daemon_reload = True
        for name in service.replaces:
            other = state.units.get(name, {})
            if other.get("ActiveState") == "active" or other.get("UnitFileState") == "enabled":
                change.replaced.append(name)
        due = _due(service, after, component.links, state, change.files)
        if due:
            change.due[service.name] = due
            # systemd tells by the age of the file alone whether it knows another; a run killed in between may have
            # left one that it takes for the same.
            change.daemon_reload |= due.action == "restart" and bool(service.argv)
    if any(_inside(name, UNITS) for name in [*change.files, *change.purge]):
        change.daemon_reload = True
    return change


def foresee(component: Component, change: Change, state: State) -> None:
    """Let `state` be what a look would find once `change` is made: a plan has one look, and later steps of the run
    build on what earlier ones did (a link or directory that two roles share is made by the first)."""
    foresee_directories(component, change, state)
    for name in (*change.files, *change.modes):
        file = component.files[name]
        state.paths[name] = Path("f", file.mode, file.owner, file.group, sha256=file.sha256)
    for name in change.links:
        state.paths[name] = Path("l", "777", "root", "root", component.links[name])
    for name in change.purge:
        del state.paths[name]
        if _inside(name, UNITS):
            state.units.pop(PurePosixPath(name).stem, None)
            state.processes.pop(PurePosixPath(name).stem, None)
    if change.manifest:
        state.manifests[component.name] = {*component.files, *component.links}
    if change.daemon_reload:
        for name, unit in state.units.items():
            unit["NeedDaemonReload"] = "no"
            if "DropInPaths" in unit:
                unit["DropInPaths"] = shlex.join(state.drop_ins.get(name, {}))
    for service in component.services:
        unit = state.units.setdefault(service.name, {})
        if service.name in change.enable:
            unit["UnitFileState"] = "enabled"
        action = change.due[service.name].action if service.name in change.due else None
        if action and service.loaded:
            state.stamps[f"{service.name}.loaded"] = state.below(*service.loaded)
        if action in ("start", "restart"):
            unit["ActiveState"] = "active"
            exe = component.links.get(service.argv[0], service.argv[0]) if service.argv else ""
            state.processes[service.name] = Process(0, exe, service.argv)
            state.stamps[f"{service.name}.started"] = state.below(service.path, *service.started)


def foresee_directories(component: Component, change: Change, state: State) -> None:
    """The part of `foresee` that staging makes."""
    for name in change.directories:
        wanted = component.directories[name]
        state.paths[name] = Path("d", wanted.mode, wanted.owner, wanted.group)


def _payload(files: dict[str, File]) -> str:
    """The files as a tar archive in base64 lines: one command brings them all, and none is ever in an argv."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, file in files.items():
            member = tarfile.TarInfo(name.lstrip("/"))
            data = file.content.encode()
            member.size, member.mode = len(data), int(file.mode, 8)
            member.uname, member.gname = file.owner, file.group
            tar.addfile(member, io.BytesIO(data))
    return base64.encodebytes(buffer.getvalue()).decode()


def _q(*words: str) -> str:
    return " ".join(shlex.quote(word) for word in words)


def staged(component: Component) -> str:
    """Where a component is staged: below root's own directory, on the file system of /etc."""
    return f"{STATE}/staged/{component.name}"


def _parent(name: str) -> str:
    return str(PurePosixPath(name).parent)


def restore(*names: str) -> list[str]:
    """Give files the contexts that SELinux's policy has for them, where it is there: a rename brings their old ones."""
    if not names:
        return []
    tool = "[ ! -e /sys/fs/selinux/enforce ] || ! command -v restorecon >/dev/null"
    return [f"{tool} || restorecon -RF {_q(*names)}"]


def directories_script(component: Component, change: Change) -> list[str]:
    """Make directories, and mend their mode and owner. Nothing can be broken by it, so it needs no turn."""
    lines = []
    for name in change.directories:
        wanted = component.directories[name]
        lines += [
            f"mkdir -p {_q(name)}",
            f"chown {_q(f'{wanted.owner}:{wanted.group}', name)}",
            f"chmod {wanted.mode} {_q(name)}",
        ]
    # Not below: of a data directory only the daemon knows the size.
    return lines + [line.replace(" -RF ", " -F ") for line in restore(*change.directories)]


def stage_script(component: Component, change: Change) -> str:
    """Build the wanted tree beside the live one and check it there. Live files are only read."""
    top = staged(component)
    lines = [
        "set -eu",
        f"install -d -m 700 {STATE} {STATE}/staged",
        *directories_script(component, change),
    ]
    if change.content:
        lines += _tree(component, change, top)
    trials = [make() for path, make in component.trials.items() if path in change.files]
    if change.content and (component.checks or trials):
        lines += ["unshare -m sh -eu <<'CHECK'"]
        lines += [f"mount --bind {_q(top + root, root)}" for root in component.roots]
        lines += [check.replace("{staged}", top) for check in component.checks]
        lines += [f"(\n{trial}\n)" for trial in trials]
        lines += ["CHECK"]
    return "\n".join(lines) + "\n"


def _tree(component: Component, change: Change, top: str) -> list[str]:
    """The wanted tree, with the live files of others in it, below `top`."""
    lines = [f"rm -rf {top}", f"install -d -m 700 {top}"]
    for root in component.roots:
        lines += [
            f"mkdir -p {_q(top + root)}",
            f"[ ! -d {_q(root)} ] || cp -a {_q(root)}/. {_q(top + root)}/",
        ]
        # One inside that is a link leads to the live files, and is what they will be found by.
        for name in sorted(component.directories):
            if _inside(name, root):
                new = _q(top + name)
                lines += [f"[ ! -L {_q(name)} ] || {{ rm -f {new}; mkdir -p {new}; cp -a {_q(name)}/. {new}/; }}"]
    lines += [f"rm -f {_q(top + name)}" for name in change.purge]
    # -m: the host's time. systemd sees a changed unit (NeedDaemonReload) by its age alone.
    return [*lines, f"base64 -d <<'END' | tar -x -p -m -C {top}", _payload(component.files) + "END"]


# --- Checked, and not staged ----------------------------------------------------------------------

NOT_CHECKED = "not checked: "
_REFUSED = "refused"
_QUOTED = "> "


def check_script(parts: Iterable[tuple[Component, Change]]) -> str:
    """Has a host's checkers judge what these components would be there, all of them together: below /run, which is left
    as it was. A checker that the host does not have yet is named. `read_checks` reads the answer."""
    lines = ["set -eu", "umask 077", f"rm -rf {CHECKED}", f"trap 'rm -rf {CHECKED}' EXIT", f"mkdir -m 700 {CHECKED}"]
    parts = [part for part in parts if part[0].checks]
    for component, change in parts:
        lines += _tree(component, change, f"{CHECKED}/{component.name}")
    lines += ["unshare -m sh <<'CHECK'"]
    for component, _ in parts:
        lines += [
            f"[ ! -d {_q(root)} ] || mount --bind {_q(f'{CHECKED}/{component.name}{root}', root)}"
            for root in component.roots
        ]
    for component, _ in parts:
        lines += [f"echo {_q(MARK + component.name)}"]
        for check in component.checks:
            tools = [*dict.fromkeys([*re.findall(rf"{INSTALL_DIR}/[^\s'|;]+", check), check.split()[0]])]
            missing = [f"[ -d {_q(root)} ] || lacks={_q(root)}" for root in component.roots]
            missing += [f"command -v {_q(tool)} >/dev/null || lacks={_q(tool)}" for tool in reversed(tools)]
            text = check.replace("{staged}", f"{CHECKED}/{component.name}")
            lines += [
                "lacks=",
                *missing,
                'if [ -n "$lacks" ]; then',
                f'echo "{NOT_CHECKED}$lacks"',
                "else",
                f"said=$(exec 2>&1; set -eu; {text})",
                f"""[ $? = 0 ] || {{ echo {_REFUSED}; printf '%s\\n' "$said" | sed 's/^/{_QUOTED}/'; }}""",
                "fi",
            ]
    return "\n".join([*lines, "CHECK"]) + "\n"


@dataclass(frozen=True)
class Checked:
    """What the checkers said of a component."""

    refused: tuple[str, ...] = ()
    """Their words, line by line."""
    without: tuple[str, ...] = ()
    """The checkers that were not there, as `promtool 3.16.0`, or a directory that is not there yet."""


def read_checks(lines: list[str]) -> Checked:
    """The answer to `check_script` for one component."""
    refused = tuple(line.removeprefix(_QUOTED) for line in lines if line.startswith(_QUOTED))
    without = [line.removeprefix(NOT_CHECKED) for line in lines if line.startswith(NOT_CHECKED)]
    if _REFUSED in lines and not refused:
        refused = ("the checker said nothing",)
    return Checked(refused, tuple(dict.fromkeys(map(_tool, without))))


def _tool(path: str) -> str:
    """The checker at a path, with its version."""
    version = re.match(rf"{INSTALL_DIR}/[a-z_]+-(.+?)\.linux-", path)
    return f"{PurePosixPath(path).name} {version[1]}" if version else path


def _order(name: str) -> tuple:
    """What is read later goes live earlier: units, then what a configuration names, then the configuration itself."""
    path = PurePosixPath(name)
    return (not _inside(name, UNITS), -len(path.parts), name)


def swap_script(component: Component, change: Change) -> str:
    """Let the staged tree go live, one rename a file, and hand it to systemd. No service is touched."""
    top = staged(component)
    stamps = []
    for service in component.services:
        due = change.due.get(service.name)
        if due:
            kinds = ("loaded",) if due.action == "reload" else ("loaded", "started")
            stamps += [f"rm -f {_q(*(f'{STAMPS}/{service.name}.{kind}' for kind in kinds))}"]
    parents = sorted({str(PurePosixPath(name).parent) for name in [*change.files, *change.links]})
    lines = ["set -eu", *stamps, *([f"mkdir -p {_q(*parents)}"] if parents else [])]
    for name in change.saved:
        kept = _q(SAVED + name)
        lines += [f"[ -e {kept} ] || {{ mkdir -p {_q(SAVED + _parent(name))}; cp -a {_q(name)} {kept}; }}"]
    for name in change.replaced:
        lines += [
            f"systemctl disable --quiet --now {_q(name)}",
            f"systemctl mask --quiet {_q(name)} || true",
        ]
    for name in sorted(change.files, key=_order):
        if name in change.linked:  # by a copy beside it, so that what goes live is still a rename
            lines += [
                f"cp -a {_q(top + name, name + '.new')}",
                f"mv -fT {_q(name + '.new', name)}",
            ]
        else:
            lines += [f"mv -fT {_q(top + name, name)}"]
    for name in change.modes:
        file = component.files[name]
        lines += [
            f"chown {_q(f'{file.owner}:{file.group}', name)}",
            f"chmod {file.mode} {_q(name)}",
        ]
    for name in change.purge:
        if _inside(name, UNITS):
            lines += [f"systemctl disable --now {_q(PurePosixPath(name).name)}"]
        lines += [f"rm -f {_q(name)}"]
    for name in change.links:
        lines += [
            f"ln -sfn {_q(component.links[name], name + '.new')}",
            f"mv -fT {_q(name + '.new', name)}",
        ]
    lines += restore(*change.files, *change.links)
    if change.manifest:
        manifest = "\n".join(sorted({*component.files, *component.links, *component.kept}))
        lines += [f"install -d -m 700 {STATE}/manifest"]
        if manifest:
            lines += [f"cat >{STATE}/manifest/{component.name} <<'END'", manifest, "END"]
        else:
            lines += [f"rm -f {STATE}/manifest/{component.name}"]
    if change.daemon_reload:
        # A service that crashed just before may have been started under the unit systemd still knew: no stamp of it.
        lines += ["systemctl daemon-reload", *stamps]
    if change.enable:
        lines += [f"systemctl enable --quiet {_q(*(f'{name}.service' for name in change.enable))}"]
    lines += [f"rm -rf {top}"]
    return "\n".join(lines) + "\n"
