"""What the alert rules that a plan brings would have done over the last day, as one Prometheus of each cluster says."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons.prometheus import RULES_DIR
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.component import Change, Component
from prometheus_ha.deploys.lib.run import differences
from prometheus_ha.deploys.lib.run.hosts import at_once
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import STARTER_RULES
from prometheus_ha.deploys.lib.survey import backtest
from prometheus_ha.facts.http import Call, split
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
            what = f"the alert rules of {cluster} that are new or changed, over the last {backtest.HOURS} hours"
            found += [f"{what} (asked on {host.name}):", *(f"    {line}" for line in words)]
    return found


def _of_host(host: Any, site: Site, texts: dict[str, str]) -> list[str]:
    member = site.hosts[host.name]
    before = differences.live(host, texts)
    # The user's own first: a release of this package may bring more than are asked about.
    after = [texts[name] for name in sorted(texts, key=lambda name: name.endswith(f"/{STARTER_RULES}"))]
    changed = backtest.changed(before.values(), after, member.settings.evaluation_interval)
    asked, left = changed[: backtest.RULES], changed[backtest.RULES :]
    if not asked:
        return []
    now = time.time()
    calls = [Call(str(number), rule.path(now)) for number, rule in enumerate(asked)]
    extra = ("--max-time", str(_SECONDS))
    answers = split(
        probe(host, script(site, member, daemons.PROMETHEUS, calls, extra, either=True), _ignore_errors=True)
    )
    if not (first := answers.get("0")) or not first.status:
        return [f"not known: {first.problem if first else 'no answer'}"]
    said = [(rule, backtest.read(answers[str(n)], rule, now)) for n, rule in enumerate(asked) if str(n) in answers]
    return backtest.lines(said, left)
