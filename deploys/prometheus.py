"""A Prometheus replica and its Thanos sidecar (spec/000 5).

Files: prometheus.yml, rules, targets, secrets, and the bucket's configuration, checked by the new version's promtool.
A new rule, scrape job or retention is a reload; targets are watched by Prometheus itself, and secrets read whenever
they are needed; a new flag, release or bucket is a restart, one replica at a time, and only while another replica does
its job. The sidecar starts after Prometheus and survives its restarts. Back up means: log replayed, two intervals
scraped, and seen by its sidecar.
"""

from collections.abc import Iterator

import yaml

from deploys import alone
from deploys.lib import config, gates, rollout, topology
from deploys.lib.component import Change, Component, Directory, File
from deploys.lib.service import daemons, data_directories, installed
from deploys.lib.settings import CLUSTER_LABEL, REPLICA_LABEL
from deploys.lib.site import Member, Site
from facts.reports.look import State

DIRECTORIES = {
    **{
        path: Directory("750", managed=True)
        for path in (
            topology.PROMETHEUS_DIR,
            topology.RULES_DIR,
            topology.TARGETS_DIR,
            topology.SECRETS_DIR,
        )
    },
    **data_directories(topology.PROMETHEUS_DATA),
}


def files(site: Site, member: Member, found: State, prometheus_yml: config.Data) -> dict[str, File]:
    """What a Prometheus reads, with the secrets in it."""
    settings = member.settings
    prometheus_yml = config.with_retention(prometheus_yml, member, found)
    tree = {topology.PROMETHEUS_CONFIG: config.file(prometheus_yml, "prometheus_config")}
    for name, rules in config.rule_files(site, member).items():
        tree[f"{topology.RULES_DIR}/{name}"] = config.file(rules)
    for job, groups in settings.prometheus_targets.items():
        tree[f"{topology.TARGETS_DIR}/{job}.yml"] = config.file(groups)
    secrets = settings.prometheus_secret_files
    return tree | config.secret_files(topology.SECRETS_DIR, secrets, "prometheus_secret_files")


def checks(member: Member, found: State) -> tuple[str, ...]:
    """The new version's own judgement of all that."""
    promtool = f"{installed(member, found, 'prometheus')}/promtool"
    return (f"{promtool} check config {topology.PROMETHEUS_CONFIG}",)


def component(site: Site, member: Member, found: State) -> Component:
    tree = files(site, member, found, config.prometheus_yml(site, member))
    if client := config.sidecar_client_yml(site, member):
        tree[topology.SIDECAR_CLIENT] = config.file(client, "web_client")
    return daemons(
        "prometheus",
        *(site, member, found, "prometheus", "thanos-sidecar"),
        files=tree,
        directories=DIRECTORIES,
        checks=checks(member, found),
    )


def reloaded(site: Site, member: Member) -> rollout.Gate:
    return gates.loaded(site, member, "prometheus", "prometheus")


def means(member: Member, found: State, change: Change) -> Iterator[str]:
    """Other external labels are other series: what asks for the old ones finds nothing new."""
    labels = yaml.safe_load("\n".join(found.extra.get("labels", []))) or {}
    for name in (CLUSTER_LABEL, REPLICA_LABEL):
        before, after = labels.get(name), getattr(member.settings, name)
        if name in labels and str(before) != after:
            yield (
                f"external label {name} {before!r} becomes {after!r}: all series of this replica begin anew, "
                "and queries, silences and dashboards that name the old label do not find them"
            )


PROMETHEUS = rollout.Role(
    "prometheus",
    "prometheus",
    component,
    gates.prometheus,
    reloaded,
    stands_in=rollout.alike(lambda member: member.settings.cluster),
    means=means,
)


def deploy() -> None:
    rollout.roll(PROMETHEUS)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(PROMETHEUS)
