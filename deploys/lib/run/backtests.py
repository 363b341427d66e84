"""What is doubtful in the rules of the user that a plan brings, and what its alert rules would have done over a day:
asked of one Prometheus of each cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons.prometheus import RULES_DIR
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.component import Change, Component
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.run import differences
from prometheus_ha.deploys.lib.run.hosts import at_once
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import STARTER_RULES
from prometheus_ha.deploys.lib.survey import backtest, rule_lint
from prometheus_ha.facts.http import Answer, Call, split
from prometheus_ha.facts.probe import probe
from prometheus_ha.facts.reports.look import State

_SECONDS = 30
"""How long one question may take: it goes over all samples of a day."""


@dataclass
class Wanted:
    """Host -> file of rules -> what it would hold."""

    texts: dict[str, dict[str, str]] = field(default_factory=dict)


def want(member: Member, component: Component, change: Change, found: State) -> None:
    """Have the rules of this looked at before the plan is shown, where there is a Prometheus to be asked."""
    own = member.own(daemons.PROMETHEUS)
    if own.name in member.components and own.unit in found.processes:
        files = [name for name in change.files if name.startswith(f"{own.at(RULES_DIR)}/")]
        if files:
            kept(Wanted).texts[member.name] = {name: component.files[name].content for name in files}


def lines(state: Any, site: Site) -> list[str]:
    """What is said of them, once for a cluster; empty where no rule is new or another one."""
    texts = kept(Wanted, state).texts
    chosen: dict[str, str] = {}
    for host in state.inventory:
        if host in state.active_hosts and host.name in texts:
            chosen.setdefault(site.hosts[host.name].settings.cluster, host.name)
    said: dict[str, list[str]] = {}

    def ask(host: Any) -> None:
        said[host.name] = _of_host(host, site, texts[host.name])

    found = []
    for host in at_once(state, set(chosen.values()), ask):
        if words := said.get(host.name):
            cluster = site.hosts[host.name].settings.cluster
            what = f"rules of {cluster} that are new or changed, and the last {backtest.HOURS} hours"
            found += [f"{what} (asked on {host.name}):", *(f"    {line}" for line in words)]
    return found


def _of_host(host: Any, site: Site, texts: dict[str, str]) -> list[str]:
    member = site.hosts[host.name]
    before = differences.live(host, texts)
    ours = {name for name in texts if name.endswith(f"/{STARTER_RULES}")}
    theirs, starter = (
        backtest.changed(before.values(), [texts[name] for name in names], member.settings.evaluation_interval)
        for names in (sorted(texts.keys() - ours), ours)
    )
    changed = [*theirs, *starter]
    # The user's own first: a release of this package may bring more than are asked about.
    alerts = [rule for rule in changed if rule.alert]
    asked, left = alerts[: backtest.RULES], alerts[backtest.RULES :]
    if not changed:
        return []

    def ask(calls: Sequence[Call]) -> dict[str, Answer]:
        extra = ("--max-time", str(_SECONDS))
        said = probe(host, script(site, member, daemons.PROMETHEUS, calls, extra, either=True), _ignore_errors=True)
        return split(said)

    now = time.time()
    ready = Call("ready", "/-/ready")
    trees = [Call(f"tree {n}", f"/api/v1/parse_query?query={quote(one.expr, safe='')}") for n, one in enumerate(theirs)]
    answers = ask([ready, *trees, *(Call(f"range {n}", rule.path(now)) for n, rule in enumerate(asked))])
    if not (first := answers.get("ready")) or not first.status:
        return [f"not known: {first.problem if first else 'no answer'}"]
    ranges = [(rule, answers.get(f"range {n}")) for n, rule in enumerate(asked)]
    said = [(rule, backtest.read(answer, rule, now)) for rule, answer in ranges if answer]
    parsed = {rule: tree for n, rule in enumerate(theirs) if (tree := _tree(answers.get(f"tree {n}"))) is not None}
    return [*_doubts(member, parsed, ask, now), *backtest.lines(said, left)]


def _tree(answer: Answer | None) -> Any:
    """A syntax tree; None where there is none, as of an expression that promtool refuses, and before Prometheus 3."""
    try:
        return answer.json()["data"] if answer and answer.ok else None
    except (LookupError, TypeError, ValueError):
        return None


def _doubts(
    member: Member,
    trees: dict[backtest.Rule, Any],
    ask: Callable[[Sequence[Call]], dict[str, Answer]],
    now: float,
) -> list[str]:
    """What is valid in these rules, and looks wrong."""
    jobs = {
        job["job_name"]: seconds(job["scrape_interval"])
        for job in member.settings.prometheus_config.get("scrape_configs") or []
        if job.get("scrape_interval")
    }
    usual = seconds(member.settings.scrape_interval)
    recorded = {rule.name for rule in trees if not rule.alert}
    selectors = dict.fromkeys(one for tree in trees.values() for one in rule_lint.selectors(tree))
    metrics = dict.fromkeys(metric for tree in trees.values() for _, metric, _ in rule_lint.counted(tree))
    since = f"&start={now - backtest.HOURS * 3600:.0f}&limit=1"
    answers = ask(
        [
            Call("ready", "/-/ready"),
            *(Call(f"series {one}", f"/api/v1/series?match[]={quote(one, safe='')}{since}") for one in selectors),
            *(
                Call(f"type {one}", f"/api/v1/metadata?metric={quote(one, safe='')}&limit_per_metric=1")
                for one in metrics
            ),
        ]
    )
    found = []
    for rule, tree in trees.items():
        said = list(rule_lint.problems(tree, rule.alert, rule.texts, rule.labels, lambda job: jobs.get(job, usual)))
        for one in rule_lint.selectors(tree):
            # What another rule records will be there.
            if _tree(answers.get(f"series {one}")) == [] and one.partition("{")[0] not in {*recorded, "ALERTS"}:
                said.append(f"no series matches {one}, and none did in the last {backtest.HOURS} hours")
        for function, metric, wanted in rule_lint.counted(tree):
            kinds = {one["type"] for one in (_tree(answers.get(f"type {metric}")) or {}).get(metric, [])}
            if kinds & {"counter", "gauge"} and wanted not in kinds:
                said.append(f"{function}() of {metric}, which is a {kinds.pop()}: it is for a {wanted}")
        found += [f"doubtful: {rule.title}: {one}" for one in dict.fromkeys(said)]
    return found
