"""Releases (spec/000 2): each host fetches, verifies and unpacks what its own roles need, all hosts at once.

An archive is kept in /opt/software and unpacked to a versioned directory below /opt. Nothing here is live yet: the
link in /usr/local/bin is switched by the role's turn, and going back is a link too. What was verified when it was
unpacked is recorded beside it, and not hashed again on every run.
"""

from pyinfra import host
from pyinfra.api import FileUploadCommand, operation

from deploys import preflight
from deploys.lib import fetch, releases, rollout, topology
from deploys.lib.look import forget, look_at_host


@operation()
def _archives():
    found = look_at_host()
    if found is None:
        yield rollout.refuse("the look at this host failed")
        return
    member = rollout.member()
    settings = member.settings
    missing = []
    for component in dict.fromkeys(info.archive for info in topology.of_groups(member.groups)):
        try:
            archive = releases.archive(component, settings.version(component), found.arch)
        except ValueError as error:
            yield rollout.refuse(str(error))
            return
        pin = releases.pinned(archive.name, settings.checksums)
        there = found.installed.get(archive.directory)
        if there and there.names.issuperset(archive.binaries) and pin in (None, there.sha256):
            continue
        missing.append((archive, pin))
    if not missing:
        host.noop("every release is there")
        return
    yield f"install -d -m 755 {topology.SOFTWARE_DIR}"
    for archive, pin in missing:
        place = f"{topology.SOFTWARE_DIR}/{archive.name}"
        if settings.offline:
            rollout.say(f"upload {archive.name}")
            try:
                path, pin = fetch.cached(archive, settings.base_url, pin)
            except fetch.FetchError as error:  # an exception here would end the run of every host
                yield rollout.refuse(str(error))
                return
            yield FileUploadCommand(str(path), place)
        else:
            rollout.say(f"fetch {archive.url(settings.base_url)}")
        yield rollout.run(fetch.script(archive, settings.base_url, pin))
    forget()


def deploy() -> None:
    _archives(name="software: releases")


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    deploy()
