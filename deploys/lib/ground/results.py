"""What a check of a site found on its hosts, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_ha.deploys.lib.ground.findings import Finding


def some(names: Iterable[str], most: int = 4) -> str:
    """A few of the names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def listed_results(results: Iterable[Finding]) -> list[str]:
    """What is wrong as lines of text, below an empty one; none where nothing is."""
    lines = []
    for hosts, one in merged(results):
        lines.append(f"{one.severity}  {one.check}  {some(hosts)}: {one.found}")
        lines.append(f"      expected: {one.wanted}; what to do: {one.advice}")
        if one.consequences:
            lines.append(f"      this explains, too: {'; '.join(one.consequences)}")
    return ["", *lines] if lines else []


def merged(results: Iterable[Finding]) -> list[tuple[list[str], Finding]]:
    """The same thing said of several hosts is said once."""
    found: dict[tuple[str, ...], tuple[list[str], Finding]] = {}
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
