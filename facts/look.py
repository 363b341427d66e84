"""A host as one command sees it."""

from __future__ import annotations

from pyinfra.api import FactBase

from prometheus_ha.deploys.lib.common.look_script import default_script
from prometheus_ha.facts.probe import SHELL, between, piped
from prometheus_ha.facts.reports.look import parse


class Look(FactBase):
    """A host as one command sees it, as a `State`; `None` where the look failed."""

    def command(self, sent: bool = False) -> str:
        """`sent`: the script comes by stdin, as `probe.piped` has it."""
        if sent:
            return SHELL
        return piped(default_script())

    def process(self, output):
        return parse(between(output))

    @staticmethod
    def default():
        return None
