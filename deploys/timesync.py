"""Clocks (spec/000 1.1): silences merge by timestamp and samples from the future are refused, so NTP is not optional.

The host's own NTP service is recognised and left alone; chrony is installed where there is none. A container's clock
belongs to its host.
"""

from collections.abc import Iterator

from pyinfra import host
from pyinfra.api import FunctionCommand

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.run import packages, rollout
from prometheus_ha.deploys.lib.run.rollout import Gate, Progress
from prometheus_ha.deploys.lib.survey.preflight import severe
from prometheus_ha.facts import timesync
from prometheus_ha.facts.reports.look import State


def clock(found: State) -> Iterator:
    wanted = rollout.member().settings.timesync
    seen = timesync.of_look(found.units, found.extra["timesync"])
    if wanted == "host" or (wanted == "auto" and seen.container and not seen.can_set_clock):
        return  # the clock belongs to the container's host
    if seen.active and (wanted == "auto" or seen.service == "chrony"):
        return
    if "chronyd" not in found.commands:
        yield from packages.install(["chrony"], found)
    unit = "chrony" if found.os in packages.DEBIAN else "chronyd"
    rollout.say(f"timesync: start {unit}")
    yield rollout.run(f"systemctl enable --now {unit}")


SYNCHRONISING = 120.0
"""Seconds in which a time service that has just been started should find its servers, and set the clock."""


def synchronised(found: State) -> Iterator:
    """Is the clock right? Seen here and not by the preflight, which meets fresh hosts without a time service."""
    member = rollout.member()
    seen = timesync.of_look(found.units, found.extra["timesync"])
    if member.settings.timesync == "host" or seen.verdict != "unsynchronised":
        return  # right; or another's business
    wrong = severe(member, Finding(member.name, "clock", "", "", ""))
    # Of the rarer services the look does not have the word.
    if wrong and seen.synchronised is None and host.get_fact(timesync.TimeSync).synchronised:
        return
    if wrong:
        yield FunctionCommand(_wait, [wrong.severity], {})


def _wait(state, host, severity: str) -> bool:
    def judge(lines: list[str]) -> Progress:
        seen = timesync.parse(lines)
        return Progress(bool(seen.synchronised), f"{seen.service} is not synchronised", None)

    gate = Gate(timesync.SCRIPT, judge, patience=SYNCHRONISING if severity == "fail" else 0)
    if rollout.wait(state, host, gate, purpose="the clock is synchronised"):
        return True
    host.log(
        "clock: samples and silences need one that is right. Is an NTP server reachable? See chronyc sources, or "
        'timedatectl timesync-status; preflight = {"clock": "warn"} goes on all the same'
    )
    return severity != "fail"


def deploy() -> None:
    rollout.step("timesync", clock, synchronised)


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
