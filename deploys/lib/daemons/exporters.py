"""Exporters."""

from __future__ import annotations

from deploys.lib.daemons.declare import (
    EVERY_HOST,
    LOG_LEVEL,
    WEB,
    WEB_CONFIG,
    Daemon,
    Flag,
    Group,
    Listen,
    Port,
    Product,
    read_as,
)
from facts.reports.plain import plain_calls, read_plain

NODE_EXPORTER_PRODUCT = Product(
    name="node_exporter",
    repository="prometheus/node_exporter",
    binaries=("node_exporter",),
    oldest="1.6.0",
    unpacked=40,
)

BLACKBOX_EXPORTER_PRODUCT = Product(
    name="blackbox_exporter",
    repository="prometheus/blackbox_exporter",
    binaries=("blackbox_exporter",),
    oldest="0.24.0",
    unpacked=60,
)

WATCHED = Group("node_exporter", "a host that is watched and has no other part")
"""Every host runs node_exporter."""

NODE_EXPORTER = Daemon(
    name="node_exporter",
    group=EVERY_HOST,
    product=NODE_EXPORTER_PRODUCT,
    binary="node_exporter",
    distribution="prometheus-node-exporter",
    job_name="node_exporter",
    samples=1200,
    calls=plain_calls("/metrics", "node_exporter_build_info"),
    parse=read_plain,
    # It has neither endpoint; answering at all is its health.
    ready_path="/metrics",
    healthy_path="/metrics",
    ports={"http": Port("node_exporter_port", "web.listen-address")},
    rights=(),
    unit="node_exporter",
    description="Prometheus node exporter",
    documentation="https://github.com/prometheus/node_exporter",
    stop_seconds=90,
    # It describes the host, and has to see it: mounts of /proc/1, home file systems, the host's
    # name as it changes, other users, network devices, and the clock's state (adjtimex, which
    # also sets it, for those who may).
    hardening={
        "UMask": "0077",
        "ProtectHome": "read-only",
        "ProtectProc": None,
        "ProtectClock": None,
        "ProtectHostname": None,
        "PrivateUsers": None,
        "PrivateIPC": None,
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    },
    system_calls=("~@resources", "adjtimex"),
    flags=(
        Flag("web.listen-address", Listen(), setting="node_exporter_port"),
        Flag("web.config.file", WEB_CONFIG, setting=WEB),
        LOG_LEVEL,
    ),
    extra="node_exporter_flags",
    refused={
        "web.telemetry-path": "metrics have to stay where they are looked for",
    },
    durations=read_as(
        go="collector.filesystem.mount-timeout collector.ntp.local-offset-tolerance",
    ),
)

EXPORTERS = (NODE_EXPORTER,)
PRODUCTS = (NODE_EXPORTER_PRODUCT, BLACKBOX_EXPORTER_PRODUCT)
