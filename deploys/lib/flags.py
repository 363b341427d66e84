"""The command line of every daemon: a table per component, with the versions a flag belongs to.

`argv` gives the arguments as a list, one flag an item, exactly as the process will show them in
/proc/PID/cmdline. Quoting for a unit file is `units`' business. Where a flag came or went is taken
from upstream's documentation and source at the tags named in `releases`; `tests/unit/data/flags`
holds what real binaries accept, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deploys.lib import releases, topology

if TYPE_CHECKING:
    from deploys.lib.settings import Settings
    from deploys.lib.site import Member, Site

Value = str | int | float | bool | Sequence[str] | None
"""True is a bare flag, None or False no flag, a sequence repeats the flag, others are `=value`."""


@dataclass(frozen=True)
class Flag:
    """One flag of ours."""

    name: str
    """Without the leading dashes."""
    value: Value | Callable[[Site, Member], Value]
    since: str | None = None
    """First version of the component that has it."""
    until: str | None = None
    """First version that no longer has it, or no longer needs it."""
    why: str = ""
    setting: str = ""
    """Setting of this package that decides it."""
    free: bool = False
    """May the user's extra flags replace it (or, with the value False, leave it out)?"""

    def applies(self, version: str) -> bool:
        """Whether this flag belongs on the command line of `version`."""
        return (self.since is None or releases.at_least(version, self.since)) and not (
            self.until is not None and releases.at_least(version, self.until)
        )


@dataclass(frozen=True)
class Problem:
    """An extra flag that is refused: what `settings` needs to name it."""

    key: str
    """Setting and flag, as in `prometheus_flags.web.enable-lifecycle`."""
    found: str
    allowed: str


class FlagError(ValueError):
    """Extra flags are refused. The message names host, setting, flag, and what is allowed."""


def _setting(name: str) -> Callable[[Site, Member], Value]:
    return lambda site, member: getattr(member.settings, name)


def _timing(name: str) -> Callable[[Site, Member], Value]:
    return lambda site, member: getattr(member.settings.timing, name)


def _listen(component: str, port: str = "http") -> Callable[[Site, Member], str]:
    return lambda site, member: site.listen(component, member, port)


def _external_url(component: str) -> Callable[[Site, Member], str]:
    # Upstream's default is the host's own name, which need not mean anything to whoever is paged.
    return lambda site, member: (
        getattr(member.settings, f"{component}_external_url")
        or site.endpoint(component, member).url
    )


def _route_prefix(component: str) -> Callable[[Site, Member], Value]:
    """`/` where the external URL has a path, which upstream would otherwise serve everything under.

    The proxy in front strips the path; health, metrics and API stay where every gate and every
    scrape job looks for them.
    """
    url = _external_url(component)
    return lambda site, member: "/" if urlsplit(url(site, member)).path.strip("/") else None


def uploads(member: Member) -> bool:
    """Whether the sidecar of this host uploads blocks."""
    return bool(member.settings.bucket_config)


def delayed_compaction(member: Member) -> bool:
    """Whether Prometheus compacts locally, but only blocks that are already uploaded."""
    return uploads(member) and releases.delayed_compaction(member.settings.all_versions)


def _block_duration(site: Site, member: Member) -> Value:
    # From the versions on that can wait for the upload nothing has to be switched off; before, the
    # documents' 2h holds with a bucket or without, so that one can be added without a gap.
    return None if releases.delayed_compaction(member.settings.all_versions) else "2h"


def _delay_file(site: Site, member: Member) -> Value:
    # Prometheus takes a missing file for "everything is uploaded" and warns at every compaction.
    return f"{topology.PROMETHEUS_DATA}/{SHIPPER_META}" if delayed_compaction(member) else None


SHIPPER_META = "thanos.shipper.json"
"""What the sidecar writes into the TSDB directory; it exits where Prometheus waits for another."""


def _prometheus_url(site: Site, member: Member) -> str:
    return site.local("prometheus", member).url


def _peers(site: Site, member: Member) -> list[str]:
    others = site.peers(member, "alertmanager")
    return [site.endpoint("alertmanager", other, "cluster").target for other in others]


def clustered(site: Site) -> bool:
    """Whether the Alertmanagers gossip: one alone has nobody to talk to."""
    return len(site.members("alertmanager")) > 1


def _if_clustered(value: Callable[[Site, Member], Value]) -> Callable[[Site, Member], Value]:
    return lambda site, member: value(site, member) if clustered(site) else None


def _gossip_listen(site: Site, member: Member) -> str:
    return site.listen("alertmanager", member, "cluster") if clustered(site) else ""


def stores(site: Site) -> list[str]:
    """`address:port` of every StoreAPI a querier asks."""
    return [
        site.endpoint("thanos-sidecar", member, "grpc").target
        for member in site.running("thanos-sidecar")
    ]


def endpoints_file(member: Member) -> bool:
    """Whether the querier of this host reads its stores from a file that it watches."""
    return releases.at_least(member.settings.version("thanos"), ENDPOINTS_SINCE)


ENDPOINTS_SINCE = "0.38.0"
"""First Thanos with `--endpoint.sd-config-file`."""


def expands_labels(member: Member) -> bool:
    """Whether this Prometheus expands `$` in external labels, as variables of its environment."""
    return releases.at_least(member.settings.version("prometheus"), "3.0.0-0")


LOG_LEVEL = Flag("log.level", "info", free=True)

TABLE: dict[str, tuple[Flag, ...]] = {
    "prometheus": (
        Flag("config.file", topology.PROMETHEUS_CONFIG),
        Flag("storage.tsdb.path", topology.PROMETHEUS_DATA),
        Flag(
            "storage.tsdb.retention.time",
            _setting("prometheus_retention_time"),
            setting="prometheus_retention_time",
            why="flags, as 3.8 to 3.10 take the same setting in the file for a million times more",
        ),
        Flag(
            "storage.tsdb.retention.size",
            _setting("prometheus_retention_size"),
            setting="prometheus_retention_size",
        ),
        Flag(
            "storage.tsdb.min-block-duration",
            _block_duration,
            why="equal durations switch local compaction off: the sidecar uploads 2h blocks only",
        ),
        Flag("storage.tsdb.max-block-duration", _block_duration, why="as above"),
        Flag(
            "storage.tsdb.delay-compact-file.path",
            _delay_file,
            since=releases.DELAY_PROMETHEUS,
            why="compacts what the sidecar has uploaded: far fewer indexes for the same retention",
        ),
        Flag(
            "web.listen-address",
            _listen("prometheus"),
            setting="prometheus_port, prometheus_listen_address",
        ),
        Flag(
            "web.external-url",
            _external_url("prometheus"),
            setting="prometheus_external_url",
        ),
        Flag("web.route-prefix", _route_prefix("prometheus")),
        Flag(
            "web.enable-lifecycle", _setting("prometheus_lifecycle"), setting="prometheus_lifecycle"
        ),
        Flag(
            "web.enable-admin-api", _setting("prometheus_admin_api"), setting="prometheus_admin_api"
        ),
        Flag("rules.alert.resend-delay", _timing("resend_delay"), free=True),
        LOG_LEVEL,
    ),
    "thanos-sidecar": (
        Flag("tsdb.path", topology.PROMETHEUS_DATA, why="the data directory of Prometheus"),
        Flag("prometheus.url", _prometheus_url, setting="prometheus_port"),
        Flag(
            "prometheus.ready_timeout",
            "1h",
            free=True,
            why="the sidecar gives up where Prometheus replays its write-ahead log for longer",
        ),
        Flag(
            "objstore.config-file",
            lambda site, member: topology.BUCKET_CONFIG if uploads(member) else None,
            setting="bucket_config",
        ),
        Flag("grpc-address", _listen("thanos-sidecar", "grpc"), setting="sidecar_grpc_port"),
        Flag("http-address", _listen("thanos-sidecar", "http"), setting="sidecar_http_port"),
        LOG_LEVEL,
    ),
    "alertmanager": (
        Flag("config.file", topology.ALERTMANAGER_CONFIG),
        Flag("storage.path", topology.ALERTMANAGER_DATA),
        Flag(
            "cluster.listen-address",
            _gossip_listen,
            setting="alertmanager_cluster_port",
            why="empty where there is one Alertmanager: that switches gossip off",
        ),
        Flag(
            "cluster.advertise-address",
            _if_clustered(lambda site, m: site.endpoint("alertmanager", m, "cluster").target),
            setting="service_address",
            why="left out, it exits on a host without a private address, or picks the wrong one",
        ),
        Flag(
            "cluster.peer",
            _peers,
            setting="the group alertmanager of the inventory",
            why="the other members; its own address would be noise",
        ),
        Flag(
            "cluster.label",
            _if_clustered(_setting("cluster")),
            since="0.26.0",
            setting="cluster",
            why="two clusters do not merge when an address is used again",
        ),
        Flag(
            "cluster.peer-name",
            _if_clustered(lambda site, member: member.name),
            since="0.30.0",
            why="random names inflate the member count of a cluster whose members restart",
        ),
        Flag(
            "cluster.peer-timeout",
            _if_clustered(_timing("peer_timeout")),
            free=True,
            why="how long each member waits for the one before it to have notified",
        ),
        Flag(
            "cluster.settle-timeout",
            _if_clustered(_timing("settle_timeout")),
            free=True,
        ),
        Flag(
            "cluster.pushpull-interval",
            _if_clustered(_timing("pushpull_interval")),
            free=True,
        ),
        Flag(
            "cluster.reconnect-timeout",
            _if_clustered(_timing("reconnect_timeout")),
            free=True,
            why="by default a member that is gone for good counts as failed for six hours",
        ),
        Flag(
            "web.listen-address",
            _listen("alertmanager"),
            setting="alertmanager_port, alertmanager_listen_address",
        ),
        Flag(
            "web.external-url",
            _external_url("alertmanager"),
            setting="alertmanager_external_url",
        ),
        Flag(
            "enable-feature",
            "receiver-name-in-metrics",
            since="0.27.0",
            free=True,
            why="counts the notifications of each receiver: the drill looks for exactly one",
        ),
        Flag("web.route-prefix", _route_prefix("alertmanager")),
        LOG_LEVEL,
    ),
    "thanos-querier": (
        Flag("http-address", _listen("thanos-querier", "http"), setting="querier_port"),
        Flag("grpc-address", _listen("thanos-querier", "grpc"), setting="querier_grpc_port"),
        Flag(
            "endpoint.sd-config-file",
            topology.ENDPOINTS_FILE,
            since=ENDPOINTS_SINCE,
            setting="the group prometheus of the inventory",
            why="watched: a store that is added needs no restart",
        ),
        Flag(
            "endpoint.sd-config-reload-interval",
            _timing("endpoint_reload"),
            since=ENDPOINTS_SINCE,
            free=True,
        ),
        Flag(
            "endpoint-strict",
            lambda site, member: stores(site),
            until=ENDPOINTS_SINCE,
            setting="the group prometheus of the inventory",
            why="a store that does not answer stays in the set, so that answers without it carry a "
            "warning. Files (--store.sd-files) know no strict endpoints in these versions",
        ),
        Flag("query.replica-label", _setting("replica_labels"), setting="replica_labels"),
        Flag("query.timeout", _setting("querier_timeout"), setting="querier_timeout"),
        Flag(
            "store.response-timeout",
            "30s",
            free=True,
            why="one store that hangs costs a warning, not the query: less than the query's time",
        ),
        LOG_LEVEL,
    ),
    "node_exporter": (
        Flag("web.listen-address", _listen("node_exporter"), setting="node_exporter_port"),
        LOG_LEVEL,
    ),
}
"""Component -> its flags, in the order they are written."""

_EVERYWHERE = "TLS and passwords have to be known to every client in the site"
_STORES = "stores come from the inventory"

PROTECTED: dict[str, dict[str, str]] = {
    "prometheus": {
        "agent": "an agent serves no queries and evaluates no rules",
        "config.auto-reload*": "the deploy reloads, after the checks",
        "storage.tsdb.retention*": "set prometheus_retention_time, prometheus_retention_size",
        "web.config.file": _EVERYWHERE,
    },
    "thanos-sidecar": {
        "grpc-server-tls-*": _EVERYWHERE,
        "http.config": _EVERYWHERE,
        "objstore.config": "set bucket_config: a command line can be read by everyone",
        "reloader.*": "the deploy writes the configuration",
        "shipper.ignore-unequal-block-size": "it lets blocks be compacted before they are uploaded",
        "shipper.meta-file-name": "Prometheus waits for the default one",
    },
    "alertmanager": {
        "cluster.tls-config": "it has to be switched on for all members at once",
        "web.config.file": _EVERYWHERE,
    },
    "thanos-querier": {
        "endpoint*": _STORES,
        "grpc-client-*": _EVERYWHERE,
        "grpc-server-tls-*": _EVERYWHERE,
        "http.config": _EVERYWHERE,
        "store": _STORES,
        "store-strict": _STORES,
        "store.sd-files": _STORES,
        "web.route-prefix": "health and metrics have to stay where they are looked for",
    },
    "node_exporter": {
        "web.config.file": _EVERYWHERE,
        "web.telemetry-path": "metrics have to stay where they are looked for",
    },
}
"""Component -> flags that are not ours and would break the site -> why, or what to set instead."""

EXTRA: dict[str, str] = {
    "prometheus": "prometheus_flags",
    "thanos-sidecar": "sidecar_flags",
    "alertmanager": "alertmanager_flags",
    "thanos-querier": "querier_flags",
    "node_exporter": "node_exporter_flags",
}
"""Component -> setting with the user's extra flags."""

SUBCOMMAND: dict[str, str] = {"thanos-sidecar": "sidecar", "thanos-querier": "query"}
"""Component -> first argument, where the binary is several daemons in one."""


def _plain(name: str) -> str:
    """A flag's name as the tables have it: `no-web.enable-lifecycle` is `web.enable-lifecycle`."""
    return name.removeprefix("no-")


def _protected(component: str, name: str) -> str | None:
    for pattern, why in PROTECTED[component].items():
        if fnmatchcase(name, pattern):
            return f"other flags: {why}"
    return None


def problems(component: str, settings: Settings) -> list[Problem]:
    """The extra flags of `component` in these settings that would undo what the site stands on.

    Whether a version knows a flag is for its binary to say; that our own are not replaced is for
    us. Needs no site: which flags are ours does not depend on it.
    """
    ours = {flag.name: flag for flag in TABLE[component]}
    setting = EXTRA[component]
    found = []
    for name, value in getattr(settings, setting).items():
        plain = _plain(name)
        flag = ours.get(plain)
        if flag is not None:
            allowed = f"other flags; this one comes from {flag.setting or 'the package'}"
            allowed += f" ({flag.why})" if flag.why else ""
        else:
            allowed = _protected(component, plain)
        if allowed is None or (flag is not None and flag.free):
            continue
        found.append(Problem(f"{setting}.{name}", repr(value), allowed))
    return found


def _items(name: str, value: Value) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    if isinstance(value, list | tuple):
        return [f"--{name}={item}" for item in value]
    return [f"--{name}={value}"]


def argv(component: str, site: Site, member: Member) -> list[str]:
    """The command line of `component` on this host: the binary, its subcommand, one flag an item.

    Flags of the table that belong to the host's version, then the user's extra ones. Raises
    FlagError where an extra flag would replace one that the site stands on.
    """
    refused = problems(component, member.settings)
    if refused:
        raise FlagError(
            "; ".join(
                f"{member.name}: {problem.key}: found {problem.found}; allowed: {problem.allowed}"
                for problem in refused
            )
        )
    extra = getattr(member.settings, EXTRA[component])
    replaced = {_plain(name) for name in extra}
    version = member.settings.version(component)
    words = [topology.COMPONENTS[component].path]
    if component in SUBCOMMAND:
        words.append(SUBCOMMAND[component])
    for flag in TABLE[component]:
        if flag.name not in replaced and flag.applies(version):
            value = flag.value(site, member) if callable(flag.value) else flag.value
            words += _items(flag.name, value)
    for name, value in extra.items():
        words += _items(name, value)
    return words
