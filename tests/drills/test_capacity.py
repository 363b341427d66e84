"""The table of capacity: what it says of the running site is what Prometheus itself says."""

from __future__ import annotations

import re

from prometheus_ha.deploys.lib.roles.prometheus import verdicts
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.site.members import Member, Site
from tests.drills.site import get, moved, run_site, units

_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}


def table(log: str) -> dict[str, dict[str, str]]:
    """Row -> column -> cell, of the cluster's part of the table."""
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in log.splitlines()]
    start = next(n for n, line in enumerate(lines) if line.lstrip().startswith("cluster "))
    margin = lines[start].index("cluster ")
    head, *body = [line[margin:] for line in lines[start:]]
    columns = [(match[0], match.start()) for match in re.finditer(r"\S+(?: \S+)*", head)]
    ends = [begin for _, begin in columns[1:]] + [None]
    rows: dict[str, dict[str, str]] = {}
    for line in body[: body.index("")]:
        cells = {n: line[b:e].strip() for (n, b), e in zip(columns, ends, strict=True)}
        rows.setdefault(cells[columns[0][0]], cells)
    return rows


def number(cell: str) -> float:
    match = re.fullmatch(r"([\d.e+]+) ?([kMG]?)", cell)
    assert match, f"no number: {cell!r}"
    return float(match[1]) * _UNITS[match[2]]


def size(cell: str) -> float:
    value, unit = cell.split()
    return float(value) * verdicts.size(f"1{unit}")


def asked(site: Site, member: Member, query: str) -> float:
    url = f"{site.endpoint('prometheus', member).url}/api/v1/query"
    result = get(url, query=query)["data"]["result"]
    assert len(result) == 1, f"{query}: {result}"
    return float(result[0]["value"][1])


JOBS = ("prometheus", "node_exporter")


def used(site: Site, member: Member) -> dict[str, float]:
    """Row -> what Prometheus says of itself now."""
    own = f'{{job="prometheus",instance="{site.endpoint("prometheus", member).target}"}}'
    appended = f"sum(prometheus_tsdb_head_samples_appended_total{own})"
    queries = {
        "active series": f"prometheus_tsdb_head_series{own}",
        "samples a second": f"{appended} / (time() - scalar(process_start_time_seconds{own}))",
        "memory": f"process_resident_memory_bytes{own}",
        "write-ahead log": f"prometheus_tsdb_wal_storage_size_bytes{own}",
        "blocks of 15d": f"prometheus_tsdb_storage_blocks_bytes{own}",
        # Exporters tell of disks and mounts, which come and go with other hosts of the lab.
        **{job: f'avg(scrape_samples_scraped{{job="{job}"}})' for job in JOBS},
    }
    return {row: asked(site, member, query) for row, query in queries.items()}


def between(found: float, ends: list[float], tolerance: float) -> bool:
    """A young Prometheus grows, and on a busy machine much of it between two questions."""
    return min(ends) * (1 - tolerance) <= found <= max(ends) * (1 + tolerance)


ROWS = {
    "active series": (number, 0.05),
    "samples a second": (number, 0.15),
    "memory": (size, 0.3),
    "write-ahead log": (size, 0.15),
    "blocks of 15d": (size, 0.05),
}
"""Row -> how it is read, and how far it may be from what Prometheus said before and after it."""


def test_what_is_used_is_what_prometheus_says(site: Site) -> None:
    before = units()
    said = {member.name: [used(site, member)] for member in site.members("prometheus")}
    done = run_site(deploy="deploys/capacity.py")
    assert done.status == 0 and done.changed == {}, str(done)
    assert moved(before) == set()
    rows = table(done.log)
    for member in site.members("prometheus"):
        said[member.name].append(used(site, member))
        own = f'{{job="prometheus",instance="{site.endpoint("prometheus", member).target}"}}'
        for row, (read, tolerance) in ROWS.items():
            found, ends = read(rows[row][member.name]), [one[row] for one in said[member.name]]
            assert between(found, ends, tolerance), f"{member.name}: {row}: {found}, not {ends}"
        for job in JOBS:
            targets, each = rows[job][member.name].split(" x ")
            counted = f'count(scrape_samples_scraped{{job="{job}"}})'
            assert int(targets) == asked(site, member, counted)
            ends = [one[job] for one in said[member.name]]
            assert between(number(each), ends, 0.05), f"{member.name}: {job}: {each}, not {ends}"
        if derived.retention_in_file(member):
            share = asked(site, member, f"prometheus_tsdb_retention_limit_percentage{own}")
            assert share == derived.DISK_SHARE, member.name
        else:
            limit = asked(site, member, f"prometheus_tsdb_retention_limit_bytes{own}")
            assert verdicts.size(rows["dropped at"][member.name]) == limit, member.name


def test_what_the_bucket_gets_each_day_is_what_the_replicas_scrape(site: Site) -> None:
    def appended() -> float:
        rates = (used(site, member)["samples a second"] for member in site.members("prometheus"))
        return sum(rates) * 86400

    ends = [appended()]
    log = run_site(deploy="deploys/capacity.py").log
    ends.append(appended())
    [line] = [line for line in log.splitlines() if "new in the bucket each day" in line]
    _, _, cell, _ = re.split(r"\s{2,}", re.sub(r"\x1b\[[\d;]*m", "", line).strip())
    low, high = (size(end) for end in cell.split(" to "))
    per_sample = site.members("prometheus")[0].settings.capacity.bytes_per_sample
    assert between(low, ends, 0.15), f"{low}, not {ends}"
    assert between(high, [end * per_sample for end in ends], 0.15), f"{high}, not {ends}"
