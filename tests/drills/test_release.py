"""The whole site goes to another release by one setting, and serves every query meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploys.lib import releases, topology
from deploys.lib.site import Site
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
            (host, component): shell(
                host, f"readlink /proc/{pid.format(topology.COMPONENTS[component].unit)}/exe"
            ).strip()
            for component in site.hosts[host].components
        }

    return {key: path for found in on_all(look).values() for key, path in found.items()}


def _versions(release: str) -> dict[str, str]:
    """The release set as the lab can build it."""
    return {c: stand_in(c, v) for c, v in releases.RELEASES[release].items()}


def _expected(site: Site, release: str) -> dict[tuple[str, str], str]:
    expected = {}
    versions = _versions(release)
    for host, member in site.hosts.items():
        for component in member.components:
            info = topology.COMPONENTS[component]
            made = archive(info.archive, versions[info.archive])
            expected[host, component] = f"{topology.INSTALL_DIR}/{made.directory}/{info.binary}"
    return expected


@pytest.fixture(params=["migration", pytest.param("reference", marks=pytest.mark.long)])
def old_site(request: pytest.FixtureRequest, site: Site, restored: None) -> Iterator[str]:
    """The site as the older release set has it. Older releases cannot read newer data, so they begin without any."""
    old = request.param
    subprocess.run(
        [sys.executable, plan.ROOT / "tests" / "lab" / "archives.py", "--release", old], check=True
    )
    wipe = (
        "for u in thanos-sidecar:prometheus prometheus:prometheus alertmanager:alertmanager; do "
        "systemctl stop ${u%:*} 2>/dev/null && rm -rf /var/lib/${u#*:}/data/*; done; true"
    )
    on_all(lambda host: shell(host, wipe))
    try:
        run = run_site(env={"RELEASE": old}, data={"allow_outage": True})
        assert run.status == 0, str(run)
        wait_for("the older site to be healthy", lambda: healthy(site), 120)
        yield old
    finally:
        newer = _versions(releases.DEFAULT_RELEASE)
        trees = [archive(c, v).directory for c, v in _versions(old).items() if v != newer[c]]
        assert run_site().status == 0, "the site does not go back to its release"
        leftovers = " ".join(f"/opt/{name} /opt/software/{name}.tar.gz" for name in trees)
        on_all(lambda host: shell(host, f"rm -rf {leftovers}"))


def test_release_change(site: Site, old_site: str) -> None:
    assert _executables(site) == _expected(site, old_site), "the premise"
    with Probe(site) as probe:
        run = run_site()
    assert run.status == 0, str(run)
    assert _executables(site) == _expected(site, releases.DEFAULT_RELEASE)
    assert probe.down_together() == []
    probe.assert_never_blind()
    wait_for("the newer site to be healthy", lambda: healthy(site), 60)
