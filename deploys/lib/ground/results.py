"""What a check of a site found on its hosts, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Daemon = tuple[str, str]
"""A host and the component on it; without a component, the host itself."""


@dataclass(frozen=True)
class Result:
    """A check that failed, or that a person should look at (`warn`), or may know (`note`)."""

    host: str
    """A host that was asked; a site-wide failure has the first one of its group."""
    check: str
    found: str
    wanted: str
    advice: str
    severity: str = "fail"
    """fail, warn or note."""
    about: Daemon | None = None
    """The daemon that it is about: where that one is down, this is no news (lib/common/causes.py)."""
    consequences: tuple[str, ...] = ()
    """What it explains: checks that failed for this reason alone, with their hosts."""


def some(names: Iterable[str], most: int = 4) -> str:
    """A few of the names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def listed_results(results: Iterable[Result]) -> list[str]:
    """What is wrong as lines of text, below an empty one; none where nothing is."""
    lines = []
    for hosts, one in merged(results):
        lines.append(f"{one.severity}  {one.check}  {some(hosts)}: {one.found}")
        lines.append(f"      wanted: {one.wanted}; to do: {one.advice}")
        if one.consequences:
            lines.append(f"      this explains, too: {'; '.join(one.consequences)}")
    return ["", *lines] if lines else []


def merged(results: Iterable[Result]) -> list[tuple[list[str], Result]]:
    """The same thing said of several hosts is said once."""
    found: dict[tuple[str, ...], tuple[list[str], Result]] = {}
    for result in results:
        key: tuple[str, ...] = (result.severity, result.check, result.found, result.wanted, result.advice)
        key += result.consequences
        hosts = found.setdefault(key, ([], result))[0]
        if result.host not in hosts:
            hosts.append(result.host)
    return list(found.values())


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text, in columns as wide as their widest cell."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows]
