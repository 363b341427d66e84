"""Group bots of Feishu, DingTalk and WeCom (docs/alerting.md): the relay beside each Alertmanager.

Alertmanager takes every 2xx for delivered, and these bots answer 200 to what they refuse. The relay signs a message,
cuts it to what the bot takes, reads its answer, and tells Alertmanager the truth of it, which tries again as it does
with any receiver. Each of `alert_channels` is a receiver of Alertmanager by that name. Notifications are taken on
loopback alone; a new channel, key or text is a reload, which loses nothing. Back up means: it answers, and knows its
channels.

The file with the keys of the bots is for the relay's own group. No credential of systemd: those are read at a start,
and a changed key would be a restart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.daemons.alertmanager import RELAY_CONFIG, RELAY_DIR, RELAY_LOADED
from prometheus_ha.deploys.lib.daemons.declare import PYTHON
from prometheus_ha.deploys.lib.engine import gates, service
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.component import Component, Directory, File
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.deploys.lib.site import derived, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import AlertChannel, time_zone
from prometheus_ha.facts.http import NO_ANSWER, Call, metric, metrics, only_metrics, split
from prometheus_ha.facts.reports.look import State

DAEMON = daemons.ALERT_RELAY

PER_MINUTE = {"dingtalk": 20, "wecom": 20, "feishu": 100}
"""Messages that a vendor takes from a bot in a minute, by the vendors' pages for group bots."""


def share(site: Site, member: Member, channel: AlertChannel) -> int:
    """How many of the bot's messages in a minute are this member's. In a storm the others send too, while the first one
    waits for room, and all together must not reach the limit: DingTalk takes nothing for ten minutes then.

    The first one is Alertmanager's: by name, as its members take their places.
    """
    limit = channel.per_minute or PER_MINUTE[channel.type] * 9 // 10
    members = sorted(one.name for one in site.running(DAEMON))
    others = max(limit // 6, 1)
    return max(limit - others * (len(members) - 1), 1) if member.name == members[0] else others


_KEYS = {"url": "webhook_url", "sign": "sign_secret"}
"""Setting -> key of the relay's, by which a difference of the file knows what to hide."""


def relay_json(site: Site, member: Member) -> Data:
    """The relay's configuration, with the secrets in it. Raises SecretError where one cannot be read."""
    settings = member.settings
    given = {name: channel.model_dump(exclude={"send_resolved"}) for name, channel in settings.alert_channels.items()}
    channels = {
        name: {_KEYS.get(key, key): value for key, value in channel.items() if value not in (None, "", {})}
        for name, channel in resolve(given, "alert_channels").items()
    }
    for name, channel in settings.alert_channels.items():
        channels[name]["per_minute"] = share(site, member, channel)
    asked = daemons.FRONTEND if site.running(daemons.FRONTEND) else daemons.QUERIER
    queriers = site.running(asked)
    return {
        "channels": channels,
        "alertmanager": derived.address(daemons.ALERTMANAGER, site, member),
        **({"query": derived.address(asked, site, queriers[0])} if queriers else {}),
        "time_zone": time_zone(settings.alert_time_zone),
        **({"deadman": sorted(settings.deadman_sites)} if settings.deadman_sites else {}),
        **({"serve": served} if (served := _serve(member)) else {}),
    }


def _serve(member: Member) -> Data:
    """How its port of metrics is served: as those of the other daemons of the host are."""
    settings = member.settings
    tls: dict[str, Any] = (settings.web_config or {}).get("tls_server_config") or {}
    served: Data = {
        key: web.path(tls[key]) if key.endswith("_file") else tls[key]
        for key in ("cert_file", "key_file", "client_ca_file", "client_auth_type")
        if key in tls
    }
    if web.asks_password(settings):
        # Python's library has no bcrypt: it takes the one password that our own clients ask with.
        user = resolve(settings.web_client.get("basic_auth") or {}, "web_client.basic_auth")
        pair = f"{user.get('username')}:{user.get('password')}"
        digest = hashlib.sha256(pair.encode()).hexdigest()
        served["users"] = {user["username"]: {"sha256_password": digest}} if user else {}
    return served


def component(site: Site, member: Member, found: State) -> Component:
    at = member.own(DAEMON).at
    text = json.dumps(relay_json(site, member), indent=1, ensure_ascii=False) + "\n"
    return service.component(
        DAEMON.name,
        *(site, member, found, DAEMON),
        files={at(RELAY_CONFIG): File(text, group=DAEMON.name)},
        directories={at(RELAY_DIR): Directory("750", managed=True)},
        checks=(f"{' '.join(PYTHON)} {{staged}}{DAEMON.path} --config.check --config.file={at(RELAY_CONFIG)}",),
    )


# --- Back up --------------------------------------------------------------------------------------


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """It answers, and knows its channels."""
    calls = [Call("ready", DAEMON.ready_path), Call("metrics", DAEMON.metrics_path, only_metrics(RELAY_LOADED))]
    questions = script(*(site, member, DAEMON), calls, either=member.name != asked_by.name)

    def judge(lines: list[str]) -> Progress:
        answers = split(lines)
        ready, values = (answers.get(name, NO_ANSWER) for name in ("ready", "metrics"))
        if not ready.ok:
            return Progress(False, f"not ready: {ready.problem}", ready.status or None)
        if metric(metrics(values.body), RELAY_LOADED) != 1:
            return Progress(False, "ready, and it has no channels: its journal says why", "channels")
        return Progress(True, "ready, and knows its channels", "ok")

    return Gate(questions, judge)


def reloaded(site: Site, member: Member) -> Gate:
    return gates.loaded(site, member, DAEMON, DAEMON.name)


# --- What is said of it ---------------------------------------------------------------------------


RELOAD_FAILED = starter.reload_alert("AlertRelay", "alertmanager")
CHANNEL_REFUSES = Alert(
    "AlertChannelRefuses",
    "alertmanager",
    {"critical": None},
    "The bot of {{ $labels.channel }} refuses messages",
    "Whoever reads this chat is not told: a wrong keyword, key or token, or a bot that was removed. journalctl -u "
    "<unit> on <host> has its code and words; docs/alerting.md says what they mean. Mend alert_channels and deploy.",
    patience=0,
)
CHANNEL_BLOCKED = Alert(
    "AlertChannelBlocked",
    "alertmanager",
    {"warning": None},
    "The bot of {{ $labels.channel }} takes no message for now",
    "More was sent in a minute than the vendor allows: DingTalk blocks a bot for ten minutes then. Alertmanager goes "
    "on trying, and nothing is lost for as long as the alerts fire. Group more alerts into one message (group_by), "
    "or give the channel fewer routes.",
)
OTHER_SITE_DEAD = Alert(
    "OtherSiteDead",
    "alertmanager",
    {"critical": None},
    "The site {{ $labels.site }} gave no sign of life for {{ $value | humanizeDuration }}",
    "Its Watchdog no longer comes: all its Prometheus or all its Alertmanagers are down, or the way from there to "
    "here is cut. It cannot tell anybody of its own alerts. Run verify on that site.",
    patience=0,
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    if not site.scraped(member, DAEMON):
        return
    yield from starter.reload_failed(site, member, RELOAD_FAILED, DAEMON)
    ours = starter.ours(site, member, DAEMON)
    # The sites whose dead man's switch this one is. The Watchdog of one comes to each relay that it was told of.
    waits = {name: one for host in site.scraped(member, DAEMON) for name, one in host.settings.deadman_sites.items()}
    for name, wait in waits.items():
        seen = f'max by (site) (alert_relay_deadman_timestamp_seconds{{{ours}, site="{name}"}})'
        yield from OTHER_SITE_DEAD.rules(member, f"time() - {seen} > {seconds(wait):g}")
    if any(one.settings.alert_channels for one in site.scraped(member, DAEMON)):
        # What was refused is tried again after each group_interval.
        window = starter.window(member, member.settings.timing.group_interval, count=3)
        refused = f"increase(alert_relay_refused_total{{{ours}}}[{window}]) > 0"
        yield from CHANNEL_REFUSES.rules(member, refused, unit=DAEMON.unit)
        blocked = f"max by (host, instance, channel) (alert_relay_blocked{{{ours}}}) > 0"
        yield from CHANNEL_BLOCKED.rules(member, blocked)


def _check_channels(site: Site, member: Member) -> Iterator[Finding]:
    """What the relay would refuse is said before the run connects, with the setting."""
    channels = member.settings.alert_channels
    if daemons.ALERTMANAGER.name not in member.components:
        return
    for name, channel in channels.items():
        key = f"alert_channels.{name}"
        if channel.sign and channel.type == "wecom":
            yield host_finding(member, f"{key}.sign", "a key", "none: WeCom's bots know no signature")
        if (channel.per_minute or 0) > PER_MINUTE[channel.type]:
            allowed = f"at most {PER_MINUTE[channel.type]}, which the vendor takes"
            yield host_finding(member, f"{key}.per_minute", str(channel.per_minute), allowed)
        if channel.type == "wecom" and any("all" in who for who in channel.mention.values()):
            yield host_finding(member, f"{key}.mention", "all", "user ids: WeCom's markdown has no mention of all")


def _check_group(site: Site) -> Iterator[Finding]:
    for member in site.running(DAEMON):
        if daemons.ALERTMANAGER.group not in member.groups:
            allowed = "no host named in it: every Alertmanager host is in it by itself"
            yield host_finding(member, f"group {DAEMON.group}", "a host without an Alertmanager", allowed)


ALERT_RELAY = Role(
    DAEMON.name,
    DAEMON.group,
    component,
    gate,
    reloaded,
    values={DAEMON: {}},
    alerts=alerts,
    findings=(_check_channels,),
    site_findings=(_check_group,),
)
