"""Who stands in for whom, who waits for whom, and who is restarted together: runs on recorded hosts."""

from __future__ import annotations

import subprocess
import time
from copy import deepcopy
from dataclasses import replace

import pytest

from prometheus_ha.deploys.lib import roles
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.engine.ask import AT_ONCE, at_once, script, side_by_side
from prometheus_ha.deploys.lib.run import plan, rollout
from prometheus_ha.deploys.lib.site.live import ARGV, Live
from prometheus_ha.facts.http import Call
from prometheus_ha.facts.reports.look import Process, State, sections
from tests.unit import recorded
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK, run_site
from tests.unit.simulated import Host

TWO_CLUSTERS = """
def host(number, **data):
    return {"ssh_hostname": f"10.1.0.{number}", **data}

prometheus = [
    ("one-1", host(11, replica="a")), ("one-2", host(12, replica="b")),
    ("two-1", host(13, replica="a", cluster="two")), ("two-2", host(14, replica="b", cluster="two")),
]
alertmanager = [("am-1", host(21)), ("am-2", host(22)), ("am-3", host(23))]
"""
PAIR = """
def host(number, **data):
    return {"ssh_hostname": f"10.1.0.{number}", **data}

prometheus = [("prom-1", host(11, replica="a")), ("prom-2", host(12, replica="b"))]
"""
RING = """
def host(number, **data):
    return {"ssh_hostname": f"10.1.0.{number}", **data}

seaweedfs = [("s3-1", host(41))]
store = [("store-1", host(42)), ("store-2", host(43))]
receive = [("ring-1", host(61)), ("ring-2", host(62)), ("ring-3", host(63))]
compactor = [("store-1", {})]
querier = [("query-1", host(31))]
"""


PARTS = ("admin", "thanos-store", "thanos-compactor", "thanos-receive")
KEYS = f"""
bucket_keys = {{
    name: {{"access_key": f"secret:env:KEY_{{n}}", "secret_key": "secret:env:S3_KEY"}}
    for n, name in enumerate({PARTS})
}}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    return lambda *arguments, **options: run_site(tmp_path, monkeypatch, *arguments, **options)


def restarted(done, unit: str) -> list[str]:
    """The hosts on which a unit was started or restarted."""
    return sorted(
        name
        for name, scripts in done.commands.items()
        if any(f"systemctl restart {unit}" in script for script in scripts)
    )


# --- Who stands in --------------------------------------------------------------------------------


def test_the_replica_of_another_cluster_stands_in_for_nobody(run):
    """`two-2` is sick: the only other replica of its cluster is not taken down, whatever cluster one does."""
    hosts, asked = recorded.stands(TWO_CLUSTERS), []

    def works(name: str) -> bool:
        asked.append(name)
        return name != "two-2"

    done = run(
        hosts=hosts,
        inventory=TWO_CLUSTERS,
        works=works,
        data="prometheus_flags = {'query.max-concurrency': 21}\n",
    )
    assert done.rc == 1
    assert restarted(done, "prometheus") == ["one-1", "one-2"]
    assert "no other member of its tier does its job (two-2: as recorded)" in done.output
    assert asked == ["one-2", "one-1", "two-2"], "each one is asked once, and no other"


def test_who_serves_what_another_store_serves():
    member = example_site(storage=True).hosts["block-1"]

    def store(**data):
        return replace(member, settings=member.settings.model_copy(update=data))

    whole, young = store(), store(store_min_time="-2w")
    dated = store(store_min_time="2001-01-01T00:00:00Z")
    some = store(store_flags={"selector.relabel-config": "- action: keep"})
    assert roles.store.serves(whole, young) and roles.store.serves(
        young, store(**young.settings.model_dump(include={"store_min_time"}))
    )
    assert not roles.store.serves(young, whole)
    assert roles.store.serves(dated, young) and not roles.store.serves(young, dated)
    assert not roles.store.serves(some, whole) and not roles.store.serves(whole, some)
    old = store(store_max_time="-2w")
    assert not roles.store.serves(old, young) and not roles.store.serves(young, old)


# --- Who waits for whom ---------------------------------------------------------------------------


def test_the_ring_does_not_start_beside_an_object_store_that_failed(run, monkeypatch):
    for number, name in enumerate(PARTS):
        monkeypatch.setenv(f"KEY_{number}", name)
    done = run(
        inventory=RING,
        data=KEYS,
        fail=lambda host, script: host == "s3-1" and "systemctl restart seaweedfs" in script,
    )
    assert done.rc == 1 and restarted(done, "seaweedfs") == ["s3-1"], done.output
    for unit in ("thanos-receive", "thanos-store", "thanos-compactor"):
        assert restarted(done, unit) == [], unit


def test_what_a_role_needs_is_a_role_and_its_group_exists():
    with pytest.raises(TypeError, match="'objectstore', which is no role"):
        replace(roles.receive.RECEIVE, needs=("objectstore",))
    with pytest.raises(TypeError, match="'objectstore' is no group"):
        replace(roles.receive.RECEIVE, group="objectstore")
    with pytest.raises(KeyError):
        example_site().members("objectstore")


# --- One first ------------------------------------------------------------------------------------


def test_a_daemon_that_nobody_waits_for_goes_to_one_host_first(run):
    hosts = recorded.stands()
    new = "node_exporter_flags = {'web.disable-exporter-metrics': True}\n"
    turns = []

    def wait(state, host, gate, purpose):
        if purpose == "node_exporter does its job":
            turns.append((host.name, sorted(restarted_now(hosts, "web.disable-exporter-metrics"))))
        return True

    done = run(hosts=hosts, data=new, wait=wait, deploy="node_exporter")
    assert done.rc == 0, done.output
    assert turns[0] == ("prom-1", ["prom-1"]), "the others wait for the first one"
    assert restarted_now(hosts, "web.disable-exporter-metrics") == set(hosts)


def test_a_release_that_does_not_start_is_met_on_one_host(run):
    hosts = recorded.stands()
    new = "node_exporter_flags = {'web.disable-exporter-metrics': True}\n"
    # The first host has it already: of the others, the next one is the first.
    first = run("--limit", "prom-1", hosts=hosts, data=new, deploy="node_exporter")
    assert first.rc == 0, first.output
    done = run(
        hosts=hosts,
        data=new,
        dead=("prom-2",),
        wait=lambda state, host, gate, purpose: purpose != "node_exporter does its job",
        deploy="node_exporter",
    )
    assert done.rc == 1
    assert restarted_now(hosts, "web.disable-exporter-metrics") == {"prom-1", "am-1"}
    assert "node_exporter keeps what it runs: am-1, which went first, failed" in done.output


def restarted_now(hosts: dict[str, Host], flag: str) -> set[str]:
    """The hosts whose node_exporter runs with a flag."""
    return {
        name for name, host in hosts.items() if any(flag in word for word in host.state.processes["node_exporter"].argv)
    }


# --- All together ---------------------------------------------------------------------------------


def labelled(hosts: dict[str, Host], label: str) -> None:
    """The Alertmanagers gossip under a label, as those of an earlier version of this package do."""
    for name in ("am-1", "am-2", "am-3"):
        run_with, process = f"--cluster.label={label}", hosts[name].state.processes["alertmanager"]
        argv = tuple(run_with if "cluster.label" in word else word for word in process.argv)
        hosts[name].state.processes["alertmanager"] = replace(process, argv=argv)
        unit = "/etc/systemd/system/alertmanager.service"
        hosts[name].contents[unit] = hosts[name].contents[unit].replace("--cluster.label=monitoring", run_with)


def label(host: Host) -> str:
    [word] = [w for w in host.state.processes["alertmanager"].argv if "cluster.label" in w]
    return word.partition("=")[2]


def test_a_label_that_the_living_members_have_is_kept(run):
    """Also by one that comes to them, and whatever becomes of the external label."""
    hosts = recorded.stands()
    labelled(hosts, "old")
    del hosts["am-2"].state.processes["alertmanager"]
    done = run(hosts=hosts, data="cluster = 'prod'\n")
    assert done.rc == 0, done.output
    assert [label(hosts[f"am-{n}"]) for n in (1, 2, 3)] == ["old"] * 3
    assert "alertmanager: all members in one step" not in done.said[True].busy
    said = done.said[True].lines["prometheus: stage and check"]
    assert any("external label cluster 'main' becomes 'prod'" in line for line in said["prom-2"])


def test_another_label_restarts_all_members_in_one_step(run):
    hosts, new = recorded.stands(), "alertmanager_cluster_label = 'new'\n"
    refused = run("--limit", "am-1", hosts=hosts, data=new)
    assert refused.rc == 1
    assert "am-2, am-3 is not in this run" in refused.output
    assert label(hosts["am-1"]) == "monitoring"

    plan = run("--dry", hosts=hosts, data=new, yes=False)
    said = "gossip label monitoring becomes new: all members restart in one step"
    assert said in plan.output
    done = run(hosts=hosts, data=new, works=lambda name: False)
    assert done.rc == 0, done.output
    assert [label(hosts[f"am-{n}"]) for n in (1, 2, 3)] == ["new"] * 3
    together = done.said[True].busy["alertmanager: all members in one step"]
    assert together == {"am-1", "am-2", "am-3"}
    again = run(hosts=hosts, data=new)
    assert not again.said[True].busy


def test_a_new_gossip_port_is_one_step_too_and_another_flag_is_not(run):
    hosts = recorded.stands()
    done = run(hosts=hosts, data="alertmanager_cluster_port = 9194\n")
    assert done.rc == 0, done.output
    assert "gossip port 9094 becomes 9194" in done.output
    done = run(hosts=hosts, data="alertmanager_cluster_port = 9194\nnofile = 70000\n")
    assert "alertmanager: all members in one step" not in done.said[True].busy


# --- A new tier -----------------------------------------------------------------------------------

AT_ONCE_TITLE = plan.as_one("alertmanager")


def test_members_of_a_new_tier_start_at_once(run):
    """The plan of it is held against the run by tests/unit/test_plan.py."""
    done = run("--limit", "alertmanager", deploy="alertmanager", hosts={})
    assert done.rc == 0, done.output
    assert done.said[True].busy[AT_ONCE_TITLE] == {"am-1", "am-2", "am-3"}
    assert plan.turn("alertmanager", "am-1") not in done.said[True].busy


def test_one_that_comes_to_others_has_its_turn(run):
    """Nobody knows what one that is not in the run does, and one that is back may be the only one that is."""
    hosts, turn = recorded.stands(), plan.turn("alertmanager", "am-2")
    hosts["am-2"] = Host(BLANK)
    for limit in ([], ["--limit", "am-2"]):
        for arguments, stage in ((["--dry"], False), ([], True)):
            done = run(*limit, *arguments, hosts=deepcopy(hosts), deploy="alertmanager", yes=stage)
            assert done.rc == 0, done.output
            assert AT_ONCE_TITLE not in done.said[stage].busy
            assert done.said[stage].busy[turn] == {"am-2"}
    done = run("--limit", "am-2", deploy="alertmanager")
    assert done.said[True].busy.keys() >= {turn} and AT_ONCE_TITLE not in done.said[True].busy


def test_where_somebody_elses_daemon_is_in_the_way_it_is_taken_over_in_a_turn(run):
    theirs = {"prometheus": Process(7, "/usr/bin/prometheus", ("/usr/bin/prometheus",))}
    units = {"prometheus": {"ActiveState": "active", "UnitFileState": "enabled"}}
    hosts = {"prom-2": Host(replace(BLANK, processes=theirs, units=units))}
    for arguments, stage in ((["--dry"], False), ([], True)):
        done = run(
            "--limit",
            "prometheus",
            *arguments,
            hosts=deepcopy(hosts),
            deploy="prometheus",
            yes=stage,
            data="preflight = {'units': 'off', 'ports': 'off'}\n",
        )
        assert done.rc == 0, done.output
        assert done.said[stage].busy[plan.as_one("prometheus")] == {"prom-1"}
        assert done.said[stage].busy[plan.turn("prometheus", "prom-2")] == {"prom-2"}


# --- Where members are ----------------------------------------------------------------------------


def test_members_are_asked_where_they_listen_now():
    new = example_site(prometheus_port=9190)
    path = "/usr/local/bin/prometheus"
    argv = (path, "--web.external-url=http://x:1", "--web.listen-address=0.0.0.0:9090")
    live = Live(looks={"prom-2": replace(State(), processes={"prometheus": Process(1, path, argv)})})
    member = new.hosts["prom-2"]
    assert live.port("prometheus", "prom-2") == 9090
    assert replace(new, live=live).ports("prometheus", member) == [9090]
    # It was not looked at: where the inventory has it, else where the others still are.
    assert replace(new, live=live).ports("prometheus", new.hosts["prom-1"]) == [9190, 9090]
    asked = script(replace(new, live=live), member, "prometheus", [Call("ready", "/-/ready")], either=True)
    assert ":9090/-/ready" in asked and ":9190" not in asked
    # By itself, after its restart, it is asked where it is to be.
    own = script(replace(new, live=live), member, "prometheus", [Call("ready", "/-/ready")])
    assert ":9190/-/ready" in own and ":9090" not in own
    # Somebody else's is no member.
    theirs = Process(1, "/usr/bin/prometheus", ("/usr/bin/prometheus", "--web.listen-address=:1"))
    assert Live(looks={"a": State(processes={"prometheus": theirs})}).port("prometheus", "a") is None


def test_where_ports_move_the_plan_says_who_finds_nobody(run):
    moved = "alertmanager_port = 9193\nprometheus_port = 9190\n"
    done = run("--dry", hosts=recorded.stands(), data=moved, yes=False)
    assert done.rc == 0, done.output
    said = done.said[False].lines["alertmanager: stage and check"]["am-1"]
    [line] = [line for line in said if line.startswith("port ")]
    assert line.startswith("port 9093 of alertmanager becomes 9193") and "prometheus" in line


def test_a_tier_of_one_that_moves_is_an_outage_said_beforehand(run):
    before = PAIR + 'querier = [("query-1", host(31))]\nnode_exporter = [("query-2", host(32))]\n'
    after = PAIR + 'querier = [("query-2", host(32))]\nnode_exporter = [("query-1", host(31))]\n'
    hosts = recorded.stands(before)
    said = "querier moves from query-1 to query-2, and nobody else does its job: an outage of it"
    plan = run("--dry", hosts=hosts, inventory=after, yes=False)
    assert plan.rc == 0 and plan.output.count(said) == 1, plan.output
    done = run(hosts=hosts, inventory=after)
    assert done.rc == 0 and done.output.count(said) == 1, done.output
    assert " moves from " not in run(hosts=hosts, inventory=after).output
    both = run(hosts=hosts, inventory=after.replace("querier = [", 'querier = [("query-1", host(31)), '))
    assert " moves from " not in both.output


# --- Side by side ---------------------------------------------------------------------------------


def test_questions_are_asked_side_by_side_and_answered_in_order(tmp_path):
    """The first one waits for what the last one does."""
    there = tmp_path / "there"
    waits = f"i=0; while [ ! -e {there} ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; echo $i"
    asked = side_by_side({"a": waits, "b": "echo b1; echo b2", "c": f"touch {there}; echo c"})
    done = subprocess.run(["sh"], input=asked, capture_output=True, text=True, check=True)
    found = sections(done.stdout.splitlines())
    assert list(found) == ["a", "b", "c"] and found["b"] == ["b1", "b2"] and found["c"] == ["c"]
    assert int(found["a"][0]) < 100
    many = at_once([f"echo {n}" for n in range(3 * AT_ONCE)])
    done = subprocess.run(["sh"], input=many, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(n) for n in range(3 * AT_ONCE)]


def test_no_more_are_asked_than_are_needed_and_those_away_are_not(monkeypatch):
    asked: list[list[str]] = []
    ok = {"d", "e"}

    def see_each(host, gates):
        asked.append([name for name, _ in gates])
        return [(name, rollout.Progress(name in ok, "seen")) for name, _ in gates]

    monkeypatch.setattr(rollout, "see_each", see_each)
    gates = [(name, None) for name in "abcde"]
    seen = rollout._ask(None, gates, 1)
    assert asked == [["a"], ["b", "c", "d", "e"]] and sum(p.ok for _, p in seen) == 2
    asked.clear()
    assert sum(p.ok for _, p in rollout._ask(None, gates[3:], 1)) == 1
    assert asked == [["d"]]
    said: list[str] = []
    host = type("H", (), {"log": said.append, "log_styled": lambda self, text, **_: said.append(text)})()
    host.log = said.append
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert not rollout._ask_others(None, host, [], 1, None, ["f", "g"])
    assert "f: cannot be reached; g: cannot be reached" in said[-1]


def test_one_that_comes_alone_asks_the_others_for_their_label():
    """They are not in its run (`--limit`), so nobody has looked at them."""
    heard = {"am-2": ("/usr/local/bin/alertmanager", "--cluster.label=old")}
    new = replace(example_site(), live=Live(heard=heard))
    assert "--cluster.label=old" in flags.argv("alertmanager", new, new.hosts["am-1"], State())
    asked = script(new, new.hosts["am-2"], "alertmanager", [Call("am-2", *ARGV)], either=True)
    assert "/debug/pprof/cmdline" in asked
