"""The whole site goes to another release by one setting, and serves every query meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.canaries import Canaries
from tests.drills.mirror import archive
from tests.drills.probe import Probe
from tests.drills.site import healthy, on_all, run_site, shell, wait_for
from tests.lab import plan
from tests.lab.archives import stand_in


def _executables(site: Site) -> dict[tuple[str, str], str]:
    """Host and component -> the file that runs."""

    def look(host: str) -> dict[tuple[str, str], str]:
        pid = "$(systemctl show -p MainPID {} | cut -d= -f2)"
        return {
            (host, component): shell(host, f"readlink /proc/{pid.format(DAEMONS[component].unit)}/exe").strip()
            for component in site.hosts[host].components
            if DAEMONS[component].archives
        }

    return {key: path for found in on_all(look).values() for key, path in found.items()}


SOON_BUILT = ("alertmanager", "node_exporter")
"""Components whose older releases are built in a minute, and not in ten."""


def _versions(release: str) -> dict[str, str]:
    """The release set as the lab can build it."""
    return {c: stand_in(c, v) for c, v in releases.RELEASES[release].items()}


CURRENT = _versions(releases.DEFAULT_RELEASE)


def _expected(site: Site, versions: dict[str, str]) -> dict[tuple[str, str], str]:
    expected = {}
    for host, member in site.hosts.items():
        for component in member.components:
            info = DAEMONS[component]
            if not info.archives:  # a program of ours is in no release
                continue
            made = archive(info.archive, versions[info.archive])
            expected[host, component] = f"{topology.INSTALL_DIR}/{made.directory}/{info.binary}"
    return expected


@pytest.fixture(
    params=[
        "some of migration",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("migration", "reference")),
    ]
)
def old_site(request: pytest.FixtureRequest, site: Site, restored: None) -> Iterator[dict[str, str]]:
    """The site as the older release set, or some of it, has it; its versions. Older releases cannot read newer data, so
    they begin without any."""
    part, _, old = request.param.rpartition(" of ")
    only = SOON_BUILT if part else tuple(CURRENT)
    versions = {c: v if c in only else CURRENT[c] for c, v in _versions(old).items()}
    chosen = [word for component in (SOON_BUILT if part else ()) for word in ("--only", component)]
    builder = [sys.executable, plan.ROOT / "tests" / "lab" / "archives.py", "--release", old]
    subprocess.run([*builder, *chosen], check=True)
    wiped = "" if part else "thanos-sidecar:prometheus prometheus:prometheus "
    wipe = (
        f"for u in {wiped}alertmanager:alertmanager; do "
        "systemctl stop ${u%:*} 2>/dev/null && rm -rf /var/lib/${u#*:}/data/*; done; true"
    )
    on_all(lambda host: shell(host, wipe))
    try:
        env = {} if part else {"RELEASE": old}
        data = {"versions": {c: versions[c] for c in only}} if part else {}
        run = run_site(env=env, data={**data, "allow_outage": True})
        assert run.status == 0, str(run)
        wait_for("the older site to be healthy", lambda: healthy(site), 120)
        yield versions
    finally:
        trees = [archive(c, v).directory for c, v in versions.items() if v != CURRENT[c]]
        assert run_site().status == 0, "the site does not go back to its release"
        leftovers = " ".join(f"/opt/{name} /opt/software/{name}.tar.gz" for name in trees)
        on_all(lambda host: shell(host, f"rm -rf {leftovers}"))


def test_release_change(site: Site, old_site: dict[str, str]) -> None:
    assert _executables(site) == _expected(site, old_site), "the premise"
    with Probe(site) as probe, Canaries(site) as canaries:
        run = run_site()
    assert run.status == 0, str(run)
    assert _executables(site) == _expected(site, CURRENT)
    # The lab's peers wait less for each other than a restart takes (test_channels).
    assert len(canaries.doubled()) <= len(site.running("alertmanager"))
    assert probe.down_together() == []
    probe.assert_never_blind()
    wait_for("the newer site to be healthy", lambda: healthy(site), 60)
