"""A Prometheus as it reports itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml

from prometheus_ha.facts import Reading, guarded
from prometheus_ha.facts.http import (
    NO_ANSWER,
    Answer,
    Call,
    Sample,
    data,
    metric,
    metrics,
    only_metrics,
    split,
)

# What service discovery knew of a target can be a hundred times the rest, and nobody asks for it.
_STRING = r'"[^"\\]*(\\.[^"\\]*)*"'
_WITHOUT_DISCOVERED = 'sed -E \'s/"discoveredLabels":\\{(' + f"{_STRING}:{_STRING}" + ",?)*\\},//g'"

_STORAGE = "prometheus_remote_storage"
_SCRAPED = f"{_STORAGE}_highest_timestamp_in_seconds"
_TO_SEND = f"{_STORAGE}_queue_highest_timestamp_seconds"
"""For each queue, since 3.7, where the one before is deprecated. It stands still while the queue is full."""
_SENT = f"{_STORAGE}_queue_highest_sent_timestamp_seconds"
_REMOTE_WRITE = (
    *(_SCRAPED, _TO_SEND, _SENT, f"{_STORAGE}_samples_pending"),
    *(f"{_STORAGE}_samples_failed_total", f"{_STORAGE}_samples_retried_total"),
)
_RETENTION = {
    "time": "prometheus_tsdb_retention_limit_seconds",
    "size": "prometheus_tsdb_retention_limit_bytes",
    "percentage": "prometheus_tsdb_retention_limit_percentage",
}
CALLS = (
    Call("ready", "/-/ready"),
    Call("walreplay", "/api/v1/status/walreplay"),
    Call("buildinfo", "/api/v1/status/buildinfo"),
    Call("runtimeinfo", "/api/v1/status/runtimeinfo"),
    Call("config", "/api/v1/status/config"),
    Call("flags", "/api/v1/status/flags"),
    Call("targets", "/api/v1/targets?state=active", _WITHOUT_DISCOVERED),
    Call("alertmanagers", "/api/v1/alertmanagers"),
    # Releases that do not know the parameter ignore it.
    Call("rules", "/api/v1/rules?exclude_alerts=true"),
    Call("remote write", "/metrics", only_metrics(*_REMOTE_WRITE, *_RETENTION.values())),
)


ATTACHED_CALLS = (
    # Absent before 2.14, which still say their version in a metric.
    Call("buildinfo", "/api/v1/status/buildinfo"),
    Call("flags", "/api/v1/status/flags"),
    Call("config", "/api/v1/status/config"),
    Call("metrics", "/metrics", only_metrics("prometheus_build_info")),
)
"""What is asked of somebody else's Prometheus, before a sidecar is attached to it."""


@dataclass(frozen=True)
class Target(Reading):
    """An active target. ``last_scrape`` is in Unix seconds, None before the first scrape."""

    job: str
    instance: str
    health: str
    last_scrape: float | None
    last_error: str
    scrape_url: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule(Reading):
    """A loaded rule; ``kind`` is alerting or recording, ``health`` is ok, err or unknown."""

    group: str
    file: str
    name: str
    kind: str
    health: str
    last_error: str


@dataclass(frozen=True)
class RemoteWrite(Reading):
    """A receiver, and how its queue stands: ``behind`` in seconds (None before the first sample
    arrived there), samples that are ``pending``, and since the start those that were refused for
    good (``failed``) and tried again (``retried``)."""

    name: str
    url: str
    behind: float | None
    pending: float
    failed: float
    retried: float


@dataclass(frozen=True)
class WalReplay(Reading):
    """Replay of the write-ahead log, by segment: ``first`` to ``last``, now at ``current``."""

    first: int
    last: int
    current: int

    @property
    def done(self) -> bool:
        """True once the last segment has been read (also before any has been counted)."""
        return self.current >= self.last


@dataclass(frozen=True)
class Report(Reading):
    """``errors`` holds, by the name of a call, why its part of the report is empty.

    Times are Unix seconds. ``version`` is None where the daemon could not be asked, and so on for
    every part. ``config`` is what is loaded, with upstream's ``<secret>`` in the place of secrets.
    """

    ready: bool
    version: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    alertmanagers: list[str] = field(default_factory=list)
    dropped_alertmanagers: list[str] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    reload_success: bool | None = None
    last_reload: float | None = None
    started: float | None = None
    wal_corruptions: int | None = None
    wal_replay: WalReplay | None = None
    remote_write: list[RemoteWrite] = field(default_factory=list)
    retention: dict[str, float] = field(default_factory=dict)
    """The limits in force, whoever set them (the file goes before the flags): `time` in seconds (2.48 and newer),
    `size` in bytes, `percentage` of the file system (3.11 and newer). 0 is no limit."""
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def external_labels(self) -> dict[str, str]:
        """``global.external_labels`` of the loaded config."""
        return dict((self.config.get("global") or {}).get("external_labels") or {})

    @property
    def job_names(self) -> list[str]:
        """The scrape jobs of the loaded config, in its order."""
        return [job["job_name"] for job in self.config.get("scrape_configs") or []]


def unix_time(text: str | None) -> float | None:
    """RFC 3339 to Unix seconds; None for Go's zero time, which stands for "never".

    :raises ValueError: for other text.
    """
    if not text or text.startswith("0001-01-01T00:00:00"):
        return None
    # Go prints up to nine digits of a second, Python 3.11 reads six of them.
    return datetime.fromisoformat(text).timestamp()


def read_wal_replay(answers: Mapping[str, Answer], errors: dict[str, str]) -> WalReplay | None:
    """The part that answers while everything else still says 503."""
    found = data(answers, "walreplay", errors)
    return found and WalReplay(int(found["min"]), int(found["max"]), int(found["current"]))


def read_remote_write(samples: list[Sample]) -> list[RemoteWrite]:
    """The queues of a metrics page, in its order."""
    scraped = metric(samples, _SCRAPED) or 0.0
    queues = []
    for sample in samples:
        if sample.name != _SENT:
            continue

        def count(what: str, labels: dict[str, str] = sample.labels) -> float:
            return metric(samples, f"{_STORAGE}_samples_{what}", **labels) or 0.0

        newest, pending = metric(samples, _TO_SEND, **sample.labels), count("pending")
        if newest is None or pending:
            newest = max(newest or 0.0, scraped)
        queues.append(
            RemoteWrite(
                name=sample.labels.get("remote_name", ""),
                url=sample.labels.get("url", ""),
                behind=max(0.0, newest - sample.value) if sample.value else None,
                pending=pending,
                failed=count("failed_total"),
                retried=count("retried_total"),
            )
        )
    return queues


def rules_of(answer: Any) -> list[Rule]:
    """The rules in an answer of ``/api/v1/rules``, of a Prometheus or a Thanos ruler."""
    return [
        Rule(
            group=group["name"],
            file=group["file"],
            name=rule["name"],
            kind=rule["type"],
            health=rule["health"],
            last_error=rule.get("lastError", ""),
        )
        for group in (answer or {}).get("groups") or []
        for rule in group["rules"] or []
    ]


@guarded
def parse(lines: Iterable[str]) -> Report:
    """Read the answers to ``CALLS``, as printed by ``facts.http.script``."""
    answers = split(lines)
    errors: dict[str, str] = {}
    ready = answers.get("ready", NO_ANSWER)
    if not ready.ok:
        errors["ready"] = ready.problem
    if not ready.status:
        return Report(ready=False, errors=errors)
    build = data(answers, "buildinfo", errors) or {}
    runtime = data(answers, "runtimeinfo", errors) or {}
    config = data(answers, "config", errors) or {}
    targets = data(answers, "targets", errors) or {}
    alertmanagers = data(answers, "alertmanagers", errors) or {}
    own = metrics(answers.get("remote write", NO_ANSWER).body)
    return Report(
        ready=ready.ok,
        version=build.get("version"),
        config=yaml.safe_load(config.get("yaml", "")) or {},
        flags=data(answers, "flags", errors) or {},
        targets=[
            Target(
                job=target["labels"].get("job", target.get("scrapePool", "")),
                instance=target["labels"].get("instance", ""),
                health=target["health"],
                last_scrape=unix_time(target.get("lastScrape")),
                last_error=target.get("lastError", ""),
                scrape_url=target.get("scrapeUrl", ""),
                labels=target["labels"],
            )
            for target in targets.get("activeTargets") or []
        ],
        alertmanagers=[one["url"] for one in alertmanagers.get("activeAlertmanagers") or []],
        dropped_alertmanagers=[one["url"] for one in alertmanagers.get("droppedAlertmanagers") or []],
        rules=rules_of(data(answers, "rules", errors)),
        reload_success=runtime.get("reloadConfigSuccess"),
        last_reload=unix_time(runtime.get("lastConfigTime")),
        started=unix_time(runtime.get("startTime")),
        wal_corruptions=runtime.get("corruptionCount"),
        wal_replay=read_wal_replay(answers, errors),
        remote_write=read_remote_write(own),
        retention={limit: value for limit, name in _RETENTION.items() if (value := metric(own, name)) is not None},
        errors=errors,
    )


@guarded
def parse_attached(lines: Iterable[str]) -> Report:
    """Read the answers to ``ATTACHED_CALLS``: version, flags and config; ``ready`` says that somebody answered as a
    Prometheus does."""
    errors: dict[str, str] = {}
    answers = split(lines)
    build = answers.get("buildinfo", NO_ANSWER)
    if not build.status:
        return Report(ready=False, errors={"ready": build.problem})
    version = (data(answers, "buildinfo", errors) or {}).get("version")
    if version is None:
        for sample in metrics(answers.get("metrics", NO_ANSWER).body):
            version = sample.labels.get("version", version)
    config = data(answers, "config", errors) or {}
    given = data(answers, "flags", errors)
    if given is None:
        errors["ready"] = answers.get("flags", NO_ANSWER).problem
    return Report(
        ready=given is not None,
        version=version,
        config=yaml.safe_load(config.get("yaml", "")) or {},
        flags=given or {},
        errors=errors,
    )
