"""alertmanager.yml as data. Users write upstream's own keys; what the site needs is put around them."""

from __future__ import annotations

import json
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.daemons.alertmanager import (
    ALERTMANAGER_EVENTS,
    EVENTS_SINCE,
    EVENTS_V2_SINCE,
    TEMPLATES_DIR,
)
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.ground import routing, topology
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.secrets import is_secret
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL

WEBHOOK = "web.hook"
"""Name of the default receiver (spec/000 6.1)."""


WATCHDOG = "watchdog"
"""Name of the receiver that the Watchdog's route has for itself: a dead man's switch, or nobody."""


RECEIVER_NAMES_SINCE = "0.27.0"
"""First Alertmanager whose metrics can name the receiver (`--enable-feature=receiver-name-in-metrics`)."""


TEST_ALERT = "TestAlert"
TEST_RECEIVER = "test_receiver"
"""Name of the alert with which a receiver is tried, and the label that says which one."""


CANARY = "canary"
"""Name of the receiver that counts canaries, and nothing else."""
CANARY_ALERT = "Canary"
_CANARY_ROUTE = {
    "matchers": [f'alertname="{CANARY_ALERT}"'],
    "receiver": CANARY,
    "group_by": ["..."],
    "group_wait": "0s",
}


WATCHDOG_LABELS = {"alertname": "Watchdog", "severity": "none"}


def alertmanager_yml(site: Site, member: Member) -> Data:
    """alertmanager.yml, equal on all members (spec/000 6.1, and the inhibition of spec/001).

    The user's `alertmanager_config` is merged in: `global` and `route` key by key over ours,
    templates after ours, every other key instead of ours. Two things stay: the receiver `web.hook`
    while `alertmanager_webhook_url` is set, and the Watchdog's own route before the user's routes,
    unless one of those is for the Watchdog.
    """
    settings, timing = member.settings, member.settings.timing
    at = member.own(daemons.ALERTMANAGER).at
    user = dict(settings.alertmanager_config)
    receivers = list(user.pop("receivers", None) or [])
    receivers += [
        _relayed(member, name, name, send_resolved=one.send_resolved) for name, one in settings.alert_channels.items()
    ]
    names = [receiver.get("name") for receiver in receivers]
    url = settings.alertmanager_webhook_url
    if url is not None and WEBHOOK not in names:
        receivers.insert(0, {"name": WEBHOOK, "webhook_configs": [{"url": url}]})
    if not receivers:
        raise ValueError(
            f"{member.name}: alertmanager_webhook_url: found nothing; expected: this secret, or "
            "receivers in alertmanager_config or alert_channels"
        )
    route = {
        "receiver": receivers[0]["name"],
        "group_by": ["alertname", CLUSTER_LABEL],
        "group_wait": timing.group_wait,
        "group_interval": timing.group_interval,
        "repeat_interval": timing.repeat_interval,
        **(user.pop("route", None) or {}),
    }
    routes = route.pop("routes", None) or []
    routes = [*_past_the_failing(site, route | {"routes": routes}, receivers), *routes]
    for_watchdog = any(map(is_for_watchdog, routes))
    routes = [_test_route(receivers), *routes]
    if settings.alert_canary:
        routes = [_CANARY_ROUTE, *routes]
        receivers.append(_relayed(member, CANARY, "-/canary"))
    if not for_watchdog:
        routes = [_watchdog_route(timing.watchdog_repeat), *routes]
        if WATCHDOG not in names:
            receivers.append(_watchdog_receiver(settings.deadman_url))
    return {
        "global": {
            "resolve_timeout": timing.resolve_timeout,
            **(user.pop("global", None) or {}),
        },
        "templates": [at(f"{TEMPLATES_DIR}/*.tmpl"), *(user.pop("templates", None) or [])],
        "route": {**route, "routes": routes},
        "receivers": receivers,
        # What is critical need not be said as a warning too.
        "inhibit_rules": [
            {
                "source_matchers": ['severity="critical"'],
                "target_matchers": ['severity="warning"'],
                "equal": ["alertname", "instance"],
            }
        ],
        **({"event_recorder": {"file_outputs": [_events(member)]}} if records_events(member) else {}),
    } | user


def records_events(member: Member) -> bool:
    """Whether this Alertmanager writes down what becomes of each alert."""
    return releases.at_least(member.settings.version(daemons.ALERTMANAGER), EVENTS_SINCE)


def _events(member: Member) -> Data:
    named = releases.at_least(member.settings.version(daemons.ALERTMANAGER), EVENTS_V2_SINCE)
    return {**({"name": "file"} if named else {}), "path": member.own(daemons.ALERTMANAGER).at(ALERTMANAGER_EVENTS)}


TIMEOUT_SINCE = "0.28.0"
"""First Alertmanager in which a webhook has a timeout of its own."""

RELAY_TIMEOUT = "10s"
"""Longer than the relay takes for a bot and its second try: a message is not sent again while it is under way."""


def _relayed(member: Member, name: str, path: str, send_resolved: bool = False) -> Data:
    """A receiver that the relay on this host has: another process, and no other machine."""
    settings = member.settings
    url = f"http://{topology.join('127.0.0.1', settings.alert_relay_webhook_port)}/{path}"
    webhook: Data = {"url": url, "send_resolved": send_resolved}
    if releases.at_least(settings.version(daemons.ALERTMANAGER), TIMEOUT_SINCE):
        webhook["timeout"] = RELAY_TIMEOUT
    return {"name": name, "webhook_configs": [webhook]}


FAILED_TO_SEND = {"critical": "AlertmanagerClusterFailedToSendAlerts", "warning": "AlertmanagerFailedToSendAlerts"}
"""Severity -> the alert that a receiver is not told, by all members or by one."""


def _past_the_failing(site: Site, route: Data, receivers: list[Data]) -> list[Data]:
    """Routes for the alert that a receiver cannot be notified: to another one as well, where it would go to that
    receiver alone. Below 0.27 it does not say which one it is. The same for all members, whichever is asked."""
    members = site.running(daemons.ALERTMANAGER)
    versions = [one.settings.version(daemons.ALERTMANAGER) for one in members]
    clusters = [site.scraped_by(one) or "" for one in members]
    telling = [str(r.get("name")) for r in receivers if any(k.endswith("_configs") for k in r)]
    # The default one first: it is meant for everybody.
    telling.sort(key=lambda name: name != route["receiver"])
    if not all(releases.at_least(version, RECEIVER_NAMES_SINCE) for version in versions):
        return []
    found = []
    for name in telling:
        for severity, alertname in FAILED_TO_SEND.items():
            labels = {
                "alertname": alertname,
                "receiver_name": name,
                "severity": severity,
            }
            try:
                told = set(telling) & {
                    receiver
                    for cluster in clusters
                    for receiver in routing.receivers(route, labels | {CLUSTER_LABEL: cluster})
                }
            except ValueError:
                return []  # amtool names it
            others = [one for one in telling if one not in (name, WATCHDOG)]
            if others and told == {name}:
                found.append(
                    {
                        "matchers": [
                            f"{label}={json.dumps(labels[label], ensure_ascii=False)}"
                            for label in ("alertname", "receiver_name", "severity")
                        ],
                        "receiver": others[0],
                        "continue": True,
                    }
                )
    return found


def is_for_watchdog(route: Any) -> bool:
    """Whether a route of the user's, or one below it, takes the Watchdog by its name or severity, and not just any."""
    others = [{"alertname": "AnyOther", "severity": one} for one in ("warning", "critical")]
    return isinstance(route, dict) and routing.is_for(route, WATCHDOG_LABELS, others)


def _test_route(receivers: list[Data]) -> Data:
    """The way of a test alert (alert.py) to the receiver that its label names, at once and by itself."""
    return {
        "matchers": [f'alertname="{TEST_ALERT}"', f'{TEST_RECEIVER}!=""'],
        "group_by": ["..."],
        "group_wait": "0s",
        "routes": [
            {"matchers": [f"{TEST_RECEIVER}={json.dumps(name, ensure_ascii=False)}"], "receiver": name}
            for name in dict.fromkeys(str(receiver.get("name")) for receiver in receivers)
            if not is_secret(name)
        ],
    }


def _watchdog_receiver(url: str | list[str] | None) -> Data:
    """The dead man's switch at `url`; without one, nobody: people are not told every minute that all is well."""
    if url is None:
        return {"name": WATCHDOG}
    # A last word that all is over would count as a sign of life.
    urls = [url] if isinstance(url, str) else url
    return {"name": WATCHDOG, "webhook_configs": [{"url": one, "send_resolved": False} for one in urls]}


def _watchdog_route(repeat: str) -> Data:
    # Alertmanager repeats at the first group_interval that ends after repeat_interval: with equal
    # figures that is every second one. A fifth short of it, the sum is what is wanted.
    step = seconds(repeat) / 5
    return {
        "matchers": ['alertname="Watchdog"'],
        "receiver": WATCHDOG,
        "group_wait": "0s",
        "group_interval": starter.milliseconds(step),
        "repeat_interval": starter.milliseconds(seconds(repeat) - step),
    }
