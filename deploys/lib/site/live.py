"""The hosts as this run has seen them, beside what the inventory wants of them.

Until its turn a member listens where it did, and gossips under the label that it has: whoever asks it, or is to stand
beside it, goes by that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_ha.deploys.lib.daemons import Ref, of
from prometheus_ha.facts.reports.look import State

ARGV = ("/debug/pprof/cmdline", r"tr '\000' ' '")
"""Path at which daemons of Go say with what arguments they run, and the filter that makes lines of it."""


@dataclass
class Live:
    """What a run knows of its hosts. Nothing, where there is no run."""

    away: set[str] = field(default_factory=set)
    """Names of the hosts that could not be reached when the run began."""
    looks: dict[str, State] = field(default_factory=dict)
    """Host -> the last look at it, kept up with what its turn changed."""
    parts: dict[str, frozenset[str]] = field(default_factory=dict)
    """Host -> the roles that have something there."""
    heard: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Host outside this run -> the command line of its Alertmanager, as it says itself."""

    def argv(self, daemon: Ref, host: str) -> tuple[str, ...] | None:
        """The command line with which a daemon of ours runs; None where it does not, or is not known to."""
        info = of(daemon)
        process = self.looks[host].processes.get(info.unit) if host in self.looks else None
        # Somebody else's daemon by our name is no member.
        return process.argv if process and process.argv[:1] == (info.path,) else None

    def port(self, daemon: Ref, host: str, kind: str = "http") -> int | None:
        """Where a running daemon listens; None where that is not known."""
        flag = of(daemon).ports[kind].flag
        value = flag_value(self.argv(daemon, host) or (), flag)
        port = (value or "").rpartition(":")[2]
        return int(port) if port.isdecimal() else None


def flag_value(argv: Iterable[str], flag: str) -> str | None:
    """The value of `--flag=value`, with one dash or two; None where it is not among the arguments."""
    for word in argv:
        name, equals, value = word.partition("=")
        if equals and name.lstrip("-") == flag:
            return value
    return None
