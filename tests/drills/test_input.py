"""Bad input: every error says where, what was found and what is allowed, and leaves the site as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.mirror import archive, mirror, repack
from tests.drills.site import live_files, moved, run_site, shell, units
from tests.lab import plan

SECRET = "hunter2-hunter2"


@dataclass(frozen=True)
class Case:
    """What is given (`arguments`, `data`, or `file`: a settings file of its own), and what the error must say."""

    says: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    data: dict[str, Any] | None = None
    file: str = ""


_ADDRESS = plan.LAB.address("prom-1")
REFUSED = {
    "--limit that matches nothing": Case(("--limit", "'prom-11'", "prom-1"), ("--limit", "prom-11")),
    "--serial": Case(("--serial", "in the order of the inventory"), ("--serial",)),
    "--limit to a misspelt group": Case(("--limit", "'promtheus'", "prometheus"), ("--limit", "promtheus")),
    "unknown setting": Case(("prometheus_prot", "unknown setting", "prometheus_port"), data={"prometheus_prot": 1}),
    "unknown setting in a file": Case(("all.py", "querier_time", "querier_timeout"), file="querier_time = '2m'\n"),
    "a value of the wrong kind": Case(("nofile", "'many'"), data={"nofile": "many"}),
    "an unknown release": Case(("release", "'curent'", "current"), data={"release": "curent"}),
    "equal replicas": Case(("prom-2", "replica", "same"), data={"replica": "same"}),
    "an address twice": Case(("prom-2", _ADDRESS), data={"service_address": _ADDRESS}),
    "releases that do not go together": Case(
        ("prometheus 3.16.0 and thanos 0.35.1 do not go together", "0.37.0"),
        data={"versions": {"thanos": "0.35.1"}},
    ),
    "a literal secret": Case(
        ("bucket_config.config.secret_key", "secret:env:"),
        data={"bucket_config": {"type": "S3", "config": {"bucket": "thanos", "secret_key": SECRET}}},
    ),
    "a secret that is not there": Case(
        ("alertmanager_webhook_url", "secret:env:DRILL_NOT_SET"),
        data={"alertmanager_webhook_url": "secret:env:DRILL_NOT_SET"},
    ),
    "an external label of ours": Case(
        ("prometheus_config.global.external_labels", "replica"),
        data={"prometheus_config": {"global": {"external_labels": {"replica": "a"}}}},
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_before_any_connection(site: Site, tmp_path: Path, what: str) -> None:
    case = REFUSED[what]
    arguments = list(case.arguments)
    if case.file:
        (tmp_path / "all.py").write_text(case.file)
        arguments += ["--group-data", str(tmp_path)]
    run = run_site(*arguments, data=case.data)
    assert run.status != 0
    for words in case.says:
        assert words in run.log, str(run)
    assert "Connected" not in run.log, str(run)
    assert "Traceback" not in run.log and SECRET not in run.log, str(run)


# --- Archives. One host fetches a release that nobody runs; whatever goes wrong, it keeps what it has. -------------

HOST = "store-1"
VERSION = "1.12.99"


def _trees() -> str:
    # An archive as its release has it may stay, also where it cannot be used: the checksum is the release's.
    return shell(HOST, f"ls -A -I {archive('node_exporter', VERSION).name} /opt /opt/software")


@contextmanager
def _unharmed() -> Iterator[None]:
    running, files, trees = units([HOST]), live_files([HOST]), _trees()
    try:
        yield
        assert _trees() == trees, "something was left behind"
        assert live_files([HOST]) == files
        assert moved(running) == set()
    finally:
        shell(HOST, f"rm -f /opt/software/{archive('node_exporter', VERSION).name}")


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


ARCHIVES: dict[str, tuple[dict[str, Any], str]] = {
    "truncated": ({"spoil": _cut}, "cannot be unpacked"),
    "without the binary": ({"leave_out": "node_exporter"}, "holds no executable"),
    "no archive at all": (
        {"spoil": lambda content: b"<html>Not found</html>"},
        "cannot be unpacked",
    ),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_bad_archive(site: Site, tmp_path: Path, what: str) -> None:
    options, says = ARCHIVES[what]
    directory = repack(tmp_path, "node_exporter", VERSION, **options)
    with mirror(tmp_path) as url, _unharmed():
        _refused(url, directory, says)


def test_archive_with_another_checksum(site: Site, tmp_path: Path) -> None:
    directory = repack(tmp_path, "node_exporter", VERSION)
    wanted = "0" * 64
    with mirror(tmp_path) as url, _unharmed():
        _refused(url, directory, f"wanted {wanted}", {"checksums": {f"{directory}.tar.gz": wanted}})


def test_missing_archive(site: Site, tmp_path: Path) -> None:
    """Found out before anything is changed: nothing is there to fetch."""
    with mirror(tmp_path) as url, _unharmed():
        _refused(url, f"{url}/", VERSION, line_of=f"{HOST}  source ")


def test_installed_release_with_another_checksum(site: Site) -> None:
    """A pin that does not fit what is installed: neither swapped nor taken away."""
    made = archive("node_exporter", site.hosts[HOST].settings.version("node_exporter"))
    with _unharmed():
        _refused("", made.directory, "wanted " + "0" * 64, {"checksums": {made.name: "0" * 64}})


@pytest.mark.parametrize("where", ["/opt/software", "/opt"])
def test_full_disk(site: Site, tmp_path: Path, where: str) -> None:
    """While it downloads, and while it unpacks: the room is gone after the preflight had seen it."""
    directory = repack(tmp_path, "node_exporter", VERSION)
    with mirror(tmp_path) as url, _unharmed(), _small_disk(where):
        trees = _trees()
        says = "No space left" if where == "/opt" else "cannot be fetched"
        _refused(url, directory, says, {"preflight": {"disk-space": "off"}})
        assert _trees() == trees, "something was left behind"


def _refused(
    url: str,
    directory: str,
    says: str,
    data: dict[str, Any] | None = None,
    line_of: str = "",
) -> None:
    mirror_data: dict[str, Any] = {"versions": {"node_exporter": VERSION}, "base_url": url} if url else {}
    run = run_site("--limit", HOST, data={**mirror_data, **(data or {})})
    assert run.status != 0, str(run)
    lines = [line for line in run.log.splitlines() if line_of in line]
    assert any(directory in line and says in line for line in lines), str(run)
    assert HOST in run.log, str(run)


@contextmanager
def _small_disk(where: str) -> Iterator[None]:
    """A disk of a few megabytes at `where`; what was there before shows through, but for archives."""
    if where == "/opt/software":
        mount = "mount -t tmpfs -o size=4m,mode=755 drill /opt/software"
        umount = "umount /opt/software"
    else:
        mount = (
            "set -e; mkdir /root/.drill; mount --bind /opt /root/.drill; mount --make-private /root/.drill; "
            "mount -t tmpfs -o size=8m,mode=755 drill /opt; "
            "cd /root/.drill; for d in *; do mkdir /opt/$d; mount --bind $d /opt/$d; done"
        )
        umount = "umount -R /opt; umount /root/.drill; rmdir /root/.drill"
    try:
        shell(HOST, mount)
        yield
    finally:
        shell(HOST, umount)
