"""The table of capacity: what it says of the running site is what Prometheus itself says."""

from __future__ import annotations

import re

import pytest

from deploys.lib import checks, flags
from deploys.lib.site import Member, Site
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
    return float(value) * checks.size(f"1{unit}")


def asked(site: Site, member: Member, query: str) -> float:
    url = f"{site.endpoint('prometheus', member).url}/api/v1/query"
    result = get(url, query=query)["data"]["result"]
    assert len(result) == 1, f"{query}: {result}"
    return float(result[0]["value"][1])


def test_what_is_used_is_what_prometheus_says(site: Site) -> None:
    before = units()
    done = run_site(deploy="deploys/capacity.py")
    assert done.status == 0 and done.changed == {}, str(done)
    assert moved(before) == set()
    rows = table(done.log)
    for member in site.members("prometheus"):
        own = f'{{job="prometheus",instance="{site.endpoint("prometheus", member).target}"}}'
        appended = f"sum(prometheus_tsdb_head_samples_appended_total{own})"
        for row, read, query, tolerance in (
            ("active series", number, f"prometheus_tsdb_head_series{own}", 0.05),
            (
                "samples a second",
                number,
                f"{appended} / (time() - scalar(process_start_time_seconds{own}))",
                0.15,
            ),
            ("memory", size, f"process_resident_memory_bytes{own}", 0.3),
            ("write-ahead log", size, f"prometheus_tsdb_wal_storage_size_bytes{own}", 0.15),
            ("blocks of 15d", size, f"prometheus_tsdb_storage_blocks_bytes{own}", 0.05),
        ):
            found, wanted = read(rows[row][member.name]), asked(site, member, query)
            assert found == pytest.approx(wanted, rel=tolerance), f"{member.name}: {row}"
        for job in ("prometheus", "node_exporter"):
            scraped = f'scrape_samples_scraped{{job="{job}"}}'
            targets, each = rows[job][member.name].split(" x ")
            assert int(targets) == asked(site, member, f"count({scraped})")
            wanted = asked(site, member, f"avg({scraped})")
            assert number(each) == pytest.approx(wanted, rel=0.05), f"{member.name}: {job}"
        if flags.retention_in_file(member):
            share = asked(site, member, f"prometheus_tsdb_retention_limit_percentage{own}")
            assert share == flags.DISK_SHARE, member.name
        else:
            limit = asked(site, member, f"prometheus_tsdb_retention_limit_bytes{own}")
            assert checks.size(rows["dropped at"][member.name]) == limit, member.name


def test_what_the_bucket_gets_each_day_is_what_the_replicas_scrape(site: Site) -> None:
    log = run_site(deploy="deploys/capacity.py").log
    [line] = [line for line in log.splitlines() if "new in the bucket each day" in line]
    _, _, cell, _ = re.split(r"\s{2,}", re.sub(r"\x1b\[[\d;]*m", "", line).strip())
    members = site.members("prometheus")
    appended = 0.0
    for member in members:
        own = f'{{job="prometheus",instance="{site.endpoint("prometheus", member).target}"}}'
        grown = f"sum(prometheus_tsdb_head_samples_appended_total{own})"
        appended += asked(
            site, member, f"{grown} / (time() - scalar(process_start_time_seconds{own}))"
        )
    low, high = (size(end) for end in cell.split(" to "))
    per_sample = members[0].settings.capacity.bytes_per_sample
    assert low == pytest.approx(appended * 86400, rel=0.15)
    assert high == pytest.approx(appended * 86400 * per_sample, rel=0.15)
