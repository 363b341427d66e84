"""How a daemon is seen to do its job: ready is not enough for any of them.

Each gate is a script of questions, asked on a host, and a pure judgement of the answers.
"""

from __future__ import annotations

from deploys.lib import topology
from deploys.lib.rollout import PATIENCE, Gate, Progress
from deploys.lib.settings import seconds
from deploys.lib.site import Member, Site
from facts import alertmanager, thanos
from facts.http import NO_ANSWER, Call, metric, metrics, only_metrics, script, split
from facts.prometheus import read_wal_replay

_INTERVALS = "prometheus_target_interval_length_seconds_count"
_TARGETS = "prometheus_target_scrape_pool_targets"
_READ = """p=$(systemctl show -p MainPID prometheus | cut -d= -f2)
echo "rchar $(sed -n 's/^rchar: //p' /proc/$p/io 2>/dev/null)\"
"""
SCRAPES = 2
"""Scrape intervals that a Prometheus must have scraped before the next one may go (deckhouse#11694)."""


def prometheus(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, its write-ahead log replayed, two intervals scraped since its start, and seen by its sidecar."""
    questions = "\n".join(
        [
            # Segments are large, and a checkpoint is not even counted: what was read from disk moves all the time.
            *([_READ] if member.name == asked_by.name else []),
            script(
                site.endpoint("prometheus", member).url,
                [
                    Call("ready", "/-/ready"),
                    Call("walreplay", "/api/v1/status/walreplay"),
                    Call("metrics", "/metrics", only_metrics(_INTERVALS, _TARGETS)),
                ],
            ),
            script(
                site.endpoint("thanos-sidecar", member).url,
                [Call("sidecar", "/metrics", only_metrics("thanos_sidecar_prometheus_up"))],
            ),
        ]
    )
    interval = member.settings.scrape_interval
    jobs = {info.job_name for info in topology.COMPONENTS.values()}

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
        scraped = sum(
            s.value
            for s in samples
            if s.name == _INTERVALS and seconds(s.labels.get("interval", "0")) == seconds(interval)
        )
        if not targets or scraped < SCRAPES * targets:
            says = f"ready, scraping ({scraped:.0f} of {SCRAPES * targets:.0f} intervals of {interval})"
            return Progress(False, says, ("scraping", scraped))
        if (
            metric(metrics(answers.get("sidecar", NO_ANSWER).body), "thanos_sidecar_prometheus_up")
            != 1
        ):
            return Progress(False, "its sidecar does not see it yet", "sidecar")
        return Progress(True, f"ready, {scraped:.0f} intervals scraped, seen by its sidecar", "ok")

    return Gate(questions, judge, patience=max(PATIENCE, 3 * seconds(interval)))


def alertmanagers(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, gossip settled, and every other member that is alive among its peers."""
    others = [other for other in site.members("alertmanager") if other.name != member.name]
    questions = "\n".join(
        [
            script(site.endpoint("alertmanager", member).url, alertmanager.CALLS),
            *(
                script(
                    site.endpoint("alertmanager", other).url,
                    [Call(f"other {other.name}", "/-/ready")],
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
    sidecars = site.members("prometheus")
    questions = "\n".join(
        [
            script(site.endpoint("thanos-querier", member).url, thanos.QUERIER_CALLS),
            *(
                script(
                    site.endpoint("thanos-sidecar", other).url,
                    [Call(f"store {other.name}", "/-/ready")],
                )
                for other in sidecars
            ),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        report = thanos.parse_querier(lines)
        answers = split(lines)
        if not report.ready:
            return Progress(False, f"not ready: {report.errors.get('ready', '')}")
        listed = {store.name for store in report.stores if not store.last_error}
        missing = [
            other.name
            for other in sidecars
            if answers.get(f"store {other.name}", NO_ANSWER).ok
            and site.endpoint("thanos-sidecar", other, "grpc").target not in listed
        ]
        if missing:
            return Progress(
                False, f"does not list the store of {', '.join(missing)}", ("stores", len(missing))
            )
        return Progress(True, f"ready with {len(listed)} stores", "ok")

    return Gate(questions, judge)


def loaded(site: Site, member: Member, component: str, prefix: str) -> Gate:
    """The daemon's last successful reload is younger than the stamp that its unit wrote just before the signal."""
    stamp = f"{topology.STAMPS}/{component}.loaded"
    success = f"{prefix}_config_last_reload_successful"
    timestamp = f"{prefix}_config_last_reload_success_timestamp_seconds"
    questions = f'echo "$(date -r {stamp} +%s.%N)"\n' + script(
        site.endpoint(component, member).url,
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

    return Gate(questions, judge, patience=20)
