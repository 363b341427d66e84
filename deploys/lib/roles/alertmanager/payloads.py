"""Webhooks with a `payload` of the user's own: upstream's checker does not look into it, so it is rendered before it
goes live, for an alert with all that breaks a template."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons.alertmanager import TEMPLATES_DIR
from prometheus_ha.deploys.lib.daemons.declare import PYTHON
from prometheus_ha.deploys.lib.ground.findings import Finding, as_dict, as_list, host_finding
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member

SINCE = "0.34.0"
"""First Alertmanager that sends what a payload renders: those before it execute that as a template again (#5304)."""

_NASTY = '磁盘满了 🔥 "quoted" \\ back {{ .x }} <b>&\n\ttab: - {a: b} \u2028 \ufeff %s'
_ALERT = {
    "status": "firing",
    "labels": {"alertname": "A: b", "severity": "critical", "instance": "[::1]:9100", "x": _NASTY},
    "annotations": {"summary": _NASTY, "description": _NASTY},
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://127.0.0.1:9090/graph?g0.expr=up&g0.tab=1",
    "fingerprint": "0123456789abcdef",
}
DATA: dict[str, Any] = {
    "receiver": "test",
    "status": "firing",
    "alerts": [_ALERT, {**_ALERT, "status": "resolved", "labels": {"alertname": "B"}, "annotations": {}}],
    "groupLabels": {"alertname": "A: b"},
    "commonLabels": {"alertname": "A: b"},
    "commonAnnotations": {},
    "externalURL": "http://127.0.0.1:9093",
}
"""What a payload is tried with, as upstream's templates see it."""


def of(member: Member) -> Iterator[tuple[str, Any]]:
    """Place and payload of each webhook that has one."""
    for receiver in map(as_dict, as_list(member.settings.alertmanager_config.get("receivers"))):
        for number, hook in enumerate(map(as_dict, as_list(receiver.get("webhook_configs")))):
            if "payload" in hook:
                yield f"{receiver.get('name')}.webhook_configs[{number}].payload", hook["payload"]


def checks(amtool: str, member: Member) -> Iterator[str]:
    """The commands that render each, and see that it is JSON."""
    templates = member.own(daemons.ALERTMANAGER).at(f"{TEMPLATES_DIR}/*.tmpl")
    for place, payload in of(member):
        if not isinstance(payload, str):
            continue
        render = (
            f"{amtool} template render --template.glob={shlex.quote(templates)} "
            f"--template.text={shlex.quote(payload)} --template.data=/dev/stdin"
        )
        says = f"alertmanager_config: {place}: it renders no JSON for an alert with quotes, newlines and the like"
        json_only = f"{' '.join(PYTHON)} -c 'import json, sys; json.load(sys.stdin)'"
        # What it renders to is taken first: a pipe would hide that amtool failed.
        yield (
            f"printf '%s' {shlex.quote(json.dumps(DATA))} | {{ said=$({render} 2>&1) || {{ echo \"$said\"; exit 1; }}; "
            f"printf '%s' \"$said\" | {json_only} || {{ echo {shlex.quote(says)}; echo 'use toJson for each value'; "
            "exit 1; }; }"
        )


def findings(member: Member) -> Iterator[Finding]:
    """What is wrong with a payload by its release and shape."""
    try:
        version = member.settings.version(daemons.ALERTMANAGER)
    except ValueError:
        return  # reported as a wrong version
    for place, payload in of(member):
        key = f"alertmanager_config.{place}"
        if not releases.at_least(version, SINCE):
            allowed = f"Alertmanager {SINCE} or newer: an older one takes what it renders for a template again"
            yield host_finding(member, key, f"a payload with {version}", allowed)
        elif not isinstance(payload, str):
            allowed = (
                "one text that renders a whole JSON document, each value by toJson: values of a mapping change type"
            )
            yield host_finding(member, key, f"a {type(payload).__name__}", allowed, "warn")
