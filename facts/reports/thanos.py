"""Thanos components as they report themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
from prometheus_ha.facts.reports.prometheus import Rule, rules_of, unix_time

QUERIER_CALLS = (
    Call("ready", "/-/ready"),
    Call("stores", "/api/v1/stores"),
    Call(
        "metrics",
        "/metrics",
        only_metrics("thanos_build_info", "thanos_store_nodes_grpc_connections"),
    ),
)

BUCKET_FAILURES = "thanos_objstore_bucket_operation_failures_total"
"""Not `thanos_shipper_upload_failures_total`: a sidecar first asks whether a block is there, and counts no upload where
nobody answers."""

PROMETHEUS_UP = "thanos_sidecar_prometheus_up"

SIDECAR_CALLS = (
    Call("ready", "/-/ready"),
    Call(
        "metrics",
        "/metrics",
        only_metrics(
            "thanos_build_info",
            PROMETHEUS_UP,
            "thanos_shipper_uploads_total",
            "thanos_shipper_upload_failures_total",
            BUCKET_FAILURES,
            "thanos_objstore_bucket_last_successful_upload_time",
        ),
    ),
)


BLOCKS_LOADED = "thanos_bucket_store_blocks_loaded"
BLOCKS_FAILED = "thanos_bucket_store_block_load_failures_total"
HALTED = "thanos_compact_halted"
ITERATIONS = "thanos_compact_iterations_total"
RULES_LOADED = "thanos_rule_config_last_reload_successful"
ALERTS_LOST = (
    "thanos_alert_queue_alerts_dropped_total",
    "thanos_alert_sender_alerts_dropped_total",
)
RING_HASH = "thanos_receive_config_hash"
RING_LOADED = "thanos_receive_config_last_reload_successful"
RING_NODES = "thanos_receive_hashring_nodes"
RING_COPIES = "thanos_receive_replication_factor"
STARTED = "process_start_time_seconds"


def calls(*names: str, ready: str = "/-/ready") -> tuple[Call, ...]:
    """The questions to a component of which readiness, version and these metrics are asked."""
    return (
        Call("ready", ready),
        Call("metrics", "/metrics", only_metrics("thanos_build_info", *names)),
    )


STORE_CALLS = calls(BLOCKS_LOADED, BLOCKS_FAILED)
COMPACTOR_CALLS = calls(HALTED, ITERATIONS)
FRONTEND_CALLS = (*calls(ready="/-/healthy"), Call("query", "/api/v1/query?query=vector(1)"))
"""It asks its querier whether that is ready, without the password that it passes on with queries: where one is needed
it never calls itself ready. What counts is a query."""
RULE_CALLS = (
    *calls(RULES_LOADED, *ALERTS_LOST),
    Call("rules", "/api/v1/rules"),
)
RECEIVE_CALLS = calls(RING_HASH, RING_LOADED, RING_NODES, RING_COPIES, STARTED)


@dataclass(frozen=True)
class Report(Reading):
    """A component of which readiness, version and some metrics were asked: ``values`` is metric -> sum of its samples,
    ``answers`` are those to further questions."""

    ready: bool
    version: str | None = None
    values: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Store(Reading):
    """An endpoint of a querier.

    ``kind`` is sidecar, store, rule, receive, query or unknown; times are Unix milliseconds, as
    Thanos gives them; ``last_check`` is in Unix seconds. ``last_error`` is empty where all is well.
    """

    name: str
    kind: str
    last_error: str
    label_sets: list[dict[str, str]]
    min_time: int
    max_time: int
    last_check: float | None = None

    @property
    def address(self) -> str:
        """`HOST:PORT`, or that name of a group: without the scheme that gRPC looks it up by."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True)
class QuerierReport(Reading):
    """``errors`` holds, by the name of a call, why its part of the report is empty."""

    ready: bool
    version: str | None = None
    stores: list[Store] = field(default_factory=list)
    connections: int | None = None
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SidecarReport(Reading):
    """``uploads`` and the like are None where the sidecar has no bucket.

    ``last_upload`` is in Unix seconds, None before the first one.
    """

    ready: bool
    version: str | None = None
    prometheus_up: bool | None = None
    uploads: int | None = None
    upload_failures: int | None = None
    bucket_failures: int | None = None
    last_upload: float | None = None
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Operations on the bucket that failed since it was started."""
        return (self.upload_failures or 0) + (self.bucket_failures or 0)


def _samples(answers: Mapping[str, Answer], errors: dict[str, str]) -> list[Sample]:
    page = answers.get("metrics", NO_ANSWER)
    if page.ok:
        return metrics(page.body)
    errors["metrics"] = page.problem
    return []


def _version(samples: list[Sample]) -> str | None:
    builds = [sample for sample in samples if sample.name == "thanos_build_info"]
    return builds[0].labels.get("version") if builds else None


def _int(value: float | None) -> int | None:
    return None if value is None else int(value)


@guarded
def parse(lines: Iterable[str]) -> Report:
    """Read the answers to ``calls`` and further questions, as printed by ``facts.http.script``."""
    answers = split(lines)
    ready = answers.get("ready", NO_ANSWER)
    errors = {} if ready.ok else {"ready": ready.problem}
    if not ready.status:
        return Report(ready=False, errors=errors)
    values: dict[str, float] = {}
    samples = _samples(answers, errors)
    for sample in samples:
        values[sample.name] = values.get(sample.name, 0) + sample.value
    more = {name: answer for name, answer in answers.items() if name not in ("ready", "metrics")}
    return Report(ready.ok, _version(samples), values, more, errors)


def rules(report: Report) -> list[Rule] | str:
    """The rules in a ruler's answer to ``RULE_CALLS``, or why it told none."""
    errors: dict[str, str] = {}
    found = data(report.answers, "rules", errors)
    return errors.get("rules") or rules_of(found)


@guarded
def parse_querier(lines: Iterable[str]) -> QuerierReport:
    """Read the answers to ``QUERIER_CALLS``, as printed by ``facts.http.script``."""
    answers = split(lines)
    ready = answers.get("ready", NO_ANSWER)
    errors = {} if ready.ok else {"ready": ready.problem}
    if not ready.status:
        return QuerierReport(ready=False, errors=errors)
    samples = _samples(answers, errors)
    return QuerierReport(
        ready=ready.ok,
        version=_version(samples),
        stores=[
            Store(
                name=store["name"],
                kind=kind,
                last_error=str(store.get("lastError") or ""),
                label_sets=store.get("labelSets") or [],
                min_time=int(store["minTime"]),
                max_time=int(store["maxTime"]),
                last_check=unix_time(store.get("lastCheck")),
            )
            for kind, stores in (data(answers, "stores", errors) or {}).items()
            for store in stores or []
        ],
        connections=_int(metric(samples, "thanos_store_nodes_grpc_connections")),
        errors=errors,
    )


@guarded
def parse_sidecar(lines: Iterable[str]) -> SidecarReport:
    """Read the answers to ``SIDECAR_CALLS``, as printed by ``facts.http.script``."""
    answers = split(lines)
    ready = answers.get("ready", NO_ANSWER)
    errors = {} if ready.ok else {"ready": ready.problem}
    if not ready.status:
        return SidecarReport(ready=False, errors=errors)
    samples = _samples(answers, errors)
    connected = metric(samples, PROMETHEUS_UP)
    return SidecarReport(
        ready=ready.ok,
        version=_version(samples),
        prometheus_up=None if connected is None else connected == 1,
        uploads=_int(metric(samples, "thanos_shipper_uploads_total")),
        upload_failures=_int(metric(samples, "thanos_shipper_upload_failures_total")),
        bucket_failures=_int(metric(samples, BUCKET_FAILURES)),
        last_upload=metric(samples, "thanos_objstore_bucket_last_successful_upload_time") or None,
        errors=errors,
    )
