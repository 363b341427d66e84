"""What `--dry` says is what the run then does; and saying it changes nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest

from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles.prometheus import alerts as prometheus_alerts
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import STARTER_RULES
from tests.drills.site import get, interval, live_files, moved, plan_site, rules, run_site, shell, units

pytestmark = pytest.mark.usefixtures("restored")

DATA = {
    "prometheus_rules": rules("drill", {"record": "drill:up:count", "expr": "count(up)"}),
    "querier_timeout": "3m",
}


def planned(text: str) -> dict[str, list[str]]:
    """Host -> lines of a printed plan, each line with its role, in the order of the run."""
    found: dict[str, list[str]] = {}
    role, hosts, before = "", [], []
    for line in text.splitlines():
        if match := re.match(r"    ([\w-]+): (all hosts|one host)", line):
            role, hosts, before = match[1], [], []
        elif role and (match := re.match(r"      \d+\. ([\w-]+)(: the same)?$", line)):
            hosts = [match[1]]
            if match[2]:
                found.setdefault(match[1], []).extend(before)
            else:
                before = []
        elif role and line.startswith(" " * 10):
            before = [*before, f"{role}: {line.strip()}"]
            for host in hosts:
                found.setdefault(host, []).append(f"{role}: {line.strip()}")
        elif role and (match := re.match(r"      ([\w-]+(?:, [\w-]+)*)$", line)):
            hosts, before = match[1].split(", "), []
        else:
            role = ""
    return found


def missing_in(log: str, lines: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The lines of a plan that a run's log does not have, in this order for each host."""
    left = {}
    for host, wanted in lines.items():
        rest = list(wanted)
        for line in log.splitlines():
            match = re.match(r" *\[([^\]]+)\] +(.*)", line)
            if rest and match and match[1] == host:
                role, _, words = rest[0].partition(": ")
                if match[2] in (rest[0], words):
                    rest.pop(0)
        if rest:
            left[host] = rest
    return left


def held_against(data: Mapping[str, Any], *arguments: str) -> tuple[dict[str, list[str]], str]:
    """Plan a change, see that it changed nothing, make it, and compare. Returns the plan, as lines and as text."""
    files, before = live_files(), units()
    dry = plan_site(*arguments, data=data)
    assert dry.status == 0, str(dry)
    assert live_files() == files and moved(before) == set()
    lines = planned(dry.log)
    run = run_site("-v", *arguments, data=data)  # each host by itself
    assert run.status == 0, str(run)
    assert not missing_in(run.log, lines), f"{run}\n{dry.log}"
    changed = {host for hosts in run.changed.values() for host in hosts}
    assert set(lines) == changed, f"{run}\n{dry.log}"
    restarted = {
        (host, line.split()[2].rstrip(":"))
        for host, said in lines.items()
        for line in said
        if line.split()[1] in ("restart", "start")
    }
    assert moved(before) == restarted, dry.log
    return lines, dry.log


def test_a_rule_and_a_flag(site: Site) -> None:
    lines, text = held_against(DATA)
    groups = ("prometheus", "querier", "upper")
    assert set(lines) == {member.name for group in groups for member in site.members(group)}
    idle = [name for name in site.hosts if name not in lines]
    assert f"nothing to do: {', '.join(idle)}" in text
    for group in groups:
        numbers = [text.index(f"  {number}. {member.name}") for number, member in enumerate(site.members(group), 1)]
        assert numbers == sorted(numbers)
    # And back: a rule that leaves is a reload as well, and what is planned is done again.
    lines, text = held_against({})
    assert "remove /etc/prometheus/rules/drill.yml" in text


def test_what_an_alert_rule_would_have_done(site: Site) -> None:
    """As often as one that really ran; and what is doubtful in a rule is said, and stops nothing."""
    member = site.running("prometheus")[0]
    name = "TargetDown"
    groups = prometheus_alerts.rules(site, member)[STARTER_RULES]["groups"]
    (ran,) = (rule for group in groups for rule in group["rules"] if rule.get("alert") == name)
    again = {**ran, "alert": "Again"}
    wrong = {"alert": "Wrong", "expr": "rate(nobody_has_this_total[6s]) < 0"}
    dry = plan_site(data={"prometheus_rules": rules("drill", again, wrong)})
    assert dry.status == 0, str(dry)
    for said in (
        "doubtful: Wrong: is never true: rate is not below 0",
        "doubtful: Wrong: the window [6s] of nobody_has_this_total holds fewer than two samples",
        "doubtful: Wrong: no series matches nobody_has_this_total, and none did in the last 24 hours",
        "would not have fired: Wrong",
    ):
        assert said in dry.log, str(dry)
    found = re.search(r"Again \(warning\): would have fired (\d+) times? on (\d+) label sets?", dry.log)
    assert found, str(dry)
    (times, sets, doubtful), said = _fired(site, member, name, ran["expr"]), (int(found[1]), int(found[2]))
    assert times, "the premise: it fired"
    assert abs(times - said[0]) <= doubtful and abs(sets - said[1]) <= doubtful, (times, sets, doubtful, dry.log)


def _fired(site: Site, member: Member, name: str, expr: str) -> tuple[int, int, int]:
    """How often an alert really fired, and with how many label sets, by what Prometheus recorded of it; and how often
    that was a near thing: the plan looks at other moments within each interval, by which an outage is an evaluation
    longer or shorter; and it sees outages whole in which the Prometheus itself was restarted, or too busy to look."""
    step = int(interval(site))
    now = int(time.time())

    def series(expr: str) -> list[list[float]]:
        asked = f"query={quote(expr)}&start={now - 10_000 * step}&end={now}&step={step}"
        answer = get(f"{site.endpoint('prometheus', member).url}/api/v1/query_range?{asked}")
        return [[float(when) for when, _ in one["values"]] for one in answer["data"]["result"]]

    (evaluated,) = series('ALERTS{alertname="Watchdog",alertstate="firing"}')
    for_ = seconds(member.settings.timing.for_)
    waits = for_ + 3 * step

    def ended(earlier: float, later: float) -> bool:
        """It was over in between. A Prometheus that was restarted waits for `for` again."""
        between = [when for when in evaluated if earlier <= when <= later]
        restarted = max((b - a for a, b in pairwise(between)), default=0) > 1.5 * step
        return later - earlier > 1.5 * step and not (restarted and len(between) * step <= waits + 2 * step)

    def runs(moments: list[float]) -> Iterator[list[float]]:
        began = 0
        for end in range(1, len(moments) + 1):
            if end == len(moments) or ended(moments[end - 1], moments[end]):
                yield moments[began:end]
                began = end

    firing = series(f'ALERTS{{alertname="{name}",alertstate="firing"}}')
    true = series(f'max without (alertstate) (ALERTS{{alertname="{name}"}})')
    nearly = sum(for_ - 1.5 * step < run[-1] - run[0] < for_ + 0.5 * step for one in true for run in runs(one))
    gaps = [(a, b) for a, b in pairwise(evaluated) if b - a > 1.5 * step]
    unseen = sum(any(a < run[-1] and run[0] < b for a, b in gaps) for one in series(expr) for run in runs(one))
    return sum(len(list(runs(one))) for one in firing), len(firing), nearly + unseen


def test_a_drifted_host(site: Site) -> None:
    shell("am-2", "echo '# edited' >>/etc/alertmanager/alertmanager.yml")
    shell("prom-1", "echo 'groups: []' >/etc/prometheus/rules/theirs.yml")
    shell("query-1", "systemctl stop thanos-querier")
    try:
        lines, text = held_against({}, "--limit", "am-2", "--limit", "querier", "--limit", "prom-1")
        assert "file /etc/alertmanager/alertmanager.yml" in text
        assert "start thanos-querier: it is inactive" in text and "prom-2" not in text
    finally:
        shell("prom-1", "rm -f /etc/prometheus/rules/theirs.yml; systemctl reload prometheus")


def test_a_dry_run_on_a_blank_host_writes_nothing(site: Site) -> None:
    """Blank but for what runs: everything that the package put into /etc and /usr/local is gone."""
    host = "store-1"
    shell(
        host,
        "rm -rf /etc/.monitoring /usr/local/libexec/monitoring /usr/local/bin/node_exporter "
        "/etc/security/limits.d/99-prometheus.conf /etc/systemd/system/node_exporter.service; "
        "touch /root/.drill-began; sleep 1",
    )
    before = live_files([host])
    dry = plan_site("--limit", host)
    newer = "find / -xdev -newer /root/.drill-began -type f ! -path '/var/log/*'; rm /root/.drill-began"
    written = shell(host, newer).split()
    assert dry.status == 0, str(dry)
    assert live_files([host]) == before and not written
    for line in ("directory /etc/.monitoring", "file /etc/systemd/system/node_exporter.service"):
        assert line in dry.log
