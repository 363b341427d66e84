"""The plan says what the run then does, host by host and line by line."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import replace

import pytest

from prometheus_ha.deploys.lib.engine import component as c
from prometheus_ha.facts.reports.look import Path, Process
from tests.unit import recorded
from tests.unit.recorded import BLANK, INVENTORY, run_site
from tests.unit.simulated import Host
from tests.unit.test_component import converged, wanted

RULE = (
    "prometheus_rules = {'more.yml': {'groups': [{'name': 'more', 'rules': [{'record': 'a:b', 'expr': 'sum(up)'}]}]}}\n"
)
FLAG = "querier_timeout = '3m'\n"
CONFIG = "/etc/prometheus/prometheus.yml"
NAMES = re.findall(r'\("([\w-]+)", host', INVENTORY)


@pytest.fixture
def run(tmp_path, monkeypatch):
    return lambda *arguments, **options: run_site(tmp_path, monkeypatch, *arguments, **options)


@pytest.fixture
def stands():
    """Hosts on which the site stands, this test's own."""
    return recorded.stands()


def planned_and_done(run, hosts, *arguments, **options):
    """Plan a run, see that nothing was done, make the run, and hold both against each other."""
    before = {name: deepcopy(host.state) for name, host in hosts.items()}
    plan = run("--dry", *arguments, hosts=hosts, yes=False, **options)
    assert plan.rc == 0, plan.output
    assert {command for commands in plan.commands.values() for command in commands} <= {
        "look",
        "check",
        "files",
        "rules",
    }
    for name, state in before.items():
        assert hosts[name].state == state, name
    done = run(*arguments, hosts=hosts, **options)
    assert not plan.said[True].lines
    assert plan.said[False].lines == done.said[True].lines, done.output
    assert plan.said[False].busy == done.said[True].busy
    assert set(plan.said[False].busy) == {name for name in done.order if name in done.said[True].busy}
    return plan, done


def test_a_blank_site(run):
    plan, done = planned_and_done(run, {})
    assert done.rc == 0
    text = plan.output
    assert "base: all hosts at once" in text and "group prometheus" not in text
    assert plan.said[False].lines["alertmanager: all members in one step"].keys() == {
        "am-1",
        "am-2",
        "am-3",
    }
    assert text.index("alertmanager: all hosts at once") < text.index("prometheus: all hosts at")
    assert text.count("no member runs it yet: all start in one step") >= 6
    assert "compactor: one host after another" in text
    assert "start prometheus: it is absent" in text
    assert "nothing to do" not in text and "Operation" not in text


def test_a_bare_host(run):
    """What the first steps install, later ones find."""
    bare = replace(BLANK, users={}, groups=set(), commands={"tar", "unshare", "logrotate"})
    hosts = {"am-1": Host(bare)}
    plan, done = planned_and_done(run, hosts, "--limit", "am-1")
    assert "install curl, rsyslog" in plan.output and "group prometheus" in plan.output
    assert "restart rsyslog: it left no word of what it read" in plan.output


def test_nothing_to_do(run, stands):
    plan, done = planned_and_done(run, stands)
    assert not done.said[True].busy
    lines = [line.strip() for line in plan.output.splitlines()]
    assert f"nothing to do: {', '.join(NAMES)}" in lines


def test_a_rule_is_a_reload_and_a_flag_a_restart_in_the_inventorys_order(run, stands):
    limits = [word for name in ("prometheus", "alertmanager", "querier") for word in ("--limit", name)]
    plan, _ = planned_and_done(run, stands, *limits, data=RULE + FLAG)
    assert plan.said[False].busy.keys() == {
        "prometheus: stage and check",
        "prometheus: turn of prom-1",
        "prometheus: turn of prom-2",
        "querier: stage and check",
        "querier: turn of query-1",
        "querier: turn of query-2",
    }
    text = "\n".join(line[4:] for line in plan.output.splitlines())
    assert (
        "prometheus: one host after another, as numbered\n"
        "  1. prom-1\n"
        "      file /etc/prometheus/rules/more.yml\n"
        "      reload prometheus: it read another /etc/prometheus/rules/more.yml\n"
        "  2. prom-2: the same\n"
    ) in text
    assert "--query.timeout 2m -> 3m" in text
    assert "nothing to do: am-1, am-2, am-3" in text


def test_a_drifted_site(run, stands):
    state = stands["prom-1"].state
    state.paths[CONFIG] = replace(state.paths[CONFIG], sha256="0" * 64)
    state.paths["/etc/prometheus/rules/theirs.yml"] = Path("f", "644", "root", "root", sha256="1" * 64)
    del state.paths["/var/lib/prometheus/data"]
    unit = "/etc/systemd/system/alertmanager.service"
    state = stands["am-2"].state
    state.paths[unit] = replace(state.paths[unit], mode="666")
    state.units["alertmanager"]["NeedDaemonReload"] = "yes"
    del stands["am-3"].state.processes["alertmanager"]
    stands["am-3"].state.units["alertmanager"]["ActiveState"] = "failed"
    del stands["query-1"].state.stamps["thanos-querier.started"]
    plan, done = planned_and_done(run, stands)
    assert done.rc == 0
    text = plan.output
    assert "/etc/prometheus/rules/theirs.yml is not ours and is left alone" in text
    assert "start alertmanager: it is failed" in text
    assert "restart thanos-querier: it left no word of what it read" in text
    assert text.count("directory /var/lib/prometheus/data") == 1


def test_a_new_release(run):
    hosts: dict[str, Host] = {}
    some = ("--limit", "prometheus", "--limit", "alertmanager")
    run(*some, hosts=hosts, data="release = 'migration'\n")
    plan, done = planned_and_done(run, hosts, *some)
    assert done.rc == 0, done.output
    assert "fetch https://" in plan.output and "link /usr/local/bin/thanos" in plan.output


def test_a_role_that_leaves_a_host(run, stands):
    without = INVENTORY.replace(', ("am-3", host(23))', "").replace(
        "node_exporter = [", 'node_exporter = [("am-3", host(23)), '
    )
    plan, done = planned_and_done(run, stands, inventory=without)
    assert done.rc == 0, done.output
    assert "leaves this host: remove /etc/alertmanager/alertmanager.yml" in plan.output
    again, _ = planned_and_done(run, stands, inventory=without)
    assert not again.said[False].busy


def test_a_relay_leaves_after_the_routes_that_lead_to_it(run, stands):
    plan, done = planned_and_done(run, stands, data="alert_canary = False\n")
    assert done.rc == 0 and "alert_relay leaves this host" in plan.output
    scripts = done.commands["am-2"]
    (left,) = (n for n, script in enumerate(scripts) if "disable --now alert_relay.service" in script)
    (routed,) = (n for n, script in enumerate(scripts) if "reload alertmanager" in script)
    assert routed < left


def test_two_roles_that_share_a_link_and_a_tier_of_one(run):
    together = """
data = {"ssh_hostname": "10.1.0.11", "replica": "a"}
prometheus = [("one", data)]
alertmanager = [("one", data)]
querier = [("one", data)]
"""
    hosts: dict[str, Host] = {}
    plan, done = planned_and_done(run, hosts, inventory=together)
    assert done.rc == 0, done.output
    assert plan.output.count("link /usr/local/bin/thanos") == 1
    assert "outage" not in plan.output.partition("Detected changes")[2]
    plan, done = planned_and_done(run, hosts, inventory=together, data=FLAG)
    assert "querier is a tier of one: an outage of thanos-querier follows" in plan.output


def test_the_hosts_of_the_run_and_no_others(run, stands):
    plan, _ = planned_and_done(run, stands, "--limit", "prom-2", data=RULE)
    planned = plan.output.partition("Detected changes")[2]  # what is said of the settings is said of the site
    assert "1. prom-2" in planned and "prom-1" not in planned
    assert "nothing to do" not in planned


def test_a_dead_host_is_named(run, stands):
    plan = run("--dry", yes=False, hosts=stands, dead=("query-1",), data=FLAG)
    assert "cannot be reached, keep what they have: query-1" in plan.output
    said = "no other member can be reached (query-1): no outage is risked"
    assert said in plan.output and "1. query-2" in plan.output
    plan = run("--dry", yes=False, hosts=stands, dead=("query-1",), data=FLAG + "allow_outage = True\n")
    assert "can be reached (query-1): an outage of thanos-querier follows" in plan.output


def test_a_release_that_will_be_refused_is_refused_with_the_plan(run):
    """A release that cannot read the data: the table says so before any change, and no plan hides it."""
    exe = "/opt/prometheus-3.16.0.linux-amd64/prometheus"
    newer = replace(BLANK, processes={"prometheus": Process(7, exe, ("prometheus",))})
    newer.units = {"prometheus": {"ActiveState": "active"}}
    options = {
        "hosts": {"prom-1": Host(newer)},
        "deploy": "prometheus",
        "data": "release = 'migration'\n",
    }
    plan = run("--dry", yes=False, **options)
    done = run(**options)
    for one in (plan, done):
        assert one.rc == 1
        table = one.output[one.output.index("what to do") :]
        assert "prom-1  release " in table.splitlines()[1] and "cannot read the data" in table
    assert "as numbered" not in plan.output and not done.said[True].lines


def test_what_is_going_to_be_refused_comes_first(run, monkeypatch):
    """Whatever a step refuses: the plan says so before all else, and the run does not begin."""

    def refuse(member, found):
        if member.name == "am-2":
            raise ValueError("no archive for it")
        return []

    monkeypatch.setattr("prometheus_ha.deploys.lib.engine.fetch.lacking", refuse)
    for options in ({}, {"dry": True}, {"json": True}):
        arguments = [f"--{name}" for name in options]
        plan = run(*arguments, "--limit", "alertmanager", yes=False, hosts={})
        assert plan.rc == 1, plan.output
        assert "refused, so that nothing can be changed: am-2: software: no archive for it" in plan.output
        assert not plan.said[True].lines and "Press enter" not in plan.output
        if "json" not in options:
            assert plan.output.index("no archive for it") < plan.output.index("base: all hosts")


def test_offline_plans_fetch_nothing(run, monkeypatch):
    def fetched(*arguments):
        raise AssertionError("a plan fetched an archive")

    monkeypatch.setattr("prometheus_ha.deploys.lib.engine.fetch.cached", fetched)
    monkeypatch.setattr("prometheus_ha.deploys.lib.engine.fetch.unavailable", lambda *arguments: "")
    plan = run("--dry", "--limit", "store-1", yes=False, data="offline = True\n")
    assert plan.rc == 0 and "upload node_exporter-" in plan.output, plan.output


def test_the_question_comes_after_the_plan_and_the_answer_before_any_change(run, stands):
    done = run(yes=False, hosts=stands, data=RULE + FLAG)
    assert done.rc == 0, done.output
    assert done.output.index("as numbered") < done.output.index("Press enter to execute")
    assert done.said[False].lines == done.said[True].lines


def test_json_is_pure(run):
    plan = run("--json", "--limit", "prom-1", yes=False, hosts={})
    assert json.loads(plan.stdout)["results"] is None


def test_another_deploy_has_pyinfras_own_table(run):
    done = run("--dry", yes=False, deploy="verify")
    assert "Conditional Change" in done.output


def test_what_is_foreseen_is_what_is_wanted():
    for state in (converged(c.Component("prometheus")), converged(wanted())):
        component = wanted()
        change = c.compare(component, state)
        c.foresee(component, change, state)
        assert not c.compare(component, state)


# --- Without the secrets ----------------------------------------------------------------------------


LACKS = "secret:env:WEBHOOK_OF_OTHERS"
WITHOUT = f"alertmanager_webhook_url = '{LACKS}'\n"
ALERTMANAGER = "/etc/alertmanager/alertmanager.yml"


def test_a_plan_without_a_secret_compares_the_rest(run, stands):
    plan = run("--dry", yes=False, hosts=stands, data=WITHOUT + RULE)
    assert plan.rc == 0, plan.output
    said = f"not compared, as this machine lacks {LACKS}: {ALERTMANAGER}"
    assert said in plan.output
    assert "/etc/prometheus/rules/more.yml" in plan.output
    busy = {host for hosts in plan.said[False].busy.values() for host in hosts}
    assert not busy & {"am-1", "am-2", "am-3"}, "a file that was not compared is no change"
    assert f"file {ALERTMANAGER}" not in plan.output


def test_a_run_without_a_secret_is_refused_before_anything(run, stands):
    for deploy in ("site", "alertmanager", "drill"):
        done = run(hosts=stands, data=WITHOUT, deploy=deploy)
        assert done.rc != 0 and LACKS in done.output and "nothing was changed" in done.output
        assert done.commands == {}


@pytest.mark.parametrize("deploy", ["verify", "preflight", "capacity"])
def test_whoever_only_looks_needs_no_secret(run, stands, deploy):
    states = {name: host.state for name, host in stands.items()}
    done = run(states=states, data=WITHOUT, deploy=deploy)
    assert "nothing was changed" not in done.output and "Traceback" not in done.output
    assert done.commands, done.output
    if deploy == "verify":  # the others' are said by config.py
        assert f"{LACKS}: the environment has no WEBHOOK_OF_OTHERS" in done.output
        assert "what needs it is not compared" in done.output


def test_a_key_that_a_certificate_follows_from_is_lacking_as_well(run, tmp_path, monkeypatch):
    """What an object store of ours is given is not compared, and none of it is taken for changed."""
    keys = {
        name: {
            "access_key": f"secret:env:A_{name}".replace("-", "_"),
            "secret_key": f"secret:env:S_{name}".replace("-", "_"),
        }
        for name in (
            "thanos-sidecar",
            "thanos-store",
            "thanos-compactor",
            "thanos-bucket-web",
            "thanos-rule",
            "thanos-receive",
            "admin",
        )
    }
    for key in keys.values():
        for value in key.values():
            monkeypatch.setenv(value.removeprefix("secret:env:"), f"{value[-12:]}-of-the-site")
    inventory = INVENTORY + 'seaweedfs = [("store-1", {})]\n'
    some = [word for name in ("store-1", "prom-1", "query-2") for word in ("--limit", name)]
    data = f"""bucket_keys = {keys!r}
bucket_config = {{"type": "S3", "config": {{"bucket": "b", "endpoint": "10.1.0.41:8333"}}}}
"""
    hosts = {}
    done = run(*some, hosts=hosts, inventory=inventory, data=data)
    assert done.rc == 0, done.output
    for key in keys.values():
        for value in key.values():
            monkeypatch.delenv(value.removeprefix("secret:env:"))
    plan = run("--dry", *some, yes=False, hosts=hosts, inventory=inventory, data=data)
    assert plan.rc == 0, plan.output
    assert plan.said[False].busy == {}, plan.output
    assert "secret:env:S_admin" in plan.output and "seaweedfs" in plan.output


def test_what_a_checker_refuses_is_said_before_anybody_is_asked(run, stands):
    """Once for all hosts that have it; where a checker is not there, that is said."""

    def checkers(host, answer):
        said = {
            "=== prometheus": "refused\n> SUCCESS: one\n> FAILED: line 3",
            "=== alertmanager": "not checked: /opt/alertmanager-0.35.0.linux-amd64/amtool",
        }
        return "\n".join(f"{line}\n{said.get(line, '')}" for line in answer.splitlines())

    data = RULE + "profile = 'drill'\n"
    plan = run("--dry", yes=False, hosts=stands, data=data, checkers=checkers)
    assert plan.rc == 1
    assert "prometheus on prom-1, prom-2 is refused by its checker:\n        FAILED: line 3\n" in plan.output
    assert plan.output.count("FAILED: line 3") == 1
    assert "refused, so that nothing can be changed: prometheus: mend what the checker says above" in plan.output
    assert "not checked: amtool 0.35.0, on am-1, am-2, am-3" in plan.output


def test_a_host_whose_checkers_do_not_answer_is_named(run, stands):
    plan = run("--dry", yes=False, hosts=stands, data=RULE, checkers=lambda host, answer: "")
    assert plan.rc == 0 and "not checked: the checkers did not answer, on prom-1, prom-2" in plan.output


def test_a_plan_in_json_has_it_all(run, stands):
    lacks = "not checked: /opt/prometheus-3.16.0.linux-amd64/promtool"

    def checkers(host, answer):
        return re.sub("^=== prometheus$", f"=== prometheus\n{lacks}", answer, flags=re.M)

    plan = run("--dry", "--json", yes=False, hosts=stands, data=RULE, checkers=checkers)
    said = json.loads(plan.stdout)
    assert said["results"] is None and said["plan"]
    assert "      file /etc/prometheus/rules/more.yml" in said["site"]["plan"]
    assert said["site"]["not_checked"] == ["not checked: promtool 3.16.0, on prom-1, prom-2"]
    assert said["site"]["refused"] == [] and plan.rc == 0
