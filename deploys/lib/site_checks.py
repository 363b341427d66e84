"""What an inventory and its settings may not be: each check yields findings, and `site.load_site` runs them all."""

from __future__ import annotations

import copy
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from deploys.lib import (
    ROOT,
    bucket_checks,
    derived,
    flags,
    relations,
    releases,
    remote_write_checks,
    topology,
    web_checks,
)
from deploys.lib.daemons import DAEMONS, GROUPS, prometheus, thanos
from deploys.lib.durations import go_seconds, seconds, written
from deploys.lib.findings import Finding, host_finding, nearest
from deploys.lib.results import some
from deploys.lib.roles.alertmanager import WATCHDOG, is_for_watchdog
from deploys.lib.roles.upper import federation_jobs
from deploys.lib.secrets import (
    PRIVATE_KEY,
    REFERENCE,
    SECRET_HELP,
    USERINFO,
    SecretError,
    dotted,
    is_plain_webhook,
    is_secret,
    is_secret_place,
    leaves,
    looks_only,
    misplaced,
    read_secret,
)
from deploys.lib.settings import CLUSTER_LABEL, REPLICA_LABEL, Settings, listens_on, reachable
from deploys.lib.site import InventoryHost, Member, Site

# --- Checks of one host ---------------------------------------------------------------------------


def known_group(group: str) -> str:
    near = nearest(group, GROUPS)
    hint = f" ({near} is the nearest)" if near else ""
    return f"{', '.join(GROUPS)}{hint}; groups of your own begin with x_"


def check_groups(host: InventoryHost, groups: tuple[str, ...]) -> Iterator[Finding]:
    for group in groups:
        if group not in GROUPS and not group.startswith("x_"):
            yield Finding(host.name, f"group {group}", "an unknown group", known_group(group))
    if not set(groups) & set(GROUPS):
        allowed = f"at least one of {', '.join(GROUPS)}"
        yield Finding(host.name, "groups", "none that gives it a part", allowed)


def service_address_of(host: InventoryHost, settings: Settings) -> tuple[str, list[Finding]]:
    key, address = "service_address", settings.service_address
    if address is None:
        key = "ssh_hostname" if "ssh_hostname" in host.data else "service_address"
        address = host.data.get("ssh_hostname", host.name)
        if not isinstance(address, str):
            found = f"a {type(address).__name__}"
            return host.name, [host_finding(host, key, found, "an IP address or DNS name")]
        found = topology.ip(address)
        if found is None:
            allowed = "service_address: the IP address at which other hosts reach its services"
            return address, [host_finding(host, key, f"the name {address!r}", allowed)]
        try:
            address = reachable(address)
        except ValueError as error:
            allowed = f"service_address: {error}"
            return address, [host_finding(host, key, address, allowed)]
    if "alertmanager" in host.groups and topology.ip(address) is None:
        allowed = "an IP address: Alertmanager advertises no names"
        return address, [host_finding(host, key, repr(address), allowed)]
    return address, []


def check_literals(finding: Callable[..., Finding], data: dict[str, Any]) -> Iterator[Finding]:
    """Secrets written out, and references that nothing would resolve. Values are never shown."""
    for path, value in leaves(data, ()):
        if wrong := misplaced(path, value):
            shown = path[:1] if "as a key" in wrong[0] else path
            yield finding(dotted(shown), *wrong)
            continue
        if value is None or isinstance(value, bool) or value == "" or is_secret(value):
            continue
        key, value = dotted(path), str(value)
        if is_plain_webhook(path, value):
            continue
        if path[0] in Settings.model_fields and is_secret_place(path):
            yield finding(key, "a literal secret (not shown)", SECRET_HELP)
        elif path[0] in ("alertmanager_webhook_url", "deadman_url"):
            yield finding(key, "a literal (not shown)", SECRET_HELP)
        elif PRIVATE_KEY in value:
            yield finding(key, "a literal private key (not shown)", SECRET_HELP)
        elif USERINFO.search(value):
            allowed = "basic_auth with a secret in it"
            if path[-1] == "proxy_url":
                allowed = "the whole URL as a secret reference, or a proxy that needs no password"
            yield finding(key, "a URL with a password (not shown)", allowed)


def check_readable(site: Site, member: Member) -> Iterator[Finding]:
    """Secrets are there. Their values are read and forgotten. A run that only looks goes on without."""
    for path, value in leaves(member.settings.model_dump(), ()):
        if not (is_secret(value) and REFERENCE.fullmatch(value)):
            continue
        key = dotted(path)
        try:
            read_secret(value)
        except SecretError as error:
            allowed, severity = "one that can be read on this machine", "fail"
            if looks_only():
                allowed += ": what needs it is not compared"
                severity = "warn"
            yield host_finding(member, key, f"{value}: {error.reason}", allowed, severity)
            continue
        file = value.removeprefix("secret:file:")
        if file != value:
            mode = stat.S_IMODE((ROOT / file).stat().st_mode)
            if mode & 0o077:
                found = f"{value}, which others on this machine can read (mode {mode:04o})"
                yield host_finding(member, key, found, "mode 0600", "warn")


def _check_flags(site: Site, member: Member) -> Iterator[Finding]:
    judged = set()
    # Its own first: two components may share a setting, where a host runs one of them at most.
    for component in (*member.components, *DAEMONS):
        if DAEMONS[component].extra in judged:
            continue
        judged.add(DAEMONS[component].extra)
        for problem in flags.problems(component, member.settings):
            yield host_finding(member, problem.key, problem.found, problem.allowed)


def _check_versions(site: Site, member: Member) -> Iterator[Finding]:
    try:
        problems = releases.check(member.settings.all_versions)
    except ValueError as error:
        problems = [str(error)]
    key = "versions" if "versions" in member.sources else "release"
    for problem in problems:
        yield host_finding(member, key, problem, "releases that go together")


def _check_ports(site: Site, member: Member) -> Iterator[Finding]:
    used: dict[int, str] = {}
    for name in member.components:
        for one in DAEMONS[name].ports.values():
            setting = one.setting
            port = getattr(member.settings, setting)
            if used.get(port, setting) != setting:
                found = f"{port}, which is {used[port]} too"
                yield host_finding(member, setting, found, "a port of its own")
            used.setdefault(port, setting)
    for name in member.components:
        info = DAEMONS[name]
        listens = topology.ip(listens_on(info, member.settings))
        if listens and not listens.is_unspecified and str(listens) != member.address:
            found = f"{listens}, while others dial {member.address}"
            allowed = "the service address, or none for all"
            yield host_finding(member, info.listen_address or "", found, allowed, "warn")


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
    replica, upper = ("prometheus" in member.groups, "upper" in member.groups)
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
        if any(_uses_replica(rule) for rule in _as_list(rules)):
            allowed = "rules without it: alerts lose it, or every alert would be sent twice"
            yield finding(key, f"a rule with the label {REPLICA_LABEL}", allowed)
    federated = [str(job["job_name"]) for job in federation_jobs(site, member)] if upper else []
    yield from _check_jobs(finding, settings, federated)
    yield from _check_said_twice(finding, settings)
    if replica:
        yield from _check_chunks(finding, settings)
        yield from _check_remote_write(finding, settings)


def _check_said_twice(finding: Callable[..., Finding], settings: Settings) -> Iterator[Finding]:
    """What upstream lets one say by a flag and in the file: the file wins, and what goes by the flag is wrong."""
    config = settings.prometheus_config
    if _as_dict(_as_dict(config.get("storage")).get("tsdb")).get("retention") is not None:
        allowed = (
            "the settings prometheus_retention_time and prometheus_retention_size: a retention "
        )
        allowed += "here would take their place, and have no limit for what it leaves out"
        yield finding("prometheus_config.storage.tsdb.retention", "a retention", allowed)
    if "log_level" in _as_dict(config.get("runtime")) and "log.level" in settings.prometheus_flags:
        allowed = "one of the two: prometheus_config.runtime.log_level would win"
        yield finding("prometheus_flags.log.level", "a level beside that of the file", allowed)


_XOR2 = {"xor2-encoding", "st-storage", "histograms-st-encoding"}
"""Features with which Prometheus (3.11 and newer) writes chunks that Thanos cannot read: up to 0.42 its own library of
Prometheus' code (0.309) knows none of them."""


def _check_chunks(finding: Callable[..., Finding], settings: Settings) -> Iterator[Finding]:
    """Chunks of a kind, by the file or by a flag, that sidecar and store gateway cannot read."""
    allowed = "others: Thanos cannot read such chunks, neither for a query nor in a block"
    tsdb = _as_dict(_as_dict(settings.prometheus_config.get("storage")).get("tsdb"))
    if _as_dict(tsdb.get("chunk_encoding")).get("floats") == "xor2":
        key = "prometheus_config.storage.tsdb.chunk_encoding.floats"
        yield finding(key, "xor2", f"xor, which is the default; {allowed}")
    given = settings.prometheus_flags.get("enable-feature")
    words = ",".join(given) if isinstance(given, list) else str(given)
    if found := sorted(_XOR2 & set(words.split(","))):
        yield finding("prometheus_flags.enable-feature", ", ".join(found), allowed)


def _check_attached(site: Site, member: Member) -> Iterator[Finding]:
    """What is needed to stand beside somebody else's Prometheus."""
    if "sidecar" not in member.groups:
        return
    finding = partial(host_finding, member)
    if "prometheus" in member.groups:
        allowed = (
            "one of them: the Prometheus of a host is ours, with its sidecar, or somebody else's"
        )
        yield finding("groups", "prometheus and sidecar", allowed)
    if member.settings.attached_data_dir is None:
        allowed = "the data directory of the Prometheus that the sidecar is attached to"
        yield finding("attached_data_dir", "nothing", allowed)


def _check_firewall(site: Site, member: Member) -> Iterator[Finding]:
    """Who dials a host that opens its firewall is known by address: a packet filter knows no names."""
    if member.settings.firewall != "open":
        return
    named = [m for m in site.hosts.values() if not topology.ip(m.address)]
    dialling = [m for m in named if any(e.host_name == member.name for e in site.dials(m))]
    way_out = (
        'service_address = its IP address for each of these, as packet filters know no names; or firewall = "leave" '
        "on this host, and rules of your own"
    )
    if unknown := [m.name for m in dialling if not m.sources_of_dials]:
        found = (
            f"open to hosts known by DNS names only ({some(unknown)}): no rule would let them in"
        )
        yield host_finding(member, "firewall", found, way_out)
    if half := [m.name for m in dialling if m.sources_of_dials]:
        found = (
            f"open to hosts whose service_address is a DNS name ({some(half)}): they are let in from their "
            "ssh_hostname alone, and may dial from another network"
        )
        yield host_finding(member, "firewall", found, way_out, "warn")


def _alert_relabelling(config: dict) -> Iterator[tuple[str, Any]]:
    part, alerting = "alert_relabel_configs", config.get("alerting", {})
    yield f"prometheus_config.alerting.{part}", alerting.get(part)
    for index, entry in enumerate(_as_list(alerting.get("alertmanagers"))):
        yield f"prometheus_config.alerting.alertmanagers[{index}].{part}", _as_dict(entry).get(part)


def _check_jobs(
    finding: Callable[..., Finding], settings: Settings, more: list[str]
) -> Iterator[Finding]:
    own = {*more, relations.WATCHED_JOB, *(info.job_name for info in DAEMONS.values())}
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


_NAMES_FILES = (
    (
        ("prometheus", "upper"),
        "prometheus_config",
        ("prometheus_secret_files", topology.SECRETS_DIR, topology.PROMETHEUS_DIR),
    ),
    (
        ("alertmanager",),
        "alertmanager_config",
        ("alertmanager_secret_files", topology.ALERTMANAGER_SECRETS_DIR, None),
    ),
    (("rule",), "rule_remote_write", ("rule_secret_files", topology.RULE_SECRETS_DIR, None)),
)
"""Groups, their setting that names files, and the setting that brings those: with its directory, and where upstream
takes a relative name from (Alertmanager: some from its configuration's directory, others from /; rulers: from /)."""

_KEYS_OF_THE_USER = {
    *("labels", "external_labels", "set_labels", "annotations", "params", "headers"),
    *("details", "attributes", "fields", "payload"),
}
"""Mappings in which `file` is a name that the user chose, and no file."""


def _check_secret_files(site: Site, member: Member) -> Iterator[Finding]:
    """A file that the configuration names in a directory of ours is one that we bring: others are not there, or are
    purged, and whoever needs one finds out when a notification or a request fails. Elsewhere it is the operator's."""
    settings = member.settings
    for groups, names, (setting, directory, relative) in _NAMES_FILES:
        if not set(groups) & set(member.groups):
            continue
        brought = {directory: setting, topology.WEB_DIR: "web_files"}
        for path, value in leaves(getattr(settings, names), (names,)):
            last = path[-1]
            if not (isinstance(value, str) and value and re.fullmatch(r"(.*_)?file", last)):
                continue
            if _KEYS_OF_THE_USER & set(path):
                continue
            if last.endswith("log_file"):  # one that is written
                continue
            file = PurePosixPath(os.path.normpath(PurePosixPath(relative or "/", value)))
            if not value.startswith("/") and not (relative and file.is_relative_to(directory)):
                allowed = f"its whole path: {directory}/NAME for a NAME in {setting}, or that of a file of yours"
                yield host_finding(member, dotted(path), value, allowed)
                continue
            for place, source in brought.items():
                given = getattr(settings, source)
                if file.is_relative_to(place) and str(file.relative_to(place)) not in given:
                    near = nearest(file.name, given)
                    hint = f" ({near} is the nearest)" if near else ""
                    yield host_finding(member, dotted(path), value, f"a name in {source}{hint}")


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
        rules = [_as_dict(rule) for rule in _as_list(entry.get("write_relabel_configs"))]
        store = settings.remote_write_deduplicates.get(str(entry.get("name")))
        if store in ("mimir", "cortex") and not _copied(rules, REPLICA_LABEL, "__replica__"):
            allowed = (
                f"a rule that copies {REPLICA_LABEL} to __replica__: its HA tracker goes by it"
            )
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
                        allowed += (
                            "; a store that deduplicates is named in remote_write_deduplicates"
                        )
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


def _copied(rules: list[Mapping], label: str, to: str = "") -> bool:
    """Whether rules that come before have the value of `label` in another label (in `to`), as `__replica__`, which none
    of them loses again."""
    return any(
        rule.get("source_labels") == [label]
        and (
            rule.get("target_label") == to
            if to
            else rule.get("target_label") not in (None, "", label)
        )
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
    if "prometheus" in member.groups:
        tsdb = _as_dict(_as_dict(settings.prometheus_config.get("storage")).get("tsdb"))
        key = "prometheus_config.storage.tsdb.out_of_order_time_window"
        found.append((key, tsdb.get("out_of_order_time_window")))
    if "receive" in member.groups:
        name = "tsdb.out-of-order.time-window"
        found.append((f"receive_flags.{name}", settings.receive_flags.get(name)))
    compactors = site.running("thanos-compactor")
    for key, window in found:
        if not _some_time(window):
            continue
        if key.startswith("prometheus") and not derived.delayed_compaction(member):
            allowed = f"0, or Prometheus {prometheus.DELAY_SINCE} with Thanos {thanos.DELAY_SINCE}, or newer: "
            allowed += (
                "older ones merge such blocks before they are uploaded, and what is merged is not"
            )
            yield finding(key, repr(window), allowed)
        elif any(not m.settings.compactor_vertical for m in compactors):
            allowed = (
                "0, or compactor_vertical = True: blocks that overlap halt the compactor otherwise"
            )
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


def _check_receive(site: Site, member: Member) -> Iterator[Finding]:
    settings = member.settings
    # 0: for ever.
    if (
        "receive" in member.groups
        and settings.bucket_config
        and seconds(settings.receive_retention)
    ):
        finding = partial(host_finding, member)
        yield from bucket_checks.check_local(finding, settings, "receive_retention")


def _check_rule(site: Site, member: Member) -> Iterator[Finding]:
    if "rule" not in member.groups:
        return
    finding = partial(host_finding, member)
    if not site.running("thanos-querier"):
        yield finding("groups", "rule", "a host of the group querier: a ruler asks nobody else")
    for index, entry in enumerate(member.settings.rule_remote_write):
        if not isinstance(entry.get("url"), str):
            yield finding(f"rule_remote_write[{index}].url", "none", "the receiver's URL")


# --- Checks of the site ---------------------------------------------------------------------------


def check_ssh(hosts: list[InventoryHost]) -> Iterator[Finding]:
    seen: dict[tuple, str] = {}
    for host in hosts:
        name, port = host.data.get("ssh_hostname"), host.data.get("ssh_port", 22)
        if not (isinstance(port, str) or isinstance(port, int) and 0 < port < 65536):
            found = f"a {type(port).__name__}"
            yield host_finding(host, "ssh_port", found, "a number from 1 to 65535")
            continue
        if not isinstance(name, str):
            if "ssh_hostname" in host.data:
                found = f"a {type(name).__name__}"
                yield host_finding(host, "ssh_hostname", found, "an IP address or DNS name")
            continue
        place = (name, str(port))
        if place in seen:
            found = f"{place[0]}, which is {seen[place]} too"
            yield host_finding(host, "ssh_hostname", found, "an address of its own for each host")
        seen.setdefault(place, host.name)


def check_keys(hosts: list[InventoryHost]) -> Iterator[Finding]:
    for host in hosts:
        key = host.data.get("ssh_key")
        if isinstance(key, str) and not (ROOT / os.path.expanduser(key)).is_file():
            yield host_finding(host, "ssh_key", f"{key}, which is no file", "a private key's file")


def _check_addresses(site: Site) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for member in site.hosts.values():
        if member.address in seen:
            key = "service_address" if member.settings.service_address else "ssh_hostname"
            found = f"{member.address}, which is {seen[member.address]} too"
            yield host_finding(member, key, found, "an address of its own for each host")
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
        elif "prometheus" in member.groups and cluster != member.settings.cluster:
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
        ("prometheus_secret_files", "warn", *_both(_secret_names, ours, theirs)),
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


def _secret_names(settings: Settings, key: str = "prometheus_secret_files") -> list[str]:
    """Their values may differ: a client's certificate is the host's own."""
    return sorted(getattr(settings, key))


def _rest(settings: Settings) -> dict[str, Any]:
    """The free-form configuration without what is compared by itself."""
    config = copy.deepcopy(settings.prometheus_config)
    for key in ("scrape_interval", "external_labels"):
        config.get("global", {}).pop(key, None)
    for job in config.get("scrape_configs", []):
        job.pop("scrape_interval", None)
    return {key: value for key, value in config.items() if value}


def _check_versions_agree(site: Site) -> Iterator[Finding]:
    for name, info in DAEMONS.items():
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
            yield host_finding(member, "profile", found, "one profile for the whole site")


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
        for key in (
            *("alertmanager_config", "alertmanager_templates", "alertmanager_webhook_url"),
            *("alertmanager_cluster_label", "deadman_url"),
        ):
            if getattr(member.settings, key) != getattr(first.settings, key):
                found = f"another than on {first.name}"
                allowed = "the same on all: they take turns in sending the same notifications"
                yield host_finding(member, key, found, allowed)
        key = "alertmanager_secret_files"
        if _secret_names(member.settings, key) != _secret_names(first.settings, key):
            found = f"other names than on {first.name}"
            yield host_finding(
                member, key, found, "the same names on all, as they are configured alike"
            )
    for member in members:
        yield from _check_routes(member, len(members))
    yield from _check_watchdog(site, first)


def _check_watchdog(site: Site, member: Member) -> Iterator[Finding]:
    """Somebody outside is told that the platform lives: whoever is dead tells nobody."""
    settings, config = member.settings, member.settings.alertmanager_config
    routed = any(map(is_for_watchdog, _as_list(_as_dict(config.get("route")).get("routes"))))
    named = WATCHDOG in [r.get("name") for r in map(_as_dict, _as_list(config.get("receivers")))]
    finding = partial(host_finding, member, "deadman_url")
    if settings.deadman_url is None:
        fired = any(m.settings.starter_rules for m in site.members("prometheus"))
        if fired and not routed and not named:
            allowed = (
                "the URL of a dead man's switch: nobody outside notices when the platform dies"
            )
            yield finding("nothing", allowed, "warn")
    elif routed or named:
        found = "a route for the Watchdog" if routed else f"a receiver named {WATCHDOG}"
        yield finding(f"a URL beside {found} in alertmanager_config", "one of the two")


def _check_routes(member: Member, count: int) -> Iterator[Finding]:
    settings, config = member.settings, member.settings.alertmanager_config
    finding = partial(host_finding, member)
    if not config.get("receivers") and settings.alertmanager_webhook_url is None:
        allowed = "this secret, or receivers in alertmanager_config: alerts would go nowhere"
        yield finding("alertmanager_webhook_url", "nothing", allowed)
    if config.get("templates"):
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
            [r["repeat_interval"] for r in routes if "repeat_interval" in r]
            or [timing.repeat_interval],
            key=seconds,
        )
    except ValueError as error:
        yield finding("alertmanager_config", "an interval that is none", str(error))
        return
    try:
        wait = go_seconds(str(flags.get("cluster.peer-timeout", timing.peer_timeout)))
        retention = str(flags.get("data.retention", "120h"))
        forgets = go_seconds(retention) < seconds(repeat)
    except ValueError:
        return  # `_check_flags` names it
    if (count - 1) * wait * 2 > interval:
        found = f"a group_interval of {written(interval)}, while the last of {count} Alertmanagers "
        found += f"waits {written((count - 1) * wait)} for the others"
        allowed = "a group_interval of twice that or more, or notifications are sent twice"
        yield finding("alertmanager_config.route", found, allowed, "warn")
    if forgets:
        found = f"{retention}, while repeat_interval is {repeat}"
        allowed = "at least repeat_interval: a forgotten notification is sent again"
        yield finding("alertmanager_flags.data.retention", found, allowed)


def _check_ring(site: Site) -> Iterator[Finding]:
    """What a hashring takes to accept a write, and to lose nothing with a member down."""
    members = site.members("receive")
    if not members:
        return
    first, key = members[0], "receive_replication"
    copies = first.settings.receive_replication
    for member in members[1:]:
        if (found := member.settings.receive_replication) != copies:
            allowed = f"the same on all members of the hashring; {first.name} has {copies}"
            yield host_finding(member, key, str(found), allowed)
    if copies > len(members):
        allowed = f"at most {len(members)}, which is how many hosts the group receive has: "
        allowed += "others would refuse to start"
        yield host_finding(first, key, str(copies), allowed)
    elif not derived.ring_spare(first):
        found = f"{copies} copies on {len(members)} hosts"
        allowed = "3 copies, and as many hosts or more: a write is refused while a member is down"
        yield host_finding(first, key, found, allowed, "warn")


def _check_rulers(site: Site) -> Iterator[Finding]:
    members = site.members("rule")
    for member in members[1:]:
        for key in ("rule_rules", "rule_remote_write", "rule_secret_files"):
            ours, theirs = getattr(member.settings, key), getattr(members[0].settings, key)
            if (sorted(ours) != sorted(theirs)) if key == "rule_secret_files" else (ours != theirs):
                found = f"another than on {members[0].name}"
                allowed = "the same on all rulers: deduplication takes them for one"
                yield host_finding(member, key, found, allowed, "warn")


SITE_CHECKS = (
    _check_addresses,
    _check_tiers,
    _check_clusters,
    _check_versions_agree,
    _check_profiles,
    _check_alertmanagers,
    _check_ring,
    _check_rulers,
    bucket_checks.check_site,
    web_checks.check_clients,
)
MEMBER_CHECKS = (
    _check_versions,
    _check_ports,
    _check_flags,
    _check_prometheus,
    _check_secret_files,
    _check_out_of_order,
    _check_attached,
    _check_firewall,
    _check_receive,
    _check_rule,
    remote_write_checks.check_protocol,
    bucket_checks.check_member,
    web_checks.check_server,
)
SECRET_CHECKS = (check_readable, web_checks.check_password, web_checks.check_certificate)
"""Of each host, where the secrets are there to be read."""
