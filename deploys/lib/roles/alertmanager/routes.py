"""Where alerts go: what the user wants of the routes (`alert_routing_tests`), and what a change sends elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator

import yaml

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_CONFIG
from prometheus_ha.deploys.lib.engine.component import Change
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import in_order
from prometheus_ha.deploys.lib.ground import routing
from prometheus_ha.deploys.lib.ground.findings import as_dict
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.roles.alertmanager import configuration
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, RoutingTest, rule_groups
from prometheus_ha.facts.reports.look import State

Labels = dict[str, str]


def _words(labels: routing.Labels) -> list[str]:
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()]


def check(amtool: str, member: Member, test: RoutingTest) -> str:
    """The command by which the new version's amtool judges a test. It names the receivers alone: the labels are said
    after it."""
    says = f"alert_routing_tests: an alert with {', '.join(_words(test.labels))}; expected: {', '.join(test.receivers)}"
    config = member.own(daemons.ALERTMANAGER).at(ALERTMANAGER_CONFIG)
    return (
        f"{amtool} config routes test --config.file={config} "
        f"--verify.receivers={shlex.quote(','.join(test.receivers))} {shlex.join(_words(test.labels))} "
        f"|| {{ echo {shlex.quote(says)}; exit 1; }}"
    )


def _of_rules(groups: Iterable[Data], cluster: str) -> Iterator[Labels]:
    """The labels that alerts of these rules have for sure."""
    for group in groups:
        for rule in group.get("rules") or []:
            if "alert" in rule:
                fixed = {k: str(v) for k, v in (rule.get("labels") or {}).items() if "{{" not in str(v)}
                yield {"alertname": str(rule["alert"]), CLUSTER_LABEL: cluster} | fixed


def known(site: Site) -> list[Labels]:
    """The label sets of which it is known that they are or may be alerts: the tests', and those of all rules."""
    found = [
        test.labels for member in site.running(daemons.ALERTMANAGER) for test in member.settings.alert_routing_tests
    ]
    for member in site.running(daemons.PROMETHEUS):
        cluster = member.settings.cluster
        own = (
            [{"rules": list(role.alerts(site, member))} for role in in_order()] if member.settings.starter_rules else []
        )
        files = [group for file in member.settings.prometheus_rules.values() for group in rule_groups(file)["groups"]]
        found += _of_rules([*own, *files], cluster)
    return [dict(one) for one in dict.fromkeys(tuple(labels.items()) for labels in found)]


def moved(site: Site, member: Member, found: State, change: Change) -> Iterator[str]:
    """The alerts that other receivers get from now on, by the routes that are on the host's disk."""
    if member.own(daemons.ALERTMANAGER).at(ALERTMANAGER_CONFIG) not in change.files or not found.extra.get("routes"):
        return
    try:
        before = as_dict(yaml.safe_load("\n".join(found.extra["routes"]))["route"])
        if not before.get("receiver"):
            return
        after = configuration.alertmanager_yml(site, member)["route"]
        ways: dict[tuple[str, str], list[str]] = {}
        for labels in known(site):
            old, new = (", ".join(routing.receivers(route, labels)) for route in (before, after))
            if old != new:
                ways.setdefault((old, new), []).append(_named(labels))
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return  # a hand wrote what stands there; amtool judges what is to come
    for (old, new), names in ways.items():
        yield f"alerts that went to {old} go to {new}: {some(list(dict.fromkeys(names)), 4)}"


def _named(labels: Labels) -> str:
    name = labels.get("alertname", "")
    others = [f"{key}={value}" for key, value in labels.items() if key not in ("alertname", CLUSTER_LABEL)]
    return f"{name} ({', '.join(others)})" if name and others else name or ", ".join(others)
