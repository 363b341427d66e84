"""Each starter alert fires when it should, and stays silent when it should not: promtool evaluates the rules.

The cases are in cases/CHAPTER.yml, by alert:

    PrometheusRuleFailures:
      fires:
        - series:                       # as promtool has them: a sample each 15s
            - 'prometheus_rule_evaluation_failures_total{$prometheus-1, rule_group="a"} 0+1x40'
          at: 10m                       # when it is looked at
          alerts: ['$prometheus-1, rule_group="a"']
          summary: "Prometheus on prom-1 cannot evaluate a"
      silent:
        - why: three failures, and no more
          series: [...]
          at: 30m                       # silent from the beginning, or `from`, until then

The rules are evaluated once a minute; `every` is how often samples come and rules are evaluated. `$NAME-N` stands for
the labels of the N-th target of that daemon in the example site: job, instance, host. Of two labels of one name the
later one counts, and an empty one is none: `$prometheus-1, job=""`. An alert with two severities says which of them
fire: `severity: [warning, critical]`. One `summary` is that of all `alerts`; else it is a list. `since` and `before`:
the Prometheus whose series these are, where they became other ones.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import prometheus_ha.deploys.lib.roles  # noqa: F401  every alert is declared
from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles import upper
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.roles.prometheus.alerts import starter_rules
from prometheus_ha.deploys.lib.run import checkers
from prometheus_ha.deploys.lib.site import relations, releases
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from tests.rules.conftest import Program
from tests.unit.example_site import example_site

Data = dict[str, Any]

CASES = Path(__file__).parent / "cases"
CHAPTERS = sorted({alert.chapter for alert in starter.ALERTS.values()})
ALWAYS = ("Watchdog",)
"""Alerts that are never silent."""
SCRAPED, EVALUATED = "15s", "1m"
"""How often samples come, and rules are evaluated: seldom, as that is what costs time."""
LOOKS = 40
"""How often a silent case is looked at."""

SETTINGS: Data = {
    "prometheus_config": {
        "remote_write": [{"url": "http://10.9.0.2/write"}],
        "scrape_configs": [{"job_name": "nodes", "http_sd_configs": [{"url": "http://10.9.0.3/targets"}]}],
    },
    "probes": {"web": {"module": "http_2xx", "targets": ["http://a/"]}},
    "deadman_sites": {"east": "3m"},
    "querier_endpoints": [{"address": "dns+queriers.example.org:10901"}],
}
"""What makes the example site have every alert."""

releases_ = pytest.mark.parametrize(
    "release",
    [
        pytest.param(name, marks=() if name == releases.DEFAULT_RELEASE else pytest.mark.long)
        for name in releases.RELEASES
    ],
)


# --- The site, and its rules ----------------------------------------------------------------------


@cache
def example(release: str) -> Site:
    return example_site(storage=True, release=release, **SETTINGS)


@cache
def clusters(release: str) -> Site:
    """Two clusters with two Prometheus each."""
    names = [(f"{cluster}-{i}", cluster, f"r{i}") for cluster in ("east", "west") for i in (1, 2)]
    return site_from_dicts(
        {
            name: {
                "groups": ["prometheus", "inventory"],
                "data": {"ssh_hostname": f"10.1.0.{i}", "cluster": cluster, "replica": replica, "release": release},
            }
            for i, (name, cluster, replica) in enumerate(names, 1)
        }
    )


@cache
def rules(release: str) -> dict[str, list[Data]]:
    """Alert -> its rules, of whoever has it: a Prometheus, an upper one, one of two clusters."""
    site, two = example(release), clusters(release)
    found: dict[str, list[Data]] = {}
    for groups in (
        starter_rules(site, site.hosts["prom-1"]),
        upper.upper_rules(site, site.hosts["upper-1"]),
        starter_rules(two, two.hosts["east-1"]),
    ):
        own: dict[str, list[Data]] = {}
        for group in groups:
            for rule in group["rules"]:
                if "alert" in rule:
                    own.setdefault(rule["alert"], []).append(rule)
        found = own | found
    return found


@cache
def targets(release: str) -> dict[str, str]:
    """`NAME-N` -> the labels of this target."""
    site, two = example(release), clusters(release)
    found = {
        f"{name}-{number}": f'job="{info.job_name}", instance="{site.endpoint(info, member).target}", '
        f'host="{member.name}"'
        for name, info in DAEMONS.items()
        for number, member in enumerate(site.running(info), 1)
    }
    for number, member in enumerate(two.watched(two.hosts["east-1"]), 1):
        instance = two.endpoint(daemons.PROMETHEUS, member).target
        found[f"watched-{number}"] = f'job="{relations.WATCHED_JOB}", instance="{instance}", host="{member.name}"'
    for job in configuration.federation_jobs(site, site.hosts["upper-1"]):
        (group,) = job["static_configs"]
        for number, target in enumerate(group["targets"], 1):
            found[f"federated-{number}"] = f'job="{job["job_name"]}", instance="{target}"'
    return found


@cache
def external_labels(release: str) -> dict[str, str]:
    site = example(release)
    return configuration.prometheus_yml(site, site.hosts["prom-1"])["global"]["external_labels"]


# --- The cases ------------------------------------------------------------------------------------


@cache
def cases(chapter: str) -> dict[str, Data]:
    """Alert -> its cases."""
    return yaml.load((CASES / f"{chapter}.yml").read_text(), yaml.CSafeLoader)


def labels(text: str, release: str) -> dict[str, str]:
    """Labels as a case has them."""
    known = targets(release)
    text = re.sub(r"\$([a-z_-]+-\d+)", lambda found: known[found[1]], text)
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*")', text)
    found = {name: json.loads(quoted) for name, quoted in pairs}
    return {name: value for name, value in found.items() if value}


def series(text: str, release: str) -> Data:
    """One series of promtool's."""
    found = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+([^{}]+)", text.strip())
    assert found, f"no series: {text}"
    name, inner, values = found.groups()
    given = labels(inner or "", release)
    pairs = ", ".join(f"{key}={json.dumps(value)}" for key, value in given.items())
    return {"series": f"{name}{{{pairs}}}", "values": values}


def listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def rendered(text: str, of: dict[str, str]) -> str:
    """A text of an alert; but for summaries, which a case gives, they hold labels and nothing else."""
    text = text.replace(starter.HOST, of.get("host") or of.get("instance", ""))
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: of.get(found[1], ""), text)


GAP = re.compile(r"  |^ | $|\(\)|<[^>]*>|\{\{|\}\}| [.,;:)]|\b(on|of|to) (has|does|is|are|cannot|refuses|fails)\b")
"""What a text looks like where a word was not filled in, or is empty."""


def expected(alert: str, case: Data, release: str) -> list[Data]:
    """The alerts of a case that fires, with all they say."""
    known = {rule["labels"]["severity"]: rule for rule in rules(release)[alert]}
    severities = listed(case.get("severity", list(known)))
    assert len(known) == 1 or "severity" in case, f"{alert}: which severity of {', '.join(known)}?"
    summaries = listed(case["summary"]) * (1 if isinstance(case["summary"], list) else len(case["alerts"]))
    found = []
    for text, summary in zip(case["alerts"], summaries, strict=True):
        of = labels(text, release)
        for severity in severities:
            rule = _rule(alert, severity, of, release)
            said = {
                "summary": summary,
                "description": rendered(rule["annotations"]["description"], of),
                "runbook_url": rule["annotations"]["runbook_url"],
            }
            for one in (summary, said["description"]):
                assert not (gap := GAP.search(one)), f"{alert}: a gap ({gap[0]!r}) in: {one}"
            found.append({"exp_labels": of | {"severity": severity}, "exp_annotations": said})
    return found


def _rule(alert: str, severity: str, of: dict[str, str], release: str) -> Data:
    """The rule that makes this alert: of several, which say different things, the one that has its target."""
    found = [rule for rule in rules(release)[alert] if rule["labels"]["severity"] == severity]
    if len(found) > 1 and "instance" in of:
        found = [rule for rule in found if starter.any_of([of["instance"]]) in rule["expr"]]
    descriptions = {rule["annotations"]["description"] for rule in found}
    assert len(descriptions) == 1, f"{alert}: {len(descriptions)} rules of the severity {severity} for {of}"
    return found[0]


def _is_of(case: Data, release: str) -> bool:
    """Whether the Prometheus of this release has such series."""
    version = releases.RELEASES[release]["prometheus"]
    since, before = case.get("since", "2.0.0"), case.get("before", "99.0.0")
    return releases.at_least(version, since) and not releases.at_least(version, before)


def promtool_tests(alert: str, release: str) -> dict[str, list[Data]]:
    """How often the rules are evaluated -> the tests of promtool's."""
    found: dict[str, list[Data]] = {}
    written = cases(starter.ALERTS[alert].chapter)[alert]
    for kind in ("fires", "silent"):
        for number, case in enumerate(written.get(kind) or [], 1):
            if not _is_of(case, release):
                continue
            every, until = case.get("every", EVALUATED), int(seconds(case["at"]))
            looks = [case["at"]]
            if kind == "silent":
                one = int(seconds(every))
                step = max(1, until // one // LOOKS) * one
                looks = [f"{t}s" for t in range(int(seconds(case.get("from", "0s"))), until, step)] + looks
            wanted = expected(alert, case, release) if kind == "fires" else []
            found.setdefault(every, []).append(
                {
                    "name": f"{alert} {kind} {number}: {case.get('why', '')}".rstrip(": "),
                    "interval": case.get("every", SCRAPED),
                    "external_labels": external_labels(release),
                    "input_series": [series(text, release) for text in case["series"]],
                    "alert_rule_test": [
                        {"eval_time": look, "alertname": alert, "exp_alerts": wanted} for look in looks
                    ],
                }
            )
    return found


# --- promtool -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def promtool(program: Program) -> Callable[[str], Path]:
    """Release -> path of its promtool."""
    return lambda release: program(release, "promtool")


def run(*command: object) -> tuple[int, str]:
    """How it ended, and what it said."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "GOGC": "400"},  # it lives for seconds
    )
    return done.returncode, done.stdout


def failures(said: str) -> str:
    """What promtool says of the tests that failed: the first thing of each, without those that did not."""
    found: dict[str, str] = {}
    for part in re.split(r"^(?= *name: )", said, flags=re.M):
        name = part.partition("\n")[0]
        part = re.sub(r"^(Unit Testing: |Processing test file: | *SUCCESS| *FAILED:).*\n?", "", part, flags=re.M)
        found.setdefault(name, re.sub(r'instance=~"[^"]{200,}"', 'instance=~"..."', part).rstrip())
    return "\n".join(part for part in found.values() if part)


# --- The tests ------------------------------------------------------------------------------------


def test_every_alert_has_its_cases():
    known: dict[str, list[str]] = {chapter: [] for chapter in CHAPTERS}
    for alert in starter.ALERTS.values():
        known[alert.chapter].append(alert.name)
    for chapter, names in known.items():
        written = cases(chapter)
        assert not set(written) - set(names), f"{chapter}: no such alert in this chapter"
        assert not set(names) - set(written), f"{chapter}: no cases"
        for name, one in written.items():
            assert set(one) <= {"fires", "silent"}, name
            assert one.get("fires"), f"{name}: no case that fires"
            assert one.get("silent") or name in ALWAYS, f"{name}: no silent case"
            assert all(case.get("why") for case in one.get("silent", [])), f"{name}: why is it silent?"
            levels = set(starter.ALERTS[name].levels)
            fired = {level for case in one["fires"] for level in listed(case.get("severity", list(levels)))}
            assert fired == levels, f"{name}: no case for {levels - fired}"
    assert {path.stem for path in CASES.glob("*.yml")} == set(CHAPTERS)


@releases_
def test_the_site_has_every_alert(release):
    assert set(rules(release)) == set(starter.ALERTS)


def deployed(release: str) -> dict[str, list[Data]]:
    """The groups of the starter rules as they come to a Prometheus of each kind."""
    site = example(release)
    return {
        "prometheus": starter_rules(site, site.hosts["prom-1"]),
        "upper": upper.upper_rules(site, site.hosts["upper-1"]),
    }


@releases_
def test_no_lint(release, promtool, tmp_path):
    """promtool finds nothing to complain of in the rules as they are deployed."""
    files = []
    for name, groups in deployed(release).items():
        files.append(tmp_path / f"{name}.yml")
        files[-1].write_text(json.dumps({"groups": groups}))
    ended, said = run(promtool(release), "check", "rules", "--lint=all", "--lint-fatal", *files)
    assert ended == 0 and "FAILED" not in said, said


@pytest.mark.long
@releases_
def test_pint_finds_no_bug(release, pint):
    """A checker of others, as the plan asks it. One alert always fires, and a list of targets may have one."""
    (checker,) = (one for one in checkers.CHECKERS if one.program == "pint")
    for name, groups in deployed(release).items():
        found = checkers.found_in(checker, str(pint), f"{name}.yml", yaml.dump({"groups": groups}, sort_keys=False))
        bugs = [one for one in found if not one.startswith("Watchdog: ") and not one.endswith(": redundant regexp")]
        assert bugs == [], "\n".join(bugs)


@pytest.mark.long
def test_pint_finds_what_is_planted(pint):
    (checker,) = (one for one in checkers.CHECKERS if one.program == "pint")
    text = "groups:\n- name: a\n  rules:\n  - {alert: Right, expr: up == 0}\n  - {alert: Always, expr: up}\n"
    assert checkers.found_in(checker, str(pint), "a.yml", text) == ["Always: alerts/comparison: always firing alert"]


@releases_
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_alerts(chapter, release, promtool, tmp_path):
    files = []
    problems = []
    for alert in cases(chapter):
        of = tmp_path / f"{alert}.rules.yml"
        of.write_text(json.dumps({"groups": [{"name": "starter-alerts", "rules": rules(release)[alert]}]}))
        try:
            tests = promtool_tests(alert, release)
        except AssertionError as problem:
            problems.append(str(problem))
            continue
        for every, each in tests.items():
            files.append(tmp_path / f"{alert}.{every}.yml")
            given = {"rule_files": [of.name], "evaluation_interval": every, "tests": each}
            files[-1].write_text(json.dumps(given))
    ended, said = run(promtool(release), "test", "rules", *files)
    if ended:
        problems.append(failures(said))
    assert not problems, "\n".join(problems)
