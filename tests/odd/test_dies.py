"""Daemons that die seconds after their start: the run says what they said, and does not wait for them."""

from __future__ import annotations

import time

from prometheus_ha.deploys.lib.run.rollout import PATIENCE
from tests.drills.site import shell, wait_for
from tests.odd.site import VERIFY, blank, run

BAD_LUCK = """
mkdir -p /etc/systemd/system/alertmanager.service.d
cat >/etc/systemd/system/alertmanager.service.d/bad-luck.conf <<'END'
[Service]
ExecStartPre=/bin/sh -c 'echo bad luck; exit 1'
END
systemctl daemon-reload
"""


def site(**data) -> dict:
    return {"alertmanager": {"odd-1": data}}


def test_a_daemon_that_dies() -> None:
    """A value that a daemon refuses at its start"""
    blank("odd-1")
    began = time.monotonic()
    first = run(site())
    normal = time.monotonic() - began
    assert first.status == 0, str(first)

    began = time.monotonic()
    done = run(site(alertmanager_flags={"log.format": "nonsense"}))
    assert done.status == 1, str(done)
    own = "alertmanager: error: unrecognized log format nonsense"
    assert f"alertmanager crashed 2 times since its start: {own}" in done.log, str(done)
    assert "the journal of alertmanager ends with:" in done.log, str(done)
    assert "no progress for" not in done.log, str(done)
    assert time.monotonic() - began < normal + PATIENCE / 3

    # The way back is the setting, and the crashes of before are not this start's.
    again = run(site())
    assert again.status == 0, str(again)
    assert "crashed" not in again.log, str(again)

    # One that comes back all by itself is told afterwards.
    shell("odd-1", "kill -SEGV $(systemctl show -p MainPID --value alertmanager)")
    back = "systemctl show -p NRestarts --value alertmanager"
    wait_for("it to be back", lambda: shell("odd-1", back).strip() == "1", 30)
    seen = run(site(), deploy=VERIFY)
    assert "alertmanager crashed once and came back (not a known fault)" in seen.log, str(seen)

    # Where systemd itself says no, the command that starts it says why.
    shell("odd-1", BAD_LUCK)
    done = run(site(alertmanager_flags={"log.level": "debug"}))
    assert done.status == 1, str(done)
    assert "bad luck" in done.log, str(done)
