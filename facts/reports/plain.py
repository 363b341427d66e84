"""A daemon of which only readiness, version and a few values are asked, by its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_ha.facts.http import NO_ANSWER, Call, metrics, only_metrics, split

RELOADED = "_config_last_reload_successful"
"""What the metric for that ends with, whichever daemon it is."""


@dataclass(frozen=True)
class Plain:
    """``errors`` holds why it is not ready; ``values`` the metrics that have no labels, by name."""

    ready: bool
    version: str | None = None
    errors: dict[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def reload_success(self) -> bool | None:
        """Whether it took what it last loaded; None where it was not asked for that, or loads nothing."""
        return next((value == 1 for name, value in self.values.items() if name.endswith(RELOADED)), None)


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
