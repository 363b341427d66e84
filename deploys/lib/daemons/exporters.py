"""Exporters."""

from __future__ import annotations

from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.daemons.declare import (
    EVERY_HOST,
    HERE,
    LOG_LEVEL,
    WEB_FILE,
    Daemon,
    Flag,
    Group,
    Port,
    Product,
    read_as,
    web_listen,
)
from prometheus_ha.facts.reports.plain import plain_calls, read_plain

NODE_EXPORTER_PRODUCT = Product(
    name="node_exporter",
    repository="prometheus/node_exporter",
    binaries=("node_exporter",),
    oldest="1.6.0",
    unpacked=40,
    web_keys={"tls_server_config.client_allowed_sans": "1.6.0", "rate_limit": "1.11.0"},
)

BLACKBOX_EXPORTER_PRODUCT = Product(
    name="blackbox_exporter",
    repository="prometheus/blackbox_exporter",
    binaries=("blackbox_exporter",),
    oldest="0.24.0",
    unpacked=60,
    web_keys={"tls_server_config.client_allowed_sans": "0.24.0", "rate_limit": "0.28.0"},
)

WATCHED = Group("node_exporter", "a host that is watched and has no other part")
"""Every host runs node_exporter."""

TEXTFILE_DIR = "/var/lib/node_exporter/textfile"
"""What anybody writes there as `*.prom` are metrics of the host. The place that every peer has for it."""
LOOK_FILE = f"{TEXTFILE_DIR}/monitoring_look.prom"
DEPLOY_FILE = f"{TEXTFILE_DIR}/monitoring_deploy.prom"
"""What every run of the deploy leaves there, and what one that changes the host does (run/textfile.py)."""
TEXTFILE_TIME = "node_textfile_mtime_seconds"
DEPLOY_SUCCESS = "monitoring_deploy_success"
DEPLOY_INFO = "monitoring_deploy_info"
DEPLOYED = "monitoring_deployed_info"
CERTIFICATE_END = "monitoring_certificate_end_timestamp_seconds"

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
    shared_dirs=(str(PurePosixPath(TEXTFILE_DIR).parent), TEXTFILE_DIR),
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
        web_listen("node_exporter_port"),
        WEB_FILE,
        Flag("collector.textfile.directory", TEXTFILE_DIR),
        Flag("collector.systemd", True, free=True),
        Flag("collector.systemd.unit-include", HERE, free=True),
        Flag("collector.systemd.enable-restarts-metrics", True, free=True),
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

BLACKBOX_DIR = "/etc/blackbox_exporter"
BLACKBOX_CONFIG = f"{BLACKBOX_DIR}/blackbox.yml"
BLACKBOX_SECRETS = f"{BLACKBOX_DIR}/secrets"
"""Files that modules name; each probe reads them again."""

CONFIG_LOADED = "blackbox_exporter_config_last_reload_successful"
MODULE_UNKNOWN = "blackbox_module_unknown_total"

BLACKBOX_EXPORTER = Daemon(
    name="blackbox_exporter",
    group=Group("blackbox_exporter", "a host from which others are probed: HTTP, TCP, ICMP, DNS, gRPC"),
    product=BLACKBOX_EXPORTER_PRODUCT,
    binary="blackbox_exporter",
    distribution="prometheus-blackbox-exporter",
    job_name="blackbox_exporter",
    samples=100,
    calls=plain_calls("/metrics", "blackbox_exporter_build_info", CONFIG_LOADED),
    parse=read_plain,
    watches=True,
    ready_path="/-/healthy",
    ports={"http": Port("blackbox_exporter_port", "web.listen-address")},
    config_dir=BLACKBOX_DIR,
    inner_dirs=(BLACKBOX_SECRETS,),
    rights=(),
    unit="blackbox_exporter",
    description="Prometheus blackbox exporter",
    documentation="https://github.com/prometheus/blackbox_exporter",
    stop_seconds=30,
    reload_paths=(BLACKBOX_CONFIG,),
    # Raw sockets for ICMP. In a user namespace of its own the capability would be none of the host's.
    hardening={
        "AmbientCapabilities": "CAP_NET_RAW",
        "CapabilityBoundingSet": "CAP_NET_RAW",
        "PrivateUsers": None,
    },
    flags=(
        Flag("config.file", BLACKBOX_CONFIG),
        web_listen("blackbox_exporter_port"),
        WEB_FILE,
        LOG_LEVEL,
    ),
    extra="blackbox_exporter_flags",
    refused={
        "config.check": "it would end once it has read its configuration",
        "config.*auto-reload*": "the deploy reloads, after the checks",
        "web.external-url": "probes and metrics have to stay where they are looked for",
        "web.route-prefix": "probes and metrics have to stay where they are looked for",
    },
    durations={},
)

EXPORTERS = (NODE_EXPORTER, BLACKBOX_EXPORTER)
PRODUCTS = (NODE_EXPORTER_PRODUCT, BLACKBOX_EXPORTER_PRODUCT)
