"""Kernel settings (spec/000 4.2): set now and read back, and written for the next boot."""

import shlex
from collections.abc import Iterator

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib.common import kernel
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST
from prometheus_ha.deploys.lib.engine.component import Component, File
from prometheus_ha.deploys.lib.engine.role import Role
from prometheus_ha.deploys.lib.ground.templates import template
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    files = {
        path: File(template("sysctl.conf.j2", sysctl=values), "644", group="root")
        for path, values in kernel.files(member, found).items()
    }
    return Component("kernel", files=files)


KERNEL = Role("kernel", EVERY_HOST, component)


def live(found: State) -> Iterator:
    """Set what the running kernel has otherwise, and read it back: a container may not be allowed to.

    Before our files are written: what is not to be had is not for the next boot either; and by the file of the ports
    that were ours, those that are no more are known.
    """
    differ = kernel.differing(rollout.member(), found)
    if not differ:
        return
    lines = ["set -e"]
    for key, value in differ.items():
        is_ = found.sysctl.get(key, "unknown to this kernel")
        rollout.say(f"kernel: {key} is {is_ or 'empty'}, becomes {value or 'empty'}")
        name = shlex.quote(key)
        lines += [
            f"sysctl -q -w {name}={shlex.quote(value)}",
            f"""wanted={shlex.quote(value)} found=$(sysctl -n {name} | tr '\\t' ' ')
            [ "$found" = "$wanted" ] || {{ echo {name}" stays at $found, wanted $wanted" >&2; exit 1; }}""",
        ]
    yield rollout.run("\n".join(lines))


def deploy() -> None:
    rollout.step("kernel", live, rollout.converging(KERNEL))


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
