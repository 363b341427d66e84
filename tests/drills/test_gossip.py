"""Alertmanagers that lose each other, or die at the worst moment: a human is told, and not again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site.members import Member, Site
from tests.drills.site import ask, get, lab, notifications, post_alert, shell, wait_for

pytestmark = [pytest.mark.usefixtures("restored"), pytest.mark.long]


def _quiet(site: Site) -> float:
    """Seconds after which any member would have sent: each waits for those before it."""
    members = site.running("alertmanager")
    timing = members[0].settings.timing
    return seconds(timing.group_interval) + len(members) * seconds(timing.peer_timeout) + 2


def _peers(site: Site, member: Member) -> int:
    status = get(f"{site.endpoint('alertmanager', member).url}/api/v2/status")
    return len(status["cluster"]["peers"])


@pytest.fixture
def parted(site: Site) -> Iterator[tuple[Member, list[Member]]]:
    """The first Alertmanager alone, and the two others."""
    alone, *others = site.running("alertmanager")
    for other in others:
        lab("cut", alone.name, other.name)
    try:
        wait_for("both sides to see it", lambda: _peers(site, alone) == 1 and _peers(site, others[0]) == 2, 60)
        yield alone, others
    finally:
        lab("heal")


def test_a_partition_is_told_of_once_a_side(site: Site, parted: tuple[Member, list[Member]]) -> None:
    """For longer than a lost peer is remembered. What is silenced on one side is known on the other one afterwards."""
    alone, others = parted
    name, muted = f"Part{time.time_ns()}", f"Mute{time.time_ns()}"
    post_alert(site, name)
    wait_for("a notification", lambda: notifications(name)["firing"], 60)
    silence = {
        "matchers": [{"name": "alertname", "value": muted, "isRegex": False}],
        "startsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600)),
        "createdBy": "drill",
        "comment": "drill",
    }
    ask(f"{site.endpoint('alertmanager', alone).url}/api/v2/silences", "POST", json=silence).raise_for_status()
    forgotten = seconds(alone.settings.timing.reconnect_timeout)
    time.sleep(1.5 * forgotten)  # the time itself is what is tried
    told = notifications(name)["firing"]
    assert 1 <= told <= 2, "at least one, and at most one a side"
    lab("heal")
    wait_for("one cluster again", lambda: all(_peers(site, one) == 3 for one in [alone, *others]), 120)
    post_alert(site, name)  # as Prometheus goes on doing
    post_alert(site, muted)
    time.sleep(2 * _quiet(site))
    assert notifications(name)["firing"] == told, "told again when the sides met"
    assert not notifications(muted), "a silence of one side is not known on the other one"
    post_alert(site, name, over=True)


def test_the_first_in_line_dies_before_it_sends(site: Site) -> None:
    first, *_ = site.running("alertmanager")
    name = f"Dies{time.time_ns()}"
    post_alert(site, name)
    # Within group_wait: it has the alert, and has told nobody.
    shell(first.name, "systemctl kill --kill-who=main -s KILL alertmanager")
    assert not notifications(name), "too late: it was told already"
    wait_for("the notification by the next one", lambda: notifications(name)["firing"], 60)

    def back() -> bool:
        try:
            return _peers(site, first) == 3
        except requests.ConnectionError:
            return False

    wait_for("the first one to be back", back, 60)
    post_alert(site, name)
    time.sleep(2 * _quiet(site))
    assert notifications(name)["firing"] == 1
    post_alert(site, name, over=True)


def test_two_of_three_are_dead(site: Site) -> None:
    first, second, last = site.running("alertmanager")
    name = f"Two{time.time_ns()}"
    try:
        for member in (first, second):
            shell(member.name, "systemctl stop alertmanager")
        post_alert(site, name)
        wait_for("the notification by the last one", lambda: notifications(name)["firing"], 60)
    finally:
        for member in (first, second):
            shell(member.name, "systemctl start alertmanager")
    wait_for("all to be back", lambda: all(_peers(site, one) == 3 for one in (first, second, last)), 60)
    post_alert(site, name)
    time.sleep(2 * _quiet(site))
    assert notifications(name)["firing"] == 1, "who came back tells again"
    post_alert(site, name, over=True)


def test_five_alerts_of_one_name_are_one_notification(site: Site) -> None:
    """As the script of spec/002 posts them: to all three, by hand."""
    name = f"Five{time.time_ns()}"
    for number in range(5):
        post_alert(site, name, instance=f"drill-{number}", number=str(number))
    wait_for("all five", lambda: notifications(name)["firing"] >= 5, 60)
    time.sleep(_quiet(site))
    assert notifications(name)["firing"] == 5, "one of them was told twice"
    for number in range(5):
        post_alert(site, name, over=True, instance=f"drill-{number}", number=str(number))
