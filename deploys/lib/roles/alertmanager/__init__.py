"""The gossiping Alertmanager cluster (spec/000 6).

Every member holds the same configuration and names the other members as its peers. A new route or template is a
reload on every living member, also in the middle of an outage; a new flag or release is a restart, one member at a
time. Back up means: ready, and gossip settled with every other member that is alive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import failed_notifications, starter, verify_view
from prometheus_ha.deploys.lib.common.failed_notifications import Failure
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.common.verify_view import View
from prometheus_ha.deploys.lib.daemons.alertmanager import (
    ALERTMANAGER_CONFIG,
    ALERTMANAGER_DATA,
    ALERTMANAGER_DIR,
    ALERTMANAGER_SECRETS_DIR,
    AMTOOL_CONFIG,
    AMTOOL_DIR,
    AMTOOL_HTTP,
    TEMPLATES_DIR,
)
from prometheus_ha.deploys.lib.daemons.declare import Value
from prometheus_ha.deploys.lib.engine import documents, flags, gates, service
from prometheus_ha.deploys.lib.engine.ask import at_once, script
from prometheus_ha.deploys.lib.engine.component import Component, Directory, File
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role
from prometheus_ha.deploys.lib.engine.service import data_directories, installed
from prometheus_ha.deploys.lib.ground import routing
from prometheus_ha.deploys.lib.ground.durations import seconds, written
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.ground.secrets import lacking, leaves
from prometheus_ha.deploys.lib.roles.alert_relay import ALERT_RELAY
from prometheus_ha.deploys.lib.roles.alertmanager import configuration, findings, payloads, routes
from prometheus_ha.deploys.lib.site import derived, web
from prometheus_ha.deploys.lib.site.live import flag_value
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import NO_ANSWER, Call, split
from prometheus_ha.facts.reports import alertmanager as reports_alertmanager
from prometheus_ha.facts.reports.look import State

READ_AT_RELOAD = {
    "alert_source_token_file",
    *("token_file", "token_id_file", "rocketchat_token_file", "rocketchat_token_id_file"),
}
"""Keys with files that incident.io's and Rocket.Chat's notifiers read with the configuration (0.34.2); of all others
each notification reads them again."""


def _header(member: Member, secrets: dict[str, File]) -> str:
    """A file that is read with the configuration is a part of it: another content is to be a reload."""
    named = leaves(member.settings.alertmanager_config, ())
    paths = sorted({path for keys, path in named if keys and keys[-1] in READ_AT_RELOAD} & set(secrets))
    tokens = "".join(secrets[path].content for path in paths)
    # Of one that this machine lacks there is no digest: with its stand-in, the whole file is not compared.
    digest = tokens if lacking(tokens) else hashlib.sha256(tokens.encode()).hexdigest()
    return documents.HEADER + (f"\nTokens: {digest}" if paths else "")


def component(site: Site, member: Member, found: State) -> Component:
    at = member.own(daemons.ALERTMANAGER).at
    secrets = member.settings.alertmanager_secret_files
    files = documents.secret_files(at(ALERTMANAGER_SECRETS_DIR), secrets, "alertmanager_secret_files")
    files[at(ALERTMANAGER_CONFIG)] = documents.file(
        configuration.alertmanager_yml(site, member),
        "alertmanager_config",
        header=_header(member, files),
    )
    for name, text in member.settings.alertmanager_templates.items():
        files[at(f"{TEMPLATES_DIR}/{name}")] = File(text)
    files |= _for_amtool(site, member)
    amtool = f"{installed(member, found, daemons.ALERTMANAGER.product)}/amtool"
    return service.component(
        "alertmanager",
        *(site, member, found, daemons.ALERTMANAGER),
        files=files,
        directories={
            at(ALERTMANAGER_DIR): Directory("750", managed=True),
            at(TEMPLATES_DIR): Directory("750", managed=True),
            at(ALERTMANAGER_SECRETS_DIR): Directory("750", managed=True),
            at(AMTOOL_DIR): Directory("750"),
            **data_directories(at(ALERTMANAGER_DATA)),
        },
        checks=(
            f"{amtool} check-config {at(ALERTMANAGER_CONFIG)}",
            *(routes.check(amtool, member, test) for test in member.settings.alert_routing_tests),
            *payloads.checks(amtool, member),
        ),
    )


def _for_amtool(site: Site, member: Member) -> dict[str, File]:
    """What `amtool alert` and its other commands need on this host: where, and with what, they ask."""
    at = member.own(daemons.ALERTMANAGER).at
    config = {"alertmanager.url": site.local(daemons.ALERTMANAGER, member).url, "comment_required": "true"}
    files = {}
    if how := web.http_config([member.settings]):
        config["http.config.file"] = at(AMTOOL_HTTP)
        files[at(AMTOOL_HTTP)] = documents.file(how, "web_client")
    return {**files, at(AMTOOL_CONFIG): documents.file(config)}


def reloaded(site: Site, member: Member) -> Gate:
    return gates.loaded(site, member, daemons.ALERTMANAGER, "alertmanager")


def together(site: Site, member: Member, found: State) -> str:
    """Members with another gossip label or port do not hear each other: in turns, the first would be alone."""
    running = site.live.argv(member.own(daemons.ALERTMANAGER), member.name)
    if running is None or not derived.clustered(site):
        return ""
    wanted = flags.argv(daemons.ALERTMANAGER, site, member, found)
    labels = [flag_value(argv, "cluster.label") or "none" for argv in (running, wanted)]
    ports = [
        site.live.port(member.own(daemons.ALERTMANAGER), member.name, "cluster"),
        site.endpoint(daemons.ALERTMANAGER, member, "cluster").port,
    ]
    moves = [f"gossip label {labels[0]} becomes {labels[1]}"] if labels[0] != labels[1] else []
    # None: it was the only one so far, and gossiped with nobody.
    if ports[0] not in (None, ports[1]):
        moves.append(f"gossip port {ports[0]} becomes {ports[1]}")
    return ", ".join(moves) if ports[0] is not None else ""


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, gossip settled, and every other member that is alive among its peers."""
    others = [other for other in gates.living(site, daemons.ALERTMANAGER) if other.name != member.name]
    questions = at_once(
        [
            script(
                *(site, member, daemons.ALERTMANAGER),
                reports_alertmanager.CALLS,
                either=member.name != asked_by.name,
            ),
            *(
                script(
                    *(site, other, daemons.ALERTMANAGER),
                    [Call(f"other {other.name}", "/-/ready")],
                    either=other.name != asked_by.name,
                )
                for other in others
            ),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        report = reports_alertmanager.parse(lines)
        answers = split(lines)
        if not report.ready:
            return Progress(False, f"not ready: {report.errors.get('ready', '')}")
        peers = {peer.address for peer in report.peers}
        missing = [
            other.name
            for other in others
            if answers.get(f"other {other.name}", NO_ANSWER).ok
            and site.endpoint(daemons.ALERTMANAGER, other, "cluster").target not in peers
        ]
        if missing:
            return Progress(False, f"gossip without {', '.join(missing)}", ("peers", len(missing)))
        if report.cluster_status not in ("ready", "disabled"):
            return Progress(False, f"gossip {report.cluster_status}", ("gossip", report.cluster_status))
        return Progress(True, f"ready, gossip {report.cluster_status} with {len(peers)} peers", "ok")

    return Gate(questions, judge)


def peers(site: Site, member: Member, found: State) -> Value:
    others = site.peers(member, daemons.ALERTMANAGER.group)
    return [site.endpoint(daemons.ALERTMANAGER, other, "cluster").target for other in others]


def listen(site: Site, member: Member, found: State) -> Value:
    """Empty where there is one Alertmanager."""
    return site.listen(daemons.ALERTMANAGER, member, "cluster") if derived.clustered(site) else ""


def if_clustered(value: Callable[[Site, Member], Value]) -> flags.Here:
    return lambda site, member, found: value(site, member) if derived.clustered(site) else None


def timing(name: str) -> flags.Here:
    return if_clustered(lambda site, member: getattr(member.settings.timing, name))


def features(site: Site, member: Member, found: State) -> Value:
    """The drill looks for exactly one notification of a receiver; alert.py reads what the event recorder wrote."""
    names = ["receiver-name-in-metrics", *(["event-recorder"] if configuration.records_events(member) else [])]
    return ",".join(names)


_RECEIVER = (
    "{{ with $labels.receiver_name }}the receiver {{ . }}{{ else }}receivers{{ end }} ({{ $labels.integration }})"
)
_WAY = (
    "This alert goes past a receiver that fails where there is another, from Alertmanager 0.27 on; else look at it "
    "here, or route it to another yourself."
)
FAILED_TO_SEND = Alert(
    configuration.FAILED_TO_SEND["warning"],
    "alertmanager",
    {"warning": None},
    f"Alertmanager on <host> cannot notify {_RECEIVER}",
    "Another member may have told instead. journalctl -u <unit> on the host has the receiver's answer (Notify for "
    "alerts "
    f"failed). {_WAY}",
)
NONE_SENDS = Alert(
    configuration.FAILED_TO_SEND["critical"],
    "alertmanager",
    {"critical": 0.9},
    f"No Alertmanager can notify {_RECEIVER}",
    "Whoever is to be told by it is not told of any alert. journalctl -u <unit> on the Alertmanagers has the "
    "receiver's "
    f"answer (Notify for alerts failed). {_WAY}",
    counts="share of the notifications of a receiver that fail, on all members together",
)
RELOAD_FAILED = starter.reload_alert("Alertmanager", "alertmanager")
PEERS_MISSING = Alert(
    "AlertmanagerPeersMissing",
    "alertmanager",
    {"critical": None},
    "Alertmanager on <host> sees {{ $value }} of <wanted> members",
    "Members that do not see each other each send every notification. See whether all of them run, and whether port "
    "<port> is open between them, TCP and UDP.",
)
CONFIG_DIFFERS = Alert(
    "AlertmanagerConfigInconsistent",
    "alertmanager",
    {"critical": None},
    "{{ $value }} configurations are loaded by the Alertmanagers",
    "Who is told depends on which of them has the alert first, and some are told twice. A host missed a run of the "
    "deploy, or was edited by hand: deploy again; verify names the one.",
    patience=4,
)
GOSSIP_FAILS = Alert(
    "AlertmanagerGossipFailing",
    "alertmanager",
    {"warning": None},
    "Alertmanager on <host> drops what the members tell each other",
    "Large messages found their queue full, as a member answers slowly or there are very many of them, or two "
    "members have one name. Silences and what was notified may be known on one member alone. journalctl -u <unit> on "
    "the host.",
    patience=0,
)
STATE_NOT_SAVED = Alert(
    "AlertmanagerStateNotSaved",
    "alertmanager",
    {"warning": None},
    "Alertmanager on <host> cannot write its silences and its notification log to disk",
    "They are kept in memory and on the other members. After a restart of all, silences are gone and everything is "
    "notified again. See df on its data directory, and journalctl -u <unit>.",
    patience=0,
)
ALERTS_REFUSED = Alert(
    "AlertmanagerRefusesAlerts",
    "alertmanager",
    {"warning": None},
    "Alertmanager on <host> refuses alerts",
    "Somebody sends alerts that are malformed (an empty label, a wrong time), or more of one name than the limit "
    "allows (alerts.per-alertname-limit). Nobody is told of those. journalctl -u <unit> on the host says what is "
    "wrong with them.",
)


def _failing(site: Site, member: Member) -> Iterator[Data]:
    """That notifications arrive, by receiver; below Alertmanager 0.27, which cannot tell them apart, by integration.

    Where one member fails, the next one sends: that is a warning. Where as good as all fails, nobody is told.
    """
    settings = site.running(daemons.ALERTMANAGER)[0].settings
    # What failed is tried again after each group_interval.
    routes = [route := settings.alertmanager_config.get("route") or {}, *routing.within(route)]
    steps = [settings.timing.group_interval, *starter.values(routes, "group_interval")]
    window = starter.window(member, *steps, count=3)
    ours = starter.ours(site, member, daemons.ALERTMANAGER)
    metric, unit = "alertmanager_notifications", daemons.ALERTMANAGER.unit
    total = f"rate({metric}_total{{{ours}}}[{window}])"
    # A reload or a stop cancels what is under way, and it is sent again.
    failed = f'rate({metric}_failed_total{{{ours}, reason!="contextCanceled"}}[{window}])'
    by = "sum by ({}integration, receiver_name)"
    yield from FAILED_TO_SEND.rules(member, f"{by.format('instance, host, ')} ({failed}) > 0", unit=unit)
    yield from NONE_SENDS.rules(
        member, f"{by.format('')} ({failed})\n/ {by.format('')} ({total}) > <threshold>", unit=unit
    )


def _together(site: Site, member: Member) -> Iterator[Data]:
    """That all members are one cluster, with one configuration. How many there are is from the inventory: what is
    scraped could be missing one as well."""
    members, ours = site.running(daemons.ALERTMANAGER), starter.ours(site, member, daemons.ALERTMANAGER)
    if (wanted := len(members)) < 2:
        return
    port = site.endpoint(daemons.ALERTMANAGER, members[0], "cluster").port
    seen = f"alertmanager_cluster_members{{{ours}}} < {wanted}"
    yield from PEERS_MISSING.rules(member, seen, wanted=wanted, port=port)
    yield from CONFIG_DIFFERS.rules(member, f'count(count_values("hash", alertmanager_config_hash{{{ours}}})) > 1')
    hour = starter.window(member, count=240)
    dropped = [
        f"sum by (instance, host) (increase(alertmanager_{what}_total{{{ours}}}[{hour}])) > 0"
        for what in ("oversized_gossip_message_dropped", "cluster_peer_name_conflicts")
    ]
    yield from GOSSIP_FAILS.rules(member, "\nor ".join(dropped), unit=daemons.ALERTMANAGER.unit)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    if not site.scraped(member, daemons.ALERTMANAGER):
        return
    ours, unit = starter.ours(site, member, daemons.ALERTMANAGER), daemons.ALERTMANAGER.unit
    yield from starter.reload_failed(site, member, RELOAD_FAILED, daemons.ALERTMANAGER)
    yield from _failing(site, member)
    yield from _together(site, member)
    # They are written every 15 minutes.
    unsaved = [
        f"increase(alertmanager_{what}_maintenance_errors_total{{{ours}}}[1h]) > 0" for what in ("nflog", "silences")
    ]
    yield from STATE_NOT_SAVED.rules(member, "\nor ".join(unsaved), unit=unit)
    over = starter.window(member, count=20)
    refused = [
        f"sum by (instance, host) (increase(alertmanager_alerts_{what}_total{{{ours}}}[{over}])) > 0"
        for what in ("invalid", "limited")
    ]
    yield from ALERTS_REFUSED.rules(member, "\nor ".join(refused), unit=unit)


def _check_gossip(view: View) -> Iterator[Finding]:
    """One cluster of all Alertmanagers, with one configuration."""
    members = {
        view.site.endpoint(daemons.ALERTMANAGER, member, "cluster").target: member.name
        for member in view.site.running(daemons.ALERTMANAGER)
    }
    gossip = len(members) > 1
    first: tuple[str, float] | None = None
    for member, report in view.reports(daemons.ALERTMANAGER):
        if not report.ready:
            continue
        failed = next((call for call in ("status", "metrics") if call in report.errors), None)
        if failed:
            yield verify_view.unanswered(member, "gossip", daemons.ALERTMANAGER, failed, report)
            continue
        journal = verify_view.journal(member.own(daemons.ALERTMANAGER).unit)
        advice = f"is the gossip port open between them, TCP and UDP? {journal}"
        if gossip:
            peers = {peer.address for peer in report.peers}
            missing = {
                name: (name, daemons.ALERTMANAGER.name) for target, name in members.items() if target not in peers
            }
            for names, about in view.by_cause(missing):
                found, wanted = f"does not see {', '.join(names)}", f"all {len(members)} as peers"
                yield Finding(member.name, "gossip", found, wanted, advice, about=about)
            if report.cluster_status != "ready":
                found = f"gossip is {report.cluster_status}"
                yield Finding(member.name, "gossip", found, "ready, that is settled", advice)
            if report.failed_peers:
                found = f"failed peers: {report.failed_peers}"
                down = [one for one in missing.values() if one in view.broken]
                about = down[0] if report.failed_peers <= len(down) else None
                yield Finding(member.name, "gossip", found, "0", advice, about=about)
            strange = sorted(peers - set(members))
            if strange:
                yield Finding(
                    member.name,
                    "gossip",
                    f"peers that the inventory does not have: {some(strange)}",
                    f"the {len(members)} of the site",
                    "stop the Alertmanager there; it is forgotten after the reconnect timeout",
                    "warn",
                )
        if first is None:
            first = member.name, report.config_hash
        elif report.config_hash != first[1]:
            yield Finding(
                member.name,
                "gossip",
                f"another configuration loaded than on {first[0]}",
                "the same on all: they take turns in sending the same notifications",
                "run the deploy again: it mends this",
            )


FAILED = "failed notifications"
"""What its journal has of notifications that failed lately."""


def _check_notifications(view: View) -> Iterator[Finding]:
    """Notifications arrive. Who else would say that nobody is told?"""
    for member, report in view.reports(daemons.ALERTMANAGER):
        for one in report.sent if report.ready else ():
            if not one.failed:
                continue
            to = f"the receiver {one.receiver} ({one.integration})" if one.receiver else one.integration
            found = f"{one.failed} of {one.tried} notifications to {to} failed since its start or reload"
            if said := _last(failed_notifications.read(view.seen[member.name].journals.get(FAILED, ())), one):
                found += f"; last: {said}"
            journal = verify_view.journal(member.own(daemons.ALERTMANAGER).unit)
            advice = f"is the receiver's address right, and can it be reached? {journal}"
            yield Finding(member.name, "notifications", found, "0 failed", advice, "warn")


def dead_man(site: Site, member: Member) -> tuple[float, float]:
    """Seconds after which the Watchdog stops once the last Prometheus died, and those that an outside service should
    wait for it: three times as long as it takes to come again.

    Prometheus sends an alert that holds for four times its resend delay, or the interval of its rules (upstream's
    rules/alerting.go); Alertmanager repeats it until then.
    """
    last = [
        4 * max(seconds(one.settings.timing.resend_delay), seconds(one.settings.evaluation_interval))
        for one in site.running(daemons.PROMETHEUS)
    ]
    return max(last, default=0.0), 3 * seconds(member.settings.timing.watchdog_repeat)


def _say_dead_man(view: View) -> Iterator[Finding]:
    """How soon somebody outside notices that the platform is dead."""
    told = [one for one in view.site.running(daemons.ALERTMANAGER) if one.settings.deadman_url]
    if not told:
        return
    last, waits = dead_man(view.site, told[0])
    found = f"the Watchdog goes to deadman_url every {told[0].settings.timing.watchdog_repeat}"
    wanted = (
        f"a service that raises the alarm after {written(waits)} without it: {written(last + waits)} after the last "
        f"Prometheus died, {written(waits)} after the last Alertmanager or the way out did"
    )
    yield Finding(told[0].name, "dead man", found, wanted, "see how long the service waits", "note")


def _last(failed: Iterable[Failure], sent: reports_alertmanager.Sent) -> str:
    """When and how a receiver failed last."""
    for one in reversed(list(failed)):
        if one.integration == sent.integration and sent.receiver in ("", one.receiver):
            return f"{datetime.fromtimestamp(one.time, UTC):%Y-%m-%dT%H:%M:%SZ} {one.says}"
    return ""


ALERTMANAGER = Role(
    "alertmanager",
    daemons.ALERTMANAGER.group,
    component,
    gate,
    reloaded,
    together=together,
    values={
        daemons.ALERTMANAGER: {
            "cluster.listen-address": listen,
            "cluster.advertise-address": if_clustered(
                lambda site, member: site.endpoint(daemons.ALERTMANAGER, member, "cluster").target
            ),
            "cluster.peer": peers,
            "enable-feature": features,
            "cluster.label": if_clustered(derived.gossip_label),
            "cluster.peer-name": if_clustered(lambda site, member: member.name),
            "cluster.peer-timeout": timing("peer_timeout"),
            "cluster.settle-timeout": timing("settle_timeout"),
            "cluster.pushpull-interval": timing("pushpull_interval"),
            "cluster.reconnect-timeout": timing("reconnect_timeout"),
        }
    },
    needs=(ALERT_RELAY,),  # its receivers
    means=routes.moved,
    alerts=alerts,
    journals={FAILED: failed_notifications.script(daemons.ALERTMANAGER.unit, 2000, last=20)},
    verdicts=(_check_gossip, _check_notifications, _say_dead_man),
    site_findings=findings.SITE_FINDINGS,
)
