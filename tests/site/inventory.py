"""The site as the inventory says it is, and its hosts as testinfra reaches them.

pyinfra resolves hosts and data in a process of its own, so that no gevent gets into this one.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from testinfra.backend.base import CommandResult
from testinfra.backend.ssh import SshBackend
from testinfra.host import Host

from prometheus_ha.deploys.lib.common import promql, starter
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import folder
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.site import relations
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.suites.shell import Shell, ShellLost

T = TypeVar("T")


class InventoryError(Exception):
    """There is nothing to verify: what is wrong with the inventory, or how a host is reached."""


@functools.cache
def printed() -> dict[str, dict[str, Any]]:
    """Host -> groups and merged data, as `pyinfra inventory.py debug-inventory --json` prints them.

    The environment is passed on: what RELEASE and PROFILE are for a deploy, they are here. INVENTORY is another one.
    """
    inventory = os.environ.get("INVENTORY") or "inventory.py"
    folder.use(inventory)
    command = [sys.executable, "-m", "pyinfra", inventory, "debug-inventory", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        hosts = json.loads(done.stdout) if done.returncode == 0 else None
    except ValueError:
        hosts = None
    if hosts is None:
        raise InventoryError(f"{shlex.join(command[1:])}:\n{done.stderr.strip()}\n{done.stdout}")
    return {host["name"]: host for host in hosts}


@functools.cache
def site() -> Site:
    """The whole site. Raises InventoryError with everything that is wrong in its settings."""
    try:
        return site_from_dicts(printed())
    except SettingsErrors as error:
        raise InventoryError(str(error)) from None


def components() -> list[tuple[Member, str]]:
    """Every host with each of its components."""
    return [(member, name) for member in site().hosts.values() for name in member.components]


def projects() -> list[tuple[Member, str]]:
    """Every host with each project that its components are released by."""
    found = [(member, DAEMONS[name].archive) for member, name in components() if DAEMONS[name].archives]
    return list(dict.fromkeys(found))


def jobs(prometheus: Member) -> dict[str, list[tuple[Member, str]]]:
    """Scrape job of ours that this Prometheus has -> its targets as (host, `address:port`)."""
    found = {
        info.job_name: [(m, site().endpoint(name, m).target) for m in site().scraped(prometheus, name)]
        for name, info in DAEMONS.items()
    }
    watched = site().watched(prometheus)
    found[relations.WATCHED_JOB] = [(m, site().endpoint("prometheus", m).target) for m in watched]
    return {name: targets for name, targets in found.items() if targets}


def selectors(*prometheus: Member, more: str = "") -> dict[str, str]:
    """Job -> PromQL for `up` of what these Prometheus scrape for the site in it; `more` matchers.

    Job by job: one of the user's may have the name of ours, or scrape the same exporter.
    """
    found: dict[str, list[str]] = {}
    for member in prometheus:
        for job, targets in jobs(member).items():
            found.setdefault(job, []).extend(target for _, target in targets)
    return {job: f"up{{{starter.selected({job: targets})}, {more}}}" for job, targets in found.items()}


def up(*prometheus: Member, more: str = "") -> str:
    """PromQL for `up` of all that these Prometheus scrape for the site."""
    return " or ".join(selectors(*prometheus, more=more).values())


def fresh(*prometheus: Member, more: str = "") -> str:
    """The same, of the last two scrapes: what an instance that is gone had is found for five minutes more."""
    found = selectors(*prometheus, more=more).values()
    return " or ".join(promql.fresh(selector, site()) for selector in found)


def only(applies: Callable[[Member, str], bool]) -> Callable[[T], T]:
    """Run a test only for the hosts (and components or projects) for which `applies` is true.

    For the others it does not exist, so that it can neither be skipped nor pass for nothing.
    """

    def mark(test: T) -> T:
        test.applies = applies
        return test

    return mark


# --- Connections ----------------------------------------------------------------------------------

_SSH_OPTIONS = {
    "ssh_user": "User",
    "ssh_port": "Port",
    "ssh_key": "IdentityFile",
    "ssh_known_hosts_file": "UserKnownHostsFile",
    "ssh_strict_host_key_checking": "StrictHostKeyChecking",
    "ssh_forward_agent": "ForwardAgent",
}
"""Data of a host for pyinfra's connector -> option of OpenSSH. The rest is in its own config."""

_REFUSED = {
    "ssh_password": "ssh_key, or a key in an agent",
    "ssh_key_password": "an agent that holds the key",
    "_sudo_password": "sudo without password, or root by key",
    "_su_user": "_sudo, or root by key",
    "_doas": "_sudo, or root by key",
}
_opened: dict[str, Host | str] = {}
"""Host -> its connection, or why there is none: a dead host costs its time-out once."""


@functools.cache
def _control() -> str:
    return tempfile.mkdtemp(prefix="site-ssh-")


def _address(name: str) -> str:
    return str(printed()[name]["data"].get("ssh_hostname", name))


def ssh_command(name: str, data: Mapping[str, Any]) -> list[str]:
    """The ssh command for a host, without its address. Raises InventoryError where there is none.

    One connection serves all commands (ControlMaster), and never asks a question.
    """
    for key, allowed in _REFUSED.items():
        if data.get(key):
            raise InventoryError(f"{name}: {key}: found one; expected: {allowed}")
    options = {
        option: ("yes" if data[key] else "no") if isinstance(data[key], bool) else data[key]
        for key, option in _SSH_OPTIONS.items()
        if data.get(key) is not None
    }
    if data.get("ssh_key"):
        options["IdentitiesOnly"] = "yes"
    options |= {
        "BatchMode": "yes",
        "ConnectTimeout": 10,
        "ServerAliveInterval": 10,
        "LogLevel": "ERROR",
        "ControlMaster": "auto",
        "ControlPersist": 60,
        "ControlPath": f"{_control()}/%C",
    }
    config = data.get("ssh_config_file")
    words = ["ssh", *(["-F", str(config)] if config else [])]
    return words + [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


class _Kept(SshBackend):
    """testinfra's backend, with one shell of root's for all commands."""

    def __init__(self, hostspec: str, command: list[str], sudo: bool) -> None:
        super().__init__(hostspec)
        self._command, self._by_sudo = command, sudo
        self._shell: Shell | None = None

    def run_ssh(self, command: str) -> CommandResult:
        try:
            if self._shell is None or not self._shell.answers():
                self._shell = Shell(self._command, self._by_sudo)
                if not self._shell.answers():
                    raise ShellLost(self._shell.close())
            status, out, err = self._shell.run(command)
        except ShellLost as error:
            raise RuntimeError(f"no shell, or none any more: {error}") from None
        return self.result(status, self.encode(command), out, err)

    def close(self) -> None:
        if self._shell:
            self._shell.close()


def _sudo(data: Mapping[str, Any]) -> bool:
    return bool(data.get("_sudo"))


def connect(name: str) -> Host:
    """The host as testinfra has it, as root. Raises AssertionError where it cannot be reached."""
    if name not in _opened:
        data = printed()[name]["data"]
        command = ssh_command(name, data)
        address = _address(name)
        host = Host(_Kept(f"[{address}]" if ":" in address else address, [*command, address], _sudo(data)))
        try:
            user = host.check_output("id -un")
            _opened[name] = host if user == "root" else f"commands run as {user}, not as root"
        except (RuntimeError, AssertionError) as error:
            _opened[name] = str(error)
    opened = _opened[name]
    assert isinstance(opened, Host), f"{name} cannot be reached: {opened}"
    return opened


def with_input(name: str, script: str, text: str) -> str:
    """What a shell script prints on a host, which reads `text`: for what no command line may show.

    Raises AssertionError with what it says on stderr where it fails.
    """
    connect(name)
    data = printed()[name]["data"]
    sudo = "sudo -n " if _sudo(data) else ""
    command = [*ssh_command(name, data), _address(name), f"{sudo}sh -c {shlex.quote(script)}"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: exit {done.returncode}: {done.stderr.strip()}"
    return done.stdout


def disconnect() -> None:
    """End the connections that this process opened, which would outlive it for a minute."""
    for name, opened in _opened.items():
        if isinstance(opened, Host):
            opened.backend.close()
            command = ssh_command(name, printed()[name]["data"])
            subprocess.run([*command, "-O", "exit", _address(name)], capture_output=True, check=False)
    if _control.cache_info().currsize:
        shutil.rmtree(_control(), ignore_errors=True)
