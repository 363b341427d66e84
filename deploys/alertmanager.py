"""The gossiping Alertmanager cluster (spec/000 6).

Every member holds the same configuration and names the other members as its peers. A new route or template is a
reload on every living member, also in the middle of an outage; a new flag or release is a restart, one member at a
time. Back up means: ready, and gossip settled with every other member that is alive.
"""

from deploys import alone
from deploys.lib import config, gates, rollout, topology
from deploys.lib.component import Component, Directory, File
from deploys.lib.secrets import resolve
from deploys.lib.service import daemons, data_directories, installed
from deploys.lib.site import Member, Site
from facts.look import State


def component(site: Site, member: Member, found: State) -> Component:
    files = {
        topology.ALERTMANAGER_CONFIG: File(
            config.dump(resolve(config.alertmanager_yml(site, member)))
        )
    }
    for name, text in member.settings.alertmanager_templates.items():
        files[f"{topology.TEMPLATES_DIR}/{name}"] = File(text)
    amtool = f"{installed(member, found, 'alertmanager')}/amtool"
    return daemons(
        "alertmanager",
        *(site, member, found, "alertmanager"),
        files=files,
        directories={
            topology.ALERTMANAGER_DIR: Directory("750", managed=True),
            topology.TEMPLATES_DIR: Directory("750", managed=True),
            **data_directories(topology.ALERTMANAGER_DATA),
        },
        checks=(f"{amtool} check-config {topology.ALERTMANAGER_CONFIG}",),
    )


def reloaded(site: Site, member: Member) -> rollout.Gate:
    return gates.loaded(site, member, "alertmanager", "alertmanager")


ALERTMANAGER = rollout.Role(
    "alertmanager", "alertmanager", component, gates.alertmanagers, reloaded
)


def deploy() -> None:
    rollout.roll(ALERTMANAGER)


if __name__ == "builtins":  # as a deploy file of its own
    alone.deploy(ALERTMANAGER)
