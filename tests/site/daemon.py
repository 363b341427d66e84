"""What holds for every daemon of ours, whichever it is. Each role's module has it as a class."""

from __future__ import annotations

import functools
import re
import shlex
import warnings
from dataclasses import dataclass, replace

import pytest

from prometheus_ha.deploys.lib.common import faults
from prometheus_ha.deploys.lib.common.look_script import default_script
from prometheus_ha.deploys.lib.daemons import DAEMONS, declare
from prometheus_ha.deploys.lib.daemons.thanos import CAPNPROTO_PORT
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import derived, releases
from prometheus_ha.deploys.lib.site.live import Live
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports.look import parse
from prometheus_ha.suites.ask import eventually, get, listing, metrics
from prometheus_ha.suites.inventory import connect, only

PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload"),
    *("MainPID", "FragmentPath", "LimitNOFILE", "LimitNPROC"),
)
SYS_RESOURCE = 1 << 24
"""The capability to give more than one has."""
CAPABILITIES = {"CAP_NET_RAW": 1 << 13}
"""Those that some daemon is given (capability.h)."""

# Everything about a process at once: a command each would take as long as all of it.
_PROCESS = r"""
cd /proc
systemctl show -p {properties} {unit}
pid=$(systemctl show -p MainPID {unit} | cut -d= -f2)
echo '== exe'; readlink $pid/exe
echo '== argv'; tr '\0' '\n' <$pid/cmdline
echo '== status'; cat $pid/status
echo '== limits'; cat $pid/limits
echo '== init status'; cat 1/status
echo '== init limits'; cat 1/limits
echo '== sockets'; ss -Hltnup
"""


@dataclass(frozen=True)
class Process:
    """A daemon as it runs."""

    unit: dict[str, str]
    """Properties of its unit."""
    parts: dict[str, list[str]]

    @property
    def exe(self) -> str:
        """Its executable, with ` (deleted)` where that was replaced since."""
        return self.parts["exe"][0]

    @property
    def argv(self) -> list[str]:
        """Its command line."""
        return self.parts["argv"]

    def status(self, of: str = "") -> dict[str, list[str]]:
        """/proc/PID/status: its own, or that of `init`."""
        lines = self.parts[f"{of} status".strip()]
        return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}

    def limits(self, of: str = "") -> dict[str, tuple[str, str]]:
        """Name -> soft and hard limit: its own, or those of `init`."""
        rows = [re.split(r" {2,}", line) for line in self.parts[f"{of} limits".strip()][1:]]
        return {name: (soft, hard) for name, soft, hard, *_ in rows}

    @property
    def listeners(self) -> set[tuple[str, int]]:
        """(transport, port) of its sockets; but for the one that a receiver has on loopback, for nobody to reach."""
        rows = [line.split() for line in self.parts["sockets"]]
        own = f"pid={self.unit['MainPID']},"
        found = {(row[0], *row[4].rpartition(":")[::2]) for row in rows if own in row[-1]}
        return {
            (transport, int(port))
            for transport, address, port in found
            if (address, int(port)) != ("127.0.0.1", CAPNPROTO_PORT)
        }


def look(member: Member, component: str) -> Process:
    """The process of a component as it is now. AssertionError where it does not run."""
    unit = DAEMONS[component].service
    script = _PROCESS.format(properties=",".join(PROPERTIES), unit=unit)
    head, *rest = connect(member.name).run(script).stdout.split("\n== ")
    properties = dict(line.split("=", 1) for line in head.splitlines() if line)
    assert properties["MainPID"] != "0", f"{unit} on {member.name} is {properties['ActiveState']}"
    parts = {name: lines for name, *lines in (part.split("\n") for part in rest)}
    parts["sockets"] = [line for line in parts["sockets"] if line]
    return Process(properties, parts)


def granted(info: declare.Daemon) -> list[str]:
    """The capabilities that a daemon is given: most have none."""
    return (info.hardening.get("CapabilityBoundingSet") or "").split()


def unit_properties(member: Member, unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit as systemd has them now."""
    command = f"systemctl show -p {','.join(names)} {shlex.quote(unit)}"
    lines = connect(member.name).check_output(command).splitlines()
    return dict(line.split("=", 1) for line in lines)


@functools.cache
def release_directory(member: Member, component: str) -> str:
    """Where the host has the wanted release of a component unpacked."""
    archive = DAEMONS[component].archive
    machine = connect(member.name).check_output("uname -m")
    directory = releases.archive(archive, member.settings.version(archive), machine).directory
    return f"{topology.INSTALL_DIR}/{directory}"


def as_service_user(member: Member, command: str) -> str:
    """What a command prints when the daemons' user runs it; AssertionError where it fails."""
    # Without a session of PAM, which would log; from a directory that it may enter.
    become = f"setpriv --reuid={topology.USER} --regid={topology.GROUP} --clear-groups"
    return connect(member.name).check_output(f"cd / && {become} {command}")


def as_component(member: Member, component: str, command: str) -> str:
    """The same with the groups that the component's unit has: it alone may read its key to the bucket."""
    keys = f" {component}" if DAEMONS[component].bucket else ""
    gids = connect(member.name).check_output(f"getent group {topology.GROUP}{keys} | cut -d: -f3")
    become = f"setpriv --reuid={topology.USER} --regid={topology.GROUP} --groups={','.join(gids.split())}"
    return connect(member.name).check_output(f"cd / && {become} {command}")


def expected_listeners(site: Site, member: Member, component: str) -> set[tuple[str, int]]:
    """(transport, port) of everything a daemon listens on."""
    info = DAEMONS[component]
    return {
        (transport, site.endpoint(component, member, kind).port)
        for kind, port in info.ports.items()
        if kind != "cluster" or derived.clustered(site)
        for transport in port.transports
    }


_looked_at = functools.cache(look)


class Daemon:
    """Runs as it should: the right binary, arguments, user and limits, and answers."""

    @pytest.fixture
    def process(self, member, component):
        """The process, looked at once for all tests."""
        return _looked_at(member, component)

    def test_enabled_and_active(self, process, info):
        wanted = {
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "UnitFileState": "enabled",
            "NeedDaemonReload": "no",
            "FragmentPath": f"{topology.UNIT_DIR}/{info.service}",
        }
        assert {key: process.unit[key] for key in wanted} == wanted

    def test_has_not_crashed(self, host, member, info):
        """But for faults that upstream knows of; `systemctl reset-failed` when the cause of another crash is known."""
        said = host.check_output(faults.script(member, [info.unit]))
        crashes = faults.read(member, said.splitlines()).get(info.unit)
        assert not (crashes and crashes.unknown), f"{info.unit} {crashes}"

    def test_unit_belongs_to_root(self, member, info):
        path = f"{topology.UNIT_DIR}/{info.service}"
        assert listing(member, path) == {path: "f 644 root:root"}

    def test_runs_the_wanted_binary(self, member, component, info, process):
        if isinstance(info.product, declare.Own):
            python = connect(member.name).check_output(f"readlink -f {declare.PYTHON[0]}").strip()
            assert (process.exe, tuple(process.argv[:3])) == (python, info.command)
            return
        path = f"{release_directory(member, component)}/{info.binary}"
        # Directories on the way may be links.
        assert process.exe == connect(member.name).check_output(f"readlink -f {path}").strip()

    def test_runs_with_the_wanted_arguments(self, site, member, component, process):
        found = parse(connect(member.name).check_output(default_script()).splitlines())
        seen = replace(site, live=Live(looks={member.name: found}))
        assert process.argv == flags.argv(component, seen, member, found)

    def test_reports_the_wanted_version(self, member, component, info):
        built = metrics(member, component, info.version_metric)
        found = [releases.reported(info.archive, labels["version"]) for labels, _ in built]
        assert found == [member.settings.version(component)]

    def test_runs_as_the_service_user_without_privileges(self, host, info, process):
        uid, gid = host.check_output(f"id -u {topology.USER}; id -g {topology.USER}").split()
        status = process.status()
        assert status["Uid"] == [uid] * 4
        assert status["Gid"] == [gid] * 4
        capabilities = [f"{sum(CAPABILITIES[name] for name in granted(info)):016x}"]
        assert (status["CapEff"], status["CapBnd"]) == (capabilities, capabilities)
        assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])

    def test_has_the_wanted_limits(self, member, process):
        wanted = {
            "Max open files": ("LimitNOFILE", member.settings.nofile),
            "Max processes": ("LimitNPROC", member.settings.nproc),
        }
        for name, (directive, value) in wanted.items():
            assert process.unit[directive] == str(value)
            # In a container, systemd may be unable to give more than it has, and gives that.
            hard = process.limits("init")[name][1]
            may = int(process.status("init")["CapEff"][0], 16) & SYS_RESOURCE
            if not may and hard != "unlimited" and int(hard) < value:
                warnings.warn(f"{name}: {value} wanted, the host has only {hard}", stacklevel=1)
                value = int(hard)
            assert process.limits()[name] == (str(value), str(value)), name

    def test_listens_on_its_ports_and_no_other(self, site, member, component):
        wanted = expected_listeners(site, member, component)

        def check():
            assert look(member, component).listeners == wanted

        eventually(check, 15)

    def test_is_ready_and_healthy(self, member, component, info):
        eventually(lambda: get(member, component, info.ready_path), 30)
        get(member, component, info.healthy_path)

    def test_runs_what_is_on_disk(self, host, info):
        """The stamps of what it was started from and has loaded agree with the files."""
        stamp = f"{topology.STAMPS}/{info.unit}"
        command = f"[ -s {stamp}.started ] && cat {stamp}.started {stamp}.loaded 2>/dev/null"
        done = host.run(f"({command}) | sha256sum --check --quiet --strict")
        assert done.rc == 0, f"not what the process read: {done.stdout}{done.stderr}"

    @only(lambda member, component: DAEMONS[component].config_dir is not None)
    def test_configuration_is_for_it_to_read_and_not_to_write(self, host, member, component, info):
        modes = {"d": f"750 root:{topology.GROUP}", "f": f"640 root:{topology.GROUP}"}
        keys = {c.bucket: name for name, c in DAEMONS.items() if c.bucket}
        form = r"-printf '%p\t%y\t%m %u:%g\n'"
        for line in host.check_output(f"find {info.config_dir} {form}").splitlines():
            path, kind, found = line.split("\t")
            assert found == (f"640 root:{keys[path]}" if path in keys else modes.get(kind)), path
        others = " ".join(f"! -path {path}" for path, name in keys.items() if name != component)
        find = f"find {info.config_dir} {others} '(' ! -readable -o -writable ')'"
        assert as_component(member, component, find) == ""

    @only(lambda member, component: DAEMONS[component].data_dir is not None)
    def test_data_directory_is_its_own(self, member, info):
        wanted = f"d 750 {topology.USER}:{topology.GROUP}"
        assert listing(member, info.data_dir) == {info.data_dir: wanted}
