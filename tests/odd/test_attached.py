"""A Prometheus that stays somebody else's, with a sidecar of ours beside it."""

from __future__ import annotations

from tests.drills.site import get, shell, wait_for
from tests.lab import plan
from tests.odd.site import VERIFY, blank, deployed, refused, run

HOST = "odd-deb"
DATA = "/var/lib/prometheus/metrics2"
ATTACHED = {
    "attached_data_dir": DATA,
    "bucket_config": {"type": "FILESYSTEM", "config": {"directory": "/srv/blocks"}},
    # Its node_exporter holds our port; its Prometheus is not in our way.
    "take_over": True,
}

OWNER = f"""
sed -i "s/monitor: 'example'/{{cluster: old, replica: deb}}/" /etc/prometheus/prometheus.yml
sed -i 's/^ARGS=.*/ARGS="--storage.tsdb.min-block-duration=2h --storage.tsdb.max-block-duration=2h"/' \\
    /etc/default/prometheus
install -d -o prometheus /srv/blocks
# A block as one of two hours ago.
hour=$(($(date +%s) / 7200 * 7200 - 7200))
printf '# TYPE attached gauge\\nattached 1 %s\\nattached 2 %s\\n# EOF\\n' $((hour + 60)) $((hour + 120)) >/tmp/block
cd / && setpriv --reuid=prometheus --regid=prometheus --clear-groups \\
    promtool tsdb create-blocks-from openmetrics /tmp/block {DATA}
systemctl restart prometheus
"""
"""What its owner does about the findings, in his own files."""

THEIRS = f"""
files=$(dpkg -L prometheus | grep -e ^/etc/ -e ^/lib/systemd | while read -r f; do [ ! -f $f ] || echo $f; done)
stat -c '%n %a %U %G %z' $files /etc/prometheus /var/log/prometheus
stat -c '%n %a %U %G' /var/lib/prometheus {DATA}
sha256sum $files
systemctl show -p MainPID,NRestarts,FragmentPath,DropInPaths,UnitFileState,NeedDaemonReload prometheus
"""
"""All that is that Prometheus', but what it writes itself."""


def test_attached() -> None:
    """A Prometheus of somebody else that is to stay"""
    blank(HOST)
    site = {"sidecar": {HOST: ATTACHED}, "querier": {HOST: {}}}
    wait_for("its write-ahead log", lambda: shell(HOST, f"ls {DATA}/wal"))
    refused(site, "without cluster and replica", "max-block-duration=2h", hosts=(HOST,))

    shell(HOST, OWNER)
    before = shell(HOST, THEIRS)
    deployed(site)
    seen = run(site, deploy=VERIFY)
    assert seen.status == 0, str(seen)
    assert shell(HOST, THEIRS) == before

    assert "_prometheus_up 1" in shell(HOST, "curl -s 127.0.0.1:10902/metrics")
    url = f"http://{plan.LAB.address(HOST)}:10903/api/v1/query?query=up"
    # It was started again just now, and has not scraped yet.
    series = wait_for("what it scrapes", lambda: get(url)["data"]["result"])
    assert all(one["metric"]["cluster"] == "old" for one in series)
    # It was read, linked and written as the owner of the data.
    uploaded = "ls /srv/blocks/*/meta.json"
    wait_for("its block in the bucket", lambda: shell(HOST, uploaded, check=False), timeout=60)
    assert shell(HOST, f"stat -c %U {DATA}/thanos.shipper.json").strip() == "prometheus"
