"""Is the site what the inventory says? Read-only: one table of the site, and what is wrong with it.

    pyinfra -y inventory.py deploys/verify.py

Every host is asked in parallel, by two commands: the look, and the questions to its daemons (again,
for two scrape intervals, where targets of the site are not up that may come up). Then everything is judged together
(`lib/survey/checks.py`) and printed once, on stderr, as pyinfra's messages are. A host with a failed check
fails the run; so does one that cannot be reached. With `--limit` only the chosen hosts are asked,
about the whole site as they see it.
"""

import time

from pyinfra import host, inventory, logger, state
from pyinfra.api import operation
from pyinfra.api.output import format_text

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib.common import verify_view
from prometheus_ha.deploys.lib.common.look_script import ROOT_HELP
from prometheus_ha.deploys.lib.common.verify_view import SETTLING
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.look import look_at_host
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.run.rollout import Gate, Progress
from prometheus_ha.deploys.lib.survey import checks
from prometheus_ha.facts.probe import probe


class _Verified(dict[str, checks.Seen]):
    """What this run has seen, by host."""


@operation()
def _ask():
    """Look at the host and ask its daemons. Nothing is changed, so nothing is yielded."""
    if not state.is_executing:
        return
    member, begun = rollout.member(), time.monotonic()
    found = look_at_host()
    if found is None:
        yield rollout.refuse("the look at this host failed")
        return
    if found.account:  # who sees neither files nor processes of others would find all of them wrong
        yield rollout.refuse(f"commands are run as {found.account}, not as root: {ROOT_HELP}")
        return
    # A target may miss one scrape, or be too new to have had one: that is no reason to fail yet.
    patience = 2 * seconds(member.settings.scrape_interval) + 5

    def judge(lines: list[str]) -> Progress:
        seen = kept(_Verified)[host.name] = checks.read(member, found, lines)
        # What others have said by now counts: whoever is known to be down is not waited for.
        so_far = checks.View(rollout.site(), {**kept(_Verified), host.name: seen}, rollout.dead())
        wrong = verify_view.targets_not_up(so_far, host.name)
        waited = time.monotonic() - begun
        says = f"not up: {some(wrong)}" if wrong else "all up"
        return Progress(not wrong or waited > patience, says, waited)

    gate = Gate(checks.questions(rollout.site(), member), judge)
    if not judge(probe(host, gate.script)).ok:
        rollout.wait(state, host, gate, purpose="targets")


def _view() -> checks.View:
    """The site as all hosts have said by now."""
    site = rollout.site()
    asked = {one.name for one in inventory if state.is_host_in_limit(one)} & set(site.hosts)
    seen = {name: kept(_Verified)[name] for name in site.hosts if name in kept(_Verified)}
    return checks.View(site, seen, rollout.dead() | (asked - set(seen)))


class _Judged(dict[str, list[Finding]]):
    """What was found, at first and at last: of the whole site, and so by one host for all."""


def _judged(when: str) -> list[Finding]:
    memory = kept(_Judged)
    if when not in memory:
        memory[when] = checks.judge(_view())
    return memory[when]


@operation()
def _ask_again():
    """What a host said before the others were up is asked again, as long as it is not what it should be."""
    yield from ()
    member, begun = rollout.member(), time.monotonic()
    if not state.is_executing or member.name not in kept(_Verified):
        return
    found = kept(_Verified)[member.name].look
    patience = 2 * seconds(member.settings.scrape_interval) + 5

    def wrong(results: list[Finding]) -> list[str]:
        return [one.found for one in results if one.host == member.name and one.check in SETTLING]

    def judge(lines: list[str]) -> Progress:
        kept(_Verified)[member.name] = checks.read(member, found, lines)
        waited, says = time.monotonic() - begun, wrong(checks.judge(_view()))
        return Progress(not says or waited > patience, some(says) if says else "as they should be", waited)

    if wrong(_judged("at first")):
        rollout.wait(state, host, Gate(checks.questions(rollout.site(), member), judge), purpose="what may settle")


@operation()
def _report():
    """Judge what all hosts said. The first living host prints it; each one fails with what it has."""
    if not state.is_executing:
        return
    living = rollout.living()
    order = [name for name in rollout.site().hosts if name in living]
    first = order[0] if order else host.name
    view, results = _view(), _judged("at last")
    if host.name == first:
        for line in checks.table(view, results):
            logger.info(format_text(line, **_style(line)))
    # pyinfra itself fails for a host that it could not reach.
    failed = [one for one in results if one.severity == "fail" and one.host not in view.dead]
    mine = [f for f in failed if (f.host if f.host in living else first) == host.name]
    if mine:
        more = f", and {len(mine) - 1} more" if len(mine) > 1 else ""
        yield rollout.refuse(f"{mine[0].check}: {mine[0].found}{more}; the table above has it all")


def _style(line: str) -> dict[str, str]:
    return {"fg": {"fail": "red", "warn": "yellow"}[line[:4]]} if line[:4] in ("fail", "warn") else {}


def deploy() -> None:
    """Verify the site."""
    _ask(name="verify: look at every host and ask its daemons")
    _ask_again(name="verify: ask again what was not up yet")
    _report(name="verify: the site")


def run() -> None:
    """As a run of its own."""
    preflight.settings()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
