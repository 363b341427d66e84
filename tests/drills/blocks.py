"""Blocks of known series: made by promtool, put into a TSDB or the bucket, and looked at with Thanos' own tools."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_DATA
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import metrics
from tests.drills.site import RUN_SECONDS, ask, get, on_all, shell, wait_for
from tests.lab import hosts as lab_hosts
from tests.lab import plan

HOUR, DAY = 3600, 86400
STEP = 60
"""Seconds between two samples."""
BLOCK = 2 * HOUR

GAUGES, COUNTERS, HISTOGRAMS = range(4), range(3), range(2)
BUCKETS = ("0.1", "0.5", "1", "+Inf")


def days_ago(days: float) -> int:
    """The start of a block about so many days ago, as Unix time."""
    return int((time.time() - days * DAY) // BLOCK * BLOCK)


def gauge(number: int, when: int) -> float:
    """The value of `seeded_gauge{n="<number>"}`."""
    return float((when // STEP * 7 + number * 13) % 100)


def _counter(number: int, minute: int) -> int:
    # Never reset: where replicas take turns at a reset, the querier smooths it (docs/storage.md).
    return (minute % 1_000_000) * (number + 1)


def exposition(
    start: int, seconds: int, step: int = STEP, name: str = "seeded", only_gauges: bool = False
) -> Iterator[str]:
    """Lines of OpenMetrics: gauges, counters and histograms. promtool reads all of them again for each block."""
    times = range(start, start + seconds, step)
    yield f"# TYPE {name}_gauge gauge"
    for n in GAUGES:
        yield from (f'{name}_gauge{{n="{n}"}} {gauge(n, when)} {when}' for when in times)
    if only_gauges:
        yield "# EOF"
        return
    yield f"# TYPE {name}_requests counter"
    for n in COUNTERS:
        yield from (
            f'{name}_requests_total{{n="{n}",code="{200 + 300 * (n % 2)}"}} {_counter(n, when // STEP)} {when}'
            for when in times
        )
    yield f"# TYPE {name}_seconds histogram"
    for n in HISTOGRAMS:
        for share, le in enumerate(BUCKETS, 1):
            yield from (
                f'{name}_seconds_bucket{{n="{n}",le="{le}"}} {_counter(n, when // STEP) * share} {when}'
                for when in times
            )
        for part, factor in (("count", len(BUCKETS)), ("sum", 2)):
            yield from (
                f'{name}_seconds_{part}{{n="{n}"}} {_counter(n, when // STEP) * factor} {when}' for when in times
            )
    yield "# EOF"


def send(host: str, text: str, path: str) -> None:
    root = "" if plan.ALL[host].user == "root" else "sudo -n "
    command = [*lab_hosts.ssh_command(plan.LAB, host), f"{root}sh -c {shlex.quote(f'cat >{path}')}"]
    subprocess.run(command, input=text, text=True, check=True, timeout=RUN_SECONDS)


def make(host: str, lines: Iterable[str], hours: int = 2) -> str:
    """A directory on a host that has promtool, with the blocks of these lines, of so many hours each; its path."""
    directory = shell(host, "mktemp -d").strip()
    send(host, "\n".join(lines) + "\n", f"{directory}/text")
    shell(
        host,
        f"mkdir {directory}/blocks && cd {directory} && "
        f"promtool tsdb create-blocks-from --max-block-duration={hours}h openmetrics -q text blocks && rm text",
    )
    return f"{directory}/blocks"


def move(source: str, path: str, host: str, directory: str) -> set[str]:
    """Blocks that `make` made, from the host that has promtool into a directory of another one; their ULIDs."""
    archive = shell(source, f"tar -C {path} -c . | base64; rm -r {parent(path)}")
    temporary = shell(host, "mktemp").strip()
    send(host, archive, temporary)
    script = f"base64 -d {temporary} | tar -C {directory} -xv --no-same-owner; rm {temporary}"
    found = [name.split("/") for name in shell(host, script).splitlines()]
    return {parts[1] for parts in found if len(parts) > 1 and parts[1]}


def parent(path: str) -> str:
    return path.rpartition("/")[0]


def into_tsdb(replica: Member, start: int, seconds: int) -> set[str]:
    """Seed the TSDB of a Prometheus, as if it had scraped then; the ULIDs. It finds them within a minute."""
    path = make(replica.name, exposition(start, seconds))
    found = set(shell(replica.name, f"ls {path}").split())
    data = PROMETHEUS_DATA
    shell(
        replica.name,
        f"chown -R {topology.USER}: {path} && mv {path}/* {data}/ && rmdir {path} {parent(path)}",
    )
    return found


def drop_local(site: Site, ulids: Iterable[str]) -> None:
    """What retention does to blocks that are old, by hand."""
    data = PROMETHEUS_DATA
    names = " ".join(f"{data}/{ulid}" for ulid in ulids)
    on_all(lambda host: shell(host, f"rm -rf {names}"), [m.name for m in site.running("prometheus")])


# --- The bucket, as Thanos' tools show it ---------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A block's own description of itself. Times are Unix seconds."""

    ulid: str
    labels: dict[str, str]
    resolution: int
    """Seconds between two samples; 0: as scraped."""
    start: float
    end: float
    level: int
    series: int


def tool(site: Site, words: str, check: bool = True) -> str:
    """What `thanos tools bucket <words>` prints, run beside the compactor with its key."""
    info = DAEMONS["thanos-compactor"]
    host = site.running(info.name)[0].name
    return shell(host, f"{info.path} tools bucket {words} --objstore.config-file={info.bucket} 2>&1", check)


def listed(site: Site) -> dict[str, Block]:
    """The blocks of the bucket that are not marked for deletion."""
    found = {}
    for meta in _documents(tool(site, "ls --output=json --exclude-delete")):
        thanos = meta.get("thanos", {})
        found[meta["ulid"]] = Block(
            meta["ulid"],
            thanos.get("labels", {}),
            thanos.get("downsample", {}).get("resolution", 0) // 1000,
            meta["minTime"] / 1000,
            meta["maxTime"] / 1000,
            meta["compaction"]["level"],
            meta["stats"].get("numSeries", 0),
        )
    return found


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects among lines of a log."""
    decoder, lines = json.JSONDecoder(), text.splitlines(keepends=True)
    while lines:
        if lines[0].startswith("{"):
            found, end = decoder.raw_decode("".join(lines))
            yield found
            del lines[: "".join(lines)[:end].count("\n")]
        del lines[0]


def overlaps(site: Site) -> str:
    """What `bucket verify` says of overlapping blocks; empty where there are none."""
    said = tool(site, "verify --issues=overlapped_blocks")
    return "\n".join(line for line in said.splitlines() if "found overlapped" in line)


def clear(site: Site) -> None:
    """Delete every block of the bucket: those of a drill would overlap with the next one's."""
    if ulids := listed(site):
        ids = " ".join(f"--id={ulid}" for ulid in ulids)
        tool(site, f"mark {ids} --marker=deletion-mark.json --details=drill")
    tool(site, "cleanup --delete-delay=0s --consistency-delay=0s")


def total(site: Site, component: str, name: str, member: Member | None = None) -> float:
    """The sum of a metric over its labels and all hosts of a component, or of one."""
    pages = [
        metrics(ask(f"{site.endpoint(component, asked).url}/metrics").text)
        for asked in ([member] if member else site.running(component))
    ]
    return sum(sample.value for page in pages for sample in page if sample.name == name)


# --- Queries --------------------------------------------------------------------------------------

Series = dict[frozenset[tuple[str, str]], dict[float, float]]


def ranged(
    site: Site,
    component: str,
    expression: str,
    start: float,
    end: float,
    step: float = STEP,
    member: Member | None = None,
    **parameters: Any,
) -> tuple[Series, list[str]]:
    """A range query: labels -> time -> value, without `cluster`, which a Prometheus does not have; warnings."""
    asked = member or site.running(component)[0]
    url = f"{site.endpoint(component, asked).url}/api/v1/query_range"
    answer = get(url, query=expression, start=start, end=end, step=step, **parameters)
    found = {
        frozenset((key, value) for key, value in one["metric"].items() if key != "cluster"): {
            float(when): float(value) for when, value in one["values"]
        }
        for one in answer["data"]["result"]
    }
    return found, answer.get("warnings") or []


# --- A past that both replicas have ---------------------------------------------------------------


@dataclass(frozen=True)
class Seeded:
    """What the TSDBs of both replicas were given."""

    start: int
    end: int
    ulids: dict[str, set[str]]
    """Host -> its blocks."""

    def forget(self, site: Site) -> None:
        """The local blocks go, as retention would have it; waits until Prometheus noticed."""
        drop_local(site, set().union(*self.ulids.values()))

        def gone() -> bool:
            for member in site.running("prometheus"):
                found, _ = ranged(site, "prometheus", "seeded_gauge", self.start, self.end, member=member)
                assert not found, member.name
            return True

        wait_for("Prometheus to notice", gone, 120)


def expected(start: float, end: float) -> Series:
    """`seeded_gauge` as it was made."""
    return {
        frozenset({("__name__", "seeded_gauge"), ("n", str(n))}): {
            float(when): gauge(n, when) for when in range(int(start), int(end) + 1, STEP)
        }
        for n in GAUGES
    }


@contextmanager
def seeded(site: Site, ago: float, hours: int) -> Iterator[Seeded]:
    """Blocks of so many days ago in the TSDB of both replicas, uploaded by their sidecars, and seen by the queriers."""
    clear(site)
    start = days_ago(ago)
    end = start + hours * HOUR
    ulids = {m.name: into_tsdb(m, start, end - start) for m in site.running("prometheus")}
    given = Seeded(start, end, ulids)

    def found(component: str) -> bool:
        wanted = expected(start, end - STEP)
        return all(
            ranged(site, component, "seeded_gauge", start, end - STEP, member=m)[0] == wanted
            for m in site.running(component)
        )

    try:
        wait_for("the blocks in Prometheus", lambda: found("prometheus"), 120)
        wait_for("their upload", lambda: set().union(*ulids.values()) <= ever_uploaded(site), 90)
        wait_for("them at the queriers", lambda: found("thanos-querier"), 60)
        yield given
    finally:
        drop_local(site, set().union(*ulids.values()))
        clear(site)


def ever_uploaded(site: Site) -> set[str]:
    """The ULIDs that sidecars say they uploaded: the compactor may have merged them since."""
    path = f"{PROMETHEUS_DATA}/{derived.SHIPPER_META}"
    return {
        ulid
        for m in site.running("thanos-sidecar")
        for ulid in json.loads(shell(m.name, f"cat {path}"))["uploaded"] or ()
    }
