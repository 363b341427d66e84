"""What each layer of the query path adds: the same range queries at a Prometheus, a querier and a frontend, in turns.

    make bench

Then once more with the blocks gone from the local disks, so that the store gateways read them from the bucket. Every
round asks in words that were never asked before; the frontend is asked twice, and answers the second time from its
cache.
"""

from __future__ import annotations

import statistics
import time

from prometheus_ha.deploys.lib.site.members import Site
from tests.drills import blocks, site
from tests.drills.blocks import HOUR, STEP, Seeded

HOURS = 12
AGO = 3
"""Days: the queries are about the past, in which nothing changes."""
ROUNDS = 40
WINDOW = 2 * HOUR
"""Seconds after the start of what was seeded, in which the first query has something to look back to."""

QUERIES = (
    'seeded_gauge{{n!="{word}"}}',
    'sum by (code) (rate(seeded_requests_total{{n!="{word}"}}[10m]))',
    'histogram_quantile(0.9, sum by (le) (rate(seeded_seconds_bucket{{n!="{word}"}}[10m])))',
)

LAYERS = (
    ("Prometheus", "prometheus"),
    ("querier, deduplicating", "thanos-querier"),
    ("frontend, cold", "thanos-query-frontend"),
    ("frontend, cached", "thanos-query-frontend"),
)

BLOCKS = "thanos_bucket_store_series_blocks_queried_sum"
FETCHED = "thanos_bucket_store_series_data_size_fetched_bytes_sum"


def asked(where: Site, seeded: Seeded, component: str, expression: str) -> float:
    """Seconds until a layer has answered about all that was seeded."""
    began = time.perf_counter()
    found, warnings = blocks.ranged(where, component, expression, seeded.start + WINDOW, seeded.end - STEP)
    taken = time.perf_counter() - began
    assert found and not warnings, f"{component}: {expression}: {warnings}"
    return taken


def rounds(where: Site, seeded: Seeded, layers: tuple[tuple[str, str], ...], what: str) -> dict[str, list[float]]:
    """Layer -> seconds of each query. The order of the layers turns with every round, but cold goes before cached."""
    taken: dict[str, list[float]] = {name: [] for name, _ in layers}
    for number in range(ROUNDS):
        for expression in QUERIES:
            words = expression.format(word=f"{what}-{number}")
            turned = [layers[(number + i) % len(layers)] for i in range(len(layers))]
            for name, component in sorted(turned, key=lambda layer: layer[0].endswith("cached")):
                taken[name].append(asked(where, seeded, component, words))
    return taken


def table(taken: dict[str, list[float]]) -> None:
    base = None
    for name, seconds in taken.items():
        cuts = statistics.quantiles(seconds, n=100)
        p50, p99 = 1000 * cuts[49], 1000 * cuts[98]
        base = base or p50
        print(f"  {name:24} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   p50 ratio {p50 / base:5.2f}")


def main() -> None:
    where = site.load()
    replicas = len(where.running("prometheus"))
    with blocks.seeded(where, AGO, HOURS) as seeded:
        hours = (seeded.end - seeded.start - WINDOW) // HOUR
        print(
            f"{len(QUERIES)} range queries of {hours} hours in steps of {STEP} s, {ROUNDS} rounds, in turns; "
            f"{replicas} replicas"
        )
        print("with the blocks on the disks of the replicas and in the bucket")
        table(rounds(where, seeded, LAYERS, "local"))
        seeded.forget(where)
        print("with the blocks in the bucket alone")
        before = {name: blocks.total(where, "thanos-store", name) for name in (BLOCKS, FETCHED)}
        began = time.perf_counter()
        table(rounds(where, seeded, LAYERS[1:], "bucket"))
        took = time.perf_counter() - began
        read = {name: blocks.total(where, "thanos-store", name) - before[name] for name in before}
        print(
            f"  store gateways           {read[BLOCKS] / took:7.1f} blocks a second, "
            f"{read[FETCHED] / took / 1024:.0f} KiB a second from the bucket or its caches"
        )


if __name__ == "__main__":
    main()
