"""Release sets, archive names, version comparison, and what the lab builds archives from."""

import hashlib
import io
import itertools
import tarfile
import time

import pytest

from prometheus_ha.deploys.lib.daemons import PRODUCTS
from prometheus_ha.deploys.lib.site import releases
from tests.lab import archives

SHA = "ab" * 32


@pytest.mark.parametrize("name", releases.RELEASES)
def test_every_release_set_is_complete_and_goes_together(name):
    versions = releases.resolve(name)
    assert set(versions) == set(PRODUCTS)
    assert set(versions) == {*archives.MODULES, *archives.WHEELS}
    assert releases.check(versions) == []


def test_archive_is_named_as_upstream_names_it():
    archive = releases.archive("prometheus", "3.15.0", "x86_64")
    assert archive.name == "prometheus-3.15.0.linux-amd64.tar.gz"
    assert archive.directory == "prometheus-3.15.0.linux-amd64"
    assert archive.binaries == ("prometheus", "promtool")
    release = "https://github.com/prometheus/prometheus/releases/download/v3.15.0"
    assert archive.url("https://github.com/") == f"{release}/{archive.name}"
    assert archive.sums_url("https://github.com") == f"{release}/sha256sums.txt"
    assert releases.archive("thanos", "0.42.5", "aarch64").path == (
        "thanos-io/thanos/releases/download/v0.42.5/thanos-0.42.5.linux-arm64.tar.gz"
    )


def test_an_archive_without_a_version_in_its_name_has_one_with_us():
    archive = releases.archive("seaweedfs", "4.48", "x86_64")
    release = "seaweedfs/seaweedfs/releases/download/4.48"
    assert archive.path == f"{release}/linux_amd64.tar.gz"
    assert archive.sums_path == f"{release}/linux_amd64.tar.gz.md5"
    assert (archive.name, archive.directory) == (
        "seaweedfs-4.48.linux-amd64.tar.gz",
        "seaweedfs-4.48.linux-amd64",
    )
    assert (archive.file, archive.digest, archive.flat) == ("linux_amd64.tar.gz", "md5", True)


@pytest.mark.parametrize("text", ["{0}\n", "{0}  linux_amd64.tar.gz\n"])
def test_an_md5_need_not_name_its_archive(text):
    archive = releases.archive("seaweedfs", "4.48", "amd64")
    assert archive.sum_in(text.format(SHA[:32])) == SHA[:32]
    assert archive.sum_in(text.format(SHA)) is None
    assert archive.sum_in("<html>Not Found") is None
    other = releases.archive("thanos", "0.42.5", "amd64")
    assert other.sum_in(f"{SHA}\n") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prometheus", "3.15.0", "riscv64"), "found 'riscv64', expected: aarch64, amd64"),
        (("promethues", "3.15.0", "amd64"), "did you mean 'prometheus'"),
        (("prometheus", "v3.15.0", "amd64"), "without the leading v"),
        (("prometheus", "latest", "amd64"), "a version like"),
        (("prometheus", "3.15", "amd64"), "three numbers"),
        (("seaweedfs", "4.48.1", "amd64"), "two numbers"),
    ],
)
def test_archive_refuses(arguments, message):
    with pytest.raises(ValueError, match="found ") as error:
        releases.archive(*arguments)
    assert message in str(error.value)


def test_versions_sort_by_number_and_pre_releases_come_first():
    ordered = ["2.45.0", "2.53.5", "3.0.0-beta.1", "3.0.0-rc.2", "3.0.0-rc.10", "3.0.0"]
    ordered += ["3.9.0", "3.9.1", "3.10.0"]
    for older, newer in itertools.pairwise(ordered):
        assert releases.at_least(newer, older)
        assert not releases.at_least(older, newer)
    assert releases.at_least("3.10.0", "3.9")
    assert releases.at_least("3.9.0", "3.9.0")
    assert not releases.at_least("3.9.0-rc.1", "3.9.0")
    assert releases.at_least("3.0.0-beta.0", "3.0.0-0")
    assert releases.at_least("3.9.0+build.7", "3.9.0")


def test_resolve_puts_overrides_over_the_set():
    versions = releases.resolve("reference", {"thanos": "0.32.2"})
    assert versions["thanos"] == "0.32.2"
    assert versions["prometheus"] == "2.45.0"
    assert releases.RELEASES["reference"]["thanos"] == "0.32.0"


@pytest.mark.parametrize(
    ("release", "overrides", "message"),
    [
        ("curent", {}, "did you mean 'current'"),
        ("current", {"alertmanger": "0.34.2"}, "did you mean 'alertmanager'"),
        ("current", {"thanos": "newest"}, "versions[thanos]: found 'newest'"),
        ("current", {"thanos": 0.42}, "versions[thanos]: found 0.42"),
    ],
)
def test_resolve_refuses(release, overrides, message):
    with pytest.raises(ValueError, match="found") as error:
        releases.resolve(release, overrides)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"prometheus": "3.0.0", "thanos": "0.36.1"}, "do not go together"),
        ({"prometheus": "3.0.0-rc.0", "thanos": "0.36.1"}, "do not go together"),
        ({"prometheus": "2.44.0"}, "found 2.44.0, expected: 2.45.0 and newer"),
        ({"grafana": "12.0.0"}, "found 'grafana', expected: alertmanager"),
        ({"thanos": "v0.42.5"}, "versions[thanos]: found 'v0.42.5'"),
    ],
)
def test_check_names_what_is_wrong(versions, message):
    problems = releases.check(versions)
    assert len(problems) == 1
    assert message in problems[0]


def test_check_judges_only_what_it_is_given():
    assert releases.check({}) == []
    assert releases.check({"prometheus": "3.15.0"}) == []
    assert releases.check({"prometheus": "2.55.1", "thanos": "0.36.1"}) == []
    assert releases.check({"prometheus": "3.0.0", "thanos": "0.37.0"}) == []


@pytest.mark.parametrize(
    ("component", "running", "wanted", "refused"),
    [
        ("prometheus", "2.47.2", "3.15.0", False),
        ("prometheus", "3.15.0", "2.55.1", False),
        ("prometheus", "3.15.0", "2.47.2", True),
        ("alertmanager", "0.26.0", "0.34.2", False),
        ("alertmanager", "0.32.2", "0.32.3", True),
        ("alertmanager", "0.26.0", "0.33.0", True),
        ("alertmanager", "0.33.0", "0.33.0", False),
        ("thanos", "0.42.5", "0.35.1", False),
    ],
)
def test_a_change_that_would_lose_data_is_refused(component, running, wanted, refused):
    assert bool(releases.check_change(component, running, wanted)) is refused


@pytest.mark.parametrize(
    ("prometheus", "thanos", "delayed"),
    [
        ("3.9.0", "0.41.0", True),
        ("3.15.0", "0.42.5", True),
        ("3.8.1", "0.41.0", False),
        ("3.10.0", "0.40.1", False),
        ("2.45.0", "0.32.0", False),
    ],
)
def test_compaction_mode_follows_both_versions(prometheus, thanos, delayed):
    assert releases.delayed_compaction({"prometheus": prometheus, "thanos": thanos}) is delayed


def test_checksums():
    assert releases.pinned("a.tar.gz") is None
    assert releases.pinned("a.tar.gz", {"a.tar.gz": SHA.upper()}) == SHA
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        releases.pinned("a.tar.gz", {"a.tar.gz": "123"})
    text = f"{SHA}  a.tar.gz\n{SHA} *./b.tar.gz\n\n<html>not found</html>\nshort  c.tar.gz\n"
    assert releases.parse_sums(text) == {"a.tar.gz": SHA, "b.tar.gz": SHA}


# --- the lab's archives -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("component", "version", "expected"),
    [
        ("prometheus", "2.45.0", "v0.45.0"),
        ("prometheus", "3.15.0", "v0.315.0"),
        ("prometheus", "3.0.0-rc.1", "v0.300.0-rc.1"),
        ("thanos", "0.42.5", "v0.42.5"),
    ],
)
def test_module_version(component, version, expected):
    assert archives.module_version(component, version) == expected


PROMU = """\
go:
    # A comment with a colon: here.
    version: 1.26
build:
    binaries:
        - name: prometheus
          path: ./cmd/prometheus
        - name: promtool
          path: ./cmd/promtool
    tags:
        all:
            - netgo
            - builtinassets
        windows: []
    ldflags: |
        -X github.com/prometheus/common/version.Version={{.Version}}
        -X github.com/prometheus/common/version.BuildDate={{date "20060102-15:04:05"}}
tarball:
    files:
    - documentation/examples/prometheus.yml
    - LICENSE
"""


def test_promu_is_read_without_a_yaml_library():
    meta = archives.promu(PROMU)
    assert meta["build.binaries.path"] == ["./cmd/prometheus", "./cmd/promtool"]
    assert meta["tarball.files"] == ["documentation/examples/prometheus.yml", "LICENSE"]
    assert archives.build_tags(meta) == ["netgo"]


@pytest.mark.parametrize(
    ("flags", "tags"),
    [
        ("-a", []),
        ("-a -tags netgo", ["netgo"]),
        ("-a -tags 'netgo osusergo static_build'", ["netgo", "osusergo", "static_build"]),
    ],
)
def test_build_tags_may_stand_among_the_flags(flags, tags):
    assert archives.build_tags(archives.promu(f"build:\n    flags: {flags}\n")) == tags


def test_stand_ins_are_said_in_one_table():
    assert archives.stand_in("thanos", "0.32.0") == "0.32.2"
    assert archives.stand_in("thanos", "0.42.5") == "0.42.5"
    assert archives.wanted(["reference", "migration"], ["alertmanager"]) == [("alertmanager", "0.26.0")]


def test_packing_is_deterministic_and_as_upstream_packs(tmp_path):
    tree = tmp_path / "tool-1.0.0.linux-amd64"
    (tree / "consoles").mkdir(parents=True)
    (tree / "tool").write_text("binary")
    (tree / "tool").chmod(0o700)
    (tree / "consoles/a.html").write_text("page")
    archives._pack(tree, tmp_path / "one", 1_700_000_000)
    time.sleep(0.01)
    (tree / "tool").touch()
    archives._pack(tree, tmp_path / "two", 1_700_000_000)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as tar:
        assert {m.name: (oct(m.mode), m.uid) for m in tar} == {
            tree.name: ("0o755", 0),
            f"{tree.name}/consoles": ("0o755", 0),
            f"{tree.name}/consoles/a.html": ("0o644", 0),
            f"{tree.name}/tool": ("0o755", 0),
        }


def test_packing_flat_has_the_files_at_the_top(tmp_path):
    tree = tmp_path / "tool-1.0"
    tree.mkdir()
    (tree / "tool").write_text("binary")
    archives._pack(tree, tmp_path / "packed", 1_700_000_000, flat=True)
    with tarfile.open(tmp_path / "packed") as tar:
        assert tar.getnames() == ["tool"]


def test_what_is_released_with_an_md5_is_published_with_one(tmp_path, monkeypatch, capsys):
    def unwrap(archive, part, *_):
        part.write_text("an archive")
        return "from the Python package"

    monkeypatch.setattr(archives, "_unwrap", unwrap)
    (tmp_path / "upstream").mkdir()
    mirror = _ensure(tmp_path, [("seaweedfs", "4.48")])
    place = mirror / "seaweedfs/seaweedfs/releases/download/4.48/linux_amd64.tar.gz"
    md5 = hashlib.md5(place.read_bytes()).hexdigest()
    assert place.with_name(f"{place.name}.md5").read_text() == f"{md5}\n"
    _ensure(tmp_path, [("seaweedfs", "4.48")])
    assert "seaweedfs 4.48: cached" in capsys.readouterr().out


@pytest.fixture
def upstream(tmp_path):
    """A release host that is a directory."""
    archive = releases.archive("node_exporter", "1.12.1", "amd64")
    path = tmp_path / "upstream" / archive.path
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x"), io.BytesIO())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name("sha256sums.txt").write_text(f"{digest}  {archive.name}\n")
    return path


def _ensure(tmp_path, pairs=(("node_exporter", "1.12.1"),)):
    base = (tmp_path / "upstream").as_uri()
    return archives.ensure(pairs, cache=tmp_path / "cache", arch="amd64", upstream=base)


def test_upstreams_release_is_taken_once_and_then_cached(tmp_path, upstream, capsys):
    mirror = _ensure(tmp_path)
    relative = upstream.relative_to(tmp_path / "upstream")
    assert (mirror / relative).read_bytes() == upstream.read_bytes()
    assert (mirror / relative).with_name("sha256sums.txt").read_text() == (
        upstream.with_name("sha256sums.txt").read_text()
    )
    upstream.unlink()
    assert _ensure(tmp_path) == mirror
    assert "node_exporter 1.12.1: cached" in capsys.readouterr().out
    assert list((tmp_path / "cache/build").iterdir()) == []


def test_a_damaged_cache_entry_is_made_again(tmp_path, upstream):
    mirror = _ensure(tmp_path)
    copy = mirror / upstream.relative_to(tmp_path / "upstream")
    copy.write_bytes(copy.read_bytes()[:-3])
    _ensure(tmp_path)
    assert copy.read_bytes() == upstream.read_bytes()


def test_a_wrong_checksum_leaves_nothing_in_the_mirror(tmp_path, upstream):
    upstream.with_name("sha256sums.txt").write_text(f"{SHA}  {upstream.name}\n")
    with pytest.raises(archives.ArchiveError, match=f"expected {SHA}"):
        _ensure(tmp_path)
    assert not list((tmp_path / "cache/mirror").rglob("*.tar.gz"))


def test_one_failure_does_not_keep_the_others_from_being_made(tmp_path, monkeypatch):
    def compiler(archive, part, *_):
        if archive.component == "thanos":
            raise archives.ArchiveError("example.org/m@v1.0.0: go build failed:\n    boom")
        part.write_text("an archive")
        return "built"

    monkeypatch.setattr(archives, "_build", compiler)
    with pytest.raises(archives.ArchiveError) as error:
        _ensure(tmp_path, [("thanos", "0.42.5"), ("node_exporter", "1.12.1")])
    assert str(error.value) == ("thanos 0.42.5: example.org/m@v1.0.0: go build failed:\n    boom")
    assert [p.name for p in (tmp_path / "cache/mirror").rglob("*.tar.gz")] == [
        "node_exporter-1.12.1.linux-amd64.tar.gz"
    ]
