"""What the labs of one machine share: the list of them, its kernel settings, its tools."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.lab import net, plan
from tests.lab.plan import Lab
from tests.lab.proc import LabError, cgroup_mounts, locked, run, run_visibly, say

STATE = Path("/run/pyinfra-prometheus-ha")

# Kernel settings that are the machine's and not a host's, and that a host of the lab changes: vm.*
# by the deploy under test, fs.* by systemd as it starts. (net.* belong to each host's namespace.)
SYSCTLS = (
    *("vm.overcommit_memory", "vm.swappiness", "fs.file-max", "fs.nr_open"),
    "fs.inotify.max_user_instances",
)
INOTIFY = ("fs.inotify.max_user_instances", 1024)
"""Every systemd and every daemon that watches files takes some of these, and all hosts have one root user."""

TOOLS = {  # Debian package -> what shows that it is there
    "e2fsprogs": "mkfs.ext4",
    "iproute2": "ip",
    "nftables": "nft",
    "mmdebstrap": "mmdebstrap",
    "openssh-client": "ssh-keygen",
    "openssl": "openssl",
    "systemd-container": "systemd-nspawn",
    "util-linux": "unshare",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
}


def require_root() -> None:
    """LabError for anybody else."""
    if os.geteuid():
        raise LabError("the lab needs root: namespaces, mounts and bridges are made")


def require_tools() -> None:
    """Install what is missing on this machine, and check what cannot be installed."""
    missing = [
        package
        for package, sign in TOOLS.items()
        if not (Path(sign).exists() if sign.startswith("/") else shutil.which(sign))
    ]
    if missing:
        install(*missing)
    if not any((mount / "cgroup.controllers").exists() for mount in cgroup_mounts()):
        raise LabError("no control groups of version 2 are mounted: Debian 13 does not boot")


def install(*packages: str) -> None:
    """Install Debian packages on this machine."""
    name = f"installing {' '.join(packages)}"
    say(name)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--no-install-recommends", *packages]):
        command = ["apt-get", "-q", "-y", *words]
        run_visibly(name, command, plan.cache_dir() / "apt.log", env=environment)


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _entry(lab: Lab) -> Path:
    return STATE / "labs" / lab.id


def _entries() -> list[Path]:
    return sorted(STATE.glob("labs/" + "[0-9a-f]" * 6))


def registered(root: Path) -> list[Lab]:
    """The labs that were brought up for the clone at ``root``: one, or none."""
    labs = []
    for entry in _entries():
        record = json.loads(entry.read_text())
        if record["root"] == str(root):
            labs.append(Lab(root, record["attempt"]))
    return labs


def register(root: Path) -> Lab:
    """Settle names and subnet of this clone's lab, make its bridge, note the kernel settings."""
    with locked(STATE / "lock"):
        known = (*registered(root), plan.load(root), *(Lab(root, n) for n in range(50)))
        for lab in {lab.attempt: lab for lab in known}.values():
            reason = net.conflict(lab)
            if not reason:
                break
            say(f"lab {lab.id} cannot be used here: {reason}")
        else:
            raise LabError("no free bridge and subnet found for the lab")
        saved = STATE / "sysctl.json"
        if not saved.exists():
            _write(saved, {name: _sysctl(name).read_text().strip() for name in SYSCTLS})
        name, least = INOTIFY
        if int(_sysctl(name).read_text()) < least:
            _sysctl(name).write_text(str(least))
        _write(lab.dir / "plan.json", {"attempt": lab.attempt, "id": lab.id})
        _write(_entry(lab), {"root": str(root), "attempt": lab.attempt})
        if not (STATE / "netns").exists() and not os.path.ismount(net.NETNS):
            (STATE / "netns").touch()
        net.add_bridge(lab)
    return lab


def unregister(lab: Lab) -> None:
    """Strike the lab off the list; the last one puts the kernel settings back."""
    with locked(STATE / "lock"):
        _entry(lab).unlink(missing_ok=True)
        for entry in _entries():
            if (Path(json.loads(entry.read_text())["root"]) / ".lab").is_dir():
                return  # somebody else's lab still stands on them
        saved = STATE / "sysctl.json"
        if saved.exists():
            for name, value in json.loads(saved.read_text()).items():
                if _sysctl(name).read_text().strip() != value:
                    _sysctl(name).write_text(value)
        if (STATE / "netns").exists() and not any(net.NETNS.iterdir()):
            # `ip netns add` mounts the directory on itself the first time it is used.
            run("umount", str(net.NETNS), check=False)
        shutil.rmtree(STATE)


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content) + "\n")
    temporary.rename(path)
