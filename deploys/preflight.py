"""Refuse before anything changes: settings first, then what the hosts are (spec/000 1.1, 2, 12).

    pyinfra -y inventory.py deploys/preflight.py     # alone: read-only, one table of findings

`config.py` refuses bad settings before pyinfra connects; `settings` is for runs that were not started beside it. Then
every host of the run is asked, in the run's own look, and what all said is judged together and printed once
(lib/survey/preflight.py). One `fail` ends the run on all hosts. Peers are the inventory's, also under `--limit`.
"""

from copy import deepcopy
from dataclasses import dataclass, field

import pyinfra
from pyinfra import host, logger, state
from pyinfra.api import operation
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.output import format_text

from prometheus_ha.deploys.lib.ground.findings import Finding, SettingsErrors, refusal
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.configure import Configured
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.survey import preflight
from prometheus_ha.facts.reports import survey
from prometheus_ha.facts.reports.look import State

COLOURS = {"fail": "red", "warn": "yellow"}


NOT_CONFIGURED = (
    "this directory has no config.py that loads the platform's, so nothing was changed: start the run in the site's "
    "directory, or write a config.py with the lines `import prometheus_ha` and `prometheus_ha.configure()`"
)


def settings() -> None:
    """Ends the run, for all hosts and with all findings at once, where the site cannot be deployed."""
    if not kept(Configured).yes and pyinfra.is_cli:
        raise PyinfraError(NOT_CONFIGURED)
    try:
        rollout.site()
    except SettingsErrors as error:
        raise PyinfraError(refusal(error)) from None


@dataclass
class _Memory:
    """What a stage of the run has seen, by host."""

    seen: dict[str, survey.Host] = field(default_factory=dict)
    looks: dict[str, State] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    results: list[Finding] | None = None


class _Surveyed(dict[bool, _Memory]):
    """The plan's (False), and the run's own (True)."""


def _memory() -> _Memory:
    return kept(_Surveyed).setdefault(state.is_executing, _Memory())


def _view() -> preflight.View:
    memory, site = _memory(), rollout.site()
    seen = {name: memory.seen[name] for name in site.hosts if name in memory.seen}
    return preflight.View(site, seen, memory.looks, rollout.dead())


def _failures() -> list[Finding]:
    """What ends the run. Judged, and printed with all other findings, by the first in this stage who asks."""
    memory = _memory()
    if memory.results is None:
        view = _view()
        memory.results = [one for one in preflight.judge(view) if not view.site.accepts(one)]
        for line in [*preflight.table(view.site, memory.results), *preflight.gossip(view)]:
            logger.info(format_text(line, fg=COLOURS.get(line[:4])))
    return [one for one in memory.results if one.severity == "fail"]


@operation()
def _survey():
    """Ask the host, in the same command as the look that the steps share. Nothing is changed."""
    memory, member = _memory(), rollout.member()
    try:
        found = rollout.first_look({"survey": preflight.questions(rollout.site(), member)})
        if found is None:
            memory.failed[host.name] = "the look at this host failed"
        else:
            # While the run is planned, this host goes on at once, and foresees in its look what the run will do.
            memory.looks[host.name] = found if state.is_executing else deepcopy(found)
            memory.seen[host.name] = survey.parse(found.extra["survey"]).by_our_names(found)
    except FactProcessError as error:
        memory.failed[host.name] = str(error)
    if host.name in memory.failed:
        yield rollout.refuse(memory.failed[host.name])
    if not state.is_executing:
        # While the run is planned, hosts pass by at their own pace: whoever is last speaks for all.
        asked = {*memory.seen, *memory.failed}
        if asked >= rollout.living() and (failed := _failures()):
            raise PyinfraError(_refusal(failed))


@operation()
def _report():
    """Judge what all hosts said; each refuses where one finding is a failure."""
    if not state.is_executing:
        return
    if failed := _failures():
        yield rollout.refuse(_refusal(failed))


def _refusal(failed: list[Finding]) -> str:
    checks = ", ".join(dict.fromkeys(one.check for one in failed))
    return f"preflight: nothing was changed; mend what the table above says of: {checks}"


def deploy(changes: bool = True) -> None:
    """Look at every host of the run, and refuse for all of them before anything changes. A run that `changes` hosts
    takes their locks with it."""
    settings()
    if changes:
        rollout.begin()
    _survey(name="preflight: look at every host")
    _report(name="preflight: judge")


def run() -> None:
    """As a run of its own."""
    deploy(changes=False)


if __name__ == "builtins":  # as a deploy file
    run()
