"""What starter rules are made of. Which there are, the roles say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS, Ref, of
from prometheus_ha.deploys.lib.daemons.declare import Daemon
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings, rule_groups
from prometheus_ha.deploys.lib.site.web import Data


def selected(targets: Mapping[str, Iterable[str]]) -> str:
    """The selector, without its braces, of targets of ours: job -> `address:port`.

    A job alone would be that of strangers too: a target of the user's may have the label `job`, or be
    relabelled to it, and so may have `host`. What we scrape has its address as `instance`.
    """
    instances = list(dict.fromkeys(one for found in targets.values() for one in found))
    jobs = f'job="{next(iter(targets))}"' if len(targets) == 1 else f'job=~"{any_of(targets)}"'
    return f'{jobs}, instance=~"{any_of(instances)}"'


def ours(site: Site, member: Member, *watched: Ref) -> str:
    """`selected` for what this Prometheus scrapes of `watched`."""
    return selected(
        {
            of(daemon).job_name: [site.endpoint(daemon, m).target for m in members]
            for daemon in watched
            if (members := site.scraped(member, daemon))
        }
    )


def alert(name: str, expr: str, severity: str, summary: str, description: str, for_: str | None = None) -> Data:
    return {
        "alert": name,
        "expr": expr,
        **({"for": for_} if for_ else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


def window(member: Member, *steps: Any, count: int = 4) -> str:
    """A range for the rate of what is counted once in each of `steps`, and is scraped: some of the longest."""
    return milliseconds(count * max(map(_seconds, (member.settings.scrape_interval, *steps))))


def intervals(rules: Mapping[str, Data], settings: Settings) -> Iterator[Any]:
    """How often groups of rules are evaluated."""
    groups = [group for file in rules.values() for group in rule_groups(file).get("groups") or []]
    yield settings.evaluation_interval
    yield from values(groups, "interval")


def values(maps: Iterable[Mapping[str, Any]], key: str) -> Iterator[Any]:
    return (one[key] for one in maps if one.get(key))


def _seconds(duration: Any) -> float:
    """Seconds; 0 for what is no duration, which is upstream's to refuse."""
    try:
        return seconds(duration)
    except ValueError:
        return 0.0


def any_of(words: Iterable[str]) -> str:
    """A regular expression (RE2) for a PromQL string in double quotes that matches one of `words`."""
    return "|".join(_quoted(re.sub(r"[.+*?()|\[\]{}^$\\]", _literally, word)) for word in words)


def _literally(found: re.Match) -> str:
    """One character of a regular expression that stands for itself; read well too where the string is quoted."""
    return f"\\{found[0]}" if found[0] in "^\\" else f"[{found[0]}]"


def _quoted(text: str) -> str:
    """`text` inside the double quotes of PromQL, which knows the escapes of Go."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def milliseconds(value: float) -> str:
    whole = round(value * 1000)
    return f"{whole}ms" if whole % 1000 else f"{whole // 1000}s"


def reload_failed(site: Site, member: Member, daemon: Daemon, *more: Daemon) -> list[Data]:
    """That a daemon, or one of `more` that are the same program, goes on with the configuration of before."""
    if not site.scraped(member, daemon.name):
        return []
    metric = f"{daemon.name}_config_last_reload_successful"
    title = "".join(part.capitalize() for part in daemon.name.split("_"))
    targets = ours(site, member, daemon.name, *(one.name for one in more))
    return [
        alert(
            f"{title}ConfigReloadFailed",
            f"{metric}{{{targets}}} == 0",
            "critical",
            f"{title} on {{{{ or $labels.host $labels.instance }}}} refused its configuration",
            "It goes on with the configuration it had, and would not start again with the one "
            f"on disk. journalctl -u {daemon.unit} on the host names the mistake; the next run "
            "of the deploy mends a file that was edited by hand.",
            member.settings.timing.for_,
        )
    ]


def cannot_store(site: Site, member: Member, daemon: Daemon, expr: str) -> list[Data]:
    """An object store of ours that answers, and has nowhere to store. That it does not answer is TargetDown."""
    if not site.scraped(member, daemon.name):
        return []
    return [
        alert(
            "ObjectStoreCannotStore",
            expr.replace("%s", ours(site, member, daemon.name)),
            "critical",
            f"{daemon.name} on {{{{ or $labels.host $labels.instance }}}} can store nothing more",
            "Blocks wait on the local disks until it can, and are lost once retention drops them. "
            f"Its disk is full or broken: see df and journalctl -u {daemon.unit} on the host.",
            member.settings.timing.for_,
        )
    ]


# A full disk ends ingestion; at the first mark there is time to act, at the second hardly any.
_DISK_MARKS = (("warning", 0.15), ("critical", 0.05))


def disks_filling(site: Site, member: Member, for_: str) -> list[Data]:
    node = daemons.exporters.NODE_EXPORTER.job_name
    owners: dict[str, dict[str, None]] = {}
    for info in DAEMONS.values():
        if info.data_dir and (members := site.scraped(member, info.name)):
            targets = [site.endpoint(daemons.exporters.NODE_EXPORTER, one).target for one in members]
            owners.setdefault(info.data_dir, {}).update(dict.fromkeys(targets))
    if not owners:
        return []
    selectors = []
    for directory, owned in owners.items():
        # Which mount holds the directory cannot be said in PromQL; it is one of these.
        mounts = [str(parent) for parent in reversed(PurePosixPath(directory).parents)]
        where = f'{selected({node: owned})}, mountpoint=~"{any_of([*mounts, directory])}"'
        selectors.append(f"node_filesystem_avail_bytes{{{where}}}")
    available = "\n  or\n".join(f"  {selector}" for selector in selectors)
    return [
        alert(
            "DataDiskFilling",
            f"(\n{available}\n) / node_filesystem_size_bytes < {mark}",
            severity,
            "{{ $labels.mountpoint }} on {{ $labels.host }} has {{ $value | humanizePercentage }} left",
            "The disk holds a data directory, or what is above it. When it is full, nothing more "
            "is stored. See with du -x what grows; enlarge the disk, or shorten the retention of "
            "Prometheus (prometheus_retention_time, prometheus_retention_size).",
            for_,
        )
        for severity, mark in _DISK_MARKS
    ]
