"""What follows for a member from its site and its settings: whom it asks, under which labels, for how long it keeps."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import ALERTMANAGER, DAEMONS, Ref, of
from prometheus_ha.deploys.lib.daemons.prometheus import RETENTION_IN_FILE, TARGETS_DIR
from prometheus_ha.deploys.lib.daemons.thanos import ENDPOINTS_SINCE
from prometheus_ha.deploys.lib.site import relations, releases
from prometheus_ha.deploys.lib.site.live import flag_value
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.facts.reports.look import State


def external_url(component: str, member: Member) -> str | None:
    """The address for people that the settings give a component; None where they give none."""
    return getattr(member.settings, f"{DAEMONS[component].binary}_external_url", None)


def address(daemon: Ref, site: Site, member: Member) -> str:
    """Where a person opens a daemon."""
    info = of(daemon)
    return external_url(info.name, member) or site.endpoint(info, member).url


def uploads(member: Member) -> bool:
    """Whether the sidecar of this host uploads blocks."""
    return bool(member.settings.bucket_config)


def delayed_compaction(member: Member) -> bool:
    """Whether Prometheus compacts locally, but only blocks that are already uploaded."""
    return uploads(member) and releases.delayed_compaction(member.settings.all_versions)


SHIPPER_META = "thanos.shipper.json"
"""What the sidecar writes into the TSDB directory; it exits where Prometheus waits for another."""


def clustered(site: Site) -> bool:
    """Whether the Alertmanagers gossip: one alone has nobody to talk to."""
    return len(site.running(daemons.ALERTMANAGER)) > 1


GOSSIP_LABEL = "monitoring"
"""Label of the gossip where nothing else is wanted: it has nothing to do with the external labels, which may change."""


def _living_label(site: Site) -> str | None:
    """The label under which the living Alertmanagers gossip: that of most of them, empty for none at all; None where
    none is known to run."""
    live = site.live
    lines = [live.argv(m.own(ALERTMANAGER), m.name) or live.heard.get(m.name) for m in site.hosts.values()]
    labels = Counter(flag_value(line, "cluster.label") or "" for line in lines if line)
    return max(labels, key=labels.__getitem__, default=None)


def gossip_label(site: Site, member: Member) -> str | None:
    """The label that Alertmanagers must share to hear each other: the setting's, else the one that the living members
    have, else `GOSSIP_LABEL`."""
    label = member.settings.alertmanager_cluster_label
    if label is None:
        label = _living_label(site)
    return (GOSSIP_LABEL if label is None else label) or None


def store_target(site: Site, component: str, member: Member) -> str:
    """Under what a querier knows a StoreAPI: its own address, or the name of its group."""
    if component == daemons.STORE.name and member.settings.store_group:
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


def replica_labels(site: Site, member: Member) -> list[str]:
    """The labels that deduplication ignores: the setting's, and those in which rulers and receivers differ."""
    own = [label for name, label in relations.REPLICA_LABELS.items() if site.running(name)]
    return list(dict.fromkeys([*member.settings.replica_labels, *own]))


def dropped_from_alerts(site: Site) -> list[str]:
    """The labels that alerts lose before they are sent: with them, two senders would have an alert each."""
    labels = {REPLICA_LABEL}
    for member in (*site.running(daemons.QUERIER), *site.running(daemons.RULE)):
        labels |= set(replica_labels(site, member))
    return sorted(labels)


def frontend_downstream(site: Site, member: Member) -> str:
    """The URL at which a query frontend finds its querier; empty where there is none."""
    if member.settings.frontend_downstream:
        return member.settings.frontend_downstream
    if daemons.QUERIER.group in member.groups:
        return site.local(daemons.QUERIER, member).url
    queriers = site.running(daemons.QUERIER)
    if not queriers:
        return ""
    position = [m.name for m in site.running(daemons.FRONTEND)].index(member.name)
    return site.endpoint(daemons.QUERIER, queriers[position % len(queriers)]).url


def stateless(member: Member) -> bool:
    """Whether the ruler of this host keeps no blocks, but sends what it records."""
    return bool(member.settings.rule_remote_write)


def replica_of(member: Member) -> str:
    """The value of its label in `relations.REPLICA_LABELS`: another in each site, as sites may share a bucket."""
    return f"{member.settings.cluster}/{member.name}"


def store_labels(component: str, member: Member) -> dict[str, str]:
    """The external labels with which a querier lists a StoreAPI; none for a gateway, which has those of its blocks, nor
    for somebody else's Prometheus."""
    if component == daemons.SIDECAR.name:
        return {
            CLUSTER_LABEL: member.settings.cluster,
            REPLICA_LABEL: str(member.settings.replica),
        }
    label = relations.REPLICA_LABELS.get(component)
    return {label: replica_of(member)} if label else {}


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
    return len(site.peers(member, daemons.RECEIVE.group)) + 1 - max(ring_spare(member), 1)


def endpoints_file(member: Member) -> bool:
    """Whether the querier of this host reads its stores from a file that it watches."""
    return releases.at_least(member.settings.version("thanos"), ENDPOINTS_SINCE)


def expands_labels(member: Member) -> bool:
    """Whether this Prometheus expands `$` in external labels, as variables of its environment."""
    return releases.at_least(member.settings.version(daemons.PROMETHEUS), "3.0.0-0")


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


def retention_in_file(member: Member) -> bool:
    """Whether the Prometheus of this host reads its limits from its file; older ones have flags."""
    return releases.at_least(member.settings.version(daemons.PROMETHEUS), RETENTION_IN_FILE)


def retention(member: Member, found: State) -> dict[str, Any]:
    """The limits of local blocks in upstream's keys (`storage.tsdb.retention`). For `auto` a percentage where there is
    one, which follows a disk that grows; none where a file system does not say its size: Prometheus would end."""
    limits: dict[str, Any] = {"time": member.settings.prometheus_retention_time}
    size = retention_size(member, found)
    if size and member.settings.prometheus_retention_size == "auto" and retention_in_file(member):
        return limits | {"percentage": DISK_SHARE}
    return limits | ({"size": size} if size else {})


def targets_file(member: Member, job: str) -> str:
    """The file with the targets of a job, which Prometheus watches."""
    return member.own(daemons.PROMETHEUS).at(f"{TARGETS_DIR}/{job}.yml")


def replica_label(component: str, member: Member) -> str:
    """The external label that tells members apart, as a flag has it: quoted as Go does it, and reads it back."""
    label = relations.REPLICA_LABELS[component]
    return f"{label}={json.dumps(replica_of(member), ensure_ascii=False)}"
