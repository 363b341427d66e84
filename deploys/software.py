"""Releases (spec/000 2): each host fetches, verifies and unpacks what its own roles need, all hosts at once.

An archive is kept in /opt/software and unpacked to a versioned directory below /opt. Nothing here is live yet: the
link in /usr/local/bin is switched by the role's turn, and going back is a link too. What was verified when it was
unpacked is recorded beside it, and not hashed again on every run.
"""

from collections.abc import Iterator

from pyinfra.api import FileUploadCommand

from deploys import preflight
from deploys.lib import fetch, releases, rollout, topology
from deploys.lib.service import running_version
from facts.look import Installed, State


def archives(found: State) -> Iterator:
    """Each archive is a command of its own, so that a run which takes minutes says what it is at."""
    member = rollout.member()
    settings = member.settings
    for info in topology.of_groups(member.groups):
        running = running_version(info, found)
        wanted = settings.version(info.archive)
        if running and (problems := releases.check_change(info.archive, running, wanted)):
            raise ValueError("; ".join(problems))
    infos = topology.of_groups(member.groups)
    for component in dict.fromkeys(name for info in infos for name in info.archives):
        archive = releases.archive(component, settings.version(component), found.arch)
        pin = releases.pinned(archive.name, settings.checksums)
        there = found.installed.get(archive.directory)
        if there and there.names.issuperset(archive.binaries) and pin in (None, there.sha256):
            continue
        if settings.offline:
            rollout.say(f"software: upload {archive.name}")
            if not rollout.planning():  # which downloads nothing, not even to the control machine
                path, pin = fetch.cached(archive, settings.base_url, pin)
                yield FileUploadCommand(str(path), f"{topology.SOFTWARE_DIR}/{archive.name}")
        else:
            rollout.say(f"software: fetch {archive.url(settings.base_url)}")
        yield rollout.run(fetch.script(archive, settings.base_url, pin))
        found.installed[archive.directory] = Installed(pin or "", frozenset(archive.binaries))


def deploy() -> None:
    rollout.step("software", archives)


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    deploy()
