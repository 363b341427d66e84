"""How a script of ours goes to a host, and how what it prints comes back.

It goes in by stdin. As an argument it could be no longer than 128 KiB, which about 150 stores fill, and everybody on
the host could read it. What comes back is read between two marks: an SSH user's shell may print something of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError

BEGIN = "=====[monitoring: begin]====="
END = "=====[monitoring: end]====="
SHELL = "sh -s"


def piped(script: str, at_once: bool = False) -> str:
    """What goes to the stdin of `SHELL`: one text, as pyinfra sends each line of a list as a packet of its own.

    All of it is read before any of it is done: a connection that breaks meanwhile leaves nothing half done, and what
    the script starts cannot read on in it. With `at_once`, what it prints comes as one text too, at its end: each line
    of a shell's is a packet, and a look has hundreds.
    """
    marked = f"(\necho '{BEGIN}'\n{script}\n) </dev/null\nstatus=$?\necho '{END}'\nexit $status"
    if at_once:
        marked = (
            f"said=$({{\n{script}\n}} </dev/null)\nstatus=$?\nprintf '%s\\n' '{BEGIN}' \"$said\" '{END}'\nexit $status"
        )
    return f"{{\n{marked}\n}}\n"


def between(lines: Iterable[str]) -> list[str]:
    """What a script sent by `piped` printed. What comes before a mark may lack its newline. Raises FactProcessError
    where the answer is not there as a whole."""
    found = list(lines)
    begin = next((n for n, line in enumerate(found) if line.endswith(BEGIN)), None)
    end = next((n for n, line in enumerate(found) if line.endswith(END)), None)
    if begin is None or end is None or end < begin:
        text = " | ".join(found)[-300:] or "nothing"
        raise FactProcessError(f"no whole answer, found: {text}")
    last = found[end].removesuffix(END)
    return [*found[begin + 1 : end], *([last] if last else [])]


class Probe(FactBase):
    """The lines a script printed. It must exit 0 whatever it finds: a gate polls, and a failed fact fails the host."""

    command = SHELL  # type: ignore[assignment]

    def process(self, output):
        try:
            return between(output)
        except FactProcessError:  # raised, it would fail the host: the connection may be back at the next question
            return []

    @staticmethod
    def default():
        return []


def probe(host, script: str, **options) -> list[str]:
    """What `script` prints on `host`; `options` are pyinfra's, as `_ignore_errors`. Half an answer is none."""
    return host.get_fact(Probe, _stdin=piped(script, at_once=True), **options)
