"""Whose the label `job` may be: a target of somebody else's may have the job of one of ours."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.ground.findings import as_dict, as_list
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.site.members import Member


class Unknown(Exception):
    """The settings do not say which values there are."""


def may_have(member: Member, jobs: Collection[str]) -> bool:
    """Whether series that this Prometheus does not scrape from us may have the label `job` of one of these of ours.

    So it is where the user's settings say so, and where they cannot tell: labels come from a list that somebody else
    keeps, or with what is scraped, federated or pushed. https://prometheus.io/docs/prometheus/latest/configuration/
    """
    try:
        return not set(_values(member)).isdisjoint(jobs)
    except Unknown:
        return True


def _values(member: Member) -> Iterator[str]:
    """The values of `job` that the user's settings give. Raises Unknown where there may be any."""
    settings = member.settings
    config = settings.prometheus_config
    pushed = any("receiver" in flag for flag in settings.prometheus_flags)
    if daemons.UPPER.name in member.components or pushed or config.get("scrape_config_files"):
        raise Unknown
    for groups in settings.prometheus_targets.values():
        yield from _labels(groups)
    known = {derived.targets_file(member, name) for name in settings.prometheus_targets}
    for job in as_list(config.get("scrape_configs")):
        if job.get("honor_labels") or job.get("http_sd_configs") or not known.issuperset(_files(job)):
            raise Unknown
        yield from _labels(job.get("static_configs"))
        for rule in (*as_list(job.get("relabel_configs")), *as_list(job.get("metric_relabel_configs"))):
            yield from _relabelled(rule)


def _labels(groups: Any) -> Iterator[str]:
    for group in as_list(groups):
        yield str(as_dict(as_dict(group).get("labels")).get("job", ""))


def _files(job: dict[str, Any]) -> Iterator[str]:
    for entry in as_list(job.get("file_sd_configs")):
        yield from map(str, as_list(as_dict(entry).get("files")))


def _relabelled(rule: dict[str, Any]) -> Iterator[str]:
    """The value that a rule gives to `job`."""
    action = str(rule.get("action", "replace")).lower()
    if action == "labelmap":
        raise Unknown
    label, value = str(rule.get("target_label", "")), str(rule.get("replacement", "$1"))
    if action in ("replace", "lowercase", "uppercase", "hashmod") and (label == "job" or "$" in label):
        if action != "replace" or "$" in label or "$" in value:
            raise Unknown
        yield value
