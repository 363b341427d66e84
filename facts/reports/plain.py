"""A daemon of which only readiness and version are asked, by its metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from facts.http import NO_ANSWER, Call, metrics, only_metrics, split


@dataclass(frozen=True)
class Plain:
    """``errors`` holds why it is not ready."""

    ready: bool
    version: str | None = None
    errors: dict[str, str] = field(default_factory=dict)


def plain_calls(path: str, build_info: str) -> tuple[Call, ...]:
    """The question for metrics at ``path``, of which ``build_info`` has the version."""
    return (Call("ready", path, only_metrics(build_info)),)


def read_plain(lines: list[str]) -> Plain:
    """Read the answer to ``plain_calls``, as printed by ``facts.http.script``."""
    answer = split(lines).get("ready", NO_ANSWER)
    builds = [s for s in metrics(answer.body) if "version" in s.labels]
    version = builds[0].labels.get("version") if builds else None
    return Plain(answer.ok, version, {} if answer.ok else {"ready": answer.problem})
