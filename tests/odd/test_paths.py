"""What others put in the way of paths of ours: links, as the kernel takes them."""

from __future__ import annotations

from tests.drills.site import get, shell
from tests.lab import plan
from tests.odd.site import PROMETHEUS, Groups, blank, deployed, refused

HOST = "odd-1"


def site(**data: object) -> Groups:
    return {"prometheus": {HOST: {**PROMETHEUS, **data}}}


RULES = {
    "more.yml": {"groups": [{"name": "more", "rules": [{"record": "a:b", "expr": "vector(1)"}]}]}
}
LINKS = """
# On a file system of its own: what goes live is a rename there as well.
mount -t tmpfs -o size=2g,mode=755 odd /srv
mkdir -p /srv/etcprom /srv/rules /srv/promdata /srv/log
mv /opt /srv/opt && ln -s /srv/opt /opt
ln -sT /srv/etcprom /etc/prometheus
ln -sT ../rules /srv/etcprom/rules
ln -sT /srv/log /var/log/prometheus
ln -sfT /srv/promdata /var/lib/prometheus/data
"""


def groups() -> set[str]:
    """The groups of rules that Prometheus evaluates."""
    answer = get(f"http://{plan.LAB.address(HOST)}:9090/api/v1/rules")
    return {group["name"] for group in answer["data"]["groups"]}


def test_links() -> None:
    """Directories of ours that are links"""
    blank(HOST)
    shell(HOST, "mkdir -p /var/lib/prometheus && ln -s /home/promdata /var/lib/prometheus/data")
    refused(site(), "/var/lib/prometheus/data is a link that leads to no directory")
    shell(HOST, "mkdir /home/promdata")
    refused(site(), "leads to /home/promdata: our daemons do not see what is in /home")

    shell(HOST, LINKS)
    deployed(site(prometheus_rules=RULES))
    assert "more" in groups()
    assert shell(HOST, "ls /srv/rules/more.yml /srv/promdata/wal /srv/opt/software")
    pid = "systemctl show -p MainPID --value prometheus"
    before = shell(HOST, pid)
    # A rule that left the inventory leaves the disk.
    deployed(site())
    assert "more" not in groups() and "more.yml" not in shell(HOST, "ls /srv/rules")
    assert shell(HOST, pid) == before
