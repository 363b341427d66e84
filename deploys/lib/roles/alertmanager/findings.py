"""What settings of Alertmanager may not be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.ground import routing
from prometheus_ha.deploys.lib.ground.durations import go_seconds, seconds, written
from prometheus_ha.deploys.lib.ground.findings import Finding, as_dict, as_list, host_finding
from prometheus_ha.deploys.lib.roles.alertmanager import payloads
from prometheus_ha.deploys.lib.roles.alertmanager.configuration import (
    CANARY,
    WATCHDOG,
    WATCHDOG_LABELS,
    is_for_watchdog,
)
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import secret_names


def _routes(config: dict) -> Iterator[dict]:
    todo = [config.get("route", {})]
    while todo:
        route = todo.pop()
        if isinstance(route, dict):
            yield route
            todo += as_list(route.get("routes"))


def _check_alertmanagers(site: Site) -> Iterator[Finding]:
    members = site.running(daemons.ALERTMANAGER)
    if not members:
        return
    first = members[0]
    for member in members[1:]:
        for key in (
            *("alertmanager_config", "alertmanager_templates", "alertmanager_webhook_url"),
            *("alertmanager_cluster_label", "deadman_url", "deadman_sites", "alert_channels"),
            *("alert_canary", "alert_relay_webhook_port", "alert_routing_tests"),
        ):
            if getattr(member.settings, key) != getattr(first.settings, key):
                found = f"another than on {first.name}"
                allowed = "the same on all: they take turns in sending the same notifications"
                yield host_finding(member, key, found, allowed)
        key = "alertmanager_secret_files"
        if secret_names(member.settings, key) != secret_names(first.settings, key):
            found = f"other names than on {first.name}"
            yield host_finding(member, key, found, "the same names on all, as they are configured alike")
    for member in members:
        yield from _check_routes(member, len(members))
        yield from _check_names(member)
        yield from payloads.findings(member)
    yield from _check_inhibition(first)
    yield from _check_reach(first)
    yield from _check_watchdog(site, first)


def _check_watchdog(site: Site, member: Member) -> Iterator[Finding]:
    """Somebody outside is told that the platform lives: whoever is dead tells nobody."""
    settings, config = member.settings, member.settings.alertmanager_config
    routed = any(map(is_for_watchdog, as_list(as_dict(config.get("route")).get("routes"))))
    named = WATCHDOG in [r.get("name") for r in map(as_dict, as_list(config.get("receivers")))]
    finding = partial(host_finding, member, "deadman_url")
    if settings.deadman_url is None:
        fired = any(m.settings.starter_rules for m in site.running(daemons.PROMETHEUS))
        if fired and not routed and not named:
            allowed = "the URL of a dead man's switch: nobody outside notices when the platform dies"
            yield finding("nothing", allowed, "warn")
    elif routed or named:
        found = "a route for the Watchdog" if routed else f"a receiver named {WATCHDOG}"
        yield finding(f"a URL beside {found} in alertmanager_config", "one of the two")


INHIBITS_SINCE = "0.34.1"
"""First Alertmanager in which an alert stays inhibited for as long as it is (#5542, #5449, #5559)."""


def _check_inhibition(member: Member) -> Iterator[Finding]:
    """Said once, where the release is chosen."""
    try:
        version = member.settings.version(daemons.ALERTMANAGER)
    except ValueError:
        return  # reported as a wrong version
    inhibits = member.settings.alertmanager_config.get("inhibit_rules", True)  # ours, where there are none
    if inhibits and not releases.at_least(version, INHIBITS_SINCE):
        allowed = f"{INHIBITS_SINCE} or newer: before it, an alert that is inhibited may be told all the same"
        yield Finding("", f"versions.{daemons.ALERTMANAGER.name}", version, allowed, severity="warn")


def _check_reach(member: Member) -> Iterator[Finding]:
    """What upstream takes, and what cannot be meant: routes that take nothing, inhibitions that mute all."""
    config, finding = member.settings.alertmanager_config, partial(host_finding, member, severity="warn")
    try:
        for place, why in routing.never_taken(config.get("route")):
            allowed = "other matchers, another place, or none: no alert comes to this route"
            yield finding(f"alertmanager_config.route.{place}", why, allowed)
        for index, rule in enumerate(as_list(config.get("inhibit_rules"))):
            for why, allowed in routing.mutes(as_dict(rule), WATCHDOG_LABELS):
                yield finding(f"alertmanager_config.inhibit_rules[{index}]", why, allowed)
    except ValueError:
        return  # amtool names it


def _check_names(member: Member) -> Iterator[Finding]:
    """A receiver has its name alone."""
    settings = member.settings
    named = [r.get("name") for r in map(as_dict, as_list(settings.alertmanager_config.get("receivers")))]
    finding = partial(host_finding, member)
    for name in settings.alert_channels:
        if name in named:
            yield finding(
                f"alert_channels.{name}", "a receiver of this name in alertmanager_config too", "another name"
            )
    if settings.alert_canary and CANARY in (*named, *settings.alert_channels):
        yield finding(
            "alert_canary", f"True beside a receiver {CANARY} of yours", "another name for that one, or False"
        )


def _check_routes(member: Member, count: int) -> Iterator[Finding]:
    settings, config = member.settings, member.settings.alertmanager_config
    finding = partial(host_finding, member)
    if not (config.get("receivers") or settings.alert_channels) and settings.alertmanager_webhook_url is None:
        allowed = "this secret, alert_channels, or receivers in alertmanager_config: alerts would go nowhere"
        yield finding("alertmanager_webhook_url", "nothing", allowed)
    if config.get("templates"):
        allowed = "the setting alertmanager_templates"
        yield finding("alertmanager_config.templates", "a list of its own", allowed)
    timing = settings.timing
    flags = settings.alertmanager_flags
    routes = list(_routes(config))
    try:
        interval = min(
            [seconds(r["group_interval"]) for r in routes if "group_interval" in r] or [seconds(timing.group_interval)]
        )
        repeat = max(
            [r["repeat_interval"] for r in routes if "repeat_interval" in r] or [timing.repeat_interval],
            key=seconds,
        )
    except ValueError as error:
        yield finding("alertmanager_config", "an interval that is none", str(error))
        return
    try:
        wait = go_seconds(str(flags.get("cluster.peer-timeout", timing.peer_timeout)))
        retention = str(flags.get("data.retention", "120h"))
        forgets = go_seconds(retention) < seconds(repeat)
    except ValueError:
        return  # `_check_flags` names it
    if (count - 1) * wait * 2 > interval:
        found = f"a group_interval of {written(interval)}, while the last of {count} Alertmanagers "
        found += f"waits {written((count - 1) * wait)} for the others"
        allowed = "a group_interval of twice that or more, or notifications are sent twice"
        yield finding("alertmanager_config.route", found, allowed, "warn")
    if forgets:
        found = f"{retention}, while repeat_interval is {repeat}"
        allowed = "at least repeat_interval: a forgotten notification is sent again"
        yield finding("alertmanager_flags.data.retention", found, allowed)


SITE_FINDINGS = (_check_alertmanagers,)
