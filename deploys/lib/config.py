"""Configuration files as data: prometheus.yml, alertmanager.yml, rules, and the queriers' stores.

Users write upstream's own keys; what the site needs is put around them. Every address comes from
the inventory through `Site.endpoint`, never `localhost`: both replicas would give their own process
the same `instance`, and deduplication would melt the two into one. Secrets stay references here;
whoever writes a file resolves them.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from deploys.lib import flags, topology
from deploys.lib.settings import CLUSTER_LABEL, REPLICA_LABEL, STARTER_RULES, seconds

if TYPE_CHECKING:
    from deploys.lib.site import Member, Site

Data = dict[str, Any]

HEADER = "Managed by pyinfra-prometheus-ha: changes are overwritten."
WEBHOOK = "web.hook"
"""Name of the default receiver (spec/000 6.1)."""
WATCHDOG = "watchdog"
"""Name of the receiver that the Watchdog's route has for itself, at the same URL."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(data: Any, header: str = HEADER) -> str:
    """`data` as YAML in the order it has, with `header` as a comment above it."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"# {line}\n" for line in header.splitlines()) + text


# --- Prometheus -----------------------------------------------------------------------------------


def prometheus_yml(site: Site, member: Member) -> Data:
    """prometheus.yml of this replica (spec/000 5.2).

    The user's `prometheus_config` is merged in: keys of `global` over ours, except the external
    labels `cluster` and `replica`; scrape jobs, alert relabelling and Alertmanagers after ours;
    everything else (remote_write, remote_read, storage, ...) as it is. Raises ValueError where a
    job has the name of one of ours.
    """
    settings = member.settings
    user = dict(settings.prometheus_config)
    given = dict(user.pop("global", None) or {})
    labels = {**(given.pop("external_labels", None) or {})}
    labels |= {
        CLUSTER_LABEL: _external(settings.cluster, member),
        REPLICA_LABEL: _external(settings.replica, member),
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
        "scrape_configs": _scrape_configs(site, member, user.pop("scrape_configs", None) or []),
    }
    return config | user


def _external(value: str | None, member: Member) -> str:
    """A value of an external label as the file must have it: Prometheus 3 expands `$` in them."""
    text = str(value or "")
    return text.replace("$", "$$") if flags.expands_labels(member) else text


def _alerting(site: Site, user: Data) -> Data:
    labels = {REPLICA_LABEL}
    for member in site.running("thanos-querier"):
        labels |= set(member.settings.replica_labels)
    targets = [site.endpoint("alertmanager", m).target for m in site.running("alertmanager")]
    ours: Data = {
        # Two replicas send every alert. Without their label it is one and the same.
        "alert_relabel_configs": [
            {"action": "labeldrop", "regex": "|".join(sorted(labels))},
            *(user.get("alert_relabel_configs") or []),
        ],
        "alertmanagers": [
            # All of them, always: they gossip what was notified, not the alerts.
            *([{"api_version": "v2", "static_configs": [{"targets": targets}]}] if targets else []),
            *(user.get("alertmanagers") or []),
        ],
    }
    return user | ours


def _scrape_configs(site: Site, member: Member, user: list[Data]) -> list[Data]:
    ours = [_job(site, component) for component in topology.COMPONENTS if site.running(component)]
    watched = [
        {"job_name": name, "file_sd_configs": [{"files": [f"{topology.TARGETS_DIR}/{name}.yml"]}]}
        for name in member.settings.prometheus_targets
    ]
    names = [job.get("job_name") for job in [*ours, *watched, *user]]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{member.name}: found the job {name} twice; allowed: once")
    return [*ours, *watched, *user]


def _job(site: Site, component: str) -> Data:
    info = topology.COMPONENTS[component]
    endpoints = [site.endpoint(component, member) for member in site.running(component)]
    job: Data = {"job_name": info.job_name}
    if info.metrics_path != "/metrics":
        job["metrics_path"] = info.metrics_path
    if endpoints[0].scheme != "http":
        job["scheme"] = endpoints[0].scheme
    # `host` is the name in the inventory: who is paged knows the host by it, not by its address.
    job["static_configs"] = [
        {"targets": [endpoint.target], "labels": {"host": endpoint.host_name}}
        for endpoint in endpoints
    ]
    return job


# --- Rules ----------------------------------------------------------------------------------------


def rule_files(site: Site, member: Member) -> dict[str, Data]:
    """Name in the rules directory -> content: the starter rules, then the user's."""
    starter = {STARTER_RULES: starter_rules(site, member)} if member.settings.starter_rules else {}
    return starter | member.settings.prometheus_rules


def starter_rules(site: Site, member: Member) -> Data:
    """Rules that give a new cluster something to deliver, and notice when it goes blind itself.

    Every replica evaluates them, so a recorded series exists once for each replica and is one
    after deduplication; so it is with alerts, once `replica` is dropped from them.
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
                *_targets(for_),
                *_reloads(for_),
                *_peers(site, for_),
                *_disks(site, for_),
            ],
        },
    ]
    return {"groups": groups}


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


def _targets(for_: str) -> list[Data]:
    prometheus = topology.COMPONENTS["prometheus"]
    return [
        _alert(
            "TargetDown",
            f'up{{job!="{prometheus.job_name}"}} == 0',
            "warning",
            "{{ $labels.job }} on {{ or $labels.host $labels.instance }} does not answer",
            "{{ $labels.instance }} could not be scraped. See on the host whether the service runs "
            "(systemctl status, journalctl -u) and whether the port can be reached from the "
            "Prometheus hosts; the page Status > Targets of Prometheus shows the error.",
            for_,
        ),
        _alert(
            "PrometheusReplicaDown",
            f'up{{job="{prometheus.job_name}"}} == 0',
            "critical",
            "Prometheus on {{ or $labels.host $labels.instance }} is down",
            "The replica at {{ $labels.instance }} does not answer; the others go on scraping and "
            "alerting, and queries through the querier go on with a warning. Redundancy is gone: "
            f"see systemctl status {prometheus.unit} and journalctl -u {prometheus.unit} on the "
            "host. After a crash it replays its write-ahead log for minutes before it is ready.",
            for_,
        ),
    ]


def _reloads(for_: str) -> list[Data]:
    rules = []
    for name, metric in (
        ("prometheus", "prometheus_config_last_reload_successful"),
        ("alertmanager", "alertmanager_config_last_reload_successful"),
    ):
        info = topology.COMPONENTS[name]
        title = name.capitalize()
        rules.append(
            _alert(
                f"{title}ConfigReloadFailed",
                f'{metric}{{job="{info.job_name}"}} == 0',
                "critical",
                f"{title} on {{{{ or $labels.host $labels.instance }}}} refused its configuration",
                "It goes on with the configuration it had, and would not start again with the one "
                f"on disk. journalctl -u {info.unit} on the host names the mistake; the next run "
                "of the deploy mends a file that was edited by hand.",
                for_,
            )
        )
    return rules


def _peers(site: Site, for_: str) -> list[Data]:
    info = topology.COMPONENTS["alertmanager"]
    members = site.running("alertmanager")
    wanted = len(members)
    if wanted < 2:
        return []
    port = site.endpoint("alertmanager", members[0], "cluster").port
    return [
        _alert(
            "AlertmanagerPeersMissing",
            # From the inventory: what is scraped could be missing a member as well.
            f'alertmanager_cluster_members{{job="{info.job_name}"}} < {wanted}',
            "critical",
            "Alertmanager on {{ or $labels.host $labels.instance }} sees {{ $value }} of "
            f"{wanted} members",
            "Members that do not see each other each send every notification. See whether all of "
            f"them run, and whether port {port} is open between them, TCP and UDP.",
            for_,
        )
    ]


# A full disk ends ingestion; at the first mark there is time to act, at the second hardly any.
_DISK_MARKS = (("warning", 0.15), ("critical", 0.05))


def _disks(site: Site, for_: str) -> list[Data]:
    node = topology.COMPONENTS["node_exporter"].job_name
    owners: dict[str, set[str]] = {}
    for info in topology.COMPONENTS.values():
        if info.data_dir and (members := site.running(info.name)):
            owners.setdefault(info.data_dir, set()).update(member.name for member in members)
    if not owners:
        return []
    selectors = []
    for directory, hosts in owners.items():
        # Which mount holds the directory cannot be said in PromQL; it is one of these.
        mounts = [str(parent) for parent in reversed(PurePosixPath(directory).parents)]
        where = f'host=~"{_any_of(sorted(hosts))}", mountpoint=~"{_any_of([*mounts, directory])}"'
        selectors.append(f'node_filesystem_avail_bytes{{job="{node}", {where}}}')
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


def _any_of(words: list[str]) -> str:
    """A regular expression for a PromQL string that matches one of `words`."""
    return "|".join(word.replace(".", "[.]") for word in words)


# --- Alertmanager ---------------------------------------------------------------------------------


def alertmanager_yml(site: Site, member: Member) -> Data:
    """alertmanager.yml, equal on all members (spec/000 6.1, and the inhibition of spec/001).

    The user's `alertmanager_config` is merged in: `global` and `route` key by key over ours,
    templates after ours, every other key instead of ours. Two things stay: the receiver `web.hook`
    while `alertmanager_webhook_url` is set, and the Watchdog's own route before the user's routes,
    unless one of those names the Watchdog.
    """
    settings, timing = member.settings, member.settings.timing
    user = dict(settings.alertmanager_config)
    receivers = list(user.pop("receivers", None) or [])
    names = [receiver.get("name") for receiver in receivers]
    url = settings.alertmanager_webhook_url
    watchdog = None
    if url is not None and WEBHOOK not in names:
        receivers.insert(0, {"name": WEBHOOK, "webhook_configs": [{"url": url}]})
        if WATCHDOG not in names:
            # A receiver of its own, so that its notifications can be told from all others by metrics.
            watchdog = WATCHDOG
            receivers.append({"name": WATCHDOG, "webhook_configs": [{"url": url}]})
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
    if "Watchdog" not in str(routes):
        routes = [_watchdog_route(timing.watchdog_repeat, watchdog), *routes]
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


def _watchdog_route(repeat: str, receiver: str | None) -> Data:
    # Alertmanager repeats at the first group_interval that ends after repeat_interval: with equal
    # figures that is every second one. A fifth short of it, the sum is what is wanted.
    step = seconds(repeat) / 5
    return {
        "matchers": ['alertname="Watchdog"'],
        **({"receiver": receiver} if receiver else {}),
        "group_wait": "0s",
        "group_interval": _milliseconds(step),
        "repeat_interval": _milliseconds(seconds(repeat) - step),
    }


def _milliseconds(value: float) -> str:
    whole = round(value * 1000)
    return f"{whole}ms" if whole % 1000 else f"{whole // 1000}s"


# --- Querier --------------------------------------------------------------------------------------


def endpoints_yml(site: Site, member: Member) -> Data:
    """The stores of a querier, for `--endpoint.sd-config-file` (Thanos 0.38 and newer).

    Strict: a store that does not answer is still asked, so that an answer without it carries a
    warning. Otherwise it would leave the set within seconds, and its data without a word.
    """
    return {"endpoints": [{"address": store, "strict": True} for store in flags.stores(site)]}
