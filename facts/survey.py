"""A host as it is before a run."""

from __future__ import annotations

from pyinfra.api import FactBase

from prometheus_ha.deploys.lib.survey.preflight import default_script
from prometheus_ha.facts.reports.survey import parse


class Survey(FactBase):
    """A host as it is before a run, as a `Host`; `None` where it could not be asked. Tries no peers."""

    def command(self, script: str | None = None) -> str:
        return default_script() if script is None else script

    def process(self, output):
        return parse(output)

    @staticmethod
    def default():
        return None
