"""Kernel settings (spec/000 4.2): written for the next boot, set now, and read back."""

import shlex
from collections.abc import Iterator

from deploys import preflight
from deploys.lib import rollout, topology
from deploys.lib.component import Component, File
from deploys.lib.site import Member, Site
from deploys.lib.templates import template
from facts.look import State


def component(site: Site, member: Member, found: State) -> Component:
    text = template("sysctl.conf.j2", sysctl=member.settings.sysctl)
    return Component("kernel", files={topology.SYSCTL_FILE: File(text, "644", group="root")})


KERNEL = rollout.Role("kernel", None, component)


def live(found: State) -> Iterator:
    """Set what the running kernel has otherwise, and read it back: a container may not be allowed to."""
    wanted = {k: " ".join(str(v).split()) for k, v in rollout.member().settings.sysctl.items()}
    differ = {key: value for key, value in wanted.items() if found.sysctl.get(key) != value}
    if not differ:
        return
    for key, value in differ.items():
        is_ = found.sysctl.get(key, "unknown to this kernel")
        rollout.say(f"kernel: {key} is {is_}, becomes {value}")
    read_back = (
        f"""wanted={shlex.quote(value)} found=$(sysctl -n {key} | tr '\\t' ' ')
        [ "$found" = "$wanted" ] || {{ echo "{key} stays at $found, wanted $wanted" >&2; exit 1; }}"""
        for key, value in differ.items()
    )
    yield rollout.run("\n".join(["set -e", f"sysctl -q -p {topology.SYSCTL_FILE}", *read_back]))


def deploy() -> None:
    rollout.step("kernel", rollout.converging(KERNEL), live)


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    deploy()
