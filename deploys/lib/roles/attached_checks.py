"""May a sidecar be attached to this Prometheus, which somebody else runs (spec/003 1)? A check of `preflight`.

It is asked by its own API, and its data directory is looked at; nothing of either is changed. What it lacks is its
owner's to mend, so each finding says what to set there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common.preflight_view import View
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons import prometheus as prometheus_daemons
from prometheus_ha.deploys.lib.daemons import thanos as thanos_daemons
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site import derived, releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import (
    CLUSTER_LABEL,
    HIDDEN,
    REPLICA_LABEL,
    SHORTEST_RETENTION,
    account_of,
    become,
)
from prometheus_ha.facts import http
from prometheus_ha.facts.reports import prometheus
from prometheus_ha.facts.reports.survey import Host

COMPONENT = daemons.ATTACHED.name
OLDEST = "2.2.1"
"""spec/003 1: Prometheus says its flags from this version on."""
MIN_BLOCK, MAX_BLOCK = "storage.tsdb.min-block-duration", "storage.tsdb.max-block-duration"
DELAY = "storage.tsdb.delay-compact-file.path"


def questions(site: Site, member: Member) -> dict[str, str]:
    """The script that asks for all this on the host, where a sidecar is attached."""
    settings = member.settings
    if COMPONENT not in member.components:
        return {}
    user, group = account_of(DAEMONS[COMPONENT], settings)
    path = shlex.quote(settings.attached_data_dir or "")
    lines = [
        f"stat -L -c 'owner %u %U' {path}",
        f'echo "account {user if user.isdigit() else f"$(id -u {user})"}"',
        f"[ ! -d {path}/wal ] || echo tsdb",
        f'echo "real $(readlink -f {path})"',
        f"{become(user, group)} test -r {path} -a -w {path} -a -x {path} && echo access",
        http.script(settings.attached_url, prometheus.ATTACHED_CALLS),
    ]
    return {"attached": "\n".join(lines)}


def judge(view: View) -> Iterator[Finding]:
    """What somebody else's Prometheus lacks for a sidecar."""
    asked = [(member, host) for member, host in view.members() if COMPONENT in member.components]
    labelled = {_labelset(view.site, m): m.name for m in view.site.running(daemons.PROMETHEUS) if asked}
    for member, host in asked:
        yield from _directory(member, host)
        try:
            report = prometheus.parse_attached(host.asked.get("attached", []))
            if report.ready:
                yield from [
                    *_version(member, report),
                    *_labels(member, report, labelled),
                    *_blocks(member, report),
                    *_late(view.site, member, report),
                ]
            else:
                yield _unreachable(member, host, report.errors.get("ready", "no answer"))
        except (FactProcessError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Whatever it says may be no reason for a traceback, which ends the run of every host.
            yield _unreachable(member, host, f"an answer that is not understood ({error})")


def _labelset(site: Site, member: Member) -> frozenset[tuple[str, str]]:
    """The external labels of a Prometheus of ours."""
    return frozenset(configuration.prometheus_yml(site, member)["global"]["external_labels"].items())


def _result(member: Member, found: str, wanted: str, advice: str, severity: str = "fail") -> Finding:
    return Finding(member.name, "attached", found, wanted, advice, severity)


def _unreachable(member: Member, host: Host, says: str) -> Finding:
    url = member.settings.attached_url
    advice = "start it, or set attached_url; where it asks for a password: "
    advice += 'sidecar_flags = {"prometheus.http-client-file": ...}, preflight = {"attached": "warn"}'
    # An outage of somebody else's daemon must not keep the run from the living.
    attached = any(h.ours and h.port == member.settings.sidecar_http_port for h in host.holders)
    found = f"{url}: {says}"
    wanted = "a Prometheus that answers"
    return _result(member, found, wanted, advice, "warn" if attached else "fail")


def _directory(member: Member, host: Host) -> Iterator[Finding]:
    settings, said = member.settings, dict[str, str]()
    for line in host.asked.get("attached", []):
        if line.startswith("==["):
            break  # what the Prometheus answered
        word, _, rest = line.partition(" ")
        said[word] = rest
    path, user = settings.attached_data_dir or "", settings.attached_user
    uid, _, owner = said.get("owner", "").partition(" ")
    advice = "set attached_data_dir to its data directory, as the host has it"
    if not uid:
        yield _result(member, f"{path} is not there", "its data directory", advice)
    elif "tsdb" not in said:
        found = f"{path} has no write-ahead log (wal)"
        yield _result(member, found, "the data directory of a Prometheus that runs", advice)
    elif not said.get("account"):
        advice = f'set attached_user to the owner of {path}: "{owner if owner != "UNKNOWN" else uid}"'
        yield _result(member, f"no account {user}", f"the owner of {path}", advice)
    elif uid != said["account"]:
        name = uid if owner == "UNKNOWN" else owner
        found = f"{path} belongs to {name} (uid {uid}), not to {user}"
        advice = f'set attached_user = "{name}": the sidecar reads the blocks as their owner'
        yield _result(member, found, "the owner's account", advice)
    elif "access" not in said:
        found = f"{user} does not get to {path}"
        advice = f"namei -l {path} shows the directory above it that keeps {user} out: chmod o+x there"
        yield _result(member, found, "a directory that its owner can read and write", advice)
    elif (real := said.get("real", path)) != path and any(
        PurePosixPath(real).is_relative_to(place) for place in HIDDEN
    ):
        # Where the setting says so, the unit is made to see it.
        found = f"{path} is a link to {real}, which the sidecar does not see"
        yield _result(member, found, "the directory itself", f'set attached_data_dir = "{real}"')


def _version(member: Member, report: prometheus.Report) -> Iterator[Finding]:
    if _at_least(report, OLDEST) is None:
        found = f"a version that is not understood: {report.version or 'none'}"
        yield _result(member, found, f"{OLDEST} or newer", "see that it is", "warn")
    elif not _at_least(report, OLDEST):
        yield _result(member, f"Prometheus {report.version}", f"{OLDEST} or newer", "upgrade it")


def _at_least(report: prometheus.Report, bound: str) -> bool | None:
    """Whether it is of this version or newer; None where it is not known. A package's may have something behind it."""
    match = re.match(r"\d+\.\d+\.\d+", report.version or "")
    return releases.at_least(match[0], bound) if match else None


def _labels(
    member: Member, report: prometheus.Report, labelled: dict[frozenset[tuple[str, str]], str]
) -> Iterator[Finding]:
    where = f"in global.external_labels of {report.flags.get('config.file') or 'its configuration'}"
    if "config" in report.errors:
        found = f"its configuration cannot be read: {report.errors['config']}"
        yield _result(member, found, "external labels", f"see that it has some {where}", "warn")
        return
    labels = report.external_labels
    if not labels:
        advice = f"set {CLUSTER_LABEL} and {REPLICA_LABEL} {where}, and reload it"
        wanted = "external labels: without any a sidecar exits"
        yield _result(member, "no external labels", wanted, advice)
        return
    missing = [CLUSTER_LABEL] if CLUSTER_LABEL not in labels else []
    if not set(labels) & set(member.settings.replica_labels):
        missing.append(REPLICA_LABEL)
    if missing:
        found = f"external labels {', '.join(sorted(labels))}, without {' and '.join(missing)}"
        wanted = "both: queries could not tell replicas apart, nor clusters"
        yield _result(member, found, wanted, f"set {' and '.join(missing)} {where}", "warn")
    other = labelled.setdefault(frozenset((k, str(v)) for k, v in labels.items()), member.name)
    if other != member.name:
        found = f"the external labels of {other}"
        wanted = "labels of its own: series and blocks of the two would be taken for one another's"
        yield _result(member, found, wanted, f"set another {REPLICA_LABEL} {where}")


def _blocks(member: Member, report: prometheus.Report) -> Iterator[Finding]:
    given, wanted = report.flags, member.settings.attached_data_dir or ""
    path, ours = PurePosixPath(given.get("storage.tsdb.path") or "data"), PurePosixPath(wanted)
    # A relative one begins at a working directory that it does not say.
    if ours != path if path.is_absolute() else not ours.match(str(path)):
        advice = "right where that is its container's path of the same directory; else attached_data_dir"
        yield _result(member, f"it says that its data is in {path}", wanted, advice, "warn")
    shortest, longest = given.get(MIN_BLOCK, ""), given.get(MAX_BLOCK, "")
    if not derived.uploads(member) or _same(shortest, longest):
        return
    waits = releases.at_least(member.settings.version("thanos"), thanos_daemons.DELAY_SINCE)
    if waits and PurePosixPath(given.get(DELAY) or "/") == path / derived.SHIPPER_META:
        return
    advice = f"start it with --{MIN_BLOCK}={SHORTEST_RETENTION} --{MAX_BLOCK}={SHORTEST_RETENTION}"
    if waits and _at_least(report, prometheus_daemons.DELAY_SINCE):
        advice += f"; or with --{DELAY}={path / derived.SHIPPER_META}"
    found = f"{MIN_BLOCK} {shortest or 'unknown'}, {MAX_BLOCK} {longest or 'unknown'}"
    says = "both the same: blocks that it compacts are not uploaded, and the sidecar exits"
    yield _result(member, found, says, advice)


def _late(site: Site, member: Member, report: prometheus.Report) -> Iterator[Finding]:
    storage = report.config.get("storage") or {}
    window = (storage.get("tsdb") or {}).get("out_of_order_time_window")
    compactors = site.running(daemons.COMPACTOR)
    if window and derived.uploads(member) and not all(m.settings.compactor_vertical for m in compactors):
        found = f"samples out of order (storage.tsdb.out_of_order_time_window: {window})"
        wanted = "none, or compactor_vertical = True: its blocks overlap, which halts the compactor"
        yield _result(member, found, wanted, "docs/storage.md, Samples out of order", "warn")


def _same(one: str, other: str) -> bool:
    try:
        return seconds(one) == seconds(other)
    except ValueError:
        return one == other != ""
