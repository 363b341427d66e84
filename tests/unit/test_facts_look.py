"""The look, as recorded on lab hosts of three Debian versions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib.common.look_script import default_script
from prometheus_ha.facts import timesync
from prometheus_ha.facts.reports.look import SECTIONS, parse, sections
from tests.unit.recorded import BLANK, print_look

DATA = Path(__file__).parent / "data" / "facts"
HOSTS = {  # release -> systemd, units that run there
    "debian11": ("11", 247, {"alertmanager", "node_exporter", "rsyslog"}),
    "debian12": ("12", 252, {"prometheus", "thanos-sidecar", "node_exporter", "rsyslog"}),
    "debian13": ("13", 257, {"prometheus", "thanos-sidecar", "node_exporter", "rsyslog"}),
}


@pytest.fixture(params=HOSTS)
def recorded(request):
    return HOSTS[request.param], parse((DATA / f"look_{request.param}.txt").read_text().splitlines())


def test_the_host_itself(recorded):
    (version, systemd, _), state = recorded
    assert (state.os, state.os_version, state.systemd) == ("debian", version, systemd)
    assert state.arch == "amd64"
    assert "prometheus" in state.users and "prometheus" in state.groups
    assert {"curl", "tar", "logrotate", "rsyslogd", "unshare"} <= state.commands
    assert state.sysctl["net.ipv4.ip_local_port_range"] == "1024 65000"
    assert state.memory > 1 << 30 and state.disk > 1 << 30


def test_files_with_mode_owner_and_hash(recorded):
    _, state = recorded
    unit = state.paths["/etc/systemd/system/node_exporter.service"]
    assert (unit.kind, unit.mode, unit.owner, unit.group) == ("f", "644", "root", "root")
    assert len(unit.sha256) == 64
    link = state.paths["/usr/local/bin/node_exporter"]
    assert (link.kind, link.sha256) == ("l", "")
    assert link.target == "/opt/node_exporter-1.12.1.linux-amd64/node_exporter"
    assert "/etc/systemd/system/node_exporter.service" in state.manifests["node_exporter"]


def test_units_processes_and_what_they_read(recorded):
    (_, _, running), state = recorded
    assert set(state.processes) == running
    process = state.processes["node_exporter"]
    assert process.exe == "/opt/node_exporter-1.12.1.linux-amd64/node_exporter"
    assert process.argv[0] == "/usr/local/bin/node_exporter" and "" not in process.argv
    assert state.units["node_exporter"]["UnitFileState"] == "enabled"
    assert state.units["thanos-querier"]["LoadState"] == "not-found"
    unit = "/etc/systemd/system/node_exporter.service"
    assert state.stamps["node_exporter.started"] == {unit: state.paths[unit].sha256}


def test_installed_releases(recorded):
    _, state = recorded
    release = state.installed["node_exporter-1.12.1.linux-amd64"]
    assert len(release.sha256) == 64 and "node_exporter" in release.names


def test_the_clock_is_the_machines(recorded):
    _, state = recorded
    assert timesync.parse(state.extra["timesync"]).verdict == "clock of the container's host"


def test_a_blank_host_is_read():
    state = parse(print_look(BLANK).splitlines())
    assert state.paths == state.units == state.processes == state.stamps == state.installed == {}


def test_something_else_is_an_error_and_no_blank_host():
    for lines in (["Sorry, try again."], [], ["=== os", "debian"]):
        with pytest.raises(FactProcessError):
            parse(lines)


def test_the_script_is_posix_shell_and_succeeds_anywhere():
    script = default_script()
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    assert tuple(sections(done.stdout.splitlines()))[-len(SECTIONS) :] == SECTIONS


def test_what_is_printed_for_recorded_hosts_is_what_the_look_reads(recorded):
    _, state = recorded
    again = parse(print_look(state).splitlines())
    assert again == state
