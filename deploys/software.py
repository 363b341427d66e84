"""Releases (spec/000 2): each host fetches, verifies and unpacks what its own roles need, all hosts at once.

An archive is kept in /opt/software and unpacked to a versioned directory below /opt. Nothing here is live yet: the
link in /usr/local/bin is switched by the role's turn, and going back is a link too. What was verified when it was
unpacked is recorded beside it, and not hashed again on every run.
"""

from collections.abc import Iterator

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib.engine import fetch
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.facts.reports.look import Installed, State


def archives(found: State) -> Iterator:
    """Each archive is a command of its own, so that a run which takes minutes says what it is at."""
    member = rollout.member()
    settings = member.settings
    for archive, pin in fetch.lacking(member, found):
        proxy = None
        if settings.offline:
            rollout.say(f"software: upload {archive.name}")
            if not rollout.planning():  # which downloads nothing, not even to the control machine
                path, pin = fetch.cached(archive, settings.base_url, pin)
                yield rollout.Upload(str(path), f"{topology.SOFTWARE_DIR}/{archive.name}")
        else:
            rollout.say(f"software: fetch {archive.url(settings.base_url)}")
            if not rollout.planning():
                proxy = resolve(settings.download_proxy, "download_proxy")
        yield rollout.run(fetch.script(archive, settings.base_url, pin, proxy))
        found.installed[archive.directory] = Installed(pin or "", frozenset(archive.binaries))


def deploy() -> None:
    rollout.step("software", archives)


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
