"""What the settings of long-term storage may not be: checks of `site_checks`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.ground.durations import seconds, written
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding
from prometheus_ha.deploys.lib.site import derived, releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.relations import OBJECT_STORES
from prometheus_ha.deploys.lib.site.settings import SHORTEST_RETENTION, Settings

VERTICAL_SINCE = "0.36.0"
"""First Thanos that merges overlapping blocks without halting at them (upstream's #7225), and leaves copies of lower
resolution alone, which are no samples (#7334)."""
COPY_5M = "40h"
COPY_1H = "10d"
"""How old blocks are when the compactor makes their copies (upstream's compact.md): what is deleted before has none."""


def _users(site: Site) -> list[tuple[str, Member]]:
    """Every component that uses the bucket, and its host."""
    return [(name, member) for name in bucket.RIGHTS for member in site.running(name) if member.settings.bucket_config]


def check_member(site: Site, member: Member) -> Iterator[Finding]:
    """What a host with a part in long-term storage must have."""
    settings = member.settings
    finding = partial(host_finding, member)
    for group in (daemons.STORE.group, daemons.COMPACTOR.group, daemons.BUCKET_WEB.group):
        if group in member.groups and not settings.bucket_config:
            allowed = f"bucket_config: without a bucket there is nothing to do for the group {group}"
            yield finding("bucket_config", "nothing", allowed)
    if daemons.FRONTEND.group in member.groups and not derived.frontend_downstream(site, member):
        allowed = "a host in the group querier, or frontend_downstream"
        yield finding("frontend_downstream", "no querier", allowed)
    if daemons.COMPACTOR.group in member.groups:
        yield from _check_retention(finding, settings)
        thanos = settings.version(daemons.COMPACTOR)
        if settings.compactor_vertical and not releases.at_least(thanos, VERTICAL_SINCE):
            allowed = f"False, or Thanos {VERTICAL_SINCE} or newer: older ones halt all the same, or end in a panic"
            yield finding("compactor_vertical", f"True, with Thanos {thanos}", allowed)
    if daemons.PROMETHEUS.group in member.groups and settings.bucket_config:
        yield from check_local(finding, settings, "prometheus_retention_time")
    ours = [name for name in OBJECT_STORES if name in member.components]
    if ours:
        yield from _check_ours(site, member, ours[0])


def check_local(finding: Callable[..., Finding], settings: Settings, key: str) -> Iterator[Finding]:
    """Local blocks that are uploaded must be there for long enough."""
    given = getattr(settings, key)
    if seconds(given) < seconds(SHORTEST_RETENTION):
        allowed = f"{SHORTEST_RETENTION} or more: a block has two hours, and is uploaded when it is whole"
        yield finding(key, given, allowed)


def _check_retention(finding: Callable[..., Finding], settings: Settings) -> Iterator[Finding]:
    if not settings.compactor_downsampling:
        return
    for key, copy, resolution in (
        ("compactor_retention_raw", COPY_5M, "5m"),
        ("compactor_retention_5m", COPY_1H, "1h"),
    ):
        kept = seconds(getattr(settings, key))
        if 0 < kept < seconds(copy):
            allowed = f"{copy} or more, 0d (for ever), or compactor_downsampling = False: the copies of "
            allowed += f"{resolution} are made of blocks of that age"
            yield finding(key, getattr(settings, key), allowed)


def _check_ours(site: Site, member: Member, component: str) -> Iterator[Finding]:
    """An object store of ours lets in those of the site, each by a key of its own."""
    settings, finding = member.settings, partial(host_finding, member)
    if bucket.kind(member) != "S3" or not (settings.bucket_config or {})["config"].get("bucket"):
        allowed = "the bucket it is for: type S3, with bucket and endpoint"
        yield finding("bucket_config", "another, or none", allowed)
    used: dict[str, str] = {}
    for name in (*bucket.RIGHTS, bucket.ADMIN):
        key = settings.bucket_keys.get(name, {})
        if set(key) != {"access_key", "secret_key"}:
            if name == bucket.ADMIN:
                needed = component == daemons.MINIO.name  # its root user
            else:
                needed = any(m.settings.bucket_config for m in site.running(name))
            if key or needed:
                found = ", ".join(key) or "nothing"
                yield finding(f"bucket_keys.{name}", found, "access_key and secret_key")
            continue
        if other := used.get(key["access_key"]):
            found = f"the access_key of {other}"
            yield finding(f"bucket_keys.{name}", found, "a key of its own for each")
        used.setdefault(key["access_key"], name)


def check_site(site: Site) -> Iterator[Finding]:
    """One bucket for all, one compactor for it, and keys that differ."""
    users = _users(site)
    if not users:
        return
    yield from _check_agreement(users)
    yield from _check_compactors(site)
    yield from _check_directory(users)
    yield from _check_keys(users)
    yield from _check_ranges(site)


def _check_agreement(users: list[tuple[str, Member]]) -> Iterator[Finding]:
    first = users[0][1]
    wanted = bucket.identity(first.settings.bucket_config or {})
    for member in {member.name: member for _, member in users}.values():
        if bucket.identity(member.settings.bucket_config or {}) != wanted:
            found = f"another bucket than on {first.name}"
            allowed = "the same on all hosts of the site: what one uploads the others read"
            # Pairs may have a bucket each, while nobody reads both.
            severity = "warn" if set(member.groups) <= {daemons.PROMETHEUS.group, daemons.ATTACHED.group} else "fail"
            yield host_finding(member, "bucket_config", found, allowed, severity)


def _check_compactors(site: Site) -> Iterator[Finding]:
    seen: dict[tuple[str, ...], str] = {}
    for member in site.running(daemons.COMPACTOR):
        if not member.settings.bucket_config:
            continue
        place = bucket.identity(member.settings.bucket_config or {})
        if place in seen:
            found = f"a second compactor for the bucket of {seen[place]}"
            allowed = "one: Thanos has no lock in the bucket, and two would write over each other"
            yield Finding(member.name, "group compactor", found, allowed)
        seen.setdefault(place, member.name)
    for group, lacking in (
        (daemons.STORE.group, "nobody can read what local disks have dropped"),
        (daemons.COMPACTOR.group, "blocks stay small and many, and no retention is applied"),
    ):
        if not site.members(group):
            allowed = f"one or more: blocks are uploaded, and {lacking}"
            yield Finding("", f"group {group}", "no host", allowed, severity="warn")


def _check_directory(users: list[tuple[str, Member]]) -> Iterator[Finding]:
    for _, member in users:
        path = bucket.directory(member)
        if path is not None and not path.startswith("/"):
            yield host_finding(member, "bucket_config.config.directory", repr(path), "a path from /")
            return
    places = {member.name: member for _, member in users if bucket.directory(member)}
    if len(places) > 1 and not all(m.settings.bucket_directory_shared for m in places.values()):
        names = ", ".join(places)
        found = f"a directory (FILESYSTEM) on {names}"
        allowed = "an object store; or bucket_directory_shared = True, where it is one directory on all"
        yield host_finding(next(iter(places.values())), "bucket_config", found, allowed)


def _check_keys(users: list[tuple[str, Member]]) -> Iterator[Finding]:
    shared = sorted(
        {name for name, member in users if name not in member.settings.bucket_keys and bucket.kind(member) == "S3"}
    )
    if len(shared) > 1:
        found = f"one key for {', '.join(shared)}"
        allowed = "a key for each, with the rights that it needs (docs/storage.md): whoever has the "
        allowed += "compactor's may delete everything"
        yield host_finding(users[0][1], "bucket_keys", found, allowed, "warn")


def _ago(duration: str | None) -> float | None:
    """Seconds before now; None for a date, and for nothing."""
    try:
        return seconds(duration.removeprefix("-")) if duration else None
    except ValueError:
        return None


def _check_ranges(site: Site) -> Iterator[Finding]:
    """A time that no store gateway serves any more, and that no local disk has: a hole without a word."""
    stores = site.running(daemons.STORE)
    ranges = [(m.settings.store_min_time, m.settings.store_max_time) for m in stores]
    uploading = [m for m in site.running(daemons.SIDECAR) if derived.uploads(m)]
    if not stores or not uploading or any(young is None for _, young in ranges):
        return
    youngest = min((ago for _, young in ranges if (ago := _ago(young)) is not None), default=None)
    kept = min(seconds(m.settings.prometheus_retention_time) for m in uploading)
    if youngest is not None and youngest > kept:
        found = f"-{written(youngest)} and older at every store gateway, while local blocks are kept "
        found += f"for {written(kept)}"
        allowed = "a store_max_time younger than prometheus_retention_time: in between nobody has anything"
        yield host_finding(stores[0], "store_max_time", found, allowed)
