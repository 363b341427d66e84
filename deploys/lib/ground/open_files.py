"""How many files this process may have open, which a connection is one of (`ulimit -n`)."""

from __future__ import annotations

import resource

SPARE = 32
"""What a run has open beside its connections: measured are 7, and some more for moments."""
PER_HOST = 4
"""At most: a connection is one file, a ProxyCommand of an OpenSSH configuration is a process with three pipes."""


def make_room(hosts: int) -> str | None:
    """Raise the soft limit to what connections to so many hosts may take. Where the hard limit is below what they take
    in any case: what is wrong, and what to do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    bound = float("inf") if hard == resource.RLIM_INFINITY else hard
    if bound < hosts + SPARE:
        return (
            f"{hosts} hosts: each takes an open file, and this shell allows {hard} (ulimit -Hn); raise that to "
            f"{PER_HOST * hosts + SPARE} (LimitNOFILE= of a unit, /etc/security/limits.conf), or take a part of the "
            "hosts at a time with --limit"
        )
    wanted = int(min(PER_HOST * hosts + SPARE, bound))
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return None
