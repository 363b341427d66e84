"""The host's own firewall, where it is told to open (`firewall = "open"`): the members of the site, and nobody else,
are let through to the ports that they dial (`Site.dialled`).

nftables get a chain of ours, firewalld rich rules, ufw rules (the last two from their documentation). Our unit follows
the firewall's own: whatever is loaded anew is opened again. `firewall = "leave"` takes all of it back.
"""

import hashlib
from collections.abc import Iterator

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST
from prometheus_ha.deploys.lib.engine.component import Component, File, Service
from prometheus_ha.deploys.lib.engine.role import Role
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.templates import template
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports.look import State

UNIT = topology.FIREWALL_UNIT


def rules(site: Site, member: Member) -> list[tuple[str, str, str, int]]:
    """Who is let in where: family, source, transport, port."""
    found = set()
    for (protocol, port), others in site.dialled(member).items():
        for source in {address for other in others for address in other.sources_of_dials}:
            family = "ip6" if ":" in source else "ip"
            found.add((family, source, protocol, port))
    return sorted(found)


def component(site: Site, member: Member, found: State) -> Component:
    let_in = rules(site, member)
    if member.settings.firewall != "open" or not let_in:
        return Component("firewall")
    mark = hashlib.sha256(repr(let_in).encode()).hexdigest()[:12]
    path = f"{topology.UNIT_DIR}/{UNIT}.service"
    reads = (topology.FIREWALL,)
    return Component(
        "firewall",
        files={
            topology.FIREWALL: File(
                template("firewall.sh.j2", rules=let_in, mark=mark, state=topology.STATE),
                "755",
                group="root",
            ),
            path: File(
                template(
                    "firewall.service.j2",
                    **{"stamp": topology.STAMP, "unit": UNIT, "tool": topology.FIREWALL},
                    paths=(path, *reads),
                ),
                "644",
                group="root",
            ),
        },
        services=(Service(UNIT, started=reads, oneshot=True),),
    )


FIREWALL = Role("firewall", EVERY_HOST, component)


def live(found: State) -> Iterator:
    """What somebody else took away again, as our own tool sees it."""
    wrong = found.extra.get("firewall", [])
    if wrong and component(rollout.site(), rollout.member(), found).files:
        rollout.say(f"firewall: {'; '.join(wrong)}")
        yield rollout.run(f"systemctl restart {UNIT}")


def deploy() -> None:
    rollout.step("firewall", rollout.converging(FIREWALL), live)


def finish() -> None:
    """Close what nobody listens on any more, once every daemon has moved to its port."""
    rollout.step("firewall: ports that are left", rollout.converging(FIREWALL))


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
