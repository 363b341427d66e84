"""Archives in the control machine's cache, for hosts without a way out."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploys.lib import fetch, releases

ARCHIVE = releases.archive("node_exporter", "1.12.1", "amd64")
CONTENT = b"an archive"
SUM = hashlib.sha256(CONTENT).hexdigest()


class Mirror(SimpleHTTPRequestHandler):
    asked: list[str] = []

    def log_message(self, *args):
        self.asked.append(self.path)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror with one release; its address, and the directory with the release's files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    release = (tmp_path / "mirror" / ARCHIVE.path).parent
    release.mkdir(parents=True)
    (release / ARCHIVE.name).write_bytes(CONTENT)
    (release / "sha256sums.txt").write_text(f"{SUM}  {ARCHIVE.name}\n")
    Mirror.asked = []
    handler = partial(Mirror, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", release
    server.shutdown()
    server.server_close()


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
