"""Releases: what is linked, installed and recorded is the version that the inventory wants."""

import functools
import re

import pytest

from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.suites.ask import listing
from prometheus_ha.suites.inventory import connect


@functools.cache
def machine(name):
    return connect(name).check_output("uname -m")


@pytest.fixture
def archive(member, project):
    """The archive of the wanted version for the machine that the host is."""
    return releases.archive(project, member.settings.version(project), machine(member.name))


def test_links_lead_to_the_wanted_version(host, archive):
    links = [f"{topology.BIN_DIR}/{binary}" for binary in archive.binaries]
    found = host.check_output(f"find {' '.join(links)} -printf '%p %y %u:%g %l\\n'")
    assert found.splitlines() == [
        f"{link} l root:root {topology.INSTALL_DIR}/{archive.directory}/{binary}"
        for link, binary in zip(links, archive.binaries, strict=True)
    ]


def test_binaries_are_the_wanted_version(host, archive):
    for binary in archive.binaries:
        # Older ones print it on stderr.
        text = host.check_output(f"{topology.BIN_DIR}/{binary} {archive.version_command} 2>&1")
        # SeaweedFS says how large its volumes may be before it says its version.
        assert re.search(rf"version (\S+ )?{re.escape(archive.version)}(\s|$)", text), text


def test_what_was_verified_is_recorded(host, member, archive):
    recorded = host.file(f"{topology.INSTALL_DIR}/{archive.directory}/.installed").content_string
    assert re.fullmatch(r"[0-9a-f]{64}\n", recorded)
    pin = releases.pinned(archive.name, member.settings.checksums)
    assert pin in (None, recorded.strip())
    place = f"{topology.SOFTWARE_DIR}/{archive.name}"
    assert host.check_output("sha256sum %s", place).split()[0] == recorded.strip()


def test_only_root_can_change_what_runs(host, member, archive):
    directory = f"{topology.INSTALL_DIR}/{archive.directory}"
    places = f"{directory} {topology.SOFTWARE_DIR}/{archive.name}"
    assert host.check_output(f"find {places} ! -user root -o ! -group root -o -perm /022") == ""
    binaries = [f"{directory}/{binary}" for binary in archive.binaries]
    assert listing(member, *binaries) == dict.fromkeys(binaries, "f 755 root:root")


def test_nothing_half_unpacked_is_left(host):
    leftovers = f"find {topology.INSTALL_DIR} -maxdepth 1 -name '.*.new'"
    assert host.check_output(leftovers) == ""
    assert host.check_output(f"find {topology.SOFTWARE_DIR} -name '*.part'") == ""
