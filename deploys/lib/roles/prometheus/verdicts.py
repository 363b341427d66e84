"""What `verify` says of Prometheus and its sidecars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import verify_view
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.roles import uploads
from prometheus_ha.deploys.lib.roles.prometheus import alerts
from prometheus_ha.deploys.lib.site import derived, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.facts.reports import look, prometheus


def _check_rules(view: View) -> Iterator[Finding]:
    """Rules can be evaluated."""
    for member, report in view.prometheus():
        broken = [f"{rule.group}/{rule.name}" for rule in report.rules if rule.health == "err"]
        if broken:
            found = f"rules that cannot be evaluated: {some(broken)}"
            advice = "the page Status > Rule health of Prometheus shows the errors"
            yield Finding(member.name, "reload", found, "none", advice, "warn")


def _check_external_labels(view: View) -> Iterator[Finding]:
    """Replicas of a cluster differ in `replica` and in nothing else, as in the settings."""
    for cluster, members in view.clusters().items():
        seen: dict[str, str] = {}
        common: tuple[str, dict[str, str]] | None = None
        for member, report in members:
            if "config" in report.errors:
                yield verify_view.unanswered(member, "labels", daemons.PROMETHEUS, "config", report)
                continue
            labels = {key: str(value) for key, value in report.external_labels.items()}
            ours = {CLUSTER_LABEL: cluster, REPLICA_LABEL: str(member.settings.replica)}
            if not ours.items() <= labels.items():
                yield Finding(
                    member.name,
                    "labels",
                    f"external labels {verify_view.labels(labels)}",
                    f"{verify_view.labels(ours)} among them",
                    "run the deploy again: it mends this",
                )
            replica = labels.pop(REPLICA_LABEL, "")
            if replica in seen:
                yield Finding(
                    member.name,
                    "labels",
                    f"replica {replica!r}, as on {seen[replica]}",
                    "a replica label of its own",
                    "give each Prometheus of a cluster its own `replica` in inventory.py",
                )
            seen[replica] = member.name
            if common is None:
                common = member.name, labels
            elif labels != common[1]:
                yield Finding(
                    member.name,
                    "labels",
                    f"external labels {verify_view.labels(labels)} besides `replica`",
                    f"{verify_view.labels(common[1])}, as on {common[0]}",
                    "set prometheus_config.global.external_labels for the group, not for a host",
                )


_A4 = (
    "storage.tsdb.min-block-duration",
    "storage.tsdb.max-block-duration",
    "storage.tsdb.delay-compact-file.path",
    "web.enable-admin-api",
    "web.enable-lifecycle",
    "web.enable-remote-write-receiver",
)


_SWITCHES = {
    "web.enable-admin-api": "prometheus_admin_api",
    "web.enable-lifecycle": "prometheus_lifecycle",
}


def size(text: str) -> int:
    """Bytes of a size as Prometheus takes and reports it: 1200GB is 1TiB176GiB; 0 for others."""
    parts = re.findall(r"(\d+)([KMGTPE]?)i?B", text)
    return sum(int(number) << 10 * " KMGTPE".index(unit or " ") for number, unit in parts)


def _wanted_flags(site: Site, member: Member, found: look.State) -> dict[str, str]:
    """The flags as Prometheus should report them; absent ones are free."""
    component = next(name for name in verify_view.PROMETHEUS if name in member.components)
    pairs = (word.removeprefix("--").partition("=") for word in flags.argv(component, site, member, found)[1:])
    given = {name: value if equals else "true" for name, equals, value in pairs}
    wanted = {name: given[name] for name in _A4 if name in given}
    return dict.fromkeys(_SWITCHES, "false") | wanted


def _check_flags(view: View) -> Iterator[Finding]:
    """Compaction as the sidecar's uploads need it; admin and lifecycle API as intended."""
    for member, report in view.prometheus():
        if not report.ready:
            continue
        if "flags" in report.errors:
            yield verify_view.unanswered(member, "flags", daemons.PROMETHEUS, "flags", report)
            continue
        host = view.seen[member.name].look
        for name, wanted in (_wanted_flags(view.site, member, host) if host else {}).items():
            found = report.flags.get(name, "nothing")
            if found != wanted:
                yield Finding(
                    member.name,
                    "flags",
                    f"prometheus runs with --{name}: {found}",
                    wanted,
                    "run the deploy again: it mends this",
                )
        if host:
            yield from _check_retention(member, report, host)
        open_ = [name for name in _SWITCHES if report.flags.get(name) == "true"]
        if open_ and not (web.asks_password(member.settings) or web.asks_certificate(member.settings)):
            found = ", ".join(f"--{name}" for name in open_)
            settings = " and ".join(_SWITCHES[name] for name in open_)
            yield Finding(
                member.name,
                "flags",
                f"{found}: whoever reaches the port can use them, without credentials",
                "credentials, or the APIs off",
                f"set web_config, or {settings} to False; or let only the site's hosts reach the port",
                "warn",
            )


def _check_retention(member: Member, report: prometheus.Report, host: look.State) -> Iterator[Finding]:
    """The limits that are in force, and not what the flags say: a file goes before them (3.8 and newer)."""
    settings = member.settings
    limits = derived.retention(member, host)
    wanted = {"size": size(limits.get("size", "")), "percentage": limits.get("percentage", 0)}
    # Without any limit upstream has its default.
    if kept := seconds(settings.prometheus_retention_time):
        wanted["time"] = kept
    said = {
        "time": f"prometheus_retention_time = {settings.prometheus_retention_time}",
        "size": f"prometheus_retention_size = {settings.prometheus_retention_size}",
    }
    reported = dict(report.retention)
    for limit, read in (("time", seconds), ("size", size)):
        if derived.retention_in_file(member):
            break  # flags are none of ours, and say their default
        # Releases before 2.48 have no metric of the time.
        if given := report.flags.get(f"storage.tsdb.retention.{limit}"):
            reported.setdefault(limit, read(given))
    units = {"time": " s", "size": " bytes", "percentage": " % of the disk"}
    for limit, value in wanted.items():
        found = reported.get(limit, value)
        if found != value:
            yield Finding(
                member.name,
                "flags",
                f"prometheus drops blocks at {found:.0f}{units[limit]} ({limit}; 0: no limit)",
                f"{value:.0f}{units[limit]}: {said.get(limit, said['size'])}",
                "run the deploy again: it mends this",
            )


def _check_targets(view: View) -> Iterator[Finding]:
    """The replicas of a cluster scrape the same things, and all of them answer."""
    for members in view.clusters().values():
        first: tuple[str, set[tuple[str, str]]] | None = None
        for member, report in members:
            if "targets" in report.errors:
                yield verify_view.unanswered(member, "targets", daemons.PROMETHEUS, "targets", report)
                continue
            scraped = {(target.job, target.instance) for target in report.targets}
            if first is None:
                first = member.name, scraped
            elif scraped != first[1]:
                lacks, more = sorted(first[1] - scraped), sorted(scraped - first[1])
                parts = [f"lacks {verify_view.names_of(lacks)}"] if lacks else []
                parts += [f"has more: {verify_view.names_of(more)}"] if more else []
                yield Finding(
                    member.name,
                    verify_view.REPLICAS,
                    "other targets: " + "; ".join(parts),
                    f"those of {first[0]}: deduplication takes replicas for one",
                    "set scrape jobs and targets for the group, not for a host; deploy both",
                )
            yield from check_up(view, member, report)


def check_up(view: View, member: Member, report: prometheus.Report) -> Iterator[Finding]:
    """What the site itself consists of is scraped."""
    ours = [(t, daemon) for t in report.targets if (daemon := verify_view.our_target(view, t))]
    down = {f"{t.job} {t.instance} ({t.last_error or 'no reason'})": daemon for t, daemon in ours if t.health == "down"}
    for names, about in view.by_cause(down):
        found = f"{len(names)} of {len(ours)} targets of the site down: {some(names)}"
        advice = "on that host: does the service run, and can its port be reached?"
        yield Finding(member.name, "targets", found, "all up", advice, about=about)
    new = {f"{t.job} {t.instance}": daemon for t, daemon in ours if t.health == "unknown"}
    for names, about in view.by_cause(new):
        found = f"not scraped yet: {some(sorted(names))}"
        advice = "ask again in a minute"
        yield Finding(member.name, "targets", found, "all up", advice, "warn", about)


def _check_own_targets(view: View) -> Iterator[Finding]:
    """The user's own targets. What they are is not the site's business: a warning, once for each job."""
    jobs: dict[tuple[str, str], dict[tuple[str, str], dict[str, prometheus.Target]]] = {}
    for member, report in view.prometheus():
        for target in report.targets if report.ready else ():
            if not verify_view.our_target(view, target):
                job = jobs.setdefault((member.settings.cluster, target.job), {})
                job.setdefault((target.instance, target.scrape_url), {})[member.name] = target
    for (_, name), targets in jobs.items():
        for health, says in (("down", "down"), ("unknown", "not scraped yet")):
            ill = {
                instance: {name: t for name, t in seen.items() if t.health == health}
                for (instance, _), seen in targets.items()
            }
            ill = {instance: seen for instance, seen in ill.items() if seen}
            if not ill:
                continue
            names = [
                f"{instance} ({next(iter(seen.values())).last_error or 'no reason'})" if health == "down" else instance
                for instance, seen in sorted(ill.items())
            ]
            found = f"job {name}: {len(ill)} of {len(targets)} targets {says}: {some(names)}"
            asked = {name for seen in targets.values() for name in seen}
            see = {name for seen in ill.values() for name in seen}
            found += f"; as {', '.join(sorted(see))} alone sees it" if len(see) < len(asked) else ""
            advice = "a target of your own: does it run, and can its port be reached?"
            host = next(name for name in view.site.hosts if name in see)
            yield Finding(host, "targets", found, "all up", advice, "warn")


def _check_remote_write(view: View) -> Iterator[Finding]:
    """What is scraped reaches the receivers."""
    for member, report in view.prometheus():
        if not report.ready:
            continue
        urls = {queue.url for queue in report.remote_write}
        for entry in member.settings.prometheus_config.get("remote_write", []):
            if entry.get("url") not in urls:
                yield Finding(
                    member.name,
                    "remote write",
                    f"no remote write to {entry.get('url')}",
                    "a queue for every receiver",
                    "run the deploy again: it mends this",
                )
        for queue in report.remote_write:
            if queue.behind is not None and queue.behind <= alerts.BEHIND_AT_MOST:
                continue
            says = "nothing sent yet" if queue.behind is None else f"{queue.behind:.0f} s behind"
            found = f"remote write to {queue.url}: {says}, {queue.pending:.0f} samples wait"
            found += f", {queue.failed:.0f} were refused" if queue.failed else ""
            wanted = f"at most {alerts.BEHIND_AT_MOST:.0f} s behind"
            journal = verify_view.journal(member.own(daemons.PROMETHEUS).unit)
            advice = f"its error is in {journal}: receiver, port, CA or password?"
            about = view.addresses.get(urlsplit(queue.url).netloc)
            yield Finding(member.name, "remote write", found, wanted, advice, about=about)


def _check_discovered(view: View) -> Iterator[Finding]:
    """Every Prometheus sends to every Alertmanager."""
    members = view.site.running(daemons.ALERTMANAGER)
    wanted = {view.site.endpoint(daemons.ALERTMANAGER, member).target: member.name for member in members}
    for member, report in view.prometheus():
        if not report.ready:
            continue
        if "alertmanagers" in report.errors:
            yield verify_view.unanswered(member, "alerting", daemons.PROMETHEUS, "alertmanagers", report)
            continue
        known = {urlsplit(url).netloc for url in report.alertmanagers}
        missing = {name: (name, daemons.ALERTMANAGER.name) for target, name in wanted.items() if target not in known}
        for names, about in view.by_cause(missing):
            yield Finding(
                member.name,
                "alerting",
                f"prometheus does not send to {', '.join(names)}",
                f"all {len(wanted)} Alertmanagers discovered",
                "run the deploy again: it mends this",
                about=about,
            )


def _check_sidecars(view: View) -> Iterator[Finding]:
    """The sidecar sees its Prometheus."""
    for member, report in view.sidecars():
        if report.ready and report.prometheus_up is False:
            yield Finding(
                member.name,
                "stores",
                "thanos-sidecar does not reach its Prometheus",
                "thanos_sidecar_prometheus_up 1",
                verify_view.journal(member.own(daemons.SIDECAR).unit),
                about=(member.name, daemons.PROMETHEUS.name),
            )


def _check_uploads(view: View) -> Iterator[Finding]:
    """What the sidecars have to upload, they upload."""
    for member, report in view.sidecars():
        if not report.ready or not derived.uploads(member):
            continue
        if report.failed and not report.last_upload:
            journal = verify_view.journal(member.own(daemons.SIDECAR).unit)
            yield Finding(
                member.name,
                "uploads",
                f"thanos-sidecar: {report.failed} operations on the bucket failed, and nothing was uploaded yet",
                "none failed, or an upload since",
                f"does the object store answer, and may its key write? {journal}",
                # They may have failed hours ago, and a block takes two to be there.
                "warn",
            )
        yield from uploads.finding(member, daemons.SIDECAR.name, "uploads", report)


VERDICTS = (
    _check_rules,
    _check_external_labels,
    _check_flags,
    _check_targets,
    _check_own_targets,
    _check_remote_write,
    _check_sidecars,
    _check_uploads,
    _check_discovered,
)
