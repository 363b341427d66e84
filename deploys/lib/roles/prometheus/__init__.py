"""A Prometheus replica and its Thanos sidecar (spec/000 5).

Files: prometheus.yml, rules, targets, secrets, and the bucket's configuration, checked by the new version's promtool.
A new rule, scrape job or retention is a reload; targets are watched by Prometheus itself, and secrets read whenever
they are needed; a new flag, release or bucket is a restart, one replica at a time, and only while another replica does
its job. The sidecar starts after Prometheus and survives its restarts. Back up means: log replayed, two intervals
scraped, and seen by its sidecar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.declare import Daemon, Value
from prometheus_ha.deploys.lib.daemons.prometheus import (
    PROMETHEUS_CONFIG,
    PROMETHEUS_DATA,
    PROMETHEUS_DIR,
    RULES_DIR,
    SECRETS_DIR,
    TARGETS_DIR,
)
from prometheus_ha.deploys.lib.daemons.thanos import SIDECAR_CLIENT
from prometheus_ha.deploys.lib.engine import documents, gates, service
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.component import Change, Component, Directory, File
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import PATIENCE, Gate, Progress, Role, alike
from prometheus_ha.deploys.lib.engine.service import data_directories, installed
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles import uploads
from prometheus_ha.deploys.lib.roles.prometheus import alerts, configuration, findings, verdicts
from prometheus_ha.deploys.lib.site import derived, releases, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.facts.http import NO_ANSWER, Call, metric, metrics, only_metrics, split
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State
from prometheus_ha.facts.reports.prometheus import read_wal_replay


def directories(member: Member) -> dict[str, Directory]:
    """Where a Prometheus reads and writes."""
    at = member.own(daemons.PROMETHEUS).at
    return {
        **{at(path): Directory("750", managed=True) for path in (PROMETHEUS_DIR, RULES_DIR, TARGETS_DIR, SECRETS_DIR)},
        **data_directories(at(PROMETHEUS_DATA)),
    }


def files(
    member: Member,
    found: State,
    prometheus_yml: Data,
    rules: Mapping[str, Data | str],
    targets: Mapping[str, list[Data]],
) -> dict[str, File]:
    """What a Prometheus reads, with the secrets in it."""
    settings, at = member.settings, member.own(daemons.PROMETHEUS).at
    prometheus_yml = configuration.with_retention(prometheus_yml, member, found)
    tree = {at(PROMETHEUS_CONFIG): documents.file(prometheus_yml, "prometheus_config")}
    for name, groups in rules.items():
        tree[at(f"{RULES_DIR}/{name}")] = File(groups) if isinstance(groups, str) else documents.file(groups)
    tree |= configuration.target_files(member, targets)
    secrets = settings.prometheus_secret_files
    return tree | documents.secret_files(at(SECRETS_DIR), secrets, "prometheus_secret_files")


def checks(member: Member, found: State) -> tuple[str, ...]:
    """The new version's own judgement of all that."""
    promtool = f"{installed(member, found, daemons.PROMETHEUS.product)}/promtool"
    return (f"{promtool} check config {member.own(daemons.PROMETHEUS).at(PROMETHEUS_CONFIG)}",)


def component(site: Site, member: Member, found: State) -> Component:
    prometheus_yml = configuration.prometheus_yml(site, member)
    tree = files(
        *(member, found, prometheus_yml, alerts.rules(site, member)),
        configuration.targets(site, member),
    )
    if client := configuration.sidecar_client_yml(site, member):
        tree[member.own(daemons.SIDECAR).at(SIDECAR_CLIENT)] = documents.file(client, "web_client")
    return service.component(
        "prometheus",
        *(site, member, found, daemons.PROMETHEUS, daemons.SIDECAR),
        files=tree,
        directories=directories(member),
        checks=checks(member, found),
    )


def reloaded(site: Site, member: Member) -> Gate:
    return gates.loaded(site, member, daemons.PROMETHEUS, "prometheus")


def means(site: Site, member: Member, found: State, change: Change) -> Iterator[str]:
    """Other external labels are other series: what asks for the old ones finds nothing new."""
    labels = yaml.safe_load("\n".join(found.extra.get("labels", []))) or {}
    for name in (CLUSTER_LABEL, REPLICA_LABEL):
        before, after = labels.get(name), getattr(member.settings, name)
        if name in labels and str(before) != after:
            yield (
                f"external label {name} {before!r} becomes {after!r}: all series of this replica begin anew, "
                "and queries, silences and dashboards that name the old label do not find them"
            )


_INTERVALS = "prometheus_target_interval_length_seconds_count"


_TARGETS = "prometheus_target_scrape_pool_targets"


_READ = """p=$(systemctl show -p MainPID {unit} | cut -d= -f2)
echo "rchar $(sed -n 's/^rchar: //p' /proc/$p/io 2>/dev/null)\"
"""


SCRAPES = 2
"""Scrape intervals that a Prometheus must have scraped before the next one may go (deckhouse#11694)."""


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, its write-ahead log replayed, two intervals scraped since its start, and seen by its sidecar."""
    jobs = {info.job_name for info in DAEMONS.values()}
    return scraping(site, member, asked_by, daemons.PROMETHEUS, jobs, SCRAPES, sidecar=True)


def scraping(
    site: Site,
    member: Member,
    asked_by: Member,
    daemon: Daemon,
    jobs: set[str],
    scrapes: int,
    sidecar: bool,
) -> Gate:
    questions = "\n".join(
        [
            # Segments are large, and a checkpoint is not even counted: what was read from disk moves all the time.
            *([_READ.format(unit=member.own(daemon).unit)] if member.name == asked_by.name else []),
            script(
                *(site, member, daemon),
                [
                    Call("ready", "/-/ready"),
                    Call("walreplay", "/api/v1/status/walreplay"),
                    Call("metrics", "/metrics", only_metrics(_INTERVALS, _TARGETS)),
                ],
                either=member.name != asked_by.name,
            ),
            *([_sidecar(site, member, asked_by)] if sidecar else []),
        ]
    )
    interval = member.settings.scrape_interval

    def judge(lines: list[str]) -> Progress:
        answers = split(lines)
        ready = answers.get("ready", NO_ANSWER)
        if not ready.ok:
            # In mebibytes: what questions like this one make it read is not progress.
            read = next((int(line[6:] or 0) >> 20 for line in lines if line.startswith("rchar ")), 0)
            replay = read_wal_replay(answers, {})
            if replay and not replay.done:
                says = f"write-ahead log replayed to segment {replay.current} of {replay.last}"
                return Progress(False, says, (replay.current, read))
            return Progress(False, f"not ready: {ready.problem}", ready.status or None)
        samples = metrics(answers.get("metrics", NO_ANSWER).body)
        targets = sum(s.value for s in samples if s.name == _TARGETS and s.labels.get("scrape_job") in jobs)
        counts = {seconds(s.labels.get("interval", "0")): s.value for s in samples if s.name == _INTERVALS}
        # One that waits for its turn may still scrape at the interval of before.
        waits = member.name != asked_by.name
        scraped = max(counts.values(), default=0) if waits else counts.get(seconds(interval), 0)
        if not targets or scraped < scrapes * targets:
            done = f"{scraped:.0f} of {scrapes * targets:.0f} done"
            says = f"ready; {scrapes} scrapes of each of {targets:.0f} targets, every {interval}: {done}"
            return Progress(False, says, ("scraping", scraped))
        says = f"ready, {scrapes} scrapes of each of {targets:.0f} targets done"
        if not sidecar:
            return Progress(True, says, "ok")
        if metric(metrics(answers.get("sidecar", NO_ANSWER).body), thanos.PROMETHEUS_UP) != 1:
            return Progress(False, "its sidecar does not see it yet", "sidecar")
        return Progress(True, f"{says}, seen by its sidecar", "ok")

    return Gate(questions, judge, patience=max(PATIENCE, 3 * seconds(interval)))


def _sidecar(site: Site, member: Member, asked_by: Member) -> str:
    calls = [Call("sidecar", "/metrics", only_metrics(thanos.PROMETHEUS_UP))]
    return script(*(site, member, daemons.SIDECAR), calls, either=member.name != asked_by.name)


def block_duration(site: Site, member: Member, found: State) -> Value:
    # From the versions on that can wait for the upload nothing has to be switched off; before, the documents' 2h holds
    # with a bucket or without, so that one can be added without a gap.
    return None if releases.delayed_compaction(member.settings.all_versions) else "2h"


def delay_file(site: Site, member: Member, found: State) -> Value:
    # Prometheus takes a missing file for "everything is uploaded" and warns at every compaction.
    waits = derived.delayed_compaction(member)
    return member.own(daemons.PROMETHEUS).at(f"{PROMETHEUS_DATA}/{derived.SHIPPER_META}") if waits else None


def retention_size(site: Site, member: Member, found: State) -> Value:
    return derived.retention_size(member, found)


def sidecar_client(site: Site, member: Member, found: State) -> Value:
    return member.own(daemons.SIDECAR).at(SIDECAR_CLIENT) if web.http_config([member.settings]) else None


PROMETHEUS = Role(
    "prometheus",
    daemons.PROMETHEUS.group,
    component,
    gate,
    reloaded,
    stands_in=alike(lambda member: member.settings.cluster),
    means=means,
    values={
        daemons.PROMETHEUS: {
            "storage.tsdb.retention.size": retention_size,
            "storage.tsdb.min-block-duration": block_duration,
            "storage.tsdb.max-block-duration": block_duration,
            "storage.tsdb.delay-compact-file.path": delay_file,
        },
        daemons.SIDECAR: {
            "prometheus.url": lambda site, member, found: site.local(daemons.PROMETHEUS, member).url,
            "prometheus.http-client-file": sidecar_client,
        },
    },
    alerts=alerts.alerts,
    surveys=uploads.questions,
    judges=(uploads.judge,),
    verdicts=verdicts.VERDICTS,
    findings=findings.FINDINGS,
    site_findings=findings.SITE_FINDINGS,
)
