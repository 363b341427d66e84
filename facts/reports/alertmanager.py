"""An Alertmanager as it reports itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from prometheus_ha.facts import Reading, guarded
from prometheus_ha.facts.http import NO_ANSWER, Call, Sample, metric, metrics, only_metrics, split
from prometheus_ha.facts.reports.prometheus import unix_time

_SENT, _FAILED = "alertmanager_notifications_total", "alertmanager_notifications_failed_total"
CALLS = (
    Call("ready", "/-/ready"),
    Call("status", "/api/v2/status"),
    Call("alerts", "/api/v2/alerts"),
    Call(
        "metrics",
        "/metrics",
        only_metrics(
            "alertmanager_config_hash",
            "alertmanager_config_last_reload_successful",
            "alertmanager_cluster_failed_peers",
            "alertmanager_cluster_members",
            "alertmanager_peer_position",
            *(_SENT, _FAILED),
        ),
    ),
)


@dataclass(frozen=True)
class Peer(Reading):
    """A member of the gossip cluster, the one that was asked included."""

    name: str
    address: str


@dataclass(frozen=True)
class Alert(Reading):
    """An alert; ``state`` is active, suppressed or unprocessed, times are Unix seconds."""

    labels: dict[str, str]
    annotations: dict[str, str]
    state: str
    starts_at: float | None
    ends_at: float | None
    receivers: list[str]
    fingerprint: str


@dataclass(frozen=True)
class Sent(Reading):
    """Notifications of a receiver (empty below 0.27) by an integration: those tried and, among them, those that
    ``failed``, since the start or, from 0.27 on, the last reload."""

    receiver: str
    integration: str
    tried: int
    failed: int


@dataclass(frozen=True)
class Report(Reading):
    """``errors`` holds, by the name of a call, why its part of the report is empty.

    ``cluster_status`` is ready, settling, or disabled. ``config_hash`` is the metric that is equal
    on Alertmanagers with equal configuration. ``position`` is the place in the notification order.
    """

    ready: bool
    version: str | None = None
    cluster_status: str | None = None
    name: str | None = None
    peers: list[Peer] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)
    config_hash: float | None = None
    reload_success: bool | None = None
    failed_peers: int | None = None
    members: int | None = None
    position: int | None = None
    started: float | None = None
    sent: list[Sent] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """True once gossip lets this one take part in the order of notification."""
        return self.cluster_status == "ready"


def _int(value: float | None) -> int | None:
    return None if value is None else int(value)


def read_sent(samples: Iterable[Sample]) -> list[Sent]:
    """The notifications of a metrics page, in its order. What a reload or a stop cancels did not fail."""
    counts: dict[tuple[str, str], dict[str, float]] = {}
    for sample in samples:
        if sample.name in (_SENT, _FAILED) and sample.labels.get("reason") != "contextCanceled":
            key = sample.labels.get("receiver_name", ""), sample.labels.get("integration", "")
            count = counts.setdefault(key, {})
            count[sample.name] = count.get(sample.name, 0) + sample.value
    return [
        Sent(*key, tried=int(count.get(_SENT, 0)), failed=int(count.get(_FAILED, 0))) for key, count in counts.items()
    ]


@guarded
def parse(lines: Iterable[str]) -> Report:
    """Read the answers to ``CALLS``, as printed by ``facts.http.script``."""
    answers = split(lines)
    errors = {call.name: answer.problem for call in CALLS if not (answer := answers.get(call.name, NO_ANSWER)).ok}
    ready = answers.get("ready", NO_ANSWER)
    if not ready.status:
        return Report(ready=False, errors={"ready": ready.problem})
    status = {} if "status" in errors else answers["status"].json()
    alerts = [] if "alerts" in errors else answers["alerts"].json()
    samples = [] if "metrics" in errors else metrics(answers["metrics"].body)
    cluster = status.get("cluster") or {}
    reloaded = metric(samples, "alertmanager_config_last_reload_successful")
    return Report(
        ready=ready.ok,
        version=(status.get("versionInfo") or {}).get("version"),
        cluster_status=cluster.get("status"),
        name=cluster.get("name"),
        peers=[Peer(peer["name"], peer["address"]) for peer in cluster.get("peers") or []],
        config=yaml.safe_load((status.get("config") or {}).get("original", "")) or {},
        alerts=[
            Alert(
                labels=alert["labels"],
                annotations=alert.get("annotations") or {},
                state=alert["status"]["state"],
                starts_at=unix_time(alert.get("startsAt")),
                ends_at=unix_time(alert.get("endsAt")),
                receivers=[receiver["name"] for receiver in alert.get("receivers") or []],
                fingerprint=alert["fingerprint"],
            )
            for alert in alerts
        ],
        config_hash=metric(samples, "alertmanager_config_hash"),
        reload_success=None if reloaded is None else reloaded == 1,
        failed_peers=_int(metric(samples, "alertmanager_cluster_failed_peers")),
        members=_int(metric(samples, "alertmanager_cluster_members")),
        position=_int(metric(samples, "alertmanager_peer_position")),
        started=unix_time(status.get("uptime")),
        sent=read_sent(samples),
        errors=errors,
    )
