"""Live kernel values.

``net.*`` belongs to the host's network namespace and most else to the machine, so that in a
container many a value can be read and not set: ``KernelEntries`` tells which.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.exceptions import FactProcessError, FactValueError

from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.facts import Reading, guarded

_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$")

# proc(5), namespaces(7): what is not the machine's but a namespace's.
_NAMESPACED = ("net.", "user.", "fs.mqueue.", "kernel.shm", "kernel.msg", "kernel.sem")
_NAMESPACED_NAMES = ("kernel.hostname", "kernel.domainname")


@dataclass(frozen=True)
class Entry(Reading):
    """One sysctl: ``value`` is None where this kernel (or this namespace) has no such name."""

    value: str | None
    writable: bool
    machine_wide: bool


def default_names() -> list[str]:
    """The names of the ``sysctl`` setting's default."""
    return list(Settings.model_fields["sysctl"].get_default(call_default_factory=True))


def machine_wide(name: str) -> bool:
    """True where the value is shared with everything that runs on the machine."""
    return not name.startswith(_NAMESPACED) and name not in _NAMESPACED_NAMES


def path(name: str) -> str:
    """The file below /proc/sys, by the rule of sysctl(8).

    Whichever of ``.`` and ``/`` comes first separates; the other one is part of a word, as in
    ``net/ipv4/conf/eth0.1/forwarding``.
    """
    separators = [character for character in name if character in "./"]
    if separators and separators[0] == ".":
        name = name.translate(str.maketrans("./", "/."))
    return f"/proc/sys/{name}"


def script(names: Sequence[str]) -> str:
    """One line per name: ``NAME rw|ro|absent VALUE``.

    :raises FactValueError: for what cannot be a sysctl's name.
    """
    lines = []
    for name in names:
        if not _NAME.match(name) or ".." in name:
            raise FactValueError(f"{name!r} is no sysctl name: letters, digits, _ - . / are allowed")
        file = shlex.quote(path(name))
        lines.append(
            f"if [ -r {file} ]; then if [ -w {file} ]; then m=rw; else m=ro; fi; "
            f'echo "{name} $m" $(cat {file} 2>/dev/null); else echo "{name} absent"; fi'
        )
    return "\n".join([*lines, "true"])


@guarded
def parse_entries(lines: Iterable[str]) -> dict[str, Entry]:
    """Read ``script``'s lines; the words of a value are one blank apart."""
    entries = {}
    for line in lines:
        words = line.split()
        if not words:
            continue
        if len(words) < 2 or words[1] not in ("rw", "ro", "absent"):
            raise FactProcessError(f"kernel: expected NAME rw|ro|absent VALUE, found: {line!r}")
        name, mode, *value = words
        entries[name] = Entry(
            value=None if mode == "absent" else " ".join(value),
            writable=mode == "rw",
            machine_wide=machine_wide(name),
        )
    return entries


def parse(lines: Iterable[str]) -> dict[str, str | None]:
    """Read ``script``'s lines: name to value, None where there is no such name."""
    return {name: entry.value for name, entry in parse_entries(lines).items()}


def _names(names: Sequence[str] | str | None) -> list[str]:
    if names is None:
        return default_names()
    return re.split(r"[\s,]+", names.strip()) if isinstance(names, str) else list(names)


class KernelEntries(FactBase[dict[str, Entry]]):
    """Value, writability and owner (the host or the machine) of sysctls.

    :param names: a list, or a string with commas; the names of the ``sysctl`` setting by default.
    """

    default = dict

    def command(self, names: Sequence[str] | str | None = None) -> str:
        return script(_names(names))

    def process(self, output: list[str]) -> dict[str, Entry]:
        return parse_entries(output)


class Kernel(FactBase[dict[str, str | None]]):
    """Live values of sysctls, None for a name that the kernel does not have.

    :param names: a list, or a string with commas; the names of the ``sysctl`` setting by default.
    """

    default = dict

    def command(self, names: Sequence[str] | str | None = None) -> str:
        return script(_names(names))

    def process(self, output: list[str]) -> dict[str, str | None]:
        return parse(output)
