"""The Prometheus of a host."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api import FactBase

from prometheus_ha.deploys.lib.survey.here import of_host
from prometheus_ha.facts.reports.prometheus import CALLS, Report, parse


class Prometheus(FactBase[Report]):
    """The Prometheus of this host; one that is down gives ``ready=False`` and no error.

    :param url: where it is asked, from the host itself; where its settings say, by default.
    :param extra: more curl options (see ``facts.http.script``).
    """

    @staticmethod
    def default() -> Report:
        return Report(ready=False, errors={"ready": "no answer from the host"})

    def command(self, url: str | None = None, extra: Sequence[str] = ()) -> str:
        return of_host(("prometheus", "prometheus-upper"), CALLS, url, extra)

    def process(self, output: list[str]) -> Report:
        return parse(output)
