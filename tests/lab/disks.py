"""Disks of a host's own: small, real file systems, which can be full or have no inodes left."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import hosts, proc
from tests.lab.plan import Lab

SIZE = 200 << 20
"""Bytes. A Prometheus' first minutes fit in."""


@contextmanager
def disk(lab: Lab, host: str, options: str = "") -> Iterator[str]:
    """A new disk with ext4, made with `options` of mkfs.ext4: its device on a running host, which mounts it meanwhile.

    The disk is gone with its last mount, or with the host.
    """
    image = lab.host_dir(host) / "disk.img"
    with image.open("wb") as file:
        file.truncate(SIZE)
    proc.run("mkfs.ext4", "-q", *shlex.split(options), str(image))
    device = Path(proc.run("losetup", "--find", "--show", str(image)).strip())
    image.unlink()
    try:
        there = Path(f"/proc/{_init(lab, host)}/root{device}")
        there.unlink(missing_ok=True)
        os.mknod(there, stat.S_IFBLK | 0o600, device.stat().st_rdev)
        yield str(device)
    finally:
        proc.run("losetup", "--detach", str(device))  # when nobody has it mounted any more


def _init(lab: Lab, host: str) -> int:
    """The process that is the first one on a host."""
    for pid in proc.cgroup_pids(lab, hosts.group(host)):
        if re.search(r"^NSpid:.*\t1$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE):
            return pid
    raise LookupError(f"{host} has no first process")
