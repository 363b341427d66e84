"""A Prometheus replica and its Thanos sidecar (spec/000 5).

Files: prometheus.yml, rules, targets, and the bucket's configuration, checked by the new version's promtool.
A new rule or scrape job is a reload; targets are watched by Prometheus itself; a new flag, release or bucket is a
restart, one replica at a time, and only while another replica does its job. The sidecar starts after Prometheus and
survives its restarts. Back up means: log replayed, two intervals scraped, and seen by its sidecar.
"""

from deploys import preflight, software
from deploys.lib import config, gates, rollout, topology
from deploys.lib.component import Component, Directory, File
from deploys.lib.secrets import resolve
from deploys.lib.service import daemons, data_directories, installed
from deploys.lib.site import Member, Site
from facts.look import State


def component(site: Site, member: Member, found: State) -> Component:
    files = {
        topology.PROMETHEUS_CONFIG: File(config.dump(resolve(config.prometheus_yml(site, member))))
    }
    for name, rules in config.rule_files(site, member).items():
        files[f"{topology.RULES_DIR}/{name}"] = File(config.dump(rules))
    for job, groups in member.settings.prometheus_targets.items():
        files[f"{topology.TARGETS_DIR}/{job}.yml"] = File(config.dump(groups))
    if member.settings.bucket_config:
        files[topology.BUCKET_CONFIG] = File(config.dump(resolve(member.settings.bucket_config)))
    promtool = f"{installed(member, found, 'prometheus')}/promtool"
    return daemons(
        "prometheus",
        *(site, member, found, "prometheus", "thanos-sidecar"),
        files=files,
        directories={
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
        },
        checks=(f"{promtool} check config {topology.PROMETHEUS_CONFIG}",),
    )


def reloaded(site: Site, member: Member) -> rollout.Gate:
    return gates.loaded(site, member, "prometheus", "prometheus")


PROMETHEUS = rollout.Role("prometheus", "prometheus", component, gates.prometheus, reloaded)


def deploy() -> None:
    rollout.roll(PROMETHEUS)


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    software.deploy()
    deploy()
