"""A daemon of which only readiness, version and a few values are asked, by its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_ha.facts.http import NO_ANSWER, Call, metrics, only_metrics, split


@dataclass(frozen=True)
class Plain:
    """``errors`` holds why it is not ready; ``values`` the metrics that have no labels, by name."""

    ready: bool
    version: str | None = None
    errors: dict[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


def plain_calls(path: str, build_info: str, *more: str) -> tuple[Call, ...]:
    """The question for metrics at ``path``: ``build_info``, which has the version, and ``more``."""
    return (Call("ready", path, only_metrics(build_info, *more)),)


def read_plain(lines: list[str]) -> Plain:
    """Read the answer to ``plain_calls``, as printed by ``facts.http.script``."""
    answer = split(lines).get("ready", NO_ANSWER)
    samples = metrics(answer.body)
    builds = [s for s in samples if "version" in s.labels]
    version = builds[0].labels.get("version") if builds else None
    values = {s.name: s.value for s in samples if not s.labels}
    return Plain(answer.ok, version, {} if answer.ok else {"ready": answer.problem}, values)
