"""Configuration files as data: prometheus.yml, alertmanager.yml, rules, and the queriers' stores.

Users write upstream's own keys; what the site needs is put around them. Every address comes from
the inventory through `Site.endpoint`, never `localhost`: both replicas would give their own process
the same `instance`, and deduplication would melt the two into one. Secrets stay references in data;
`file` and `secret_files` resolve them, where a file is made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from deploys.lib import derived, relations, releases, routing, topology, web
from deploys.lib.component import File
from deploys.lib.daemons import DAEMONS
from deploys.lib.durations import seconds
from deploys.lib.secrets import resolve
from deploys.lib.settings import CLUSTER_LABEL, REPLICA_LABEL, STARTER_RULES, Settings
from deploys.lib.site import Member, Site
from facts.reports import thanos
from facts.reports.look import State

Data = dict[str, Any]

HEADER = "Managed by pyinfra-prometheus-ha: changes are overwritten."
WEBHOOK = "web.hook"
"""Name of the default receiver (spec/000 6.1)."""
WATCHDOG = "watchdog"
"""Name of the receiver that the Watchdog's route has for itself: a dead man's switch, or nobody."""
RECEIVER_NAMES_SINCE = "0.27.0"
"""First Alertmanager whose metrics can name the receiver (`--enable-feature=receiver-name-in-metrics`)."""
WATCHDOG_LABELS = {"alertname": "Watchdog", "severity": "none"}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(data: Any, header: str = HEADER) -> str:
    """`data` as YAML in the order it has, with `header` as a comment above it."""
    return "".join(f"# {line}\n" for line in header.splitlines()) + _yaml(data)


_written: dict[str, str] = {}


def _yaml(data: Any) -> str:
    """`data` as YAML. A run wants the same files on several hosts, and on each at several steps."""
    key = repr(data)
    if key not in _written:
        _written[key] = yaml.dump(
            data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
        )
    return _written[key]


def file(data: Any, setting: str = "", group: str = topology.GROUP, header: str = HEADER) -> File:
    """A file of `data`, with the secrets in it, for root and `group` alone. `setting` names the place in errors.

    Raises SecretError where a secret cannot be read.
    """
    return File(dump(resolve(data, setting), header), group=group)


def secret_files(directory: str, given: Mapping[str, str], setting: str) -> dict[str, File]:
    """The files of a setting `given` as file name -> secret reference, by their path. Raises SecretError."""
    return {f"{directory}/{name}": File(text) for name, text in resolve(given, setting).items()}


# --- Prometheus -----------------------------------------------------------------------------------


def prometheus_yml(site: Site, member: Member) -> Data:
    """prometheus.yml of this replica (spec/000 5.2).

    The user's `prometheus_config` is merged in: keys of `global` over ours, except the external
    labels `cluster` and `replica`; scrape jobs, alert relabelling and Alertmanagers after ours;
    everything else (remote_write, remote_read, storage, ...) as it is. Raises ValueError where a
    job has the name of one of ours.
    """
    ours = [
        job
        for component, info in DAEMONS.items()
        for job in _jobs(site, component, site.scraped(member, component), info.job_name)
    ]
    ours += _watched_jobs(site, member)
    labels = {CLUSTER_LABEL: member.settings.cluster, REPLICA_LABEL: member.settings.replica}
    return _prometheus_yml(site, member, ours, labels)


def upper_yml(site: Site, member: Member) -> Data:
    """prometheus.yml of a Prometheus above the clusters (spec/000 8.1).

    It scrapes itself, and federates every replica of every cluster, where `federation_match` says
    what. The user's `prometheus_config` is merged in as for a replica. What it takes in has the
    external labels of its origin; its own are for what it sends itself.
    """
    settings = member.settings
    name = DAEMONS["prometheus-upper"].job_name
    ours = _jobs(site, "prometheus-upper", [member], name) + federation_jobs(site, member)
    labels = {CLUSTER_LABEL: settings.cluster}
    if settings.replica is not None:
        labels[REPLICA_LABEL] = settings.replica
    return _prometheus_yml(site, member, ours, labels)


def federation_jobs(site: Site, member: Member) -> list[Data]:
    """A job for each cluster of the inventory; none where nothing is to be federated."""
    settings = member.settings
    if not settings.federation_match:
        return []
    return [
        {
            **job,
            "metrics_path": "/federate",
            "scrape_interval": settings.timing.federation_interval,
            "scrape_timeout": settings.timing.federation_interval,
            # Labels as the origin has them: its external labels tell clusters and replicas apart,
            # without which two replicas would give the same series twice.
            "honor_labels": True,
            "params": {"match[]": settings.federation_match},
            # No label of ours: what the origin lacks (`job:.*` has no host) would get it.
            "static_configs": [
                {"targets": [t for group in job["static_configs"] for t in group["targets"]]}
            ],
        }
        for cluster, replicas in site.clusters.items()
        for job in _jobs(site, "prometheus", replicas, f"federate-{cluster}")
    ]


def _prometheus_yml(site: Site, member: Member, jobs: list[Data], labels: Data) -> Data:
    settings = member.settings
    user = dict(settings.prometheus_config)
    given = dict(user.pop("global", None) or {})
    labels = {
        **(given.pop("external_labels", None) or {}),
        **{name: _external(value, member) for name, value in labels.items()},
    }
    config: Data = {
        "global": {
            "scrape_interval": settings.timing.scrape_interval,
            "evaluation_interval": settings.timing.evaluation_interval,
            **given,
            "external_labels": labels,
        },
        "alerting": _alerting(site, user.pop("alerting", None) or {}),
        "rule_files": [f"{topology.RULES_DIR}/*.yml", *(user.pop("rule_files", None) or [])],
        "scrape_configs": _scrape_configs(member, jobs, user.pop("scrape_configs", None) or []),
    }
    return config | user


def with_retention(config: Data, member: Member, found: State) -> Data:
    """prometheus.yml with the limits of local blocks, where this version reads them there."""
    if not derived.retention_in_file(member):
        return config
    storage = config.get("storage") or {}
    tsdb = storage.get("tsdb") or {}
    if not isinstance(tsdb, dict):
        return config  # promtool's to refuse
    limits = derived.retention(member, found)
    return config | {"storage": {**storage, "tsdb": {**tsdb, "retention": limits}}}


def _external(value: str | None, member: Member) -> str:
    """A value of an external label as the file must have it: Prometheus 3 expands `$` in them."""
    text = str(value or "")
    return text.replace("$", "$$") if derived.expands_labels(member) else text


def _alerting(site: Site, user: Data) -> Data:
    members = site.running("alertmanager")
    entries = [
        {
            "api_version": "v2",
            **how,
            "static_configs": [{"targets": [endpoint.target for endpoint in endpoints]}],
        }
        for how, endpoints in _ways(site, "alertmanager", members)
    ]
    ours: Data = {
        # Two replicas send every alert. Without their label it is one and the same.
        "alert_relabel_configs": [
            {"action": "labeldrop", "regex": "|".join(derived.dropped_from_alerts(site))},
            *(user.get("alert_relabel_configs") or []),
        ],
        "alertmanagers": [
            # All of them, always: they gossip what was notified, not the alerts.
            *entries,
            *(user.get("alertmanagers") or []),
        ],
    }
    return user | ours


def _scrape_configs(member: Member, ours: list[Data], user: list[Data]) -> list[Data]:
    watched = [
        {"job_name": name, "file_sd_configs": [{"files": [f"{topology.TARGETS_DIR}/{name}.yml"]}]}
        for name in member.settings.prometheus_targets
    ]
    names = [job.get("job_name") for job in [*ours, *watched, *user]]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{member.name}: found the job {name} twice; allowed: once")
    return [*ours, *watched, *user]


def _ways(
    site: Site, component: str, members: list[Member]
) -> list[tuple[Data, list[topology.Endpoint]]]:
    """The endpoints of `members` by how they are asked, in upstream's keys. Prometheus knows one way for a scrape job
    or an entry of Alertmanagers, and would show a password of one target to all the others."""
    ways: list[tuple[Data, list[topology.Endpoint]]] = []
    for member in members:
        endpoint = site.endpoint(component, member)
        how = {"scheme": endpoint.scheme} if endpoint.scheme != "http" else {}
        how |= web.http_config([member.settings] if DAEMONS[component].web else [])
        known = next((endpoints for other, endpoints in ways if other == how), None)
        if known is None:
            ways.append((how, [endpoint]))
        else:
            known.append(endpoint)
    return ways


def _jobs(site: Site, component: str, members: list[Member], name: str) -> list[Data]:
    """The job `name` for `component` on `members`; one more for each further way of asking, with the same label."""
    info, jobs = DAEMONS[component], []
    for how, endpoints in _ways(site, component, members):
        job: Data = {"job_name": name}
        if jobs:
            asked = [endpoints[0].scheme, *(["password"] if "basic_auth" in how else [])]
            job["job_name"] = "-".join([name, *asked])
            job["relabel_configs"] = [{"target_label": "job", "replacement": name}]
        if info.metrics_path != "/metrics":
            job["metrics_path"] = info.metrics_path
        # `host` is the name in the inventory: who is paged knows the host by it, not by its address.
        job["static_configs"] = [
            {"targets": [endpoint.target], "labels": {"host": endpoint.host_name}}
            for endpoint in endpoints
        ]
        jobs.append(job | how)
    return jobs


def _watched_jobs(site: Site, member: Member) -> list[Data]:
    """A job for the Prometheus of the next cluster, of which only `up` is kept: the rest is that cluster's own."""
    return [
        job | {"metric_relabel_configs": [{"action": "drop", "source_labels": ["__name__"]}]}
        for job in _jobs(site, "prometheus", site.watched(member), relations.WATCHED_JOB)
    ]


def sidecar_client_yml(site: Site, member: Member) -> Data:
    """How the sidecar asks its Prometheus, for `--prometheus.http-client-file`; empty where it needs nothing."""
    return web.http_config([member.settings])


# --- Rules ----------------------------------------------------------------------------------------


def rule_files(site: Site, member: Member) -> dict[str, Data]:
    """Name in the rules directory -> content: the starter rules, then the user's."""
    of = upper_rules if "upper" in member.groups else starter_rules
    starter = of(site, member) if member.settings.starter_rules else {"groups": []}
    files = {STARTER_RULES: starter} if starter["groups"] else {}
    return files | member.settings.prometheus_rules


def starter_rules(site: Site, member: Member) -> Data:
    """Rules that give a new cluster something to deliver, and notice when it goes blind itself.

    Every replica evaluates them, so a recorded series exists once for each replica and is one
    after deduplication; so it is with alerts, once `replica` is dropped from them. Where there are
    several clusters, each alerts about what it scrapes, which no other does.
    """
    for_ = member.settings.timing.for_
    groups = [
        {
            "name": "starter-recording",
            "rules": [{"record": "job:up:sum", "expr": "sum by (job) (up)"}],
        },
        {
            "name": "starter-alerts",
            "rules": [
                _watchdog(),
                *_targets(site, member, for_),
                *_reloads(site, member, for_),
                *_rule_failures(site, member, for_),
                *_connected(site, member, for_),
                *_told(site, member, for_),
                *_peers(site, member, for_),
                *_disks(site, member, for_),
                *_remote_write(site, member, for_),
                *_rulers_and_receivers(site, member, for_),
                *_storage(site, member, for_),
                *_object_store(site, member, for_),
            ],
        },
    ]
    return {"groups": groups}


def upper_rules(site: Site, member: Member) -> Data:
    """What only an upper Prometheus can notice. Whether it is there itself, the clusters watch."""
    if not federation_jobs(site, member):
        return {"groups": []}
    replicas = {
        f"federate-{cluster}": [site.endpoint("prometheus", m).target for m in members]
        for cluster, members in site.clusters.items()
    }
    down = _alert(
        "FederationDown",
        f"up{{{selected(replicas)}}} == 0",
        "warning",
        "{{ $labels.instance }} cannot be federated ({{ $labels.job }})",
        "The upper Prometheus gets nothing from this replica. Where the replica is up, see the page "
        "Status > Targets of the upper one for the error: an unreachable port, an answer that "
        "takes longer than the interval, or credentials.",
        member.settings.timing.for_,
    )
    return {"groups": [{"name": "starter-alerts", "rules": [down]}]}


def selected(targets: Mapping[str, Iterable[str]]) -> str:
    """The selector, without its braces, of targets of ours: job -> `address:port`.

    A job alone would be that of strangers too: a target of the user's may have the label `job`, or be
    relabelled to it, and so may have `host`. What we scrape has its address as `instance`.
    """
    instances = list(dict.fromkeys(one for found in targets.values() for one in found))
    jobs = f'job="{next(iter(targets))}"' if len(targets) == 1 else f'job=~"{_any_of(targets)}"'
    return f'{jobs}, instance=~"{_any_of(instances)}"'


def _ours(site: Site, member: Member, *components: str) -> str:
    """`selected` for what this Prometheus scrapes of `components`."""
    return selected(
        {
            DAEMONS[name].job_name: [site.endpoint(name, m).target for m in members]
            for name in components
            if (members := site.scraped(member, name))
        }
    )


def _alert(
    name: str, expr: str, severity: str, summary: str, description: str, for_: str | None = None
) -> Data:
    return {
        "alert": name,
        "expr": expr,
        **({"for": for_} if for_ else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


def _watchdog() -> Data:
    return _alert(
        "Watchdog",
        "vector(1)",
        "none",
        "The alerting pipeline of {{ $externalLabels.cluster }} works",
        "This alert always fires and is sent again and again. Let whoever receives it raise the "
        "alarm when it stops: then no alert of this cluster arrives any more.",
    )


def _targets(site: Site, member: Member, for_: str) -> list[Data]:
    prometheus = DAEMONS["prometheus"]
    ours = elsewhere = _ours(site, member, "prometheus")
    if watched := site.watched(member):
        theirs = {
            relations.WATCHED_JOB: [site.endpoint("prometheus", one).target for one in watched]
        }
        replicas = [site.endpoint("prometheus", one).target for one in site.replicas(member)]
        elsewhere = selected({prometheus.job_name: replicas} | theirs)
    rules = [
        _alert(
            "TargetDown",
            f"up == 0 unless up{{{elsewhere}}}",
            "warning",
            "{{ $labels.job }} on {{ or $labels.host $labels.instance }} does not answer",
            "{{ $labels.instance }} could not be scraped. See on the host whether the service runs "
            "(systemctl status, journalctl -u) and whether the port can be reached from the "
            "Prometheus hosts; the page Status > Targets of Prometheus shows the error.",
            for_,
        ),
        _alert(
            "PrometheusReplicaDown",
            f"up{{{ours}}} == 0",
            "critical",
            "Prometheus on {{ or $labels.host $labels.instance }} is down",
            "The replica at {{ $labels.instance }} does not answer; the others go on scraping and "
            "alerting, and queries through the querier go on with a warning. Redundancy is gone: "
            f"see systemctl status {prometheus.unit} and journalctl -u {prometheus.unit} on the "
            "host. After a crash it replays its write-ahead log for minutes before it is ready.",
            for_,
        ),
    ]
    if watched:
        cluster = watched[0].settings.cluster
        rules.append(
            _alert(
                "ClusterDown",
                f"max(up{{{selected(theirs)}}}) == 0",
                "critical",
                f"No Prometheus of the cluster {cluster} answers",
                f"None of {', '.join(m.name for m in watched)} could be asked from here. Where they are "
                f"down, what the cluster {cluster} watches over is not watched, and it tells nobody; "
                "where they run, the network between the clusters is cut.",
                for_,
            )
        )
    return rules


def _reloads(site: Site, member: Member, for_: str) -> list[Data]:
    rules = []
    for name, more in (("prometheus", ("prometheus-upper",)), ("alertmanager", ())):
        if not site.scraped(member, name):
            continue
        info = DAEMONS[name]
        metric, title = f"{name}_config_last_reload_successful", name.capitalize()
        rules.append(
            _alert(
                f"{title}ConfigReloadFailed",
                f"{metric}{{{_ours(site, member, name, *more)}}} == 0",
                "critical",
                f"{title} on {{{{ or $labels.host $labels.instance }}}} refused its configuration",
                "It goes on with the configuration it had, and would not start again with the one "
                f"on disk. journalctl -u {info.unit} on the host names the mistake; the next run "
                "of the deploy mends a file that was edited by hand.",
                for_,
            )
        )
    return rules


def _rule_failures(site: Site, member: Member, for_: str) -> list[Data]:
    settings = member.settings
    window = _window(member, *_intervals(settings.prometheus_rules, settings))
    ours = _ours(site, member, "prometheus", "prometheus-upper")
    return [
        _alert(
            "PrometheusRuleFailures",
            f"increase(prometheus_rule_evaluation_failures_total{{{ours}}}[{window}]) > 0",
            "critical",
            "Prometheus on {{ or $labels.host $labels.instance }} cannot evaluate "
            "{{ $labels.rule_group }}",
            "What the group watches over is not watched, and what it records has gaps. The page "
            "Status > Rule health of Prometheus shows the error.",
            for_,
        )
    ]


def _window(member: Member, *steps: Any, count: int = 4) -> str:
    """A range for the rate of what is counted once in each of `steps`, and is scraped: some of the longest."""
    return _milliseconds(count * max(map(_seconds, (member.settings.scrape_interval, *steps))))


def _intervals(rules: Mapping[str, Data], settings: Settings) -> Iterator[Any]:
    """How often groups of rules are evaluated."""
    groups = [group for file in rules.values() for group in file.get("groups") or []]
    yield settings.evaluation_interval
    yield from _values(groups, "interval")


def _values(maps: Iterable[Mapping[str, Any]], key: str) -> Iterator[Any]:
    return (one[key] for one in maps if one.get(key))


def _seconds(duration: Any) -> float:
    """Seconds; 0 for what is no duration, which is upstream's to refuse."""
    try:
        return seconds(duration)
    except ValueError:
        return 0.0


def _connected(site: Site, member: Member, for_: str) -> list[Data]:
    """That alerts reach an Alertmanager: the pair of the one whose do not says so. One that is away is TargetDown."""
    user = member.settings.prometheus_config.get("alerting") or {}
    if not (site.running("alertmanager") or user.get("alertmanagers")):
        return []
    ours = _ours(site, member, "prometheus", "prometheus-upper")
    # The Watchdog is sent as often as this. From Prometheus 3.10 on each Alertmanager has a queue of its own.
    window = _window(member, member.settings.timing.resend_delay)
    return [
        _alert(
            "PrometheusNotConnectedToAlertmanagers",
            f"prometheus_notifications_alertmanagers_discovered{{{ours}}} < 1\n"
            "or min without (alertmanager) "
            f"(rate(prometheus_notifications_dropped_total{{{ours}}}[{window}])) > 0",
            "critical",
            "Alerts of Prometheus on {{ or $labels.host $labels.instance }} reach no Alertmanager",
            "It knows none, or none takes them, and drops them. See on the host whether the "
            "Alertmanagers can be reached (port, firewall, CA, password): its journal has the error.",
            for_,
        )
    ]


FAILED_TO_SEND = "AlertmanagerFailedToSendAlerts"
_ALL_FAILED = 0.9
"""Share of the notifications of a receiver above which as good as all failed."""


def _told(site: Site, member: Member, for_: str) -> list[Data]:
    """That notifications arrive, by receiver; below Alertmanager 0.27, which cannot tell them apart, by integration.

    Where one member fails, the next one sends: that is a warning. Where as good as all fails, nobody is told.
    """
    if not site.scraped(member, "alertmanager"):
        return []
    settings = site.running("alertmanager")[0].settings
    # What failed is tried again after each group_interval.
    routes = [route := settings.alertmanager_config.get("route") or {}, *routing.within(route)]
    steps = [settings.timing.group_interval, *_values(routes, "group_interval")]
    window = _window(member, *steps, count=3)
    ours = _ours(site, member, "alertmanager")
    metric = "alertmanager_notifications"
    total = f"rate({metric}_total{{{ours}}}[{window}])"
    # A reload or a stop cancels what is under way, and it is sent again.
    failed = f'rate({metric}_failed_total{{{ours}, reason!="contextCanceled"}}[{window}])'
    by = "sum by ({}integration, receiver_name)"
    receiver = (
        "{{ with $labels.receiver_name }}the receiver {{ . }}{{ else }}receivers{{ end }} "
        "({{ $labels.integration }})"
    )
    way = (
        "This alert goes past a receiver that fails where there is another, from Alertmanager 0.27 on; "
        "else look at it here, or route it to another yourself."
    )
    return [
        _alert(
            FAILED_TO_SEND,
            f"{by.format('instance, host, ')} ({failed}) > 0",
            "warning",
            f"Alertmanager on {{{{ or $labels.host $labels.instance }}}} cannot notify {receiver}",
            "Another member may have told instead. journalctl -u alertmanager on the host has the "
            f"receiver's answer (Notify for alerts failed). {way}",
            for_,
        ),
        _alert(
            FAILED_TO_SEND,
            f"{by.format('')} ({failed})\n/ {by.format('')} ({total}) > {_ALL_FAILED}",
            "critical",
            f"No Alertmanager can notify {receiver}",
            "Whoever is to be told by it is not told of any alert. journalctl -u alertmanager on the "
            f"Alertmanagers has the receiver's answer (Notify for alerts failed). {way}",
            for_,
        ),
    ]


def _peers(site: Site, member: Member, for_: str) -> list[Data]:
    members = site.running("alertmanager")
    wanted = len(members)
    if wanted < 2 or not site.scraped(member, "alertmanager"):
        return []
    port = site.endpoint("alertmanager", members[0], "cluster").port
    return [
        _alert(
            "AlertmanagerPeersMissing",
            # From the inventory: what is scraped could be missing a member as well.
            f"alertmanager_cluster_members{{{_ours(site, member, 'alertmanager')}}} < {wanted}",
            "critical",
            "Alertmanager on {{ or $labels.host $labels.instance }} sees {{ $value }} of "
            f"{wanted} members",
            "Members that do not see each other each send every notification. See whether all of "
            f"them run, and whether port {port} is open between them, TCP and UDP.",
            for_,
        )
    ]


QUEUE_HIGHEST_SINCE = "3.7.0"
"""First Prometheus that says for each queue what is to be sent; that of all of them is deprecated since then."""
BEHIND = 120
"""Seconds that a receiver may be behind what was scraped: those of upstream's mixin."""


def _remote_write(site: Site, member: Member, for_: str) -> list[Data]:
    if not member.settings.prometheus_config.get("remote_write"):
        return []
    job = _ours(site, member, "prometheus")
    storage = "prometheus_remote_storage"
    newest = f"{storage}_queue_highest_timestamp_seconds{{{job}}} -"
    if not releases.at_least(member.settings.version("prometheus"), QUEUE_HIGHEST_SINCE):
        newest = (
            f"{storage}_highest_timestamp_in_seconds{{{job}}}\n"
            "- ignoring(remote_name, url) group_right"
        )
    # As short as a rate can be: the alert ends soon after its cause did.
    window = _milliseconds(4 * seconds(member.settings.scrape_interval))
    return [
        _alert(
            "RemoteWriteRefused",
            f"rate({storage}_samples_failed_total{{{job}}}[{window}]) > 0",
            "critical",
            "{{ $labels.url }} refuses samples of {{ or $labels.host $labels.instance }}",
            "The receiver answers that it does not want them (a wrong password, a bad request), or "
            "takes remote write 2.0 (protobuf_message) for an empty request, as Thanos 0.42 does. "
            "They are not sent again: they are missing there. The journal of Prometheus has the "
            "receiver's words.",
            for_,
        ),
        _alert(
            "RemoteWriteBehind",
            f"({newest}\n{storage}_queue_highest_sent_timestamp_seconds{{{job}}}) > {BEHIND}",
            "critical",
            "Remote write of {{ or $labels.host $labels.instance }} to {{ $labels.url }} is "
            "{{ $value | humanizeDuration }} behind",
            "The receiver is away or too slow. What is not yet sent is kept in the write-ahead "
            "log for two hours or so, and lost when Prometheus restarts or its remote_write is "
            "changed: leave both until the receiver is back.",
            for_,
        ),
    ]


def _rulers_and_receivers(site: Site, member: Member, for_: str) -> list[Data]:
    """What upstream's mixin takes for the essence of both (ThanosRule*, ThanosReceive*)."""
    rules = []
    window = _milliseconds(4 * seconds(member.settings.scrape_interval))
    if site.scraped(member, "thanos-rule"):
        info = DAEMONS["thanos-rule"]
        job = _ours(site, member, info.name)
        ruler = site.running("thanos-rule")[0].settings
        evaluated = _window(member, *_intervals(ruler.rule_rules, ruler))
        lost = " or ".join(
            f"rate(thanos_alert_{part}_alerts_dropped_total{{{job}}}[{window}]) > 0"
            for part in ("queue", "sender")
        )
        rules += [
            _alert(
                "RulerLosesAlerts",
                lost,
                "critical",
                "The ruler on {{ or $labels.host $labels.instance }} loses alerts",
                "Its queue is full, or no Alertmanager takes them. See whether the Alertmanagers "
                f"answer from its host, and journalctl -u {info.unit} there.",
            ),
            _alert(
                "RulerCannotEvaluate",
                f"rate(prometheus_rule_evaluation_failures_total{{{job}}}[{evaluated}]) > 0",
                "critical",
                "The ruler on {{ or $labels.host $labels.instance }} cannot evaluate "
                "{{ $labels.rule_group }}",
                "What the group watches over is not watched. No querier answers, or a rule fails: "
                f"journalctl -u {info.unit} on the host has the error.",
                for_,
            ),
            _alert(
                "RulerConfigReloadFailed",
                f"thanos_rule_config_last_reload_successful{{{job}}} == 0",
                "critical",
                "The ruler on {{ or $labels.host $labels.instance }} refused its rules",
                "It goes on with the rules it had, and would not start again with those on disk. "
                f"journalctl -u {info.unit} on the host names the mistake; the next run of the "
                "deploy mends a file that was edited by hand.",
                for_,
            ),
        ]
    members = site.running("thanos-receive")
    if site.scraped(member, "thanos-receive"):
        info = DAEMONS["thanos-receive"]
        job = _ours(site, member, info.name)
        rules += [
            _alert(
                "ReceiverRefusesWrites",
                f'rate(http_requests_total{{{job}, handler="receive", code=~"5.."}}[{window}]) > 0',
                "critical",
                "The receiver on {{ or $labels.host $labels.instance }} refuses writes",
                "Not enough members of the hashring have a sample for it to be kept, so senders "
                "try again and fall behind. See which of the "
                f"{len(members)} members are away, and journalctl -u {info.unit} on them.",
                for_,
            ),
            _alert(
                "ReceiverCannotReplicate",
                f'rate(thanos_receive_forward_requests_total{{{job}, result="error"}}[{window}]) > 0',
                "warning",
                "The receiver on {{ or $labels.host $labels.instance }} does not reach all members",
                "Some samples have fewer copies than they should. Nothing is lost while enough "
                f"members are left. See which of the {len(members)} is away, and whether its gRPC "
                "port can be reached.",
                for_,
            ),
            _alert(
                "ReceiverHashringDiffers",
                f"thanos_receive_hashring_nodes{{{job}}} != {len(members)}",
                "warning",
                "The receiver on {{ or $labels.host $labels.instance }} knows {{ $value }} of "
                f"{len(members)} members",
                f"It has not loaded {topology.RECEIVE_HASHRINGS} as the inventory has it: "
                f"journalctl -u {info.unit} on the host, or the host missed a run of the deploy.",
                for_,
            ),
        ]
        since = releases.REMOTE_WRITE_2["thanos"]
        if not all(releases.at_least(m.settings.version(info.name), since) for m in members):
            rules.append(_empty_writes(job, seconds(member.settings.scrape_interval), for_))
    return rules


def _empty_writes(job: str, interval: float, for_: str) -> Data:
    """That senders of remote write 2.0 lose everything, as far as a receiver shows it: a request that holds nothing it
    knows is answered with 200, and counted as no write. Senders of 1.0 have some of those too, with metadata alone:
    one a minute, where upstream's default is left."""
    window = _milliseconds(max(300, 4 * interval))
    by = "sum by (instance, host)"
    answered = f'{by} (rate(http_requests_total{{{job}, handler="receive", code="200"}}[{window}]))'
    return _alert(
        "ReceiverGetsNothing",
        f"{answered}\n> 3 * (\n"
        f"  {by} (rate(thanos_receive_write_timeseries_count{{{job}}}[{window}]))\n"
        f"  or 0 * {answered}\n)",
        "warning",
        "Most writes that the receiver on {{ or $labels.host $labels.instance }} accepts hold no series",
        "A sender uses remote write 2.0 (protobuf_message), of which this Thanos stores nothing while it "
        "answers 200: set prometheus.WriteRequest there. The sender counts what is lost in "
        "prometheus_remote_storage_samples_failed_total.",
        for_,
    )


UPLOAD_HOURS = 4
"""Hours without an upload: a block has two, and is uploaded within one more."""


def _storage(site: Site, member: Member, for_: str) -> list[Data]:
    rules = []
    uploading = [
        name for name in relations.SIDECARS if any(map(derived.uploads, site.scraped(member, name)))
    ]
    if uploading:
        job = _ours(site, member, *uploading)
        rules.append(
            _alert(
                "ThanosSidecarUploadsFailing",
                # A failure that a later upload has made up for is none.
                f"sum by (instance, host) (increase({thanos.BUCKET_FAILURES}{{{job}}}[1h])) > 0\n"
                "and on (instance) time() - "
                f"thanos_objstore_bucket_last_successful_upload_time{{{job}}} > {UPLOAD_HOURS} * 3600",
                "critical",
                "The sidecar of {{ or $labels.host $labels.instance }} does not upload its blocks",
                "They wait on the local disk, and are lost once its retention drops them. See "
                "journalctl -u thanos-sidecar: is the object store away, or its key no longer good?",
                for_,
            )
        )
    if compactors := site.scraped(member, "thanos-compactor"):
        job = _ours(site, member, "thanos-compactor")
        rules += [
            _alert(
                "ThanosCompactHalted",
                f"thanos_compact_halted{{{job}}} == 1",
                "warning",
                "The compactor on {{ or $labels.host $labels.instance }} has halted",
                "It found blocks that overlap or are broken, and does nothing more until somebody has "
                "looked: its journal names them, docs/storage.md has the way out. Queries go on; "
                "no retention is applied meanwhile.",
                for_,
            ),
            _alert(
                "ThanosCompactMultipleRunning",
                # Whatever the job: one that somebody else runs is not in ours. There is no lock in the bucket.
                f"count(thanos_compact_halted) > {len(compactors)}",
                "critical",
                "{{ $value }} compactors are scraped, and the site has " + str(len(compactors)),
                "Two compactors on one bucket write over each other. Stop the one that is not the "
                "site's at once, and look for overlaps with thanos tools bucket verify.",
                for_,
            ),
        ]
    return rules


def _object_store(site: Site, member: Member, for_: str) -> list[Data]:
    """An object store of ours that answers, and has nowhere to store. That it does not answer is TargetDown."""
    found = {
        "seaweedfs": "sum by (instance, host) "
        '(SeaweedFS_volumeServer_read_only_volumes{%s, type="isDiskSpaceLow"}) > 0\n'
        "or SeaweedFS_volumeServer_disk_error_status{%s} > 0",
        "minio": "minio_cluster_health_status{%s} == 0\nor minio_cluster_drive_offline_total{%s} > 0",
    }
    return [
        _alert(
            "ObjectStoreCannotStore",
            expr.replace("%s", _ours(site, member, name)),
            "critical",
            f"{name} on {{{{ or $labels.host $labels.instance }}}} can store nothing more",
            "Blocks wait on the local disks until it can, and are lost once retention drops them. "
            f"Its disk is full or broken: see df and journalctl -u {DAEMONS[name].unit} "
            "on the host.",
            for_,
        )
        for name, expr in found.items()
        if site.scraped(member, name)
    ]


# A full disk ends ingestion; at the first mark there is time to act, at the second hardly any.
_DISK_MARKS = (("warning", 0.15), ("critical", 0.05))


def _disks(site: Site, member: Member, for_: str) -> list[Data]:
    node = DAEMONS["node_exporter"].job_name
    owners: dict[str, dict[str, None]] = {}
    for info in DAEMONS.values():
        if info.data_dir and (members := site.scraped(member, info.name)):
            targets = [site.endpoint("node_exporter", one).target for one in members]
            owners.setdefault(info.data_dir, {}).update(dict.fromkeys(targets))
    if not owners:
        return []
    selectors = []
    for directory, targets in owners.items():
        # Which mount holds the directory cannot be said in PromQL; it is one of these.
        mounts = [str(parent) for parent in reversed(PurePosixPath(directory).parents)]
        where = f'{selected({node: targets})}, mountpoint=~"{_any_of([*mounts, directory])}"'
        selectors.append(f"node_filesystem_avail_bytes{{{where}}}")
    available = "\n  or\n".join(f"  {selector}" for selector in selectors)
    return [
        _alert(
            "DataDiskFilling",
            f"(\n{available}\n) / node_filesystem_size_bytes < {mark}",
            severity,
            "{{ $labels.mountpoint }} on {{ $labels.host }} has "
            "{{ $value | humanizePercentage }} left",
            "The disk holds a data directory, or what is above it. When it is full, nothing more "
            "is stored. See with du -x what grows; enlarge the disk, or shorten the retention of "
            "Prometheus (prometheus_retention_time, prometheus_retention_size).",
            for_,
        )
        for severity, mark in _DISK_MARKS
    ]


def _any_of(words: Iterable[str]) -> str:
    """A regular expression (RE2) for a PromQL string in double quotes that matches one of `words`."""
    return "|".join(_quoted(re.sub(r"[.+*?()|\[\]{}^$\\]", _literally, word)) for word in words)


def _literally(found: re.Match) -> str:
    """One character of a regular expression that stands for itself; read well too where the string is quoted."""
    return f"\\{found[0]}" if found[0] in "^\\" else f"[{found[0]}]"


def _quoted(text: str) -> str:
    """`text` inside the double quotes of PromQL, which knows the escapes of Go."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


# --- Alertmanager ---------------------------------------------------------------------------------


def alertmanager_yml(site: Site, member: Member) -> Data:
    """alertmanager.yml, equal on all members (spec/000 6.1, and the inhibition of spec/001).

    The user's `alertmanager_config` is merged in: `global` and `route` key by key over ours,
    templates after ours, every other key instead of ours. Two things stay: the receiver `web.hook`
    while `alertmanager_webhook_url` is set, and the Watchdog's own route before the user's routes,
    unless one of those is for the Watchdog.
    """
    settings, timing = member.settings, member.settings.timing
    user = dict(settings.alertmanager_config)
    receivers = list(user.pop("receivers", None) or [])
    names = [receiver.get("name") for receiver in receivers]
    url = settings.alertmanager_webhook_url
    if url is not None and WEBHOOK not in names:
        receivers.insert(0, {"name": WEBHOOK, "webhook_configs": [{"url": url}]})
    if not receivers:
        raise ValueError(
            f"{member.name}: alertmanager_webhook_url: found nothing; allowed: this secret, or "
            "receivers in alertmanager_config"
        )
    route = {
        "receiver": receivers[0]["name"],
        "group_by": ["alertname", CLUSTER_LABEL],
        "group_wait": timing.group_wait,
        "group_interval": timing.group_interval,
        "repeat_interval": timing.repeat_interval,
        **(user.pop("route", None) or {}),
    }
    routes = route.pop("routes", None) or []
    routes = [*_past_the_failing(site, route | {"routes": routes}, receivers), *routes]
    if not any(map(is_for_watchdog, routes)):
        routes = [_watchdog_route(timing.watchdog_repeat), *routes]
        if WATCHDOG not in names:
            receivers.append(_watchdog_receiver(settings.deadman_url))
    return {
        "global": {
            "resolve_timeout": timing.resolve_timeout,
            **(user.pop("global", None) or {}),
        },
        "templates": [f"{topology.TEMPLATES_DIR}/*.tmpl", *(user.pop("templates", None) or [])],
        "route": {**route, "routes": routes},
        "receivers": receivers,
        # What is critical need not be said as a warning too.
        "inhibit_rules": [
            {
                "source_matchers": ['severity="critical"'],
                "target_matchers": ['severity="warning"'],
                "equal": ["alertname", "instance"],
            }
        ],
    } | user


def _past_the_failing(site: Site, route: Data, receivers: list[Data]) -> list[Data]:
    """Routes for the alert that a receiver cannot be notified: to another one as well, where it would go to that
    receiver alone. Below 0.27 it does not say which one it is. The same for all members, whichever is asked."""
    members = site.running("alertmanager")
    versions = [one.settings.version("alertmanager") for one in members]
    clusters = [site.scraped_by(one) or "" for one in members]
    telling = [str(r.get("name")) for r in receivers if any(k.endswith("_configs") for k in r)]
    # The default one first: it is meant for everybody.
    telling.sort(key=lambda name: name != route["receiver"])
    if not all(releases.at_least(version, RECEIVER_NAMES_SINCE) for version in versions):
        return []
    found = []
    for name in telling:
        for severity in ("critical", "warning"):
            labels = {
                "alertname": FAILED_TO_SEND,
                "receiver_name": name,
                "severity": severity,
            }
            try:
                told = set(telling) & {
                    receiver
                    for cluster in clusters
                    for receiver in routing.receivers(route, labels | {CLUSTER_LABEL: cluster})
                }
            except ValueError:
                return []  # amtool names it
            others = [one for one in telling if one not in (name, WATCHDOG)]
            if others and told == {name}:
                found.append(
                    {
                        "matchers": [
                            f"{label}={json.dumps(labels[label], ensure_ascii=False)}"
                            for label in ("alertname", "receiver_name", "severity")
                        ],
                        "receiver": others[0],
                        "continue": True,
                    }
                )
    return found


def is_for_watchdog(route: Any) -> bool:
    """Whether a route of the user's, or one below it, takes the Watchdog by its name or severity, and not just any."""
    others = [{"alertname": "AnyOther", "severity": one} for one in ("warning", "critical")]
    return isinstance(route, dict) and routing.is_for(route, WATCHDOG_LABELS, others)


def _watchdog_receiver(url: str | None) -> Data:
    """The dead man's switch at `url`; without one, nobody: people are not told every minute that all is well."""
    if url is None:
        return {"name": WATCHDOG}
    # A last word that all is over would count as a sign of life.
    return {"name": WATCHDOG, "webhook_configs": [{"url": url, "send_resolved": False}]}


def _watchdog_route(repeat: str) -> Data:
    # Alertmanager repeats at the first group_interval that ends after repeat_interval: with equal
    # figures that is every second one. A fifth short of it, the sum is what is wanted.
    step = seconds(repeat) / 5
    return {
        "matchers": ['alertname="Watchdog"'],
        "receiver": WATCHDOG,
        "group_wait": "0s",
        "group_interval": _milliseconds(step),
        "repeat_interval": _milliseconds(seconds(repeat) - step),
    }


def _milliseconds(value: float) -> str:
    whole = round(value * 1000)
    return f"{whole}ms" if whole % 1000 else f"{whole // 1000}s"


# --- Querier --------------------------------------------------------------------------------------


def endpoints_yml(site: Site, member: Member) -> Data:
    """Whom a querier asks, for `--endpoint.sd-config-file` (Thanos 0.38 and newer)."""
    return {"endpoints": derived.endpoints(site, member)}


# --- Long-term storage ----------------------------------------------------------------------------


def frontend_client_yml(site: Site, member: Member) -> Data:
    """How a query frontend reaches its querier (upstream's query-frontend.md, downstream tripper).

    The password is that of whoever asks, which the frontend passes on; the CA is ours.
    """
    queriers = site.running("thanos-querier")
    asked = [m for m in queriers if m.name == member.name] or queriers
    tls = web.http_config(m.settings for m in asked).get("tls_config")
    # Upstream keeps two idle connections, and opens one for each further query that goes on.
    return {"max_idle_conns_per_host": 100, **({"tls_config": tls} if tls else {})}


def ruler_files(member: Member) -> dict[str, Data]:
    """Name in a ruler's rules directory -> content: the user's. Groups that do not say so themselves are evaluated over
    what there is: by upstream's default a ruler is blind as long as a single store is away."""
    return {
        name: {
            **rules,
            "groups": [
                {"partial_response_strategy": "warn", **group} for group in rules.get("groups", [])
            ],
        }
        for name, rules in member.settings.rule_rules.items()
    }


def rule_query_yml(site: Site) -> list[Data]:
    """Whom a ruler asks, for `--query.config-file`: one querier after another, until one answers."""
    return [
        {
            **({"http_config": how} if (how := web.http_config([m.settings])) else {}),
            "static_configs": [endpoint.target],
            "scheme": endpoint.scheme,
        }
        for m in site.running("thanos-querier")
        for endpoint in (site.endpoint("thanos-querier", m),)
    ]


def rule_alertmanagers_yml(site: Site) -> Data:
    """Whom a ruler alerts, for `--alertmanagers.config-file`: all of them, always."""
    return {
        "alertmanagers": [
            {
                **({"http_config": how} if (how := web.http_config([m.settings])) else {}),
                "static_configs": [endpoint.target],
                "scheme": endpoint.scheme,
                "api_version": "v2",
            }
            for m in site.running("alertmanager")
            for endpoint in (site.endpoint("alertmanager", m),)
        ]
    }


def hashrings_json(site: Site) -> str:
    """The one hashring of the site, for `--receive.hashrings-file`: every member of the group receive."""
    members = site.running("thanos-receive")
    endpoints = [site.endpoint("thanos-receive", m, "grpc").target for m in members]
    return json.dumps([{"hashring": "default", "endpoints": endpoints}], indent=1) + "\n"
