"""How a daemon is seen to do its job: ready is not enough for any of them.

Each gate is a script of questions, asked on a host, and a pure judgement of the answers. Where TLS is switched on or
off, the other hosts may still speak as they did before their turn, and are asked so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from deploys.lib import flags, topology
from deploys.lib.ask import at_once, script
from deploys.lib.rollout import PATIENCE, Gate, Progress
from deploys.lib.settings import seconds
from deploys.lib.site import Member, Site
from facts import http
from facts.http import NO_ANSWER, Call, metric, metrics, only_metrics, split
from facts.reports import alertmanager, thanos
from facts.reports.prometheus import read_wal_replay

_INTERVALS = "prometheus_target_interval_length_seconds_count"
_TARGETS = "prometheus_target_scrape_pool_targets"
_SIDECAR_UP = "thanos_sidecar_prometheus_up"
_READ = """p=$(systemctl show -p MainPID prometheus | cut -d= -f2)
echo "rchar $(sed -n 's/^rchar: //p' /proc/$p/io 2>/dev/null)\"
"""
SCRAPES = 2
"""Scrape intervals that a Prometheus must have scraped before the next one may go (deckhouse#11694)."""
SCRAPES_ALONE = 1
"""The same for one that nobody stands in for: no next one waits for its data."""


def prometheus(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, its write-ahead log replayed, two intervals scraped since its start, and seen by its sidecar."""
    jobs = {info.job_name for info in topology.COMPONENTS.values()}
    return _prometheus(site, member, asked_by, "prometheus", jobs, SCRAPES, sidecar=True)


def upper(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, its write-ahead log replayed, an interval scraped since its start: of itself, as nobody waits for it
    as long as federation's intervals are."""
    info = topology.COMPONENTS["prometheus-upper"]
    jobs = {info.job_name}
    return _prometheus(site, member, asked_by, info.name, jobs, SCRAPES_ALONE, sidecar=False)


def _prometheus(
    site: Site,
    member: Member,
    asked_by: Member,
    component: str,
    jobs: set[str],
    scrapes: int,
    sidecar: bool,
) -> Gate:
    questions = "\n".join(
        [
            # Segments are large, and a checkpoint is not even counted: what was read from disk moves all the time.
            *([_READ] if member.name == asked_by.name else []),
            script(
                *(site, member, component),
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
            read = next(
                (int(line[6:] or 0) >> 20 for line in lines if line.startswith("rchar ")), 0
            )
            replay = read_wal_replay(answers, {})
            if replay and not replay.done:
                says = f"write-ahead log replayed to segment {replay.current} of {replay.last}"
                return Progress(False, says, (replay.current, read))
            return Progress(False, f"not ready: {ready.problem}", ready.status or None)
        samples = metrics(answers.get("metrics", NO_ANSWER).body)
        targets = sum(
            s.value for s in samples if s.name == _TARGETS and s.labels.get("scrape_job") in jobs
        )
        counts = {
            seconds(s.labels.get("interval", "0")): s.value for s in samples if s.name == _INTERVALS
        }
        # One that waits for its turn may still scrape at the interval of before.
        waits = member.name != asked_by.name
        scraped = max(counts.values(), default=0) if waits else counts.get(seconds(interval), 0)
        if not targets or scraped < scrapes * targets:
            says = f"ready, scraping ({scraped:.0f} of {scrapes * targets:.0f} intervals of {interval})"
            return Progress(False, says, ("scraping", scraped))
        says = f"ready, {scraped:.0f} intervals scraped"
        if not sidecar:
            return Progress(True, says, "ok")
        if metric(metrics(answers.get("sidecar", NO_ANSWER).body), _SIDECAR_UP) != 1:
            return Progress(False, "its sidecar does not see it yet", "sidecar")
        return Progress(True, f"{says}, seen by its sidecar", "ok")

    return Gate(questions, judge, patience=max(PATIENCE, 3 * seconds(interval)))


def _sidecar(site: Site, member: Member, asked_by: Member) -> str:
    calls = [Call("sidecar", "/metrics", only_metrics(_SIDECAR_UP))]
    return script(*(site, member, "thanos-sidecar"), calls, either=member.name != asked_by.name)


def attached(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and it sees its Prometheus, which is somebody else's."""

    def judged(report: thanos.Report) -> Progress:
        if report.values.get(_SIDECAR_UP) != 1:
            return Progress(False, "it does not see its Prometheus yet", "sidecar")
        return Progress(True, "ready, and sees its Prometheus", "ok")

    calls = thanos.calls(_SIDECAR_UP)
    return _thanos(site, member, asked_by, "thanos-sidecar-attached", calls, judged)


def _living(site: Site, component: str) -> list[Member]:
    """Those that run a component, but for hosts that are known to be away: to ask them takes its time."""
    return [member for member in site.running(component) if member.name not in site.live.away]


def alertmanagers(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, gossip settled, and every other member that is alive among its peers."""
    others = [other for other in _living(site, "alertmanager") if other.name != member.name]
    questions = at_once(
        [
            script(
                *(site, member, "alertmanager"),
                alertmanager.CALLS,
                either=member.name != asked_by.name,
            ),
            *(
                script(
                    *(site, other, "alertmanager"),
                    [Call(f"other {other.name}", "/-/ready")],
                    either=other.name != asked_by.name,
                )
                for other in others
            ),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        report = alertmanager.parse(lines)
        answers = split(lines)
        if not report.ready:
            return Progress(False, f"not ready: {report.errors.get('ready', '')}")
        peers = {peer.address for peer in report.peers}
        missing = [
            other.name
            for other in others
            if answers.get(f"other {other.name}", NO_ANSWER).ok
            and site.endpoint("alertmanager", other, "cluster").target not in peers
        ]
        if missing:
            return Progress(False, f"gossip without {', '.join(missing)}", ("peers", len(missing)))
        if report.cluster_status not in ("ready", "disabled"):
            return Progress(
                False, f"gossip {report.cluster_status}", ("gossip", report.cluster_status)
            )
        return Progress(
            True, f"ready, gossip {report.cluster_status} with {len(peers)} peers", "ok"
        )

    return Gate(questions, judge)


def querier(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and every store that is alive is listed without error: one that has not found its sidecars yet answers
    200, empty, and with no warning."""
    stores = [
        (name, other)
        for name, other in site.stores()
        # One that is still to move to where it is asked for (a ruler, whose turn comes later) is not there yet.
        if other.name not in site.live.away
        and site.live.port(name, other.name, "grpc")
        in (None, site.endpoint(name, other, "grpc").port)
    ]
    questions = at_once(
        [
            script(
                *(site, member, "thanos-querier"),
                thanos.QUERIER_CALLS,
                either=member.name != asked_by.name,
            ),
            *(
                script(
                    *(site, other, name),
                    [Call(f"store {name} {other.name}", "/-/ready")],
                    either=other.name != asked_by.name,
                )
                for name, other in stores
            ),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        report = thanos.parse_querier(lines)
        answers = split(lines)
        if not report.ready:
            return Progress(False, f"not ready: {report.errors.get('ready', '')}")
        listed = {store.address for store in report.stores if not store.last_error}
        # By itself or in a group: one that waits for its turn may still have the one for the other.
        in_group = any("+" in address for address in listed)
        missing = [
            f"{name} on {other.name}"
            for name, other in stores
            if answers.get(f"store {name} {other.name}", NO_ANSWER).ok
            and site.endpoint(name, other, "grpc").target not in listed
            and not (name == "thanos-store" and in_group)
        ]
        if missing:
            return Progress(False, f"does not list {', '.join(missing)}", ("stores", len(missing)))
        return Progress(True, f"ready with {len(listed)} stores", "ok")

    return Gate(questions, judge)


def _thanos(
    site: Site,
    member: Member,
    asked_by: Member,
    component: str,
    calls: Sequence[Call],
    judged: Callable[[thanos.Report], Progress],
) -> Gate:
    """Ready, and what `judged` makes of what it reports."""
    questions = script(*(site, member, component), calls, either=member.name != asked_by.name)

    def judge(lines: list[str]) -> Progress:
        report = thanos.parse(lines)
        if not report.ready:
            # A store gateway reads the headers of all blocks first, and its metrics move meanwhile.
            return Progress(
                False,
                f"not ready: {report.errors.get('ready', '')}",
                tuple(report.values.items()) or None,
            )
        return judged(report)

    return Gate(questions, judge)


def store(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, which it is once it has loaded the blocks of the bucket."""

    def judged(report: thanos.Report) -> Progress:
        blocks = report.values.get(thanos.BLOCKS_LOADED, 0)
        return Progress(True, f"ready with {blocks:.0f} blocks", "ok")

    return _thanos(site, member, asked_by, "thanos-store", thanos.STORE_CALLS, judged)


def compactor(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and not halted: a compactor that has halted answers as a healthy one does."""

    def judged(report: thanos.Report) -> Progress:
        if report.values.get(thanos.HALTED):
            return Progress(False, "halted: see its journal, and docs/storage.md", "halted")
        return Progress(True, "ready, not halted", "ok")

    return _thanos(site, member, asked_by, "thanos-compactor", thanos.COMPACTOR_CALLS, judged)


def frontend(site: Site, member: Member, asked_by: Member) -> Gate:
    """A query through it is answered: before 0.39 it calls itself ready, whatever its querier does."""

    def judged(report: thanos.Report) -> Progress:
        answer = report.answers.get("query", NO_ANSWER)
        if not answer.ok:
            return Progress(False, f"no query is answered: {answer.problem}", answer.status or None)
        return Progress(True, "a query through it is answered", "ok")

    return _thanos(site, member, asked_by, "thanos-query-frontend", thanos.FRONTEND_CALLS, judged)


def rule(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and every rule that it has was evaluated since its start, without failure."""

    def judged(report: thanos.Report) -> Progress:
        rules = thanos.rules(report)
        if isinstance(rules, str):
            return Progress(False, f"does not tell its rules: {rules}")
        failing = [one for one in rules if one.health == "err"]
        waiting = sum(one.health == "unknown" for one in rules)
        if failing:
            first = failing[0]
            says = f"{len(failing)} rules fail, as {first.group}/{first.name}: {first.last_error}"
            return Progress(False, says, (len(failing), waiting))
        if waiting:
            says = f"ready, {waiting} of {len(rules)} rules not evaluated yet"
            return Progress(False, says, (0, waiting))
        return Progress(True, f"ready, {len(rules)} rules evaluated", "ok")

    # A group is first evaluated within one of its intervals.
    intervals = [member.settings.evaluation_interval]
    intervals += [
        group["interval"]
        for rules in member.settings.rule_rules.values()
        for group in rules["groups"]
        if "interval" in group
    ]
    gate = _thanos(site, member, asked_by, "thanos-rule", thanos.RULE_CALLS, judged)
    return replace(gate, patience=PATIENCE + max(map(_seconds, intervals)))


def _seconds(duration: Any) -> float:
    """A duration of the user's, which upstream's checker judges and not we."""
    try:
        return seconds(str(duration))
    except ValueError:
        return 0.0


SETTLED = 15.0
"""Seconds from the start of a receiver until another one may stop. One that stops closes its block, and takes nothing
older any more; what is on its way to two of them in that time finds no majority, and its sender is told (409) to drop
it. By then it was tried again: a batch waits 5 s, a write to a member that is away 5 s, a sender before its next try at
most 5 s (defaults of Prometheus' `queue_config` and of Thanos' `receive-forward-timeout`)."""


def receive(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, which is after its log was replayed, and the hashring loaded; to others, some time after its start."""
    size = len(site.running("thanos-receive"))

    def judged(report: thanos.Report) -> Progress:
        found = report.values.get(thanos.RING_NODES, 0)
        # Another member may not have had its turn yet, and have the ring of before.
        if found == size or (found and member.name != asked_by.name):
            return Progress(True, f"ready, in a hashring of {found:.0f}", "ok")
        return Progress(False, f"ready, with a hashring of {found:.0f} of {size} members", found)

    gate = _thanos(site, member, asked_by, "thanos-receive", thanos.RECEIVE_CALLS, judged)

    def settled(lines: list[str]) -> Progress:
        progress = gate.judge(lines[1:])
        age = float(lines[0]) - thanos.parse(lines[1:]).values.get(thanos.STARTED, 0)
        if not progress.ok or age >= SETTLED:
            return progress
        says = f"started {age:.0f} s ago: what senders had on their way comes first"
        return Progress(False, says, ("settling", round(age)))

    return gate if member.name == asked_by.name else Gate(f"date +%s\n{gate.script}", settled)


def node_exporter(site: Site, member: Member, asked_by: Member) -> Gate:
    """It answers with its metrics."""
    name = "node_exporter"
    info = topology.COMPONENTS[name]
    calls = [Call("ready", info.ready_path, only_metrics(info.version_metric))]

    def judge(lines: list[str]) -> Progress:
        answer = split(lines).get("ready", NO_ANSWER)
        return Progress(
            answer.ok, answer.problem or "answers with its metrics", answer.status or None
        )

    return Gate(script(site, member, name, calls), judge)


def bucket_web(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready."""
    ready = Progress(True, "ready", "ok")
    calls = thanos.calls()
    return _thanos(site, member, asked_by, "thanos-bucket-web", calls, lambda _: ready)


def seaweedfs(site: Site, member: Member, asked_by: Member) -> Gate:
    """S3 answers, which it does once it has found the filer, and a volume server that stores has reported."""
    beats = "SeaweedFS_master_received_heartbeats"
    s3 = site.endpoint("seaweedfs", member, "s3")
    questions = "\n".join(
        [
            http.script(s3.url, [Call("s3", "/healthz")]),
            script(
                *(site, member, "seaweedfs"), [Call("metrics", "/metrics", only_metrics(beats))]
            ),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        answers = split(lines)
        if not (answer := answers.get("s3", NO_ANSWER)).ok:
            return Progress(False, f"S3: {answer.problem}", answer.status or None)
        if not any(s.value for s in metrics(answers.get("metrics", NO_ANSWER).body)):
            return Progress(False, "S3 answers, no volume server yet", "volumes")
        return Progress(True, "S3 answers", "ok")

    return Gate(questions, judge)


def minio(site: Site, member: Member, asked_by: Member) -> Gate:
    """It answers, and has a disk to store on. Its unit is up once it knows its users."""
    questions = script(*(site, member, "minio"), [Call("health", "/minio/health/cluster")])

    def judge(lines: list[str]) -> Progress:
        answer = split(lines).get("health", NO_ANSWER)
        return Progress(answer.ok, "it can store" if answer.ok else answer.problem, answer.status)

    return Gate(questions, judge)


def loaded(site: Site, member: Member, component: str, prefix: str) -> Gate:
    """The daemon's last successful reload is younger than the stamp that its unit wrote just before the signal."""
    stamp = f"{topology.STAMPS}/{topology.COMPONENTS[component].unit}.loaded"
    success = f"{prefix}_config_last_reload_successful"
    timestamp = f"{prefix}_config_last_reload_success_timestamp_seconds"
    questions = f'echo "$(date -r {stamp} +%s.%N)"\n' + script(
        *(site, member, component),
        [Call("metrics", "/metrics", only_metrics(success, timestamp))],
    )

    def judge(lines: list[str]) -> Progress:
        samples = metrics(split(lines[1:]).get("metrics", NO_ANSWER).body)
        when = metric(samples, timestamp)
        if when is not None and lines[0] and when >= float(lines[0]):
            return Progress(True, "loaded", "ok")
        if metric(samples, success) == 0:
            return Progress(False, "it refused what it read; its journal says why", "refused")
        return Progress(False, "not loaded yet", when)

    # Longer than Prometheus takes to give up on a remote_write queue that it stops.
    return Gate(questions, judge, patience=20 + 2 * seconds(flags.FLUSH_DEADLINE))
