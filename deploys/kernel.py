"""Kernel settings (spec/000 4.2): written for the next boot, set now, and read back."""

from pyinfra import host
from pyinfra.api import operation

from deploys import preflight
from deploys.lib import rollout, topology
from deploys.lib.component import Component, File
from deploys.lib.look import forget, look_at_host
from deploys.lib.site import Member, Site
from deploys.lib.templates import template
from facts.look import State


def component(site: Site, member: Member, found: State) -> Component:
    text = template("sysctl.conf.j2", sysctl=member.settings.sysctl)
    return Component("kernel", files={topology.SYSCTL_FILE: File(text, "644", group="root")})


KERNEL = rollout.Role("kernel", None, component)


@operation()
def _live():
    """Set what the running kernel has otherwise, and read it back: a container may not be allowed to."""
    found = look_at_host()
    if found is None:
        yield rollout.refuse("the look at this host failed")
        return
    wanted = {k: " ".join(str(v).split()) for k, v in rollout.member().settings.sysctl.items()}
    differ = {key: value for key, value in wanted.items() if found.sysctl.get(key) != value}
    for key, value in differ.items():
        rollout.say(f"{key} is {found.sysctl.get(key, 'unknown to this kernel')}, becomes {value}")
    if differ:
        yield f"sysctl -q -p {topology.SYSCTL_FILE}"
        yield rollout.run(
            "\n".join(
                f"""found=$(sysctl -n {key} | tr '\\t' ' '); [ "$found" = '{value}' ] ||
                {{ echo "{key} stays at $found, wanted {value}" >&2; exit 1; }}"""
                for key, value in differ.items()
            )
        )
        forget()
    else:
        host.noop("the kernel has what is wanted")


def deploy() -> None:
    rollout.converge(KERNEL)
    _live(name="kernel: live values")


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    deploy()
