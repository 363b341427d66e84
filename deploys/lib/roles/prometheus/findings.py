"""What settings of Prometheus may not be, of one host and of the replicas of a cluster."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding, as_dict, as_list, host_finding, nearest
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site import derived, relations
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL, Settings, secret_names


def _uses_replica(rule: Any) -> bool:
    """Whether a relabelling rule reads or writes the replica label."""
    if not isinstance(rule, Mapping) or rule.get("action") in ("labeldrop", "labelkeep"):
        return False
    return REPLICA_LABEL in (rule.get("source_labels") or []) or REPLICA_LABEL in (
        rule.get("target_label"),
        rule.get("replacement") if rule.get("action") == "labelmap" else None,
    )


def _check_prometheus(site: Site, member: Member) -> Iterator[Finding]:
    """What upstream would accept and what breaks the pair."""
    replica, upper = (daemons.PROMETHEUS.group in member.groups, daemons.UPPER.group in member.groups)
    if not (replica or upper):
        return
    settings, config = member.settings, member.settings.prometheus_config
    finding = partial(host_finding, member)
    if replica and upper:
        allowed = "another host for one of them: they are the same program in the same directories"
        yield finding("groups", "prometheus and upper", allowed)
    if replica and settings.replica is None:
        yield finding("replica", "nothing", "a name of its own on every Prometheus of a cluster")
    if replica and settings.prometheus_remote_write_receiver:
        allowed = "a host of the group upper: a replica has what it scrapes, as its pair has"
        yield finding("prometheus_remote_write_receiver", "True on a replica", allowed)
    labels = config.get("global", {}).get("external_labels", {})
    for label, wanted in ((CLUSTER_LABEL, settings.cluster), (REPLICA_LABEL, settings.replica)):
        if label in labels and labels[label] != wanted:
            key = f"prometheus_config.global.external_labels.{label}"
            yield finding(key, repr(labels[label]), f"{wanted!r}: it is the setting {label}")
    if config.get("rule_files"):
        allowed = "the setting prometheus_rules"
        yield finding("prometheus_config.rule_files", "a list of its own", allowed)
    for key, rules in _alert_relabelling(config):
        if any(_uses_replica(rule) for rule in as_list(rules)):
            allowed = "rules without it: alerts lose it, or every alert would be sent twice"
            yield finding(key, f"a rule with the label {REPLICA_LABEL}", allowed)
    federated = [str(job["job_name"]) for job in configuration.federation_jobs(site, member)] if upper else []
    yield from _check_jobs(finding, member, federated)
    yield from _check_said_twice(finding, settings)
    if replica:
        yield from _check_chunks(finding, settings)
        yield from _check_remote_write(finding, settings)


def _check_said_twice(finding: Callable[..., Finding], settings: Settings) -> Iterator[Finding]:
    """What upstream lets one say by a flag and in the file: the file wins, and what goes by the flag is wrong."""
    config = settings.prometheus_config
    if as_dict(as_dict(config.get("storage")).get("tsdb")).get("retention") is not None:
        allowed = "the settings prometheus_retention_time and prometheus_retention_size: a retention "
        allowed += "here would take their place, and have no limit for what it leaves out"
        yield finding("prometheus_config.storage.tsdb.retention", "a retention", allowed)
    if "log_level" in as_dict(config.get("runtime")) and "log.level" in settings.prometheus_flags:
        allowed = "one of the two: prometheus_config.runtime.log_level would win"
        yield finding("prometheus_flags.log.level", "a level beside that of the file", allowed)


_XOR2 = {"xor2-encoding", "st-storage", "histograms-st-encoding"}
"""Features with which Prometheus (3.11 and newer) writes chunks that Thanos cannot read: up to 0.42 its own library of
Prometheus' code (0.309) knows none of them."""


def _check_chunks(finding: Callable[..., Finding], settings: Settings) -> Iterator[Finding]:
    """Chunks of a kind, by the file or by a flag, that sidecar and store gateway cannot read."""
    allowed = "others: Thanos cannot read such chunks, neither for a query nor in a block"
    tsdb = as_dict(as_dict(settings.prometheus_config.get("storage")).get("tsdb"))
    if as_dict(tsdb.get("chunk_encoding")).get("floats") == "xor2":
        key = "prometheus_config.storage.tsdb.chunk_encoding.floats"
        yield finding(key, "xor2", f"xor, which is the default; {allowed}")
    given = settings.prometheus_flags.get("enable-feature")
    words = ",".join(given) if isinstance(given, list) else str(given)
    if found := sorted(_XOR2 & set(words.split(","))):
        yield finding("prometheus_flags.enable-feature", ", ".join(found), allowed)


def _alert_relabelling(config: dict) -> Iterator[tuple[str, Any]]:
    part, alerting = "alert_relabel_configs", config.get("alerting", {})
    yield f"prometheus_config.alerting.{part}", alerting.get(part)
    for index, entry in enumerate(as_list(alerting.get("alertmanagers"))):
        yield f"prometheus_config.alerting.alertmanagers[{index}].{part}", as_dict(entry).get(part)


def _check_jobs(finding: Callable[..., Finding], member: Member, more: list[str]) -> Iterator[Finding]:
    settings = member.settings
    own = {*more, relations.WATCHED_JOB, *(info.job_name for info in DAEMONS.values())}
    seen: set[str] = set()
    jobs: list[tuple[str, Any, Mapping]] = [
        ("prometheus_targets", name, {}) for name in configuration.jobs_of_targets(member)
    ]
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
        groups = as_list(job.get("static_configs")) or settings.prometheus_targets.get(name, [])
        for label, severity in ((REPLICA_LABEL, "fail"), (CLUSTER_LABEL, "warn")):
            if any(label in as_dict(as_dict(group).get("labels")) for group in groups):
                allowed = "another name: the sidecar puts the external label over it"
                yield finding(key, f"targets with the label {label}", allowed, severity)
        for part in ("relabel_configs", "metric_relabel_configs"):
            rules = map(as_dict, as_list(job.get(part)))
            if any(rule.get("target_label") == REPLICA_LABEL for rule in rules):
                allowed = "another label: the sidecar puts the external label over it"
                yield finding(f"{key}.{part}", f"a rule that writes {REPLICA_LABEL}", allowed)


def _check_remote_write(finding: Callable[..., Finding], settings: Settings) -> Iterator[Finding]:
    """Replicas send the same series: without their labels, each would write over the other's, but in a store that is
    said to make one of them."""
    written = settings.prometheus_config.get("remote_write", [])
    names = [str(entry["name"]) for entry in written if "name" in entry]
    for name in settings.remote_write_deduplicates:
        if name not in names:
            allowed = f"a name in remote_write: {', '.join(names) or 'no entry has one'}"
            yield finding("remote_write_deduplicates", f"the entry {name}", allowed)
    for index, entry in enumerate(written):
        key = f"prometheus_config.remote_write[{index}]"
        rules = [as_dict(rule) for rule in as_list(entry.get("write_relabel_configs"))]
        store = settings.remote_write_deduplicates.get(str(entry.get("name")))
        if store in ("mimir", "cortex") and not _copied(rules, REPLICA_LABEL, "__replica__"):
            allowed = f"a rule that copies {REPLICA_LABEL} to __replica__: its HA tracker goes by it"
            yield finding(f"{key}.write_relabel_configs", f"none for {store}", allowed)
        for number, rule in enumerate(rules):
            for label in (CLUSTER_LABEL, REPLICA_LABEL):
                if not _loses(rule, label) or _copied(rules[:number], label):
                    continue
                place = f"{key}.write_relabel_configs[{number}]"
                if label == CLUSTER_LABEL and _is_constant(rule):
                    found = f"a rule that makes {label} one for all that is sent"
                    allowed = "that, where no other cluster sends the same value: "
                    yield finding(place, found, allowed + "their series would be one", "warn")
                elif label == CLUSTER_LABEL or store != "victoriametrics":
                    found = f"a rule that drops or overwrites the label {label}"
                    allowed = "rules that keep it, or copy it to another label before: the same "
                    allowed += "series of two replicas would be one, with twice the samples"
                    if label == REPLICA_LABEL:
                        allowed += "; a store that deduplicates is named in remote_write_deduplicates"
                    yield finding(place, found, allowed)
        url = entry.get("url")
        if isinstance(url, str) and url.startswith("http://") and "basic_auth" in entry:
            allowed = "https: whoever is in between reads the password"
            yield finding(f"{key}.url", "http with basic_auth", allowed, "warn")


def _loses(rule: Mapping, label: str) -> bool:
    """Whether a relabelling rule takes `label` away or writes something else into it."""
    action = str(rule.get("action", "replace")).lower()
    if action in ("labeldrop", "labelkeep"):
        try:
            # Upstream's regular expressions are another dialect; what Python cannot read is promtool's to judge.
            matches = re.fullmatch(str(rule.get("regex", "(.*)")), label) is not None
        except re.error:
            return False
        return matches == (action == "labeldrop")
    if action == "labelmap":
        return rule.get("replacement") == label
    return rule.get("target_label") == label and action not in ("keep", "drop")


def _is_constant(rule: Mapping) -> bool:
    """Whether a rule writes one text, whatever was there: the same on both replicas."""
    action = str(rule.get("action", "replace")).lower()
    text = str(rule.get("replacement", "$1"))
    everything = str(rule.get("regex", "(.*)")) in ("(.*)", ".*", "")
    return action == "replace" and "$" not in text and text != "" and everything


def _copied(rules: Sequence[Mapping], label: str, to: str = "") -> bool:
    """Whether rules that come before have the value of `label` in another label (in `to`), as `__replica__`, which none
    of them loses again."""
    return any(
        rule.get("source_labels") == [label]
        and (rule.get("target_label") == to if to else rule.get("target_label") not in (None, "", label))
        and str(rule.get("action", "replace")).lower() == "replace"
        # Upstream's defaults may be written out.
        and str(rule.get("regex", "(.*)")) in ("(.*)", "(.+)")
        and str(rule.get("replacement", "$1")) in ("$1", "${1}", "$0", "${0}")
        and not any(_loses(later, rule["target_label"]) for later in rules[number + 1 :])
        for number, rule in enumerate(rules)
    )


def _check_out_of_order(site: Site, member: Member) -> Iterator[Finding]:
    """Late samples end in blocks that overlap others, with the same labels: what that takes where they are uploaded."""
    settings, finding = member.settings, partial(host_finding, member)
    if settings.bucket_config is None:
        return
    found = []
    if daemons.PROMETHEUS.group in member.groups:
        tsdb = as_dict(as_dict(settings.prometheus_config.get("storage")).get("tsdb"))
        key = "prometheus_config.storage.tsdb.out_of_order_time_window"
        found.append((key, tsdb.get("out_of_order_time_window")))
    if daemons.RECEIVE.group in member.groups:
        name = "tsdb.out-of-order.time-window"
        found.append((f"receive_flags.{name}", settings.receive_flags.get(name)))
    compactors = site.running(daemons.COMPACTOR)
    for key, window in found:
        if not _some_time(window):
            continue
        if key.startswith("prometheus") and not derived.delayed_compaction(member):
            since = f"Prometheus {daemons.prometheus.DELAY_SINCE} with Thanos {daemons.thanos.DELAY_SINCE}"
            allowed = f"0, or {since}, or newer: "
            allowed += "older ones merge such blocks before they are uploaded, and what is merged is not"
            yield finding(key, repr(window), allowed)
        elif any(not m.settings.compactor_vertical for m in compactors):
            allowed = "0, or compactor_vertical = True: blocks that overlap halt the compactor otherwise"
            yield finding(key, repr(window), f"{allowed} (docs/storage.md)")
        elif not compactors:
            allowed = "--compact.enable-vertical-compaction on whatever compacts the bucket: it halts otherwise"
            yield finding(key, repr(window), allowed, "warn")


def _some_time(window: Any) -> bool:
    """Whether a window is longer than nothing; what is no duration is for the daemon's checker to judge."""
    if not window:
        return False
    try:
        return seconds(str(window)) > 0
    except ValueError:
        return True


def _check_clusters(site: Site) -> Iterator[Finding]:
    """Replicas scrape the same things in the same way, under labels that differ in one."""
    yield from _check_scraped_by(site)
    for cluster, members in site.clusters.items():
        if len(members) == 1:
            found = f"one Prometheus in cluster {cluster!r}"
            allowed = "two or more: this one's restart is an outage"
            yield host_finding(members[0], "cluster", found, allowed, "warn")
        replicas: dict[str, str] = {}
        for member in members:
            name = member.settings.replica
            if name in replicas:
                found = f"{name!r}, which is that of {replicas[name]} in cluster {cluster!r} too"
                yield host_finding(member, "replica", found, "a name of its own for each")
            elif name is not None:
                replicas[name] = member.name
        first = members[0]
        for member in members[1:]:
            yield from _check_pair(first, member)


def _check_scraped_by(site: Site) -> Iterator[Finding]:
    for member in site.hosts.values():
        cluster = member.settings.scraped_by
        if cluster is None:
            continue
        if cluster not in site.clusters:
            allowed = f"a cluster with a Prometheus: {', '.join(site.clusters) or 'there is none'}"
            yield host_finding(member, "scraped_by", repr(cluster), allowed)
        elif daemons.PROMETHEUS.group in member.groups and cluster != member.settings.cluster:
            allowed = "its own `cluster`: a replica is scraped by its pair"
            yield host_finding(member, "scraped_by", repr(cluster), allowed)


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
        ("starter_alerts", "warn", ours.starter_alerts, theirs.starter_alerts),
        ("prometheus_secret_files", "warn", *_both(secret_names, ours, theirs)),
        ("bucket_config", "warn", ours.bucket_config, theirs.bucket_config),
    ):
        if a != b:
            found = f"another than on {first.name}, a replica of the same cluster"
            if key.endswith("scrape_interval"):
                found = f"{a}, while {first.name} of the same cluster has {b}"
            allowed = "the same on all replicas, which deduplication takes for one"
            yield host_finding(member, key, found, allowed, severity)


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


def _check_starter_alerts(site: Site, member: Member) -> Iterator[Finding]:
    """What is changed of a starter alert is there to be changed."""
    for name, change in member.settings.starter_alerts.items():
        finding = partial(host_finding, member)
        if name not in starter.ALERTS:
            near = nearest(name, starter.ALERTS)
            allowed = f"a starter alert of docs/alerts.md{f'; the nearest one is {near}' if near else ''}"
            yield finding(f"starter_alerts.{name}", "no such alert", allowed)
            continue
        levels = starter.ALERTS[name].levels
        if not change:
            continue
        if change.severity and len(levels) > 1:
            allowed = f"none: it has those of its levels ({' and '.join(levels)})"
            yield finding(f"starter_alerts.{name}.severity", change.severity, allowed)
        if change.threshold is None:
            continue
        key, given = f"starter_alerts.{name}.threshold", change.threshold
        if None in levels.values():
            yield finding(key, str(given), "none: this alert has no threshold")
        elif isinstance(given, dict) and (unknown := set(given) - set(levels)):
            yield finding(key, f"for {', '.join(sorted(unknown))}", f"for {' or '.join(levels)}")
        elif len(levels) > 1 and not isinstance(given, dict):
            wanted = ", ".join(f"'{severity}': {mark:g}" for severity, mark in levels.items() if mark is not None)
            yield finding(key, str(given), f"one by severity, as {{{wanted}}}")


FINDINGS = (_check_prometheus, _check_out_of_order, _check_starter_alerts)
SITE_FINDINGS = (_check_clusters,)
