"""How a daemon is seen to do its job: ready is not enough for any of them.

Each gate is a script of questions, asked on a host, and a pure judgement of the answers. Where TLS is switched on or
off, the other hosts may still speak as they did before their turn, and are asked so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_ha.deploys.lib.daemons import Ref
from prometheus_ha.deploys.lib.daemons.prometheus import FLUSH_DEADLINE
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.role import Gate, Progress
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import NO_ANSWER, Call, metric, metrics, only_metrics, split
from prometheus_ha.facts.reports import thanos


def living(site: Site, daemon: Ref) -> list[Member]:
    """Those that run a daemon, but for hosts that are known to be away: to ask them takes its time."""
    return [member for member in site.running(daemon) if member.name not in site.live.away]


def thanos_gate(
    site: Site,
    member: Member,
    asked_by: Member,
    daemon: Ref,
    calls: Sequence[Call],
    judged: Callable[[thanos.Report], Progress],
) -> Gate:
    """Ready, and what `judged` makes of what it reports."""
    questions = script(*(site, member, daemon), calls, either=member.name != asked_by.name)

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


def loaded(site: Site, member: Member, daemon: Ref, prefix: str) -> Gate:
    """The daemon's last successful reload is younger than the stamp that its unit wrote just before the signal."""
    stamp = f"{topology.STAMPS}/{member.own(daemon).unit}.loaded"
    success = f"{prefix}_config_last_reload_successful"
    timestamp = f"{prefix}_config_last_reload_success_timestamp_seconds"
    questions = f'echo "$(date -r {stamp} +%s.%N)"\n' + script(
        *(site, member, daemon),
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
    return Gate(questions, judge, patience=20 + 2 * seconds(FLUSH_DEADLINE))
