"""Alerts of an id of their own, one after the other: whether each arrived, and how often."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

from prometheus_ha.deploys.lib.roles.alertmanager import configuration
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import post_alert, shell, wait_for


class Canaries:
    """Sends one a second to every Alertmanager that is there.

    with Canaries(site) as canaries: ...
    """

    def __init__(self, site: Site) -> None:
        self.site, self.sent = site, []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._over.is_set():
            name = f"c{time.time_ns()}"
            post_alert(self.site, configuration.CANARY_ALERT, canary_id=name, severity="none")
            self.sent.append(name)
            self._over.wait(1)

    def _arrived(self) -> Counter[str]:
        """How often each arrived at the relays."""
        found: Counter[str] = Counter()
        for member in self.site.running("alert_relay"):
            port = self.site.endpoint("alert_relay", member, "webhook").port
            found.update(json.loads(shell(member.name, f"curl -sS http://127.0.0.1:{port}/status"))["canaries"])
        return found

    def doubled(self) -> list[str]:
        """Those that arrived more than once. None is lost."""
        wait_for("every canary", lambda: not set(self.sent) - set(self._arrived()), 60)
        arrived = self._arrived()
        return [name for name in self.sent if arrived[name] > 1]
