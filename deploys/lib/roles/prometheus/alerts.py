"""The starter rules: something to deliver for a new cluster, and what tells that it goes blind itself."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS, UPPER
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import in_order, scrapes
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site import derived, relations, releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import STARTER_RULES
from prometheus_ha.facts.reports import thanos


def rules(site: Site, member: Member) -> dict[str, Data]:
    """Name in the rules directory -> content."""
    return with_users(member, starter_rules(site, member))


def with_users(member: Member, groups: list[Data]) -> dict[str, Data]:
    """The same: these starter rules, and then the user's."""
    wanted = groups and member.settings.starter_rules
    return ({STARTER_RULES: {"groups": groups}} if wanted else {}) | member.settings.prometheus_rules


def starter_rules(site: Site, member: Member) -> list[Data]:
    """Groups of rules that give a new cluster something to deliver, and notice when it goes blind itself.

    Every replica evaluates them, so a recorded series exists once for each replica and is one after deduplication; so
    it is with alerts, once `replica` is dropped from them. Where there are several clusters, each alerts about what it
    scrapes, which no other does.
    """
    alerts = [rule for role in in_order() for rule in role.alerts(site, member)]
    return [
        {
            "name": "starter-recording",
            "rules": [{"record": "job:up:sum", "expr": "sum by (job) (up)"}],
        },
        {"name": "starter-alerts", "rules": [_watchdog(), *alerts]},
    ]


def alerts(site: Site, member: Member) -> Iterator[Data]:
    """Those about targets, Prometheus and its sidecars."""
    for_ = member.settings.timing.for_
    yield from _targets(site, member, for_)
    yield from starter.reload_failed(site, member, PROMETHEUS, UPPER)
    yield from _rule_failures(site, member, for_)
    yield from _connected(site, member, for_)
    yield from starter.disks_filling(site, member, for_)
    yield from _remote_write(site, member, for_)
    yield from _uploads(site, member, for_)


def _watchdog() -> Data:
    return starter.alert(
        "Watchdog",
        "vector(1)",
        "none",
        "The alerting pipeline of {{ $externalLabels.cluster }} works",
        "This alert always fires and is sent again and again. Let whoever receives it raise the "
        "alarm when it stops: then no alert of this cluster arrives any more.",
    )


def _targets(site: Site, member: Member, for_: str) -> list[Data]:
    prometheus = daemons.PROMETHEUS
    ours = elsewhere = starter.ours(site, member, daemons.PROMETHEUS)
    if watched := site.watched(member):
        theirs = {relations.WATCHED_JOB: [site.endpoint(daemons.PROMETHEUS, one).target for one in watched]}
        replicas = [site.endpoint(daemons.PROMETHEUS, one).target for one in site.replicas(member)]
        elsewhere = starter.selected({prometheus.job_name: replicas} | theirs)
    unless = f"unless up{{{elsewhere}}}"
    if probes := [scrape.name for scrape in scrapes(site, member)]:
        unless += f'\nunless up{{job=~"{starter.any_of(probes)}"}}'
    rules = [
        starter.alert(
            "TargetDown",
            f"up == 0 {unless}",
            "warning",
            "{{ $labels.job }} on {{ or $labels.host $labels.instance }} does not answer",
            "{{ $labels.instance }} could not be scraped. See on the host whether the service runs "
            "(systemctl status, journalctl -u) and whether the port can be reached from the "
            "Prometheus hosts; the page Status > Targets of Prometheus shows the error.",
            for_,
        ),
        starter.alert(
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
            starter.alert(
                "ClusterDown",
                f"max(up{{{starter.selected(theirs)}}}) == 0",
                "critical",
                f"No Prometheus of the cluster {cluster} answers",
                f"None of {', '.join(m.name for m in watched)} could be asked from here. Where they are "
                f"down, what the cluster {cluster} watches over is not watched, and it tells nobody; "
                "where they run, the network between the clusters is cut.",
                for_,
            )
        )
    return rules


def _rule_failures(site: Site, member: Member, for_: str) -> list[Data]:
    settings = member.settings
    window = starter.window(member, *starter.intervals(settings.prometheus_rules, settings))
    ours = starter.ours(site, member, daemons.PROMETHEUS, daemons.UPPER)
    return [
        starter.alert(
            "PrometheusRuleFailures",
            f"increase(prometheus_rule_evaluation_failures_total{{{ours}}}[{window}]) > 0",
            "critical",
            "Prometheus on {{ or $labels.host $labels.instance }} cannot evaluate {{ $labels.rule_group }}",
            "What the group watches over is not watched, and what it records has gaps. The page "
            "Status > Rule health of Prometheus shows the error.",
            for_,
        )
    ]


def _connected(site: Site, member: Member, for_: str) -> list[Data]:
    """That alerts reach an Alertmanager: the pair of the one whose do not says so. One that is away is TargetDown."""
    user = member.settings.prometheus_config.get("alerting") or {}
    if not (site.running(daemons.ALERTMANAGER) or user.get("alertmanagers")):
        return []
    ours = starter.ours(site, member, daemons.PROMETHEUS, daemons.UPPER)
    # The Watchdog is sent as often as this. From Prometheus 3.10 on each Alertmanager has a queue of its own.
    window = starter.window(member, member.settings.timing.resend_delay)
    return [
        starter.alert(
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


QUEUE_HIGHEST_SINCE = "3.7.0"
"""First Prometheus that says for each queue what is to be sent; that of all of them is deprecated since then."""


BEHIND = 120
"""Seconds that a receiver may be behind what was scraped: those of upstream's mixin."""


def _remote_write(site: Site, member: Member, for_: str) -> list[Data]:
    if not member.settings.prometheus_config.get("remote_write"):
        return []
    job = starter.ours(site, member, daemons.PROMETHEUS)
    storage = "prometheus_remote_storage"
    newest = f"{storage}_queue_highest_timestamp_seconds{{{job}}} -"
    if not releases.at_least(member.settings.version(daemons.PROMETHEUS), QUEUE_HIGHEST_SINCE):
        newest = f"{storage}_highest_timestamp_in_seconds{{{job}}}\n- ignoring(remote_name, url) group_right"
    # As short as a rate can be: the alert ends soon after its cause did.
    window = starter.milliseconds(4 * seconds(member.settings.scrape_interval))
    return [
        starter.alert(
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
        starter.alert(
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


UPLOAD_HOURS = 4
"""Hours without an upload: a block has two, and is uploaded within one more."""


def _uploads(site: Site, member: Member, for_: str) -> list[Data]:
    rules = []
    uploading = [name for name in relations.SIDECARS if any(map(derived.uploads, site.scraped(member, name)))]
    if uploading:
        job = starter.ours(site, member, *uploading)
        rules.append(
            starter.alert(
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
    return rules
