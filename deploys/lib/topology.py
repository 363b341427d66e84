"""Who listens where: components, ports, paths, unit and job names, each defined here and only here.

Units, scrape jobs, gates, checks and tests build every address from an `Endpoint`, so that a change
of port or scheme is a change in one place. Nothing here knows a host: `settings.Site.endpoint`
joins this table with the settings of one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

USER = "prometheus"
GROUP = "prometheus"
SHELL = "/sbin/nologin"

OLDEST_SYSTEMD = 239
"""That of RHEL 8. CentOS 7 (219) is older, and its kernel too old for current releases."""

SOFTWARE_DIR = "/opt/software"
"""Archives as downloaded (spec/000 2)."""
INSTALL_DIR = "/opt"
"""Each archive is unpacked to `<INSTALL_DIR>/<archive's directory>`."""
BIN_DIR = "/usr/local/bin"
"""Links to the binaries of the version in use."""
UNIT_DIR = "/etc/systemd/system"

PROMETHEUS_DIR = "/etc/prometheus"
PROMETHEUS_CONFIG = f"{PROMETHEUS_DIR}/prometheus.yml"
RULES_DIR = f"{PROMETHEUS_DIR}/rules"
TARGETS_DIR = f"{PROMETHEUS_DIR}/targets"
SECRETS_DIR = f"{PROMETHEUS_DIR}/secrets"
BUCKET_CONFIG = f"{PROMETHEUS_DIR}/bucket_config.yaml"
PROMETHEUS_DATA = "/var/lib/prometheus/data"
ALERTMANAGER_DIR = "/etc/alertmanager"
ALERTMANAGER_CONFIG = f"{ALERTMANAGER_DIR}/alertmanager.yml"
TEMPLATES_DIR = f"{ALERTMANAGER_DIR}/templates"
ALERTMANAGER_SECRETS_DIR = f"{ALERTMANAGER_DIR}/secrets"
ALERTMANAGER_DATA = "/var/lib/alertmanager/data"
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
SEAWEEDFS_DIR = "/etc/seaweedfs"
SEAWEEDFS_KEYS = f"{SEAWEEDFS_DIR}/s3.json"
SEAWEEDFS_SECURITY = f"{SEAWEEDFS_DIR}/security.toml"
"""Upstream's name; it is found by its directory."""
SEAWEEDFS_PEM = f"{SEAWEEDFS_DIR}/grpc.pem"
SEAWEEDFS_DATA = "/var/lib/seaweedfs/data"
MINIO_DIR = "/etc/minio"
MINIO_ENV = f"{MINIO_DIR}/minio.env"
"""The root user of MinIO: its own configuration, which it reads at its start."""
MINIO_KEYS_DIR = f"{MINIO_DIR}/keys"
"""Users and policies as `mc` is to make them, and the root user as `mc` needs it."""
MINIO_CERTS = f"{MINIO_DIR}/certs"
"""Where it looks for a certificate, and finds none."""
MINIO_KEYS = "/usr/local/libexec/monitoring/minio-keys"
"""The tool that has `mc` make them."""
MINIO_DATA = "/var/lib/minio/data"
WEB_DIR = "/etc/monitoring"
"""The web configuration of every daemon, certificates, and what our own clients ask with."""
SIDECAR_CLIENT = f"{PROMETHEUS_DIR}/sidecar_client.yml"
"""With what the sidecar asks its Prometheus."""
LOG_DIR = "/var/log/prometheus"
STATE = "/etc/.monitoring"
"""What we know of a host: staged files, and lists of what is ours. Root's alone, as it holds secrets on their way."""
LAST_RUN = f"{STATE}/last-run"
"""The last run of a deploy, in words: who, from where, when, its result, and what it changed on this host."""
ADDRESS = f"{STATE}/address"
"""The address at which the others were told to reach this host."""
STAMPS = "/run/monitoring"
"""What each unit read when it was started and when it was reloaded: `<unit>.started`, `<unit>.loaded`."""
STAMP = "/usr/local/libexec/monitoring/stamp"
"""The tool with which units write those."""
FIREWALL = "/usr/local/libexec/monitoring/firewall"
"""The tool that lets the site's members through the host's own firewall."""
FIREWALL_UNIT = "monitoring-firewall"
RSYSLOG_FILE = "/etc/rsyslog.d/30-prometheus.conf"
RSYSLOG_DROP_IN = "/etc/systemd/system/rsyslog.service.d/monitoring.conf"
SYSCTL_FILE = "/etc/sysctl.d/99-prometheus.conf"
PORTS_FILE = "/etc/sysctl.d/99-zz-prometheus-ports.conf"
"""The ports of ours that no outgoing connection may be given. Of several files that set the same value the last one by
name holds at boot, and an administrator's own is often in `99-sysctl.conf`, a link to /etc/sysctl.conf."""
RESERVED_PORTS = "net.ipv4.ip_local_reserved_ports"
PORT_RANGE = "net.ipv4.ip_local_port_range"
LIMITS_FILE = "/etc/security/limits.d/99-prometheus.conf"
LOGROTATE_FILE = "/etc/logrotate.d/prometheus"
ATTACHED_LOG_DIR = "/var/log/monitoring"
ATTACHED_LOGROTATE_FILE = "/etc/logrotate.d/monitoring"
"""The same beside a Prometheus of somebody else: a distribution's package has the other names."""

_INNER = (
    *(RULES_DIR, TARGETS_DIR, SECRETS_DIR, TEMPLATES_DIR, ALERTMANAGER_SECRETS_DIR),
    *(RULE_RULES_DIR, RULE_SECRETS_DIR),
    *(MINIO_KEYS_DIR, MINIO_CERTS, f"{MINIO_CERTS}/CAs"),
)
"""Directories of ours inside those of a component's configuration."""

GROUPS: dict[str, str] = {
    "prometheus": "a Prometheus replica and its Thanos sidecar",
    "sidecar": "a Prometheus that somebody else runs, and a Thanos sidecar of ours beside it",
    "alertmanager": "a member of the Alertmanager cluster",
    "querier": "a Thanos querier",
    "upper": "a Prometheus above the clusters, which federates them or takes their remote write",
    "query_frontend": "a Thanos query frontend, before the queriers: it splits and caches",
    "store": "a Thanos store gateway: what is in the bucket and on no local disk any more",
    "compactor": "the Thanos compactor; one for a bucket",
    "rule": "a Thanos ruler: rules over what several Prometheus have",
    "receive": "a member of the Thanos receive hashring: it takes remote write",
    "bucket_web": "Thanos' view of the bucket and its blocks, for people",
    "seaweedfs": "SeaweedFS, an S3 server for the bucket: one host, no redundancy",
    "minio": "MinIO, an S3 server for the bucket, which its upstream has ended: one host, no redundancy",
    "node_exporter": "a host that is watched and has no other part",
}
"""Groups of the inventory and the part their hosts play. Every host runs node_exporter."""


@dataclass(frozen=True)
class Port:
    """A port on which a daemon listens."""

    setting: str
    """Setting that holds its number."""
    flag: str
    """Flag, without dashes, by which the daemon is told of it."""
    transports: tuple[str, ...] = ("tcp",)
    twin: int = 0
    """How much higher another one lies that it opens beside; 0 where it opens none."""


@dataclass(frozen=True)
class ComponentInfo:
    """One daemon: where it belongs, what it is called and where it listens."""

    name: str
    group: str
    """Group of the inventory whose hosts run it; `all` for every host."""
    unit: str
    """systemd unit, without `.service`."""
    job_name: str
    """Scrape job. Prometheus and node_exporter: spec/000's; the others: what the mixins match."""
    archive: str
    """Component in `releases`."""
    binary: str
    """Name of the executable below `BIN_DIR`."""
    ports: dict[str, Port]
    """Kind of port (http, grpc, cluster) -> the port."""
    config_dir: str | None = None
    data_dir: str | None = None
    ready_path: str = "/-/ready"
    healthy_path: str = "/-/healthy"
    metrics_path: str = "/metrics"
    listen_address: str | None = None
    """Setting with the address it listens on; where None, it listens on all."""
    bucket: str | None = None
    """Its configuration of the object store, where it has one: with a key that is its own."""
    account: str | None = None
    """Setting with the account that it runs as, where that is not ours."""
    keys: str | None = None
    """The keys of others, that it alone may read."""
    tools: tuple[str, ...] = ()
    """Components in `releases` whose programs it needs beside its own."""
    web: bool = True
    """Whether its HTTP port takes the web configuration: TLS and passwords."""
    build_info: str = ""
    """Metric with its version; where empty, `<archive>_build_info`."""
    internal: tuple[int, ...] = ()
    """Ports that it opens for itself, and that no setting of ours holds."""

    @property
    def service(self) -> str:
        """Name of the unit as systemd prints it."""
        return f"{self.unit}.service"

    @property
    def archives(self) -> tuple[str, ...]:
        """All that is installed for it: components in `releases`."""
        return (self.archive, *self.tools)

    @property
    def version_metric(self) -> str:
        """Name of the metric with its version."""
        return self.build_info or f"{self.archive}_build_info"

    @property
    def path(self) -> str:
        """Path of the executable: a link to the version in use."""
        return f"{BIN_DIR}/{self.binary}"


CAPNPROTO_PORT = 19391
"""Upstream's default, on loopback here."""

COMPONENTS: dict[str, ComponentInfo] = {
    component.name: component
    for component in (
        ComponentInfo(
            name="prometheus",
            group="prometheus",
            unit="prometheus",
            job_name="prometheus",
            archive="prometheus",
            binary="prometheus",
            ports={"http": Port("prometheus_port", "web.listen-address")},
            config_dir=PROMETHEUS_DIR,
            data_dir=PROMETHEUS_DATA,
            listen_address="prometheus_listen_address",
        ),
        ComponentInfo(
            name="thanos-sidecar",
            group="prometheus",
            unit="thanos-sidecar",
            job_name="thanos-sidecar",
            archive="thanos",
            binary="thanos",
            ports={
                "http": Port("sidecar_http_port", "http-address"),
                "grpc": Port("sidecar_grpc_port", "grpc-address"),
            },
            config_dir=PROMETHEUS_DIR,
            data_dir=PROMETHEUS_DATA,
            bucket=BUCKET_CONFIG,
        ),
        ComponentInfo(
            name="thanos-sidecar-attached",
            group="sidecar",
            # The same program on the same ports: a host has a Prometheus of ours or somebody else's, not both.
            unit="thanos-sidecar",
            job_name="thanos-sidecar-attached",
            archive="thanos",
            binary="thanos",
            ports={
                "http": Port("sidecar_http_port", "http-address"),
                "grpc": Port("sidecar_grpc_port", "grpc-address"),
            },
            config_dir=ATTACHED_DIR,
            bucket=f"{ATTACHED_DIR}/bucket.yml",
            account="attached_user",
        ),
        ComponentInfo(
            name="alertmanager",
            group="alertmanager",
            unit="alertmanager",
            job_name="alertmanager",
            archive="alertmanager",
            binary="alertmanager",
            ports={
                "http": Port("alertmanager_port", "web.listen-address"),
                "cluster": Port(
                    "alertmanager_cluster_port", "cluster.listen-address", ("tcp", "udp")
                ),
            },
            config_dir=ALERTMANAGER_DIR,
            data_dir=ALERTMANAGER_DATA,
            listen_address="alertmanager_listen_address",
        ),
        ComponentInfo(
            name="thanos-querier",
            group="querier",
            unit="thanos-querier",
            job_name="thanos-query",
            archive="thanos",
            binary="thanos",
            ports={
                "http": Port("querier_port", "http-address"),
                "grpc": Port("querier_grpc_port", "grpc-address"),
            },
            config_dir=THANOS_DIR,
        ),
        ComponentInfo(
            name="thanos-query-frontend",
            group="query_frontend",
            unit="thanos-query-frontend",
            job_name="thanos-query-frontend",
            archive="thanos",
            binary="thanos",
            ports={"http": Port("frontend_port", "http-address")},
            config_dir=FRONTEND_DIR,
            # It is never ready where its querier asks for a password (facts/thanos.py).
            ready_path="/-/healthy",
        ),
        ComponentInfo(
            name="thanos-store",
            group="store",
            unit="thanos-store",
            job_name="thanos-store",
            archive="thanos",
            binary="thanos",
            ports={
                "http": Port("store_http_port", "http-address"),
                "grpc": Port("store_grpc_port", "grpc-address"),
            },
            config_dir=STORE_DIR,
            data_dir=STORE_DATA,
            bucket=f"{STORE_DIR}/bucket.yml",
        ),
        ComponentInfo(
            name="thanos-compactor",
            group="compactor",
            unit="thanos-compactor",
            job_name="thanos-compact",
            archive="thanos",
            binary="thanos",
            ports={"http": Port("compactor_port", "http-address")},
            config_dir=COMPACTOR_DIR,
            data_dir=COMPACTOR_DATA,
            bucket=f"{COMPACTOR_DIR}/bucket.yml",
        ),
        ComponentInfo(
            name="thanos-rule",
            group="rule",
            unit="thanos-rule",
            job_name="thanos-rule",
            archive="thanos",
            binary="thanos",
            ports={
                "http": Port("rule_http_port", "http-address"),
                "grpc": Port("rule_grpc_port", "grpc-address"),
            },
            config_dir=RULE_DIR,
            data_dir=RULE_DATA,
            bucket=f"{RULE_DIR}/bucket.yml",
        ),
        ComponentInfo(
            name="thanos-receive",
            group="receive",
            unit="thanos-receive",
            job_name="thanos-receive",
            archive="thanos",
            binary="thanos",
            ports={
                "http": Port("receive_http_port", "http-address"),
                "grpc": Port("receive_grpc_port", "grpc-address"),
                "remote_write": Port("receive_remote_write_port", "remote-write.address"),
            },
            config_dir=RECEIVE_DIR,
            data_dir=RECEIVE_DATA,
            bucket=f"{RECEIVE_DIR}/bucket.yml",
            internal=(CAPNPROTO_PORT,),
        ),
        ComponentInfo(
            name="thanos-bucket-web",
            group="bucket_web",
            unit="thanos-bucket-web",
            job_name="thanos-bucket-web",
            archive="thanos",
            binary="thanos",
            ports={"http": Port("bucket_web_port", "http-address")},
            config_dir=BUCKET_WEB_DIR,
            bucket=f"{BUCKET_WEB_DIR}/bucket.yml",
        ),
        ComponentInfo(
            name="seaweedfs",
            group="seaweedfs",
            unit="seaweedfs",
            job_name="seaweedfs",
            archive="seaweedfs",
            binary="weed",
            ports={
                "http": Port("seaweedfs_metrics_port", "metricsPort"),
                "s3": Port("seaweedfs_port", "s3.port", twin=10000),
            },
            # Master, volume server and filer, and the gRPC port of each.
            internal=(9333, 19333, 8080, 18080, 8888, 18888),
            config_dir=SEAWEEDFS_DIR,
            data_dir=SEAWEEDFS_DATA,
            keys=SEAWEEDFS_KEYS,
            web=False,
            build_info="SeaweedFS_build_info",
            # The HTTP port has metrics and nothing else.
            ready_path="/metrics",
            healthy_path="/metrics",
        ),
        ComponentInfo(
            name="minio",
            group="minio",
            unit="minio",
            job_name="minio",
            archive="minio",
            binary="minio",
            tools=("mc",),
            ports={
                "http": Port("minio_port", "address"),
                "console": Port("minio_console_port", "console-address"),
            },
            config_dir=MINIO_DIR,
            data_dir=MINIO_DATA,
            keys=MINIO_ENV,
            web=False,
            build_info="minio_software_version_info",
            ready_path="/minio/health/ready",
            healthy_path="/minio/health/live",
            metrics_path="/minio/v2/metrics/cluster",
        ),
        ComponentInfo(
            name="prometheus-upper",
            group="upper",
            # The same program in the same places: a host is a replica or above them, not both.
            unit="prometheus",
            job_name="prometheus-upper",
            archive="prometheus",
            binary="prometheus",
            ports={"http": Port("prometheus_port", "web.listen-address")},
            config_dir=PROMETHEUS_DIR,
            data_dir=PROMETHEUS_DATA,
            listen_address="prometheus_listen_address",
        ),
        ComponentInfo(
            name="node_exporter",
            group="all",
            unit="node_exporter",
            job_name="node_exporter",
            archive="node_exporter",
            binary="node_exporter",
            ports={"http": Port("node_exporter_port", "web.listen-address")},
            # It has neither endpoint; answering at all is its health.
            ready_path="/metrics",
            healthy_path="/metrics",
        ),
    )
}
"""Every daemon of the site. A host runs those of its groups, and those of group `all`."""

SIDECARS = ("thanos-sidecar", "thanos-sidecar-attached")
"""A sidecar beside a Prometheus of ours, and one beside somebody else's."""

STORE_APIS = (*SIDECARS, "thanos-store", "thanos-rule", "thanos-receive")
"""The components that a querier asks for series, by gRPC."""

WATCHED_JOB = "prometheus-watched"
"""Scrape job for the Prometheus of another cluster: whether they are there, and nothing else of them."""

OBJECT_STORES = {"seaweedfs": "s3", "minio": "http"}
"""Component that is the object store, where it is one of ours -> the port that speaks S3."""

_BUCKET = tuple(OBJECT_STORES.items())

REPLICA_LABELS = {"thanos-rule": "rule_replica", "thanos-receive": "receive_replica"}
"""Component -> the external label in which its members differ, as `replica` is for Prometheus. It is their only one:
another, as `cluster`, would be put over that of the series, and those of several clusters be one."""

DIALS: dict[str, tuple[tuple[str, str], ...]] = {
    # Alerts, and the drill's queries. Whom it scrapes, `Site.scraped` says: among them is the other replica.
    "prometheus": (
        ("alertmanager", "http"),
        ("thanos-querier", "http"),
        ("thanos-receive", "remote_write"),
    ),
    # Federation.
    "prometheus-upper": (("prometheus", "http"),),
    # Gossip, and whether the other members are there.
    "alertmanager": (("alertmanager", "cluster"), ("alertmanager", "http")),
    # Queries, whether a store is alive, and whether the other queriers do their job.
    "thanos-querier": (
        *((name, kind) for name in STORE_APIS for kind in ("grpc", "http")),
        ("thanos-querier", "http"),
    ),
    "thanos-query-frontend": (("thanos-querier", "http"), ("thanos-query-frontend", "http")),
    "thanos-sidecar": _BUCKET,
    "thanos-store": (("thanos-store", "http"), *_BUCKET),
    "thanos-compactor": _BUCKET,
    "thanos-bucket-web": _BUCKET,
    "thanos-rule": (
        *_BUCKET,
        ("thanos-querier", "http"),
        ("alertmanager", "http"),
        ("thanos-rule", "http"),
        ("thanos-receive", "remote_write"),
    ),
    # Each passes on what belongs to the others.
    "thanos-receive": (("thanos-receive", "grpc"), ("thanos-receive", "http"), *_BUCKET),
}
"""Component -> the ports, as component and kind, that it or its host's gates dial on other hosts of the site."""

DISTRIBUTION = {
    "prometheus": "prometheus",
    "prometheus-upper": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "node_exporter": "prometheus-node-exporter",
}
"""Component -> unit of Debian's and Ubuntu's own package for the same daemon."""
REPLACED = tuple(sorted(set(DISTRIBUTION.values()) - {info.unit for info in COMPONENTS.values()}))
"""Those of them that have another name than ours."""


@dataclass(frozen=True)
class Endpoint:
    """One port of one component on one host, as another process reaches it."""

    host_name: str
    """Name in the inventory."""
    component: str
    address: str
    """IP address (an IPv6 one without brackets) or DNS name."""
    port: int
    scheme: str = "http"

    @property
    def target(self) -> str:
        """`address:port`, with an IPv6 address in brackets: for targets, peers and listeners."""
        return join(self.address, self.port)

    @property
    def url(self) -> str:
        """`scheme://address:port`, without a trailing slash."""
        return f"{self.scheme}://{self.target}"


def join(address: str, port: int) -> str:
    """`address:port`, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ip(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`address` as an IP address, with or without brackets; None where it is none."""
    try:
        return ipaddress.ip_address((address or "").removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


UNITS = tuple(dict.fromkeys(component.unit for component in COMPONENTS.values()))
"""Every unit of ours, without `.service`: components that never share a host may share one."""


BUCKET_GROUPS = tuple(name for name, info in COMPONENTS.items() if info.bucket or info.keys)
"""System groups, named after components: who is in one may read that component's key to the bucket, or its keys."""


def read_ports(text: object) -> set[int]:
    """The ports of `9090-9091,9093`, as the kernel writes them. ValueError for anything else."""
    ports: set[int] = set()
    for part in str(text).replace(" ", "").split(","):
        if part:
            first, _, last = part.partition("-")
            one, other = int(first), int(last or first)
            if not 0 < one <= other <= 65535:
                raise ValueError("ports and ranges of ports, as 8000-8100,9090")
            ports |= set(range(one, other + 1))
    return ports


def write_ports(ports: Collection[int]) -> str:
    """Ports as the kernel writes them: `9090-9091,9093`."""
    runs: list[list[int]] = []
    for port in sorted(ports):
        if runs and port == runs[-1][-1] + 1:
            runs[-1][1:] = [port]
        else:
            runs.append([port])
    return ",".join("-".join(map(str, run)) for run in runs)


def logs(components: Collection[str]) -> tuple[str, str]:
    """The directory of log files on a host with these components, and the file that has them rotated."""
    if "thanos-sidecar-attached" in components:
        return ATTACHED_LOG_DIR, ATTACHED_LOGROTATE_FILE
    return LOG_DIR, LOGROTATE_FILE


def of_groups(groups: tuple[str, ...]) -> list[ComponentInfo]:
    """The components that a host in `groups` runs, in the order of `COMPONENTS`."""
    return [c for c in COMPONENTS.values() if c.group == "all" or c.group in groups]


def directories(components: Collection[str]) -> tuple[str, ...]:
    """Every directory that is ours on a host with these components: we give it its owner and its mode."""
    found = {STATE, SOFTWARE_DIR, WEB_DIR, str(PurePosixPath(STAMP).parent), logs(components)[0]}
    for name in components:
        info = COMPONENTS[name]
        if info.config_dir:
            found.add(info.config_dir)
            found |= {THANOS_DIR} if info.config_dir.startswith(f"{THANOS_DIR}/") else set()
            found |= {inner for inner in _INNER if inner.startswith(f"{info.config_dir}/")}
        if info.data_dir:
            found |= {info.data_dir, str(PurePosixPath(info.data_dir).parent)}
    return tuple(sorted(found))


SHARED_DIRECTORIES = (
    *(INSTALL_DIR, BIN_DIR, UNIT_DIR, str(PurePosixPath(RSYSLOG_DROP_IN).parent)),
    *(
        str(PurePosixPath(path).parent)
        for path in (RSYSLOG_FILE, SYSCTL_FILE, LIMITS_FILE, LOGROTATE_FILE)
    ),
)
"""Directories of the system in which files of ours lie."""
