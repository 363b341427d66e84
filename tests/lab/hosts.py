"""The lab's hosts: systemd-nspawn containers with a disk, a network and an SSH server of their own.

Each host has a supervisor, a background process of the lab, that builds the host's network, boots
it, boots it again when it rebooted itself, and clears up when it went down. The disk is an overlay
over the cached root tree; it is mounted in a mount namespace that only this host's processes are
in, so that no way of dying leaves a mount behind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from prometheus_ha.suites.shell import Shell, ShellLost
from tests.lab import keys, machine, net, proc, roots
from tests.lab.plan import ALL, Lab
from tests.lab.proc import LabError, say, wait_for

REBOOT = 133  # systemd-nspawn --keep-unit: the host asked for a reboot

BOOT_SECONDS = 90
# A host that ran before `up` and does not answer for so long is started anew.
ANSWER_SECONDS = 30


# --- the disk ------------------------------------------------------------------------------------


def prepare(lab: Lab, host: str) -> None:
    """Make a host's disk if it has none, and bring what the lab itself put there up to date."""
    directory = lab.host_dir(host)
    base = directory / "tree"  # made last: a disk without it is unfinished
    if not (base / "etc").is_dir():
        erase(lab, host)
        for name in ("upper", "work", "root"):
            (directory / name).mkdir(parents=True)
        tree = roots.tree(ALL[host].suite, ALL[host].packages)
        for path, (content, mode) in _identity(lab, host).items():
            _put(directory / "upper", tree, path, content, mode)
        base.symlink_to(tree)


def erase(lab: Lab, host: str) -> None:
    """Forget a host's disk: it will boot as new."""
    shutil.rmtree(lab.host_dir(host), ignore_errors=True)


def _identity(lab: Lab, host: str) -> dict[str, tuple[str, int]]:
    """What makes one host another than the next: path -> content and mode."""
    user = ALL[host].user
    home = "/root" if user == "root" else f"/home/{user}"
    key = keys.host_key(lab, host)
    return {
        "/etc/hostname": (f"{host}\n", 0o644),
        "/etc/hosts": (
            f"127.0.0.1 localhost\n127.0.1.1 {host}\n::1 localhost ip6-localhost\n",
            0o644,
        ),
        # Some sixty Go daemons share the lab's cores: less work for their schedulers and collectors.
        "/etc/systemd/system.conf.d/lab.conf": (
            "[Manager]\nDefaultEnvironment=GOMAXPROCS=1 GOGC=400\n",
            0o644,
        ),
        "/etc/machine-id": (hashlib.md5(f"{lab.id} {host}".encode()).hexdigest() + "\n", 0o444),
        "/etc/ssh/ssh_host_ed25519_key": (key.read_text(), 0o600),
        "/etc/ssh/ssh_host_ed25519_key.pub": (Path(f"{key}.pub").read_text(), 0o644),
        f"{home}/.ssh/authorized_keys": (Path(f"{lab.ssh_key}.pub").read_text(), 0o600),
    }


def _put(upper: Path, tree: Path, path: str, content: str, mode: int) -> None:
    _parents(upper, tree, path)
    target = upper / path.lstrip("/")
    target.unlink(missing_ok=True)
    target.touch(mode=mode)
    target.write_text(content)
    _like(target, target.parent)


def _parents(upper: Path, tree: Path, path: str) -> None:
    """Directories of the upper layer, with mode and owner of those they cover."""
    for parent in reversed(Path(path.lstrip("/")).parents):
        directory = upper / parent
        if directory.exists():
            continue
        directory.mkdir(mode=0o700 if parent.name == ".ssh" else 0o755)
        if (tree / parent).exists():
            shutil.copymode(tree / parent, directory)
            _like(directory, tree / parent)
        else:
            _like(directory, directory.parent)


def _like(path: Path, other: Path) -> None:
    owner = other.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


# --- the supervisor ------------------------------------------------------------------------------

# Relative names keep odd characters of the clone's path out of the mount options. What
# systemd-nspawn itself keeps in /run goes with the namespace, too.
_MOUNT = """
cd "$1"
mkdir -p /run/systemd/nspawn
mount -t tmpfs lab /run/systemd/nspawn
mount -t overlay lab -o lowerdir=tree,upperdir=upper,workdir=work root
shift
exec "$@"
"""


def _boot_command(lab: Lab, host: str) -> list[str]:
    return [
        *("unshare", "--mount", "--propagation", "slave", "sh", "-ec", _MOUNT, "sh"),
        str(lab.host_dir(host)),
        # In the host's network already when it mounts /sys, which has the interfaces of who mounts it: node_exporter
        # would read the machine's on each host, with the cables of all others.
        *("nsenter", f"--net={net.NETNS / lab.netns(host)}"),
        "systemd-nspawn",
        "--boot",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        "--directory=root",
        f"--machine={lab.netns(host)}",
        f"--hostname={host}",
        f"--network-namespace-path={net.NETNS / lab.netns(host)}",
        "--capability=CAP_NET_ADMIN",
        "--console=read-only",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
    ]


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        # Debian 13 boots on nothing older, whatever the machine itself uses.
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        # A host sets its own sysctls.
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
        # Real hosts filter no system calls, and here all do.
        "SYSTEMD_SECCOMP": "0",
    }


def supervise(lab: Lab, host: str) -> None:
    """Run a host until it is switched off, from inside or by SIGTERM to this process."""
    stopping = False

    def end(*_: object) -> None:
        nonlocal stopping
        stopping = True
        proc.kill_cgroup(lab, group(host))

    signal.signal(signal.SIGTERM, end)
    status = REBOOT
    while status == REBOOT and not stopping:
        clear(lab, host)
        net.add_host(lab, host)
        print(f"--- boot {time.strftime('%F %T')} ---", flush=True)
        child = subprocess.Popen(
            _boot_command(lab, host),
            stdin=subprocess.DEVNULL,
            env=_environment(),
            # Before anything is started that would have to be found there. No threads here.
            preexec_fn=lambda: proc.join_cgroup(lab, group(host)),  # noqa: PLW1509
        )
        if stopping:
            proc.kill_cgroup(lab, group(host))
        status = child.wait()
    clear(lab, host)
    print(f"--- off, {'as told' if stopping else f'status {status}'} ---", flush=True)


def group(host: str) -> str:
    return f"hosts/{host}"


def clear(lab: Lab, host: str) -> None:
    """Remove what a host that is down, or was killed, may have left."""
    _hang_up(lab, host)
    proc.empty_cgroup(lab, group(host))
    net.remove_host(lab, host)


# --- from outside --------------------------------------------------------------------------------


def _process(host: str) -> str:
    return f"host-{host}"


def is_on(lab: Lab, host: str) -> bool:
    """Whether the host's supervisor runs."""
    return proc.running(lab, _process(host)) is not None


def start(lab: Lab, host: str) -> None:
    """Switch a host on; `wait` tells when it is up."""
    prepare(lab, host)
    _control(lab, host).parent.mkdir(mode=0o700, exist_ok=True)
    proc.spawn(lab, _process(host))


def kill(lab: Lab, host: str) -> None:
    """Switch a host off the hard way: its processes get no chance to do anything."""
    proc.stop(lab, _process(host))
    clear(lab, host)


def up(lab: Lab, host: str) -> str:
    """Bring a host up, whatever state it is in; what was done and how it is now."""
    if is_on(lab, host):
        try:
            return f"is up, {wait(lab, host, ANSWER_SECONDS)}"
        except LabError:
            say(f"{host}: does not answer, starting it anew")
            kill(lab, host)
    start(lab, host)
    return f"booted, {wait(lab, host, BOOT_SECONDS)}"


def wait(lab: Lab, host: str, seconds: float) -> str:
    """Wait until a host has booted and lets its user in; its state as systemd calls it."""
    state = problem = ""

    def booted() -> bool:
        nonlocal state, problem
        if not is_on(lab, host):
            raise LabError(f"{host} went down again")
        state, problem = boot_state(lab, host)
        return state in ("running", "degraded")

    try:
        wait_for(f"{host} to boot", booted, seconds)
    except LabError as error:
        log = lab.log(_process(host))
        raise LabError(
            f"{error} (systemd: {state or 'unknown'}; SSH: {problem or 'answers'})\n  end of {log}:\n{proc.tail(log)}"
        ) from None
    return state


def boot_state(lab: Lab, host: str) -> tuple[str, str]:
    """What ``systemctl is-system-running`` says, and what SSH complains of; one is empty."""
    address = (lab.management_address(host), 22)
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError as error:
        return "", str(error)
    done = ssh(lab, host, "systemctl is-system-running", timeout=20)
    state = done.stdout.strip()
    return state, "" if state else (done.stderr.strip() or "no answer")


def _control(lab: Lab, host: str) -> Path:
    """The socket of the connection to a host. Not in the clone, whose path may be longer than a socket's can be."""
    return machine.STATE / "ssh" / f"{lab.id}-{host}"


def _hang_up(lab: Lab, host: str) -> None:
    """End the connection to a host: one that was switched off would be silent for ever."""
    if _control(lab, host).exists():
        command = [*ssh_command(lab, host)[:-1], "-O", "exit", host]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        _control(lab, host).unlink(missing_ok=True)


def ssh_command(lab: Lab, host: str) -> list[str]:
    """How OpenSSH reaches a host as its user; a command for the host may follow.

    Commands that follow each other share a connection: most of what one costs is its handshake, on both sides.
    """
    options = {
        "IdentityFile": _word(lab.ssh_key),
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _word(lab.known_hosts),
        "GlobalKnownHostsFile": os.devnull,
        "ControlMaster": "auto",
        "ControlPersist": "60",
        "ControlPath": str(_control(lab, host)),
    }
    command = ["ssh", "-F", os.devnull]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    return [*command, f"{ALL[host].user}@{lab.management_address(host)}"]


def _word(path: Path) -> str:
    """A path as a value of ssh's settings, which are split at blanks and have %-tokens."""
    return '"' + str(path).replace("%", "%%") + '"'


_shells: dict[tuple[str, str], list[Shell]] = {}
"""Lab and host -> shells that are open and idle."""


def as_root(lab: Lab, host: str, script: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a shell script on a host as root, in a shell that is kept for the next one; status 255 as of `ssh`."""
    idle = _shells.setdefault((lab.id, host), [])
    try:
        while True:
            # The host may have been switched off since, or the connection ended.
            try:
                shell, last = idle.pop(), False
            except IndexError:
                shell, last = Shell(ssh_command(lab, host), ALL[host].user != "root"), True
            if shell.answers():
                break
            if last:
                return subprocess.CompletedProcess(script, 255, "", shell.close())
        status, out, err = shell.run(script, timeout)
    except ShellLost as error:
        return subprocess.CompletedProcess(script, 255, "", str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(script, 255, "", f"no answer in {timeout} s")
    idle.append(shell)
    return subprocess.CompletedProcess(script, status, out.decode(), err.decode())


def ssh(lab: Lab, host: str, command: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command on a host; status 255 where SSH failed or took longer than ``timeout``."""
    words = [*ssh_command(lab, host), command]
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 255, "", f"no answer in {timeout} s")
