"""Whether what is to be fetched can be had, as a host's own shell tries it, and as the control machine does."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from prometheus_ha.deploys.lib.engine import fetch
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.survey import source
from prometheus_ha.deploys.lib.survey.preflight import View
from prometheus_ha.facts.reports.look import Installed
from prometheus_ha.facts.reports.survey import Host
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK
from tests.unit.test_fetch import Mirror, served  # noqa: F401

NOBODY = "http://127.0.0.1:1"
NAMES = ("alertmanager", "node_exporter")


def archive(name):
    return releases.archive(name, releases.RELEASES["current"][name], "amd64")


def member(base_url, **data):
    return example_site(base_url=base_url, **data).hosts["am-1"]


@pytest.fixture
def host(tmp_path):
    """What the host says whose /opt is a directory of the test; `curl` takes its curl away."""
    (tmp_path / "opt").mkdir()

    def ask(member, curl=True):
        script = source.questions(member).replace(f" {topology.INSTALL_DIR}/", f" {tmp_path}/opt/")
        script = script.replace("read -r m </proc/sys/kernel/arch", "m=x86_64")
        if not curl:
            script = script.replace("command -v curl", "false")
        done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True)
        assert not done.stderr, done.stderr
        return done.stdout.splitlines()

    return ask


@pytest.fixture
def mirror(tmp_path, served):  # noqa: F811
    """A mirror of all that the host needs: its address and its directory."""
    for name in NAMES:
        place = tmp_path / "mirror" / archive(name).path
        place.parent.mkdir(parents=True)
        place.write_bytes(b"x" * 1_000_000)
        place.with_name("sha256sums.txt").write_text("x")
    return served, tmp_path / "mirror"


def install(tmp_path: Path, name: str, sha256: str = "x") -> None:
    directory = tmp_path / "opt" / archive(name).directory
    directory.mkdir()
    for program in archive(name).binaries:
        (directory / program).touch()
    (directory / ".installed").write_text(f"{sha256}\n")


def test_what_is_there_is_tried_and_not_fetched(host, mirror):
    url, _ = mirror
    assert host(member(url)) == []
    assert len(Mirror.asked) == 4


def test_what_is_installed_is_not_asked_for(host, mirror, tmp_path):
    for name in NAMES:
        install(tmp_path, name)
    url, _ = mirror
    assert host(member(url)) == [] and Mirror.asked == []
    (tmp_path / "opt" / archive("alertmanager").directory / "amtool").unlink()
    host(member(url))
    assert len(Mirror.asked) == 2 and "alertmanager" in Mirror.asked[0]


def test_another_pin_is_asked_for(host, mirror, tmp_path):
    for name in NAMES:
        install(tmp_path, name, "a" * 64)
    url, _ = mirror
    pins = {archive(name).name: letter * 64 for name, letter in zip(NAMES, "ab", strict=True)}
    host(member(url, checksums=pins))
    assert Mirror.asked == [f"/{archive('node_exporter').path}"]


def test_one_archive_that_is_missing_says_nothing_of_the_other(host, mirror):
    url, directory = mirror
    for name in NAMES:
        (directory / archive(name).path).unlink()
    said = host(member(url))
    assert [line.split()[1] for line in said] == [archive(name).url(url) for name in NAMES]
    assert all(line.startswith("22 ") and "404" in line for line in said)


@pytest.mark.parametrize("curl", [True, False])
def test_nobody_there_is_said_once(host, curl):
    (said,) = host(member(NOBODY), curl)
    assert said.startswith("7 ") and NOBODY in said
    assert "Failed to connect" in said or "Connection refused" in said


def test_no_curl_yet_and_somebody_there(host, mirror):
    assert host(member(mirror[0]), curl=False) == []


def test_a_proxy_is_gone_by(host, mirror, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    url, _ = mirror
    elsewhere = "http://releases.example.org"
    # The mirror is asked as a proxy is, by the whole URL, which it does not have.
    (first, second) = host(member(elsewhere, download_proxy=url))
    assert "404" in first and Mirror.asked[0].startswith(elsewhere)
    (said,) = host(member(url, download_proxy=NOBODY))
    assert said.startswith("7 ")


def test_a_password_of_a_proxy_stays_out_of_the_script(host, mirror, monkeypatch):
    monkeypatch.setenv("PROXY", f"http://me:hunter2hunter2@127.0.0.1:{mirror[0].rpartition(':')[2]}")
    there = member("http://releases.example.org", download_proxy="secret:env:PROXY")
    assert "hunter2" not in source.questions(there) and host(there) == []
    monkeypatch.setenv("PROXY", "http://me:hunter2hunter2@127.0.0.1:1")
    (said,) = host(there)
    assert said.startswith("7 download_proxy ")
    monkeypatch.delenv("PROXY")  # somebody who only looks need not have it
    assert host(there) == []


def test_the_download_goes_by_the_proxy_and_names_it_in_no_argument():
    script = fetch.script(archive("node_exporter"), "http://m", None, "http://me:it's@proxy:3128")
    assert script.splitlines()[1].startswith("http_proxy='http://me:it'")
    assert "curl" not in script.splitlines()[1] and script.count("@proxy") == 2


def findings(view_of, **host):
    site = example_site(**view_of)
    looks = {"am-1": host.pop("look", BLANK)}
    return list(source.judge(View(site, {"am-1": Host(**host)}, looks)))


def test_the_ways_out_are_named():
    line = f"7 {NOBODY}/a Failed to connect"
    (one,) = findings({}, asked={"source": [line]})
    assert (one.check, one.found) == ("source", f"{NOBODY}/a: Failed to connect")
    for word in ("base_url", "offline", "download_proxy"):
        assert word in one.advice
    (one,) = findings({}, asked={"source": [line.replace("7", "22", 1)]})
    assert "versions" in one.advice
    assert findings({}) == []


def test_what_is_uploaded_is_asked_for_here(mirror):
    url, directory = mirror
    offline = {"offline": True, "base_url": url}
    assert source.questions(member(**offline)) == ""
    assert findings(offline) == [] and len(Mirror.asked) == 4
    (directory / archive("alertmanager").path).unlink()
    (one,) = findings(offline)
    assert "this machine" in one.found and "404" in one.found
    there = {archive(name).directory: Installed("x", frozenset(archive(name).binaries)) for name in NAMES}
    assert findings(offline, look=replace(BLANK, installed=there)) == []
    assert findings({"offline": True, "base_url": NOBODY})


def test_what_lies_in_the_cache_needs_no_network(mirror):
    place = fetch.cache_directory(NOBODY) / archive("node_exporter").name
    place.parent.mkdir(parents=True)
    place.touch()
    place.with_name(f"{place.name}.sha256").write_text("x")
    assert fetch.unavailable(archive("node_exporter"), NOBODY, None) == ""
    assert fetch.unavailable(archive("alertmanager"), NOBODY, None)
