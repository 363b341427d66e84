"""Clocks (spec/000 1.1): silences merge by timestamp and samples from the future are refused, so NTP is not optional.

The host's own NTP service is recognised and left alone; chrony is installed where there is none. A container's clock
belongs to its host.
"""

from pyinfra import host
from pyinfra.api import operation

from deploys import preflight
from deploys.lib import packages, rollout
from deploys.lib.look import forget, look_at_host
from facts import timesync


@operation()
def _clock():
    found = look_at_host()
    if found is None:
        yield rollout.refuse("the look at this host failed")
        return
    wanted = rollout.member().settings.timesync
    seen = timesync.parse(found.extra["timesync"])
    if wanted == "host" or (wanted == "auto" and seen.container and not seen.can_set_clock):
        host.noop("the clock belongs to the container's host")
        return
    if seen.active and (wanted == "auto" or seen.service in ("chrony", "chronyd")):
        host.noop(f"{seen.service} keeps the clock")
        return
    if "chronyd" not in found.commands:
        yield from packages.install(["chrony"], found)
    unit = "chrony" if found.os in ("debian", "ubuntu") else "chronyd"
    rollout.say(f"start {unit}")
    yield f"systemctl enable --now {unit}"
    forget()


def deploy() -> None:
    _clock(name="timesync: a clock that is kept")


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    deploy()
