"""The command line of every daemon: a table per component, with the versions a flag belongs to.

`argv` gives the arguments as a list, one flag an item, exactly as the process will show them in
/proc/PID/cmdline. Quoting for a unit file is `units`' business. Where a flag came or went is taken
from upstream's documentation and source at the tags named in `releases`; `tests/unit/data/flags`
holds what real binaries accept, and a test compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from deploys.lib import releases, topology, web
from deploys.lib.settings import CLUSTER_LABEL, REPLICA_LABEL, Settings, go_seconds, seconds
from deploys.lib.site import Member, Site
from facts.reports.look import State

Value = str | int | float | bool | Sequence[str] | None
"""True is a bare flag, None or False no flag, a sequence repeats the flag, others are `=value`."""


@dataclass(frozen=True)
class Flag:
    """One flag of ours."""

    name: str
    """Without the leading dashes."""
    value: Value | Callable[[Site, Member], Value]
    of_host: Callable[[Member, State], Value] | None = None
    """The value where it depends on what the look found on the host, instead of `value`."""
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


@dataclass(frozen=True)
class _Listen:
    """Where a port of a component listens."""

    component: str
    port: str = "http"

    def __call__(self, site: Site, member: Member) -> str:
        return site.listen(self.component, member, self.port)


@dataclass(frozen=True)
class _Port:
    """The number of a port alone, after `prefix`."""

    setting: str
    port: str = "http"
    prefix: str = ""

    def __call__(self, site: Site, member: Member) -> str:
        return f"{self.prefix}{getattr(member.settings, self.setting)}"


def _external_url(component: str) -> Callable[[Site, Member], str]:
    # Upstream's default is the host's own name, which need not mean anything to whoever is paged.
    return lambda site, member: (
        external_url(component, member) or site.endpoint(component, member).url
    )


def external_url(component: str, member: Member) -> str | None:
    """The address for people that the settings give a component; None where they give none."""
    return getattr(member.settings, f"{topology.COMPONENTS[component].binary}_external_url", None)


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


def _web_config(site: Site, member: Member) -> Value:
    return web.config_file(member.settings)


def _sidecar_client(site: Site, member: Member) -> Value:
    return topology.SIDECAR_CLIENT if web.http_config([member.settings]) else None


def _peers(site: Site, member: Member) -> list[str]:
    others = site.peers(member, "alertmanager")
    return [site.endpoint("alertmanager", other, "cluster").target for other in others]


def clustered(site: Site) -> bool:
    """Whether the Alertmanagers gossip: one alone has nobody to talk to."""
    return len(site.members("alertmanager")) > 1


def _if_clustered(value: Callable[[Site, Member], Value]) -> Callable[[Site, Member], Value]:
    return lambda site, member: value(site, member) if clustered(site) else None


class _GossipListen(_Listen):
    """Empty where there is one Alertmanager."""

    def __call__(self, site: Site, member: Member) -> str:
        return super().__call__(site, member) if clustered(site) else ""


GOSSIP_LABEL = "monitoring"
"""Label of the gossip where nothing else is wanted: it has nothing to do with the external labels, which may change."""


def gossip_label(site: Site, member: Member) -> str | None:
    """The label that Alertmanagers must share to hear each other: the setting's, else the one that the living members
    have, else `GOSSIP_LABEL`."""
    label = member.settings.alertmanager_cluster_label
    if label is None:
        label = site.live.gossip_label(site.hosts)
    return (GOSSIP_LABEL if label is None else label) or None


def store_target(site: Site, component: str, member: Member) -> str:
    """Under what a querier knows a StoreAPI: its own address, or the name of its group."""
    if component == "thanos-store" and member.settings.store_group:
        return f"dns+{member.settings.store_group}"  # without, gRPC settles for one address
    return site.endpoint(component, member, "grpc").target


def endpoints(site: Site, member: Member) -> list[dict[str, Any]]:
    """Whom a querier asks, in upstream's keys: the StoreAPIs of the inventory, and the setting's.

    Strict: a store that does not answer is still asked, so that an answer without it carries a
    warning. Otherwise it would leave the set within seconds, and its data without a word.
    """
    found = {}
    for component, other in site.stores():
        target = store_target(site, component, other)
        found[target] = {"address": target, "group" if "+" in target else "strict": True}
    for entry in member.settings.querier_endpoints:
        strict = {} if "+" in entry["address"] else {"strict": True}
        found[entry["address"]] = {**strict, **entry}
    return list(found.values())


def _endpoints(flag: str) -> Callable[[Site, Member], Value]:
    """The addresses that belong to one of the flags which older queriers get them by."""

    def kind(entry: dict[str, Any]) -> str:
        if entry.get("group"):
            return "endpoint-group"
        return "endpoint-strict" if entry.get("strict") else "endpoint"

    return lambda site, member: [
        entry["address"] for entry in endpoints(site, member) if kind(entry) == flag
    ]


def replica_labels(site: Site, member: Member) -> list[str]:
    """The labels that deduplication ignores: the setting's, and those in which rulers and receivers differ."""
    own = [label for name, label in topology.REPLICA_LABELS.items() if site.running(name)]
    return list(dict.fromkeys([*member.settings.replica_labels, *own]))


def dropped_from_alerts(site: Site) -> list[str]:
    """The labels that alerts lose before they are sent: with them, two senders would have an alert each."""
    labels = {REPLICA_LABEL}
    for member in (*site.running("thanos-querier"), *site.running("thanos-rule")):
        labels |= set(replica_labels(site, member))
    return sorted(labels)


def _bucket_file(component: str) -> Callable[[Site, Member], Value]:
    path = topology.COMPONENTS[component].bucket
    return lambda site, member: path if uploads(member) else None


def frontend_downstream(site: Site, member: Member) -> str:
    """The URL at which a query frontend finds its querier; empty where there is none."""
    if member.settings.frontend_downstream:
        return member.settings.frontend_downstream
    if "querier" in member.groups:
        return site.local("thanos-querier", member).url
    queriers = site.running("thanos-querier")
    if not queriers:
        return ""
    position = [m.name for m in site.running("thanos-query-frontend")].index(member.name)
    return site.endpoint("thanos-querier", queriers[position % len(queriers)]).url


def stateless(member: Member) -> bool:
    """Whether the ruler of this host keeps no blocks, but sends what it records."""
    return bool(member.settings.rule_remote_write)


def replica_of(member: Member) -> str:
    """The value of its label in `topology.REPLICA_LABELS`: another in each site, as sites may share a bucket."""
    return f"{member.settings.cluster}/{member.name}"


def store_labels(component: str, member: Member) -> dict[str, str]:
    """The external labels with which a querier lists a StoreAPI; none for a gateway, which has those of its blocks, nor
    for somebody else's Prometheus."""
    if component == "thanos-sidecar":
        return {
            CLUSTER_LABEL: member.settings.cluster,
            REPLICA_LABEL: str(member.settings.replica),
        }
    label = topology.REPLICA_LABELS.get(component)
    return {label: replica_of(member)} if label else {}


def _replica_label(component: str) -> Callable[[Site, Member], str]:
    label = topology.REPLICA_LABELS[component]
    # Quoted as Go does it, which upstream reads it back by.
    return lambda site, member: f"{label}={json.dumps(replica_of(member), ensure_ascii=False)}"


PAIR_SINCE = "0.37.0"
"""First Thanos that takes a write which one of two members has (upstream's #7669)."""


def write_quorum(member: Member) -> int:
    """How many of the members that keep a sample must have it, or the write is refused."""
    copies = member.settings.receive_replication
    if copies == 2 and releases.at_least(member.settings.version("thanos"), PAIR_SINCE):
        return 1
    return copies // 2 + 1


def ring_spare(member: Member) -> int:
    """How many members of the ring may be away while every write succeeds."""
    return member.settings.receive_replication - write_quorum(member)


def ring_needs(site: Site, member: Member) -> int:
    """How many other members have to do their job while this one is down."""
    return len(site.peers(member, "receive")) + 1 - max(ring_spare(member), 1)


def endpoints_file(member: Member) -> bool:
    """Whether the querier of this host reads its stores from a file that it watches."""
    return releases.at_least(member.settings.version("thanos"), ENDPOINTS_SINCE)


ENDPOINTS_SINCE = "0.38.0"
"""First Thanos with `--endpoint.sd-config-file`."""


def expands_labels(member: Member) -> bool:
    """Whether this Prometheus expands `$` in external labels, as variables of its environment."""
    return releases.at_least(member.settings.version("prometheus"), "3.0.0-0")


FLUSH_DEADLINE = "5s"
"""How long a Prometheus that stops a remote_write queue goes on trying to empty it."""

DISK_SHARE = 80
"""Per cent of its file system that Prometheus may fill: upstream advises 80 to 85 at most."""


def retention_size(member: Member, found: State) -> str | None:
    """The size at which this Prometheus drops its oldest blocks: the setting's, or for `auto` the
    share of the disk, in two digits, so that a file system that changes a little changes nothing.

    None where there is no limit, and where the file system does not say how large it is.
    """
    size = member.settings.prometheus_retention_size
    if size != "auto":
        return size
    share = found.disk * DISK_SHARE // 100
    unit, factor = ("GB", 1 << 30) if share >= 10 << 30 else ("MB", 1 << 20)
    whole = share // factor
    step = 10 ** max(len(str(whole)) - 2, 0)
    return f"{whole // step * step}{unit}" if whole else None


RETENTION_IN_FILE = "3.12.0"
"""First Prometheus that is told its limits by its file, where a change is a reload: 3.8 to 3.10 take the same time for
a million times more (upstream's #18200), 3.11 ends where its data directory is still to be made (#18628)."""


def retention_in_file(member: Member) -> bool:
    """Whether the Prometheus of this host reads its limits from its file; older ones have flags."""
    return releases.at_least(member.settings.version("prometheus"), RETENTION_IN_FILE)


def retention(member: Member, found: State) -> dict[str, Any]:
    """The limits of local blocks in upstream's keys (`storage.tsdb.retention`). For `auto` a percentage where there is
    one, which follows a disk that grows; none where a file system does not say its size: Prometheus would end."""
    limits: dict[str, Any] = {"time": member.settings.prometheus_retention_time}
    size = retention_size(member, found)
    if size and member.settings.prometheus_retention_size == "auto" and retention_in_file(member):
        return limits | {"percentage": DISK_SHARE}
    return limits | ({"size": size} if size else {})


ADMIN_OFF_STORE = "0.39.0"
"""First Thanos whose store gateway knows `--disable-admin-operations`; compactor and tools have it since 0.33."""
ADMIN_OFF = "0.33.0"
_ADMIN_WHY = "whoever reaches the port could mark blocks for deletion"

LOOPBACK = "127.0.0.1"

WEB = "web_config, web_files"
LOG_LEVEL = Flag("log.level", "info", free=True)

_STORED = (
    Flag("config.file", topology.PROMETHEUS_CONFIG),
    Flag("storage.tsdb.path", topology.PROMETHEUS_DATA),
    Flag(
        "storage.tsdb.retention.time",
        _setting("prometheus_retention_time"),
        until=RETENTION_IN_FILE,
        setting="prometheus_retention_time",
    ),
    Flag(
        "storage.tsdb.retention.size",
        None,
        of_host=retention_size,
        until=RETENTION_IN_FILE,
        setting="prometheus_retention_size",
        why="a full disk ends ingestion; dropping the oldest blocks does not",
    ),
)
"""What every Prometheus is told of its files."""


def _served(component: str) -> tuple[Flag, ...]:
    """What every Prometheus is told of its HTTP port and its alerts."""
    return (
        Flag(
            "web.listen-address",
            _Listen(component),
            setting="prometheus_port, prometheus_listen_address",
        ),
        Flag(
            "web.external-url",
            _external_url(component),
            setting="prometheus_external_url",
        ),
        Flag("web.config.file", _web_config, setting=WEB),
        Flag("web.route-prefix", _route_prefix(component)),
        Flag(
            "web.enable-lifecycle", _setting("prometheus_lifecycle"), setting="prometheus_lifecycle"
        ),
        Flag(
            "web.enable-admin-api", _setting("prometheus_admin_api"), setting="prometheus_admin_api"
        ),
        Flag("rules.alert.resend-delay", _timing("resend_delay"), free=True),
        Flag(
            "scrape.discovery-reload-interval",
            _timing("discovery_reload"),
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


def _sidecar(component: str, data: Flag, url: Flag) -> tuple[Flag, ...]:
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
            _timing("get_config_interval"),
            free=True,
            why="drills restart both, and do not wait half a minute for one to look at the other",
        ),
        Flag("objstore.config-file", _bucket_file(component), setting="bucket_config"),
        Flag("grpc-address", _Listen(component, "grpc"), setting="sidecar_grpc_port"),
        Flag("http-address", _Listen(component, "http"), setting="sidecar_http_port"),
        Flag("http.config", _web_config, setting=WEB),
    )


TABLE: dict[str, tuple[Flag, ...]] = {
    "prometheus": (
        *_STORED,
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
            "storage.tsdb.block-reload-interval",
            _timing("block_reload"),
            since=releases.DELAY_PROMETHEUS,
            free=True,
            why="drills bring blocks, and do not wait a minute for them",
        ),
        *_served("prometheus"),
    ),
    # Without a sidecar nothing is uploaded, and blocks are compacted as upstream does it.
    "prometheus-upper": (
        *_STORED,
        *_served("prometheus-upper"),
        Flag(
            "web.enable-remote-write-receiver",
            _setting("prometheus_remote_write_receiver"),
            setting="prometheus_remote_write_receiver",
        ),
    ),
    "thanos-sidecar": (
        *_sidecar(
            "thanos-sidecar",
            Flag("tsdb.path", topology.PROMETHEUS_DATA, why="the data directory of Prometheus"),
            Flag("prometheus.url", _prometheus_url, setting="prometheus_port"),
        ),
        Flag("prometheus.http-client-file", _sidecar_client, setting="web_client"),
        LOG_LEVEL,
    ),
    # Somebody else's Prometheus may ask for a password or not: prometheus.http-client-file is the user's.
    "thanos-sidecar-attached": (
        *_sidecar(
            "thanos-sidecar-attached",
            Flag("tsdb.path", _setting("attached_data_dir"), setting="attached_data_dir"),
            Flag("prometheus.url", _setting("attached_url"), setting="attached_url"),
        ),
        LOG_LEVEL,
    ),
    "alertmanager": (
        Flag("config.file", topology.ALERTMANAGER_CONFIG),
        Flag("storage.path", topology.ALERTMANAGER_DATA),
        Flag(
            "cluster.listen-address",
            _GossipListen("alertmanager", "cluster"),
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
            _if_clustered(gossip_label),
            since="0.26.0",
            setting="alertmanager_cluster_label",
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
            _Listen("alertmanager"),
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
        Flag("web.config.file", _web_config, setting=WEB),
        Flag("web.route-prefix", _route_prefix("alertmanager")),
        LOG_LEVEL,
    ),
    "thanos-querier": (
        Flag("http-address", _Listen("thanos-querier", "http"), setting="querier_port"),
        Flag("http.config", _web_config, setting=WEB),
        Flag("grpc-address", _Listen("thanos-querier", "grpc"), setting="querier_grpc_port"),
        Flag(
            "endpoint.sd-config-file",
            topology.ENDPOINTS_FILE,
            since=ENDPOINTS_SINCE,
            setting="the inventory, querier_endpoints",
            why="watched: a store that is added needs no restart",
        ),
        Flag(
            "endpoint.sd-config-reload-interval",
            _timing("endpoint_reload"),
            since=ENDPOINTS_SINCE,
            free=True,
        ),
        *(
            Flag(
                name,
                _endpoints(name),
                until=ENDPOINTS_SINCE,
                setting="the inventory, querier_endpoints",
                why="files (--store.sd-files) know no strict endpoints in these versions",
            )
            for name in ("endpoint-strict", "endpoint", "endpoint-group")
        ),
        Flag("query.replica-label", replica_labels, setting="replica_labels"),
        Flag("query.timeout", _setting("querier_timeout"), setting="querier_timeout"),
        Flag(
            "store.response-timeout",
            "30s",
            free=True,
            why="one store that hangs costs a warning, not the query: less than the query's time",
        ),
        LOG_LEVEL,
    ),
    "thanos-query-frontend": (
        Flag("http-address", _Listen("thanos-query-frontend"), setting="frontend_port"),
        Flag("http.config", _web_config, setting=WEB),
        Flag(
            "query-frontend.downstream-url",
            frontend_downstream,
            setting="frontend_downstream, and the group querier of the inventory",
        ),
        Flag(
            "query-frontend.downstream-tripper-config-file",
            topology.FRONTEND_CLIENT,
            setting="web_client",
            why="a CA, and more than two idle connections: each query would open its own",
        ),
        Flag(
            "query-frontend.forward-header",
            lambda site, member: "Authorization" if web.asks_password(member.settings) else None,
            setting="web_config",
            why="the querier asks for the password that the frontend was asked with",
        ),
        Flag(
            "query-range.response-cache-config-file",
            lambda site, member: (
                topology.FRONTEND_CACHE if member.settings.frontend_cache else None
            ),
            setting="frontend_cache",
        ),
        Flag(
            "labels.response-cache-config-file",
            lambda site, member: (
                topology.FRONTEND_CACHE if member.settings.frontend_cache else None
            ),
            setting="frontend_cache",
        ),
        Flag("query-frontend.compress-responses", True, free=True),
        LOG_LEVEL,
    ),
    "thanos-store": (
        Flag("data-dir", topology.STORE_DATA),
        Flag("objstore.config-file", _bucket_file("thanos-store"), setting="bucket_config"),
        Flag("grpc-address", _Listen("thanos-store", "grpc"), setting="store_grpc_port"),
        Flag("http-address", _Listen("thanos-store"), setting="store_http_port"),
        Flag("http.config", _web_config, setting=WEB),
        Flag("min-time", _setting("store_min_time"), setting="store_min_time"),
        Flag("max-time", _setting("store_max_time"), setting="store_max_time"),
        Flag(
            "index-cache.config-file",
            lambda site, m: topology.STORE_INDEX_CACHE if m.settings.store_index_cache else None,
            setting="store_index_cache",
        ),
        Flag(
            "index-cache-size",
            lambda site, member: None if member.settings.store_index_cache else "250MB",
            free=True,
        ),
        Flag("sync-block-duration", _timing("bucket_sync"), free=True),
        Flag(
            "ignore-deletion-marks-delay",
            _timing("ignore_deletion_marks"),
            free=True,
            why="shorter than the compactor's --delete-delay: a block is not read while it goes",
        ),
        Flag("disable-admin-operations", True, since=ADMIN_OFF_STORE, free=True, why=_ADMIN_WHY),
        LOG_LEVEL,
    ),
    "thanos-compactor": (
        Flag("data-dir", topology.COMPACTOR_DATA),
        Flag("objstore.config-file", _bucket_file("thanos-compactor"), setting="bucket_config"),
        Flag("http-address", _Listen("thanos-compactor"), setting="compactor_port"),
        Flag("http.config", _web_config, setting=WEB),
        Flag("wait", True, why="without it one pass is made, and the unit would start it for ever"),
        Flag("wait-interval", _timing("compact_wait"), free=True),
        Flag(
            "retention.resolution-raw",
            _setting("compactor_retention_raw"),
            setting="compactor_retention_raw",
        ),
        Flag(
            "retention.resolution-5m",
            _setting("compactor_retention_5m"),
            setting="compactor_retention_5m",
        ),
        Flag(
            "retention.resolution-1h",
            _setting("compactor_retention_1h"),
            setting="compactor_retention_1h",
        ),
        Flag(
            "downsampling.disable",
            lambda site, member: not member.settings.compactor_downsampling,
            setting="compactor_downsampling",
        ),
        Flag(
            "compact.enable-vertical-compaction",
            _setting("compactor_vertical"),
            setting="compactor_vertical",
        ),
        Flag("consistency-delay", _timing("consistency_delay"), free=True),
        Flag("delete-delay", _timing("delete_delay"), free=True),
        Flag("compact.cleanup-interval", _timing("compact_cleanup"), free=True),
        Flag("disable-admin-operations", True, since=ADMIN_OFF, free=True, why=_ADMIN_WHY),
        LOG_LEVEL,
    ),
    "thanos-rule": (
        Flag("data-dir", topology.RULE_DATA),
        Flag("rule-file", f"{topology.RULE_RULES_DIR}/*.yml", setting="rule_rules"),
        Flag("query.config-file", topology.RULE_QUERY, setting="the group querier"),
        Flag(
            "alertmanagers.config-file",
            lambda site, m: topology.RULE_ALERTMANAGERS if site.running("alertmanager") else None,
            setting="the group alertmanager",
        ),
        Flag("label", _replica_label("thanos-rule"), setting="cluster, and the host's name"),
        Flag(
            "alert.label-drop",
            lambda site, member: dropped_from_alerts(site),
            why="two rulers send every alert: without their label it is one and the same",
        ),
        Flag(
            "alert.query-url",
            lambda site, member: next(
                (site.endpoint("thanos-querier", m).url for m in site.running("thanos-querier")),
                None,
            ),
            free=True,
            why="where the links of alerts lead",
        ),
        Flag("eval-interval", _setting("evaluation_interval"), free=True),
        Flag("resend-delay", _timing("resend_delay"), free=True),
        Flag(
            "objstore.config-file",
            lambda site, member: (
                None if stateless(member) else _bucket_file("thanos-rule")(site, member)
            ),
            setting="bucket_config",
        ),
        Flag(
            "remote-write.config-file",
            lambda site, member: topology.RULE_REMOTE_WRITE if stateless(member) else None,
            setting="rule_remote_write",
        ),
        Flag("grpc-address", _Listen("thanos-rule", "grpc"), setting="rule_grpc_port"),
        Flag("http-address", _Listen("thanos-rule"), setting="rule_http_port"),
        Flag("http.config", _web_config, setting=WEB),
        LOG_LEVEL,
    ),
    "thanos-receive": (
        Flag("tsdb.path", topology.RECEIVE_DATA),
        Flag("tsdb.retention", _setting("receive_retention"), setting="receive_retention"),
        Flag("label", _replica_label("thanos-receive"), setting="cluster, and the host's name"),
        Flag(
            "receive.hashrings-file",
            topology.RECEIVE_HASHRINGS,
            setting="the group receive of the inventory",
            why="watched: a new member needs no restart of the others",
        ),
        Flag(
            "receive.hashrings-file-refresh-interval",
            _timing("endpoint_reload"),
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
            lambda site, member: site.endpoint("thanos-receive", member, "grpc").target,
            setting="service_address",
        ),
        Flag(
            "receive.replication-factor",
            _setting("receive_replication"),
            setting="receive_replication",
        ),
        Flag(
            "receive.capnproto-address",
            topology.join("127.0.0.1", topology.CAPNPROTO_PORT),
            since="0.37.0",
            why="it listens there whether the members speak that protocol or not: for nobody",
        ),
        Flag(
            "tsdb.too-far-in-future.time-window",
            "5m",
            free=True,
            why="one sample of the future makes all of the present too old (thanos#6167)",
        ),
        Flag("objstore.config-file", _bucket_file("thanos-receive"), setting="bucket_config"),
        Flag(
            "remote-write.address",
            _Listen("thanos-receive", "remote_write"),
            setting="receive_remote_write_port",
        ),
        Flag("grpc-address", _Listen("thanos-receive", "grpc"), setting="receive_grpc_port"),
        Flag("http-address", _Listen("thanos-receive"), setting="receive_http_port"),
        Flag("http.config", _web_config, setting=WEB),
        LOG_LEVEL,
    ),
    "thanos-bucket-web": (
        Flag("objstore.config-file", _bucket_file("thanos-bucket-web"), setting="bucket_config"),
        Flag("http-address", _Listen("thanos-bucket-web"), setting="bucket_web_port"),
        Flag("http.config", _web_config, setting=WEB),
        Flag("disable-admin-operations", True, since=ADMIN_OFF, free=True, why=_ADMIN_WHY),
        LOG_LEVEL,
    ),
    "seaweedfs": (
        Flag("dir", topology.SEAWEEDFS_DATA),
        Flag("ip", LOOPBACK, why="by it master, filer and volume server know each other"),
        Flag("ip.bind", LOOPBACK, why="who reaches the filer reads everything without a key"),
        Flag(
            "master.volumeSizeLimitMB",
            1024,
            free=True,
            why="of upstream's 30 GB a small disk holds none",
        ),
        Flag("master.telemetry", "false"),
        Flag("master.electionTimeout", "1s", free=True, why="nobody else stands for election"),
        Flag("volume.max", 0, free=True, why="as many volumes as the disk holds"),
        Flag("volume.preStopSeconds", 0, free=True, why="nobody else could take over meanwhile"),
        Flag("filer", True),
        Flag("s3", True),
        Flag("s3.ip.bind", "0.0.0.0", free=True),  # of both families
        Flag("s3.port", _Port("seaweedfs_port", "s3"), setting="seaweedfs_port"),
        Flag("s3.config", topology.SEAWEEDFS_KEYS, setting="bucket_keys"),
        Flag("s3.iam", "false", why="keys come from the inventory"),
        Flag("s3.port.iceberg", 0),
        Flag("s3.port.lance", 0),
        Flag("metricsIp", "0.0.0.0", free=True),
        Flag("metricsPort", _Port("seaweedfs_metrics_port"), setting="seaweedfs_metrics_port"),
    ),
    "minio": (
        Flag("address", _Port("minio_port", prefix=":"), setting="minio_port"),
        Flag(
            "console-address",
            _Port("minio_console_port", "console", ":"),
            setting="minio_console_port",
        ),
        Flag("certs-dir", topology.MINIO_CERTS, why="its port is asked by plain HTTP"),
    ),
    "node_exporter": (
        Flag("web.listen-address", _Listen("node_exporter"), setting="node_exporter_port"),
        Flag("web.config.file", _web_config, setting=WEB),
        LOG_LEVEL,
    ),
}
"""Component -> its flags, in the order they are written."""

_EVERYWHERE = "TLS between Thanos' gRPC ports has to be known to every client in the site"
_STORES = "stores come from the inventory; others: set querier_endpoints"

_PROMETHEUS = {
    "agent": "an agent serves no queries and evaluates no rules",
    "config.auto-reload*": "the deploy reloads, after the checks",
    "storage.tsdb.retention*": "set prometheus_retention_time, prometheus_retention_size",
    "web.enable-remote-write-receiver": "set prometheus_remote_write_receiver, in the group upper",
}

_THANOS = {
    "grpc-server-tls-*": _EVERYWHERE,
    "grpc-client-*": _EVERYWHERE,
    "objstore.config": "set bucket_config: a command line can be read by everyone",
    "web.route-prefix": "health and metrics have to stay where they are looked for",
}

_SIDECAR = {
    **_THANOS,
    "prometheus.http-client": "set web_client: a command line can be read by everyone",
    "reloader.*": "the deploy writes the configuration",
    "shipper.ignore-unequal-block-size": "it lets blocks be compacted before they are uploaded",
    "shipper.meta-file-name": "Prometheus waits for the default one",
}

PROTECTED: dict[str, dict[str, str]] = {
    "prometheus": _PROMETHEUS,
    "prometheus-upper": _PROMETHEUS,
    "thanos-sidecar": _SIDECAR,
    "thanos-sidecar-attached": {
        **_SIDECAR,
        "prometheus.http-client": "set prometheus.http-client-file: a command line can be read by everyone",
        "reloader.*": "nothing of that Prometheus is ours to write",
    },
    "alertmanager": {
        "cluster.tls-config": "it has to be switched on for all members at once",
    },
    "thanos-querier": {
        **_THANOS,
        "endpoint*": _STORES,
        "store": _STORES,
        "store-strict": _STORES,
        "store.sd-files": _STORES,
    },
    "thanos-query-frontend": {
        **_THANOS,
        "query-frontend.downstream-tripper-config": "set web_client, in which a CA is named",
        "*.response-cache-config": "set frontend_cache",
    },
    "thanos-store": {**_THANOS, "index-cache.config": "set store_index_cache"},
    "thanos-compactor": {
        **_THANOS,
        "deduplication.replica-label": "replicas are deduplicated when they are queried",
    },
    "thanos-rule": {
        **_THANOS,
        "query": "queriers come from the inventory",
        "query.*config": "a command line can be read by everyone",
        "query.sd-files": "queriers come from the inventory",
        "alertmanagers.*": "Alertmanagers come from the inventory",
        "remote-write.config": "set rule_remote_write: a command line can be read by everyone",
    },
    "thanos-receive": {
        **_THANOS,
        "receive.hashrings": "the hashring comes from the inventory",
        "remote-write.server-tls-*": "every sender would have to know",
    },
    "thanos-bucket-web": _THANOS,
    "seaweedfs": {
        **dict.fromkeys(("iam*", "s3.iam.*"), "keys come from the inventory"),
        **dict.fromkeys(("sftp*", "webdav*", "mq.*"), "another door to the same objects"),
        **dict.fromkeys(
            ("s3.cert.file", "s3.key.file", "s3.port.*"), "its port is asked by plain HTTP"
        ),
        "master.peers": "it is a single host",
        "options": "they belong on the command line, where a change is seen",
    },
    "minio": {
        **dict.fromkeys(("sftp", "ftp"), "another door to the same objects"),
        "config": "the root user comes from bucket_keys.admin",
    },
    "node_exporter": {
        "web.telemetry-path": "metrics have to stay where they are looked for",
    },
}
"""Component -> flags that are not ours and would break the site -> why, or what to set instead."""

EXTRA: dict[str, str] = {
    "prometheus": "prometheus_flags",
    "prometheus-upper": "prometheus_flags",
    "thanos-sidecar": "sidecar_flags",
    "thanos-sidecar-attached": "sidecar_flags",
    "alertmanager": "alertmanager_flags",
    "thanos-querier": "querier_flags",
    "thanos-query-frontend": "frontend_flags",
    "thanos-store": "store_flags",
    "thanos-compactor": "compactor_flags",
    "thanos-rule": "rule_flags",
    "thanos-receive": "receive_flags",
    "thanos-bucket-web": "bucket_web_flags",
    "seaweedfs": "seaweedfs_flags",
    "minio": "minio_flags",
    "node_exporter": "node_exporter_flags",
}
"""Component -> setting with the user's extra flags."""


@dataclass(frozen=True)
class Grammar:
    """How a daemon reads a duration: in `seconds`, which raises ValueError for what is none to it."""

    seconds: Callable[[str], float]
    allowed: str


PROMETHEUS_DURATION = Grammar(
    seconds, "a duration as Prometheus reads it, like 15d or 1h30m (whole y, w, d, h, m, s, ms)"
)
GO_DURATION = Grammar(
    go_seconds,
    "a duration as Go reads it, like 90s, 8d or 8760h for a year (w, d, h, m, s, ms; no y)",
)
DAYS_SINCE = "0.39.0"
"""First Thanos whose Go durations have days and weeks; 0.38 still had the kingpin without."""


def _read_as(prometheus: str = "", go: str = "") -> dict[str, Grammar]:
    return {
        **dict.fromkeys(prometheus.split(), PROMETHEUS_DURATION),
        **dict.fromkeys(go.split(), GO_DURATION),
    }


_PROMETHEUS_DURATIONS = _read_as(
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

_SIDECAR_DURATIONS = _read_as(
    prometheus="http-grace-period",
    go="""
        grpc-grace-period grpc-server-max-connection-age prometheus.get_config_interval
        prometheus.get_config_timeout prometheus.ready_timeout reloader.retry-interval
        reloader.watch-interval
    """,
)

DURATIONS: dict[str, dict[str, Grammar]] = {
    "prometheus": _PROMETHEUS_DURATIONS,
    "prometheus-upper": _PROMETHEUS_DURATIONS,
    "thanos-sidecar": _SIDECAR_DURATIONS,
    "thanos-sidecar-attached": _SIDECAR_DURATIONS,
    "alertmanager": _read_as(
        go="""
            alerts.gc-interval cluster.gossip-interval cluster.peer-timeout
            cluster.peers-resolve-timeout cluster.probe-interval cluster.probe-timeout
            cluster.pushpull-interval cluster.reconnect-interval cluster.reconnect-timeout
            cluster.settle-timeout cluster.tcp-timeout data.maintenance-interval data.retention
            dispatch.maintenance-interval dispatch.start-delay web.timeout
        """,
    ),
    "thanos-querier": _read_as(
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
    "thanos-query-frontend": _read_as(
        prometheus="http-grace-period",
        go="""
            labels.default-time-range labels.response-cache-max-freshness labels.split-interval
            query-frontend.log-queries-longer-than query-range.max-query-length
            query-range.max-split-interval query-range.min-split-interval
            query-range.response-cache-max-freshness query-range.split-interval
        """,
    ),
    "thanos-store": _read_as(
        prometheus="consistency-delay http-grace-period ignore-deletion-marks-delay",
        go="""
            grpc-grace-period grpc-server-max-connection-age
            store.index-header-lazy-reader-idle-timeout sync-block-duration
        """,
    ),
    "thanos-compactor": _read_as(
        prometheus="""
            delete-delay http-grace-period retention.resolution-1h retention.resolution-5m
            retention.resolution-raw
        """,
        go="""
            block-viewer.global.sync-block-interval block-viewer.global.sync-block-timeout
            compact.cleanup-interval compact.progress-interval consistency-delay wait-interval
        """,
    ),
    "thanos-rule": _read_as(
        prometheus="http-grace-period tsdb.block-duration tsdb.retention",
        go="""
            alertmanagers.sd-dns-interval alertmanagers.send-timeout eval-interval for-grace-period
            for-outage-tolerance grpc-grace-period grpc-server-max-connection-age query.default-step
            query.sd-dns-interval query.sd-interval resend-delay rule-query-offset
        """,
    ),
    "thanos-receive": _read_as(
        prometheus="""
            http-grace-period receive-forward-max-backoff receive-forward-timeout
            receive.hashrings-file-refresh-interval tsdb.max-block-duration tsdb.min-block-duration
            tsdb.out-of-order.time-window tsdb.retention tsdb.too-far-in-future.time-window
        """,
        go="grpc-grace-period grpc-server-max-connection-age receive.limits-config-reload-timer",
    ),
    "thanos-bucket-web": _read_as(
        prometheus="http-grace-period",
        go="refresh timeout",
    ),
    "node_exporter": _read_as(
        go="collector.filesystem.mount-timeout collector.ntp.local-offset-tolerance",
    ),
}
"""Component -> flags whose value is a duration, and who reads it. What its binary says to nonsense is recorded in
`tests/unit/data/flags/durations.txt`; those that its help does not show are from upstream's source."""


SUBCOMMAND: dict[str, tuple[str, ...]] = {
    "thanos-sidecar": ("sidecar",),
    "thanos-sidecar-attached": ("sidecar",),
    "thanos-querier": ("query",),
    "thanos-query-frontend": ("query-frontend",),
    "thanos-store": ("store",),
    "thanos-compactor": ("compact",),
    "thanos-rule": ("rule",),
    "thanos-receive": ("receive",),
    "thanos-bucket-web": ("tools", "bucket", "web"),
    "seaweedfs": ("-logtostderr", f"-config_dir={topology.SEAWEEDFS_DIR}", "server"),
    "minio": ("server", topology.MINIO_DATA),
}
"""Component -> first arguments, where the binary is several daemons in one."""


DASHES: dict[str, str] = {"seaweedfs": "-"}
"""Component -> what its flags begin with, where not with two dashes."""


def _plain(name: str) -> str:
    """A flag's name as the tables have it: `no-web.enable-lifecycle` is `web.enable-lifecycle`."""
    return name.removeprefix("no-")


def _protected(component: str, name: str) -> str | None:
    for pattern, why in PROTECTED[component].items():
        if fnmatchcase(name, pattern):
            return f"other flags: {why}"
    return None


def _wrong_duration(component: str, name: str, value: Value, settings: Settings) -> str | None:
    """What is allowed, where the value is to be a duration and the daemon would end on it."""
    grammar = DURATIONS.get(component, {}).get(name)
    if grammar is None or value is None or value is False:
        return None
    values = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
    try:
        for one in values:
            grammar.seconds(one)
    except ValueError:
        return grammar.allowed
    old = component.startswith("thanos-") and not releases.at_least(
        settings.version(component), DAYS_SINCE
    )
    if old and grammar is GO_DURATION and re.search("[dw]", "".join(values)):
        return (
            f"hours and less (h, m, s, ms): Thanos before {DAYS_SINCE} reads neither days nor weeks"
        )
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
            if f"{plain}-file" in {*ours, *getattr(settings, setting)}:
                allowed = allowed or f"one of the two: {plain}-file says the same in a file"
        if (
            name == "index-cache-size"
            and settings.store_index_cache
            and component == "thanos-store"
        ):
            allowed = "one of the two: with store_index_cache its size is a key of that"
        elif allowed is None or (flag is not None and flag.free):
            allowed = _wrong_duration(component, name, value, settings)
        if allowed is None:
            continue
        found.append(Problem(f"{setting}.{name}", repr(value), allowed))
    return found


def _items(component: str, name: str, value: Value) -> list[str]:
    flag = DASHES.get(component, "--") + name
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if isinstance(value, list | tuple):
        return [f"{flag}={item}" for item in value]
    return [f"{flag}={value}"]


def argv(component: str, site: Site, member: Member, found: State) -> list[str]:
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
    words = [topology.COMPONENTS[component].path, *SUBCOMMAND.get(component, ())]
    for flag in TABLE[component]:
        if flag.name not in replaced and flag.applies(version):
            if flag.of_host:
                value = flag.of_host(member, found)
            else:
                value = flag.value(site, member) if callable(flag.value) else flag.value
            words += _items(component, flag.name, value)
    for name, value in extra.items():
        words += _items(component, name, value)
    return words
