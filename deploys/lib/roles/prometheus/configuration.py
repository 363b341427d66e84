"""prometheus.yml as data. Users write upstream's own keys; what the site needs is put around them.

Every address comes from the inventory through `Site.endpoint`, never `localhost`: both replicas would give their own
process the same `instance`, and deduplication would melt the two into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS, Ref, of
from prometheus_ha.deploys.lib.daemons.prometheus import RULES_DIR
from prometheus_ha.deploys.lib.engine import ask, documents
from prometheus_ha.deploys.lib.engine.component import File
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import scrapes
from prometheus_ha.deploys.lib.ground.findings import as_dict, as_list
from prometheus_ha.deploys.lib.site import derived, relations, releases, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.facts.reports.look import State


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
        for job in jobs(site, component, site.scraped(member, component), info.job_name)
    ]
    ours += _watched_jobs(site, member)
    ours += [
        scrape.job | {"file_sd_configs": [_file_sd(member, scrape.name, *scrape.files)]}
        for scrape in scrapes(site, member)
    ]
    labels = {CLUSTER_LABEL: member.settings.cluster, REPLICA_LABEL: member.settings.replica}
    return merged(site, member, ours, labels)


def targets(site: Site, member: Member) -> dict[str, list[Data]]:
    """Job -> what its file of targets lists, which Prometheus watches."""
    return {scrape.name: scrape.targets for scrape in scrapes(site, member)} | member.settings.prometheus_targets


def target_files(member: Member, targets: Mapping[str, list[Data]]) -> dict[str, File]:
    return {derived.targets_file(member, job): documents.file(groups) for job, groups in targets.items()}


def jobs_of_targets(member: Member) -> list[str]:
    """The names in `prometheus_targets` that are jobs: but for those whose file a job of the user's names."""
    patterns = {
        str(pattern)
        for job in as_list(member.settings.prometheus_config.get("scrape_configs"))
        for entry in as_list(as_dict(job).get("file_sd_configs"))
        for pattern in as_list(as_dict(entry).get("files"))
    }
    return [
        name
        for name in member.settings.prometheus_targets
        if not any(fnmatch(derived.targets_file(member, name), pattern) for pattern in patterns)
    ]


def _file_sd(member: Member, job: str, *more: str) -> Data:
    """Prometheus watches the directory, and sees a change at once. Where the directory itself was away, the watch is
    gone: then it looks by itself, after upstream's five minutes if nothing else is said."""
    return {"files": [derived.targets_file(member, job), *more], "refresh_interval": "30s"}


def merged(site: Site, member: Member, jobs: list[Data], labels: Data) -> Data:
    settings = member.settings
    rule_files = member.own(daemons.PROMETHEUS).at(f"{RULES_DIR}/*.yml")
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
        "rule_files": [rule_files, *(user.pop("rule_files", None) or [])],
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
    members = site.running(daemons.ALERTMANAGER)
    entries = [
        {
            "api_version": "v2",
            **how,
            "static_configs": [{"targets": [endpoint.target for endpoint in endpoints]}],
        }
        for how, endpoints in ask.ways(site, daemons.ALERTMANAGER, members)
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
    watched = [{"job_name": name, "file_sd_configs": [_file_sd(member, name)]} for name in jobs_of_targets(member)]
    names = [job.get("job_name") for job in [*ours, *watched, *user]]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{member.name}: found the job {name} twice; expected: once")
    return [*(job | _plain_pages(member) for job in [*ours, *watched]), *user]


COMPRESSION_SINCE = "2.49.0"
"""First Prometheus that can be told to ask for plain pages."""


def _plain_pages(member: Member) -> Data:
    version = member.settings.version(daemons.PROMETHEUS)
    plain = not member.settings.timing.compressed and releases.at_least(version, COMPRESSION_SINCE)
    return {"enable_compression": False} if plain else {}


def jobs(site: Site, daemon: Ref, members: list[Member], name: str) -> list[Data]:
    """The job `name` for `daemon` on `members`; one more for each further way of asking, with the same label."""
    info = of(daemon)
    jobs: list[Data] = []
    for how, endpoints in ask.ways(site, info, members):
        job: Data = {"job_name": name}
        if jobs:
            asked = [endpoints[0].scheme, *(["password"] if "basic_auth" in how else [])]
            job["job_name"] = "-".join([name, *asked])
            job["relabel_configs"] = [{"target_label": "job", "replacement": name}]
        if info.metrics_path != "/metrics":
            job["metrics_path"] = info.metrics_path
        # `host` is the name in the inventory: who is paged knows the host by it, not by its address.
        job["static_configs"] = [
            {"targets": [endpoint.target], "labels": {"host": endpoint.host_name}} for endpoint in endpoints
        ]
        jobs.append(job | how)
    return jobs


def _watched_jobs(site: Site, member: Member) -> list[Data]:
    """A job for the Prometheus of the next cluster, of which only `up` is kept: the rest is that cluster's own."""
    return [
        job | {"metric_relabel_configs": [{"action": "drop", "source_labels": ["__name__"]}]}
        for job in jobs(site, daemons.PROMETHEUS, site.watched(member), relations.WATCHED_JOB)
    ]


def sidecar_client_yml(site: Site, member: Member) -> Data:
    """How the sidecar asks its Prometheus, for `--prometheus.http-client-file`; empty where it needs nothing."""
    return web.http_config([member.settings])


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
            "static_configs": [{"targets": [t for group in job["static_configs"] for t in group["targets"]]}],
        }
        for cluster, replicas in site.clusters.items()
        for job in jobs(site, daemons.PROMETHEUS, replicas, f"federate-{cluster}")
    ]
