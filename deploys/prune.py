"""Old releases go: what is below /opt of releases that no daemon runs and the site does not want, with its archive.

    pyinfra inventory.py deploys/prune.py      # says which, and asks

Until then they stay, so that going back is a link and a restart. No daemon is touched.
"""

import shlex
from collections.abc import Iterator

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib.engine import fetch
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.facts.reports.look import State


def old_releases(found: State) -> Iterator:
    """The releases of ours that nothing on this host needs: neither its inventory, nor a process, nor a link."""
    wanted = {archive.directory for archive, _ in fetch.wanted(rollout.member(), found.arch)}
    used = [process.exe for process in found.processes.values()]
    used += [path.target for path in found.paths.values() if path.kind == "l"]
    for directory in sorted(set(found.installed) - wanted):
        place = f"{topology.INSTALL_DIR}/{directory}"
        if any(one.startswith(f"{place}/") for one in used):
            rollout.say(f"prune: {place} stays, it is in use")
            continue
        rollout.say(f"prune: remove {place}")
        archives = f"{topology.SOFTWARE_DIR}/{directory}."
        yield rollout.run(f"rm -rf {shlex.quote(place)} && rm -f {shlex.quote(archives)}*")
        del found.installed[directory]


def deploy() -> None:
    rollout.step("prune", old_releases)


def run() -> None:
    """As a run of its own."""
    preflight.deploy()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
