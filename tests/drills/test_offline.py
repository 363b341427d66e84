"""Hosts without a way to any mirror get their archives from the control machine."""

from __future__ import annotations

import pytest

from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.mirror import archive as archive_of
from tests.drills.site import moved, run_site, shell, units

HOST = "query-1"  # reached with sudo: an upload takes another way there than for root


@pytest.mark.usefixtures("restored")
def test_an_archive_is_uploaded_verified_and_unpacked(site: Site) -> None:
    version = site.hosts[HOST].settings.version("node_exporter")
    archive = archive_of("node_exporter", version)
    place = f"{topology.SOFTWARE_DIR}/{archive.name}"
    tree = f"{topology.INSTALL_DIR}/{archive.directory}"
    digest = shell(HOST, f"sha256sum <{place}")
    before = units([HOST])
    shell(HOST, f"rm -rf {place} {tree}")
    run = run_site("--limit", HOST, data={"offline": True})
    assert run.status == 0, str(run)
    assert f"upload {archive.name}" in run.log and "fetch" not in run.log, str(run)
    assert shell(HOST, f"sha256sum <{place}") == digest
    assert shell(HOST, f"cat {tree}/.installed").split() == digest.split()[:1]
    # It ran from a file that was gone.
    assert moved(before) == {(HOST, "node_exporter")}
