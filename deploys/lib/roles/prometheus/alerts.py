"""The starter rules: something to deliver for a new cluster, and what tells that it goes blind itself."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter, thanos_alerts
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS, UPPER
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import in_order, scrapes
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site import derived, relations, releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import STARTER_RULES
from prometheus_ha.facts.reports import thanos

PATIENT = 6
"""The `patience` from which on an alert is evaluated once in four intervals."""

RECORDED = {
    "job:up:sum": "sum by (job) (up)",
    "job:up:count": "count by (job) (up)",
    "job:scrape_samples_scraped:sum": "sum by (job) (scrape_samples_scraped)",
    "job:scrape_duration_seconds:max": "max by (job) (scrape_duration_seconds)",
    "job:process_resident_memory_bytes:sum": "sum by (job) (process_resident_memory_bytes)",
    "job:process_cpu_seconds:rate5m": "sum by (job) (rate(process_cpu_seconds_total[5m]))",
}
"""Series that are cheap to keep and to federate: name -> expression."""


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
    recorded = [{"record": name, "expr": expr} for name, expr in RECORDED.items()]
    # What waits for half an hour and more can wait for its evaluation, too: some of these read hours of samples.
    patient = [rule for rule in alerts if starter.ALERTS[rule["alert"]].patience >= PATIENT]
    seldom = starter.milliseconds(4 * starter.lasting(member.settings.evaluation_interval))
    return [
        {"name": "starter-recording", "rules": recorded},
        {"name": "starter-alerts", "rules": [rule for rule in alerts if rule not in patient]},
        {"name": "starter-patient-alerts", "interval": seldom, "rules": patient},
    ]


WATCHDOG = Alert(
    "Watchdog",
    "prometheus",
    {"none": None},
    "The alerting pipeline of {{ $externalLabels.cluster }} works",
    "This alert always fires and is sent again and again. Let whoever receives it raise the alarm when it stops: "
    "then no alert of this cluster arrives any more.",
    patience=0,
)
TARGET_DOWN = Alert(
    "TargetDown",
    "prometheus",
    {"warning": None},
    "{{ $labels.job }} on <host> does not answer",
    "{{ $labels.instance }} could not be scraped. See on the host whether the service runs (systemctl status, "
    "journalctl -u) and whether the port can be reached from the Prometheus hosts; the page Status > Target health of "
    "Prometheus shows the error.",
)
JOB_MISSING = Alert(
    "JobMissing",
    "prometheus",
    {"warning": None},
    "Prometheus scrapes nothing as {{ $labels.job }}",
    "The site has such daemons, and this Prometheus has no target for them: its configuration is not that of the "
    "inventory. Deploy again; verify shows which file differs.",
)
REPLICA_DOWN = Alert(
    "PrometheusReplicaDown",
    "prometheus",
    {"critical": None},
    "Prometheus on <host> is down",
    "The replica at {{ $labels.instance }} does not answer; the others go on scraping and alerting, and queries "
    "through the querier go on with a warning. Redundancy is gone: see systemctl status <unit> and journalctl -u "
    "<unit> on the host. After a crash it replays its write-ahead log for minutes before it is ready.",
)
CLUSTER_DOWN = Alert(
    "ClusterDown",
    "prometheus",
    {"critical": None},
    "No Prometheus of the cluster <cluster> answers",
    "None of <names> could be asked from here. Where they are down, what the cluster <cluster> watches over is not "
    "watched, and it tells nobody; where they run, the network between the clusters is cut.",
)
CRASHLOOPING = Alert(
    "DaemonCrashlooping",
    "prometheus",
    {"warning": 3},
    "{{ $labels.job }} on <host> was started {{ $value }} times in half an hour",
    "It crashes, is killed, or somebody restarts it. systemctl status and journalctl -u on the host say which; with "
    "the kernel's lines (journalctl -k) where it is out of memory.",
    counts="starts in 120 scrape intervals (half an hour)",
)
DESCRIPTORS = Alert(
    "DaemonFileDescriptorsLow",
    "prometheus",
    {"warning": 0.8},
    "{{ $labels.job }} on <host> has {{ $value | humanizePercentage }} of its file descriptors open",
    "When it has all of them, it accepts no connection and opens no block any more. Raise nofile in the settings, "
    "and find out who keeps connections open (ss -tnp on the host).",
    counts="share of the process's file descriptors that are open",
)
VERSIONS_DIFFER = Alert(
    "DaemonVersionsDiffer",
    "prometheus",
    {"warning": None},
    "{{ $value }} versions of {{ $labels.job }} run side by side",
    "The inventory has one version for all of them. A change of release has stopped half way, or a host was left out: "
    "deploy again; verify names the host.",
    patience=6,
)
REPLICAS_DISAGREE = Alert(
    "PrometheusReplicasDisagree",
    "prometheus",
    {"warning": 0.1},
    "The replicas' {{ $labels.of }} differ by {{ $value | humanizePercentage }}",
    "One of them sees less than the others, and nobody would notice before the others are away. Compare the page "
    "Status > Target health of each: another configuration or target files (deploy again), or targets that one of them "
    "cannot reach.",
    patience=6,
    counts="share by which the smallest one is below the largest one, of targets or of samples a second",
)
RELOAD_FAILED = starter.reload_alert("Prometheus", "prometheus")
RULE_FAILURES = Alert(
    "PrometheusRuleFailures",
    "prometheus",
    {"critical": None},
    "Prometheus on <host> cannot evaluate {{ $labels.rule_group }}",
    "What the group watches over is not watched, and what it records has gaps. The page Status > Rule health of "
    "Prometheus shows the error.",
)
MISSED_EVALUATIONS = Alert(
    "PrometheusMissingRuleEvaluations",
    "prometheus",
    {"warning": None},
    "Prometheus on <host> leaves out evaluations of {{ $labels.rule_group }}",
    "An evaluation takes longer than the interval of the group, so alerts are late. Make its queries cheaper, split "
    "the group, or give the host more CPU. The page Status > Rule health shows how long each rule takes.",
    patience=3,
)
NOT_CONNECTED = Alert(
    "PrometheusNotConnectedToAlertmanagers",
    "prometheus",
    {"critical": None},
    "Alerts of Prometheus on <host> reach no Alertmanager",
    "It knows none, or none takes them, and drops them. See on the host whether the Alertmanagers can be reached "
    "(port, firewall, CA, password): its journal has the error.",
)
SENDING_FAILS = Alert(
    "PrometheusErrorSendingAlertsToSomeAlertmanagers",
    "prometheus",
    {"warning": 0.01},
    "{{ $value | humanizePercentage }} of what Prometheus on <host> sends to an Alertmanager fails",
    "The others have the alerts, and gossip nothing of them to this one. journalctl -u <unit> on the host has the "
    "error: is that Alertmanager away, or its CA or password another?",
    patience=3,
    counts="share of the sendings to one Alertmanager that fail",
)
QUEUE_FULL = Alert(
    "PrometheusNotificationQueueRunningFull",
    "prometheus",
    {"warning": 0.5},
    "The queue of alerts of Prometheus on <host> is {{ $value | humanizePercentage }} full",
    "Alerts are made faster than an Alertmanager takes them; when the queue is full, they are dropped. A rule that "
    "fires for thousands of series, or a slow Alertmanager: see ALERTS by alertname, and the load of the "
    "Alertmanagers.",
    patience=3,
    counts="share of the queue that is in use",
)
NOT_INGESTING = Alert(
    "PrometheusNotIngestingSamples",
    "prometheus",
    {"critical": None},
    "Prometheus on <host> stores no samples",
    "It answers, and takes in nothing: its disk is full or broken, or its targets are gone. See df and journalctl -u "
    "<unit> on the host, and the page Status > Target health.",
    patience=2,
)
COMPACTIONS_FAIL = Alert(
    "PrometheusTSDBCompactionsFailing",
    "prometheus",
    {"warning": None},
    "Prometheus on <host> cannot write or merge blocks",
    "The head grows in memory until it can. Its disk is full, or a block is broken: journalctl -u <unit> on the host "
    "names it; promtool tsdb list shows the blocks.",
    patience=12,
)
RELOADS_FAIL = Alert(
    "PrometheusTSDBReloadsFailing",
    "prometheus",
    {"warning": None},
    "Prometheus on <host> cannot read its blocks again",
    "What is in a broken block is missing in answers, and retention is not applied. journalctl -u <unit> on the host "
    "names the block.",
    patience=12,
)
WAL_FAILS = Alert(
    "PrometheusWriteAheadLogFailing",
    "prometheus",
    {"critical": None},
    "Prometheus on <host> cannot write its write-ahead log, or found it broken",
    "What is not in the log is lost at the next restart. Its disk is full or broken: df, journalctl -k and "
    "journalctl -u <unit> on the host.",
    patience=0,
)
TARGET_SYNC_FAILS = Alert(
    "PrometheusTargetSyncFailure",
    "prometheus",
    {"critical": None},
    "Targets of {{ $labels.scrape_job }} are left out by Prometheus on <host>",
    "A target has labels that cannot be (after relabelling: no address, or a wrong name). The others of the job are "
    "scraped. journalctl -u <unit> on the host names it.",
)
DISCOVERY_FAILS = Alert(
    "PrometheusSDRefreshFailure",
    "prometheus",
    {"warning": None},
    "Prometheus on <host> cannot find out its targets ({{ $labels.mechanism }})",
    "It goes on with those that it knew. A file of targets is no YAML or JSON, or a service that it asks is away: "
    "journalctl -u <unit> on the host has the error.",
    patience=4,
)
LIMIT_HIT = Alert(
    "PrometheusScrapeLimitHit",
    "prometheus",
    {"warning": None},
    "Prometheus on <host> drops whole scrapes: a {{ $labels.limit }} limit is exceeded",
    "Targets above a limit of their job (sample_limit, label_limit, body_size_limit, target_limit) count as down. "
    "The page Status > Target health shows which. A target has grown, or has series without end: mend it, or raise the "
    "limit.",
    patience=3,
)
DUPLICATES = Alert(
    "PrometheusDuplicateTimestamps",
    "prometheus",
    {"warning": None},
    "Prometheus on <host> drops samples with a time that it has already",
    "Two targets end up as the same series (relabelling takes away what tells them apart), or a target has one twice. "
    "journalctl -u <unit> on the host names the target.",
    patience=2,
)
OUT_OF_ORDER = Alert(
    "PrometheusOutOfOrderTimestamps",
    "prometheus",
    {"warning": None},
    "Prometheus on <host> drops samples that are older than what it has",
    "A target sets times of its own and goes back, two targets end up as the same series, or the clock of the host "
    "went back. journalctl -u <unit> on the host names the target.",
    patience=2,
)
BUSY = Alert(
    "PrometheusHighQueryLoad",
    "prometheus",
    {"warning": 0.8},
    "Prometheus on <host> runs {{ $value | humanizePercentage }} of the queries that it may at once",
    "More of them wait. Find the dear ones (query_log_file), use recording rules, or raise --query.max-concurrency "
    "where it has CPU and memory for it.",
    patience=3,
    counts="share of the queries that it may run at once",
)
REMOTE_WRITE_REFUSED = Alert(
    "RemoteWriteRefused",
    "prometheus",
    {"critical": None},
    "{{ $labels.url }} refuses samples of <host>",
    "The receiver answers that it does not want them (a wrong password, a bad request), or takes remote write 2.0 "
    "(protobuf_message) for an empty request, as Thanos 0.42 does. They are not sent again: they are missing there. "
    "The journal of Prometheus has the receiver's words.",
)
BEHIND_AT_MOST = 120
"""Seconds that a receiver may be behind what was scraped: those of upstream's mixin."""
REMOTE_WRITE_BEHIND = Alert(
    "RemoteWriteBehind",
    "prometheus",
    {"critical": BEHIND_AT_MOST},
    "Remote write of <host> to {{ $labels.url }} is {{ $value | humanizeDuration }} behind",
    "The receiver is away or too slow. What is not yet sent is kept in the write-ahead log for two hours or so, and "
    "lost when Prometheus restarts or its remote_write is changed: leave both until the receiver is back.",
    counts="seconds that the receiver is behind what was scraped",
)
UPLOADS_FAIL = Alert(
    "ThanosSidecarUploadsFailing",
    "storage",
    {"critical": 4},
    "The sidecar of <host> does not upload its blocks",
    "They wait on the local disk, and are lost once its retention drops them. See journalctl -u <unit>: is the "
    "object store away, or its key no longer good?",
    counts="hours without an upload: a block has two, and is uploaded within one more",
)
UPLOAD_OVERDUE = Alert(
    "ThanosSidecarUploadOverdue",
    "storage",
    {"warning": 4},
    "The sidecar of <host> has uploaded nothing for more than <threshold> hours",
    "No upload fails, and none is made: Prometheus makes no blocks, or the sidecar does not see them. Compare ls of "
    "the data directory with journalctl -u <unit> and -u <prometheus>.",
    counts="hours without an upload while the sidecar runs",
)
SIDECAR_ALONE = Alert(
    "ThanosSidecarNoConnectionToStartedPrometheus",
    "thanos",
    {"critical": None},
    "The sidecar on <host> does not reach its Prometheus, which runs",
    "Queriers do not see this replica's newest hours, and no block is uploaded. journalctl -u <unit> on the host: "
    "another port, a password or certificate of Prometheus that the sidecar was not told of.",
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    """Those about targets, Prometheus and its sidecars."""
    yield from WATCHDOG.rules(member, "vector(1)")
    yield from _targets(site, member)
    yield from _every_daemon(site, member)
    yield from starter.reload_failed(site, member, RELOAD_FAILED, PROMETHEUS, UPPER)
    yield from _evaluation(site, member)
    yield from _sending(site, member)
    yield from _scraping(site, member)
    yield from _storing(site, member)
    yield from _replicas(site, member)
    yield from _remote_write(site, member)
    yield from _sidecars(site, member)
    yield from thanos_alerts.alerts(site, member)


def _ours(site: Site, member: Member) -> str:
    return starter.ours(site, member, daemons.PROMETHEUS, daemons.UPPER)


def _targets(site: Site, member: Member) -> Iterator[Data]:
    prometheus = daemons.PROMETHEUS
    ours = elsewhere = starter.ours(site, member, prometheus)
    if watched := site.watched(member):
        theirs = {relations.WATCHED_JOB: [site.endpoint(prometheus, one).target for one in watched]}
        replicas = [site.endpoint(prometheus, one).target for one in site.replicas(member)]
        elsewhere = starter.selected({prometheus.job_name: replicas} | theirs)
    unless = f"unless up{{{elsewhere}}}"
    if probes := [scrape.name for scrape in scrapes(site, member)]:
        unless += f'\nunless up{{job=~"{starter.any_of(probes)}"}}'
    yield from TARGET_DOWN.rules(member, f"up == 0 {unless}")
    missing = [f"absent(up{{{starter.ours(site, member, info)}}})" for info in starter.watched(site, member)]
    yield from JOB_MISSING.rules(member, "\nor ".join(missing))
    yield from REPLICA_DOWN.rules(member, f"up{{{ours}}} == 0", unit=prometheus.unit)
    if watched:
        names = ", ".join(one.name for one in watched)
        silent = f"max(up{{{starter.selected(theirs)}}}) == 0"
        yield from CLUSTER_DOWN.rules(member, silent, cluster=watched[0].settings.cluster, names=names)


def _every_daemon(site: Site, member: Member) -> Iterator[Data]:
    """What can happen to each of them."""
    watched = starter.watched(site, member)
    ours = starter.ours(site, member, *watched)
    half_an_hour = starter.window(member, count=120)
    yield from CRASHLOOPING.rules(
        member, f"changes(process_start_time_seconds{{{ours}}}[{half_an_hour}]) > <threshold>"
    )
    yield from DESCRIPTORS.rules(member, f"process_open_fds{{{ours}}} / process_max_fds{{{ours}}} > <threshold>")
    several = []
    for info in watched:
        members = site.scraped(member, info)
        wanted = {one.settings.all_versions.get(info.archive) for one in members}
        if len(members) > 1 and len(wanted) == 1 and None not in wanted:
            each = f"count by (job, version) ({info.version_metric}{{{starter.ours(site, member, info)}}})"
            several.append(f"count by (job) ({each}) > 1")
    if several:
        yield from VERSIONS_DIFFER.rules(member, "\nor ".join(several))


def _evaluation(site: Site, member: Member) -> Iterator[Data]:
    settings, ours = member.settings, _ours(site, member)
    window = starter.window(member, *starter.intervals(settings.prometheus_rules, settings))
    failed = f"increase(prometheus_rule_evaluation_failures_total{{{ours}}}[{window}]) > 0"
    yield from RULE_FAILURES.rules(member, failed)
    missed = f"increase(prometheus_rule_group_iterations_missed_total{{{ours}}}[{window}]) > 0"
    # Those that a long evaluation left out are counted at its end, all at once: upstream's rule sees them for a while.
    late = f"{starter.slow_group(ours)}\nor {starter.overdue_group(ours, 10)}"
    yield from MISSED_EVALUATIONS.rules(member, f"{missed}\nor {late}")
    over = starter.window(member, count=20)
    running = f"avg_over_time(prometheus_engine_queries{{{ours}}}[{over}])"
    yield from BUSY.rules(
        member, f"{running}\n/ max_over_time(prometheus_engine_queries_concurrent_max{{{ours}}}[{over}]) > <threshold>"
    )


SENT_ARE_TAKEN_SINCE = "3.10.0"
"""First Prometheus that counts as sent what was taken, and not what was tried."""


def _sending(site: Site, member: Member) -> Iterator[Data]:
    """That alerts reach an Alertmanager: the pair of the one whose do not says so. One that is away is TargetDown."""
    user = member.settings.prometheus_config.get("alerting") or {}
    if not (site.running(daemons.ALERTMANAGER) or user.get("alertmanagers")):
        return
    ours, metric = _ours(site, member), "prometheus_notifications"
    # The Watchdog is sent as often as this. From Prometheus 3.10 on each Alertmanager has a queue of its own.
    window = starter.window(member, member.settings.timing.resend_delay)
    yield from NOT_CONNECTED.rules(
        member,
        f"{metric}_alertmanagers_discovered{{{ours}}} < 1\n"
        f"or min without (alertmanager) (rate({metric}_dropped_total{{{ours}}}[{window}])) > 0",
    )
    failed, tried = (f"rate({metric}_{what}_total{{{ours}}}[{window}])" for what in ("errors", "sent"))
    if releases.at_least(member.settings.version(daemons.PROMETHEUS), SENT_ARE_TAKEN_SINCE):
        tried = f"({failed} + {tried})"
    yield from SENDING_FAILS.rules(
        member,
        f"{failed}\n/ {tried} > <threshold>",
        unit=PROMETHEUS.unit,
    )
    # Upstream's mixin divides series of which one has the label alertmanager, and the other one not.
    used, all_ = (f"max by (instance, host) ({metric}_queue_{what}{{{ours}}})" for what in ("length", "capacity"))
    yield from QUEUE_FULL.rules(member, f"{used} / {all_} > <threshold>")


_ASK_NOBODY = ("static_configs", "file_sd_configs")
"""Ways to targets that cannot fail to be refreshed."""


def _scraping(site: Site, member: Member) -> Iterator[Data]:
    ours, over, unit = _ours(site, member), starter.window(member, count=20), PROMETHEUS.unit
    half_an_hour = starter.window(member, count=120)
    # The counter of a new job is born with what failed.
    left_out = f"prometheus_target_sync_failed_total{{{ours}}}"
    failed = f"increase({left_out}[{half_an_hour}]) > 0\nor ({left_out} > 0 unless {left_out} offset {half_an_hour})"
    yield from TARGET_SYNC_FAILS.rules(member, failed, unit=unit)
    # A file that did not change is read again after five minutes, where the user's job does not say otherwise.
    often = starter.window(member, count=40)
    unread = f"increase(prometheus_sd_file_read_errors_total{{{ours}}}[{often}]) > 0"
    unread = f'label_replace({unread}, "mechanism", "file", "", "")'
    jobs = member.settings.prometheus_config.get("scrape_configs") or []
    if any(key.endswith("_sd_configs") and key not in _ASK_NOBODY for job in jobs for key in job):
        unread += f"\nor increase(prometheus_sd_refresh_failures_total{{{ours}}}[{often}]) > 0"
    yield from DISCOVERY_FAILS.rules(member, unread, unit=unit)
    limits = {
        "target": "target_scrape_pool_exceeded_target_limit",
        "label": "target_scrape_pool_exceeded_label_limits",
        "sample": "target_scrapes_exceeded_sample_limit",
        "body size": "target_scrapes_exceeded_body_size_limit",
    }
    hit = [
        f'label_replace(increase(prometheus_{metric}_total{{{ours}}}[{over}]) > 0, "limit", "{limit}", "", "")'
        for limit, metric in limits.items()
    ]
    yield from LIMIT_HIT.rules(member, "\nor ".join(hit))
    for alert, what in ((DUPLICATES, "duplicate_timestamp"), (OUT_OF_ORDER, "out_of_order")):
        dropped = f"rate(prometheus_target_scrapes_sample_{what}_total{{{ours}}}[{over}]) > 0"
        yield from alert.rules(member, dropped, unit=unit)


def _storing(site: Site, member: Member) -> Iterator[Data]:
    ours, unit, tsdb = _ours(site, member), PROMETHEUS.unit, "prometheus_tsdb"
    appended = f"rate({tsdb}_head_samples_appended_total{{{ours}}}[{starter.window(member, count=20)}])"
    yield from NOT_INGESTING.rules(member, f"sum by (instance, host) ({appended}) <= 0", unit=unit)
    over = starter.window(member, count=60)  # it tries each minute
    yield from COMPACTIONS_FAIL.rules(
        member, f"increase({tsdb}_compactions_failed_total{{{ours}}}[{over}]) > 0", unit=unit
    )
    yield from RELOADS_FAIL.rules(member, f"increase({tsdb}_reloads_failures_total{{{ours}}}[{over}]) > 0", unit=unit)
    hour = starter.window(member, count=240)
    broken = ("wal_corruptions", "wal_writes_failed", "wal_truncations_failed", "checkpoint_creations_failed")
    failed = "\nor ".join(f"increase({tsdb}_{what}_total{{{ours}}}[{hour}]) > 0" for what in broken)
    yield from WAL_FAILS.rules(member, failed, unit=unit)


def _replicas(site: Site, member: Member) -> Iterator[Data]:
    """What each replica says of itself: the series of their targets cannot be compared, as each has its own alone."""
    replicas = [site.endpoint(PROMETHEUS, one).target for one in site.replicas(member)]
    if len(replicas) < 2:
        return
    ours, by = starter.selected({PROMETHEUS.job_name: replicas}), "sum by (instance)"
    appended = f"rate(prometheus_tsdb_head_samples_appended_total{{{ours}}}[{starter.window(member, count=20)}])"
    of = {
        "targets": f"{by} (prometheus_sd_discovered_targets{{{ours}}})",
        "samples a second": f"{by} ({appended})",
    }
    differ = [
        f'label_replace((max({each}) - min({each})) / max({each}), "of", "{what}", "", "") > <threshold>'
        for what, each in of.items()
    ]
    yield from REPLICAS_DISAGREE.rules(member, "\nor ".join(differ))


def _remote_write(site: Site, member: Member) -> Iterator[Data]:
    if not member.settings.prometheus_config.get("remote_write"):
        return
    job = starter.ours(site, member, daemons.PROMETHEUS)
    storage = "prometheus_remote_storage"
    # As short as a rate can be: the alert ends soon after its cause did.
    window = starter.milliseconds(4 * seconds(member.settings.scrape_interval))
    yield from REMOTE_WRITE_REFUSED.rules(member, f"rate({storage}_samples_failed_total{{{job}}}[{window}]) > 0")
    # Not by what upstream's mixin compares it with: the newest of a queue stands still while the queue is full. One
    # that has sent nothing says 0.
    sent = f"{storage}_queue_highest_sent_timestamp_seconds{{{job}}}"
    never = f"({sent} == 0) + on (instance) group_left () (time() - process_start_time_seconds{{{job}}})"
    yield from REMOTE_WRITE_BEHIND.rules(
        member,
        f"(time() - ({sent} > 0) > <threshold>\nor {never} > <threshold>)\nand {storage}_samples_pending{{{job}}} > 0",
    )


def _sidecars(site: Site, member: Member) -> Iterator[Data]:
    unit, prometheus = daemons.SIDECAR.unit, PROMETHEUS.unit
    if site.scraped(member, daemons.SIDECAR):
        ours = starter.ours(site, member, daemons.SIDECAR)
        # One whose Prometheus is down, too, is PrometheusReplicaDown.
        alone = f"thanos_sidecar_prometheus_up{{{ours}}} == 0\nand on (host) up{{{_ours(site, member)}}} == 1"
        yield from SIDECAR_ALONE.rules(member, alone, unit=unit)
    sidecars = [name for name in relations.SIDECARS if site.scraped(member, name)]
    uploading = [name for name in sidecars if any(map(derived.uploads, site.scraped(member, name)))]
    if uploading:
        job = starter.ours(site, member, *uploading)
        uploaded = f"thanos_objstore_bucket_last_successful_upload_time{{{job}}}"
        # It is 0 after each start, until the first upload.
        waiting = f"time() - max by (instance, host) (max_over_time({uploaded}[1d]))"
        yield from UPLOADS_FAIL.rules(
            member,
            # A failure that a later upload has made up for is none.
            f"sum by (instance, host) (increase({thanos.BUCKET_FAILURES}{{{job}}}[1h])) > 0\n"
            f"and on (instance) {waiting} > <threshold> * 3600",
            unit=unit,
        )
        yield from UPLOAD_OVERDUE.rules(
            member,
            f"{waiting} > <threshold> * 3600\n"
            f"and on (instance) time() - process_start_time_seconds{{{job}}} > <threshold> * 3600\n"
            f"unless on (instance) sum by (instance) (increase({thanos.BUCKET_FAILURES}{{{job}}}[1h])) > 0",
            unit=unit,
            prometheus=prometheus,
        )
