"""When a gate opens, what it says while it does not, and how long it waits."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from prometheus_ha.deploys.lib import roles
from prometheus_ha.deploys.lib.engine import gates
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.rollout import Gate, Progress
from tests.unit.example_site import example_site


def answer(name: str, body: object = "", status: int = 200) -> list[str]:
    text = body if isinstance(body, str) else json.dumps(body)
    return [f"==[name]== {name}", text, f"==[status]== {status}"]


def refused(name: str) -> list[str]:
    return [f"==[name]== {name}", "curl: (7) Failed to connect", "==[status]== 000", "==[exit]== 7"]


@pytest.fixture
def site():
    return example_site(profile="drill")


def gate(site, kind, name):
    member = site.hosts[name]
    return kind(site, member, member)


def prometheus(scraped=10.0, up=1, ready=200, replay=(0, 9, 9)):
    page = (
        f'prometheus_target_interval_length_seconds_count{{interval="5s"}} {scraped}\n'
        'prometheus_target_interval_length_seconds_count{interval="5m"} 99\n'
        'prometheus_target_scrape_pool_targets{scrape_job="prometheus"} 2\n'
        'prometheus_target_scrape_pool_targets{scrape_job="node_exporter"} 3\n'
        'prometheus_target_scrape_pool_targets{scrape_job="of-the-user"} 500'
    )
    first, last, current = replay
    progress = {"status": "success", "data": {"min": first, "max": last, "current": current}}
    return [
        *answer("ready", status=ready),
        *answer("walreplay", progress),
        *answer("metrics", page, 200 if ready == 200 else 503),
        *answer("sidecar", f"thanos_sidecar_prometheus_up {up}"),
    ]


def test_prometheus_is_back_when_it_scraped_twice_and_its_sidecar_sees_it(site):
    judge = gate(site, roles.prometheus.gate, "prom-1").judge
    assert judge(prometheus()).ok
    assert not judge(prometheus(scraped=9)).ok
    assert "2 scrapes of each of 5 targets, every 5s: 9 of 10 done" in judge(prometheus(scraped=9)).says
    assert "sidecar" in judge(prometheus(up=0)).says and not judge(prometheus(up=0)).ok


def test_one_that_waits_for_its_turn_scrapes_at_the_interval_of_before(site):
    """Otherwise a new interval beside a new flag would let nobody begin."""
    page = (
        'prometheus_target_interval_length_seconds_count{interval="1m"} %d\n'
        'prometheus_target_scrape_pool_targets{scrape_job="prometheus"} 2'
    )
    lines = [
        *answer("ready"),
        *answer("metrics", page % 9),
        *answer("sidecar", "thanos_sidecar_prometheus_up 1"),
    ]
    own, other = (
        roles.prometheus.gate(site, site.hosts["prom-2"], site.hosts[asked_by]) for asked_by in ("prom-2", "prom-1")
    )
    assert not own.judge(lines).ok
    assert other.judge(lines).ok
    assert not other.judge([*answer("ready"), *answer("metrics", page % 3)]).ok


def test_an_upper_prometheus_is_back_when_it_scraped_itself(site):
    page = (
        'prometheus_target_interval_length_seconds_count{interval="5s"} %d\n'
        'prometheus_target_scrape_pool_targets{scrape_job="prometheus-upper"} 1\n'
        'prometheus_target_scrape_pool_targets{scrape_job="federate-main"} 2'
    )
    upper = gate(site, roles.upper.gate, "upper-1")
    assert "10.0.0.51:9090" in upper.script and "10902" not in upper.script
    assert upper.judge([*answer("ready"), *answer("metrics", page % 1)]).ok
    assert not upper.judge([*answer("ready"), *answer("metrics", page % 0)]).ok


def test_a_replaying_log_is_progress(site):
    judge = gate(site, roles.prometheus.gate, "prom-1").judge
    one, two = (judge(prometheus(ready=503, replay=(0, 9, n))) for n in (3, 4))
    assert not one.ok and one.measure != two.measure
    assert one.says == "write-ahead log replayed to segment 3 of 9"


def test_what_was_read_from_disk_is_progress_within_a_segment(site):
    judge = gate(site, roles.prometheus.gate, "prom-1").judge
    one, two, same = (
        judge([f"rchar {mebibytes << 20}", *prometheus(ready=503, replay=(0, 9, 3))]) for mebibytes in (100, 101, 101)
    )
    assert one.measure != two.measure == same.measure


def test_a_prometheus_that_does_not_answer_is_no_progress(site):
    judge = gate(site, roles.prometheus.gate, "prom-1").judge
    seen = judge([*refused("ready"), *refused("sidecar")])
    assert not seen.ok and seen.measure is None


def alertmanager(peers, status="ready", alive=("am-2", "am-3")):
    report = {
        "cluster": {
            "name": "am-1",
            "status": status,
            "peers": [{"name": n, "address": f"10.0.0.2{n[-1]}:9094"} for n in peers],
        },
        "config": {"original": ""},
        "versionInfo": {"version": "0.34.2"},
        "uptime": "2026-01-01T00:00:00Z",
    }
    lines = [
        *answer("ready", "OK"),
        *answer("status", report),
        *answer("alerts", []),
        *answer("metrics", "alertmanager_cluster_members 3"),
    ]
    for name in ("am-2", "am-3"):
        lines += answer(f"other {name}", "OK") if name in alive else refused(f"other {name}")
    return lines


def test_alertmanager_is_back_when_gossip_settled_with_every_living_peer(site):
    judge = gate(site, roles.alertmanager.gate, "am-1").judge
    assert judge(alertmanager(["am-1", "am-2", "am-3"])).ok
    assert not judge(alertmanager(["am-1", "am-2", "am-3"], status="settling")).ok
    missing = judge(alertmanager(["am-1", "am-2"]))
    assert not missing.ok and missing.says == "gossip without am-3"
    assert judge(alertmanager(["am-1", "am-2"], alive=("am-2",))).ok


def querier(stores, alive=("prom-1", "prom-2"), error=None):
    listed = [{"name": f"10.0.0.1{n[-1]}:10901", "lastError": error, "minTime": 0, "maxTime": 1} for n in stores]
    lines = [
        *answer("ready", "OK"),
        *answer("stores", {"status": "success", "data": {"sidecar": listed}}),
        *answer("metrics", ""),
    ]
    for name in ("prom-1", "prom-2"):
        store = f"store thanos-sidecar {name}"
        lines += answer(store, "OK") if name in alive else refused(store)
    return lines


def test_a_querier_is_back_when_it_lists_every_living_store(site):
    judge = gate(site, roles.querier.gate, "query-1").judge
    assert judge(querier(["prom-1", "prom-2"])).ok
    assert not judge(querier([])).ok
    assert judge(querier(["prom-1"])).says == "does not list thanos-sidecar on prom-2"
    assert not judge(querier(["prom-1", "prom-2"], error="connection refused")).ok
    assert judge(querier(["prom-1"], alive=("prom-1",))).ok


@pytest.mark.parametrize("setting", [None, "blocks.example:10905"])
def test_gateways_are_listed_by_themselves_or_in_a_group_whatever_is_wanted(setting):
    """One that waits for its turn has the list of before, and does its job by it."""
    site = example_site(storage=True, store_group=setting)
    judge = gate(site, roles.querier.gate, "query-1").judge

    def lines(*names):
        listed = [{"name": n, "lastError": None, "minTime": 0, "maxTime": 1} for n in names]
        return [
            *answer("ready", "OK"),
            *answer("stores", {"status": "success", "data": {"store": listed}}),
            *answer("metrics", ""),
            *(line for m in site.running("thanos-store") for line in answer(f"store thanos-store {m.name}", "OK")),
        ]

    each = [site.endpoint("thanos-store", m, "grpc").target for m in site.running("thanos-store")]
    assert judge(lines(*each)).ok
    assert judge(lines("thanos:///dns+blocks.example:10905")).ok
    assert not judge(lines()).ok


def test_loaded_is_a_reload_younger_than_the_stamp(site):
    judge = gates.loaded(site, site.hosts["prom-1"], "prometheus", "prometheus").judge

    def page(success, when):
        return [
            "1700000000.250000000",
            *answer(
                "metrics",
                f"prometheus_config_last_reload_successful {success}\n"
                f"prometheus_config_last_reload_success_timestamp_seconds {when}",
            ),
        ]

    assert judge(page(1, 1700000000.3)).ok
    assert not judge(page(1, 1700000000.1)).ok
    assert "refused" in judge(page(0, 1699990000)).says


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(rollout.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(rollout.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds


def polled(monkeypatch, seen):
    """A host and a gate that shows `seen`, one after another, the last one for ever."""
    said, left = [], list(seen)
    fake = SimpleNamespace(
        get_fact=lambda fact, **_: [],
        log=lambda text, **_: said.append(text),
        log_styled=lambda message, **kwargs: said.append(message),
    )
    judge = lambda lines: left.pop(0) if len(left) > 1 else left[0]  # noqa: E731
    return fake, said, Gate("", judge, patience=60)


def test_waiting_lasts_as_long_as_something_moves(monkeypatch):
    clock = Clock(monkeypatch)
    replay = [Progress(False, f"segment {n // 20}", n // 20) for n in range(500)]
    host, said, gate = polled(monkeypatch, [*replay, Progress(True, "ready", "ok")])
    assert rollout.wait(None, host, gate, "it works")
    assert clock.now > 900 and said[-1] == "it works: ready"


def test_waiting_ends_when_nothing_moves(monkeypatch):
    clock = Clock(monkeypatch)
    host, said, gate = polled(monkeypatch, [Progress(False, "stuck at segment 3", 3)])
    assert not rollout.wait(None, host, gate, "it works")
    assert 60 < clock.now < 60 + 2 * rollout.LONGEST_PAUSE
    assert said[-1] == "it works: no progress for 60 s: stuck at segment 3"


def test_no_answer_is_no_progress(monkeypatch):
    clock = Clock(monkeypatch)
    flapping = [Progress(False, "segment 3", 3), Progress(False, "no answer")] * 500
    host, _, gate = polled(monkeypatch, flapping)
    assert not rollout.wait(None, host, gate, "it works")
    assert 60 < clock.now < 60 + 2 * rollout.LONGEST_PAUSE


def test_an_answer_that_cannot_be_read_is_waited_over(monkeypatch, site):
    Clock(monkeypatch)
    host, said, _ = polled(monkeypatch, [Progress(True, "unused")])
    gate_ = gate(site, roles.alertmanager.gate, "am-1")  # the host answers with nothing at all
    assert not rollout.wait(None, host, gate_, "it works")
    assert "no answers in" in said[-1]


def test_nobody_is_taken_down_while_no_other_does_its_job(monkeypatch):
    Clock(monkeypatch)
    host, said, gate = polled(monkeypatch, [Progress(False, "not ready: refused")])
    assert not rollout._ask_others(None, host, [("prom-2", gate)])
    assert "not taken down" in said[-1] and "prom-2: not ready: refused" in said[-1]


def test_what_is_broken_everywhere_is_mended_where_it_is_this_ones_turn(monkeypatch):
    """Otherwise a change that breaks a whole tier could not be taken back: each would wait for the other."""
    clock = Clock(monkeypatch)
    host, said, broken = polled(monkeypatch, [Progress(False, "rules fail", "failing")])
    other = ("ring-2", broken)
    assert rollout._ask_others(None, host, [other], 1, broken)
    assert "nothing is lost" in said[-1] and clock.now < 30
    fine = Gate("", lambda lines: Progress(True, "ready", "ok"))
    assert not rollout._ask_others(None, host, [other], 1, fine)
    assert "not taken down" in said[-1]


def test_one_that_is_about_to_do_its_job_is_not_taken_for_broken(monkeypatch):
    Clock(monkeypatch)
    moving = [Progress(False, f"segment {n}", n) for n in range(200)]
    host, said, own = polled(monkeypatch, [*moving, Progress(True, "ready", "ok")])
    dead = Gate("", lambda lines: Progress(False, "no answer"))
    assert not rollout._ask_others(None, host, [("prom-2", dead)], 1, own)
    assert "not taken down" in said[-1]


def test_a_member_that_is_about_to_do_its_job_is_waited_for(monkeypatch):
    Clock(monkeypatch)
    moving = [Progress(False, f"segment {n}", n) for n in range(200)]
    host, _, gate = polled(monkeypatch, [*moving, Progress(True, "ready", "ok")])
    dead = Gate("", lambda lines: Progress(False, "no answer"))
    assert rollout._ask_others(None, host, [("prom-2", dead), ("prom-3", gate)])


def test_once_nobody_is_about_to_waiting_is_in_vain(monkeypatch):
    """One that was about to does its job, and the other one is down: that one does not replay."""
    clock = Clock(monkeypatch)
    moving = [Progress(False, f"segment {n}", n) for n in range(100)]
    host, said, gate = polled(monkeypatch, [*moving, Progress(True, "ready", "ok")])
    replayed, ready = [], gate.judge

    def judge(lines):
        progress = ready(lines)
        if progress.ok and not replayed:
            replayed.append(clock.now)
        return progress

    dead = Gate("", lambda lines: Progress(False, "no answer"))
    assert not rollout._ask_others(None, host, [("prom-2", dead), ("prom-3", Gate("", judge))], 2)
    assert "not taken down" in said[-1] and "prom-2: no answer" in said[-1]
    assert abs(clock.now - replayed[0] - rollout.STANDSTILL) <= 2 * rollout.LONGEST_PAUSE
