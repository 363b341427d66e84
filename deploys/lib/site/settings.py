"""The settings of one host, typed, with their meaning, unit, default and source.

A setting is a top-level name in `group_data/*.py`, data of a host in `inventory.py`, or
`--data name=value`; pyinfra merges them by name, never deep.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from prometheus_ha.deploys.lib.daemons import ADMIN, DAEMONS, RIGHTS
from prometheus_ha.deploys.lib.daemons.declare import Daemon, Own, Product
from prometheus_ha.deploys.lib.ground import topology, yaml_text
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import nearest
from prometheus_ha.deploys.lib.ground.secrets import is_secret
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.severities import CHECKS

CLUSTER_LABEL = "cluster"
REPLICA_LABEL = "replica"
"""External labels of every Prometheus. Replicas of a cluster differ in the second only."""

STARTER_RULES = "starter.yml"
"""Name of the package's own rule file in the rules directory."""


PROVEN_RETENTION = "6h"
"""Three blocks. What keeps local blocks for less loses data where uploads fail for as long."""

SHORTEST_RETENTION = "2h"
"""One block (spec/003 1)."""


# --- Timing profiles ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """Intervals that belong together, and what they cost. Prometheus durations, e.g. `15s`."""

    scrape_interval: str
    scrape_timeout: str
    federation_interval: str
    """How often an upper Prometheus federates the clusters, and how long it waits for one."""
    platform_interval: str
    """How often the health of the platform's own ports is probed."""
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
    block_reload: str | None
    """How often Prometheus looks for blocks that appeared or went, where not every minute as upstream's does."""
    discovery_reload: str | None
    """How often Prometheus takes over targets that were found, where not every 5s as upstream's does."""
    get_config_interval: str | None
    """How often a sidecar looks at its Prometheus, where not every half minute as upstream's does: one that was started
    while its Prometheus was away is of no use until then."""
    endpoint_reload: str
    """How often the querier reads its file of endpoints."""
    bucket_sync: str
    """How often the store gateway looks for blocks that are new in the bucket."""
    compact_wait: str
    """How long the compactor waits between two passes."""
    consistency_delay: str
    """How old a block must be before it is compacted: its upload may not be over."""
    ignore_deletion_marks: str
    """How long a store gateway goes on serving a block that is marked for deletion: until the others have found what
    replaced it. Less than `delete_delay`."""
    delete_delay: str
    """How long a block that is marked for deletion stays in the bucket."""
    compact_cleanup: str
    """How often the compactor deletes what is marked and old enough."""
    compressed: bool
    """Whether Prometheus asks for compressed pages (from 2.49 on it can do without): a tenth of the bytes, for a third
    more work where they are made."""


PROFILES: dict[str, Timing] = {
    # spec/000 5.2 and 6; where it is silent, upstream's defaults.
    "production": Timing(
        scrape_interval="15s",
        scrape_timeout="10s",
        federation_interval="1m",
        platform_interval="1m",
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
        block_reload=None,
        discovery_reload=None,
        get_config_interval=None,
        endpoint_reload="30s",
        # spec/003 4; the others are upstream's.
        bucket_sync="5m",
        compact_wait="5m",
        consistency_delay="30m",
        ignore_deletion_marks="24h",
        delete_delay="48h",
        compact_cleanup="5m",
        compressed=True,
    ),
    # For drills: a failure and its notification within seconds. Too dear for real targets; shorter yet,
    # scraping alone keeps a small machine with a lab on it busy.
    "drill": Timing(
        scrape_interval="5s",
        scrape_timeout="2s",
        federation_interval="15s",
        # As much longer than a scrape as in production: what is taken for fresh must not be measured by it.
        platform_interval="20s",
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
        block_reload="5s",
        discovery_reload="1s",
        get_config_interval="2s",
        endpoint_reload="2s",
        bucket_sync="5s",
        compact_wait="5s",
        consistency_delay="0s",
        ignore_deletion_marks="0s",
        delete_delay="30s",
        compact_cleanup="5s",
        compressed=False,
    ),
}

_NOW = datetime.now().timestamp()
"""When this process began: durations before it can be compared with each other, and with dates."""


def when(time: str | None, default: float) -> float:
    """A time of Thanos' --min-time and --max-time in seconds after 1970; `default` where there is none."""
    if time is None:
        return default
    try:
        distance = seconds(time.removeprefix("-"))
    except ValueError:
        return datetime.fromisoformat(time).timestamp()
    return _NOW - distance if time.startswith("-") else _NOW + distance


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
        if not name and "_" in value and re.fullmatch(r"[\w.-]+", value):
            raise ValueError("a host name, which has no underscore (RFC 1123); its IP address does instead")
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


def _proxy(value: str) -> str:
    if not value.startswith("secret:") and not re.fullmatch(r"https?://[^\s/@?#]+/?", value):
        raise ValueError("http://HOST:PORT, or the reference of a secret that is such a URL with user and password")
    return value


def _names(pattern: str, allowed: str) -> Callable[[dict], dict]:
    """Keys of a dict: they become file names or labels."""

    def check(value: dict) -> dict:
        bad = sorted(name for name in value if not re.fullmatch(pattern, name))
        if bad:
            raise ValueError(f"{allowed}; not {', '.join(map(repr, bad))}")
        return value

    return check


def _present(value: Any) -> Any:
    """`value` without the keys that have nothing (`rule_files:` and no more), which upstream takes for keys that are
    not there. Elements of lists stay: upstream refuses an empty job or rule."""
    if isinstance(value, dict):
        return {key: _present(inner) for key, inner in value.items() if inner is not None}
    return [_present(inner) for inner in value] if isinstance(value, list) else value


_TEXT = "text"
"""A shape: text, or what YAML makes of text without quotes (a number, true)."""
_RULES: list[dict[str, Any]] = [dict.fromkeys(("target_label", "regex", "replacement", "action"), _TEXT)]
_RULES[0] |= {"source_labels": [_TEXT], "separator": _TEXT}
_PROMETHEUS = {
    "global": {"external_labels": {"": _TEXT}},
    "alerting": {
        "alert_relabel_configs": _RULES,
        "alertmanagers": [{"alert_relabel_configs": _RULES}],
    },
    "rule_files": [_TEXT],
    "scrape_configs": [
        {
            "job_name": _TEXT,
            "static_configs": [{"targets": [_TEXT], "labels": {"": _TEXT}}],
            "relabel_configs": _RULES,
            "metric_relabel_configs": _RULES,
        }
    ],
    "remote_write": [{"name": _TEXT, "url": _TEXT, "write_relabel_configs": _RULES}],
    "storage": {"tsdb": {}},
}
_ROUTE: dict[str, Any] = {"receiver": _TEXT}
_ROUTE["routes"] = [_ROUTE]
_ALERTMANAGER = {
    "global": {},
    "templates": [_TEXT],
    "route": _ROUTE,
    "receivers": [{"name": _TEXT}],
}
_GROUPS = {"groups": [{"name": _TEXT, "rules": [{}]}]}


def _shaped(value: Any, shape: Any, place: str = "") -> None:
    """Raises ValueError, naming the place, where `value` is not of the shape that this package builds on; the rest is
    for upstream's own checker. A mapping gives the shape of some of its keys (or of all, as ``), a list that of each
    element."""
    if shape == _TEXT:
        if not isinstance(value, str | int | float):
            raise ValueError(f"upstream's keys: {place} is text")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            kind = "texts" if isinstance(shape[0], str) else "mappings"
            raise ValueError(f"upstream's keys: {place} is a list of {kind}")
        for index, inner in enumerate(value):
            _shaped(inner, shape[0], f"{place}[{index}]")
    elif not isinstance(value, dict):
        raise ValueError(f"upstream's keys: {place} is a mapping")
    else:
        for key, inner in value.items():
            wanted = shape.get(key, shape.get(""))
            if wanted is not None:
                _shaped(inner, wanted, f"{place}.{key}".lstrip("."))


def _prometheus_config(value: dict) -> dict:
    """Only the shape that this package builds on; the rest is for promtool."""
    _shaped(value, _PROMETHEUS)
    for key in ("scrape_interval", "evaluation_interval"):
        if key in value.get("global", {}):
            try:
                seconds(value["global"][key])
            except ValueError as error:
                raise ValueError(f"upstream's keys: global.{key} is {error}") from None
    for index, job in enumerate(value.get("scrape_configs", [])):
        if "job_name" not in job:
            raise ValueError(f"upstream's keys: scrape_configs[{index}] has a job_name")
    return value


def _alertmanager_config(value: dict) -> dict:
    _shaped(value, _ALERTMANAGER)
    for index, receiver in enumerate(value.get("receivers", [])):
        if "name" not in receiver:
            raise ValueError(f"upstream's keys: receivers[{index}] has a name")
    return value


def rule_groups(content: Any) -> dict[str, Any]:
    """What a file of rules holds: as data, or as the text of the file. Raises ValueError (YamlError)."""
    return yaml_text.read(content) if isinstance(content, str) else content


def _rules(value: dict) -> dict:
    for name, content in value.items():
        try:
            _shaped(rule_groups(content), _GROUPS, name)
        except yaml_text.YamlError as error:
            raise ValueError(f"YAML in {name}: {error}") from None
    if STARTER_RULES in value:
        raise ValueError(f"other names: {STARTER_RULES} is the package's (setting starter_rules)")
    return value


def _as_data(value: dict) -> dict:
    return {name: rule_groups(content) for name, content in value.items()}


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


def _bucket_keys(value: dict) -> dict:
    for name in value:
        _one_of((*RIGHTS, ADMIN))(name)
    return value


HOMES = ("/home", "/root", "/run/user")
"""Hidden from the units, but for one that works there."""
HIDDEN = (*HOMES, "/tmp", "/var/tmp")
"""The same, and where each unit has a directory of its own instead."""


def _data_dir(value: str) -> str:
    path = PurePosixPath(value)
    if not re.fullmatch(r"/[\w./@:+,=~-]+", value, re.ASCII) or ".." in path.parts:
        raise ValueError("a path from /, of letters, digits and ./@:+,=~-")
    if any(path.is_relative_to(place) for place in ("/tmp", "/var/tmp", "/dev", "/proc", "/sys")):
        raise ValueError("a path outside /tmp, /var/tmp, /dev, /proc and /sys: units have their own")
    return str(path)


def _block_time(value: str) -> str:
    """A time of Thanos' --min-time and --max-time."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value):
        try:
            seconds(value.removeprefix("-"))
        except ValueError:
            raise ValueError("a duration before now, as -2w, or a time in RFC 3339") from None
    return value


def _secret_references(value: dict) -> dict:
    bad = sorted(name for name, reference in value.items() if not is_secret(reference))
    if bad:
        raise ValueError(f"secret:env:NAME or secret:file:PATH for {', '.join(bad)}")
    return value


def _web(value: dict) -> dict:
    for part, content in value.items():
        if not isinstance(content, dict):
            raise ValueError(f"upstream's keys: {part} is a mapping")
        for key, inner in content.items():
            lists = ("client_allowed_sans", "cipher_suites", "curve_preferences", "headers")
            if not isinstance(key, str) or (isinstance(inner, list | dict) and key not in lists):
                raise ValueError(f"upstream's keys: {part}.{key} is text, a number or a boolean")
    return value


def _sha256s(value: dict) -> dict:
    bad = [name for name, digest in value.items() if not re.fullmatch("[0-9a-fA-F]{64}", digest)]
    if bad:
        raise ValueError(f"64 hexadecimal digits for {', '.join(bad)}")
    return value


def time_zone(name: str) -> str:
    """A time zone as POSIX has it (`CET-1CEST,M3.5.0,M10.5.0/3`), by which a host without a table of time zones knows
    it. ValueError where there is no such zone here.

    It stands at the end of the zone's file (RFC 9636 3.3).
    """
    for top in zoneinfo.TZPATH:
        path = Path(top, name)
        if re.fullmatch(r"[A-Za-z0-9+_-]+(/[A-Za-z0-9+_-]+)*", name) and path.is_file():
            return path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].decode("ascii", "replace")
    if name == "UTC":
        return "UTC0"
    raise ValueError("a time zone that this machine knows, as Asia/Shanghai (package tzdata)")


def _time_zone(value: str) -> str:
    time_zone(value)
    return value


def _lines(value: dict) -> dict:
    bad = [name for name, text in value.items() if not str(text).isprintable()]
    if bad:
        raise ValueError(f"one line of text for {', '.join(bad)}")
    return value


def sysctl_name(name: str) -> str:
    """A kernel value's name with dots between its words, as `sysctl` prints it: `net.ipv4.conf.eth0/1.forwarding`.

    Whichever of `.` and `/` comes first in `name` separates its words (sysctl(8)).
    """
    separators = [character for character in name if character in "./"]
    swapped = separators and separators[0] == "/"
    return name.translate(str.maketrans("./", "/.")) if swapped else name


def _sysctl(value: dict) -> dict:
    found = {sysctl_name(name): one for name, one in value.items()}
    if topology.RESERVED_PORTS in found:
        try:
            topology.read_ports(found[topology.RESERVED_PORTS])
        except ValueError:
            allowed = "ports and ranges of ports, as 8000-8100,9090"
            raise ValueError(f"{allowed}, for {topology.RESERVED_PORTS}") from None
    return found


def _flags(value: dict) -> dict:
    bad = sorted(name for name in value if name.startswith("-") or "=" in name or " " in name)
    if bad:
        raise ValueError(f"names without dashes and values, as in 'log.level'; not {bad[0]!r}")
    return value


def _preflight(value: dict) -> dict:
    for name in value:
        _one_of(CHECKS)(name)
    return value


def _replica_labels(value: list[str]) -> list[str]:
    if REPLICA_LABEL not in value:
        raise ValueError(f"a list with {REPLICA_LABEL!r} in it: the label that replicas differ in")
    return value


_GRPC = r"[A-Za-z0-9_.-]+:\d+|\[[0-9A-Fa-f:]+\]:\d+"


def _endpoints(value: list[dict]) -> list[dict]:
    """Only the keys that mean something beside ours; an address that is looked up cannot be strict."""
    for entry in value:
        address = str(entry.get("address", ""))
        lookup = re.match(r"dns(srv(noa)?)?\+", address)
        flags = [entry.get(key, False) for key in ("strict", "group")]
        if (
            not re.fullmatch(_GRPC, address[lookup.end() :] if lookup else address)
            or not set(entry) <= {"address", "strict", "group"}
            or not all(isinstance(flag, bool) for flag in flags)
        ):
            raise ValueError(
                "a list of {'address': 'HOST:PORT', 'strict': bool, 'group': bool}, the address with "
                "dns+ or dnssrv+ before it where it is looked up"
            )
        if entry.get("strict") and lookup:
            raise ValueError(f"no strict for {address}: what it stands for is looked up")
        if entry.get("group") and not lookup:
            raise ValueError(f"dns+{address} for the group: of a name as it is only one is asked")
    return value


UpstreamKeys = Annotated[dict[str, Any], AfterValidator(_present)]
Duration = Annotated[str, AfterValidator(_duration)]
BlockTime = Annotated[str, AfterValidator(_block_time)]
SizeOrAuto = Annotated[
    str,
    AfterValidator(_must(r"auto|\d+(B|[KMGTPE]B)", "auto, or a size like 50GB (units B, KB, MB, GB, TB)")),
]
Label = Annotated[
    # Prometheus 3 expands `$` in external labels.
    str, AfterValidator(_must(r"[^\s$]+", "a label value without spaces and $"))
]
Port = Annotated[int, Field(ge=1024, le=65535)]
Address = Annotated[str, AfterValidator(reachable)]
Listen = Annotated[str, AfterValidator(_listen)]
Url = Annotated[str, AfterValidator(_url)]
GrpcName = Annotated[str, AfterValidator(_must(r"(?=.*[A-Za-z])[A-Za-z0-9_.-]+:\d+", "a DNS name and a port"))]
DataDir = Annotated[str, AfterValidator(_data_dir)]
Account = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    AfterValidator(_must(r"[a-z_][a-z0-9_.-]*|\d+", "the name of an account, or its number")),
]
SecretFiles = Annotated[
    dict[str, str],
    AfterValidator(_names(r"\w[\w.-]*", "file names of letters, digits and ._-")),
    AfterValidator(_secret_references),
]
FlagValue = str | int | float | bool | list[str]
Flags = Annotated[dict[str, FlagValue], AfterValidator(_flags)]

SYSCTL: dict[str, str | int] = {
    "net.core.somaxconn": 4096,
    "vm.overcommit_memory": 1,
    "vm.swappiness": 1,
    "net.ipv4.ip_local_port_range": "1024 65000",
    "net.ipv4.tcp_syn_retries": 2,
}
"""spec/000 4.2; and `tcp_syn_retries`: who connects to a host that has vanished is told so after 7 s (by the kernel's
own 6: 127 s). A querier holds each query until then; else gRPC would end the wait after 20 s, which no flag of Thanos
shortens (thanos#5079)."""


def _setting(default: Any, description: str) -> Any:
    return Field(default=default, description=description, validate_default=False)


Count = Annotated[int, Field(ge=0, le=10**9)]


class Capacity(BaseModel):
    """What `deploys/capacity.py` reckons with where it cannot count. Changes nothing on any host."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    targets: dict[str, Count] = _setting(
        {}, "Job name -> targets that no setting lists: discovered ones, or those still to come."
    )
    samples_per_target: dict[str, Count] = _setting(
        {},
        "Job name -> samples of one scrape, instead of what was measured (MinIO: guessed) for our own "
        "jobs; `default` for all other jobs (1000).",
    )
    churn: Annotated[float, Field(ge=0, le=100)] = _setting(
        0.1,
        "Series replaced by others within the 2 to 3 hours that memory holds, as a share of all: "
        "every restart and deployment of what is scraped makes new ones.",
    )
    bytes_per_series: Annotated[int, Field(ge=3000, le=100_000)] = _setting(
        8000, "Bytes of memory of a series, in the worst case: 3 kB to 8 kB are reported."
    )
    bytes_per_sample: Annotated[float, Field(ge=1, le=16)] = _setting(
        2.0, "Bytes of disk of a sample, in the worst case: 1 to 2 (upstream's storage.md)."
    )
    queries: Annotated[int, Field(ge=0, le=1000)] = _setting(
        1,
        "Queries at the same time that read as much as --query.max-samples lets them: 50 million "
        "samples of 16 bytes. Upstream runs up to 20 at a time.",
    )
    bucket_retention: Duration = _setting(
        "1y",
        "How long the bucket keeps what is uploaded, where compactor_retention_raw, _5m and _1h do not say so.",
    )
    downsampling: Annotated[float, Field(ge=0, le=10)] = _setting(
        2.0, "What the copies of 5m and 1h resolution add in the bucket, in sizes of the raw one."
    )


class Probe(BaseModel):
    """What is probed, and how: one job of Prometheus, which asks a blackbox exporter of another host than the target's
    where there is one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    module: str = Field(description="Name of a module: one of `blackbox_modules`, or a starter module.")
    targets: list[str] = _setting(
        [],
        "URLs, `host:port` (TCP, gRPC, DNS servers) or hosts (ICMP), as the module has it. A change needs no reload.",
    )
    labels: dict[str, str] = _setting({}, "Labels of their series.")
    files: list[str] = _setting(
        [], "Patterns of more files of targets on the Prometheus hosts (file_sd), which somebody else writes."
    )
    interval: Duration | None = _setting(None, "How often; default: the scrape interval.")
    timeout: Duration | None = _setting(
        None,
        "How long Prometheus waits; the probe itself ends half a second earlier, or at its module's timeout. "
        "Default: the scrape timeout.",
    )


class AlertChannel(BaseModel):
    """A group bot of Feishu (Lark), DingTalk or WeCom: a receiver of Alertmanager by its name, to which
    `alertmanager_config` may route. The relay beside each Alertmanager signs, cuts to what the bot takes, and reads its
    answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: Literal["feishu", "dingtalk", "wecom"] = Field(description="Whose bot it is; feishu: Lark's too.")
    url: str = Field(description="Secret reference: the bot's webhook URL, as its page shows it.")
    sign: str | None = _setting(
        None, "Secret reference: the key with which messages are signed, where the bot asks for it. WeCom has none."
    )
    keyword: str = _setting("", "A keyword that the bot asks for: it is put into every message, the all-clear too.")
    mention: dict[str, list[str]] = _setting(
        {},
        "Severity -> who is mentioned while such an alert fires: user ids (DingTalk: mobile numbers too), or `all`, "
        "which WeCom does not take.",
    )
    mention_label: str = _setting("", "Label of alerts that says who else is mentioned, with commas between them.")
    language: Literal["en", "zh"] = _setting("en", "Of the fixed words in its messages.")
    per_minute: Annotated[int, Field(ge=1, le=100)] | None = _setting(
        None,
        "Messages in a minute of all Alertmanagers together, below what the vendor allows (20 for DingTalk, which "
        "blocks a bot for ten minutes above that, and WeCom; 100 for Feishu). The first Alertmanager has most of them, "
        "and each other one a sixth. Default: 18, 18 and 90.",
    )
    template: dict[Literal["title", "alert", "more"], str] = _setting(
        {},
        "Text of a message instead of ours, with ${status}, ${alertname}, ${summary}, ${label_NAME}, ... in it: its "
        "title, each alert, and what says that more did not fit (docs/alerting.md).",
    )
    send_resolved: bool = _setting(True, "Say when it is over.")


class AlertChange(BaseModel):
    """Another value for what a starter alert has."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    for_: Duration | None = Field(
        default=None, alias="for", description="How long its cause lasts before it fires, as 10m; 0s: it fires at once."
    )
    severity: Label | None = _setting(None, "Another severity; only for an alert that has one.")
    threshold: float | dict[str, float] | None = _setting(
        None, "Another threshold, in the unit of docs/alerts.md; of an alert with two severities: {'warning': 0.2}."
    )

    def threshold_of(self, severity: str, default: float | None) -> float | None:
        """The threshold of the rule of this severity."""
        if isinstance(self.threshold, dict):
            return self.threshold.get(severity, default)
        return default if self.threshold is None else self.threshold


class RoutingTest(BaseModel):
    """An alert that certain receivers must get."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    labels: dict[str, str] = Field(description="The labels of the alert, as severity and team.")
    receivers: list[str] = Field(
        description="The receivers that get it, in the order of the routes: no other, and none less."
    )


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
        {}, "Archive name -> sha256. Unpinned ones are checked by their release's own."
    )
    base_url: Url = _setting("https://github.com", "Where archives come from: upstream, or a mirror of the same paths.")
    offline: bool = _setting(False, "Upload archives from the control machine's cache; hosts then need no way out.")
    download_proxy: Annotated[str, AfterValidator(_proxy)] | None = _setting(
        None,
        "HTTP proxy by which a host downloads archives, as http://proxy.example.org:3128; one that has "
        "a password as the reference of a secret. Nothing else goes by it.",
    )
    profile: Annotated[str, AfterValidator(_one_of(PROFILES))] = _setting(
        "production", "Timing: production (for real sites), or drill (seconds, for tests)."
    )

    # Identity
    cluster: Label = _setting("main", "External label `cluster`: equal on the replicas of a pair (spec/000 5.2).")
    replica: Label | None = _setting(
        None, "External label `replica`: different on each Prometheus of a cluster; required there."
    )
    scraped_by: Label | None = _setting(
        None,
        "Cluster whose Prometheus scrape this host and alert about it, where there are several. Default: "
        "its `cluster`; where that has no Prometheus in the inventory, the first cluster.",
    )
    service_address: Address | None = _setting(
        None,
        "Address at which other hosts reach the services; an Alertmanager's must be an IP address. "
        "Default: ssh_hostname, or the host's name, where that is an IP address.",
    )

    # Prometheus
    prometheus_port: Port = _setting(9090, "HTTP port (spec/000 1.1).")
    prometheus_listen_address: Listen | None = _setting(None, "IP address to listen on, without port. Default: all.")
    prometheus_external_url: Url | None = _setting(
        None, "Address for people, in alerts and links. Default: http://service_address:port."
    )
    prometheus_retention_time: Duration = _setting(
        "15d",
        "How long local blocks are kept (spec/000 5.4). Where they are uploaded at least 2h (spec/003 "
        "1), and a warning below 6h while uploads are not proven. A reload, below Prometheus 3.12 a "
        "restart.",
    )
    prometheus_retention_size: SizeOrAuto | None = _setting(
        "auto",
        "Size at which local blocks are dropped, e.g. 50GB; auto: 80 % of the file system that "
        "holds them; None: whatever time has left. A reload, below Prometheus 3.12 a restart.",
    )
    prometheus_admin_api: bool = _setting(True, "--web.enable-admin-api, as spec/000 5.4 has it.")
    prometheus_lifecycle: bool = _setting(True, "--web.enable-lifecycle, as spec/000 5.4 has it.")
    prometheus_config: Annotated[UpstreamKeys, AfterValidator(_prometheus_config)] = _setting(
        {}, "Upstream's keys, merged into prometheus.yml: scrape_configs, remote_write, ..."
    )
    remote_write_deduplicates: dict[str, Literal["victoriametrics", "mimir", "cortex"]] = _setting(
        {},
        "Name of an entry of remote_write -> the store behind it, which makes one of what two replicas "
        "send. victoriametrics: equal series, so write_relabel_configs may drop replica (the store has "
        "-dedup.minScrapeInterval). mimir, cortex: cluster stays, and replica is copied to __replica__ and "
        "dropped (HA tracker).",
    )
    prometheus_rules: Annotated[
        UpstreamKeys,
        AfterValidator(_names(r"[\w.-]+\.yml", "file names ending in .yml")),
        AfterValidator(_rules),
    ] = _setting({}, "File name -> {'groups': [...]}, or the text of such a file: files in the rules directory.")
    prometheus_targets: Annotated[
        UpstreamKeys,
        AfterValidator(_names(r"[\w.-]+", "job names of letters, digits and ._-")),
        AfterValidator(_targets),
    ] = _setting(
        {},
        "Job name -> [{'targets': ['address:port'], 'labels': {}}]: a job and its file of targets, "
        "which Prometheus watches.",
    )
    prometheus_secret_files: SecretFiles = _setting(
        {},
        "File name -> secret reference: files in the secrets directory (spec/000 7), which "
        "prometheus_config names in password_file, ca_file, ... A change of content needs no reload.",
    )
    starter_rules: bool = _setting(True, "Install the starter alerts and recording rules (docs/alerts.md).")
    starter_alerts: dict[str, AlertChange | Literal[False]] = _setting(
        {},
        "Name of a starter alert -> what of it is another: {'DataDiskFilling': {'threshold': {'warning': 0.2}}, "
        "'TargetDown': {'for': '10m', 'severity': 'critical'}}, or False: not this one. Equal on all Prometheus of a "
        "cluster. A change reloads.",
    )
    runbook_url: str = _setting(
        "docs/runbooks/{chapter}.md#{alert}",
        "Where the annotation runbook_url of a starter alert leads, with {chapter} (a file of docs/runbooks) and "
        "{alert} (its name in lower case) in it: the default names the place in this package; with a copy of "
        "docs/runbooks on your own server, https://wiki.example/runbooks/{chapter}.html#{alert}.",
    )
    prometheus_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Upper Prometheus (group upper)
    federation_match: list[str] = _setting(
        ['{job="node_exporter"}', '{__name__=~"job:.*"}'],
        "Series that an upper Prometheus federates from every replica of every cluster, as "
        "selectors (spec/000 8). Empty: it federates nothing.",
    )
    prometheus_remote_write_receiver: bool = _setting(
        False, "Let an upper Prometheus take remote write, at /api/v1/write (spec/000 7)."
    )

    # Thanos sidecar
    sidecar_http_port: Port = _setting(10902, "HTTP port (spec/000 5.4).")
    sidecar_grpc_port: Port = _setting(10901, "gRPC port (spec/000 5.4).")
    sidecar_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos sidecar beside somebody else's Prometheus (group sidecar; docs/storage.md)
    attached_url: Url = _setting(
        "http://127.0.0.1:9090", "Where that Prometheus answers on its host, with its route prefix."
    )
    attached_data_dir: DataDir | None = _setting(
        None, "Its data directory as the host has it, not its container; required in the group."
    )
    attached_user: Account = _setting(
        topology.USER,
        "Account that owns this directory, by name or by number (a container's); the sidecar runs as "
        "it, as it reads the blocks and writes thanos.shipper.json there.",
    )

    # The bucket
    bucket_config: Annotated[UpstreamKeys, AfterValidator(_bucket)] | None = _setting(
        None,
        "Object storage in upstream's keys (spec/000 5.3), equal on all hosts that use it. Default: "
        "nothing is uploaded.",
    )
    bucket_keys: Annotated[dict[str, dict[str, Any]], AfterValidator(_bucket_keys)] = _setting(
        {},
        "Component (or admin, which makes the bucket) -> keys of bucket_config.config of its own, as "
        "access_key and secret_key: a component then holds no right that it does not use.",
    )

    bucket_directory_shared: bool = _setting(
        False,
        "With type FILESYSTEM: the directory is the same one on all hosts (NFS, a cluster's file "
        "system). Otherwise blocks of one host could be read on no other.",
    )

    # Thanos store gateway
    store_http_port: Port = _setting(
        10906, "HTTP port: that of upstream's quickstart for several components on a host."
    )
    store_grpc_port: Port = _setting(10905, "gRPC port, likewise.")
    store_min_time: BlockTime | None = _setting(
        None,
        "Oldest time that this store gateway serves, as -2w or 2026-01-01T00:00:00Z (spec/003 4). "
        "Default: all that the bucket has.",
    )
    store_max_time: BlockTime | None = _setting(
        None, "Youngest time that it serves, as -1h or a date. Default: all that the bucket has."
    )
    store_group: GrpcName | None = _setting(
        None,
        "NAME:PORT under which DNS has the store gateways with the same blocks: queriers ask one of "
        "them for each query, in turns. Default: they ask each gateway, and a block that two "
        "have is read twice.",
    )
    store_index_cache: UpstreamKeys | None = _setting(
        None,
        "Index cache in upstream's keys (type: IN-MEMORY, MEMCACHED or REDIS, and config). Default: "
        "in memory, 250 MB (spec/003 4).",
    )
    store_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos compactor
    compactor_port: Port = _setting(10912, "HTTP port, likewise.")
    compactor_retention_raw: Duration = _setting(
        "0d", "How long the bucket keeps samples as they were scraped; 0d: for ever."
    )
    compactor_retention_5m: Duration = _setting(
        "0d", "How long it keeps their copies of one sample in 5 minutes; 0d: for ever."
    )
    compactor_retention_1h: Duration = _setting(
        "0d", "How long it keeps their copies of one sample in an hour; 0d: for ever."
    )
    compactor_downsampling: bool = _setting(True, "Make those copies: long ranges are answered from them.")
    compactor_vertical: bool = _setting(
        False,
        "Merge blocks of one origin that overlap, instead of halting at them: needed where samples are "
        "taken out of order, and cannot be undone (docs/storage.md). Thanos 0.36 and newer.",
    )
    compactor_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos query frontend
    frontend_port: Port = _setting(10913, "HTTP port: where people and dashboards ask, as they would a Prometheus.")
    frontend_downstream: Url | None = _setting(
        None,
        "URL of the queriers, where a load balancer stands before them. Default: the querier of the "
        "same host, else one of the site's.",
    )
    frontend_cache: UpstreamKeys = _setting(
        {"type": "IN-MEMORY", "config": {"max_size": "256MB", "max_size_items": 0}},
        "Cache of answers in upstream's keys (type: IN-MEMORY, MEMCACHED or REDIS, and config). Empty: none.",
    )
    frontend_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos ruler
    rule_http_port: Port = _setting(10911, "HTTP port, as in upstream's quickstart.")
    rule_grpc_port: Port = _setting(10910, "gRPC port, likewise.")
    rule_rules: Annotated[
        UpstreamKeys,
        AfterValidator(_names(r"[\w.-]+\.yml", "file names ending in .yml")),
        AfterValidator(_rules),
        AfterValidator(_as_data),
    ] = _setting(
        {},
        "File name -> {'groups': [...]}: rules over all that the queriers see. A group without "
        "partial_response_strategy has 'warn': it is evaluated while a store is away.",
    )
    rule_remote_write: Annotated[list[UpstreamKeys], Field(max_length=16)] = _setting(
        [],
        "Remote write in upstream's keys: the ruler keeps no blocks and sends what it records. "
        "Default: it keeps blocks, serves and uploads them.",
    )
    rule_secret_files: SecretFiles = _setting(
        {},
        "File name -> secret reference: files in /etc/thanos/rule/secrets, which rule_remote_write names "
        "in password_file, ca_file, ... by their whole path. A change of content needs no restart.",
    )
    rule_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos receive
    receive_http_port: Port = _setting(10909, "HTTP port, as in upstream's quickstart.")
    receive_grpc_port: Port = _setting(10907, "gRPC port: StoreAPI, and samples from other members.")
    receive_remote_write_port: Port = _setting(10908, "Port for remote write, at /api/v1/receive.")
    receive_replication: Annotated[int, Field(ge=1, le=9)] = _setting(
        3,
        "How many members of the hashring keep each sample; equal on all. A write needs more than "
        "half of them: 3 go on with one member down, 2 do from Thanos 0.37 on.",
    )
    receive_retention: Duration = _setting(
        "15d", "How long local blocks are kept; at least 6h where they are uploaded."
    )
    receive_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos bucket web
    bucket_web_port: Port = _setting(10914, "HTTP port, beside the others.")
    bucket_web_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # SeaweedFS, where the object store is deployed by us
    seaweedfs_port: Annotated[int, Field(ge=1024, le=55535)] = _setting(
        8333, "S3 port, upstream's. Its gRPC port is 10000 more, and answers to nobody."
    )
    seaweedfs_metrics_port: Port = _setting(9327, "Port of its metrics, as in upstream's examples.")
    seaweedfs_flags: Flags = _setting({}, "More flags of `weed server`: name without dash -> value.")

    # MinIO, where that is the object store deployed by us
    minio_port: Port = _setting(9000, "Port of S3 and of the metrics (spec/001).")
    minio_console_port: Port = _setting(9001, "Port of the console for people (spec/001).")
    minio_flags: Flags = _setting({}, "More flags of `minio server`: name without dashes -> value.")

    # Alertmanager
    alertmanager_port: Port = _setting(9093, "HTTP port (spec/000 6.2).")
    alertmanager_cluster_port: Port = _setting(9094, "Gossip port, TCP and UDP (spec/000 6.2).")
    alertmanager_listen_address: Listen | None = _setting(None, "IP address to listen on, without port. Default: all.")
    alertmanager_cluster_label: Label | None = _setting(
        None,
        "Gossip label (--cluster.label): members with another one do not hear each other; equal on all. Default: the "
        "label that the living members have, which a run does not change, and `monitoring` where there is none. A new "
        "value restarts all members in one step.",
    )
    alertmanager_external_url: Url | None = _setting(
        None, "Address for people, in notifications. Default: http://service_address:port."
    )
    alertmanager_config: Annotated[UpstreamKeys, AfterValidator(_alertmanager_config)] = _setting(
        {}, "Upstream's keys over the default route and receiver (spec/000 6.1); equal on all."
    )
    alertmanager_templates: Annotated[
        dict[str, str], AfterValidator(_names(r"[\w.-]+\.tmpl", "file names ending in .tmpl"))
    ] = _setting({}, "File name -> text: files in the templates directory; equal on all.")
    alertmanager_webhook_url: str | None = _setting(
        None, "Secret reference: URL of the default receiver web.hook (spec/000 6.1)."
    )
    alertmanager_secret_files: SecretFiles = _setting(
        {},
        "File name -> secret reference: files in /etc/alertmanager/secrets, which alertmanager_config "
        "names in api_url_file, password_file, ca_file, ... by their whole path; equal names on all. A "
        "change of content needs nothing, as each notification reads them again; that of a token of "
        "incident.io or Rocket.Chat is a reload.",
    )
    deadman_url: str | list[str] | None = _setting(
        None,
        "Secret reference: URL of a dead man's switch, a service outside that expects the Watchdog once a "
        "minute by webhook and raises the alarm when it stops; or a list of them. Equal on all. Default: the Watchdog "
        "goes nowhere.",
    )
    deadman_sites: Annotated[
        dict[str, Duration], AfterValidator(_names(r"\w[\w.-]*", "names of letters, digits and ._-"))
    ] = _setting(
        {},
        "Name of another site -> how long its Watchdog may stay away, as {'east': '3m'}: this site is its dead man's "
        "switch. Its deadman_url has http://HOST:9096/deadman/east for each Alertmanager of this site "
        "(alert_relay_port). Equal on all Alertmanagers.",
    )
    alertmanager_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    alert_routing_tests: list[RoutingTest] = _setting(
        [],
        "What must hold of the routes: [{'labels': {'team': 'db', 'severity': 'critical'}, 'receivers': ['dba']}]. A "
        "change that breaks one is refused before it goes live (amtool config routes test). Inhibitions and time "
        "intervals are not considered.",
    )

    # Group bots of Feishu, DingTalk and WeCom, by a relay beside each Alertmanager
    alert_channels: Annotated[
        dict[str, AlertChannel], AfterValidator(_names(r"\w[\w.-]*", "names of letters, digits and ._-"))
    ] = _setting(
        {},
        "Name -> a group bot (type, url, sign, keyword, mention, ...; see the class AlertChannel). Each is a receiver "
        "of that name, and the first one the default where alertmanager_config has no other. Equal on all "
        "Alertmanagers. A change reloads.",
    )
    alert_canary: bool = _setting(
        True,
        "A route and receiver for canaries: alerts that alert.py and drills send, and that nobody is paged for. The "
        "relay beside each Alertmanager counts which arrived, and how often. Equal on all Alertmanagers.",
    )
    alert_time_zone: Annotated[str, AfterValidator(_time_zone)] = _setting(
        "UTC", "Time zone of the times in messages of alert_channels, as Asia/Shanghai."
    )
    alert_relay_port: Port = _setting(9096, "Port of the relay's metrics and health.")
    alert_relay_webhook_port: Port = _setting(
        9097, "Port at which the relay takes notifications from the Alertmanager beside it, on 127.0.0.1 alone."
    )
    alert_relay_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # Thanos querier
    querier_port: Port = _setting(10903, "HTTP port (spec/000 9.1).")
    querier_grpc_port: Port = _setting(10904, "gRPC port: next to the HTTP one.")
    querier_timeout: Duration = _setting("2m", "--query.timeout (spec/000 9.1).")
    replica_labels: Annotated[list[str], AfterValidator(_replica_labels)] = _setting(
        [REPLICA_LABEL], "Labels that deduplication ignores (spec/000 9.1); `replica` among them."
    )
    querier_endpoints: Annotated[list[dict[str, Any]], AfterValidator(_endpoints)] = _setting(
        [],
        "More StoreAPIs than the inventory has, in upstream's keys (address, strict, group): above all "
        "the queriers of other sites, by their gRPC port, for one view of all clusters (spec/003). "
        "An address as it is counts as strict: an answer without it carries a warning.",
    )
    querier_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # TLS and passwords of every HTTP port (deploys/lib/site/web.py)
    web_config: Annotated[UpstreamKeys, AfterValidator(_web)] | None = _setting(
        None,
        "Web configuration of every HTTP port of the host, in upstream's keys (exporter-toolkit): "
        "tls_server_config, basic_auth_users, http_server_config, rate_limit. Relative file names "
        "are names in web_files. Default: plain HTTP, open to whoever reaches the port.",
    )
    web_files: Annotated[
        dict[str, str],
        AfterValidator(_names(r"\w[\w.-]*\.(pem|crt|cer|key)", "names ending in .pem, .crt, .key")),
    ] = _setting({}, "File name -> text of a certificate, or a secret reference: files beside web_config.")
    web_client: Annotated[UpstreamKeys, AfterValidator(_web)] = _setting(
        {},
        "With what our own clients (scrapes, alerts, sidecar, gates, verify) ask ports that ask for "
        "it, in upstream's keys: basic_auth (username, password), tls_config (ca_file, cert_file, "
        "key_file, server_name, insecure_skip_verify). Equal on all hosts.",
    )

    # Every host
    node_exporter_port: Port = _setting(9100, "HTTP port (spec/000 5.2).")
    node_exporter_flags: Flags = _setting({}, "More flags: name without dashes -> value.")

    # blackbox_exporter (group blackbox_exporter) and what it is asked about
    blackbox_exporter_port: Port = _setting(9115, "HTTP port, upstream's.")
    blackbox_modules: Annotated[
        dict[str, UpstreamKeys], AfterValidator(_names(r"\w[\w.-]*", "names of letters, digits and ._-"))
    ] = _setting(
        {},
        "Name -> module in upstream's keys (prober, timeout, http, tcp, ...), beside or instead of the starter "
        "modules: http_2xx, http_2xx_ca (the CA of web_client), http_401, tcp_connect, tcp_tls, icmp, dns_udp, "
        "grpc_plain. Equal on all exporters. A change reloads.",
    )
    blackbox_secret_files: SecretFiles = _setting(
        {},
        "File name -> secret reference: files in /etc/blackbox_exporter/secrets, which modules name in "
        "password_file, ca_file, ... by their whole path. A change of content needs nothing: each probe reads them.",
    )
    blackbox_exporter_flags: Flags = _setting({}, "More flags: name without dashes -> value.")
    probes: Annotated[
        dict[str, Probe], AfterValidator(_names(r"\w[\w.-]*", "job names of letters, digits and ._-"))
    ] = _setting(
        {},
        "Job -> what is probed and how (module, targets, labels, interval; see the class Probe): the job "
        "probe-JOB of the Prometheus of the cluster. `instance` is the target.",
    )
    probe_platform: bool = _setting(
        True,
        "Probe the health of every HTTP port of the platform, and with it when its certificate expires: the "
        "job probe-platform. Where the cluster has a blackbox exporter.",
    )

    sysctl: Annotated[
        dict[str, str | int],
        AfterValidator(_names(r"[a-z0-9_]+([./-][\w-]+)+", "kernel names like vm.swappiness")),
        AfterValidator(_lines),
        AfterValidator(_sysctl),
    ] = _setting(
        SYSCTL,
        "Kernel values (spec/000 4.2). Replaced as a whole, not merged; but for "
        "net.ipv4.ip_local_reserved_ports, which gets the ports of the host's daemons as well where "
        "one of them lies in net.ipv4.ip_local_port_range.",
    )
    nofile: Annotated[int, Field(ge=1024)] = _setting(
        65536, "Open files of a daemon: in its unit and in limits.d (spec/000 4.1)."
    )
    nproc: Annotated[int, Field(ge=64)] = _setting(4096, "Processes and threads of the user, likewise (spec/000 4.1).")
    timesync: Literal["auto", "chrony", "host"] = _setting(
        "auto",
        "auto: a time service that runs, or the clock of a container's machine, else chrony; "
        "chrony: that one; host: the clock belongs to the machine around this container.",
    )
    zone: Label | None = _setting(
        None,
        "Where the host stands (rack, datacenter, availability zone): preflight warns where a tier stands in one zone.",
    )
    firewall: Literal["leave", "open"] = _setting(
        "leave",
        "open: let the members of the site through this host's own firewall (nftables, firewalld "
        "or ufw) to the ports that they dial; leave: take back what open did. Who dials the host needs an IP "
        "address as service_address: packet filters know no names.",
    )
    take_over: bool = _setting(
        False,
        "Stop and mask the distribution's own Prometheus, Alertmanager and node_exporter where ours "
        "take their place, and replace unit files of our names. Their data is left alone.",
    )
    preflight: Annotated[dict[str, Literal["fail", "warn", "off"]], AfterValidator(_preflight)] = _setting(
        {},
        "Check -> fail, warn or off, over its own severity (lib/survey/preflight.py lists the checks).",
    )

    accepted_warnings: list[str] = _setting(
        [],
        "Warnings that this site lives with, by the setting, group or check that they name (deadman_url, querier): "
        "they are not printed. A failure always is.",
    )

    capacity: Capacity = _setting(
        Capacity(),
        "What deploys/capacity.py reckons with: targets, samples_per_target, churn, ...; see the class Capacity.",
    )

    # For one run
    yes: bool = _setting(False, "Answer to the drill's question, as --data yes=true; meant for the command line.")
    send: str = _setting(
        "",
        "What alert.py sends a test alert to: the name of a receiver, or labels by which it is routed, as "
        "severity=critical,team=db.",
    )
    canary: Duration | None = _setting(
        None, "How long alert.py sends canaries, one every ten seconds, and counts lost and doubled ones."
    )
    silence: str = _setting("", "Matchers of a silence that alert.py makes, as alertname=HostDown,instance=~'web.*'.")
    silence_for: Duration = _setting("2h", "How long it lasts.")
    comment: str = _setting("", "Why it is made: a silence needs a reason.")
    end_silence: str = _setting("", "Id of a silence that alert.py ends.")
    why: str = _setting("", "Labels of an alert of which alert.py says who was told of it, when, and why not others.")
    allow_outage: bool = _setting(
        False,
        "Take a service down though no other member of its tier does its job, as "
        "--data allow_outage=true; meant for the command line.",
    )

    break_lock: bool = _setting(
        False,
        "Go on though another run holds a host's lock, as --data break_lock=true: for one whose "
        "connection hangs after a network was cut. Meant for the command line.",
    )

    @property
    def timing(self) -> Timing:
        """The intervals of the profile."""
        return PROFILES[self.profile]

    @cached_property
    def all_versions(self) -> dict[str, str]:
        """Component -> version: the release set with `versions` over it."""
        return releases.resolve(self.release, self.versions)

    def version(self, of: Daemon | Product | Own | str) -> str:
        """Version of a daemon or product, which may be given by its name."""
        name = of if isinstance(of, str) else of.name
        info = DAEMONS.get(name)
        if info and isinstance(info.product, Own):
            return info.product.version
        return self.all_versions[info.archive if info else name]

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
    if isinstance(info.default, dict)
    or name
    in (
        *("bucket_config", "alertmanager_webhook_url", "deadman_url", "web_config"),
        *("rule_remote_write", "download_proxy"),
    )
}
"""Settings whose values are never shown: a secret could be anywhere in them."""


def account_of(info: Daemon, settings: Settings) -> tuple[str, str]:
    """User and group that a component runs as; the group is empty where it is the account's own."""
    if info.account is None:
        return topology.USER, topology.GROUP
    user = getattr(settings, info.account)
    # A number may be a container's, and no account of this host.
    return user, user if user.isdigit() else ""


def become(user: str, group: str) -> str:
    """The beginning of a command that a host runs as what `account_of` says."""
    if not group:
        return f'setpriv --reuid={user} --regid="$(id -g {user})" --init-groups'
    return f"setpriv --reuid={user} --regid={group} --clear-groups"


def listens_on(info: Daemon, settings: Settings) -> str | None:
    """The address that a component is told to listen on; None for all."""
    return getattr(settings, info.listen_address) if info.listen_address else None


def secret_names(settings: Settings, key: str = "prometheus_secret_files") -> list[str]:
    """Their values may differ: a client's certificate is the host's own."""
    return sorted(getattr(settings, key))
