"""Whole runs through pyinfra's real command line, with every SSH host replaced by one that only records.

Each host answers the look from a `State`, as the look's own parser would read it, and everything else with nothing.
What a run would put on a host is read back from the archives in the scripts that it sent.
"""

from __future__ import annotations

import base64
import io
import re
import shutil
import tarfile
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pyinfra
import pyinfra.api.inventory
import pyinfra_cli  # noqa: F401  first: it patches gevent in
import pytest
from click.testing import CliRunner
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_state
from pyinfra_cli.cli import cli
from pyinfra_cli.util import PYTHON_CODES

from prometheus_ha.deploys.lib.engine.component import CHECKED
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.lock import LOCK
from prometheus_ha.deploys.lib.ground.topology import STAMPS, STATE
from prometheus_ha.deploys.lib.run import checkers as checkers_of_others
from prometheus_ha.deploys.lib.run import plan, rollout, runs
from prometheus_ha.facts.probe import BEGIN, END
from prometheus_ha.facts.reports.look import MARK, State
from tests.unit.simulated import Host

ROOT = Path(__file__).resolve().parents[2]

INVENTORY = """
def host(number, **data):
    return {"ssh_hostname": f"10.1.0.{number}", **data}

prometheus = [("prom-1", host(11, replica="a")), ("prom-2", host(12, replica="b"))]
alertmanager = [("am-1", host(21)), ("am-2", host(22)), ("am-3", host(23))]
querier = [("query-1", host(31)), ("query-2", host(32))]
node_exporter = [("store-1", host(41))]
query_frontend = [("query-1", {}), ("query-2", {})]
store = [("store-1", {}), ("query-2", {})]
compactor = [("store-1", {})]
bucket_web = [("store-1", {})]
upper = [("upper-1", host(51)), ("upper-2", host(52))]
"""
ALL_DATA = """
alertmanager_webhook_url = deadman_url = "secret:env:WEBHOOK_URL"
bucket_config = {
    "type": "S3",
    "config": {"bucket": "b", "endpoint": "10.1.0.41:8333", "access_key": "secret:env:S3_KEY",
               "secret_key": "secret:env:S3_KEY"},
}
"""
CONTAINER = ["==[units]==", "==[container]==", "lxc", "==[capabilities]==", "CapBnd:\t0"]
"""A clock that belongs to the machine around the container."""
BLANK_SURVEY = (Path(__file__).parent / "data/facts/survey_blank_debian12.txt").read_text()
BLANK = State(
    os="debian",
    os_version="12",
    machine="x86_64",
    systemd=252,
    users={"prometheus": "prometheus:x:999:999::/nonexistent:/sbin/nologin"},
    groups={"prometheus"},
    commands={"curl", "tar", "logrotate", "rsyslogd", "unshare", "chronyd", "/usr/bin/python3"},
    memory=16 << 30,
    disk=100 << 30,
    sysctl={
        "net.core.somaxconn": "4096",
        "vm.overcommit_memory": "0",
        "vm.swappiness": "60",
        topology.PORT_RANGE: "32768 60999",
        "net.ipv4.tcp_syn_retries": "6",
        topology.RESERVED_PORTS: "",
    },
)


def print_look(state: State) -> str:
    """The output of the look that its parser reads as `state`."""
    version = f"systemd {state.systemd} (recorded)"
    lines = [f"{MARK}os", state.os, state.os_version, state.machine, version]
    lines += [f"{MARK}users", *state.users.values(), *(f"{group}:x:1:" for group in state.groups)]
    lines += [f"{MARK}links", *(f"{name}\t{real}" for name, real in state.links.items())]
    lines += [f"{name}\t{at}\t{kind}" for name, (at, kind) in state.blocked.items()]
    lines += ["\t".join((n, p.kind, p.mode, p.owner, p.group, p.target)) for n, p in state.ways.items()]
    lines += [f"{MARK}paths"]
    lines += ["\t".join((n, p.kind, p.mode, p.owner, p.group, p.target)) for n, p in state.paths.items()]
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
    files = {path: said for found in state.drop_ins.values() for path, said in found.items()}
    lines += [f"{MARK}drop-ins", *files]
    lines += ["", *(f"{path}:{line}" for path, said in files.items() for line in said)]
    lines += [f"{MARK}processes"]
    for process in state.processes.values():
        lines += [f"/proc/{process.pid}/exe:{_followed(process.exe, state.links)}"]
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
    lines += [f"{p}:{topology.RESERVED_PORTS} = {v}" for p, v in state.reserved_ports.items()]
    lines += [f"{MARK}resources", f"{state.memory // 1024} 1 {state.disk}"]
    lines += [f"{MARK}account", f"uid=1000({state.account})" if state.account else "uid=0(root)"]
    lines += [f"{MARK}timesync", *state.extra.get("timesync", CONTAINER)]
    for name in ("labels", "firewall"):
        lines += [f"{MARK}{name}", *state.extra[name]] if name in state.extra else []
    return "\n".join(lines)


def _followed(path: str, links: dict[str, str]) -> str:
    """What the kernel calls `path`."""
    name = max((n for n in links if path.startswith(f"{n}/")), key=len, default="")
    return links[name] + path.removeprefix(name) if name else path


def print_survey(script: str, text: str = BLANK_SURVEY, silent: str = "none") -> str:
    """The survey `text` as a host would answer `script`: peers refuse, but for those that match `silent`."""
    text = text[: text.index("--- reach")]
    asked = script.partition("echo tried")[2]
    peers = re.findall(r"(?<![/\w])([\w.:-]+/\d+)(?=[ '\n])", asked)
    says = [f"{peer} Connection refused" for peer in peers if not re.search(silent, peer)]
    return "\n".join([f"{text}--- reach", *(["tried"] if asked else []), *says])


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
    surveys=None,
    dead=(),
    fail=None,
    data="",
    yes=True,
    hosts=None,
    locks=None,
    last_words=None,
    answers="\n" * 9,
    put=lambda host, path: None,
    wait=lambda state, host, gate, purpose: True,
    works=lambda name: True,
    sent=lambda command: None,
    checkers=lambda host, answer: answer,
    live=lambda host, script: "",
):
    """Run a deploy file, or a function (`prometheus_ha.site`), against recorded hosts. Without an `inventory`,
    `tmp_path` has one, with all that belongs to it.

    `states` maps host names to what the look finds (a blank host by default), `surveys` to what answers the
    preflight's script (`print_survey` by default), `dead` hosts cannot be reached, and
    `fail(host, script)` says whether a command fails. `hosts` maps names to simulated hosts, which do what they are
    told: what a run did to them is there for the next one. `wait` says whether a gate opens, and `works(name)` whether
    a member that is asked for another one's sake does its job: all do, by default. `sent` is told each command.
    `answers` is what pyinfra's questions get: to go on, by default.
    `locks` maps names to what a host says of its lock, where that is not the run's, `last_words` to what it says at
    the run's end. `put` may refuse an upload, and `checkers` change what a host's checkers say of a plan; `live` says
    what its files hold.
    """
    commands: dict[str, list[str]] = {}
    files: dict[str, dict[str, str]] = {}
    ended: dict[str, list[str]] = {}

    class Recorder(FakeConnector):
        def connect(self):
            if self.host.name in dead:
                raise ConnectError("no route to host")

        def run_shell_command(self, command, print_output=False, print_input=False, **options):
            text = command if isinstance(command, str) else command.get_raw_value()
            sent(text)
            script = options.get("_stdin") or text
            if f"echo '{MARK}os'" in script:
                found = (states or {}).get(self.host.name, BLANK)
                if hosts is not None:
                    found = hosts.setdefault(self.host.name, Host(found)).looked_at()
                answer = print_look(found)
                if f"echo '{MARK}lock'" in script:
                    answer += f"\n{MARK}lock\n{(locks or {}).get(self.host.name, 'ours')}"
                if "--- reach" in script:
                    survey = (surveys or {}).get(self.host.name, print_survey)
                    answer += f"\n{MARK}survey\n{survey(script)}"
                commands.setdefault(self.host.name, []).append("look")
                lines = [BEGIN, *answer.splitlines(), END]
                return True, CommandOutput([OutputLine("stdout", line) for line in lines])
            if "| base64; fi" in script:  # files as they are, for the differences of a plan
                commands.setdefault(self.host.name, []).append("files")
                lines = [BEGIN, *live(self.host.name, script).splitlines(), END]
                return True, CommandOutput([OutputLine("stdout", line) for line in lines])
            if "/api/v1/parse_query" in script or "/api/v1/query_range" in script:  # of rules: nobody knows here
                commands.setdefault(self.host.name, []).append("rules")
                return True, CommandOutput([OutputLine("stdout", line) for line in (BEGIN, END)])
            if CHECKED in script:  # what is planned, as the host's checkers see it: well
                commands.setdefault(self.host.name, []).append("check")
                answer = "\n".join(re.findall(f"^echo '({MARK}.*)'$", script, re.M))
                lines = [BEGIN, *checkers(self.host.name, answer).splitlines(), END]
                return True, CommandOutput([OutputLine("stdout", line) for line in lines])
            if LOCK in script:  # the begin and the end of what is done to a host
                if f"rm -f {LOCK}" in script:
                    ended.setdefault(self.host.name, []).append(script)
                lines = [BEGIN, *(last_words or {}).get(self.host.name, ()), END]
                return True, CommandOutput([OutputLine("stdout", line) for line in lines])
            commands.setdefault(self.host.name, []).append(script)
            files.setdefault(self.host.name, {}).update(files_in(script))
            if script.endswith("END\nexit 1"):  # rollout.refuse
                said = script.splitlines()[1:-2]
                return False, CommandOutput([OutputLine("stderr", line) for line in said])
            failed = fail and fail(self.host.name, script)
            if hosts is not None and not failed:
                hosts[self.host.name].run(script)
            return not failed, CommandOutput([])

        def put_file(self, filename_or_io, remote_filename, **options):
            put(self.host, remote_filename)
            commands.setdefault(self.host.name, []).append(f"upload {remote_filename}")
            return True

    if inventory is not None:
        (tmp_path / "group_data").mkdir(exist_ok=True)
        (tmp_path / "inventory.py").write_text(inventory)
        (tmp_path / "group_data" / "all.py").write_text(ALL_DATA + data)
        shutil.copy(ROOT / "config.py", tmp_path)
    monkeypatch.setenv("WEBHOOK_URL", "http://10.1.0.1/hook")
    monkeypatch.setenv("S3_KEY", "hunter2hunter2")
    monkeypatch.setattr(pyinfra.api.inventory, "get_execution_connectors", lambda: {"ssh": Recorder})
    monkeypatch.setattr(pyinfra, "is_cli", True)
    monkeypatch.setattr(checkers_of_others, "_here", lambda program: None)  # test_checkers asks them
    monkeypatch.setattr(runs, "commit", lambda directory: None)  # git would be asked hundreds of times
    monkeypatch.setattr(rollout, "wait", wait)
    if hosts is not None:
        monkeypatch.setattr(rollout, "see", lambda host, gate: rollout.Progress(True, "works"))

        def see_each(host, gates):
            return [(name, rollout.Progress(works(name), "as recorded")) for name, _ in gates]

        monkeypatch.setattr(rollout, "see_each", see_each)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    ctx_state.reset()
    pyinfra.logger.handlers.clear()  # each run of this process adds one
    PYTHON_CODES.clear()  # settings that another run of this test wrote to the same path
    done = CliRunner().invoke(
        cli,
        [
            *(["-y"] if yes else []),
            *arguments,
            "inventory.py",
            deploy if "." in deploy else str(ROOT / "deploys" / f"{deploy}.py"),
        ],
        input=answers,
    )
    state = ctx_state.get()
    return SimpleNamespace(
        rc=done.exit_code,
        output=done.output,
        stdout=done.stdout,
        commands=commands,
        files=files,
        ended=ended,
        said=plan.books(state) if state else None,
        order=[", ".join(sorted(state.op_meta[op].names)) for op in state.get_op_order()]
        if state and state.initialised
        else [],
    )


@cache
def first_run(inventory: str = INVENTORY) -> SimpleNamespace:
    """A run that made all of a site on blank hosts, and said as much as it can: made once, and only read.

    Beside what `run_site` gives: `hosts`, `sent`, which is each command, and `record`, the text of what it left.
    """
    hosts: dict[str, Host] = {}
    sent: list[str] = []
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        words = ("-vvv", "--diff", "--data", "x_token=hunter2hunter2")
        done = run_site(Path(name), patch, *words, inventory=inventory, hosts=hosts, sent=sent.append)
        record = "".join(path.read_text() for path in Path(name, ".runs").iterdir())
    assert done.rc == 0, done.output
    return SimpleNamespace(**vars(done), hosts=hosts, sent=sent, record=record)


def stands(inventory: str = INVENTORY) -> dict[str, Host]:
    """Hosts on which a site stands, to be run on."""
    return deepcopy(first_run(inventory).hosts)
