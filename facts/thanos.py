"""Thanos components of a host."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import FactBase

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.site import relations
from prometheus_ha.deploys.lib.survey.here import of_host
from prometheus_ha.facts.reports.thanos import (
    BLOCKS_FAILED,
    BLOCKS_LOADED,
    HALTED,
    ITERATIONS,
    QUERIER_CALLS,
    SIDECAR_CALLS,
    QuerierReport,
    Report,
    SidecarReport,
    calls,
    parse,
    parse_querier,
    parse_sidecar,
)

OTHERS = tuple(
    name
    for name, info in DAEMONS.items()
    if info.archive == "thanos" and name not in (*relations.SIDECARS, "thanos-querier")
)
"""The components that have no fact of their own here."""


class Component(FactBase[Report]):
    """A Thanos component of this host: readiness, version and the metrics that tell how it is.

    :param url: where it is asked, from the host itself, as http://127.0.0.1:10906; of a host with one of
        them, where its settings say, by default.
    :param extra: more curl options (see ``facts.http.script``).
    """

    @staticmethod
    def default() -> Report:
        return Report(ready=False, errors={"ready": "no answer from the host"})

    def command(self, url: str | None = None, extra: Sequence[str] = ()) -> str:
        asked = calls(BLOCKS_LOADED, BLOCKS_FAILED, HALTED, ITERATIONS)
        return of_host(OTHERS, asked, url, extra)

    def process(self, output: list[str]) -> Report:
        return parse(output)


class Querier(FactBase[QuerierReport]):
    """The Thanos querier of this host; one that is down gives ``ready=False`` and no error.

    :param url: where it is asked, from the host itself; where its settings say, by default.
    :param extra: more curl options (see ``facts.http.script``).
    """

    @staticmethod
    def default() -> QuerierReport:
        return QuerierReport(ready=False, errors={"ready": "no answer from the host"})

    def command(self, url: str | None = None, extra: Sequence[str] = ()) -> str:
        return of_host(("thanos-querier",), QUERIER_CALLS, url, extra)

    def process(self, output: list[str]) -> QuerierReport:
        return parse_querier(output)


class Sidecar(FactBase[SidecarReport]):
    """The Thanos sidecar of this host; one that is down gives ``ready=False`` and no error.

    :param url: where it is asked, from the host itself; where its settings say, by default.
    :param extra: more curl options (see ``facts.http.script``).
    """

    @staticmethod
    def default() -> SidecarReport:
        return SidecarReport(ready=False, errors={"ready": "no answer from the host"})

    def command(self, url: str | None = None, extra: Sequence[str] = ()) -> str:
        return of_host(relations.SIDECARS, SIDECAR_CALLS, url, extra)

    def process(self, output: list[str]) -> SidecarReport:
        return parse_sidecar(output)
