"""Something that is asked of several hosts at once, outside pyinfra's operations."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from pyinfra.context import ctx_host, ctx_state


def at_once(state: Any, names: Container[str], ask: Callable[[Any], None]) -> list[Any]:
    """`ask` each active host of these names, side by side, and wait for all. The hosts, in the inventory's order."""

    def within(host: Any) -> None:
        with ctx_state.use(state), ctx_host.use(host):
            ask(host)

    hosts = [host for host in state.inventory if host in state.active_hosts and host.name in names]
    for greenlet in [state.pool.spawn(within, host) for host in hosts]:
        greenlet.join()
    return hosts
