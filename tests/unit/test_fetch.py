"""Archives on a host, and in the control machine's cache for hosts without a way out."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prometheus_ha.deploys.lib.engine import fetch
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import releases

ARCHIVE = releases.archive("node_exporter", "1.12.1", "amd64")
CONTENT = b"an archive"
SUM = hashlib.sha256(CONTENT).hexdigest()


class Mirror(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def log_message(self, *args):
        self.asked.append(self.path)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The address of a mirror that is an empty directory, `mirror`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "mirror").mkdir()
    Mirror.asked = []
    handler = partial(Mirror, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()  # ends soon
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def mirror(tmp_path, served):
    """A mirror with one release; its address, and the directory with the release's files."""
    release = (tmp_path / "mirror" / ARCHIVE.path).parent
    release.mkdir(parents=True)
    (release / ARCHIVE.name).write_bytes(CONTENT)
    (release / "sha256sums.txt").write_text(f"{SUM}  {ARCHIVE.name}\n")
    return served, release


def test_it_is_fetched_once_and_verified(mirror):
    url, _ = mirror
    path, digest = fetch.cached(ARCHIVE, url, None)
    assert (path.read_bytes(), digest) == (CONTENT, SUM)
    asked = len(Mirror.asked)
    assert fetch.cached(ARCHIVE, url, None) == (path, SUM)
    assert len(Mirror.asked) == asked


def test_what_was_damaged_in_the_cache_is_fetched_again(mirror):
    url, _ = mirror
    path, _ = fetch.cached(ARCHIVE, url, None)
    path.write_bytes(b"damaged")
    assert fetch.cached(ARCHIVE, url, None)[0].read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda release: (release / ARCHIVE.name).write_bytes(b"other"), f"wanted {SUM}"),
        (lambda release: (release / "sha256sums.txt").write_text(""), "no checksum for"),
        (lambda release: (release / ARCHIVE.name).unlink(), "404"),
    ],
)
def test_what_cannot_be_had_is_named_and_leaves_nothing(mirror, spoil, said):
    url, release = mirror
    spoil(release)
    with pytest.raises(fetch.FetchError, match=ARCHIVE.name) as raised:
        fetch.cached(ARCHIVE, url, None)
    assert said in str(raised.value)
    assert [path.name for path in fetch.cache_directory(url).iterdir()] == []


def test_a_pin_goes_before_the_releases_own_sums(mirror):
    url, _ = mirror
    with pytest.raises(fetch.FetchError, match="wanted " + "0" * 64):
        fetch.cached(ARCHIVE, url, "0" * 64)


def test_nobody_there_is_an_error(mirror):
    with pytest.raises(fetch.FetchError, match=ARCHIVE.name):
        fetch.cached(ARCHIVE, "http://127.0.0.1:1", None)


def test_sources_do_not_mix(mirror):
    """What a mirror built itself must not be taken for upstream's archive of the same name."""
    url, _ = mirror
    fetch.cached(ARCHIVE, url, None)
    with pytest.raises(fetch.FetchError):
        fetch.cached(ARCHIVE, "http://127.0.0.1:1", None)


def test_of_what_has_an_md5_the_sha256_is_kept(tmp_path, served):
    archive = releases.archive("seaweedfs", "4.48", "amd64")
    place = tmp_path / "mirror" / archive.path
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    sums = tmp_path / "mirror" / archive.sums_path
    sums.write_text("0" * 32 + "\n")
    with pytest.raises(fetch.FetchError, match="md5 is .*, wanted 0000"):
        fetch.cached(archive, served, None)
    sums.write_text(hashlib.md5(CONTENT).hexdigest() + "\n")
    path, digest = fetch.cached(archive, served, None)
    assert (path.name, digest) == (archive.name, SUM)
    sums.unlink()
    assert fetch.cached(archive, served, None) == (path, SUM)
    with pytest.raises(fetch.FetchError, match="sha256 is .*, wanted 1111"):
        fetch.cached(archive, served, "1" * 64)


# --- On a host ------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Runs the script as on a host whose /opt is `opt`: its exit status and what it says."""
    monkeypatch.setattr(topology, "INSTALL_DIR", str(tmp_path / "opt"))
    monkeypatch.setattr(topology, "SOFTWARE_DIR", str(tmp_path / "opt/software"))
    (tmp_path / "opt/software").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/chown").symlink_to("/bin/true")  # no root is needed here
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def run(archive, url, pin=None):
        script = fetch.script(archive, url, pin)
        done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True)
        return done.returncode, done.stderr

    return run


def released(top, component, version):
    """Put a release into the mirror at `top`, as upstream packs it: the archive, and its sha256."""
    archive = releases.archive(component, version, "amd64")
    place = top / archive.path
    place.parent.mkdir(parents=True)
    text = f'#!/bin/sh\n[ "$1" = {archive.version_command} ]\n'.encode()
    with tarfile.open(place, "w:gz") as tar:
        for binary in archive.binaries:
            entry = tarfile.TarInfo(binary if archive.flat else f"{archive.directory}/{binary}")
            entry.mode, entry.size = 0o755, len(text)
            tar.addfile(entry, io.BytesIO(text))
    found = hashlib.new(archive.digest, place.read_bytes()).hexdigest()
    line = found if archive.digest == "md5" else f"{found}  {archive.file}"
    (top / archive.sums_path).write_text(f"{line}\n")
    return archive, hashlib.sha256(place.read_bytes()).hexdigest()


@pytest.mark.parametrize(("component", "version"), [("node_exporter", "1.12.1"), ("seaweedfs", "4.48")])
def test_a_host_unpacks_what_it_verified_and_records_its_sha256(tmp_path, served, host, component, version):
    archive, digest = released(tmp_path / "mirror", component, version)
    sums, opt = tmp_path / "mirror" / archive.sums_path, tmp_path / "opt"
    good = sums.read_text()
    sums.write_text(good.replace(good[:8], "0" * 8))
    code, said = host(archive, served)
    assert code == 1 and f"{archive.digest} is " in said
    assert [path.name for path in opt.rglob("*")] == ["software"]
    sums.write_text(good)
    assert host(archive, served) == (0, "")
    tree = opt / archive.directory
    assert {path.name for path in tree.iterdir()} == {*archive.binaries, ".installed"}
    assert (tree / ".installed").read_text() == f"{digest}\n"
    assert [path.name for path in (opt / "software").iterdir()] == [archive.name]
    # A pin goes before whatever the release says of itself.
    sums.write_text("nothing\n")
    assert host(archive, served, digest) == (0, "")
    code, said = host(archive, served, "1" * 64)
    assert code == 1 and "wanted " + "1" * 64 in said
    assert (tree / ".installed").read_text() == f"{digest}\n"
