"""How much the site needs, beside what it uses and what its hosts have.

Reckoned from the inventory: targets, what each of them answers with, interval, retention, replicas. Nothing here
touches a host: `questions` is the script that a Prometheus is asked, `read` makes `Usage` of the answer, `table` and
`findings` are made of both. Each figure's source is printed beside it; what upstream says of them as a range is a
range here, and what a host has is compared with the upper end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common.promql import query_call, read_query
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_DATA
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.role import scrapes
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.ground.results import aligned, listed_results, some
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.roles.prometheus.verdicts import size
from prometheus_ha.deploys.lib.site import derived, relations
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Capacity
from prometheus_ha.facts.http import NO_ANSWER, Call, metric, metrics, only_metrics, split
from prometheus_ha.facts.reports.look import State

SAMPLES = {daemon.job_name: daemon.samples for daemon in DAEMONS.values()}
SAMPLES |= {relations.WATCHED_JOB: 0}
"""Samples of one scrape by job; a node_exporter's grow with CPUs, disks and mounts, a Prometheus' with its jobs,
SeaweedFS' with its buckets."""
SAMPLES_UNKNOWN = 1000
SAMPLES_ABOUT = 5
"""`up`, `scrape_duration_seconds` and three more: Prometheus adds them to each scrape."""
BYTES_PER_SERIES = 3000
BYTES_PER_SAMPLE = 1
"""The lower ends of what is reported; the upper ones are settings."""
BYTES_PER_QUERY = 50_000_000 * 16
BYTES_PER_LINE = 130
"""Of a page of metrics, for each sample, with comments: measured on Prometheus' own."""
WAL_SEGMENT = 128 << 20
WAL_SECONDS = 3 * 3600
WAL_BYTES_PER_SAMPLE = 6.5
"""13 bytes, halved by compression (Robust Perception). Each 2 hours the older two thirds are dropped."""
SLACK = 1.2
YEAR = 365 * 86400
BLOCKS_A_YEAR = 26 * 3 + 20
"""Of one replica: blocks of two weeks in three resolutions, and younger ones."""


# --- The estimate ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A scrape job as far as it can be counted: `targets` is None where they are found by discovery alone."""

    name: str
    targets: int | None
    samples: int
    """Of one scrape of one target."""
    interval: float

    @property
    def series(self) -> int:
        return (self.targets or 0) * (self.samples + SAMPLES_ABOUT)


@dataclass(frozen=True)
class Estimate:
    """What one Prometheus needs. Pairs are the lower and the upper end; sizes are bytes."""

    jobs: tuple[Job, ...]
    churn: float
    memory: tuple[float, float]
    blocks: tuple[float, float]

    @property
    def targets(self) -> int:
        return sum(job.targets or 0 for job in self.jobs)

    @property
    def series(self) -> float:
        """Series that memory holds: those of two to three hours."""
        return sum(job.series for job in self.jobs) * (1 + self.churn)

    @property
    def samples_per_second(self) -> float:
        return sum(job.series / job.interval for job in self.jobs)

    @property
    def document(self) -> float:
        """Memory by spec/000 1.1, targets x sample size x 2. Of the sizes that could be meant, that of the page which
        a target answers with is the only one that gives a plausible figure at all."""
        return 2 * sum((job.targets or 0) * job.samples * BYTES_PER_LINE for job in self.jobs)

    @property
    def wal(self) -> float:
        return max(3 * WAL_SEGMENT, self.samples_per_second * WAL_SECONDS * WAL_BYTES_PER_SAMPLE)

    @property
    def disk(self) -> tuple[float, float]:
        """Blocks, log, and a fifth for what compaction writes before it deletes."""
        low, high = self.blocks
        return (low + self.wal) * SLACK, (high + self.wal) * SLACK


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def jobs(site: Site, member: Member) -> tuple[Job, ...]:
    """The scrape jobs of a Prometheus, with the targets that its settings list and those that `capacity` adds."""
    settings, reckoned = member.settings, member.settings.capacity
    found = []
    names, targets = set(), configuration.targets(site, member)
    samples = SAMPLES | {scrape.name: scrape.samples for scrape in scrapes(site, member)} | reckoned.samples_per_target
    unknown = samples.get("default", SAMPLES_UNKNOWN)
    for job in configuration.prometheus_yml(site, member)["scrape_configs"]:
        name = str(job["job_name"])
        listed = [group for group in _list(job.get("static_configs")) if isinstance(group, dict)]
        listed += targets.get(name, [])
        # Of our own files of targets every one is listed; other discovery is anyone's guess.
        guess = not listed and any(key.endswith("_sd_configs") for key in job)
        count = sum(len(_list(group.get("targets"))) for group in listed)
        if name in reckoned.targets:
            count, guess = count + reckoned.targets[name], False
        interval = _interval(job.get("scrape_interval", settings.scrape_interval))
        found.append(Job(name, None if guess else count, samples.get(name, unknown), interval))
        names.add(name)
    interval = _interval(settings.scrape_interval)
    for name, count in reckoned.targets.items():
        if name not in names:
            found.append(Job(name, count, samples.get(name, unknown), interval))
    return tuple(found)


def _interval(duration: Any) -> float:
    """Seconds; what is no interval is for promtool to refuse, and here one of upstream's default."""
    try:
        return seconds(duration) or 60.0
    except ValueError:
        return 60.0


def estimate(site: Site, member: Member) -> Estimate:
    """What the Prometheus of `member` needs for what its settings say."""
    reckoned = member.settings.capacity
    found = Estimate(jobs(site, member), reckoned.churn, (0, 0), (0, 0))
    queries = reckoned.queries * BYTES_PER_QUERY
    written = found.samples_per_second * seconds(member.settings.prometheus_retention_time)
    return Estimate(
        found.jobs,
        found.churn,
        (
            found.series * BYTES_PER_SERIES + queries,
            found.series * reckoned.bytes_per_series + queries,
        ),
        (written * BYTES_PER_SAMPLE, written * reckoned.bytes_per_sample),
    )


# --- What is used ---------------------------------------------------------------------------------

_METRICS = {
    "series": "prometheus_tsdb_head_series",
    "appended": "prometheus_tsdb_head_samples_appended_total",
    "started": "process_start_time_seconds",
    "memory": "process_resident_memory_bytes",
    "blocks": "prometheus_tsdb_storage_blocks_bytes",
    "wal": "prometheus_tsdb_wal_storage_size_bytes",
}
_CALLS = (
    Call("metrics", "/metrics", only_metrics(*_METRICS.values())),
    query_call("samples", "sum by (job) (scrape_samples_scraped)"),
    query_call("targets", "count by (job) (scrape_samples_scraped)"),
)


@dataclass(frozen=True)
class Usage:
    """What a running Prometheus says of itself; sizes are bytes. None where it did not say."""

    series: float | None = None
    samples_per_second: float | None = None
    """Average since its start."""
    memory: float | None = None
    blocks: float | None = None
    wal: float | None = None
    jobs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Job name -> targets, samples of one scrape of all of them."""

    @property
    def targets(self) -> int | None:
        return sum(count for count, _ in self.jobs.values()) if self.jobs else None


def questions(site: Site, member: Member) -> str:
    """The script that asks the Prometheus of a host, on that host."""
    return "date +%s\n" + script(site, member, daemons.PROMETHEUS, _CALLS)


def read(lines: Iterable[str]) -> Usage:
    """What the output of `questions` says; a Prometheus that does not answer uses nothing that is known."""
    lines = list(lines)
    try:
        answers = split(lines[1:])
        page = metrics(answers.get("metrics", NO_ANSWER).body)
        now = float(lines[0])
    except (FactProcessError, IndexError, ValueError):
        return Usage()
    found = {key: metric(page, name) for key, name in _METRICS.items()}
    started, appended = found.pop("started"), found.pop("appended")
    up = now - started if started else 0
    by_job: dict[str, dict[str, float]] = {}
    for name in ("targets", "samples"):
        for labels, value in read_query(answers.get(name, NO_ANSWER)).vector:
            by_job.setdefault(labels.get("job", ""), {})[name] = value
    return Usage(
        samples_per_second=appended / up if appended is not None and up > 0 else None,
        jobs={job: (int(v.get("targets", 0)), int(v.get("samples", 0))) for job, v in by_job.items()},
        **found,
    )


# --- Judging --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a host has, None where it was not asked, and what its Prometheus uses."""

    look: State | None = None
    usage: Usage = Usage()


def findings(site: Site, seen: Mapping[str, Seen]) -> list[Finding]:
    """Hosts that have less than the estimate, and estimates that the running site has outgrown. All are warnings."""
    return [result for member in site.running(daemons.PROMETHEUS) for result in _judge(site, member, seen)]


def _judge(site: Site, member: Member, seen: Mapping[str, Seen]) -> Iterator[Finding]:
    needed, has = estimate(site, member), seen.get(member.name, Seen())

    def warn(found: str, wanted: str, advice: str) -> Finding:
        return Finding(member.name, "capacity", found, wanted, advice, "warn")

    uncounted = [job.name for job in needed.jobs if job.targets is None]
    if uncounted:
        found = f"jobs that find their targets themselves: {some(uncounted)}"
        yield warn(found, "how many to reckon with", "set capacity['targets'][job]")
    if has.usage.series and has.usage.series > needed.series:
        found = f"{_number(has.usage.series)} active series, more than the estimate"
        wanted = f"at most {_number(needed.series)}"
        yield warn(found, wanted, "set capacity['samples_per_target'] and churn to what is measured")
    if has.look is None:
        return
    if 0 < has.look.memory < needed.memory[1]:
        found = f"{_bytes(has.look.memory)} of memory"
        advice = "more memory, or fewer series: drop what nobody asks for (metric_relabel_configs)"
        yield warn(found, f"{_bytes(needed.memory[1])} by the estimate", advice)
    limit = derived.retention_size(member, has.look)
    room = size(limit) if limit else has.look.disk
    if not 0 < room < needed.blocks[1] + needed.wal:
        return
    each = needed.samples_per_second * member.settings.capacity.bytes_per_sample
    days = max(room - needed.wal, 0) / each / 86400
    what = f"blocks are dropped at {limit}" if limit else f"a disk of {_bytes(room)}"
    found = f"{what}: about {days:.1f} days"
    wanted = f"{member.settings.prometheus_retention_time}, for which {_bytes(needed.disk[1])} of disk are estimated"
    yield warn(found, wanted, "a larger disk, or a shorter prometheus_retention_time")


# --- Printing -------------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= factor:
            return f"{value / (1e3 if unit == ' k' else factor):.3g}{unit}"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _bytes(value: float | None) -> str:
    """A size in the units of Prometheus' own settings: 1 GB are 1024 MB."""
    if value is None:
        return "-"
    for power, unit in ((40, "TB"), (30, "GB"), (20, "MB")):
        if value >= 1 << power:
            return f"{_three(value / (1 << power))} {unit}"
    return f"{_three(value / 1024)} KB"


def _three(value: float) -> str:
    """Three figures, and a fourth where the unit goes to 1023."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _range(pair: tuple[float, float]) -> str:
    low, high = map(_bytes, pair)
    return low if low == high else f"{low} to {high}"


def _each(targets: int | None, samples: float | None) -> str:
    return "-" if targets is None else f"{targets} x {_number(samples)}"


Cells = tuple[str, ...]


def _cluster(site: Site, members: list[Member], seen: Mapping[str, Seen]) -> list[Cells]:
    """The rows of one cluster: its replicas scrape the same, so that the estimate is one."""
    first = members[0]
    needed, reckoned = estimate(site, first), first.settings.capacity
    used = [seen.get(member.name, Seen()).usage for member in members]
    has = [seen.get(member.name, Seen()).look for member in members]
    settings = first.settings

    def row(what: str, wanted: str, found: Iterable[str], source: str) -> Cells:
        return (what, wanted, *found, source)

    rows = [
        row(
            f"cluster {settings.cluster}, each of {len(members)}",
            "ESTIMATE",
            (member.name for member in members),
            "FROM",
        )
    ]
    for job in needed.jobs:
        found = []
        for usage in used:
            targets, samples = usage.jobs.get(job.name, (None, 0))
            found.append(_each(targets, samples / targets if targets else 0))
        wanted = f"? x {job.samples}" if job.targets is None else _each(job.targets, job.samples)
        source = f"targets x samples, every {job.interval:g} s; scrape_samples_scraped"
        rows.append(row(f"  {job.name}", wanted, found, source))
    rows += [
        row(
            "active series",
            _number(needed.series),
            (_number(usage.series) for usage in used),
            f"the above, and {reckoned.churn:.0%} replaced in 3 h (churn); prometheus_tsdb_head_series",
        ),
        row(
            "samples a second",
            _number(needed.samples_per_second),
            (_number(usage.samples_per_second) for usage in used),
            "series / interval; prometheus_tsdb_head_samples_appended_total since its start",
        ),
        row(
            "memory",
            _range(needed.memory),
            (_bytes(usage.memory) for usage in used),
            f"series x 3 to {reckoned.bytes_per_series / 1000:g} kB (Robust Perception; prometheus#4553), "
            f"and {reckoned.queries} x 50M samples x 16 B for queries; resident",
        ),
        row(
            "  by rule of thumb",
            _bytes(needed.document),
            ("" for _ in members),
            f"targets x sample size x 2, a sample taken for a page of {BYTES_PER_LINE} B a line: "
            f"{needed.document / needed.memory[1]:.0%} of the above"
            if needed.memory[1]
            else "",
        ),
        row(
            "  the host has",
            "",
            (_bytes(look.memory) if look and look.memory else "-" for look in has),
            "/proc/meminfo",
        ),
        row(
            "write-ahead log",
            _bytes(needed.wal),
            (_bytes(usage.wal) for usage in used),
            f"3 h x {WAL_BYTES_PER_SAMPLE} B a sample, at least 3 x 128 MB (storage.md); "
            "prometheus_tsdb_wal_storage_size_bytes",
        ),
        row(
            f"blocks of {settings.prometheus_retention_time}",
            _range(needed.blocks),
            (_bytes(usage.blocks) for usage in used),
            f"samples x 1 to {reckoned.bytes_per_sample:g} B (storage.md); prometheus_tsdb_storage_blocks_bytes",
        ),
        row(
            "disk",
            _range(needed.disk),
            ("-" if usage.blocks is None else _bytes(usage.blocks + (usage.wal or 0)) for usage in used),
            "both, and a fifth for what compaction writes before it deletes",
        ),
        row(
            "  dropped at",
            "",
            (derived.retention_size(m, h) or "no limit" if h else "-" for m, h in zip(members, has, strict=True)),
            f"prometheus_retention_size = {settings.prometheus_retention_size}",
        ),
        row(
            "  the host has",
            "",
            (_bytes(look.disk) if look and look.disk else "-" for look in has),
            f"the file system of {PROMETHEUS_DATA}",
        ),
    ]
    return rows


def kept(site: Site, reckoned: Capacity) -> dict[str, float]:
    """Resolution -> seconds that the bucket keeps it: by the compactor's settings, else `bucket_retention`."""
    for_ever = seconds(reckoned.bucket_retention)
    compactors = site.running(daemons.COMPACTOR)
    if not compactors:
        return {"raw": for_ever}
    settings = compactors[0].settings
    found = {"raw": seconds(settings.compactor_retention_raw) or for_ever}
    if settings.compactor_downsampling:
        found["5m"] = seconds(settings.compactor_retention_5m) or for_ever
        found["1h"] = seconds(settings.compactor_retention_1h) or for_ever
    return found


@dataclass(frozen=True)
class Storage:
    """What long-term storage needs, for samples a second of each replica that uploads. Pairs and sizes as above."""

    rates: tuple[float, ...]
    kept: Mapping[str, float]
    reckoned: Capacity

    @property
    def _per_sample(self) -> tuple[float, float]:
        return BYTES_PER_SAMPLE, self.reckoned.bytes_per_sample

    def _of(self, samples: float) -> tuple[float, float]:
        low, high = self._per_sample
        return samples * low, samples * high

    @property
    def daily(self) -> tuple[float, float]:
        """What all of them upload in a day."""
        return self._of(sum(self.rates) * 86400)

    @property
    def bucket(self) -> tuple[float, float]:
        """Raw blocks and their copies, each as long as it is kept."""
        copies = sum(self.kept.get(name, 0) for name in ("5m", "1h")) * self.reckoned.downsampling / 2
        return self._of(sum(self.rates) * (self.kept["raw"] + copies))

    @property
    def scratch(self) -> tuple[float, float]:
        """The compactor's: the largest block that it makes, and what that is made of."""
        return self._of(2 * max(self.rates) * 14 * 86400)

    @property
    def blocks(self) -> float:
        """How many the bucket has once they are merged."""
        return len(self.rates) * max(self.kept.values()) / YEAR * BLOCKS_A_YEAR

    @property
    def headers(self) -> tuple[float, float]:
        """The store gateway's: of each block it keeps an index header."""
        return self.blocks * 6 * (1 << 20), self.blocks * 30 * (1 << 20)


def _storage(site: Site, seen: Mapping[str, Seen]) -> list[Cells]:
    """What long-term storage needs for all replicas that upload: by the estimate, and by what they really scrape."""
    uploading = [member for member in site.running(daemons.PROMETHEUS) if derived.uploads(member)]
    if not uploading:
        return [("object storage", "", "nothing is uploaded: no bucket_config")]
    reckoned = uploading[0].settings.capacity
    keeps = kept(site, reckoned)
    used = [seen.get(member.name, Seen()).usage.samples_per_second for member in uploading]
    estimates = tuple(estimate(site, member).samples_per_second for member in uploading)
    wanted = Storage(estimates, keeps, reckoned)
    # One that does not answer has what the estimate says: half a measurement would be half a bucket.
    rates = tuple(rate or guess for rate, guess in zip(used, estimates, strict=True))
    found = Storage(rates, keeps, reckoned) if any(used) else None

    def row(what: str, attribute: str, source: str) -> Cells:
        measured = _range(getattr(found, attribute)) if found else "-"
        return what, _range(getattr(wanted, attribute)), measured, source

    days = ", ".join(f"{name} {value / 86400:.0f} days" for name, value in keeps.items())
    return [
        (f"object storage of {len(uploading)} replicas", "ESTIMATE", "BY WHAT IS SCRAPED", "FROM"),
        row("new in the bucket each day", "daily", "samples a second x replicas"),
        row(
            "bucket",
            "bucket",
            f"{days}; all copies add {reckoned.downsampling:g} times the raw ones (thanos.io: about 3 times in all)",
        ),
        row(
            "compactor's disk",
            "scratch",
            "twice two weeks of one replica's blocks; thanos.io: 100 GB do for most",
        ),
        (
            "compactor's memory",
            "10 GB",
            "",
            "thanos.io: a medium bucket; one core, at most 10 M series in a block",
        ),
        row(
            "store's disk",
            "headers",
            f"6 to 30 MB a block (thanos.io) x about {wanted.blocks:.0f} blocks",
        ),
        (
            "store's memory",
            "2.25 GB",
            "",
            "and index headers: 250 MB index cache, 2 GB chunk pool (thanos.io, defaults)",
        ),
    ]


def table(site: Site, seen: Mapping[str, Seen], results: Iterable[Finding]) -> list[str]:
    """The estimate beside what is used and what there is, cluster by cluster, and the findings, as lines of text."""
    clusters: dict[str, list[Member]] = {}
    for member in site.running(daemons.PROMETHEUS):
        clusters.setdefault(member.settings.cluster, []).append(member)
    lines: list[str] = []
    for members in clusters.values():
        lines += [*aligned(_cluster(site, members, seen)), ""]
    lines += aligned(_storage(site, seen)) if clusters else ["no host is of the group prometheus"]
    return lines + listed_results(results)
