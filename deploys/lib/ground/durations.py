"""Durations as Prometheus and Go write them."""

from __future__ import annotations

import re

_UNITS = {"y": 31536000, "w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_DURATION = re.compile("".join(rf"(?:(\d+){unit})?" for unit in _UNITS))


def seconds(duration: str) -> float:
    """A Prometheus duration (`1h30m`, `15s`, `0`) in seconds. ValueError for anything else."""
    match = _DURATION.fullmatch(duration) if isinstance(duration, str) and duration else None
    if match is None and duration not in ("0", 0):
        raise ValueError("a duration like 15s, 2h or 1h30m")
    amounts = match.groups() if match else ()
    return sum(int(n) * u for n, u in zip(amounts, _UNITS.values(), strict=False) if n)


def written(amount: float) -> str:
    """Seconds as people write a duration: 90 is 1m30s. Neither weeks nor years, which hide how many days there are."""
    left, parts = round(amount * 1000), []
    for unit, value in _UNITS.items():
        count, size = 0, round(value * 1000)
        if unit not in ("y", "w"):
            count, left = divmod(left, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


_GO_UNITS = {
    "w": 604800,
    "d": 86400,
    "h": 3600,
    "m": 60,
    "s": 1,
    "ms": 1e-3,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ns": 1e-9,
}
_GO_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h|d|w)")


def go_seconds(duration: str) -> float:
    """A duration of Go's `time.ParseDuration` (`1.5h`, `-1s`, `0`), with the days and weeks that kingpin's flags have
    besides, in seconds. ValueError for anything else."""
    text = duration.removeprefix("-") if duration.startswith("-") else duration.removeprefix("+")
    if text == "0":
        return 0.0
    if not text or _GO_PART.sub("", text):
        raise ValueError("a duration like 90s, 1.5h or 8d")
    total = sum(float(n) * _GO_UNITS[unit] for n, unit in _GO_PART.findall(text))
    return -total if duration.startswith("-") else total
