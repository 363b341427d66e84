"""Which releases are newer than those of a release set, asked of upstream, or of a mirror of its paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import requests

from prometheus_ha.deploys.lib.daemons import PRODUCTS
from prometheus_ha.deploys.lib.daemons.declare import Product
from prometheus_ha.deploys.lib.ground.results import aligned
from prometheus_ha.deploys.lib.site import releases

TIMEOUT = 10.0
"""Seconds in which upstream has to answer."""


@dataclass(frozen=True)
class Newest:
    """The newest release of a product, or why it is not known."""

    product: Product
    has: str
    """Version of the release set."""
    version: str = ""
    problem: str = ""

    @property
    def newer(self) -> bool:
        if not self.version or self.version == self.has:
            return False
        # One whose version is a date sorts as text does.
        return releases.at_least(self.version, self.has) if self.product.parts else self.version > self.has


def newest(product: Product, has: str, base_url: str) -> Newest:
    """What the link `releases/latest` of a product leads to."""
    url = f"{base_url.rstrip('/')}/{product.repository}/releases/latest"
    try:
        answer = requests.get(url, allow_redirects=False, timeout=TIMEOUT)
    except requests.RequestException as error:
        return Newest(product, has, problem=f"{url}: {type(error).__name__}")
    before, after = map(re.escape, product.tag.split("{version}"))
    tag = re.search(f"/releases/tag/{before}(.+){after}$", answer.headers.get("location", ""))
    if not tag:
        return Newest(product, has, problem=f"{url}: found HTTP {answer.status_code} without a release")
    return Newest(product, has, tag[1])


def ask(release: str, base_url: str) -> list[Newest]:
    """The newest release of each product that the set `release` has."""
    return [newest(PRODUCTS[name], version, base_url) for name, version in releases.RELEASES[release].items()]


def table(found: list[Newest]) -> Iterator[str]:
    rows = [("", "PRODUCT", "HAS", "NEWEST", "READ BEFORE")]
    for one in found:
        notes = f"https://github.com/{one.product.repository}/releases" if one.newer else ""
        word = "newer" if one.newer else "?" if one.problem else ""
        rows.append((word, one.product.name, one.has, one.version or one.problem, notes))
    yield from aligned(rows)
    if any(one.newer for one in found):
        yield "Set `versions` for one that you want to try: its flags and what goes together are checked before a run."
