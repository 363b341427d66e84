"""Which versions are installed, what their archives are called and what goes together.

The one table of versions, archives and checksums; what a product is, its declaration says (`daemons`). Nothing here
touches a host or the network.

Checksums: an archive is checked against the user's pin (setting `checksums`, archive name ->
sha256), else against `PINNED`, else against the checksum file of its release, which lies beside
the archive under the same base URL: mostly `sha256sums.txt`, in one case an MD5.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from prometheus_ha.deploys.lib.daemons import PRODUCTS, prometheus, thanos
from prometheus_ha.deploys.lib.daemons.declare import Product
from prometheus_ha.deploys.lib.daemons.objectstores import LAST_MC, LAST_MINIO

_MINIO = {"minio": LAST_MINIO, "mc": LAST_MC}

RELEASES: dict[str, dict[str, str]] = {
    # The newest that the lab can build.
    "current": {
        "prometheus": "3.16.0",
        "thanos": "0.42.5",
        "alertmanager": "0.35.0",
        "node_exporter": "1.12.1",
        "blackbox_exporter": "0.28.0",
        "seaweedfs": "4.48",
        **_MINIO,
    },
    # spec/000; it names no exporter versions, so these are the ones of its day.
    "reference": {
        "prometheus": "2.45.0",
        "thanos": "0.32.0",
        "alertmanager": "0.26.0",
        "node_exporter": "1.6.1",
        "blackbox_exporter": "0.24.0",
        "seaweedfs": "4.48",
        **_MINIO,
    },
    # spec/001; what it does not name is as in `reference`.
    "migration": {
        "prometheus": "2.47.2",
        "thanos": "0.35.1",
        "alertmanager": "0.26.0",
        "node_exporter": "1.6.1",
        "blackbox_exporter": "0.24.0",
        "seaweedfs": "4.48",
        **_MINIO,
    },
}
"""Named release sets: set -> component -> version. The setting `release` chooses one."""

DEFAULT_RELEASE = "current"

PINNED: dict[str, str] = {}
"""Archive name -> sha256 of upstream's archive, lower-case hex.

Empty while upstream's archives have not been seen and verified: a made-up or copied sum would be
worse than the release's own `sha256sums.txt`, which is used where nothing is pinned here.
"""


ARCHITECTURES: dict[str, str] = {
    "amd64": "amd64",
    "x86_64": "amd64",
    "arm64": "arm64",
    "aarch64": "arm64",
}
"""Accepted name (upstream's, or what `uname -m` prints) -> upstream's name."""


@dataclass(frozen=True)
class Archive:
    """One released archive. Paths are relative to a base URL (upstream's or a mirror's)."""

    component: str
    version: str
    arch: str
    name: str
    """Ours, on hosts and in caches: upstream's need not tell versions apart."""
    path: str
    sums_path: str
    directory: str
    binaries: tuple[str, ...]
    flat: bool = False
    raw: bool = False
    version_command: str = "--version"

    @property
    def file(self) -> str:
        """Upstream's name."""
        return self.path.rpartition("/")[2]

    @property
    def digest(self) -> str:
        """What the checksum file holds: sha256 or md5."""
        return "md5" if self.sums_path.endswith(".md5") else "sha256"

    def url(self, base_url: str) -> str:
        """Address of the archive under `base_url`."""
        return f"{base_url.rstrip('/')}/{self.path}"

    def sums_url(self, base_url: str) -> str:
        """Address of the release's checksum file under `base_url`."""
        return f"{base_url.rstrip('/')}/{self.sums_path}"

    def sum_in(self, text: str) -> str | None:
        """Its checksum in the text of the checksum file; one of a single archive need not name it so."""
        sums = parse_sums(text, self.digest)
        if self.raw and len(sums) == 1:
            return next(iter(sums.values()))
        return sums.get(self.file) or sums.get("")


@cache
def archive(component: str, version: str, arch: str) -> Archive:
    """The archive of `component` in `version` for `arch` (amd64, arm64, or as `uname -m` says it).

    Raises ValueError for an unknown component, a malformed version or an unknown architecture.
    """
    project = _project(component)
    _whole(version, "version", project)
    if arch not in ARCHITECTURES:
        raise ValueError(f"architecture: found {arch!r}, expected: {', '.join(sorted(ARCHITECTURES))}")
    arch = ARCHITECTURES[arch]
    directory = f"{component}-{version}.linux-{arch}"
    release = f"{project.repository}/releases/download/{project.tag.format(version=version)}"
    file = project.file.format(component=component, version=version, arch=arch)
    return Archive(
        component=component,
        version=version,
        arch=arch,
        name=file if project.raw else f"{directory}.tar.gz",
        path=f"{release}/{file}",
        sums_path=f"{release}/{project.sums.format(file=file)}",
        directory=directory,
        binaries=project.binaries,
        flat=project.flat,
        raw=project.raw,
        version_command=project.version_command,
    )


def reported(component: str, version: str | None) -> str | None:
    """A version as its daemon reports it, in the form of the tables: MinIO leaves half of a date's away."""
    if version and component in PRODUCTS and PRODUCTS[component].parts == 0 and not version.startswith("RELEASE."):
        return "RELEASE." + version.replace(":", "-")
    return version


def pinned(name: str, checksums: Mapping[str, str] | None = None) -> str | None:
    """The pinned sha256 of archive `name`: the user's (`checksums`) before `PINNED`; None where
    there is none and the release's checksum file is the source.

    Raises ValueError where the pin is not a sha256.
    """
    found = (checksums or {}).get(name) or PINNED.get(name)
    if found is None:
        return None
    if not _SUMS["sha256"].fullmatch(found.lower()):
        raise ValueError(f"checksums[{name}]: found {found!r}, expected: 64 hexadecimal digits")
    return found.lower()


def parse_sums(text: str, digest: str = "sha256") -> dict[str, str]:
    """A checksum file as archive name -> checksum; lines that are none are left out.

    An MD5 is beside its archive and need not name it: that name is empty.
    """
    sums = {}
    for line in text.splitlines():
        found, _, name = line.strip().partition(" ")
        name = name.strip().lstrip("*").removeprefix("./")
        if (name or digest == "md5") and _SUMS[digest].fullmatch(found.lower()):
            sums[name] = found.lower()
    return sums


def resolve(release: str, overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """The versions of set `release` with `overrides` (component -> version) over them.

    Raises ValueError for an unknown set, an unknown component or a malformed version.
    Whether the versions go together is for `check`.
    """
    if release not in RELEASES:
        raise ValueError(f"release: {_unknown(release, RELEASES)}")
    versions = {**RELEASES[release], **(overrides or {})}
    for component, version in versions.items():
        _whole(version, f"versions[{component}]", _project(component))
    return versions


def check(versions: Mapping[str, str]) -> list[str]:
    """What is wrong with this set of versions, one sentence each; empty where they go together.

    Reports unknown components, malformed versions, versions older than the flag tables and
    combinations that upstream rules out. A component that is not in `versions` is not judged.
    """
    problems = []
    known = {}
    for component, version in versions.items():
        try:
            project = _project(component)
            _whole(version, f"versions[{component}]", project)
        except ValueError as error:
            problems.append(str(error))
            continue
        known[component] = version
        if not at_least(version, project.oldest):
            problems.append(f"versions[{component}]: found {version}, expected: {project.oldest} and newer")
    # Thanos before 0.37 does not understand how Prometheus 3 reports its external labels
    # (thanos #7893): the sidecar never becomes ready.
    if _has(known, "prometheus", "3.0.0-0") and _before(known, "thanos", "0.37.0"):
        problems.append(
            f"prometheus {known['prometheus']} and thanos {known['thanos']} do not go together: "
            "the sidecar reads the external labels of Prometheus 3 from Thanos 0.37.0 on"
        )
    return problems


# Their silence snapshots are misread by other versions (alertmanager #5330).
_MISREAD_SILENCES = (("0.32.0-0", "0.32.3"), ("0.33.0-0", "0.33.1"))


def check_change(component: str, running: str, wanted: str) -> list[str]:
    """Why `component` may not go from version `running` to `wanted` host by host; mostly nothing.

    During a roll both versions share one cluster, and the new one reads the old one's data.
    """
    old, new = parse(running), parse(wanted)
    if old == new:
        return []
    problems = []
    # Of the 2.x releases, only 2.55 reads what 3.x writes.
    downgrade = at_least(running, "3.0.0-0") and not at_least(wanted, "2.55.0")
    if component == "prometheus" and downgrade:
        problems.append(
            f"prometheus {wanted} cannot read the data of {running}: the oldest version to go back to is 2.55.0"
        )
    if component == "alertmanager":
        for version in (running, wanted):
            if any(at_least(version, a) and not at_least(version, b) for a, b in _MISREAD_SILENCES):
                problems.append(
                    f"alertmanager {version} writes silences that other versions misread: a roll "
                    f"from {running} to {wanted} could lose them; use 0.32.3, 0.33.1 or newer"
                )
    return problems


def delayed_compaction(versions: Mapping[str, str]) -> bool:
    """Whether Prometheus may compact locally and wait for the sidecar's upload.

    True from Prometheus 3.9.0 with Thanos 0.41.0 on (`--storage.tsdb.delay-compact-file.path`);
    otherwise compaction is switched off by equal minimum and maximum block durations.
    """
    return _has(versions, "prometheus", prometheus.DELAY_SINCE) and _has(versions, "thanos", thanos.DELAY_SINCE)


REMOTE_WRITE_2 = {"prometheus": "2.54.0", "thanos": "0.43.0-0"}
"""First version that takes remote write 2.0. Of Thanos (its receive) as its main branch has it (thanos #8913): no
release of 0.42 does."""


_SUMS = {"sha256": re.compile(r"[0-9a-f]{64}"), "md5": re.compile(r"[0-9a-f]{32}")}
_DATED = re.compile(r"RELEASE\.(\d{4})-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)Z")
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


def parse(version: str, what: str = "version") -> tuple:
    """A sortable key of `version` (semantic versioning: 3.0.0-rc.1 comes before 3.0.0).

    A missing patch number counts as 0, and a date counts by its numbers. Raises ValueError, naming `what`, for
    anything else.
    """
    key = _key(version) if isinstance(version, str) else None
    if key is None:
        hint = " (without the leading v)" if str(version).startswith("v") else ""
        raise ValueError(f"{what}: found {version!r}, expected: a version like 3.15.0{hint}")
    return key


@cache
def _key(version: str) -> tuple | None:
    """Kept: a site has few versions, and a run asks for them at every turn."""
    if dated := _DATED.fullmatch(version):
        return int("".join(dated.groups()[:3])), int("".join(dated.groups()[3:])), 0, True, ()
    match = _VERSION.fullmatch(version)
    if match is None:
        return None
    major, minor, patch, pre = match.groups()
    # Of two pre-releases, numbers compare as numbers and come before words.
    parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in (pre or "").split("."))
    return int(major), int(minor), int(patch or 0), pre is None, parts


def _whole(version: str, what: str, project: Product) -> None:
    """Refuses what `parse` allows in a bound but no archive is called: a version of too few parts."""
    parse(version, what)
    parts = 0 if _DATED.fullmatch(version) else version.split("-")[0].count(".") + 1
    if parts != project.parts:
        words = {
            0: "a date, as in RELEASE.2025-09-07T16-13-09Z",
            2: "two numbers, as in 4.48",
            3: "three numbers, as in 3.15.0",
        }
        raise ValueError(f"{what}: found {version!r}, expected: {words[project.parts]}")


def at_least(version: str, bound: str) -> bool:
    """Whether `version` is `bound` or newer, compared by number.

    A pre-release is older than its release; a bound of `3.0.0-0` takes its pre-releases in.
    """
    return parse(version) >= parse(bound)


def _has(versions: Mapping[str, str], component: str, bound: str) -> bool:
    return component in versions and at_least(versions[component], bound)


def _before(versions: Mapping[str, str], component: str, bound: str) -> bool:
    return component in versions and not at_least(versions[component], bound)


def _project(component: str) -> Product:
    if component not in PRODUCTS:
        raise ValueError(f"component: {_unknown(component, PRODUCTS)}")
    return PRODUCTS[component]


def _unknown(found: str, allowed: Iterable[str]) -> str:
    names = sorted(allowed)
    near = difflib.get_close_matches(str(found), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"found {found!r}, expected: {', '.join(names)}{hint}"
