"""What others put in the way of paths and units of ours: links and drop-ins, as the kernel and systemd take them."""

from __future__ import annotations

from tests.drills.site import get, shell
from tests.lab import plan
from tests.odd.site import PROMETHEUS, VERIFY, Groups, blank, deployed, refused, run

HOST = "odd-1"


def site(**data: object) -> Groups:
    return {"prometheus": {HOST: {**PROMETHEUS, **data}}}


RULES = {"more.yml": {"groups": [{"name": "more", "rules": [{"record": "a:b", "expr": "vector(1)"}]}]}}
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
    assert run(site()).status == 0
    again = run(site())
    assert (again.status, again.changed) == (0, {}), str(again)
    assert "more" not in groups() and "more.yml" not in shell(HOST, "ls /srv/rules")
    assert shell(HOST, pid) == before


NODE = {"node_exporter": {HOST: {}}}
DROP_IN = "/etc/systemd/system/node_exporter.service.d/override.conf"
WRITE = f"mkdir -p {DROP_IN.rpartition('/')[0]} && printf '[Service]\\n%s\\n' >{DROP_IN} "


def test_drop_ins() -> None:
    """A drop-in of somebody else for a unit of ours"""
    blank(HOST)
    deployed(NODE)
    pid = "systemctl show -p MainPID --value node_exporter"
    before = shell(HOST, pid)
    shell(HOST, f"{WRITE} MemoryMax=1G")
    done = deployed(NODE)
    assert f"is ours with your drop-in {DROP_IN}: MemoryMax" in done.log, str(done)
    assert shell(HOST, pid) == before and "MemoryMax=1073741824" in shell(
        HOST, "systemctl show -p MemoryMax node_exporter"
    )
    assert DROP_IN in run(NODE, deploy=VERIFY).log

    shell(
        HOST,
        f"{WRITE} ExecStart= ExecStart='/usr/local/bin/node_exporter --web.listen-address=:9200'",
    )
    done = run(NODE)
    assert done.status != 0 and f"{DROP_IN} sets ExecStart for node_exporter" in done.log, str(done)
    assert shell(HOST, pid) == before
    # Nor was systemd told of it.
    assert "9200" not in shell(HOST, "systemctl show -p ExecStart node_exporter")
    verify = run(NODE, deploy=VERIFY)
    assert verify.status != 0 and f"{DROP_IN} sets ExecStart" in verify.log, str(verify)
    shell(HOST, f"rm {DROP_IN}")
    assert run(NODE).status == 0
