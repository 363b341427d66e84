"""Units: what systemd of a version is given, and that it reads back the arguments we meant."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from example_site import example_site

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.engine import units
from tests.unit.recorded import BLANK

DEBIAN = {"bullseye": 247, "bookworm": 252, "trixie": 257}


def unit(component: str, version: int = 252, **data) -> units.Unit:
    site = example_site(storage=True, **data)
    return units.unit(component, site, site.running(component)[0], replace(BLANK, systemd=version))


def lines(text: str) -> dict[str, list[str]]:
    """Directive -> its values, continued lines joined as systemd joins them."""
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_prometheus():
    assert (
        unit("prometheus").text.split("UMask=")[0]
        == """\
# Managed by pyinfra-prometheus-ha. Drop-ins in prometheus.service.d are yours, but for ExecStart, User and the like.
[Unit]
Description=Prometheus
Documentation=https://prometheus.io/docs/
Wants=network-online.target
After=network-online.target time-sync.target
# It starts again for as long as it takes: a monitoring system that has given up says nothing.
StartLimitIntervalSec=0

[Service]
Type=exec
User=prometheus
Group=prometheus
SyslogIdentifier=prometheus
ExecStartPre=-+/usr/local/libexec/monitoring/stamp started prometheus \
/etc/systemd/system/prometheus.service
ExecStartPre=-+/usr/local/libexec/monitoring/stamp loaded prometheus \
/etc/prometheus/prometheus.yml /etc/prometheus/rules
ExecStart=/usr/local/bin/prometheus \\
  --config.file=/etc/prometheus/prometheus.yml \\
  --storage.tsdb.path=/var/lib/prometheus/data \\
  --storage.tsdb.delay-compact-file.path=/var/lib/prometheus/data/thanos.shipper.json \\
  --web.listen-address=0.0.0.0:9090 \\
  --web.external-url=http://10.0.0.11:9090 \\
  --web.enable-lifecycle \\
  --web.enable-admin-api \\
  --rules.alert.resend-delay=1m \\
  --storage.remote.flush-deadline=5s \\
  --log.level=info
ExecReload=-+/usr/local/libexec/monitoring/stamp loaded prometheus \
/etc/prometheus/prometheus.yml /etc/prometheus/rules
ExecReload=+/bin/kill -HUP $MAINPID
Restart=always
RestartSec=5
TimeoutStopSec=600
LimitNOFILE=65536
LimitNPROC=4096
ReadWritePaths=/var/lib/prometheus/data

"""
    )


@pytest.mark.parametrize("component", DAEMONS)
def test_every_unit(component):
    found = lines(unit(component).text)
    info = DAEMONS[component]
    assert found["User"] == ["prometheus"]
    # That of an account which is not ours is its own.
    assert found.get("Group", []) == ([] if info.account else ["prometheus"])
    assert found["SyslogIdentifier"] == [info.unit]
    assert found["After"][0].startswith("network-online.target time-sync.target")
    assert found["LimitNOFILE"] == ["65536"]
    assert found["LimitNPROC"] == ["4096"]
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert found["WantedBy"] == ["multi-user.target"]
    assert found["ProtectSystem"] == ["strict"]
    assert found.get("ReadWritePaths", [None]) == ["/srv/prometheus" if info.account else info.data_dir]


def test_limits_are_settings():
    found = lines(unit("alertmanager", nofile=20000, nproc=1000).text)
    assert (found["LimitNOFILE"], found["LimitNPROC"]) == (["20000"], ["1000"])


@pytest.mark.parametrize("component", DAEMONS)
def test_reload_only_where_it_does_something(component):
    """A hangup ends node_exporter, and the Thanos components but for the ruler ignore it."""
    rendered = unit(component)
    found = lines(rendered.text)
    assert ("ExecReload" in found) == bool(rendered.reload_paths)
    reloads = (
        *("prometheus", "prometheus-upper", "alertmanager", "thanos-rule"),
        *("seaweedfs", "minio", "blackbox_exporter", "alert_relay"),
    )
    assert bool(rendered.reload_paths) == (component in reloads)
    assert any(" started " in line for line in found["ExecStartPre"])
    if rendered.reload_paths:
        stamp, load = found["ExecReload"]
        assert stamp == found["ExecStartPre"][1]
        assert stamp.endswith(f" loaded {rendered.name} {' '.join(rendered.reload_paths)}")
        signal = "+/bin/kill -HUP $MAINPID"
        assert load == (signal if component != "minio" else found["ExecStartPost"][0])


def test_sidecar_outlives_prometheus():
    rendered = unit("thanos-sidecar")
    found = lines(rendered.text)
    assert found["After"] == ["network-online.target time-sync.target prometheus.service"]
    assert not any("prometheus.service" in value for value in found["Wants"])
    assert not {"Requires", "BindsTo", "PartOf"} & set(found)
    assert int(found["TimeoutStopSec"][0]) >= 150
    assert rendered.restart_paths == ("/etc/prometheus/bucket_config.yaml",)
    assert rendered.restart_paths[0] in found["ExecStartPre"][0]


def test_sidecar_without_a_bucket():
    rendered = unit("thanos-sidecar", bucket_config=None)
    assert rendered.restart_paths == ()
    assert "bucket_config" not in rendered.text


@pytest.mark.parametrize("component", DAEMONS)
@pytest.mark.parametrize("version", [239, 240, *DEBIAN.values()])
def test_no_directive_newer_than_systemd(component, version):
    given = {name for name, _ in units.hardening(component, version)}
    newer = {directive.name for directive in units.HARDENING if directive.since > version}
    assert not given & newer
    assert {"NoNewPrivileges", "ProtectSystem", "SystemCallFilter"} <= given


def test_what_the_versions_differ_in():
    given = {version: {n for n, _ in units.hardening("prometheus", version)} for version in (240, 247, 252)}
    assert given[252] - given[247] == {"PrivateIPC"}
    assert given[247] - given[240] == {
        "ProtectClock",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectProc",
        "RestrictSUIDSGID",
    }


def test_too_old_a_systemd():
    with pytest.raises(ValueError, match="prom-1: found systemd 219; expected: 239 and newer"):
        unit("prometheus", 219)


def test_what_a_component_needs():
    node = dict(units.hardening("node_exporter", 257))
    assert node["ProtectHome"] == "read-only"
    assert "AF_NETLINK" in node["RestrictAddressFamilies"]
    assert not {"ProtectProc", "ProtectClock", "PrivateUsers", "ProtectHostname"} & set(node)
    filters = [v for n, v in units.hardening("node_exporter", 257) if n == "SystemCallFilter"]
    # What is taken away comes before what is given back.
    assert filters == ["@system-service", "~@privileged", "~@resources", "adjtimex"]
    assert "AF_NETLINK" in dict(units.hardening("alertmanager", 257))["RestrictAddressFamilies"]
    assert "AF_NETLINK" not in dict(units.hardening("prometheus", 257))["RestrictAddressFamilies"]


@pytest.mark.parametrize("component", DAEMONS)
def test_proc_is_whole(component):
    """Go reads net.core.somaxconn, and the metrics of the process /proc/stat."""
    assert "ProcSubset" not in dict(units.hardening(component, 257))


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("--log.level=info", "--log.level=info"),
        ("--a=50%", "--a=50%%"),
        ("--a=$HOME", "--a=$$HOME"),
        ("--a=${X}", "--a=$${X}"),
        ("--a=b c", '"--a=b c"'),
        ('--a="b"', r'"--a=\"b\""'),
        ("--a=it's", '"--a=it\'s"'),
        ("--a=b\\c", r'"--a=b\\c"'),
        ("--a=b\nc", r'"--a=b\x0ac"'),
        ("--a=b;c", '"--a=b;c"'),
        ("--a=", "--a="),
        ("", '""'),
    ],
)
def test_quote(word, written):
    assert units.quote(word) == written


def test_argv_is_not_quoted():
    rendered = unit("prometheus", prometheus_flags={"web.page-title": "50 % of $X"})
    assert rendered.argv[-1] == "--web.page-title=50 % of $X"
    assert '  "--web.page-title=50 %% of $$X"\n' in rendered.text


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")


@needs_systemd
@pytest.mark.parametrize("component", DAEMONS)
def test_exposure(component, tmp_path):
    """Most exposed allowed: 2.0, as Debian 12's systemd counts."""
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=False).stdout
    version = int(said.split()[1])
    if version < 252:
        pytest.skip("systemd-analyze security --offline came with systemd 250")
    path = tmp_path / DAEMONS[component].service
    path.write_text(unit(component).text)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.0, done.stdout
