"""Rulers that are one to those they alert, and a hashring that has every sample though a member was away."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from prometheus_ha.deploys.lib.daemons.thanos import RECEIVE_HASHRINGS, RULE_DATA
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles import receive as receive_role
from prometheus_ha.deploys.lib.site import derived, relations
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from tests.drills import blocks
from tests.drills.probe import Probe
from tests.drills.site import (
    alerts,
    get,
    interval,
    lab,
    live_files,
    metric,
    moved,
    notifications,
    query,
    rules,
    run_site,
    shell,
    stopped,
    units,
    wait_for,
)
from tests.lab import plan

pytestmark = pytest.mark.usefixtures("restored")

RULE, RECEIVE = "thanos-rule", "thanos-receive"
RULE_LABEL, RECEIVE_LABEL = (relations.REPLICA_LABELS[name] for name in (RULE, RECEIVE))
SENT = "node_load1"
"""The series that the lab's Prometheus write to the ring."""
RINGED = f'{RECEIVE_LABEL}!=""'
DOWN = "upper-1"
"""A host whose node_exporter is stopped, for an alert to fire."""
AWAY = 25.0
"""Seconds that a receiver is unplugged: five scrapes, and longer than a forwarded write waits."""
PATIENCE = 12.0
"""Seconds that a query may take: more than the 7 after which the kernel gives up a host that has vanished, and fewer
than the 20 after which gRPC would."""


def _rules_of(site: Site, member: Member) -> dict[str, str]:
    """The rules that a ruler has loaded, and their health."""
    groups = get(f"{site.endpoint(RULE, member).url}/api/v1/rules")["data"]["groups"]
    return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


def _deploy_rules(*entries: dict[str, Any], name: str = "drill") -> None:
    run = run_site("--limit", "rule", data={"rule_rules": rules(name, *entries)})
    assert run.status == 0, str(run)


# --- Rulers ---------------------------------------------------------------------------------------


def test_two_rulers_are_one_notification(site: Site) -> None:
    both, one = (f"Drill{time.time_ns()}{which}" for which in ("Both", "One"))
    first, members = site.running(RULE)[0], site.running("alertmanager")
    timing = first.settings.timing
    quiet = seconds(timing.group_interval) + len(members) * seconds(timing.peer_timeout) + 2
    # The second fires where one ruler is left to see it. Not rules that change: between the turns of two rulers they
    # would not agree, as two Prometheus would not.
    _deploy_rules(
        {"alert": both, "expr": f'up{{job="node_exporter",host="{DOWN}"}} == 0'},
        {"alert": one, "expr": f'up{{instance="{site.endpoint(RULE, first).target}"}} == 0'},
    )
    with stopped(DOWN, "node_exporter"):
        for member in members:
            found = wait_for(f"the alert on {member.name}", lambda member=member: alerts(site, member, both), 60)
            assert len(found) == 1, f"{member.name}: {found}"
            labels = set(found[0]["labels"])
            assert not {RULE_LABEL, REPLICA_LABEL} & labels, f"{member.name}: {found}"
        wait_for("the notification", lambda: notifications(both))
        time.sleep(quiet)
        assert notifications(both) == {"firing": 1}
        with stopped(first.name, RULE):
            wait_for("the notification of one ruler", lambda: notifications(one), 60)
            time.sleep(quiet)
            assert notifications(both) == notifications(one) == {"firing": 1}
        wait_for("the notification of its end", lambda: notifications(one)["resolved"], 60)
    wait_for("the notification of the end", lambda: notifications(both)["resolved"], 60)
    time.sleep(quiet)
    assert notifications(both) == notifications(one) == {"firing": 1, "resolved": 1}


def test_a_new_rule_is_a_reload_of_the_rulers_and_an_invalid_one_nothing(site: Site) -> None:
    before, members = units(), site.running(RULE)
    stamp = "thanos_rule_config_last_reload_success_timestamp_seconds"
    loaded = {m.name: metric(site, RULE, m.name, stamp) for m in members}
    run = run_site(data={"rule_rules": rules("drill", {"record": "drill:a", "expr": "sum(up)"})})
    assert run.status == 0, str(run)
    assert moved(before) == set()
    for member in members:
        assert list(_rules_of(site, member)) == ["drill:a"]
        assert metric(site, RULE, member.name, stamp) > loaded[member.name]
    files = live_files()
    run = run_site(data={"rule_rules": rules("drill", {"record": "drill:b", "expr": "sum(up"})})
    assert run.status == 1 and "drill:b" in run.log, str(run)
    assert moved(before) == set() and live_files() == files
    for member in members:
        assert list(_rules_of(site, member)) == ["drill:a"]


def test_rulers_are_not_blind_while_a_replica_is_away(site: Site) -> None:
    rule = {"expr": 'count(up{job="node_exporter"})'}
    groups = [
        {"name": "lenient", "rules": [{"record": "drill:lenient", **rule}]},
        {
            "name": "strict",
            "partial_response_strategy": "abort",  # upstream's default
            "rules": [{"record": "drill:strict", **rule}],
        },
    ]
    run = run_site("--limit", "rule", data={"rule_rules": {"drill.yml": {"groups": groups}}})
    assert run.status == 0, str(run)
    with stopped("prom-1", "prometheus"):
        for member in site.running(RULE):
            wait_for(
                "the strict rule to fail",
                lambda member=member: _rules_of(site, member)["drill:strict"] == "err",
                60,
            )
            wait_for(
                "the lenient rule to be evaluated",
                lambda member=member: _rules_of(site, member)["drill:lenient"] == "ok",
            )


def test_a_stateless_ruler_writes_to_the_ring(site: Site) -> None:
    data = {
        "rule_rules": rules("drill", {"record": "drill:hosts", "expr": "count(node_load1) by (x)"}),
        "rule_remote_write": [{"url": plan.RING_URL}],
    }
    recorded = f'drill:hosts{{{RULE_LABEL}!=""}}'
    run = run_site(data=data)
    assert run.status == 0, str(run)
    members = site.running(RULE)

    def arrived() -> bool:
        found = query(site, recorded, dedup=False)
        assert not found["warnings"], found
        assert {(s["metric"][RULE_LABEL], s["metric"][RECEIVE_LABEL]) for s in found["result"]} == {
            (derived.replica_of(ruler), derived.replica_of(receiver))
            for ruler in members
            for receiver in site.running(RECEIVE)
        }
        (once,) = query(site, "drill:hosts")["result"]
        assert not {RULE_LABEL, RECEIVE_LABEL} & set(once["metric"])
        return True

    wait_for("what both rulers record", arrived, 60)
    again = run_site(data=data)
    assert again.status == 0 and not again.changed, str(again)


def _gateways(site: Site) -> dict[str, Any]:
    """Query parameters by which the store gateways are asked alone."""
    targets = [site.endpoint("thanos-store", m, "grpc").target for m in site.running("thanos-store")]
    return {"storeMatch[]": [f'{{__address__="{target}"}}' for target in targets]}


def test_what_a_ruler_keeps_is_uploaded_and_read_back(site: Site) -> None:
    ruler, source = site.running(RULE)[0], site.running("prometheus")[1].name
    start = blocks.days_ago(6)
    path = blocks.make(source, blocks.exposition(start, blocks.BLOCK, only_gauges=True))
    ulids = blocks.move(source, path, ruler.name, RULE_DATA)
    names = " ".join(f"{RULE_DATA}/{ulid}" for ulid in ulids)
    shell(ruler.name, f"chown -R {topology.USER}: {names}")
    own = {RULE_LABEL: derived.replica_of(ruler)}
    end = start + blocks.BLOCK - blocks.STEP
    wanted = {labels | frozenset(own.items()): values for labels, values in blocks.expected(start, end).items()}
    try:

        def read_back() -> bool:
            found, warnings = blocks.ranged(
                *(site, "thanos-querier", "seeded_gauge", start, end),
                dedup="false",
                **_gateways(site),
            )
            assert not warnings and found == wanted, (warnings, list(found))
            return True

        wait_for("the block of the ruler from the bucket", read_back, 90)
    finally:
        shell(ruler.name, f"rm -rf {names}")
        blocks.clear(site)


# --- The hashring ---------------------------------------------------------------------------------


def _labels(replica: Member) -> dict[str, str]:
    return {CLUSTER_LABEL: replica.settings.cluster, REPLICA_LABEL: str(replica.settings.replica)}


def _samples(
    site: Site,
    replica: Member,
    at: float,
    window: float,
    dedup: bool,
    of: str = RINGED,
    **parameters: Any,
) -> dict[frozenset, list[list[Any]]]:
    """What the ring (or `of` it) has of a sender, by the labels of the series; as the first querier answers."""
    selector = ",".join([of, *(f'{k}="{v}"' for k, v in _labels(replica).items())])
    url = f"{site.endpoint('thanos-querier', site.running('thanos-querier')[0]).url}/api/v1/query"
    answer = get(
        url,
        **{
            "query": f"{SENT}{{{selector}}}[{round(window * 1000)}ms]",
            "time": at,
            "dedup": str(dedup).lower(),
            "replicaLabels[]": RECEIVE_LABEL,
            **parameters,
        },
    )
    assert not answer.get("warnings"), answer["warnings"]
    found: dict[frozenset, list[list[Any]]] = {}
    for series in answer["data"]["result"]:
        kept = {k: v for k, v in series["metric"].items() if k not in (RECEIVE_LABEL, "tenant_id")}
        found.setdefault(frozenset(kept.items()), []).extend(series["values"])
    return found


def _up_to_date(site: Site) -> bool:
    now = time.time()
    for replica in site.running("prometheus"):
        there = _samples(site, replica, now, 60, dedup=False)
        assert len(there) == len(site.hosts), f"{replica.name}: {len(there)} series"
        oldest = min(max(at for at, _ in values) for values in there.values())
        assert oldest > now - 3 * interval(site), f"{replica.name}: {now - oldest:.0f} s behind"
    return True


def _whole(site: Site, since: float, until: float, away: str = "") -> bool:
    """The ring has every sample that a sender has of this time, and deduplicated no gap. The senders have some of each
    host, but for one that was `away`."""
    window = until - since
    for replica in site.running("prometheus"):
        own = query(
            site,
            f"{SENT}[{round(window * 1000)}ms]",
            member=replica,
            component="prometheus",
            time=until,
        )["result"]
        every = _samples(site, replica, until, window, dedup=False)
        once = _samples(site, replica, until, window, dedup=True)
        assert len(own) == len(site.hosts), "the premise"
        for series in own:
            labels = frozenset({**series["metric"], **_labels(replica)}.items())
            wanted = [tuple(one) for one in series["values"]]
            if series["metric"]["host"] != away:
                assert len(wanted) > window / interval(site) / 2, "the premise"
            found = {tuple(one) for one in every[labels]}
            assert found == set(wanted), f"{replica.name}: {dict(labels)}: {set(wanted) ^ found}"
            # It changes over from one copy to another with a sample in between left out, at most.
            times = [float(at) for at, _ in once[labels]]
            step = 1.5 * interval(site)
            gaps = [at for at, _ in wanted if not any(abs(at - other) <= step for other in times)]
            assert not gaps, f"{replica.name}: {dict(labels)}: {gaps}"
    return True


def _until_now(site: Site, began: float) -> tuple[float, float]:
    """From two scrapes before it `began` to two after it is over (which may be within one), once the ring has them."""
    over = time.time()
    wait_for("the ring to be up to date", lambda: _up_to_date(site), 120)
    wait_for("two scrapes after it", lambda: time.time() > over + 4 * interval(site), 60)
    return began - 2 * interval(site), time.time() - 2 * interval(site)


@pytest.fixture
def well(site: Site) -> None:
    wait_for("the ring to be up to date", lambda: _up_to_date(site), 60)


# The one that the senders write to, and one that it passes on to.
@pytest.mark.parametrize("away", [plan.RING, pytest.param("ring-2", marks=pytest.mark.long)])
@pytest.mark.usefixtures("well")
def test_a_receiver_that_was_away_costs_no_sample(site: Site, away: str) -> None:
    began = time.time()
    lab("unplug", away)
    try:
        # It is a store of each querier, too, and both would wait for it. The last answers come while it is still away.
        with Probe(site, tiers=(), patience=PATIENCE) as probe:
            time.sleep(AWAY - PATIENCE)
        time.sleep(max(0.0, began + AWAY - time.time()))
    finally:
        lab("plug", away)
    late = [round_ for round_ in probe.rounds if round_.errors]
    assert not late, f"{len(late)} of {len(probe.rounds)} queries, the first: {late[0]}"
    since, until = _until_now(site, began)
    if away != plan.RING:  # it was passed by
        own = f'{RECEIVE_LABEL}="{derived.replica_of(site.hosts[away])}"'
        for replica in site.running("prometheus"):
            there = _samples(site, replica, until, until - since, False, own)
            counts = {len(values) for values in there.values()}
            assert max(counts) < (until - since - AWAY / 2) / interval(site), "the premise"
    wait_for("the backlog", lambda: _whole(site, since, until, away), 90, pause=1)


@pytest.mark.usefixtures("well", "put_back")
def test_receivers_restart_one_by_one_and_no_sample_is_lost(site: Site) -> None:
    before, began = units(), time.time()
    run = run_site("--limit", "receive", data={"receive_retention": "16d"})
    assert run.status == 0, str(run)
    assert moved(before) == {(m.name, RECEIVE) for m in site.running(RECEIVE)}
    since, until = _until_now(site, began)
    wait_for("the backlog", lambda: _whole(site, since, until), 90, pause=1)

    def read_back() -> bool:
        """What each of them held when it ended is in the bucket."""
        for replica in site.running("prometheus"):
            for receiver in site.running(RECEIVE):
                own = f'{RECEIVE_LABEL}="{derived.replica_of(receiver)}"'
                # The newest may still have been on their way, and came once it was back.
                at = began - 2 * interval(site)
                asked = (site, replica, at, 4 * interval(site), False, own)
                held = _samples(*asked)
                assert len(held) == len(site.hosts), "the premise"
                assert _samples(*asked, **_gateways(site)) == held, receiver.name
        return True

    wait_for("it from the bucket", read_back, 60)


def test_no_receiver_goes_down_that_writes_need(site: Site) -> None:
    with stopped("ring-2", RECEIVE):
        before = units(["ring-1", "ring-3"])
        run = run_site("--limit", "ring-1", data={"receive_retention": "16d"})
        assert run.status == 1 and "not taken down" in run.log, str(run)
        assert "ring-2" in run.log, str(run)
        assert moved(before) == set()


def test_a_changed_ring_is_loaded_by_itself(site: Site) -> None:
    host = "ring-3"
    before, hashes = units([host]), []
    refresh = seconds(site.hosts[host].settings.timing.endpoint_reload)
    (ring,) = json.loads(receive_role.hashrings_json(site))

    def loaded() -> float:
        return metric(site, RECEIVE, host, "thanos_receive_config_hash")

    # Twice: upstream's watch of a file ends with the first rename over it.
    for turn in (1, 2):
        hashes.append(loaded())
        ring["endpoints"] = [*ring["endpoints"][1:], ring["endpoints"][0]]
        file = RECEIVE_HASHRINGS
        shell(
            host,
            f"cat >{file}.new <<'E'\n{json.dumps([ring])}\nE\nchmod --reference={file} "
            f"{file}.new; chown --reference={file} {file}.new; mv -f {file}.new {file}",
        )
        wait_for(f"change {turn} to be loaded", lambda: loaded() not in hashes, refresh + 10)
    run = run_site("--limit", host)
    assert run.status == 0, str(run)
    wait_for("the inventory's ring to be loaded", lambda: loaded() == hashes[0], refresh + 10)
    assert moved(before) == set()
