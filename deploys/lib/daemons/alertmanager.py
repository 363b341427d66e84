"""Alertmanager, and the relay that brings its notifications to bots of chats."""

from __future__ import annotations

from prometheus_ha.deploys.lib.daemons.declare import (
    EXTERNAL_URL,
    HERE,
    LOG_LEVEL,
    ROUTE_PREFIX,
    WEB_FILE,
    Daemon,
    Flag,
    Group,
    Number,
    Own,
    Port,
    Product,
    read_as,
    web_listen,
)
from prometheus_ha.facts.reports import alertmanager
from prometheus_ha.facts.reports.plain import plain_calls, read_plain

ALERTMANAGER_PRODUCT = Product(
    name="alertmanager",
    repository="prometheus/alertmanager",
    binaries=("alertmanager", "amtool"),
    oldest="0.26.0",
    unpacked=120,
    web_keys={"tls_server_config.client_allowed_sans": "0.26.0", "rate_limit": "0.30.0"},
)

ALERTMANAGER_DIR = "/etc/alertmanager"
ALERTMANAGER_CONFIG = f"{ALERTMANAGER_DIR}/alertmanager.yml"
TEMPLATES_DIR = f"{ALERTMANAGER_DIR}/templates"
ALERTMANAGER_SECRETS_DIR = f"{ALERTMANAGER_DIR}/secrets"
ALERTMANAGER_DATA = "/var/lib/alertmanager/data"
ALERTMANAGER_EVENTS = f"{ALERTMANAGER_DATA}/events.jsonl"
"""What became of each alert, as its event recorder writes it: one JSON object a line."""
AMTOOL_DIR = "/etc/amtool"
AMTOOL_CONFIG = f"{AMTOOL_DIR}/config.yml"
AMTOOL_HTTP = f"{AMTOOL_DIR}/http.yml"
"""Where amtool of the host finds its Alertmanager, and with what it asks there."""

EVENTS_SINCE = "0.33.0"
"""First release with an event recorder."""

EVENTS_V2_SINCE = "0.35.0"
"""First release whose event recorder has names for its outputs, and writes labels as a map (events.v2)."""

ALERTMANAGER = Daemon(
    name="alertmanager",
    group=Group("alertmanager", "a member of the Alertmanager cluster"),
    product=ALERTMANAGER_PRODUCT,
    binary="alertmanager",
    distribution="prometheus-alertmanager",
    job_name="alertmanager",
    samples=600,
    page="alerts",
    calls=alertmanager.CALLS,
    parse=alertmanager.parse,
    ports={
        "http": Port("alertmanager_port", "web.listen-address"),
        "cluster": Port("alertmanager_cluster_port", "cluster.listen-address", ("tcp", "udp")),
    },
    listen_address="alertmanager_listen_address",
    config_dir=ALERTMANAGER_DIR,
    inner_dirs=(TEMPLATES_DIR, ALERTMANAGER_SECRETS_DIR),
    tools_dir=AMTOOL_DIR,
    data_dir=ALERTMANAGER_DATA,
    rights=(),
    unit="alertmanager",
    description="Alertmanager",
    documentation="https://prometheus.io/docs/alerting/latest/alertmanager/",
    stop_seconds=90,
    reload_paths=(ALERTMANAGER_CONFIG, TEMPLATES_DIR),
    # Gossip lists the addresses of the host by netlink.
    hardening={"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK"},
    flags=(
        Flag("config.file", ALERTMANAGER_CONFIG),
        Flag("storage.path", ALERTMANAGER_DATA),
        Flag(
            "cluster.listen-address",
            HERE,
            setting="alertmanager_cluster_port",
            why="empty where there is one Alertmanager: that switches gossip off",
        ),
        Flag(
            "cluster.advertise-address",
            HERE,
            setting="service_address",
            why="left out, it exits on a host without a private address, or picks the wrong one",
        ),
        Flag(
            "cluster.peer",
            HERE,
            setting="the group alertmanager of the inventory",
            why="the other members; its own address would be noise",
        ),
        Flag(
            "cluster.label",
            HERE,
            since="0.26.0",
            setting="alertmanager_cluster_label",
            why="two clusters do not merge when an address is used again",
        ),
        Flag(
            "cluster.peer-name",
            HERE,
            since="0.30.0",
            why="random names inflate the member count of a cluster whose members restart",
        ),
        Flag(
            "cluster.peer-timeout",
            HERE,
            free=True,
            why="how long each member waits for the one before it to have notified",
        ),
        Flag(
            "cluster.settle-timeout",
            HERE,
            free=True,
        ),
        Flag(
            "cluster.pushpull-interval",
            HERE,
            free=True,
        ),
        Flag(
            "cluster.reconnect-timeout",
            HERE,
            free=True,
            why="by default a member that is gone for good counts as failed for six hours",
        ),
        web_listen("alertmanager_port, alertmanager_listen_address"),
        Flag(
            "web.external-url",
            EXTERNAL_URL,
            setting="alertmanager_external_url",
        ),
        Flag(
            "enable-feature",
            HERE,
            since="0.27.0",
            free=True,
            why="counts the notifications of each receiver, and writes down what became of each alert",
        ),
        WEB_FILE,
        Flag("web.route-prefix", ROUTE_PREFIX),
        LOG_LEVEL,
    ),
    extra="alertmanager_flags",
    refused={
        "cluster.tls-config": "it has to be switched on for all members at once",
    },
    durations=read_as(
        go="""
            alerts.gc-interval api.connect.stream-idle-timeout api.connect.stream-lifetime
            api.connect.unary-timeout auto-gomemlimit.refresh-interval cluster.gossip-interval cluster.peer-timeout
            cluster.peers-resolve-timeout cluster.probe-interval cluster.probe-timeout
            cluster.pushpull-interval cluster.reconnect-interval cluster.reconnect-timeout
            cluster.settle-timeout cluster.tcp-timeout data.maintenance-interval data.retention
            dispatch.maintenance-interval dispatch.start-delay web.timeout
        """,
    ),
)

RELAY_DIR = "/etc/alert_relay"
RELAY_CONFIG = f"{RELAY_DIR}/relay.json"
"""Its channels, with the addresses and keys of the bots."""
RELAY_LOADED = "alert_relay_config_last_reload_successful"

ALERT_RELAY = Daemon(
    name="alert_relay",
    group=Group("alert_relay", "brings alerts to group bots, and counts canaries: every Alertmanager host is one"),
    beside=(ALERTMANAGER, ("alert_channels", "alert_canary", "deadman_sites")),
    product=Own(name="alert_relay", template="alert_relay.py", version="1.0.0"),
    binary="alert_relay",
    distribution=None,
    job_name="alert_relay",
    samples=100,
    calls=plain_calls("/metrics", "alert_relay_build_info", RELAY_LOADED),
    parse=read_plain,
    ports={
        "http": Port("alert_relay_port", "web.listen-address"),
        "webhook": Port("alert_relay_webhook_port", "webhook.listen-address"),
    },
    config_dir=RELAY_DIR,
    rights=(),
    keys=RELAY_CONFIG,
    unit="alert_relay",
    description="Relay of alerts to Feishu, DingTalk and WeCom",
    documentation="https://prometheus.io/docs/alerting/latest/configuration/#webhook_config",
    # What is under way: one answer of a bot, and its second try.
    stop_seconds=15,
    reload_paths=(RELAY_CONFIG,),
    flags=(
        Flag("config.file", RELAY_CONFIG),
        web_listen("alert_relay_port"),
        # For the Alertmanager beside it alone: whoever reaches it can write to the chats.
        Flag("webhook.listen-address", Number("webhook", "127.0.0.1:"), setting="alert_relay_webhook_port"),
        LOG_LEVEL,
    ),
    extra="alert_relay_flags",
    refused={
        "config.check": "it would end once it has read its configuration",
        "version": "it would end at once",
    },
    durations={},
)
