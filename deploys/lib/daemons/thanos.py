"""The components of Thanos: one program."""

from __future__ import annotations

from prometheus_ha.deploys.lib.daemons.declare import (
    BUCKET,
    DELETE,
    HERE,
    LIST,
    LOG_LEVEL,
    READ,
    WEB,
    WEB_CONFIG,
    WRITE,
    Daemon,
    Fault,
    Flag,
    Group,
    Listen,
    Port,
    Product,
    Setting,
    Timing,
    read_as,
)
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS, PROMETHEUS_DATA, PROMETHEUS_DIR
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.facts.reports import thanos

THANOS = Product(
    name="thanos",
    repository="thanos-io/thanos",
    binaries=("thanos",),
    oldest="0.32.0",
    unpacked=250,
    days_since="0.39.0",  # 0.38 still had the kingpin without
    web_keys={"tls_server_config.client_allowed_sans": "0.32.3", "rate_limit": "0.41.0"},
)

THANOS_DIR = "/etc/thanos"
ENDPOINTS_FILE = f"{THANOS_DIR}/endpoints.yml"
ATTACHED_DIR = f"{THANOS_DIR}/sidecar"
STORE_DIR = f"{THANOS_DIR}/store"
STORE_INDEX_CACHE = f"{STORE_DIR}/index_cache.yml"
STORE_DATA = "/var/lib/thanos/store"
COMPACTOR_DIR = f"{THANOS_DIR}/compactor"
COMPACTOR_DATA = "/var/lib/thanos/compactor"
FRONTEND_DIR = f"{THANOS_DIR}/query-frontend"
FRONTEND_CACHE = f"{FRONTEND_DIR}/cache.yml"
FRONTEND_CLIENT = f"{FRONTEND_DIR}/downstream.yml"
"""How the frontend reaches its querier."""
RULE_DIR = f"{THANOS_DIR}/rule"
RULE_RULES_DIR = f"{RULE_DIR}/rules"
RULE_SECRETS_DIR = f"{RULE_DIR}/secrets"
RULE_QUERY = f"{RULE_DIR}/query.yml"
RULE_ALERTMANAGERS = f"{RULE_DIR}/alertmanagers.yml"
RULE_REMOTE_WRITE = f"{RULE_DIR}/remote_write.yml"
RULE_DATA = "/var/lib/thanos/rule"
RECEIVE_DIR = f"{THANOS_DIR}/receive"
RECEIVE_HASHRINGS = f"{RECEIVE_DIR}/hashrings.json"
RECEIVE_DATA = "/var/lib/thanos/receive"
BUCKET_WEB_DIR = f"{THANOS_DIR}/bucket-web"
BUCKET_CONFIG = f"{PROMETHEUS_DIR}/bucket_config.yaml"
SIDECAR_CLIENT = f"{PROMETHEUS_DIR}/sidecar_client.yml"
"""With what the sidecar asks its Prometheus."""

DELAY_SINCE = "0.41.0"
"""First version whose sidecar accepts a Prometheus that compacts with a delay."""
ENDPOINTS_SINCE = "0.38.0"
"""First Thanos with `--endpoint.sd-config-file`."""
ADMIN_OFF_STORE = "0.39.0"
"""First Thanos whose store gateway knows `--disable-admin-operations`; compactor and tools have it since 0.33."""
ADMIN_OFF = "0.33.0"
# Thanos waits up to 2 minutes each for its HTTP and gRPC servers to drain, one after the other.
_STOP = 250
CAPNPROTO_PORT = 19391
"""Upstream's default, on loopback here."""

_HTTP, _GRPC = "http-address", "grpc-address"
_OBJSTORE = Flag("objstore.config-file", BUCKET, setting="bucket_config")
_LABEL = Flag("label", HERE, setting="cluster, and the host's name")
_WEB = Flag("http.config", WEB_CONFIG, setting=WEB)


def _ports(http: str, grpc: str = "") -> dict[str, Port]:
    """The ports that these settings hold."""
    return {"http": Port(http, _HTTP)} | ({"grpc": Port(grpc, _GRPC)} if grpc else {})


def _http(setting: str) -> Flag:
    return Flag(_HTTP, Listen(), setting=setting)


def _grpc(setting: str) -> Flag:
    return Flag(_GRPC, Listen("grpc"), setting=setting)


def _no_admin(since: str) -> Flag:
    why = "whoever reaches the port could mark blocks for deletion"
    return Flag("disable-admin-operations", True, since=since, free=True, why=why)


_EVERYWHERE = "TLS between Thanos' gRPC ports has to be known to every client in the site"
_STORES = "stores come from the inventory; others: set querier_endpoints"

_REFUSED = {
    "grpc-server-tls-*": _EVERYWHERE,
    "grpc-client-*": _EVERYWHERE,
    "objstore.config": "set bucket_config: a command line can be read by everyone",
    "web.route-prefix": "health and metrics have to stay where they are looked for",
}

_SIDECAR_REFUSED = {
    **_REFUSED,
    "prometheus.http-client": "set web_client: a command line can be read by everyone",
    "reloader.*": "the deploy writes the configuration",
    "shipper.ignore-unequal-block-size": "it lets blocks be compacted before they are uploaded",
    "shipper.meta-file-name": "Prometheus waits for the default one",
}

_SIDECAR_DURATIONS = read_as(
    prometheus="http-grace-period",
    go="""
        grpc-grace-period grpc-server-max-connection-age prometheus.get_config_interval
        prometheus.get_config_timeout prometheus.ready_timeout reloader.retry-interval
        reloader.watch-interval
    """,
)


def _sidecar(data: Flag, url: Flag) -> tuple[Flag, ...]:
    """What every sidecar is told, beside which data and which Prometheus it stands."""
    return (
        data,
        url,
        Flag(
            "prometheus.ready_timeout",
            "1h",
            free=True,
            why="the sidecar gives up where Prometheus replays its write-ahead log for longer",
        ),
        Flag(
            "prometheus.get_config_interval",
            Timing("get_config_interval"),
            free=True,
            why="drills restart both, and do not wait half a minute for one to look at the other",
        ),
        _OBJSTORE,
        _grpc("sidecar_grpc_port"),
        _http("sidecar_http_port"),
        _WEB,
    )


SIDECAR = Daemon(
    name="thanos-sidecar",
    group=PROMETHEUS.group,
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-sidecar",
    samples=900,
    calls=thanos.SIDECAR_CALLS,
    parse=thanos.parse_sidecar,
    stands_on=PROMETHEUS,
    ports=_ports("sidecar_http_port", "sidecar_grpc_port"),
    config_dir=PROMETHEUS_DIR,
    data_dir=PROMETHEUS_DATA,
    bucket=BUCKET_CONFIG,
    rights=(LIST, READ, WRITE),
    unit="thanos-sidecar",
    description="Thanos sidecar of Prometheus",
    documentation="https://thanos.io/tip/components/sidecar.md/",
    stop_seconds=_STOP,
    restart_paths=(SIDECAR_CLIENT,),
    subcommand=("sidecar",),
    flags=(
        *_sidecar(
            Flag("tsdb.path", PROMETHEUS_DATA, why="the data directory of Prometheus"),
            Flag("prometheus.url", HERE, setting="prometheus_port"),
        ),
        Flag("prometheus.http-client-file", HERE, setting="web_client"),
        LOG_LEVEL,
    ),
    extra="sidecar_flags",
    refused=_SIDECAR_REFUSED,
    durations=_SIDECAR_DURATIONS,
)

ATTACHED = Daemon(
    name="thanos-sidecar-attached",
    group=Group("sidecar", "a Prometheus that somebody else runs, and a Thanos sidecar of ours beside it"),
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-sidecar-attached",
    samples=900,
    estimated=True,
    calls=thanos.SIDECAR_CALLS,
    parse=thanos.parse_sidecar,
    ports=_ports("sidecar_http_port", "sidecar_grpc_port"),
    config_dir=ATTACHED_DIR,
    data_setting="attached_data_dir",
    bucket=f"{ATTACHED_DIR}/bucket.yml",
    rights=(LIST, READ, WRITE),
    # The same program on the same ports: a host has a Prometheus of ours or somebody else's, not both.
    unit="thanos-sidecar",
    description="Thanos sidecar of a Prometheus that is not ours",
    documentation="https://thanos.io/tip/components/sidecar.md/",
    account="attached_user",
    stop_seconds=_STOP,
    subcommand=("sidecar",),
    # Somebody else's Prometheus may ask for a password or not: prometheus.http-client-file is the user's.
    flags=(
        *_sidecar(
            Flag("tsdb.path", Setting("attached_data_dir"), setting="attached_data_dir"),
            Flag("prometheus.url", Setting("attached_url"), setting="attached_url"),
        ),
        LOG_LEVEL,
    ),
    extra="sidecar_flags",
    refused={
        **_SIDECAR_REFUSED,
        "prometheus.http-client": "set prometheus.http-client-file: a command line can be read by everyone",
        "reloader.*": "nothing of that Prometheus is ours to write",
    },
    durations=_SIDECAR_DURATIONS,
)

QUERIER = Daemon(
    name="thanos-querier",
    group=Group("querier", "a Thanos querier"),
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-query",
    samples=1300,
    page="queries",
    calls=thanos.QUERIER_CALLS,
    parse=thanos.parse_querier,
    ports=_ports("querier_port", "querier_grpc_port"),
    config_dir=THANOS_DIR,
    rights=(),
    unit="thanos-querier",
    description="Thanos querier",
    documentation="https://thanos.io/tip/components/query.md/",
    stop_seconds=_STOP,
    subcommand=("query",),
    flags=(
        _http("querier_port"),
        _WEB,
        _grpc("querier_grpc_port"),
        Flag(
            "endpoint.sd-config-file",
            ENDPOINTS_FILE,
            since=ENDPOINTS_SINCE,
            setting="the inventory, querier_endpoints",
            why="watched: a store that is added needs no restart",
        ),
        Flag(
            "endpoint.sd-config-reload-interval",
            Timing("endpoint_reload"),
            since=ENDPOINTS_SINCE,
            free=True,
        ),
        *(
            Flag(
                name,
                HERE,
                until=ENDPOINTS_SINCE,
                setting="the inventory, querier_endpoints",
                why="files (--store.sd-files) know no strict endpoints in these versions",
            )
            for name in ("endpoint-strict", "endpoint", "endpoint-group")
        ),
        Flag("query.replica-label", HERE, setting="replica_labels"),
        Flag("query.timeout", Setting("querier_timeout"), setting="querier_timeout"),
        Flag(
            "store.response-timeout",
            "30s",
            free=True,
            why="one store that hangs costs a warning, not the query: less than the query's time",
        ),
        LOG_LEVEL,
    ),
    extra="querier_flags",
    refused={
        **_REFUSED,
        "endpoint*": _STORES,
        "store": _STORES,
        "store-strict": _STORES,
        "store.sd-files": _STORES,
    },
    durations=read_as(
        prometheus="""
            endpoint.info-timeout endpoint.sd-config-reload-interval http-grace-period
            query.default-evaluation-interval query.default-step
            query.instant.default.max_source_resolution query.timeout store.response-timeout
            store.sd-dns-interval store.sd-interval store.unhealthy-timeout
        """,
        go="""
            grpc-grace-period grpc-server-max-connection-age query.lookback-delta
            query.metadata.default-time-range
        """,
    ),
)

FRONTEND = Daemon(
    name="thanos-query-frontend",
    group=Group("query_frontend", "a Thanos query frontend, before the queriers: it splits and caches"),
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-query-frontend",
    samples=500,
    page="queries",
    calls=thanos.FRONTEND_CALLS,
    parse=thanos.parse,
    # It is never ready where its querier asks for a password (facts/reports/thanos.py).
    ready_path="/-/healthy",
    ports=_ports("frontend_port"),
    config_dir=FRONTEND_DIR,
    rights=(),
    unit="thanos-query-frontend",
    description="Thanos query frontend",
    documentation="https://thanos.io/tip/components/query-frontend.md/",
    stop_seconds=_STOP,
    restart_paths=(FRONTEND_CLIENT, FRONTEND_CACHE),
    subcommand=("query-frontend",),
    flags=(
        _http("frontend_port"),
        _WEB,
        Flag(
            "query-frontend.downstream-url",
            HERE,
            setting="frontend_downstream, and the group querier of the inventory",
        ),
        Flag(
            "query-frontend.downstream-tripper-config-file",
            FRONTEND_CLIENT,
            setting="web_client",
            why="a CA, and more than two idle connections: each query would open its own",
        ),
        Flag(
            "query-frontend.forward-header",
            HERE,
            setting="web_config",
            why="the querier asks for the password that the frontend was asked with",
        ),
        Flag(
            "query-range.response-cache-config-file",
            HERE,
            setting="frontend_cache",
        ),
        Flag(
            "labels.response-cache-config-file",
            HERE,
            setting="frontend_cache",
        ),
        Flag("query-frontend.compress-responses", True, free=True),
        LOG_LEVEL,
    ),
    extra="frontend_flags",
    refused={
        **_REFUSED,
        "query-frontend.downstream-tripper-config": "set web_client, in which a CA is named",
        "*.response-cache-config": "set frontend_cache",
    },
    durations=read_as(
        prometheus="http-grace-period",
        go="""
            labels.default-time-range labels.response-cache-max-freshness labels.split-interval
            query-frontend.log-queries-longer-than query-range.max-query-length
            query-range.max-split-interval query-range.min-split-interval
            query-range.response-cache-max-freshness query-range.split-interval
        """,
    ),
)

STORE = Daemon(
    name="thanos-store",
    group=Group("store", "a Thanos store gateway: what is in the bucket and on no local disk any more"),
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-store",
    samples=1300,
    calls=thanos.STORE_CALLS,
    parse=thanos.parse,
    ports=_ports("store_http_port", "store_grpc_port"),
    config_dir=STORE_DIR,
    data_dir=STORE_DATA,
    bucket=f"{STORE_DIR}/bucket.yml",
    rights=(LIST, READ),
    unit="thanos-store",
    description="Thanos store gateway",
    documentation="https://thanos.io/tip/components/store.md/",
    stop_seconds=_STOP,
    restart_paths=(STORE_INDEX_CACHE,),
    subcommand=("store",),
    flags=(
        Flag("data-dir", STORE_DATA),
        _OBJSTORE,
        _grpc("store_grpc_port"),
        _http("store_http_port"),
        _WEB,
        Flag("min-time", Setting("store_min_time"), setting="store_min_time"),
        Flag("max-time", Setting("store_max_time"), setting="store_max_time"),
        Flag(
            "index-cache.config-file",
            HERE,
            setting="store_index_cache",
        ),
        Flag(
            "index-cache-size",
            HERE,
            free=True,
        ),
        Flag("sync-block-duration", Timing("bucket_sync"), free=True),
        Flag(
            "ignore-deletion-marks-delay",
            Timing("ignore_deletion_marks"),
            free=True,
            why="shorter than the compactor's --delete-delay: a block is not read while it goes",
        ),
        _no_admin(ADMIN_OFF_STORE),
        LOG_LEVEL,
    ),
    extra="store_flags",
    refused={**_REFUSED, "index-cache.config": "set store_index_cache"},
    durations=read_as(
        prometheus="consistency-delay http-grace-period ignore-deletion-marks-delay",
        go="""
            grpc-grace-period grpc-server-max-connection-age
            store.index-header-lazy-reader-idle-timeout sync-block-duration
        """,
    ),
)

COMPACTOR = Daemon(
    name="thanos-compactor",
    group=Group("compactor", "the Thanos compactor; one for a bucket"),
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-compact",
    samples=600,
    calls=thanos.COMPACTOR_CALLS,
    parse=thanos.parse,
    ports=_ports("compactor_port"),
    config_dir=COMPACTOR_DIR,
    data_dir=COMPACTOR_DATA,
    bucket=f"{COMPACTOR_DIR}/bucket.yml",
    rights=(LIST, READ, WRITE, DELETE),
    unit="thanos-compactor",
    description="Thanos compactor",
    documentation="https://thanos.io/tip/components/compact.md/",
    # Halted, or in wait for its bucket, it ends by no signal. A pass that is cut short is begun again.
    stop_seconds=30,
    subcommand=("compact",),
    flags=(
        Flag("data-dir", COMPACTOR_DATA),
        _OBJSTORE,
        _http("compactor_port"),
        _WEB,
        Flag("wait", True, why="without it one pass is made, and the unit would start it for ever"),
        Flag("wait-interval", Timing("compact_wait"), free=True),
        Flag(
            "retention.resolution-raw",
            Setting("compactor_retention_raw"),
            setting="compactor_retention_raw",
        ),
        Flag(
            "retention.resolution-5m",
            Setting("compactor_retention_5m"),
            setting="compactor_retention_5m",
        ),
        Flag(
            "retention.resolution-1h",
            Setting("compactor_retention_1h"),
            setting="compactor_retention_1h",
        ),
        Flag(
            "downsampling.disable",
            HERE,
            setting="compactor_downsampling",
        ),
        Flag(
            "compact.enable-vertical-compaction",
            Setting("compactor_vertical"),
            setting="compactor_vertical",
        ),
        Flag("consistency-delay", Timing("consistency_delay"), free=True),
        Flag("delete-delay", Timing("delete_delay"), free=True),
        Flag("compact.cleanup-interval", Timing("compact_cleanup"), free=True),
        _no_admin(ADMIN_OFF),
        LOG_LEVEL,
    ),
    extra="compactor_flags",
    refused={
        **_REFUSED,
        "deduplication.replica-label": "replicas are deduplicated when they are queried",
    },
    durations=read_as(
        prometheus="""
            delete-delay http-grace-period retention.resolution-1h retention.resolution-5m
            retention.resolution-raw
        """,
        go="""
            block-viewer.global.sync-block-interval block-viewer.global.sync-block-timeout
            compact.cleanup-interval compact.progress-interval consistency-delay wait-interval
        """,
    ),
)

RULE = Daemon(
    name="thanos-rule",
    group=Group("rule", "a Thanos ruler: rules over what several Prometheus have"),
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-rule",
    samples=1000,
    calls=thanos.RULE_CALLS,
    parse=thanos.parse,
    ports=_ports("rule_http_port", "rule_grpc_port"),
    config_dir=RULE_DIR,
    inner_dirs=(RULE_RULES_DIR, RULE_SECRETS_DIR),
    data_dir=RULE_DATA,
    bucket=f"{RULE_DIR}/bucket.yml",
    rights=(LIST, READ, WRITE),
    unit="thanos-rule",
    description="Thanos ruler",
    documentation="https://thanos.io/tip/components/rule.md/",
    stop_seconds=_STOP,
    reload_paths=(RULE_RULES_DIR,),
    restart_paths=(
        RULE_QUERY,
        RULE_ALERTMANAGERS,
        RULE_REMOTE_WRITE,
    ),
    subcommand=("rule",),
    flags=(
        Flag("data-dir", RULE_DATA),
        Flag("rule-file", f"{RULE_RULES_DIR}/*.yml", setting="rule_rules"),
        Flag("query.config-file", RULE_QUERY, setting="the group querier"),
        Flag(
            "alertmanagers.config-file",
            HERE,
            setting="the group alertmanager",
        ),
        _LABEL,
        Flag(
            "alert.label-drop",
            HERE,
            why="two rulers send every alert: without their label it is one and the same",
        ),
        Flag(
            "alert.query-url",
            HERE,
            free=True,
            why="where the links of alerts lead",
        ),
        Flag("eval-interval", Setting("evaluation_interval"), free=True),
        Flag("resend-delay", Timing("resend_delay"), free=True),
        Flag(
            "objstore.config-file",
            HERE,
            setting="bucket_config",
        ),
        Flag(
            "remote-write.config-file",
            HERE,
            setting="rule_remote_write",
        ),
        _grpc("rule_grpc_port"),
        _http("rule_http_port"),
        _WEB,
        LOG_LEVEL,
    ),
    extra="rule_flags",
    refused={
        **_REFUSED,
        "query": "queriers come from the inventory",
        "query.*config": "a command line can be read by everyone",
        "query.sd-files": "queriers come from the inventory",
        "alertmanagers.*": "Alertmanagers come from the inventory",
        "remote-write.config": "set rule_remote_write: a command line can be read by everyone",
    },
    durations=read_as(
        prometheus="http-grace-period tsdb.block-duration tsdb.retention",
        go="""
            alertmanagers.sd-dns-interval alertmanagers.send-timeout eval-interval for-grace-period
            for-outage-tolerance grpc-grace-period grpc-server-max-connection-age query.default-step
            query.sd-dns-interval query.sd-interval resend-delay rule-query-offset
        """,
    ),
)

RECEIVE = Daemon(
    name="thanos-receive",
    group=Group("receive", "a member of the Thanos receive hashring: it takes remote write"),
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-receive",
    samples=1000,
    calls=thanos.RECEIVE_CALLS,
    parse=thanos.parse,
    faults=(
        Fault(
            since="0.42.0",
            until=None,  # mended upstream, in no release yet
            words="(*tenant).shouldBeMarkedInactive(",
            # Each minute of the day that is a multiple of twice the longest block: every four hours.
            says="a fault of Thanos: started in the minute in which it prunes tenants, it does that before their "
            "database is open",
            reference="thanos#8990",
        ),
    ),
    ports={
        **_ports("receive_http_port", "receive_grpc_port"),
        "remote_write": Port("receive_remote_write_port", "remote-write.address"),
    },
    internal=(CAPNPROTO_PORT,),
    config_dir=RECEIVE_DIR,
    data_dir=RECEIVE_DATA,
    bucket=f"{RECEIVE_DIR}/bucket.yml",
    rights=(LIST, READ, WRITE),
    unit="thanos-receive",
    description="Thanos receive",
    documentation="https://thanos.io/tip/components/receive.md/",
    # It uploads what it holds before it ends.
    stop_seconds=900,
    subcommand=("receive",),
    flags=(
        Flag("tsdb.path", RECEIVE_DATA),
        Flag("tsdb.retention", Setting("receive_retention"), setting="receive_retention"),
        _LABEL,
        Flag(
            "receive.hashrings-file",
            RECEIVE_HASHRINGS,
            setting="the group receive of the inventory",
            why="watched: a new member needs no restart of the others",
        ),
        Flag(
            "receive.hashrings-file-refresh-interval",
            Timing("endpoint_reload"),
            free=True,
            why="a file that is renamed into place is watched up to its first change and no more",
        ),
        Flag(
            "receive.hashrings-algorithm",
            "ketama",
            why="upstream's default moves nearly all series where a member is added",
        ),
        Flag(
            "receive.local-endpoint",
            HERE,
            setting="service_address",
        ),
        Flag(
            "receive.replication-factor",
            Setting("receive_replication"),
            setting="receive_replication",
        ),
        Flag(
            "receive.capnproto-address",
            topology.join("127.0.0.1", CAPNPROTO_PORT),
            since="0.37.0",
            why="it listens there whether the members speak that protocol or not: for nobody",
        ),
        Flag(
            "tsdb.too-far-in-future.time-window",
            "5m",
            free=True,
            why="one sample of the future makes all of the present too old (thanos#6167)",
        ),
        _OBJSTORE,
        Flag(
            "remote-write.address",
            Listen("remote_write"),
            setting="receive_remote_write_port",
        ),
        _grpc("receive_grpc_port"),
        _http("receive_http_port"),
        _WEB,
        LOG_LEVEL,
    ),
    extra="receive_flags",
    refused={
        **_REFUSED,
        "receive.hashrings": "the hashring comes from the inventory",
        "remote-write.server-tls-*": "every sender would have to know",
    },
    durations=read_as(
        prometheus="""
            http-grace-period receive-forward-max-backoff receive-forward-timeout
            receive.hashrings-file-refresh-interval tsdb.max-block-duration tsdb.min-block-duration
            tsdb.out-of-order.time-window tsdb.retention tsdb.too-far-in-future.time-window
        """,
        go="grpc-grace-period grpc-server-max-connection-age receive.limits-config-reload-timer",
    ),
)

BUCKET_WEB = Daemon(
    name="thanos-bucket-web",
    group=Group("bucket_web", "Thanos' view of the bucket and its blocks, for people"),
    product=THANOS,
    binary="thanos",
    distribution=None,
    job_name="thanos-bucket-web",
    samples=600,
    page="the bucket",
    calls=thanos.calls(),
    parse=thanos.parse,
    ports=_ports("bucket_web_port"),
    config_dir=BUCKET_WEB_DIR,
    bucket=f"{BUCKET_WEB_DIR}/bucket.yml",
    rights=(LIST, READ),
    unit="thanos-bucket-web",
    description="Thanos bucket web",
    documentation="https://thanos.io/tip/components/tools.md/",
    stop_seconds=_STOP,
    subcommand=("tools", "bucket", "web"),
    flags=(
        _OBJSTORE,
        _http("bucket_web_port"),
        _WEB,
        _no_admin(ADMIN_OFF),
        LOG_LEVEL,
    ),
    extra="bucket_web_flags",
    refused=_REFUSED,
    durations=read_as(
        prometheus="http-grace-period",
        go="refresh timeout",
    ),
)
