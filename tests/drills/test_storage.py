"""Long-term storage is proven by reading it back: blocks of known series go the whole way, and come back the same."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from prometheus_ha.deploys.lib.site.members import Member, Site
from tests.drills import blocks
from tests.drills.blocks import DAY, HOUR, STEP, Seeded, ranged
from tests.drills.probe import Probe
from tests.drills.runbooks import COMMANDS
from tests.drills.site import (
    alerts,
    converge,
    metric,
    on_all,
    plan_site,
    query,
    run_site,
    shell,
    stopped,
    wait_for,
)
from tests.lab import plan

HOURS = 4
AGO = 3
"""Days: what was seeded is that old."""

QUERIED = "thanos_bucket_store_series_blocks_queried_count"

QUERIES = (
    "seeded_gauge",
    'seeded_gauge{n="1"}',
    'seeded_gauge{n=~"0|2"} > 50',
    'seeded_gauge{n!~"0|1"}',
    "sum(seeded_gauge)",
    "avg by (n) (seeded_gauge)",
    "max without (n) (seeded_gauge)",
    "count(seeded_gauge > bool 50)",
    "stddev(seeded_gauge)",
    "quantile(0.9, seeded_gauge)",
    "topk(2, seeded_gauge)",
    "bottomk by (job) (1, seeded_gauge)",
    'count_values("value", seeded_gauge > 95)',
    "rate(seeded_requests_total[5m])",
    "sum by (code) (rate(seeded_requests_total[10m]))",
    "increase(seeded_requests_total[1h])",
    "irate(seeded_requests_total[5m])",
    "resets(seeded_requests_total[30m])",
    "delta(seeded_gauge[10m])",
    "deriv(seeded_gauge[15m])",
    "avg_over_time(seeded_gauge[10m])",
    "quantile_over_time(0.5, seeded_gauge[20m])",
    "changes(seeded_gauge[10m])",
    "histogram_quantile(0.9, sum by (le) (rate(seeded_seconds_bucket[10m])))",
    "histogram_quantile(0.5, rate(seeded_seconds_bucket[5m]))",
    "seeded_seconds_sum / seeded_seconds_count",
    "max_over_time(rate(seeded_requests_total[5m])[30m:1m])",
    "seeded_gauge offset 15m",
    "seeded_gauge - seeded_gauge offset 10m",
    "sum(rate(seeded_requests_total[5m] @ end()))",
    "seeded_gauge @ start()",
    'absent(seeded_gauge{n="none"})',
    'absent_over_time(seeded_gauge{n="none"}[5m])',
    'label_replace(seeded_gauge, "number", "n-$1", "n", "(.*)")',
    'label_join(seeded_gauge, "both", "-", "n", "__name__")',
    'seeded_gauge{n="0"} and on () (seeded_gauge{n="1"} > 50)',
    "sum(seeded_gauge) or vector(0)",
    "clamp_max(seeded_gauge, 40)",
    "round(seeded_gauge / 7, 0.5)",
    "seeded_requests_total * on (n) group_left seeded_gauge",
)
"""PromQL in its breadth, over a range that nothing is added to any more."""


def read(site: Site, component: str, expression: str, seeded: Seeded, **more):
    """A range inside what was seeded, in which every look back and offset finds samples."""
    start, end = seeded.start + 2 * HOUR + 30 * STEP, seeded.end - STEP
    return ranged(site, component, expression, start, end, **more)


@pytest.fixture(scope="module")
def seeded(site: Site) -> Iterator[Seeded]:
    with blocks.seeded(site, AGO, HOURS) as given:
        yield given


def seeded_blocks(site: Site, seeded: Seeded) -> list[blocks.Block]:
    return [b for b in blocks.listed(site).values() if seeded.start <= b.start < seeded.end]


def test_uploaded_blocks_carry_the_labels_of_their_replica(site: Site, seeded: Seeded) -> None:
    found: dict[str, float] = {}
    for block in seeded_blocks(site, seeded):
        assert block.labels["cluster"] == site.running("prometheus")[0].settings.cluster
        if not block.resolution:
            replica = block.labels["replica"]
            found[replica] = found.get(replica, 0) + math.ceil((block.end - block.start) / STEP)
    wanted = {str(m.settings.replica): HOURS * 60 for m in site.running("prometheus")}
    assert found == wanted


def test_a_short_local_retention_goes_with_uploads_that_are_proven(site: Site, seeded: Seeded) -> None:
    """A run warns of it, unless a block was uploaded in the last hours."""
    said = "uploads of thanos-sidecar are not proven: nothing was uploaded since it was started"

    def warned() -> bool:
        plan = plan_site(data={"prometheus_retention_time": "2h"})
        assert plan.status == 0, plan.log
        return said in plan.log

    assert not warned()
    host = site.running("prometheus")[0].name
    shell(host, "systemctl restart thanos-sidecar")
    wait_for(
        "the sidecar to be ready",
        lambda: metric(site, "thanos-sidecar", host, "thanos_sidecar_prometheus_up") == 1,
        60,
    )
    assert warned()


@pytest.mark.parametrize("expression", QUERIES)
def test_the_same_answer_everywhere(site: Site, seeded: Seeded, expression: str) -> None:
    """Prometheus from its disk, the querier deduplicating two replicas and the bucket, the frontend cold and cached."""
    wanted, _ = read(site, "prometheus", expression, seeded)
    assert wanted, "the premise"
    for component in ("thanos-querier", "thanos-query-frontend", "thanos-query-frontend"):
        found, warnings = read(site, component, expression, seeded)
        assert not warnings, component
        assert found.keys() == wanted.keys(), component
        for labels, values in wanted.items():
            assert found[labels].keys() == values.keys(), (component, labels)
            for when, value in values.items():
                other = found[labels][when]
                same = math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-12)
                nothing = math.isnan(value) and math.isnan(other)
                assert same or nothing, (component, labels, when, value, other)


def test_without_deduplication_both_replicas_are_there(site: Site, seeded: Seeded) -> None:
    found, _ = read(site, "thanos-querier", "seeded_gauge", seeded, dedup="false")
    replicas = {dict(labels)["replica"] for labels in found}
    assert replicas == {str(m.settings.replica) for m in site.running("prometheus")}
    assert len(found) == len(replicas) * len(blocks.GAUGES)


@pytest.fixture(scope="module")
def only_in_bucket(site: Site, seeded: Seeded) -> Seeded:
    seeded.forget(site)
    return seeded


@pytest.mark.parametrize("component", ["thanos-querier", "thanos-query-frontend"])
def test_what_local_disks_forgot_is_read_back_from_the_bucket(
    site: Site, only_in_bucket: Seeded, component: str
) -> None:
    """Every value, once, and not from a cache: it was never asked for in these words."""
    before = blocks.total(site, "thanos-store", QUERIED)
    words = f'seeded_gauge{{n!="{component}"}}'
    start, end = only_in_bucket.start, only_in_bucket.end - STEP
    found, warnings = ranged(site, component, words, start, end)
    assert not warnings
    assert found == blocks.expected(start, end)
    assert blocks.total(site, "thanos-store", QUERIED) > before, "no store gateway was asked"


def test_no_block_overlaps(site: Site, only_in_bucket: Seeded) -> None:
    assert blocks.overlaps(site) == ""


# --- What still answers when something is gone ----------------------------------------------------


def _old(site: Site, component: str, seeded: Seeded, words: str, member: Member | None = None):
    end = seeded.end - STEP
    return ranged(site, component, f"seeded_gauge * {words}", seeded.start, end, member=member)


def test_one_store_gateway_stands_in_for_the_other(site: Site, only_in_bucket: Seeded) -> None:
    one, other = site.running("thanos-store")
    with stopped(one.name, "thanos-store"):

        def warned() -> bool:
            found, warnings = _old(site, "thanos-querier", only_in_bucket, "2")
            assert len(found) == len(blocks.GAUGES), "the other one has all of it"
            return one.address in " ".join(warnings)

        wait_for("a warning that names it", warned)
        assert query(site, "count(up)")["result"], "what is recent has nothing to do with it"


def test_without_store_gateways_the_past_is_missing_and_said_to_be(site: Site, only_in_bucket: Seeded) -> None:
    one, other = site.running("thanos-store")
    frontend = site.running("thanos-query-frontend")[0]
    with stopped(one.name, "thanos-store"), stopped(other.name, "thanos-store"):

        def missing() -> bool:
            found, warnings = _old(site, "thanos-query-frontend", only_in_bucket, "3", frontend)
            return not found and bool(warnings)

        wait_for("an empty answer with a warning", missing)
        recent = query(site, 'count(up{job="node_exporter"})')
        assert float(recent["result"][0]["value"][1]) == len(site.hosts)

    def whole() -> bool:
        found, warnings = _old(site, "thanos-query-frontend", only_in_bucket, "3", frontend)
        return len(found) == len(blocks.GAUGES) and not warnings

    # Through the same frontend and in the same words: a partial answer was not kept.
    wait_for("the whole answer once they are back", whole, 60)


def test_a_frontend_falls_with_its_querier_and_the_other_one_answers(site: Site, only_in_bucket: Seeded) -> None:
    one, other = site.running("thanos-query-frontend")
    with stopped(one.name, "thanos-querier"):

        def refused() -> bool:
            try:
                _old(site, "thanos-query-frontend", only_in_bucket, "5", one)
            except AssertionError:
                return True
            return False

        wait_for("the frontend of the stopped querier to refuse", refused)
        found, warnings = _old(site, "thanos-query-frontend", only_in_bucket, "5", other)
        assert len(found) == len(blocks.GAUGES) and not warnings
    wait_for("it to answer again", lambda: not refused(), 30)


def test_queriers_need_no_frontend(site: Site, only_in_bucket: Seeded) -> None:
    one, other = site.running("thanos-query-frontend")
    with stopped(one.name, "thanos-query-frontend"):
        for component, member in (("thanos-query-frontend", other), ("thanos-querier", None)):
            found, warnings = _old(site, component, only_in_bucket, "7", member)
            assert len(found) == len(blocks.GAUGES) and not warnings


# --- Other ways to serve it ------------------------------------------------------------------------

MEMCACHED = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/11211; printf \"stats\\r\\nquit\\r\\n\" >&3; cat <&3'"


def _memcached(host: str, counter: str) -> int:
    lines = [line.split() for line in shell(host, MEMCACHED).splitlines()]
    return next(int(value) for _, name, value in (x for x in lines if len(x) == 3) if name == counter)


@pytest.mark.usefixtures("restored")
def test_caches_in_a_memcached(site: Site, only_in_bucket: Seeded) -> None:
    """Index and answers are kept in a real one; while it is down, they are read anew."""
    member = site.hosts[plan.MEMCACHED_HOST]
    cache = {"type": "MEMCACHED", "config": {"addresses": ["127.0.0.1:11211"], "expiration": "1h"}}
    index = {**cache, "config": {"addresses": ["127.0.0.1:11211"]}}
    data = {"store_index_cache": index, "frontend_cache": cache}
    run = run_site("--limit", member.name, data=data)
    assert run.status == 0, str(run)

    def asked(words: str) -> None:
        found, warnings = _old(site, "thanos-query-frontend", only_in_bucket, words, member)
        assert len(found) == len(blocks.GAUGES) and not warnings, words

    def index_is_kept() -> bool:
        asked(f"{2 + blocks.total(site, 'thanos-store', QUERIED)}")  # words that are new each time
        return blocks.total(site, "thanos-store", "thanos_store_index_cache_hits_total", member) > 0

    wait_for("postings and series to come from the index cache", index_is_kept, 60)

    def answer_is_kept() -> bool:
        before = blocks.total(site, "thanos-store", QUERIED), _memcached(member.name, "get_hits")
        asked("11")
        hits = _memcached(member.name, "get_hits")
        return blocks.total(site, "thanos-store", QUERIED) == before[0] and hits > before[1]

    wait_for("an answer to come from the cache", answer_is_kept)
    with stopped(member.name, "memcached"):
        asked("11")
        asked("13")


@pytest.mark.usefixtures("restored")
def test_a_group_of_store_gateways_is_asked_in_turns(site: Site, only_in_bucket: Seeded) -> None:
    name = "gateways.lab"
    gateways = site.running("thanos-store")
    lines = "".join(f"{m.address} {name}\\n" for m in gateways)
    queriers = [m.name for m in site.running("thanos-querier")]
    # Names are asked of DNS servers otherwise, of which the lab has none.
    data = {
        "store_group": f"{name}:10905",
        "querier_flags": {"store.sd-dns-resolver": "golang"},
    }
    on_all(lambda h: shell(h, f"cp -p /etc/hosts /root/hosts; printf '{lines}' >>/etc/hosts"), queriers)
    try:
        run = run_site("--limit", "querier", data=data)
        assert run.status == 0, str(run)

        def whole() -> bool:
            found, warnings = _old(site, "thanos-querier", only_in_bucket, "17")
            return len(found) == len(blocks.GAUGES) and not warnings

        def counted() -> dict[str, float]:
            assert whole()
            return {m.name: blocks.total(site, "thanos-store", QUERIED, m) for m in gateways}

        def in_turns() -> bool:
            counts = [counted() for _ in range(5)]
            grown = [[name for name in later if later[name] > earlier[name]] for earlier, later in pairwise(counts)]
            return all(len(names) == 1 for names in grown) and len({n for [n] in grown}) == 2

        wait_for("each query to reach one of the two, and each of them", in_turns, 60)
        with stopped(gateways[0].name, "thanos-store"):
            wait_for("the other one to answer", whole, 60)
    finally:
        converge()  # while the name still means something
        on_all(lambda h: shell(h, "cat /root/hosts >/etc/hosts; rm /root/hosts"), queriers)


# --- The object store is away ---------------------------------------------------------------------


def test_an_object_store_that_is_away_loses_nothing(site: Site, seeded: Seeded) -> None:
    """Neither queries of what is recent nor alerts notice; on its return the backlog is uploaded, once."""
    start = blocks.days_ago(1)
    with Probe(site) as probe, stopped(plan.S3_HOST, "seaweedfs"):
        ulids = {m.name: blocks.into_tsdb(m, start, 2 * HOUR) for m in site.running("prometheus")}

        failed = "thanos_objstore_bucket_operation_failures_total"
        before = blocks.total(site, "thanos-sidecar", failed)
        # Each sidecar tries every half minute.
        enough = before + 2 * len(ulids)
        wait_for(
            "uploads to fail",
            lambda: blocks.total(site, "thanos-sidecar", failed) >= enough,
            150,
        )
    probe.assert_never_blind()
    assert not any(round_.warnings for round_ in probe.rounds), "recent queries carry no warning"
    try:
        wait_for("the backlog", lambda: set().union(*ulids.values()) <= blocks.ever_uploaded(site), 120)

        def whole() -> bool:
            found = [b for b in blocks.listed(site).values() if start <= b.start < start + 2 * HOUR]
            assert sorted(b.labels["replica"] for b in found) == sorted(
                str(m.settings.replica) for m in site.running("prometheus")
            )
            return True

        wait_for("one block of each replica", whole, 60)
        assert blocks.overlaps(site) == ""
    finally:
        blocks.drop_local(site, set().union(*ulids.values()))


# --- The compactor --------------------------------------------------------------------------------

LONGEST = 14 * DAY
"""The longest block that the compactor makes; they begin at multiples of it. Resolution 1h needs ten days in one."""
SPLIT = 2 * DAY
"""Days after it of which each block stays as young as it is."""
COARSE = 600
"""Seconds between two samples of the long history."""


def halted(site: Site) -> bool:
    host = site.running("thanos-compactor")[0].name
    return metric(site, "thanos-compactor", host, "thanos_compact_halted") == 1


@pytest.fixture
def emptied(site: Site) -> Iterator[None]:
    """A bucket with nothing in it, before and after."""
    host = site.running("thanos-compactor")[0].name

    def empty() -> None:
        with stopped(host, "thanos-compactor"):
            blocks.clear(site)

    empty()
    yield
    empty()
    converge()


def upload(site: Site, lines: Iterator[str], hours: int = 2) -> None:
    """Blocks of these lines, of so many hours each, straight into the bucket."""
    source = site.running("prometheus")[1].name
    compactor = site.running("thanos-compactor")[0]
    cluster = site.running("prometheus")[0].settings.cluster
    directory = shell(compactor.name, "mktemp -d").strip()
    blocks.move(source, blocks.make(source, lines, hours), compactor.name, directory)
    labels = f"""--label='cluster="{cluster}"' --label='replica="replica-01"'"""
    blocks.tool(site, f"upload-blocks --path={directory} {labels}")
    shell(compactor.name, f"rm -r {directory}")


@pytest.mark.usefixtures("emptied")
def test_old_blocks_are_merged_and_copied_at_lower_resolution(site: Site) -> None:
    # As short as it can be: the last whole one of the longest blocks, and some days after it.
    start = int(time.time() - 3 * DAY - SPLIT) // LONGEST * LONGEST - LONGEST

    def history(first: int, length: int) -> Iterator[str]:
        return blocks.exposition(first, length, COARSE, "history", only_gauges=True)

    # Most as blocks that are merged already, as Prometheus may do it locally; the youngest as they are cut.
    upload(site, history(start, LONGEST), hours=6)
    upload(site, history(start + LONGEST, SPLIT))

    def resolutions() -> bool:
        assert not halted(site)
        found = {b.resolution for b in blocks.listed(site).values()}
        return {0, 300, 3600} <= found

    wait_for("blocks of 5m and of 1h", resolutions, 420)
    assert max(b.level for b in blocks.listed(site).values()) > 1
    # What was merged is marked only once the new block is there.
    wait_for("no overlap", lambda: blocks.overlaps(site) == "", 60)
    first = start + 3 * DAY // DAY * DAY
    raw, _ = ranged(site, "thanos-querier", "avg_over_time(history_gauge[6h])", first, first + 5 * DAY, 6 * HOUR)
    coarse, warnings = ranged(
        site,
        "thanos-querier",
        "avg_over_time(history_gauge[6h])",
        first,
        first + 5 * DAY,
        6 * HOUR,
        max_source_resolution="1h",
    )
    assert not warnings and raw.keys() == coarse.keys() and len(raw) == len(blocks.GAUGES)
    for labels, values in raw.items():
        for when, value in values.items():
            # An hour has six samples of a sawtooth: what the edges cut off is a share of them.
            assert coarse[labels][when] == pytest.approx(value, abs=8), (labels, when)
    _retention(site, start + LONGEST)


def _retention(site: Site, limit: int) -> None:
    """Raw blocks are deleted once all of them is too old, and their copies stay."""
    # To the middle of what comes after the limit.
    kept = int(time.time() - limit - SPLIT / 2) // HOUR
    before = blocks.listed(site)
    run = run_site(
        "--limit",
        site.running("thanos-compactor")[0].name,
        data={"compactor_retention_raw": f"{kept}h"},
        deploy="deploys/compactor.py",
    )
    assert run.status == 0, str(run)

    def applied() -> bool:
        found = [b for b in blocks.listed(site).values() if not b.resolution]
        assert all(b.end > limit for b in found), found
        return True

    wait_for("raw blocks of before to be deleted", applied, 120)
    after = blocks.listed(site)
    for resolution in (300, 3600):
        assert {u for u, b in before.items() if b.resolution == resolution} <= set(after)
    assert any(not b.resolution for b in after.values()), "what is young enough stays"


@pytest.mark.usefixtures("emptied")
def test_blocks_that_overlap_halt_the_compactor_and_marking_one_heals_it(site: Site) -> None:
    start = blocks.days_ago(5)
    for _ in range(2):
        upload(site, blocks.exposition(start, 2 * HOUR))
    wait_for("the compactor to halt", lambda: halted(site), 60)
    assert blocks.overlaps(site)
    verify = run_site(deploy="deploys/verify.py")
    assert verify.status == 1 and "thanos-compactor has halted" in verify.log, str(verify)
    member = site.running("alertmanager")[0]
    wait_for("the alert", lambda: alerts(site, member, "ThanosCompactHalted"), 60)
    # The way out of docs/storage.md, by the commands of the runbooks for one block.
    spare = min(blocks.listed(site))
    host = site.running("thanos-compactor")[0].name
    look, mark = (each.line.replace("ULID", spare) for each in COMMANDS if "ULID" in each.line)
    seen = shell(host, f"{look} 2>&1")
    assert "verified issue" in seen and "found" not in seen, "the block itself is well"
    shell(host, mark)
    shell(host, "systemctl restart thanos-compactor")
    passes = "thanos_compact_iterations_total"
    wait_for("a pass", lambda: metric(site, "thanos-compactor", host, passes) > 0, 60)
    assert not halted(site) and blocks.overlaps(site) == ""
