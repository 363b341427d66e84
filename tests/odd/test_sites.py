"""Odd hosts in the middle of a site: what they do to the others, and the others to them."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlencode

import pytest

from prometheus_ha.deploys.lib.ground.topology import join
from tests.drills.site import get, lab, shell, wait_for
from tests.lab import net, plan
from tests.odd.site import PROMETHEUS, blank, deployed, refused, run


def up(host: str, port: int = 9090) -> dict[tuple[str, str], str]:
    """Job and host of every target that `host` knows -> its `up`."""
    url = f"http://{join(plan.LAB.address(host), port)}/api/v1/query?{urlencode({'query': 'up'})}"
    found = get(url)["data"]["result"]
    return {(s["metric"]["job"], s["metric"]["host"]): s["value"][1] for s in found}


STRICT = """\
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif lo accept
        meta l4proto { icmp, ipv6-icmp } accept
        tcp dport 22 accept
    }
}
"""


def test_strict_firewall() -> None:
    """A host firewall that drops what is not allowed"""
    blank("odd-1", "odd-2")
    firewalled("odd-2")
    site = {"prometheus": {"odd-1": PROMETHEUS}, "node_exporter": {"odd-2": {}}}
    refused(site, "TCP 9100", "odd-2", 'firewall = "open"', hosts=("odd-1", "odd-2"))

    deployed(site, firewall="open")
    wait_for("all targets to be scraped", lambda: set(up("odd-1").values()) == {"1"})
    for action in ("reload", "restart"):
        shell("odd-2", f"systemctl {action} nftables")
        assert "policy drop" in shell("odd-2", "nft list ruleset")
        # systemctl waits for their unit, and not for ours, which follows it.
        wait_for(f"our rules after a {action}", lambda: scrapes("odd-1", "odd-2"))
        # Whoever is no member of the site, like the machine that the lab runs on, is shut out.
        assert not answers("odd-2", 9100)
    lab("restart", "odd-2")
    wait_for("its firewall and ours to be back", lambda: scrapes("odd-1", "odd-2"))
    assert "policy drop" in shell("odd-2", "nft list ruleset")
    again = run(site, firewall="open")
    assert (again.status, again.changed) == (0, {}), str(again)

    # A port that changes: both are open until the daemon has moved, and the old one is closed then.
    deployed(site, firewall="open", node_exporter_port=9101)
    wait_for("the new port to be let through", lambda: scrapes("odd-1", "odd-2", 9101))
    assert "9100" not in shell("odd-2", "nft list ruleset")


def firewalled(host: str) -> None:
    """Let the host's own firewall drop all but SSH, as its administrators have it."""
    shell(host, f"cat >/etc/nftables.conf <<'END'\n{STRICT}END\nsystemctl enable -q --now nftables")


def scrapes(host: str, other: str, port: int = 9100) -> bool:
    """Whether a host gets the metrics of another host's node_exporter."""
    url = f"{join(plan.LAB.address(other), port)}/metrics"
    return shell(host, f"curl -gs -m 3 {url} | head -c 1", check=False) == "#"


def answers(host: str, port: int) -> bool:
    """Whether this machine can connect."""
    try:
        socket.create_connection((plan.LAB.address(host), port), timeout=1).close()
    except OSError:
        return False
    return True


def test_distribution_packages() -> None:
    """The distribution's own packages installed and running"""
    blank("odd-deb")
    site = {"prometheus": {"odd-deb": PROMETHEUS}}
    theirs = "prometheus.service prometheus-node-exporter.service"
    assert shell("odd-deb", f"systemctl is-active {theirs}").split() == ["active"] * 2
    refused(site, "prometheus-node-exporter", "take_over", hosts=("odd-deb",))

    taken = run(site, take_over=True)
    assert taken.status == 0, str(taken)
    wait_for("all targets to be scraped", lambda: set(up("odd-deb").values()) == {"1"})
    executable = "readlink /proc/$(systemctl show -p MainPID --value prometheus)/exe"
    assert shell("odd-deb", executable).startswith("/opt/prometheus-")
    state = "systemctl show -p ActiveState,UnitFileState --value prometheus-node-exporter"
    assert shell("odd-deb", state).split() == ["inactive", "masked"]
    # What they had collected is the user's to throw away.
    assert shell("odd-deb", "ls /var/lib/prometheus/metrics2").strip()

    # Their removal stops the unit of that name, and takes prometheus.yml and the log rotation with it.
    shell("odd-deb", "dpkg --purge prometheus prometheus-node-exporter")
    assert "/etc/prometheus/prometheus.yml" not in shell("odd-deb", "find /etc/prometheus")
    deployed(site)
    wait_for("all targets to be scraped", lambda: set(up("odd-deb").values()) == {"1"})


@pytest.mark.skipif(not net.has_ipv6(), reason="this machine's kernel has no IPv6")
def test_ipv6_only() -> None:
    """IPv6 only

    One of the two has a firewall, so that what opens it is seen with this family, and with gossip (TCP and UDP).
    """
    one, two = "odd-six-1", "odd-six-2"
    blank(one, two)
    assert "inet " not in shell(one, "ip addr show dev eth0")
    firewalled(two)
    site = {
        "prometheus": {one: PROMETHEUS},
        "alertmanager": {one: {}, two: {}},
        "querier": {one: {}},
    }
    deployed(site, firewall="open")
    wait_for("all targets to be scraped", lambda: set(up(one).values()) == {"1"})
    assert scrapes(one, two) and not answers(two, 9100)
    assert "udp dport 9094" in shell(two, "nft list ruleset")

    def alertmanagers() -> set[str]:
        return {host for job, host in up(one, port=10903) if job == "alertmanager"}

    wait_for("both of them at the querier", lambda: alertmanagers() == {one, two})

    def alertmanager(path: str) -> Any:
        url = f"http://{join(plan.LAB.address(two), 9093)}/api/v2/{path}"
        return json.loads(shell(two, f"curl -gs {url}"))

    wait_for("both peers", lambda: len(alertmanager("status")["cluster"]["peers"]) == 2)
    wait_for("the Watchdog to arrive", lambda: "Watchdog" in str(alertmanager("alerts")))
