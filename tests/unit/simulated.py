"""A recorded host that does what it is told: the scripts of a run, line by line, on the `State` that its look finds.

It knows the commands that our scripts are made of, and no more: an unknown one is an error of the test.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shlex
import tarfile
from copy import deepcopy
from dataclasses import replace
from functools import cache

from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_CONFIG
from prometheus_ha.deploys.lib.ground.topology import (
    PORTS_FILE,
    STAMP,
    STAMPS,
    STATE,
    UNIT_DIR,
)
from prometheus_ha.facts.reports.look import Installed, Path, Process, State

IGNORED = {"set", "export", "[", "install", "unshare", "{", "}", "exit", "trap"}
HEREDOC = re.compile(r"<<'(\w+)'")


@cache
def words_of(line: str) -> tuple[str, ...]:
    """Runs say the same lines to many hosts, and `shlex` takes its time."""
    return tuple(shlex.split(line, comments=True))


class Host:
    """A host with `state`."""

    def __init__(self, state: State):
        self.state = deepcopy(state)
        self.contents: dict[str, str] = {}
        self.staged: dict[str, tuple[Path, str]] = {}
        self.pid = 100

    def looked_at(self) -> State:
        """The state, with what a look reads in files."""
        text = self.contents.get(PROMETHEUS_CONFIG, "")
        labels = re.findall(r"^    (?:cluster|replica): .*", text, re.M)
        return replace(self.state, extra={**self.state.extra, "labels": labels})

    def run(self, script: str) -> None:
        """Do what `script` says."""
        if '\ntrap \'rm -rf "$part"' in script:
            self._unpack(script)
            return
        lines = iter(script.splitlines())
        for line in lines:
            body = []
            if end := HEREDOC.search(line):
                body = list(iter(lambda: next(lines), end[1]))  # noqa: B023
            for part in line.split("; "):
                self._do(list(words_of(part)), body, part)

    def _do(self, words: list[str], body: list[str], line: str) -> None:
        if not words or words[0] in IGNORED or words[0].startswith("wanted="):
            return
        command = getattr(self, "_" + words[0].replace("-", "_").lstrip(">"), None)
        assert command, f"a simulated host does not know {line!r}"
        command(words[1:], body)

    def _write(self, path: str, entry: Path, text: str = "") -> None:
        self.state.paths[path] = entry
        self.contents[path] = text
        if path == PORTS_FILE:
            self.state.reserved_ports[path] = text.rpartition("=")[2].strip()

    # --- Files ---

    def _mkdir(self, words, body):
        for path in words:
            if path.startswith("/") and not path.startswith(STATE + "/"):
                self.state.paths.setdefault(path, Path("d", "755", "root", "root"))

    def _chown(self, words, body):
        owner, group = words[0].split(":")
        old = self.state.paths[words[1]]
        self.state.paths[words[1]] = Path(old.kind, old.mode, owner, group, old.target, old.sha256)

    def _chmod(self, words, body):
        old = self.state.paths[words[1]]
        self.state.paths[words[1]] = Path(old.kind, words[0], old.owner, old.group, old.target, old.sha256)

    def _base64(self, words, body):
        top = words[-1]
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode("".join(body)))) as archive:
            for member in archive:
                data = archive.extractfile(member).read()
                entry = Path(
                    "f",
                    f"{member.mode:o}",
                    member.uname,
                    member.gname,
                    sha256=hashlib.sha256(data).hexdigest(),
                )
                self.staged[f"{top}/{member.name}"] = entry, data.decode()

    def _cp(self, words, body):
        *_, source, target = words
        if source in self.staged:
            self.staged[target] = self.staged[source]

    def _mv(self, words, body):
        _, source, target = words
        self._write(target, *self.staged.pop(source))

    def _ln(self, words, body):
        _, target, name = words
        self.staged[name] = Path("l", "777", "root", "root", target), ""

    def _rm(self, words, body):
        for path in words[1:]:
            directory, _, name = path.rpartition("/")
            if directory == STAMPS:
                self.state.stamps.pop(name, None)
            elif directory == f"{STATE}/manifest":
                self.state.manifests.pop(name, None)
            else:
                self.state.paths.pop(path, None)
                self.state.reserved_ports.pop(path, None)
            if directory == UNIT_DIR:
                unit = name.removesuffix(".service")
                self.state.units.pop(unit, None)

    def _cat(self, words, body):
        target = words[0].removeprefix(">")
        if target.startswith(f"{STATE}/manifest/"):
            self.state.manifests[target.rpartition("/")[2]] = set(body)

    # --- The system ---

    def _groupadd(self, words, body):
        self.state.groups.add(words[-1])

    def _useradd(self, words, body):
        self.state.users[words[-1]] = f"{words[-1]}:x:999:999::/nonexistent:/sbin/nologin"

    def _apt_get(self, words, body):
        for package in words[words.index("install") + 1 :] if "install" in words else ():
            binary = {"chrony": "chronyd", "rsyslog": "rsyslogd", "util-linux": "unshare"}
            self.state.commands.add(binary.get(package, package))
            if package == "rsyslog":
                self._restart(package)

    def _sysctl(self, words, body):
        key, _, value = words[-1].partition("=")
        self.state.sysctl[key] = value

    def _unpack(self, script):
        directory = re.search(r" tree=(\S+)", script)[1]
        binaries = re.search(r"for binary in (.*); do", script)[1].split()
        self.state.installed[directory] = Installed("0" * 64, frozenset(binaries))

    # --- systemd ---

    def _systemctl(self, words, body):
        verb, *units = words
        if verb == "reset-failed":
            return
        names = [unit.removesuffix(".service") for unit in units if not unit.startswith("-")]
        for name in names:
            unit = self.state.units.setdefault(name, {})
            if verb == "enable":
                unit["UnitFileState"] = "enabled"
            elif verb == "disable":
                self.state.processes.pop(name, None)
            elif verb in ("restart", "reload"):
                {"restart": self._restart, "reload": self._reload}[verb](name)
        if verb == "daemon-reload":
            for unit in self.state.units.values():
                unit["NeedDaemonReload"] = "no"

    def _lines(self, unit: str, key: str) -> list[str]:
        texts = [
            text.replace("\\\n", "")
            for path, text in self.contents.items()
            if path in (f"{UNIT_DIR}/{unit}.service", f"{UNIT_DIR}/{unit}.service.d/monitoring.conf")
        ]
        return [line for text in texts for line in re.findall(rf"^{key}=[-+]*(.*)", text, re.M)]

    def _restart(self, name):
        argv = tuple(
            word.replace("%%", "%").replace("$$", "$")
            for line in self._lines(name, "ExecStart")
            for word in shlex.split(line)
        )
        link = self.state.paths.get(argv[0]) if argv else None
        exe = link.target if link else argv[0] if argv else f"/usr/sbin/{name}d"
        self.pid += 1
        self.state.processes[name] = Process(self.pid, exe, argv or (exe,))
        unit = self.state.units.setdefault(name, {"UnitFileState": "enabled"})
        unit["ActiveState"] = "active"
        self._stamp(name, "ExecStartPre")

    def _reload(self, name):
        self._stamp(name, "ExecReload")

    def _stamp(self, name, key):
        for line in self._lines(name, key):
            words = line.split()
            if words[0] == STAMP:
                self.state.stamps[f"{name}.{words[1]}"] = self.state.below(*words[3:])
