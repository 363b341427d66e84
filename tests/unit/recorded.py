"""Whole runs through pyinfra's real command line, with every SSH host replaced by one that only records.

Each host answers the look from a `State`, as the look's own parser would read it, and everything else with nothing.
What a run would put on a host is read back from the archives in the scripts that it sent.
"""

from __future__ import annotations

import base64
import io
import re
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pyinfra
import pyinfra.api.inventory
import pyinfra_cli  # noqa: F401  first: it patches gevent in
from click.testing import CliRunner
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_state
from pyinfra_cli.cli import cli

from deploys.lib import rollout
from deploys.lib.topology import STAMPS, STATE
from facts.look import MARK, State

ROOT = Path(__file__).resolve().parents[2]

INVENTORY = """
def host(number, **data):
    return {"ssh_hostname": f"10.1.0.{number}", **data}

prometheus = [("prom-1", host(11, replica="a")), ("prom-2", host(12, replica="b"))]
alertmanager = [("am-1", host(21)), ("am-2", host(22)), ("am-3", host(23))]
querier = [("query-1", host(31)), ("query-2", host(32))]
objectstore = [("store-1", host(41))]
"""
ALL_DATA = """
alertmanager_webhook_url = "secret:env:WEBHOOK_URL"
bucket_config = {
    "type": "S3",
    "config": {"bucket": "b", "endpoint": "10.1.0.41:8333", "access_key": "secret:env:S3_KEY",
               "secret_key": "secret:env:S3_KEY"},
}
"""
CONTAINER = ["==[units]==", "==[container]==", "lxc", "==[capabilities]==", "CapBnd:\t0"]
"""A clock that belongs to the machine around the container."""
BLANK = State(
    os="debian",
    os_version="12",
    machine="x86_64",
    systemd=252,
    users={"prometheus": "prometheus:x:999:999::/nonexistent:/sbin/nologin"},
    groups={"prometheus"},
    commands={"curl", "tar", "logrotate", "rsyslogd", "unshare", "chronyd"},
)


def print_look(state: State) -> str:
    """The output of the look that its parser reads as `state`."""
    version = f"systemd {state.systemd} (recorded)"
    lines = [f"{MARK}os", state.os, state.os_version, state.machine, version]
    lines += [f"{MARK}users", *state.users.values(), *(f"{group}:x:1:" for group in state.groups)]
    lines += [f"{MARK}paths"]
    lines += [
        "\t".join((n, p.kind, p.mode, p.owner, p.group, p.target)) for n, p in state.paths.items()
    ]
    lines += [f"{p.sha256}  {n}" for n, p in state.paths.items() if p.sha256]
    lines += [f"{MARK}units"]
    for name, unit in state.units.items():
        pid = state.processes[name].pid if name in state.processes else 0
        lines += [
            f"Id={name}.service",
            f"MainPID={pid}",
            *(f"{k}={v}" for k, v in unit.items()),
            "",
        ]
    lines += [f"{MARK}processes"]
    for process in state.processes.values():
        lines += [f"/proc/{process.pid}/exe:{process.exe}"]
        lines += [f"/proc/{process.pid}/cmdline:{word}" for word in process.argv]
    lines += [f"{MARK}records"]
    for name, stamp in state.stamps.items():
        lines += [f"{STAMPS}/{name}:{digest}  {path}" for path, digest in stamp.items()]
    for name, paths in state.manifests.items():
        lines += [f"{STATE}/manifest/{name}:{path}" for path in sorted(paths)]
    lines += [f"{MARK}installed"]
    for name, release in state.installed.items():
        files = " ".join(f"/opt/{name}/{file}" for file in sorted(release.names))
        lines += [f"{name} {release.sha256} {files}"]
    lines += [f"{MARK}commands", *state.commands]
    lines += [f"{MARK}sysctl", *(f"{k.replace('.', '/')}:{v}" for k, v in state.sysctl.items())]
    lines += [f"{MARK}timesync", *state.extra.get("timesync", CONTAINER)]
    return "\n".join(lines)


def files_in(script: str) -> dict[str, str]:
    """The files that a script brings to the host, by the path at which they will live."""
    found = {}
    for block in re.findall(r"base64 -d <<'END'.*?\n(.*?)END", script, re.S):
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(block))) as archive:
            for member in archive:
                found[f"/{member.name}"] = archive.extractfile(member).read().decode()
    return found


def run_site(
    tmp_path,
    monkeypatch,
    *arguments,
    deploy="site",
    inventory=INVENTORY,
    states=None,
    dead=(),
    fail=None,
    data="",
    yes=True,
):
    """Run a deploy file against recorded hosts.

    `states` maps host names to what the look finds (a blank host by default), `dead` hosts cannot be reached, and
    `fail(host, script)` says whether a command fails.
    """
    commands: dict[str, list[str]] = {}
    files: dict[str, dict[str, str]] = {}

    class Recorder(FakeConnector):
        def connect(self):
            if self.host.name in dead:
                raise ConnectError("no route to host")

        def run_shell_command(self, command, print_output=False, print_input=False, **options):
            text = command if isinstance(command, str) else command.get_raw_value()
            script = "\n".join(options.get("_stdin") or ()) or text
            if f"echo '{MARK}os'" in script:
                answer = print_look((states or {}).get(self.host.name, BLANK))
                commands.setdefault(self.host.name, []).append("look")
                return True, CommandOutput(
                    [OutputLine("stdout", line) for line in answer.splitlines()]
                )
            commands.setdefault(self.host.name, []).append(script)
            files.setdefault(self.host.name, {}).update(files_in(script))
            if script.endswith("END\nexit 1"):  # rollout.refuse
                said = script.splitlines()[1:-2]
                return False, CommandOutput([OutputLine("stderr", line) for line in said])
            return not (fail and fail(self.host.name, script)), CommandOutput([])

    (tmp_path / "group_data").mkdir(exist_ok=True)
    (tmp_path / "inventory.py").write_text(inventory)
    (tmp_path / "group_data" / "all.py").write_text(ALL_DATA + data)
    monkeypatch.setenv("WEBHOOK_URL", "http://10.1.0.1/hook")
    monkeypatch.setenv("S3_KEY", "hunter2hunter2")
    monkeypatch.setattr(
        pyinfra.api.inventory, "get_execution_connectors", lambda: {"ssh": Recorder}
    )
    monkeypatch.setattr(pyinfra, "is_cli", True)
    monkeypatch.setattr(rollout, "wait", lambda state, host, gate, purpose: True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    ctx_state.reset()
    done = CliRunner().invoke(
        cli,
        [
            *(["-y"] if yes else []),
            *arguments,
            "inventory.py",
            str(ROOT / "deploys" / f"{deploy}.py"),
        ],
    )
    state = ctx_state.get()
    return SimpleNamespace(
        rc=done.exit_code,
        output=done.output,
        commands=commands,
        files=files,
        order=[", ".join(sorted(state.op_meta[op].names)) for op in state.get_op_order()]
        if state
        else [],
    )
