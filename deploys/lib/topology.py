"""Who listens where: components, ports, paths, unit and job names, each defined here and only here.

Units, scrape jobs, gates, checks and tests build every address from an `Endpoint`, so that a change
of port or scheme is a change in one place. Nothing here knows a host: `settings.Site.endpoint`
joins this table with the settings of one.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

USER = "prometheus"
GROUP = "prometheus"
SHELL = "/sbin/nologin"

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
ALERTMANAGER_DATA = "/var/lib/alertmanager/data"
THANOS_DIR = "/etc/thanos"
ENDPOINTS_FILE = f"{THANOS_DIR}/endpoints.yml"
LOG_DIR = "/var/log/prometheus"
STATE = "/etc/.monitoring"
"""What we know of a host: staged files, and lists of what is ours. Root's alone, as it holds secrets on their way."""
STAMPS = "/run/monitoring"
"""What each unit read when it was started and when it was reloaded: `<unit>.started`, `<unit>.loaded`."""
STAMP = "/usr/local/libexec/monitoring/stamp"
"""The tool with which units write those."""
RSYSLOG_FILE = "/etc/rsyslog.d/30-prometheus.conf"
RSYSLOG_DROP_IN = "/etc/systemd/system/rsyslog.service.d/monitoring.conf"
SYSCTL_FILE = "/etc/sysctl.d/99-prometheus.conf"
LIMITS_FILE = "/etc/security/limits.d/99-prometheus.conf"
LOGROTATE_FILE = "/etc/logrotate.d/prometheus"

GROUPS: dict[str, str] = {
    "prometheus": "a Prometheus replica and its Thanos sidecar",
    "alertmanager": "a member of the Alertmanager cluster",
    "querier": "a Thanos querier",
    "objectstore": "the S3 server; this package only watches its host",
    "node_exporter": "a host that is watched and has no other part",
}
"""Groups of the inventory and the part their hosts play. Every host runs node_exporter."""


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
    ports: dict[str, str]
    """Kind of port (http, grpc, cluster) -> setting that holds its number."""
    config_dir: str | None = None
    data_dir: str | None = None
    ready_path: str = "/-/ready"
    healthy_path: str = "/-/healthy"
    metrics_path: str = "/metrics"
    listen_address: str | None = None
    """Setting with the address it listens on; where None, it listens on all."""
    protocols: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Kind of port -> transports, where not only TCP."""

    @property
    def service(self) -> str:
        """Name of the unit as systemd prints it."""
        return f"{self.unit}.service"

    @property
    def path(self) -> str:
        """Path of the executable: a link to the version in use."""
        return f"{BIN_DIR}/{self.binary}"


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
            ports={"http": "prometheus_port"},
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
            ports={"http": "sidecar_http_port", "grpc": "sidecar_grpc_port"},
            config_dir=PROMETHEUS_DIR,
            data_dir=PROMETHEUS_DATA,
        ),
        ComponentInfo(
            name="alertmanager",
            group="alertmanager",
            unit="alertmanager",
            job_name="alertmanager",
            archive="alertmanager",
            binary="alertmanager",
            ports={"http": "alertmanager_port", "cluster": "alertmanager_cluster_port"},
            config_dir=ALERTMANAGER_DIR,
            data_dir=ALERTMANAGER_DATA,
            listen_address="alertmanager_listen_address",
            protocols={"cluster": ("tcp", "udp")},
        ),
        ComponentInfo(
            name="thanos-querier",
            group="querier",
            unit="thanos-querier",
            job_name="thanos-query",
            archive="thanos",
            binary="thanos",
            ports={"http": "querier_port", "grpc": "querier_grpc_port"},
            config_dir=THANOS_DIR,
        ),
        ComponentInfo(
            name="node_exporter",
            group="all",
            unit="node_exporter",
            job_name="node_exporter",
            archive="node_exporter",
            binary="node_exporter",
            ports={"http": "node_exporter_port"},
            # It has neither endpoint; answering at all is its health.
            ready_path="/metrics",
            healthy_path="/metrics",
        ),
    )
}
"""Every daemon of the site. A host runs those of its groups, and those of group `all`."""


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


def of_groups(groups: tuple[str, ...]) -> list[ComponentInfo]:
    """The components that a host in `groups` runs, in the order of `COMPONENTS`."""
    return [c for c in COMPONENTS.values() if c.group == "all" or c.group in groups]
