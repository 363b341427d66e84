"""The settings of a host and of the whole site, checked before anything is touched.

A setting is a top-level name in `group_data/*.py`, data of a host in `inventory.py`, or
`--data name=value`; pyinfra merges them by name, never deep. `Settings` holds one host's, typed;
`Site` holds all hosts', whichever of them this run is limited to, so that every run sees the same
peers. What is wrong is reported all at once, as `SettingsErrors`.

Secrets are references, `secret:env:NAME` or `secret:file:PATH`. They are read on the control
machine by `resolve` when a file is rendered, so that neither this module nor `debug-inventory` ever
holds one. Nothing here needs pyinfra, a host or the network.
"""

from __future__ import annotations

import copy
import difflib
import fnmatch
import json
import os
import re
import stat
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deploys.lib import releases, topology
from deploys.lib.topology import COMPONENTS, GROUPS, ComponentInfo, Endpoint

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: paths of `secret:file:` references are relative to it."""

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
            near = _nearest(value, names)
            raise ValueError(f"{', '.join(names)}{f' (did you mean {near}?)' if near else ''}")
        return value

    return check


def _address(value: str) -> str:
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
        near = _nearest(kind.upper(), BUCKET_TYPES)
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
Address = Annotated[str, AfterValidator(_address)]
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


_FREE_FORM = {
    name
    for name, info in Settings.model_fields.items()
    if isinstance(info.default, dict) or name in ("bucket_config", "alertmanager_webhook_url")
}
"""Settings whose values are never shown: a secret could be anywhere in them."""


# --- Findings -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (`fail`) or doubtful (`warn`) in the settings."""

    host: str
    """Name of the host; empty where it concerns the site."""
    key: str
    """The setting, with the path inside it."""
    found: str
    """What is there; never a secret."""
    allowed: str
    where: str = ""
    """File, with line where it can be told, that holds the setting."""
    severity: Literal["fail", "warn"] = "fail"

    def __str__(self) -> str:
        return describe([self])[0]


def describe(findings: Iterable[Finding]) -> list[str]:
    """The findings as lines. One that concerns several hosts for the same reason is one line."""
    hosts: dict[tuple, list[str]] = {}
    for f in findings:
        named = hosts.setdefault((f.severity, f.where, f.key, f.found, f.allowed), [])
        if f.host and f.host not in named:
            named.append(f.host)
    lines = []
    for (severity, where, key, found, allowed), names in hosts.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        place = ": ".join(part for part in (where, shown, key) if part)
        lines.append(
            f"{'warning: ' if severity == 'warn' else ''}{place}: found {found}; allowed: {allowed}"
        )
    return lines


class SettingsErrors(Exception):
    """The inventory or its settings cannot be deployed. `findings` holds all, warnings too."""

    def __init__(self, findings: Iterable[Finding]):
        self.findings = list(findings)
        super().__init__("\n".join(describe(self.findings)))


def _nearest(name: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return found[0] if found else None


# --- Secrets --------------------------------------------------------------------------------------

_REFERENCE = re.compile(r"secret:(env|file):(.+)")
_SECRET_KEY = re.compile(
    r"(.*_)?(password|passwd|passphrase|secret|secrets|token|credentials|api_key|routing_key"
    r"|service_key|user_key|encryption_key|secret_key|access_key|access_key_id|access_key_secret"
    r"|secret_id|private_key|account_key|storage_account_key|connection_string|service_account"
    r"|webhook_url|integration_url|slack_api_url)"
)
"""Keys of upstream's configurations whose value is a secret. Their `*_file` forms are not."""
_SECRET_BELOW = {"webhook_configs": {"url"}, "slack_configs": {"api_url"}}
"""Keys that are a secret only below another."""
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s@]*:[^/\s@]*@")
_NAMED_BY_USER = {"labels", "external_labels", "annotations", "params", "set_labels"}
"""Mappings whose keys the user chooses: `token` there is a label."""

_SECRET_HELP = "secret:env:NAME or secret:file:PATH, or upstream's *_file key"


class SecretError(ValueError):
    """A secret reference that cannot be read. Names the reference, never a value."""

    def __init__(self, path: str, reference: str, reason: str):
        self.path, self.reference, self.reason = path, reference, reason
        super().__init__(f"{path}: {reference}: {reason}" if path else f"{reference}: {reason}")


def is_secret(value: Any) -> bool:
    """Whether `value` is a reference to a secret."""
    return isinstance(value, str) and value.startswith("secret:")


def read_secret(reference: str, path: str = "") -> str:
    """The value behind a reference; `path` names the setting in errors.

    A file's last line end is dropped. Raises SecretError where it is missing, empty or malformed.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise SecretError(path, "secret:...", "secret:env:NAME or secret:file:PATH is expected")
    kind, name = match.groups()
    if kind == "env":
        value = os.environ.get(name)
        if value is None:
            raise SecretError(path, reference, f"the environment has no {name}")
    else:
        try:
            value = (ROOT / name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            # Without `from`: the text of a decoding error holds what was read.
            raise SecretError(path, reference, f"cannot read the file: {reason}") from None
    if not value:
        raise SecretError(path, reference, "it is empty")
    return value


def resolve(value: Any, path: str = "") -> Any:
    """A deep copy of `value` with every secret reference replaced by what it refers to.

    Call it when a file is rendered, and keep the result out of data, names and logs.
    Raises SecretError, naming the setting by `path` and the reference.
    """
    if isinstance(value, Mapping):
        return {k: resolve(v, f"{path}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(v, f"{path}[{i}]") for i, v in enumerate(value)]
    return read_secret(value, path) if is_secret(value) else value


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, f"[{index}]"))
    else:
        yield path, value


def _dotted(path: Iterable[str]) -> str:
    return ".".join(path).replace(".[", "[")


def _is_secret_place(path: tuple[str, ...]) -> bool:
    """Whether the value at `path` is a secret by the names of its keys."""
    keys = [part for part in path if not part.startswith("[")]
    if _NAMED_BY_USER & set(keys[:-1]):
        return False
    if _SECRET_KEY.fullmatch(keys[-1]):
        return True
    return any(keys[-1] in _SECRET_BELOW.get(key, ()) for key in keys[:-1])


# --- The site -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Member:
    """One host of the inventory."""

    name: str
    settings: Settings
    groups: tuple[str, ...]
    """Its groups in the inventory, without the one pyinfra names after the inventory file."""
    address: str
    """Where other hosts reach its services: an IP address (IPv6 without brackets) or DNS name."""
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Setting -> file that holds it."""

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components it runs, in the order of `topology.COMPONENTS`."""
        return tuple(c.name for c in topology.of_groups(self.groups))


@dataclass(frozen=True)
class Site:
    """All hosts of the inventory, in its order, whichever of them this run is limited to."""

    hosts: dict[str, Member]
    findings: tuple[Finding, ...] = ()
    """Warnings: doubtful, but no reason to refuse. `describe` makes lines of them."""

    def members(self, group: str) -> list[Member]:
        """The hosts of `group`, in the order in which the inventory first names them.

        `all` and `node_exporter` are every host; a group without hosts is an empty list.
        """
        everyone = group in ("all", "node_exporter")
        return [m for m in self.hosts.values() if everyone or group in m.groups]

    def running(self, component: str) -> list[Member]:
        """The hosts that run `component`, in inventory order."""
        return self.members(COMPONENTS[component].group)

    def peers(self, member: Member, group: str) -> list[Member]:
        """The other hosts of `group`, in inventory order."""
        return [m for m in self.members(group) if m.name != member.name]

    def replicas(self, member: Member) -> list[Member]:
        """All Prometheus of the cluster of `member`, itself included."""
        cluster = member.settings.cluster
        return [m for m in self.members("prometheus") if m.settings.cluster == cluster]

    def endpoint(self, component: str, member: Member, port: str = "http") -> Endpoint:
        """Where other hosts reach `component` on `member`; `port` is http, grpc or cluster."""
        return self._endpoint(component, member, port, member.address)

    def local(self, component: str, member: Member, port: str = "http") -> Endpoint:
        """Where processes on the same host reach it: loopback, unless it listens elsewhere."""
        listens = _listens_on(COMPONENTS[component], member.settings)
        found = topology.ip(listens)
        # An address, never the name localhost, which may lead to DNS or to the other family.
        address = "127.0.0.1" if found is None or found.is_unspecified else str(found)
        return self._endpoint(component, member, port, address)

    def listen(self, component: str, member: Member, port: str = "http") -> str:
        """`address:port` to listen on. With an IPv6 address the wildcard covers both families."""
        default = "::" if ":" in member.address else "0.0.0.0"
        address = _listens_on(COMPONENTS[component], member.settings) or default
        return self._endpoint(component, member, port, address).target

    def _endpoint(self, component: str, member: Member, port: str, address: str) -> Endpoint:
        number = getattr(member.settings, COMPONENTS[component].ports[port])
        return Endpoint(member.name, component, address, number)


def _listens_on(info: ComponentInfo, settings: Settings) -> str | None:
    return getattr(settings, info.listen_address) if info.listen_address else None


# --- Reading an inventory -------------------------------------------------------------------------

_SSH_KEYS = (
    *("hostname", "port", "user", "password", "key", "key_password", "allow_agent"),
    *("look_for_keys", "forward_agent", "config_file", "known_hosts_file"),
    *("strict_host_key_checking", "paramiko_connect_kwargs", "connect_retries"),
    *("connect_retry_min_delay", "connect_retry_max_delay", "file_transfer_protocol"),
)
_FOREIGN = ("_", "x_", "ssh_", "docker_", "fake_", "winrm_", "vagrant_", "terraform_")
"""Beginnings of names that belong to pyinfra, its connectors or the user."""
_PRINTED = {
    "ssh_password": "ssh_key, an agent, or pyinfra's --ssh-password-prompt",
    "ssh_key_password": "an agent that holds the key",
    "_sudo_password": "pyinfra's --use-sudo-password",
    "_su_password": "sudo, or root by key",
}
"""pyinfra's own secrets, which `debug-inventory` prints."""


@dataclass(frozen=True)
class _Host:
    """A host as the inventory has it."""

    name: str
    groups: tuple[str, ...]
    data: dict[str, Any]
    sources: dict[str, str]


_COMMAND_LINE = "--data"
_SITES: weakref.WeakKeyDictionary[Any, dict[bool, Site]] = weakref.WeakKeyDictionary()


def load_site(inventory: Any, *, check_secrets: bool = True) -> Site:
    """The site of a pyinfra inventory: all its hosts, also where the run is limited to some.

    `check_secrets` also sees whether every secret and SSH key is there to be read. The result is
    kept for the inventory, so that calling it in every role and for every host costs nothing.
    Raises SettingsErrors with everything that is wrong.
    """
    hosts = list(inventory)
    # `from pyinfra import inventory` is a stand-in for the real one, which the hosts know.
    real = hosts[0].inventory if hosts else inventory
    kept = _SITES.setdefault(real, {}) if hosts else {}
    if check_secrets not in kept:
        orphans = {g for g, data in real.group_data.items() if data} - set(real.groups)
        kept[check_secrets] = _build([_from_pyinfra(h) for h in hosts], check_secrets, orphans)
    return kept[check_secrets]


def site_from_dicts(hosts: Mapping[str, Mapping[str, Any]], *, check_secrets: bool = False) -> Site:
    """The same from plain data: host -> {"groups": [...], "data": {...}}, in inventory order.

    `pyinfra inventory.py debug-inventory --json` prints a list of such hosts with their `name`:
    `site_from_dicts({host["name"]: host for host in printed})`. Raises SettingsErrors.
    """
    return _build(
        [_Host(n, _groups(h["groups"]), dict(h["data"]), {}) for n, h in hosts.items()],
        check_secrets,
    )


def _from_pyinfra(host: Any) -> _Host:
    """Merges as pyinfra does, and remembers where each setting is from.

    `host.data` is not used: a deploy may have put something of its own there.
    """
    inventory, groups = host.inventory, _groups(host.groups)
    file = f"{groups[-1]}.py" if groups and (ROOT / f"{groups[-1]}.py").is_file() else "inventory"
    layers = [(_data_file("all", file), inventory.get_data())]
    layers += [(_data_file(group, file), inventory.get_group_data(group)) for group in groups]
    layers += [
        (file, inventory.get_host_data(host.name)),
        (_COMMAND_LINE, inventory.get_override_data()),
    ]
    data: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        data.update(layer)
        sources.update(dict.fromkeys(layer, source))
    return _Host(host.name, groups, data, sources)


def _groups(groups: Iterable[str]) -> tuple[str, ...]:
    """Each once, without those of pyinfra's connectors (`@local`, ...)."""
    return tuple(dict.fromkeys(group for group in groups if not group.startswith("@")))


def _data_file(group: str, inventory_file: str) -> str:
    name = f"group_data/{group}.py"
    return name if (ROOT / name).is_file() else f"{inventory_file}, group {group}"


def _located(source: str, key: str, host: str) -> str:
    """`source` with the line on which `key` is set, where it is a file with such a line."""
    try:
        text = (ROOT / source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return source
    name = re.escape(key)
    # In an inventory, the data of a host follow its name.
    after = max(text.find(f'"{host}"'), 0)
    pattern = rf"^[ \t]*{name}\s*=|(?<=[(\s]){name}=(?!=)|[\"']{name}[\"']\s*:"
    found = re.compile(pattern, re.MULTILINE).search(text, after)
    return f"{source}:{text.count(chr(10), 0, found.start()) + 1}" if found else source


def _build(hosts: list[_Host], check_secrets: bool, orphans: Iterable[str] = ()) -> Site:
    if not hosts:
        raise SettingsErrors([Finding("", "inventory", "no host", "at least one")])
    # The group that pyinfra names after the inventory file holds every host, and comes last.
    last = {host.groups[-1] if host.groups else "" for host in hosts}
    file_group = last.pop() if len(last) == 1 else None
    own = file_group if file_group not in GROUPS else None
    findings: list[Finding] = []
    members: dict[str, Member] = {}
    for host in hosts:
        groups = tuple(g for g in host.groups if g not in (own, "all"))
        settings, wrong = _read(host)
        address, missing = _service_address(host, settings)
        findings += [*_check_groups(host, groups), *wrong, *missing]
        members[host.name] = Member(host.name, settings, groups, address, host.sources)
    for group in sorted(set(orphans) - set(GROUPS) - {own, "all"}):
        if not group.startswith("x_"):
            findings.append(
                Finding("", f"group {group}", "settings, but no host", _known_group(group), group)
            )
    findings += _check_ssh(hosts)
    if check_secrets:
        findings += _check_keys(hosts)
    site = Site(members)
    for check in _CHECKS:
        findings += check(site)
    for member in members.values():
        for check in (*_MEMBER_CHECKS, *([_check_readable] if check_secrets else [])):
            findings += check(site, member)
    if any(f.severity == "fail" for f in findings):
        raise SettingsErrors(sorted(findings, key=lambda f: f.severity == "warn"))
    return Site(members, tuple(findings))


def _read(host: _Host) -> tuple[Settings, list[Finding]]:
    """The settings of a host. Wrong ones are reported and left at their default, to go on."""
    data = {k: v for k, v in host.data.items() if not k.startswith(_FOREIGN)}
    finding = partial(_host_finding, host)
    findings = [
        finding(key, "a secret that debug-inventory prints", _PRINTED[key], "warn")
        for key in host.data
        if key in _PRINTED and host.data[key] and host.sources.get(key) != _COMMAND_LINE
    ]
    ssh = [f"ssh_{name}" for name in _SSH_KEYS]
    for key in host.data:
        if key.startswith("ssh_") and key not in ssh:
            allowed = f"{_nearest(key, ssh) or 'the settings of its ssh connector'}"
            findings.append(finding(key, "a name that pyinfra does not know", allowed, "warn"))
    for key in list(data):
        if key not in Settings.model_fields:
            near = _nearest(key, Settings.model_fields)
            allowed = f"{near} is the nearest setting" if near else "the settings of the package"
            allowed += "; names of your own begin with x_"
            findings.append(finding(key, "an unknown setting", allowed))
            del data[key]
    for key, value in list(data.items()):
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            allowed = "plain data: text, numbers, lists and mappings"
            findings.append(finding(key, f"a {type(value).__name__}", allowed))
            del data[key]
    findings += _check_literals(finding, data)
    try:
        return Settings.model_validate(copy.deepcopy(data)), findings
    except ValidationError as error:
        seen: set[tuple[str, ...]] = set()
        # The error's own text is not used: it could show what was found.
        for item in error.errors(include_url=False, include_input=True):
            key = str(item["loc"][0])
            if item["type"] == "value_error":
                allowed = str(item["ctx"]["error"])
            else:
                allowed = item["msg"].removeprefix("Input should be ")
            if key.endswith("_flags") and item["type"] != "value_error":
                allowed = "text, a number, true or false, or a list of texts"
            path = (key, *_within(data[key], item["loc"][1:]))
            if path not in seen:
                findings.append(finding(_dotted(path), _shown(key, item["input"]), allowed))
            seen.add(path)
        good = {k: v for k, v in data.items() if k not in {path[0] for path in seen}}
        return Settings.model_validate(copy.deepcopy(good)), findings


def _within(value: Any, location: Iterable[Any]) -> Iterator[str]:
    """The keys of a pydantic location; it also names the types that it tried."""
    for part in location:
        if isinstance(value, Mapping) and part in value:
            yield str(part)
            value = value[part]


def _shown(key: str, value: Any) -> str:
    """What was found, in a form that cannot be a secret."""
    if isinstance(value, Mapping | list | tuple) or key in _FREE_FORM - {"versions", "sysctl"}:
        return f"a {type(value).__name__}"
    text = repr(value)
    if _USERINFO.search(text) or re.search(r"://[^/]*@", text):
        return "a URL with a user in it"
    return text if len(text) <= 60 else f"{text[:56]} ..."


def _host_finding(
    host: _Host | Member, key: str, found: str, allowed: str, severity: Any = "fail"
) -> Finding:
    name = re.split(r"[.\[]", key)[0]
    source = host.sources.get(name, "")
    where = _located(source, name, host.name) if source else ""
    return Finding(host.name, key, found, allowed, where, severity)


# --- Checks of one host ---------------------------------------------------------------------------


def _known_group(group: str) -> str:
    near = _nearest(group, GROUPS)
    hint = f" ({near} is the nearest)" if near else ""
    return f"{', '.join(GROUPS)}{hint}; groups of your own begin with x_"


def _check_groups(host: _Host, groups: tuple[str, ...]) -> Iterator[Finding]:
    for group in groups:
        if group not in GROUPS and not group.startswith("x_"):
            yield Finding(host.name, f"group {group}", "an unknown group", _known_group(group))
    if not set(groups) & set(GROUPS):
        allowed = f"at least one of {', '.join(GROUPS)}"
        yield Finding(host.name, "groups", "none that gives it a part", allowed)


def _service_address(host: _Host, settings: Settings) -> tuple[str, list[Finding]]:
    key, address = "service_address", settings.service_address
    if address is None:
        key = "ssh_hostname" if "ssh_hostname" in host.data else "service_address"
        address = str(host.data.get("ssh_hostname", host.name))
        found = topology.ip(address)
        if found is None:
            allowed = "service_address: the IP address at which other hosts reach its services"
            return address, [_host_finding(host, key, f"the name {address!r}", allowed)]
        try:
            address = _address(address)
        except ValueError as error:
            allowed = f"service_address: {error}"
            return address, [_host_finding(host, key, address, allowed)]
    if "alertmanager" in host.groups and topology.ip(address) is None:
        allowed = "an IP address: Alertmanager advertises no names"
        return address, [_host_finding(host, key, repr(address), allowed)]
    return address, []


def _check_literals(finding: Callable[..., Finding], data: dict[str, Any]) -> Iterator[Finding]:
    """Secrets written out, and references that are none. Values are never shown."""
    for path, value in _leaves(data, ()):
        if not isinstance(value, str) or not value:
            continue
        key = _dotted(path)
        if is_secret(value):
            if path[0].endswith("_flags"):
                allowed = "a flag with a file: anyone on the host can read a command line"
                yield finding(key, "a secret", allowed)
            elif not _REFERENCE.fullmatch(value):
                allowed = "secret:env:NAME or secret:file:PATH"
                yield finding(key, "a malformed secret reference", allowed)
        elif path[0] in Settings.model_fields and _is_secret_place(path):
            yield finding(key, "a literal secret (not shown)", _SECRET_HELP)
        elif path[0] == "alertmanager_webhook_url":
            yield finding(key, "a literal (not shown)", _SECRET_HELP)
        elif _USERINFO.search(value):
            allowed = "basic_auth with a secret in it"
            yield finding(key, "a URL with a password (not shown)", allowed)


def _check_readable(site: Site, member: Member) -> Iterator[Finding]:
    """Secrets are there. Their values are read and forgotten."""
    for path, value in _leaves(member.settings.model_dump(), ()):
        if not (is_secret(value) and _REFERENCE.fullmatch(value)):
            continue
        key = _dotted(path)
        try:
            read_secret(value)
        except SecretError as error:
            allowed = "one that can be read on this machine"
            yield _host_finding(member, key, f"{value}: {error.reason}", allowed)
            continue
        file = value.removeprefix("secret:file:")
        if file != value:
            mode = stat.S_IMODE((ROOT / file).stat().st_mode)
            if mode & 0o077:
                found = f"{value}, which others on this machine can read (mode {mode:04o})"
                yield _host_finding(member, key, found, "mode 0600", "warn")


def _check_flags(site: Site, member: Member) -> Iterator[Finding]:
    # Which flags are ours is the flag tables' to say; they build on this module.
    from deploys.lib import flags

    for component in COMPONENTS:
        for problem in flags.problems(component, member.settings):
            yield _host_finding(member, problem.key, problem.found, problem.allowed)


def _check_versions(site: Site, member: Member) -> Iterator[Finding]:
    try:
        problems = releases.check(member.settings.all_versions)
    except ValueError as error:
        problems = [str(error)]
    key = "versions" if "versions" in member.sources else "release"
    for problem in problems:
        yield _host_finding(member, key, problem, "releases that go together")


def _check_ports(site: Site, member: Member) -> Iterator[Finding]:
    used: dict[int, str] = {}
    for name in member.components:
        for setting in COMPONENTS[name].ports.values():
            port = getattr(member.settings, setting)
            if port in used:
                found = f"{port}, which is {used[port]} too"
                yield _host_finding(member, setting, found, "a port of its own")
            used.setdefault(port, setting)
    for name in member.components:
        info = COMPONENTS[name]
        listens = topology.ip(_listens_on(info, member.settings))
        if listens and not listens.is_unspecified and str(listens) != member.address:
            found = f"{listens}, while others dial {member.address}"
            allowed = "the service address, or none for all"
            yield _host_finding(member, info.listen_address or "", found, allowed, "warn")


def _uses_replica(rule: Any) -> bool:
    """Whether a relabelling rule reads or writes the replica label."""
    if not isinstance(rule, Mapping) or rule.get("action") in ("labeldrop", "labelkeep"):
        return False
    return REPLICA_LABEL in (rule.get("source_labels") or []) or REPLICA_LABEL in (
        rule.get("target_label"),
        rule.get("replacement") if rule.get("action") == "labelmap" else None,
    )


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else []


def _as_dict(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _check_prometheus(site: Site, member: Member) -> Iterator[Finding]:
    """What upstream would accept and what breaks the pair."""
    if "prometheus" not in member.groups:
        return
    settings, config = member.settings, member.settings.prometheus_config
    finding = partial(_host_finding, member)
    if settings.replica is None:
        yield finding("replica", "nothing", "a name of its own on every Prometheus of a cluster")
    labels = config.get("global", {}).get("external_labels", {})
    for label, wanted in ((CLUSTER_LABEL, settings.cluster), (REPLICA_LABEL, settings.replica)):
        if label in labels and labels[label] != wanted:
            key = f"prometheus_config.global.external_labels.{label}"
            yield finding(key, repr(labels[label]), f"{wanted!r}: it is the setting {label}")
    if "rule_files" in config:
        allowed = "the setting prometheus_rules"
        yield finding("prometheus_config.rule_files", "a list of its own", allowed)
    for key, rules in _alert_relabelling(config):
        if any(_uses_replica(rule) for rule in _as_list(rules)):
            allowed = "rules without it: alerts lose it, or every alert would be sent twice"
            yield finding(key, f"a rule with the label {REPLICA_LABEL}", allowed)
    yield from _check_jobs(finding, settings)
    yield from _check_upload(finding, settings)


def _alert_relabelling(config: dict) -> Iterator[tuple[str, Any]]:
    part, alerting = "alert_relabel_configs", config.get("alerting", {})
    yield f"prometheus_config.alerting.{part}", alerting.get(part)
    for index, entry in enumerate(_as_list(alerting.get("alertmanagers"))):
        yield f"prometheus_config.alerting.alertmanagers[{index}].{part}", _as_dict(entry).get(part)


def _check_jobs(finding: Callable[..., Finding], settings: Settings) -> Iterator[Finding]:
    own = {info.job_name for info in COMPONENTS.values()}
    seen: set[str] = set()
    jobs = [("prometheus_targets", name, {}) for name in settings.prometheus_targets]
    jobs += [
        (f"prometheus_config.scrape_configs[{index}]", str(job["job_name"]), job)
        for index, job in enumerate(settings.prometheus_config.get("scrape_configs", []))
    ]
    for key, name, job in jobs:
        if name in own:
            yield finding(key, f"the job {name}", "another name: the package has a job of this one")
        elif name in seen:
            yield finding(key, f"the job {name} a second time", "a name of its own for each job")
        seen.add(name)
        groups = _as_list(job.get("static_configs")) or settings.prometheus_targets.get(name, [])
        for label, severity in ((REPLICA_LABEL, "fail"), (CLUSTER_LABEL, "warn")):
            if any(label in _as_dict(_as_dict(group).get("labels")) for group in groups):
                allowed = "another name: the sidecar puts the external label over it"
                yield finding(key, f"targets with the label {label}", allowed, severity)
        for part in ("relabel_configs", "metric_relabel_configs"):
            rules = map(_as_dict, _as_list(job.get(part)))
            if any(rule.get("target_label") == REPLICA_LABEL for rule in rules):
                allowed = "another label: the sidecar puts the external label over it"
                yield finding(f"{key}.{part}", f"a rule that writes {REPLICA_LABEL}", allowed)


def _check_upload(finding: Callable[..., Finding], settings: Settings) -> Iterator[Finding]:
    if settings.bucket_config is None:
        return
    if seconds(settings.prometheus_retention_time) < seconds("6h"):
        allowed = "6h or more: three blocks, so that none is dropped before it is uploaded"
        yield finding("prometheus_retention_time", settings.prometheus_retention_time, allowed)
    tsdb = _as_dict(settings.prometheus_config.get("storage", {}).get("tsdb"))
    window = tsdb.get("out_of_order_time_window", 0)
    if str(window) not in ("0", "0s", "0m", "0h"):
        key = "prometheus_config.storage.tsdb.out_of_order_time_window"
        allowed = "0 where blocks are uploaded: overlapping blocks halt the compactor"
        yield finding(key, repr(window), allowed)


# --- Checks of the site ---------------------------------------------------------------------------


def _check_ssh(hosts: list[_Host]) -> Iterator[Finding]:
    seen: dict[tuple, str] = {}
    for host in hosts:
        if "ssh_hostname" not in host.data:
            continue
        place = (host.data["ssh_hostname"], host.data.get("ssh_port", 22))
        if place in seen:
            found = f"{place[0]}, which is {seen[place]} too"
            yield _host_finding(host, "ssh_hostname", found, "an address of its own for each host")
        seen.setdefault(place, host.name)


def _check_keys(hosts: list[_Host]) -> Iterator[Finding]:
    for host in hosts:
        key = host.data.get("ssh_key")
        if isinstance(key, str) and not (ROOT / os.path.expanduser(key)).is_file():
            yield _host_finding(host, "ssh_key", f"{key}, which is no file", "a private key's file")


def _check_addresses(site: Site) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for member in site.hosts.values():
        if member.address in seen:
            key = "service_address" if member.settings.service_address else "ssh_hostname"
            found = f"{member.address}, which is {seen[member.address]} too"
            yield _host_finding(member, key, found, "an address of its own for each host")
        seen.setdefault(member.address, member.name)


def _check_tiers(site: Site) -> Iterator[Finding]:
    tiers = {"prometheus": "scraped", "alertmanager": "notified", "querier": "deduplicated"}
    for group, done in tiers.items():
        size = len(site.members(group))
        if size == 0:
            yield Finding(
                "",
                f"group {group}",
                "no host",
                "one or more, or nothing is " + done,
                severity="warn",
            )
        elif size == 1 and group != "prometheus":
            allowed = "two or more: this one's restart is an outage"
            yield Finding("", f"group {group}", "one host", allowed, severity="warn")


def _clusters(site: Site) -> dict[str, list[Member]]:
    clusters: dict[str, list[Member]] = {}
    for member in site.members("prometheus"):
        clusters.setdefault(member.settings.cluster, []).append(member)
    return clusters


def _check_clusters(site: Site) -> Iterator[Finding]:
    """Replicas scrape the same things in the same way, under labels that differ in one."""
    for cluster, members in _clusters(site).items():
        if len(members) == 1:
            found = f"one Prometheus in cluster {cluster!r}"
            allowed = "two or more: this one's restart is an outage"
            yield _host_finding(members[0], "cluster", found, allowed, "warn")
        replicas: dict[str, str] = {}
        for member in members:
            name = member.settings.replica
            if name in replicas:
                found = f"{name!r}, which is that of {replicas[name]} in cluster {cluster!r} too"
                yield _host_finding(member, "replica", found, "a name of its own for each")
            elif name is not None:
                replicas[name] = member.name
        first = members[0]
        for member in members[1:]:
            yield from _check_pair(first, member)


def _check_pair(first: Member, member: Member) -> Iterator[Finding]:
    ours, theirs = member.settings, first.settings
    for key, severity, a, b in (
        ("prometheus_config.global.scrape_interval", "fail", *_both(_interval, ours, theirs)),
        ("prometheus_config.scrape_configs", "fail", *_both(_job_intervals, ours, theirs)),
        ("prometheus_config.global.external_labels", "fail", *_both(_labels, ours, theirs)),
        ("prometheus_config", "warn", *_both(_rest, ours, theirs)),
        ("prometheus_targets", "warn", ours.prometheus_targets, theirs.prometheus_targets),
        ("prometheus_rules", "warn", ours.prometheus_rules, theirs.prometheus_rules),
        ("starter_rules", "warn", ours.starter_rules, theirs.starter_rules),
        ("bucket_config", "warn", ours.bucket_config, theirs.bucket_config),
    ):
        if a != b:
            found = f"another than on {first.name}, a replica of the same cluster"
            if key.endswith("scrape_interval"):
                found = f"{a}, while {first.name} of the same cluster has {b}"
            allowed = "the same on all replicas, which deduplication takes for one"
            yield _host_finding(member, key, found, allowed, severity)


def _both(what: Callable[[Settings], Any], a: Settings, b: Settings) -> tuple[Any, Any]:
    return what(a), what(b)


def _interval(settings: Settings) -> str:
    return settings.scrape_interval


def _job_intervals(settings: Settings) -> dict[str, Any]:
    jobs = settings.prometheus_config.get("scrape_configs", [])
    return {j["job_name"]: j["scrape_interval"] for j in jobs if "scrape_interval" in j}


def _labels(settings: Settings) -> dict[str, Any]:
    labels = settings.prometheus_config.get("global", {}).get("external_labels", {})
    return {k: v for k, v in labels.items() if k != REPLICA_LABEL}


def _rest(settings: Settings) -> dict[str, Any]:
    """The free-form configuration without what is compared by itself."""
    config = copy.deepcopy(settings.prometheus_config)
    for key in ("scrape_interval", "external_labels"):
        config.get("global", {}).pop(key, None)
    for job in config.get("scrape_configs", []):
        job.pop("scrape_interval", None)
    return {key: value for key, value in config.items() if value}


def _check_versions_agree(site: Site) -> Iterator[Finding]:
    for name, info in COMPONENTS.items():
        found: dict[str, list[str]] = {}
        for member in site.running(name):
            try:
                version = member.settings.version(name)
            except ValueError:
                continue  # reported by _check_versions
            found.setdefault(version, []).append(member.name)
        if len(found) > 1:
            listed = "; ".join(f"{v} on {', '.join(names)}" for v, names in sorted(found.items()))
            allowed = "one version, but for the time of a trial"
            yield Finding("", f"versions.{info.archive}", listed, allowed, severity="warn")


def _check_profiles(site: Site) -> Iterator[Finding]:
    first = next(iter(site.hosts.values()))
    for member in site.hosts.values():
        if member.settings.profile != first.settings.profile:
            found = f"{member.settings.profile}, while {first.name} has {first.settings.profile}"
            yield _host_finding(member, "profile", found, "one profile for the whole site")


def _routes(config: dict) -> Iterator[dict]:
    todo = [config.get("route", {})]
    while todo:
        route = todo.pop()
        if isinstance(route, dict):
            yield route
            todo += _as_list(route.get("routes"))


def _check_alertmanagers(site: Site) -> Iterator[Finding]:
    members = site.members("alertmanager")
    if not members:
        return
    first = members[0]
    for member in members[1:]:
        for key in ("alertmanager_config", "alertmanager_templates", "alertmanager_webhook_url"):
            if getattr(member.settings, key) != getattr(first.settings, key):
                found = f"another than on {first.name}"
                allowed = "the same on all: they take turns in sending the same notifications"
                yield _host_finding(member, key, found, allowed)
    for member in members:
        yield from _check_routes(member, len(members))


def _check_routes(member: Member, count: int) -> Iterator[Finding]:
    settings, config = member.settings, member.settings.alertmanager_config
    finding = partial(_host_finding, member)
    if not config.get("receivers") and settings.alertmanager_webhook_url is None:
        allowed = "this secret, or receivers in alertmanager_config: alerts would go nowhere"
        yield finding("alertmanager_webhook_url", "nothing", allowed)
    if "templates" in config:
        allowed = "the setting alertmanager_templates"
        yield finding("alertmanager_config.templates", "a list of its own", allowed)
    timing = settings.timing
    flags = settings.alertmanager_flags
    routes = list(_routes(config))
    try:
        interval = min(
            [seconds(r["group_interval"]) for r in routes if "group_interval" in r]
            or [seconds(timing.group_interval)]
        )
        repeat = max(
            [seconds(r["repeat_interval"]) for r in routes if "repeat_interval" in r]
            or [seconds(timing.repeat_interval)]
        )
        wait = seconds(str(flags.get("cluster.peer-timeout", timing.peer_timeout)))
        retention = seconds(str(flags.get("data.retention", "120h")))
    except ValueError as error:
        yield finding("alertmanager_config", "an interval that is none", str(error))
        return
    if (count - 1) * wait * 2 > interval:
        found = f"a group_interval of {interval:g} s, while the last of {count} Alertmanagers "
        found += f"waits {(count - 1) * wait:g} s for the others"
        allowed = "a group_interval of twice that or more, or notifications are sent twice"
        yield finding("alertmanager_config.route", found, allowed, "warn")
    if retention < repeat:
        found = f"{retention:g} s, while repeat_interval is {repeat:g} s"
        allowed = "at least repeat_interval: a forgotten notification is sent again"
        yield finding("alertmanager_flags.data.retention", found, allowed)


_CHECKS = (
    _check_addresses,
    _check_tiers,
    _check_clusters,
    _check_versions_agree,
    _check_profiles,
    _check_alertmanagers,
)
_MEMBER_CHECKS = (_check_versions, _check_ports, _check_flags, _check_prometheus)


# --- Limits ---------------------------------------------------------------------------------------


def check_limit(
    hosts: Mapping[str, Iterable[str]], patterns: Iterable[str], option: str = "--limit"
) -> list[Finding]:
    """What is wrong with `--limit` or `--exclude`: patterns that match no host.

    `hosts` is host -> its groups. pyinfra itself only warns, runs nothing and reports success.
    """
    groups = {group for named in hosts.values() for group in named}
    findings = []
    for pattern in patterns:
        if pattern in groups or fnmatch.filter(hosts, pattern):
            continue
        near = _nearest(pattern, [*hosts, *groups])
        hint = f"; {near} is the nearest" if near else ""
        allowed = f"hosts: {', '.join(hosts)}; groups: {', '.join(sorted(groups))}{hint}"
        findings.append(Finding("", option, f"{pattern!r}, which matches no host", allowed))
    return findings
