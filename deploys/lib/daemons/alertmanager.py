"""Alertmanager."""

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
    Port,
    Product,
    read_as,
    web_listen,
)
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.facts.reports import alertmanager

ALERTMANAGER_PRODUCT = Product(
    name="alertmanager",
    repository="prometheus/alertmanager",
    binaries=("alertmanager", "amtool"),
    oldest="0.26.0",
    unpacked=120,
    web_keys={"tls_server_config.client_allowed_sans": "0.26.0", "rate_limit": "0.30.0"},
)

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
    config_dir=topology.ALERTMANAGER_DIR,
    inner_dirs=(topology.TEMPLATES_DIR, topology.ALERTMANAGER_SECRETS_DIR),
    data_dir=topology.ALERTMANAGER_DATA,
    rights=(),
    unit="alertmanager",
    description="Alertmanager",
    documentation="https://prometheus.io/docs/alerting/latest/alertmanager/",
    stop_seconds=90,
    reload_paths=(topology.ALERTMANAGER_CONFIG, topology.TEMPLATES_DIR),
    # Gossip lists the addresses of the host by netlink.
    hardening={"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK"},
    flags=(
        Flag("config.file", topology.ALERTMANAGER_CONFIG),
        Flag("storage.path", topology.ALERTMANAGER_DATA),
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
            "receiver-name-in-metrics",
            since="0.27.0",
            free=True,
            why="counts the notifications of each receiver: the drill looks for exactly one",
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
