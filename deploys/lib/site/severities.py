"""The checks of the preflight, and what a finding of each means for the run: what the setting `preflight` may name."""

from __future__ import annotations

from prometheus_ha.deploys.lib.ground import topology

CHECKS: dict[str, tuple[str, str]] = {
    "root": ("fail", "commands are run as root; otherwise nothing else is judged"),
    "os": ("fail", "the operating system is one that was run; from documentation only: warns"),
    "arch": ("fail", "the architecture has releases: amd64 was run, arm64 is from documentation"),
    "systemd": ("fail", "systemd is new enough for the units"),
    "sysctl": ("fail", "the kernel has every value of the setting sysctl"),
    "cpu": ("warn", "4 CPUs or more"),
    "memory": ("warn", "16 GB or more on a Prometheus host"),
    "disk-kind": ("warn", "no rotating disk below Prometheus"),
    "disk-space": ("fail", "room for what is unpacked and stored, in bytes and inodes"),
    "read-only": ("fail", "the directories that are written to are on file systems mounted rw"),
    "noexec": ("fail", "programs can be run from /opt and /usr/local"),
    "source": ("fail", "what a host has yet to fetch can be fetched from base_url"),
    "release": ("fail", "what runs may be changed to the release that is wanted, host by host"),
    "ports": ("fail", "our ports are free, or held by our own units"),
    "reach": (
        "fail",
        "peers can be dialled: refused is fine, silence is not; in a running site: warns",
    ),
    "firewall": ("warn", "no firewall of the host's own stands before ports that others dial"),
    "selinux": ("warn", "SELinux does not enforce; where it does, contexts are restored"),
    "address": ("fail", "an address that changed is one of this host's own"),
    "user": ("fail", f"an existing account {topology.USER} is one for services"),
    "links": ("fail", "our directories are no links, or such as lead to a place of root's"),
    "units": ("fail", "no unit of a package or of somebody else has the name of ours"),
    "drop-ins": ("fail", "drop-ins of others leave our units what they are"),
    "data": ("fail", "data directories are empty, or the service user's"),
    "attached": (
        "fail",
        "a Prometheus that is not ours has what a sidecar needs: labels, blocks of one length, data within reach",
    ),
    "uploads": ("warn", "where local blocks are dropped soon, their uploads succeed"),
    "bus": ("warn", "D-Bus is there, by which node_exporter sees whether our units run"),
    "zones": ("warn", "the members of a tier do not all stand in one zone"),
    "clock": ("fail", "the clock is synchronised, once the time service is set up"),
}
"""Check -> severity unless the setting `preflight` says otherwise, and what holds where it finds nothing."""
