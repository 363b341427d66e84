"""Clocks (spec/000 1.1): silences merge by timestamp and samples from the future are refused, so NTP is not optional.

The host's own NTP service is recognised and left alone; chrony is installed where there is none. A container's clock
belongs to its host.
"""

from collections.abc import Iterator

from deploys import preflight
from deploys.lib import packages, rollout
from facts import timesync
from facts.look import State


def clock(found: State) -> Iterator:
    wanted = rollout.member().settings.timesync
    seen = timesync.parse(found.extra["timesync"])
    if wanted == "host" or (wanted == "auto" and seen.container and not seen.can_set_clock):
        return  # the clock belongs to the container's host
    if seen.active and (wanted == "auto" or seen.service == "chrony"):
        return
    if "chronyd" not in found.commands:
        yield from packages.install(["chrony"], found)
    unit = "chrony" if found.os in packages.DEBIAN else "chronyd"
    rollout.say(f"timesync: start {unit}")
    yield rollout.run(f"systemctl enable --now {unit}")


def deploy() -> None:
    rollout.step("timesync", clock)


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    deploy()
