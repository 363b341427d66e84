"""What of pyinfra is replaced, as it has no hook in its place: each with the arguments that the original has.

The version is bound in setup.cfg. One that calls or defines them in another way is refused before anything is done.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cache, wraps
from getpass import getpass
from importlib import import_module
from traceback import walk_stack
from types import SimpleNamespace
from typing import Any

import click
from pyinfra import __version__
from pyinfra.api.arguments import all_argument_meta
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import extract_callable_datas
from pyinfra.connectors.util import CommandOutput, OutputLine

from prometheus_ha.deploys.lib.run import ends, quiet
from prometheus_ha.facts.probe import between, piped

Make = Callable[[Callable], Callable]
"""Makes the replacement of an original."""


def replace(path: str, arguments: str, make: Make) -> None:
    """Replace the function at `path` (module:name), which takes `arguments`, by what `make` makes of it.

    Raises PyinfraError where there is none, or where it takes others.
    """
    module_name, name = path.split(":")
    module = import_module(module_name)
    before = getattr(module, name, None) or _absent(path)
    original = _ours.get(before) or inspect.unwrap(before)  # a process of tests has several runs
    found = " ".join(inspect.signature(original).parameters)
    if found != arguments:
        raise PyinfraError(f"pyinfra {__version__}: {path} takes ({found}), and not ({arguments}): {_ADVICE}")
    made = make(original)
    _ours[made] = original
    setattr(module, name, made)


_ours: dict[Callable, Callable] = {}
"""What was made -> what it replaced."""
_ADVICE = "use the version that setup.cfg names"


def _absent(path: str) -> Callable:
    raise PyinfraError(f"pyinfra {__version__} has no {path}: {_ADVICE}")


def install() -> None:
    """Replace all of them."""
    for path, (arguments, make) in REPLACED.items():
        replace(path, arguments, make)


def use(inventory: Any, data: dict[str, Any]) -> None:
    """Let pyinfra take the inventory that was made with this `data` already, and not make another one: with it goes the
    site that was read of it. Options of the connection (--user, --key) are more data, and make another one."""

    def make(original: Callable) -> Callable:
        def again(*arguments: Any, override_data: Any = None, **more: Any) -> Any:
            same = override_data == data
            return inventory if same else original(*arguments, override_data=override_data, **more)

        return again

    replace("pyinfra_cli.cli:make_inventory", "inventory override_data cwd group_data_directories", make)


# --- Where an operation was called ----------------------------------------------------------------


def _stack(original: Callable) -> Callable:
    """To know the line that calls an operation, pyinfra reads the source of every frame on the way, and looks for its
    file: most of the time of a run with nothing to change. File and number are all it uses."""
    return lambda: list(walk_stack(sys._getframe(1)))


def _frame(original: Callable) -> Callable:
    return lambda frame: inspect.Traceback(frame.f_code.co_filename, frame.f_lineno, "", None, None)  # type: ignore[arg-type]


# --- What applies to an operation -----------------------------------------------------------------


class _Host:
    """A host, of which a part is replaced."""

    def __init__(self, host: Any) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)


class _Executed(_Host):
    """A host whose data is what it says of how operations are executed, and no more."""

    def __init__(self, host: Any) -> None:
        super().__init__(host)
        names = {name for data in extract_callable_datas(host.data.datas) for name in _EXECUTION & data.keys()}
        self.data = SimpleNamespace(**{name: getattr(host.data, name) for name in names})


_EXECUTION = all_argument_meta.keys()


def _arguments(original: Callable) -> Callable:
    """For every operation and fact pyinfra looks for each of its thirty arguments in each of a host's groups."""
    return lambda state, host, kwargs: original(state, _Executed(host), kwargs)


# --- sudo's password ------------------------------------------------------------------------------

_unanswered: set[str] = set()


def _ask(original: Callable) -> Callable:
    """The question where sudo wants a password. Where nobody is there to answer it, pyinfra's own one ends the run of
    all hosts in a traceback; so the host alone fails, and says what to do."""

    def ask(prompt: str) -> str:
        if prompt in _unanswered:
            return ""
        try:
            return getpass(prompt)
        except EOFError:
            _unanswered.add(prompt)
            click.echo(
                f"{prompt}none given. Run with --same-sudo-password (asks once, on the terminal or stdin), "
                "or let this user use sudo without one (NOPASSWD)",
                err=True,
            )
            return ""

    return ask


class _Marked(_Host):
    """A host, for a command of pyinfra's own, whose answer is read between marks."""

    def run_shell_command(self, command: Any, **arguments: Any) -> tuple[bool, CommandOutput]:
        done, said = self._host.run_shell_command(piped(command), **arguments)
        if not done:
            return done, said
        return done, CommandOutput([OutputLine("stdout", line) for line in between(said.stdout_lines)])


def _askpass(original: Callable) -> Callable:
    """What a host prints first is taken for the file that hands sudo its password: it may be what its login says."""
    return wraps(original)(lambda host, *args, **options: original(_Marked(host), *args, **options))


_remembered = cache(cache)
"""What is always the same: also in a process with several runs."""

REPLACED: dict[str, tuple[str, Make]] = {
    # Before a run without -y, and with --dry, pyinfra prints operations and counts of hosts; an operator wants to know
    # files, restarts and their order.
    "pyinfra_cli.cli:print_meta": ("state", ends.print_with),
    "pyinfra_cli.cli:print_run_json": ("state dry", ends.print_json_with),
    # After it, a table of all steps with counts of hosts.
    "pyinfra_cli.cli:print_results": ("state", quiet.results_with),
    # What is refused, interrupted or not confirmed would exit with 0.
    "pyinfra_cli.cli:_do_confirm": ("msg", ends.confirm_with),
    "pyinfra_cli.cli:_exit": ("", ends.exit_with),
    "pyinfra_cli.cli:disconnect_all": ("state", ends.before_disconnecting),
    "pyinfra.api.util:stack": ("context", _stack),
    "pyinfra.api.util:getframeinfo": ("frame context", _frame),
    # For every operation and fact pyinfra evaluates the annotations of its arguments anew; and twice in a run it reads
    # what every installed package brings.
    "pyinfra.api.arguments:all_global_arguments": ("", _remembered),
    "pyinfra.api.connectors:entry_points": ("params", _remembered),
    "pyinfra.api.operation:pop_global_arguments": ("state host kwargs", _arguments),
    "pyinfra.api.facts:pop_global_arguments": ("state host kwargs", _arguments),
    "pyinfra.connectors.util:getpass": (" ".join(inspect.signature(getpass).parameters), _ask),
    "pyinfra.connectors.util:_ensure_askpass_set_for_host": ("host key env_var temp_dir", _askpass),
}
"""Module and name -> its arguments, and what makes the replacement."""
