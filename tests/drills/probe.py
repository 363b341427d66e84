"""Somebody who never stops asking: whether the site served every query, and who was down when."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import chain, pairwise
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlencode

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import REPLICA_LABEL
from tests.drills.site import HTTP_SECONDS, client, fetch, interval, query, value

T = TypeVar("T")

PERIOD = 0.2
"""Seconds between two rounds of questions."""
TIERS = ("prometheus", "alertmanager", "thanos-querier")
QUERY = urlencode({"query": 'count(up{job="node_exporter"})'})
UNSERVED = (OSError, HTTPException, ValueError, LookupError, AssertionError)
"""What it is to be refused: no connection, half an answer, another one."""


@dataclass
class Round:
    """What was asked at one moment: querier -> its value (None where it refused), and who was not ready.

    Where one refuses, the other is asked, as a client with two addresses does it.
    """

    at: float
    values: dict[str, float | None] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    down: set[tuple[str, str]] = field(default_factory=set)

    @property
    def served(self) -> bool:
        """Did any querier answer, with data?"""
        return any(number is not None for number in self.values.values())


class Probe:
    """Asks the queriers the same question, and every member whether it is ready, five times a second.

    with Probe(site) as probe: ...

    `before` is the site as its members speak until their turn, where that is another scheme; `tiers` are the components
    that are asked whether they are ready; `patience` is how many seconds an answer to a query may take.
    """

    def __init__(
        self,
        site: Site,
        before: Site | None = None,
        tiers: tuple[str, ...] = TIERS,
        patience: float = HTTP_SECONDS,
    ) -> None:
        self.site = site
        self.before = before
        self.tiers = tiers
        self.patience = patience
        self.rounds: list[Round] = []
        self.began = self.ended = 0.0
        self._spoken: dict[tuple[str, str], Site] = {}
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(64)
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        client()  # found out once, and not by every thread of the first rounds
        self.began = time.time()
        self._clock.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._clock.join()
        self._pool.shutdown(wait=True)
        self.ended = time.time()

    def _tick(self) -> None:
        due, queriers = time.monotonic(), self.site.running("thanos-querier")
        while not self._stop.is_set():
            round_ = Round(time.time())
            self.rounds.append(round_)
            # Now the one first, now the other.
            queriers = [*queriers[1:], *queriers[:1]]
            self._pool.submit(self._query, round_, queriers)
            for tier in self.tiers:
                for member in self.site.running(tier):
                    self._pool.submit(self._ready, round_, tier, member)
            due += PERIOD
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _query(self, round_: Round, queriers: list[Member]) -> None:
        for querier in queriers:
            try:
                answer = self._speaking(
                    "thanos-querier",
                    querier,
                    lambda url: json.loads(fetch(f"{url}/api/v1/query?{QUERY}", self.patience)),
                )
                round_.values[querier.name] = value(answer["data"])
                if warnings := answer.get("warnings"):
                    round_.warnings[querier.name] = warnings
                if answer["data"]["result"]:
                    return
                round_.errors[querier.name] = "an empty answer"
            except UNSERVED as error:
                round_.values[querier.name] = None
                round_.errors[querier.name] = str(error)

    def _ready(self, round_: Round, tier: str, member: Member) -> None:
        path = DAEMONS[tier].ready_path
        try:
            self._speaking(tier, member, lambda url: fetch(url + path))
        except UNSERVED:
            round_.down.add((member.name, tier))

    def _speaking(self, tier: str, member: Member, work: Callable[[str], T]) -> T:
        """`work` with the URL of a member, in the scheme that it speaks now: the last one first."""
        spoken = self._spoken.get((tier, member.name), self.site)
        other = self.before if spoken is self.site else self.site

        def url(site: Site) -> str:
            return site.endpoint(tier, site.hosts[member.name]).url

        try:
            return work(url(spoken))
        except (ssl.SSLError, AssertionError):
            if other is None:
                raise
        done = work(url(other))
        self._spoken[tier, member.name] = other
        return done

    def refused(self) -> list[Round]:
        """The queries that no querier served."""
        return [round_ for round_ in self.rounds if not round_.served]

    def down_together(self) -> list[tuple[str, ...]]:
        """Members of one tier that were seen down at the same moment."""
        found = set()
        for round_ in self.rounds:
            for tier in self.tiers:
                names = tuple(sorted(host for host, down in round_.down if down == tier))
                if len(names) > 1:
                    found.add((tier, *names))
        return sorted(found)

    def went_down(self) -> set[tuple[str, str]]:
        """Host and component of everything that was seen down."""
        return {member for round_ in self.rounds for member in round_.down}

    def _stamps(self, dedup: bool) -> dict[str, dict[str, list[float]]]:
        """Host -> replica ("" where they are deduplicated) -> when it was scraped, while the probe asked."""
        window = round(self.ended - self.began + 2 * interval(self.site))
        selector = f'up{{job="node_exporter"}}[{window}s]'
        answer = query(self.site, selector, dedup, time=self.ended)
        found: dict[str, dict[str, list[float]]] = {}
        for series in answer["result"]:
            labels = series["metric"]
            stamps = [when for when, _ in series["values"]]
            found.setdefault(labels["host"], {})[labels.get(REPLICA_LABEL, "")] = stamps
        assert found.keys() == self.site.hosts.keys(), f"{sorted(found)}: {answer['warnings']}"
        counted = sum(map(len, found.values()))
        assert len(answer["result"]) == counted, f"two series of one host: {answer['result']}"
        return found

    def _longest(self, stamps: list[float]) -> float:
        """The longest time without one of them, while the probe asked."""
        edges = [min(self.began, stamps[0]), *stamps, max(self.ended, stamps[-1])]
        return max(later - earlier for earlier, later in pairwise(edges))

    def assert_no_gap(self) -> None:
        """No gap in a deduplicated series over four and a half scrape intervals, none between all replicas' scrapes.

        A querier leaves a replica after twice its last step, and then waits for the other's next sample: three
        intervals where every scrape is on time. On a busy machine a step is longer, up to an interval that was missed.
        """
        usual = interval(self.site)
        once = self._stamps(dedup=True)
        for host, replicas in self._stamps(dedup=False).items():
            every = [stamps for stamps in replicas.values() if stamps]
            blind = self._longest(sorted(chain.from_iterable(every)))
            assert blind <= 4 * usual, f"{host} was scraped by nobody for {blind:.1f} s"
            steps = [later - earlier for stamps in every for earlier, later in pairwise(stamps)]
            step = max([usual, *(step for step in steps if step <= 2.1 * usual)])
            gap = self._longest(once[host][""])
            assert gap <= 4.5 * step, (
                f"{host}: a gap of {gap:.1f} s, with steps of {step:.1f} s in what each replica has"
            )

    def assert_never_blind(self) -> None:
        """No query refused, and no gap."""
        refused = self.refused()
        assert not refused, f"{len(refused)} of {len(self.rounds)} queries refused, the first: {refused[0]}"
        self.assert_no_gap()


def until(probe: Probe, holds: Callable[[Round], bool]) -> bool:
    """Whether some finished round of the probe holds."""
    return any(holds(round_) for round_ in list(probe.rounds))
