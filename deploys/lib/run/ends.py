"""How a run ends before its end: Ctrl-C, no answer to a question, a plan that would be refused.

pyinfra exits with 0 then, which whoever started it takes for success. Here each has one sentence and another exit code
(130 for Ctrl-C, as shells have it), and the hosts that were changed are told before pyinfra hangs up.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import click
from pyinfra import logger
from pyinfra.api.output import format_text
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_state
from pyinfra_cli.prints import build_plan_json, build_results_json, print_json

from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.run import backtests, checkers, differences, guests, plan, quiet, runs, trials
from prometheus_ha.deploys.lib.survey import upstream_files

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILLING = 5
"""Seconds within which what the run was at on its hosts is let go."""

_caught: list[int] = []


def catch_signals() -> None:
    """Take the place of pyinfra's own handler, which exits with 0; not in a process that is not pyinfra's."""
    theirs = signal.getsignal(signal.SIGINT)
    if getattr(theirs, "__module__", "") != "pyinfra_cli.main":
        return
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame) -> None:
    for each in SIGNALS:  # a second one ends it at once
        signal.signal(each, signal.SIG_DFL)
    _caught.append(number)
    sys.exit(128 + number)


def tell() -> None:
    """The last word of a run that was interrupted."""
    quiet.flush()
    if not _caught:
        return
    state = ctx_state.get() if ctx_state.isset() else None
    run = runs.current(state) if state else None
    if run and run.changing:
        says = (
            f"{', '.join(sorted(run.changing))} changed so far, maybe in part: {topology.LAST_RUN} there says what, "
            f"and {run.path or 'no record'} here. Run it again: it goes on with what is left"
        )
    elif run or not (state and state.is_executing):
        says = "nothing was changed"
    else:
        says = "what was begun on the hosts may go on there"
    with suppress(OSError):  # the terminal may be gone
        click.echo(f"--> Interrupted: {says}.", err=True)


def before_disconnecting(disconnect: Callable) -> Callable:
    """pyinfra's way of hanging up, after the hosts that were changed have been told how the run ended."""

    def end(state) -> None:
        current = ctx_state.get()
        if _caught and current.pool:
            # Otherwise they would take their next step while the hosts are told that there is none.
            # Not by one call that waits: once, on a busy machine, gevent's turned round for ever in it, and never let
            # the time limit have its turn.
            current.pool.kill(block=False)
            current.pool.join(timeout=KILLING)
        if run := runs.current(current):
            run.leave(bool(_caught))
        if not _caught:
            quiet.close(current)
        disconnect(state)

    return end


def confirm_with(ask: Callable[[str], bool]) -> Callable[[str], bool]:
    """pyinfra's questions: a run that is not confirmed has failed, and so has one that nobody is there to confirm."""

    def confirm(message: str) -> bool:
        state = ctx_state.get()
        before = state.current_stage == StateStage.Prepare
        if before:
            end_refused()
        try:
            if ask(message):
                return True
            why = "not confirmed"
        except EOFError:
            click.echo(err=True)
            why = "nobody is there to answer (no terminal)"
        if not before:
            click.echo(f"--> Ended here, {why}. Run it again: it goes on with what is left.", err=True)
            return False  # pyinfra ends the run, with 1
        click.echo(f"--> Nothing was changed: {why}. Press enter to go on; -y asks nothing.", err=True)
        sys.exit(1)

    return confirm


def end_refused() -> None:
    """Exit with 1 where the plan foresees that a host will refuse."""
    if not ctx_state.isset():
        return
    state = ctx_state.get()
    reasons = [*plan.refusals(state), trials.refusal(trials.of(state))]
    if found := "; ".join(filter(None, reasons)):
        click.echo(f"--> refused, so that nothing can be changed: {found}", err=True)
        sys.exit(1)


def exit_with(leave: Callable[[], None]) -> Callable[[], None]:
    """pyinfra's exit, after a plan as well."""

    def exit_() -> None:
        if ctx_state.isset() and not ctx_state.get().is_executing:
            end_refused()
        leave()

    return exit_


def _refused_by_checkers(state, tried: trials.Trials) -> list[str]:
    """What the hosts' checkers refused, in lines that name the user's own files."""
    files = upstream_files.of(state.inventory)
    return trials.refused(tried, lambda wanted, line: files.in_users_words(wanted.files, line))


def print_json_with(print_pyinfras: Callable) -> Callable:
    """pyinfra's JSON of a run, and in it, below `site`, what the plan says, and what the checkers refused or were not
    there to see."""

    def print_run(state, dry: bool) -> None:
        run = runs.current(state)
        payload = {"plan": build_plan_json(state), "results": None if dry else build_results_json(state)}
        if run and dry:
            tried = trials.judge(state)
            payload["site"] = {
                "plan": plan.of_run(state, run.announcements, run.site.hosts),
                "refused": [*plan.refusals(state), *_refused_by_checkers(state, tried)],
                "not_checked": trials.not_checked(tried),
                "alert_rules": backtests.lines(state, run.site),
                "doubtful": checkers.lines(state),
            }
        print_json(payload)

    return print_run


_COLOURS = {"-": "red", "+": "green"}


def print_with(pyinfras_table: Callable) -> Callable:
    """pyinfra's table of operations, which knows names of operations and counts of hosts only: the plan instead."""

    def print_plan(state) -> None:
        run = runs.current(state)
        lines = plan.of_run(state, run.announcements, run.site.hosts) if run else []
        if not lines or guests.are_we(state):  # whose own operations it has
            pyinfras_table(state)
        for line in differences.lines(state):
            logger.info(format_text(line, fg=_COLOURS.get(line.strip()[:1])))
        tried = trials.judge(state)
        for line in _refused_by_checkers(state, tried):
            logger.info(format_text(line, fg="red", bold=not line.startswith(" ")))
        for line in trials.not_checked(tried):
            logger.info(format_text(line, fg="yellow"))
        for line in backtests.lines(state, run.site) if run else []:
            logger.info(line)
        for line in checkers.lines(state):
            logger.info(format_text(line, fg="yellow"))
        for line in plan.refusals(state):
            logger.info(format_text(f"{plan.REFUSED}{line}", fg="red", bold=True))
        for line in lines:
            colour = {"fg": "yellow"} if "outage" in line else {}
            colour = {"fg": "red"} if plan.REFUSED in line else colour
            logger.info(format_text(line, bold=not line.startswith(" "), **colour))

    return print_plan
