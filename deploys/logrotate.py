"""Logs (spec/000 10): the journal keeps everything, rsyslog writes each daemon's lines to /var/log/prometheus as well,
and logrotate rotates those.

rsyslog is not ours, but gets the same stamp from a drop-in, so that a run killed before its restart is completed.
"""

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib.daemons import ALERTMANAGER, DAEMONS, logs
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_EVENTS
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST
from prometheus_ha.deploys.lib.engine.component import Component, File, Service
from prometheus_ha.deploys.lib.engine.role import Role
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.templates import template
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    log_dir, rotation = logs(member.components)
    daemons = [member.own(info) for info in DAEMONS.values()]
    if log_dir != topology.LOG_DIR:
        # The lines of somebody else's daemon by a name of ours are not ours.
        daemons = member.daemons
    units = dict.fromkeys(info.unit for info in daemons)
    events = member.own(ALERTMANAGER).at(ALERTMANAGER_EVENTS) if ALERTMANAGER.name in member.components else ""
    reads = (topology.RSYSLOG_FILE, topology.RSYSLOG_DROP_IN)

    def file(text: str) -> File:
        return File(text, "644", group="root")

    return Component(
        name="logrotate",
        files={
            rotation: file(
                template("logrotate.j2", log_dir=log_dir, events=events, user=topology.USER, group=topology.GROUP)
            ),
            topology.RSYSLOG_FILE: file(template("rsyslog.j2", log_dir=log_dir, daemons=units)),
            topology.RSYSLOG_DROP_IN: file(
                template("stamped.conf.j2", stamp=topology.STAMP, unit="rsyslog", paths=reads)
            ),
        },
        directories={},
        services=(Service("rsyslog", started=reads),),
        checks=(
            # On a blank host the account is yet to come, and logrotate refuses one that it does not know.
            f"sed \"$(id -u {topology.USER} >/dev/null 2>&1 || echo '/^ *su /d')\" {{staged}}{rotation} "
            ">{staged}/rotation && logrotate --debug {staged}/rotation 2>&1 || exit 1",
            "rsyslogd -N1 -f {staged}" + f"{topology.RSYSLOG_FILE}",
        ),
    )


LOGROTATE = Role("logrotate", EVERY_HOST, component)


def deploy() -> None:
    rollout.converge(LOGROTATE)


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
