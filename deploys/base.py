"""Base (spec/000 3 and 4.1): the account the daemons run as, the directories they share, limits, and our one tool.

On every host; gates nobody. Limits for login sessions are written as the document has them, but limits.d does not
reach services, so each unit carries the same ones.
"""

from collections.abc import Iterator

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib.daemons import BUCKET_GROUPS, DAEMONS, logs
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST, PYTHON, Own
from prometheus_ha.deploys.lib.engine.component import Component, Directory, File
from prometheus_ha.deploys.lib.engine.role import Role
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.templates import template
from prometheus_ha.deploys.lib.run import packages, rollout
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports.look import State

# command -> package, of the same name on Debian and the RHEL family
PACKAGES = {
    "curl": "curl",
    "tar": "tar",
    "unshare": "util-linux",
    "logrotate": "logrotate",
    "rsyslogd": "rsyslog",
}


def accounts(found: State) -> Iterator:
    """Install the few packages a minimal host may lack, and make the system user without home or shell."""
    wanted = dict(PACKAGES)
    if any(isinstance(DAEMONS[name].product, Own) for name in rollout.member().components):
        wanted[PYTHON[0]] = "python3"
    missing = [package for command, package in wanted.items() if command not in found.commands]
    if missing:
        yield from packages.install(missing, found)
    user, own = topology.USER, topology.GROUP
    # One more for each component with a key to the bucket: the file of that key is for its members alone.
    keys = [name for name in rollout.member().components if name in BUCKET_GROUPS]
    for group in (own, *keys):
        if group not in found.groups:
            rollout.say(f"group {group}")
            yield rollout.run(f"groupadd --system {group}")
    if user not in found.users:
        rollout.say(f"user {user}")
        yield rollout.run(f"useradd --system -g {own} -s {topology.SHELL} -M -d /nonexistent {user}")


def component(site: Site, member: Member, found: State) -> Component:
    settings = member.settings
    return Component(
        name="base",
        directories={
            topology.STATE: Directory("700", group="root"),
            topology.TOOLS_DIR: Directory("755", group="root"),
            topology.SOFTWARE_DIR: Directory("755", group="root"),
            # root's rsyslog writes here: were it the service user's, a planted link would aim those writes.
            logs(member.components)[0]: Directory("750"),
        },
        files={
            # What the preflight holds another one against: a wrong one would be deployed to all who dial this host.
            topology.ADDRESS: File(f"{member.address}\n", "644", group="root"),
            topology.STAMP: File(template("stamp.sh.j2", stamps=topology.STAMPS), "755", group="root"),
            topology.LIMITS_FILE: File(
                template(
                    "limits.conf.j2",
                    user=topology.USER,
                    nofile=settings.nofile,
                    nproc=settings.nproc,
                ),
                "644",
                group="root",
            ),
        },
    )


BASE = Role("base", EVERY_HOST, component)


def deploy() -> None:
    rollout.step("base", accounts, rollout.converging(BASE))


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
