"""TLS and passwords of every HTTP port: the web configuration, certificates, and what our own clients ask with.

Nothing is restarted here. Daemons read a changed file by themselves; where a role's daemons have to be started with
another one, its own turns do that, host by host, and what the running ones still read stays until then.
"""

from prometheus_ha.deploys import preflight, software
from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST
from prometheus_ha.deploys.lib.engine import documents
from prometheus_ha.deploys.lib.engine.component import Component, Directory, File
from prometheus_ha.deploys.lib.engine.role import Role
from prometheus_ha.deploys.lib.engine.service import installed
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.deploys.lib.ground.topology import WEB_DIR
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    settings = member.settings
    files = {
        f"{WEB_DIR}/{name}": File(text.rstrip("\n") + "\n")
        for name, text in resolve(settings.web_files, "web_files").items()
    }
    for path, text in web.curl_files(resolve(settings.web_client, "web_client")).items():
        files[path] = File(text, "600", group="root")
    checks: tuple[str, ...] = ()
    if given := web.config_file(settings):
        files[given] = documents.file(settings.web_config, "web_config")
        if {daemons.PROMETHEUS.group, daemons.UPPER.group} & set(member.groups):  # elsewhere there is no promtool
            promtool = f"{installed(member, found, daemons.PROMETHEUS.product)}/promtool"
            checks = (f"{promtool} check web-config {given}",)
    reads = {word.partition("=")[2] for one in found.processes.values() for word in one.argv}
    ours = found.manifests.get("web", set())
    left = ours - set(files)
    return Component(
        name="web",
        files=files,
        directories={WEB_DIR: Directory("750", managed=True)} if files or ours else {},
        checks=checks,
        # With a configuration that a daemon still reads go the certificates in it.
        kept=frozenset(left if left & reads else ()),
    )


WEB = Role("web", EVERY_HOST, component)


def deploy() -> None:
    rollout.step("web", rollout.converging(WEB))


def finish() -> None:
    rollout.step("web: what nothing reads any more", rollout.converging(WEB))


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    software.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
