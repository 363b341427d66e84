"""Prometheus: a replica of a cluster, and one above the clusters."""

from __future__ import annotations

from dataclasses import replace

from prometheus_ha.deploys.lib.daemons.declare import (
    EXTERNAL_URL,
    HERE,
    LOG_LEVEL,
    ROUTE_PREFIX,
    WEB_FILE,
    Daemon,
    Flag,
    Group,
    Port,
    Product,
    Setting,
    Timing,
    read_as,
    web_listen,
)
from prometheus_ha.facts.reports import prometheus

PROMETHEUS_PRODUCT = Product(
    name="prometheus",
    repository="prometheus/prometheus",
    binaries=("prometheus", "promtool"),
    oldest="2.45.0",
    unpacked=500,
    web_keys={"tls_server_config.client_allowed_sans": "2.45.0", "rate_limit": "3.8.0"},
)

DELAY_SINCE = "3.9.0"
"""First version with `--storage.tsdb.delay-compact-file.path`."""
RETENTION_IN_FILE = "3.12.0"
"""First Prometheus that is told its limits by its file, where a change is a reload: 3.8 to 3.10 take the same time for
a million times more (upstream's #18200), 3.11 ends where its data directory is still to be made (#18628)."""
FLUSH_DEADLINE = "5s"
"""How long a Prometheus that stops a remote_write queue goes on trying to empty it."""

PROMETHEUS_DIR = "/etc/prometheus"
PROMETHEUS_CONFIG = f"{PROMETHEUS_DIR}/prometheus.yml"
RULES_DIR = f"{PROMETHEUS_DIR}/rules"
TARGETS_DIR = f"{PROMETHEUS_DIR}/targets"
SECRETS_DIR = f"{PROMETHEUS_DIR}/secrets"
PROMETHEUS_DATA = "/var/lib/prometheus/data"

_STORED = (
    Flag("config.file", PROMETHEUS_CONFIG),
    Flag("storage.tsdb.path", PROMETHEUS_DATA),
    Flag(
        "storage.tsdb.retention.time",
        Setting("prometheus_retention_time"),
        until=RETENTION_IN_FILE,
        setting="prometheus_retention_time",
    ),
    Flag(
        "storage.tsdb.retention.size",
        HERE,
        until=RETENTION_IN_FILE,
        setting="prometheus_retention_size",
        why="a full disk ends ingestion; dropping the oldest blocks does not",
    ),
)
"""What every Prometheus is told of its files."""

_SERVED = (
    web_listen("prometheus_port, prometheus_listen_address"),
    Flag(
        "web.external-url",
        EXTERNAL_URL,
        setting="prometheus_external_url",
    ),
    WEB_FILE,
    Flag("web.route-prefix", ROUTE_PREFIX),
    Flag("web.enable-lifecycle", Setting("prometheus_lifecycle"), setting="prometheus_lifecycle"),
    Flag("web.enable-admin-api", Setting("prometheus_admin_api"), setting="prometheus_admin_api"),
    Flag("rules.alert.resend-delay", Timing("resend_delay"), free=True),
    Flag(
        "scrape.discovery-reload-interval",
        Timing("discovery_reload"),
        free=True,
        why="drills restart it often, and its first scrape waits for this",
    ),
    Flag(
        "storage.remote.flush-deadline",
        FLUSH_DEADLINE,
        free=True,
        why="a reload that stops a remote_write queue waits for it twice, for samples and for "
        "metadata, and no query is answered meanwhile: upstream's 1m is too long to be blind",
    ),
    LOG_LEVEL,
)
"""What every Prometheus is told of its HTTP port and its alerts."""

_REFUSED = {
    "agent": "an agent serves no queries and evaluates no rules",
    "config.auto-reload*": "the deploy reloads, after the checks",
    "storage.tsdb.retention*": "set prometheus_retention_time, prometheus_retention_size",
    "web.enable-remote-write-receiver": "set prometheus_remote_write_receiver, in the group upper",
}

_DURATIONS = read_as(
    prometheus="""
        auto-gomemlimit.refresh-interval config.auto-reload-interval query.lookback-delta
        query.timeout rules.alert.for-grace-period rules.alert.for-outage-tolerance
        rules.alert.resend-delay scrape.discovery-reload-interval
        storage.agent.retention.max-time storage.agent.retention.min-time
        storage.agent.wal-truncate-frequency storage.remote.flush-deadline
        storage.tsdb.block-reload-interval storage.tsdb.max-block-duration
        storage.tsdb.min-block-duration storage.tsdb.retention.time web.read-timeout
    """,
    go="scrape.timestamp-tolerance",
)

PROMETHEUS = Daemon(
    name="prometheus",
    group=Group("prometheus", "a Prometheus replica and its Thanos sidecar"),
    product=PROMETHEUS_PRODUCT,
    binary="prometheus",
    distribution="prometheus",
    job_name="prometheus",
    samples=1300,
    page="queries",
    calls=prometheus.CALLS,
    parse=prometheus.parse,
    watches=True,
    ports={"http": Port("prometheus_port", "web.listen-address")},
    listen_address="prometheus_listen_address",
    config_dir=PROMETHEUS_DIR,
    inner_dirs=(RULES_DIR, TARGETS_DIR, SECRETS_DIR),
    data_dir=PROMETHEUS_DATA,
    rights=(),
    unit="prometheus",
    description="Prometheus",
    documentation="https://prometheus.io/docs/",
    # Flushing a large head takes minutes; a kill in between means replaying all of it.
    stop_seconds=600,
    # Files of targets are not among them: Prometheus watches those itself. Nor are secrets: it
    # reads a password at each request, a CA likewise, a client's certificate at each handshake.
    reload_paths=(PROMETHEUS_CONFIG, RULES_DIR),
    flags=(
        *_STORED,
        Flag(
            "storage.tsdb.min-block-duration",
            HERE,
            why="equal durations switch local compaction off: the sidecar uploads 2h blocks only",
        ),
        Flag("storage.tsdb.max-block-duration", HERE, why="as above"),
        Flag(
            "storage.tsdb.delay-compact-file.path",
            HERE,
            since=DELAY_SINCE,
            why="compacts what the sidecar has uploaded: far fewer indexes for the same retention",
        ),
        Flag(
            "storage.tsdb.block-reload-interval",
            Timing("block_reload"),
            since=DELAY_SINCE,
            free=True,
            why="drills bring blocks, and do not wait a minute for them",
        ),
        *_SERVED,
    ),
    extra="prometheus_flags",
    refused=_REFUSED,
    durations=_DURATIONS,
)

# The same program in the same places: a host is a replica or above them, not both.
UPPER = replace(
    PROMETHEUS,
    name="prometheus-upper",
    group=Group("upper", "a Prometheus above the clusters, which federates them or takes their remote write"),
    job_name="prometheus-upper",
    page="",
    watches=False,
    estimated=True,
    # Without a sidecar nothing is uploaded, and blocks are compacted as upstream does it.
    flags=(
        *_STORED,
        *_SERVED,
        Flag(
            "web.enable-remote-write-receiver",
            Setting("prometheus_remote_write_receiver"),
            setting="prometheus_remote_write_receiver",
        ),
    ),
)
