"""The rulers: rules over what several Prometheus have (upstream's rule.md).

Where one Prometheus has all the series of a rule, the rule belongs there (`prometheus_rules`): a ruler needs a querier,
and that its stores. Every ruler evaluates every rule and sends every alert to every Alertmanager, without the label in
which they differ. A new rule is a reload; a new flag, release, key, querier or Alertmanager a restart, one ruler at a
time. It keeps blocks, serves and uploads them, or sends what it records by remote write (`rule_remote_write`). Back up
means: ready, and every group of rules evaluated without failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter, verify_view
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.daemons.declare import Value
from prometheus_ha.deploys.lib.daemons.thanos import (
    RULE_ALERTMANAGERS,
    RULE_QUERY,
    RULE_REMOTE_WRITE,
    RULE_RULES_DIR,
    RULE_SECRETS_DIR,
)
from prometheus_ha.deploys.lib.engine import documents, gates, service
from prometheus_ha.deploys.lib.engine.component import Component, Directory, File
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import PATIENCE, Gate, Progress, Role, alike
from prometheus_ha.deploys.lib.engine.service import installed, thanos_directories
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.roles.querier import QUERIER
from prometheus_ha.deploys.lib.site import derived, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports import thanos
from prometheus_ha.facts.reports.look import State


def files(site: Site, member: Member) -> dict[str, File]:
    """What a ruler reads, with the secrets in it."""
    at = member.own(daemons.RULE).at
    secrets = member.settings.rule_secret_files
    found = documents.secret_files(at(RULE_SECRETS_DIR), secrets, "rule_secret_files")
    found[at(RULE_QUERY)] = documents.file(rule_query_yml(site), "web_client")
    if site.running(daemons.ALERTMANAGER):
        alertmanagers = rule_alertmanagers_yml(site)
        found[at(RULE_ALERTMANAGERS)] = documents.file(alertmanagers, "web_client")
    if derived.stateless(member):
        remote_write = {"remote_write": member.settings.rule_remote_write}
        found[at(RULE_REMOTE_WRITE)] = documents.file(remote_write, "rule_remote_write")
    for name, rules in ruler_files(member).items():
        found[at(f"{RULE_RULES_DIR}/{name}")] = documents.file(rules)
    return found


def checks(member: Member, found: State) -> tuple[str, ...]:
    """The new version's own judgement of the rules; it takes none at all for a mistake."""
    if not member.settings.rule_rules:
        return ()
    thanos = f"{installed(member, found, daemons.RULE.product)}/thanos"
    rules = member.own(daemons.RULE).at(f"{RULE_RULES_DIR}/*.yml")
    return (f"{thanos} tools rules-check --rules='{rules}'",)


def component(site: Site, member: Member, found: State) -> Component:
    own = member.own(daemons.RULE)
    return service.component(
        "rule",
        *(site, member, found, daemons.RULE),
        files=files(site, member),
        directories={
            **thanos_directories(own),
            own.at(RULE_RULES_DIR): Directory("750", managed=True),
            own.at(RULE_SECRETS_DIR): Directory("750", managed=True),
        },
        checks=checks(member, found),
    )


def reloaded(site: Site, member: Member) -> Gate:
    return gates.loaded(site, member, daemons.RULE, "thanos_rule")


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and every rule that it has was evaluated since its start, without failure."""

    def judged(report: thanos.Report) -> Progress:
        rules = thanos.rules(report)
        if isinstance(rules, str):
            return Progress(False, f"does not tell its rules: {rules}")
        failing = [one for one in rules if one.health == "err"]
        waiting = sum(one.health == "unknown" for one in rules)
        if failing:
            first = failing[0]
            says = f"{len(failing)} rules fail, as {first.group}/{first.name}: {first.last_error}"
            return Progress(False, says, (len(failing), waiting))
        if waiting:
            says = f"ready, {waiting} of {len(rules)} rules not evaluated yet"
            return Progress(False, says, (0, waiting))
        return Progress(True, f"ready, {len(rules)} rules evaluated", "ok")

    # A group is first evaluated within one of its intervals.
    intervals = [member.settings.evaluation_interval]
    intervals += [
        group["interval"]
        for rules in member.settings.rule_rules.values()
        for group in rules["groups"]
        if "interval" in group
    ]
    gate = gates.thanos_gate(site, member, asked_by, daemons.RULE, thanos.RULE_CALLS, judged)
    return replace(gate, patience=PATIENCE + max(map(starter.lasting, intervals)))


def alertmanagers_file(site: Site, member: Member, found: State) -> Value:
    return member.own(daemons.RULE).at(RULE_ALERTMANAGERS) if site.running(daemons.ALERTMANAGER) else None


def query_url(site: Site, member: Member, found: State) -> Value:
    queriers = site.running(daemons.QUERIER)
    return site.endpoint(daemons.QUERIER, queriers[0]).url if queriers else None


def bucket_file(site: Site, member: Member, found: State) -> Value:
    stores = derived.uploads(member) and not derived.stateless(member)
    return member.own(daemons.RULE).bucket if stores else None


def remote_write_file(site: Site, member: Member, found: State) -> Value:
    return member.own(daemons.RULE).at(RULE_REMOTE_WRITE) if derived.stateless(member) else None


def ruler_files(member: Member) -> dict[str, Data]:
    """Name in a ruler's rules directory -> content: the user's. Groups that do not say so themselves are evaluated over
    what there is: by upstream's default a ruler is blind as long as a single store is away."""
    return {
        name: {
            **rules,
            "groups": [{"partial_response_strategy": "warn", **group} for group in rules.get("groups", [])],
        }
        for name, rules in member.settings.rule_rules.items()
    }


def rule_query_yml(site: Site) -> list[Data]:
    """Whom a ruler asks, for `--query.config-file`: one querier after another, until one answers."""
    return [
        {
            **({"http_config": how} if (how := web.http_config([m.settings])) else {}),
            "static_configs": [endpoint.target],
            "scheme": endpoint.scheme,
        }
        for m in site.running(daemons.QUERIER)
        for endpoint in (site.endpoint(daemons.QUERIER, m),)
    ]


def rule_alertmanagers_yml(site: Site) -> Data:
    """Whom a ruler alerts, for `--alertmanagers.config-file`: all of them, always."""
    return {
        "alertmanagers": [
            {
                **({"http_config": how} if (how := web.http_config([m.settings])) else {}),
                "static_configs": [endpoint.target],
                "scheme": endpoint.scheme,
                "api_version": "v2",
            }
            for m in site.running(daemons.ALERTMANAGER)
            for endpoint in (site.endpoint(daemons.ALERTMANAGER, m),)
        ]
    }


LOSES_ALERTS = Alert(
    "RulerLosesAlerts",
    "thanos",
    {"critical": None},
    "The ruler on <host> loses alerts",
    "Its queue is full, or no Alertmanager takes them. See whether the Alertmanagers answer from its host, and "
    "journalctl -u <unit> there.",
    patience=0,
)
CANNOT_EVALUATE = Alert(
    "RulerCannotEvaluate",
    "thanos",
    {"critical": None},
    "The ruler on <host> cannot evaluate {{ $labels.rule_group }}",
    "What the group watches over is not watched. No querier answers, or a rule fails: journalctl -u <unit> on the host "
    "has the error.",
)
RULER_RELOAD_FAILED = Alert(
    "RulerConfigReloadFailed",
    "thanos",
    {"critical": None},
    "The ruler on <host> refused its rules",
    "It goes on with the rules it had, and would not start again with those on disk. journalctl -u <unit> on the host "
    "names the mistake; the next run of the deploy mends a file that was edited by hand.",
)
STANDS_STILL = Alert(
    "RulerStandsStill",
    "thanos",
    {"critical": 10},
    "The ruler on <host> has not evaluated {{ $labels.rule_group }} for <threshold> intervals",
    "What the group watches over is not watched, and nothing fails that could be counted: the ruler hangs, or waits "
    "for a querier that does not answer. See journalctl -u <unit> on the host, and restart it if it stays so.",
    counts="intervals of the group without an evaluation",
)
TOO_SLOW = Alert(
    "RulerTooSlow",
    "thanos",
    {"warning": 1},
    "The ruler on <host> needs longer for {{ $labels.rule_group }} than its interval is",
    "Evaluations are left out, and alerts are late. Make the queries of the group cheaper (recording rules), its "
    "interval longer, or the querier faster.",
    counts="share of the interval that the last evaluation took",
)
PARTIAL_ANSWERS = Alert(
    "RulerPartialAnswers",
    "thanos",
    {"warning": None},
    "The ruler on <host> evaluates with incomplete answers",
    "The querier warned: a store did not answer, so a rule may see less than there is. See which one: the page "
    "Stores of the querier, and ThanosQueryStoresMissing.",
    patience=3,
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    """What upstream's mixin takes for the essence (ThanosRule*)."""
    info = daemons.RULE
    if not site.scraped(member, info.name):
        return
    window = starter.milliseconds(4 * seconds(member.settings.scrape_interval))
    job = starter.ours(site, member, info.name)
    ruler = site.running(info.name)[0].settings
    evaluated = starter.window(member, *starter.intervals(ruler.rule_rules, ruler))
    lost = " or ".join(
        f"rate(thanos_alert_{part}_alerts_dropped_total{{{job}}}[{window}]) > 0" for part in ("queue", "sender")
    )
    yield from LOSES_ALERTS.rules(member, lost, unit=info.unit)
    failed = f"rate(prometheus_rule_evaluation_failures_total{{{job}}}[{evaluated}]) > 0"
    yield from CANNOT_EVALUATE.rules(member, failed, unit=info.unit)
    yield from RULER_RELOAD_FAILED.rules(
        member, f"thanos_rule_config_last_reload_successful{{{job}}} == 0", unit=info.unit
    )
    yield from STANDS_STILL.rules(member, starter.overdue_group(job, "<threshold>"), unit=info.unit)
    yield from TOO_SLOW.rules(member, starter.slow_group(job, "<threshold>"))
    yield from PARTIAL_ANSWERS.rules(
        member,
        f"sum by (instance, host) (increase(thanos_rule_evaluation_with_warnings_total{{{job}}}[{evaluated}])) > 0",
    )


def _check_rulers(view: View) -> Iterator[Finding]:
    """The rulers loaded what is on their disks, can evaluate it, and have lost no alert."""
    for member, report in view.reports(daemons.RULE):
        if not report.ready:
            continue
        unit = member.own(daemons.RULE).unit
        rules = thanos.rules(report)
        if isinstance(rules, str):
            found = f"thanos-rule did not answer for its rules: {rules}"
            yield Finding(member.name, "rules", found, "an answer", verify_view.journal(unit))
            continue
        if report.values.get(thanos.RULES_LOADED) == 0:
            found = "thanos-rule refused its rules when it last loaded them"
            advice = f"{verify_view.journal(unit)}; then deploy again"
            yield Finding(member.name, "reload", found, "the last reload successful", advice)
        broken = [f"{r.group}/{r.name} ({r.last_error})" for r in rules if r.health == "err"]
        if broken:
            found = f"rules that cannot be evaluated: {some(broken)}"
            advice = "do the queriers answer (checks stores and queries)? " + verify_view.journal(unit)
            queriers = [(one.name, daemons.QUERIER.name) for one in view.site.running(daemons.QUERIER)]
            all_down = queriers and all(one in view.broken for one in queriers)
            about = queriers[0] if all_down else None
            yield Finding(member.name, "rules", found, "none", advice, "warn", about)
        wanted = {one for file in member.settings.rule_rules.values() for one in _named(file)}
        missing = wanted - {(rule.group, rule.name) for rule in rules}
        if missing:
            found = f"rules that are not loaded: {some('/'.join(one) for one in sorted(missing))}"
            advice = "run the deploy again: it mends this"
            yield Finding(member.name, "rules", found, "all of rule_rules", advice)
        if lost := sum(report.values.get(name, 0) for name in thanos.ALERTS_LOST):
            found = f"{lost:.0f} alerts reached no Alertmanager since its start"
            advice = f"do the Alertmanagers answer from here? {verify_view.journal(unit)}"
            yield Finding(member.name, "rules", found, "0", advice, "warn")


def _named(rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Group and name of the rules in a file."""
    for group in rules["groups"]:
        for rule in group.get("rules") or []:
            yield str(group.get("name")), str(rule.get("alert") or rule.get("record"))


def _check_rule(site: Site, member: Member) -> Iterator[Finding]:
    if daemons.RULE.group not in member.groups:
        return
    finding = partial(host_finding, member)
    if not site.running(daemons.QUERIER):
        yield finding("groups", "rule", "a host of the group querier: a ruler asks nobody else")
    for index, entry in enumerate(member.settings.rule_remote_write):
        if not isinstance(entry.get("url"), str):
            yield finding(f"rule_remote_write[{index}].url", "none", "the receiver's URL")


def _check_alike(site: Site) -> Iterator[Finding]:
    members = site.running(daemons.RULE)
    for member in members[1:]:
        for key in ("rule_rules", "rule_remote_write", "rule_secret_files"):
            ours, theirs = getattr(member.settings, key), getattr(members[0].settings, key)
            if (sorted(ours) != sorted(theirs)) if key == "rule_secret_files" else (ours != theirs):
                found = f"another than on {members[0].name}"
                allowed = "the same on all rulers: deduplication takes them for one"
                yield host_finding(member, key, found, allowed, "warn")


RULE = Role(
    "rule",
    daemons.RULE.group,
    component,
    gate,
    reloaded,
    needs=(QUERIER,),
    stands_in=alike(lambda member: member.settings.rule_rules),
    values={
        daemons.RULE: {
            "alertmanagers.config-file": alertmanagers_file,
            "label": lambda site, member, found: derived.replica_label(daemons.RULE.name, member),
            "alert.label-drop": lambda site, member, found: derived.dropped_from_alerts(site),
            "alert.query-url": query_url,
            "objstore.config-file": bucket_file,
            "remote-write.config-file": remote_write_file,
        }
    },
    alerts=alerts,
    verdicts=(_check_rulers,),
    findings=(_check_rule,),
    site_findings=(_check_alike,),
)
