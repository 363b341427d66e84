"""Thanos components as they report themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra.api import FactBase

from facts import Reading, guarded
from facts.http import (
    NO_ANSWER,
    Answer,
    Call,
    Sample,
    data,
    metric,
    metrics,
    only_metrics,
    script,
    split,
)
from facts.prometheus import unix_time

QUERIER_URL = "http://127.0.0.1:10903"
SIDECAR_URL = "http://127.0.0.1:10902"

QUERIER_CALLS = (
    Call("ready", "/-/ready"),
    Call("stores", "/api/v1/stores"),
    Call(
        "metrics",
        "/metrics",
        only_metrics("thanos_build_info", "thanos_store_nodes_grpc_connections"),
    ),
)

SIDECAR_CALLS = (
    Call("ready", "/-/ready"),
    Call(
        "metrics",
        "/metrics",
        only_metrics(
            "thanos_build_info",
            "thanos_sidecar_prometheus_up",
            "thanos_shipper_uploads_total",
            "thanos_shipper_upload_failures_total",
            "thanos_objstore_bucket_last_successful_upload_time",
        ),
    ),
)


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
    last_upload: float | None = None
    errors: dict[str, str] = field(default_factory=dict)


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
    connected = metric(samples, "thanos_sidecar_prometheus_up")
    return SidecarReport(
        ready=ready.ok,
        version=_version(samples),
        prometheus_up=None if connected is None else connected == 1,
        uploads=_int(metric(samples, "thanos_shipper_uploads_total")),
        upload_failures=_int(metric(samples, "thanos_shipper_upload_failures_total")),
        last_upload=metric(samples, "thanos_objstore_bucket_last_successful_upload_time") or None,
        errors=errors,
    )


class Querier(FactBase[QuerierReport]):
    """The Thanos querier of this host; one that is down gives ``ready=False`` and no error.

    :param url: where it is asked, from the host itself.
    :param extra: more curl options (see ``facts.http.script``).
    """

    @staticmethod
    def default() -> QuerierReport:
        return QuerierReport(ready=False, errors={"ready": "no answer from the host"})

    def command(self, url: str = QUERIER_URL, extra: Sequence[str] = ()) -> str:
        return script(url, QUERIER_CALLS, extra)

    def process(self, output: list[str]) -> QuerierReport:
        return parse_querier(output)


class Sidecar(FactBase[SidecarReport]):
    """The Thanos sidecar of this host; one that is down gives ``ready=False`` and no error.

    :param url: where it is asked, from the host itself.
    :param extra: more curl options (see ``facts.http.script``).
    """

    @staticmethod
    def default() -> SidecarReport:
        return SidecarReport(ready=False, errors={"ready": "no answer from the host"})

    def command(self, url: str = SIDECAR_URL, extra: Sequence[str] = ()) -> str:
        return script(url, SIDECAR_CALLS, extra)

    def process(self, output: list[str]) -> SidecarReport:
        return parse_sidecar(output)
