"""The settings of one host, typed, with their meaning, unit, default and source.

A setting is a top-level name in `group_data/*.py`, data of a host in `inventory.py`, or
`--data name=value`; pyinfra merges them by name, never deep.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deploys.lib import releases, topology
from deploys.lib.findings import nearest
from deploys.lib.topology import COMPONENTS, ComponentInfo

CLUSTER_LABEL = "cluster"
REPLICA_LABEL = "replica"
"""External labels of every Prometheus. Replicas of a cluster differ in the second only."""

STARTER_RULES = "starter.yml"
"""Name of the package's own rule file in the rules directory."""


# --- Timing profiles ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """Intervals that belong together. Prometheus durations, e.g. `15s`."""

    scrape_interval: str
    scrape_timeout: str
    evaluation_interval: str
    for_: str
    """`for` of the starter rules."""
    resend_delay: str
    """How often Prometheus sends a firing alert again (`--rules.alert.resend-delay`). Four times
    this after the last one, Alertmanager takes the alert for resolved."""
    group_wait: str
    group_interval: str
    repeat_interval: str
    resolve_timeout: str
    watchdog_repeat: str
    """How often the Watchdog is sent: `repeat_interval` of its own route."""
    peer_timeout: str
    """How long each Alertmanager waits for the one before it (`--cluster.peer-timeout`)."""
    pushpull_interval: str
    settle_timeout: str
    reconnect_timeout: str
    """After this a lost peer is forgotten. Upstream's 6h inflates the count of members."""
    endpoint_reload: str
    """How often the querier reads its file of endpoints."""


PROFILES: dict[str, Timing] = {
    # spec/000 5.2 and 6; where it is silent, upstream's defaults.
    "production": Timing(
        scrape_interval="15s",
        scrape_timeout="10s",
        evaluation_interval="15s",
        for_="5m",
        resend_delay="1m",
        group_wait="30s",
        group_interval="5m",
        repeat_interval="4h",
        resolve_timeout="5m",
        watchdog_repeat="1m",
        peer_timeout="15s",
        pushpull_interval="1m",
        settle_timeout="1m",
        reconnect_timeout="5m",
        endpoint_reload="30s",
    ),
    # For drills: a failure and its notification within seconds. Too dear for real targets; shorter yet,
    # scraping alone keeps a small machine with a lab on it busy.
    "drill": Timing(
        scrape_interval="5s",
        scrape_timeout="2s",
        evaluation_interval="5s",
        for_="10s",
        resend_delay="5s",
        group_wait="2s",
        group_interval="5s",
        repeat_interval="1h",
        resolve_timeout="30s",
        watchdog_repeat="10s",
        peer_timeout="1s",
        pushpull_interval="5s",
        settle_timeout="5s",
        reconnect_timeout="1m",
        endpoint_reload="2s",
    ),
}

_UNITS = {"y": 31536000, "w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_DURATION = re.compile("".join(rf"(?:(\d+){unit})?" for unit in _UNITS))


def seconds(duration: str) -> float:
    """A Prometheus duration (`1h30m`, `15s`, `0`) in seconds. ValueError for anything else."""
    match = _DURATION.fullmatch(duration) if isinstance(duration, str) and duration else None
    if match is None and duration not in ("0", 0):
        raise ValueError("a duration like 15s, 2h or 1h30m")
    amounts = match.groups() if match else ()
    return sum(int(n) * u for n, u in zip(amounts, _UNITS.values(), strict=False) if n)


# --- Types of settings ----------------------------------------------------------------------------


def _duration(value: str) -> str:
    seconds(value)
    return value


def _must(pattern: str, allowed: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(allowed)
        return value

    return check


def _one_of(table: Iterable[str]) -> Callable[[str], str]:
    names = tuple(table)

    def check(value: str) -> str:
        if value not in names:
            near = nearest(value, names)
            raise ValueError(f"{', '.join(names)}{f' (did you mean {near}?)' if near else ''}")
        return value

    return check


def reachable(value: str) -> str:
    """An address that other hosts can reach: an IP address without brackets or a DNS name."""
    found = topology.ip(value)
    if found is None:
        label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
        name = re.fullmatch(rf"{label}(\.{label})*\.?", value) and not value[-1].isdigit()
        if not name or value.split(".")[0] == "localhost":
            raise ValueError("an IP address or DNS name, without port, that all hosts can reach")
        return value
    if found.is_loopback or found.is_unspecified or found.is_link_local or found.is_multicast:
        raise ValueError("an address that all hosts can reach: neither loopback nor wildcard")
    return str(found)


def _listen(value: str) -> str:
    found = topology.ip(value)
    if found is None:
        raise ValueError("an IP address without port (the port has its own setting)")
    if found.is_loopback:
        raise ValueError("an address that other hosts can reach: its peers are on other hosts")
    return str(found)


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", value):
        raise ValueError("a URL, http:// or https://, without user, password, query and fragment")
    return value.rstrip("/")


def _names(pattern: str, allowed: str) -> Callable[[dict], dict]:
    """Keys of a dict: they become file names or labels."""

    def check(value: dict) -> dict:
        bad = sorted(name for name in value if not re.fullmatch(pattern, name))
        if bad:
            raise ValueError(f"{allowed}; not {', '.join(map(repr, bad))}")
        return value

    return check


def _prometheus_config(value: dict) -> dict:
    """Only the shape that this package builds on; the rest is for promtool."""
    for key in ("global", "alerting", "storage"):
        if not isinstance(value.get(key, {}), dict):
            raise ValueError(f"upstream's keys: {key} is a mapping")
    if not isinstance(value.get("global", {}).get("external_labels", {}), dict):
        raise ValueError("upstream's keys: global.external_labels is a mapping")
    for key in ("scrape_interval", "evaluation_interval"):
        if key in value.get("global", {}):
            try:
                seconds(value["global"][key])
            except ValueError as error:
                raise ValueError(f"upstream's keys: global.{key} is {error}") from None
    jobs = value.get("scrape_configs", [])
    if not (isinstance(jobs, list) and all(isinstance(j, dict) and "job_name" in j for j in jobs)):
        raise ValueError("upstream's keys: scrape_configs is a list of mappings with a job_name")
    return value


def _alertmanager_config(value: dict) -> dict:
    for key in ("global", "route"):
        if not isinstance(value.get(key, {}), dict):
            raise ValueError(f"upstream's keys: {key} is a mapping")
    receivers = value.get("receivers", [])
    if not (isinstance(receivers, list) and all(isinstance(r, dict) for r in receivers)):
        raise ValueError("upstream's keys: receivers is a list of mappings")
    return value


def _rules(value: dict) -> dict:
    for name, content in value.items():
        if not (isinstance(content, dict) and isinstance(content.get("groups"), list)):
            raise ValueError(f"upstream's keys: {name} is {{'groups': [...]}}")
    if STARTER_RULES in value:
        raise ValueError(f"other names: {STARTER_RULES} is the package's (setting starter_rules)")
    return value


def _targets(value: dict) -> dict:
    for name, groups in value.items():
        entries = isinstance(groups, list) and all(isinstance(g, dict) for g in groups)
        if not entries or not all(
            isinstance(g.get("targets"), list) and set(g) <= {"targets", "labels"} for g in groups
        ):
            raise ValueError(f"a list of {{'targets': [...], 'labels': {{...}}}} for {name}")
    return value


BUCKET_TYPES = (
    *("S3", "GCS", "AZURE", "SWIFT", "COS", "ALIYUNOSS"),
    *("BOS", "FILESYSTEM", "OCI", "OBS"),
)


def _bucket(value: dict) -> dict:
    kind = str(value.get("type", ""))
    if kind.upper() not in BUCKET_TYPES:
        near = nearest(kind.upper(), BUCKET_TYPES)
        hint = f" (did you mean {near}?)" if near else ""
        raise ValueError(f"upstream's keys: type is one of {', '.join(BUCKET_TYPES)}{hint}")
    if not isinstance(value.get("config"), dict):
        raise ValueError("upstream's keys: config is a mapping (bucket, endpoint, ...)")
    return value


def _sha256s(value: dict) -> dict:
    bad = [name for name, digest in value.items() if not re.fullmatch("[0-9a-fA-F]{64}", digest)]
    if bad:
        raise ValueError(f"64 hexadecimal digits for {', '.join(bad)}")
    return value


def _flags(value: dict) -> dict:
    bad = sorted(name for name in value if name.startswith("-") or "=" in name or " " in name)
    if bad:
        raise ValueError(f"names without dashes and values, as in 'log.level'; not {bad[0]!r}")
    return value


def _replica_labels(value: list[str]) -> list[str]:
    if REPLICA_LABEL not in value:
        raise ValueError(f"a list with {REPLICA_LABEL!r} in it: the label that replicas differ in")
    return value


Duration = Annotated[str, AfterValidator(_duration)]
Size = Annotated[
    str, AfterValidator(_must(r"\d+(B|[KMGTPE]B)", "a size like 50GB (units B, KB, MB, GB, TB)"))
]
Label = Annotated[
    # Prometheus 3 expands `$` in external labels.
    str, AfterValidator(_must(r"[^\s$]+", "a label value without spaces and $"))
]
Port = Annotated[int, Field(ge=1024, le=65535)]
Address = Annotated[str, AfterValidator(reachable)]
Listen = Annotated[str, AfterValidator(_listen)]
Url = Annotated[str, AfterValidator(_url)]
FlagValue = str | int | float | bool | list[str]
Flags = Annotated[dict[str, FlagValue], AfterValidator(_flags)]

SYSCTL: dict[str, str | int] = {
    "net.core.somaxconn": 4096,
    "vm.overcommit_memory": 1,
    "vm.swappiness": 1,
    "net.ipv4.ip_local_port_range": "1024 65000",
}
"""spec/000 4.2."""


def _setting(default: Any, description: str) -> Any:
    return Field(default=default, description=description, validate_default=False)


class Settings(BaseModel):
    """What one host is told: every setting with its meaning, unit and source.

    Names that begin with `x_` are the user's own and not read here; those that begin with `ssh_`
    or `_` are pyinfra's. Any other name is an error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # Releases and where they come from
    release: Annotated[str, AfterValidator(_one_of(releases.RELEASES))] = _setting(
        releases.DEFAULT_RELEASE,
        "Named release set: current, reference (spec/000) or migration (spec/001).",
    )
    versions: dict[str, str] = _setting(
        {}, "Component -> version, over those of the release set. Checked for going together."
    )
    checksums: Annotated[dict[str, str], AfterValidator(_sha256s)] = _setting(
        {}, "Archive name -> sha256. Unpinned ones are checked by the release's sha256sums.txt."
    )
    base_url: Url = _setting(
        "https://github.com", "Where archives come from: upstream, or a mirror of the same paths."
    )
    offline: bool = _setting(
        False, "Upload archives from the control machine's cache; hosts then need no way out."
    )
    profile: Annotated[str, AfterValidator(_one_of(PROFILES))] = _setting(
        "production", "Timing: production (the documents' figures) or drill (seconds)."
    )

    # Identity
    cluster: Label = _setting(
        "main", "External label `cluster`: equal on the replicas of a pair (spec/000 5.2)."
    )
    replica: Label | None = _setting(
        None, "External label `replica`: different on each Prometheus of a cluster; required there."
    )
    service_address: Address | None = _setting(
        None,
        "Address at which other hosts reach the services; an Alertmanager's must be an IP address. "
        "Default: ssh_hostname, or the host's name, where that is an IP address.",
    )

    # Prometheus
    prometheus_port: Port = _setting(9090, "HTTP port (spec/000 1.1).")
    prometheus_listen_address: Listen | None = _setting(
        None, "IP address to listen on, without port. Default: all."
    )
    prometheus_external_url: Url | None = _setting(
        None, "Address for people, in alerts and links. Default: http://service_address:port."
    )
    prometheus_retention_time: Duration = _setting(
        "15d", "How long local blocks are kept (spec/000 5.4); at least 6h where they are uploaded."
    )
    prometheus_retention_size: Size | None = _setting(
        None, "Size at which local blocks are dropped, e.g. 50GB; at most 80 % of the disk."
    )
    prometheus_admin_api: bool = _setting(True, "--web.enable-admin-api, as spec/000 5.4 has it.")
    prometheus_lifecycle: bool = _setting(True, "--web.enable-lifecycle, as spec/000 5.4 has it.")
    prometheus_config: Annotated[dict[str, Any], AfterValidator(_prometheus_config)] = _setting(
        {}, "Upstream's keys, merged into prometheus.yml: scrape_configs, remote_write, ..."
    )
    prometheus_rules: Annotated[
        dict[str, Any],
        AfterValidator(_names(r"[\w.-]+\.yml", "file names ending in .yml")),
        AfterValidator(_rules),
    ] = _setting({}, "File name -> {'groups': [...]}: files in the rules directory.")
    prometheus_targets: Annotated[
        dict[str, Any],
        AfterValidator(_names(r"[\w.-]+", "job names of letters, digits and ._-")),
        AfterValidator(_targets),
    ] = _setting(
        {},
        "Job name -> [{'targets': ['address:port'], 'labels': {}}]: a job and its file of targets, "
        "which Prometheus watches.",
    )
    starter_rules: bool = _setting(True, "Install the starter alerts and recording rule.")
    prometheus_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos sidecar
    sidecar_http_port: Port = _setting(10902, "HTTP port (spec/000 5.4).")
    sidecar_grpc_port: Port = _setting(10901, "gRPC port (spec/000 5.4).")
    sidecar_flags: Flags = _setting({}, "More flags: name without dashes -> value.")
    bucket_config: Annotated[dict[str, Any], AfterValidator(_bucket)] | None = _setting(
        None, "Object storage in upstream's keys (spec/000 5.3). Default: nothing is uploaded."
    )

    # Alertmanager
    alertmanager_port: Port = _setting(9093, "HTTP port (spec/000 6.2).")
    alertmanager_cluster_port: Port = _setting(9094, "Gossip port, TCP and UDP (spec/000 6.2).")
    alertmanager_listen_address: Listen | None = _setting(
        None, "IP address to listen on, without port. Default: all."
    )
    alertmanager_external_url: Url | None = _setting(
        None, "Address for people, in notifications. Default: http://service_address:port."
    )
    alertmanager_config: Annotated[dict[str, Any], AfterValidator(_alertmanager_config)] = _setting(
        {}, "Upstream's keys over the default route and receiver (spec/000 6.1); equal on all."
    )
    alertmanager_templates: Annotated[
        dict[str, str], AfterValidator(_names(r"[\w.-]+\.tmpl", "file names ending in .tmpl"))
    ] = _setting({}, "File name -> text: files in the templates directory; equal on all.")
    alertmanager_webhook_url: str | None = _setting(
        None, "Secret reference: URL of the default receiver web.hook (spec/000 6.1)."
    )
    alertmanager_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos querier
    querier_port: Port = _setting(10903, "HTTP port (spec/000 9.1).")
    querier_grpc_port: Port = _setting(10904, "gRPC port: next to the HTTP one.")
    querier_timeout: Duration = _setting("2m", "--query.timeout (spec/000 9.1).")
    replica_labels: Annotated[list[str], AfterValidator(_replica_labels)] = _setting(
        [REPLICA_LABEL], "Labels that deduplication ignores (spec/000 9.1); `replica` among them."
    )
    querier_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Every host
    node_exporter_port: Port = _setting(9100, "HTTP port (spec/000 5.2).")
    node_exporter_flags: Flags = _setting({}, "More flags: name without dashes -> value.")
    sysctl: Annotated[
        dict[str, str | int],
        AfterValidator(_names(r"[a-z0-9_]+([./-][\w-]+)+", "kernel names like vm.swappiness")),
    ] = _setting(SYSCTL, "Kernel values (spec/000 4.2). Replaced as a whole, not merged.")
    nofile: Annotated[int, Field(ge=1024)] = _setting(
        65536, "Open files of a daemon: in its unit and in limits.d (spec/000 4.1)."
    )
    nproc: Annotated[int, Field(ge=64)] = _setting(
        4096, "Processes and threads of the user, likewise (spec/000 4.1)."
    )
    timesync: Literal["auto", "chrony", "host"] = _setting(
        "auto",
        "auto: a time service that runs, or the clock of a container's machine, else chrony; "
        "chrony: that one; host: the clock belongs to the machine around this container.",
    )

    # For one run
    yes: bool = _setting(
        False, "Answer to the drill's question, as --data yes=true; meant for the command line."
    )
    allow_outage: bool = _setting(
        False,
        "Take a service down though no other member of its tier does its job, as "
        "--data allow_outage=true; meant for the command line.",
    )

    @property
    def timing(self) -> Timing:
        """The intervals of the profile."""
        return PROFILES[self.profile]

    @property
    def all_versions(self) -> dict[str, str]:
        """Component -> version: the release set with `versions` over it."""
        return releases.resolve(self.release, self.versions)

    def version(self, component: str) -> str:
        """Version of a component of `topology.COMPONENTS` or `releases`."""
        info = COMPONENTS.get(component)
        return self.all_versions[info.archive if info else component]

    @property
    def scrape_interval(self) -> str:
        """The scrape interval in force: the user's global one, else the profile's."""
        config = self.prometheus_config.get("global", {})
        return config.get("scrape_interval", self.timing.scrape_interval)

    @property
    def evaluation_interval(self) -> str:
        """The rule interval in force: the user's global one, else the profile's."""
        config = self.prometheus_config.get("global", {})
        return config.get("evaluation_interval", self.timing.evaluation_interval)


FREE_FORM = {
    name
    for name, info in Settings.model_fields.items()
    if isinstance(info.default, dict) or name in ("bucket_config", "alertmanager_webhook_url")
}
"""Settings whose values are never shown: a secret could be anywhere in them."""


def listens_on(info: ComponentInfo, settings: Settings) -> str | None:
    """The address that a component is told to listen on; None for all."""
    return getattr(settings, info.listen_address) if info.listen_address else None
