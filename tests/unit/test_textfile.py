"""What runs leave in the textfile directory of a host."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from example_site import example_site

from prometheus_ha.deploys.lib.daemons.exporters import LOOK_FILE, TEXTFILE_DIR
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.run import textfile
from tests.unit.test_web import certificate, pem


@pytest.fixture
def host(tmp_path):
    """Runs a script as on a host whose root is a directory of the test."""

    def run(script: str) -> str:
        for place in (TEXTFILE_DIR, topology.BIN_DIR):
            script = script.replace(place, f"{tmp_path}{place}")
        done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
        assert not done.stderr
        return done.stdout

    (tmp_path / TEXTFILE_DIR[1:]).mkdir(parents=True)
    binaries = tmp_path / topology.BIN_DIR[1:]
    binaries.mkdir(parents=True)
    for name, target in (
        ("prometheus", "/opt/prometheus-3.16.0.linux-amd64/prometheus"),
        ("node_exporter", "/opt/node_exporter-1.12.1.linux-arm64/node_exporter"),
    ):
        (binaries / name).symlink_to(target)
    run.read = (
        lambda: {  # type: ignore[attr-defined]
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for path in (tmp_path / TEXTFILE_DIR[1:]).iterdir()
            for line in path.read_text().splitlines()
            if not line.startswith("#")
        }
    )
    return run


def member(**data):
    return example_site(**data).hosts["prom-1"]


def test_a_look_leaves_when_it_was_and_finds_how_the_last_change_ended(host, tmp_path):
    assert not textfile.failed(host(textfile.look_script()).splitlines())
    assert not host.read()  # its time is what counts
    when = (tmp_path / LOOK_FILE[1:]).stat().st_mtime
    assert abs(when - datetime.now(UTC).timestamp()) < 60
    for success in (False, True):
        host(textfile.script(member(), success))
        assert textfile.failed(host(textfile.look_script()).splitlines()) is not success


def test_a_change_leaves_what_it_brought(host):
    host(textfile.script(member(), success=True))
    found = host.read()
    assert found.pop("monitoring_deploy_success") == 1
    assert found.pop('monitoring_deployed_info{daemon="prometheus",version="3.16.0"}') == 1
    assert found.pop('monitoring_deployed_info{daemon="node_exporter",version="1.12.1"}') == 1
    (release,) = found  # and nothing of the sidecar, which is not installed here
    assert re.fullmatch(r'monitoring_deploy_info\{version="[^"]+",release="current"\}', release)


def test_certificates_have_their_end(host, monkeypatch):
    key = ec.generate_private_key(ec.SECP256R1())
    chain = pem(certificate(key, days=300), certificate(key, days=20))
    files = {"host.pem": chain, "host.key": pem(key), "broken.pem": "-----BEGIN CERTIFICATE-----"}
    references = {}
    for name, text in files.items():
        variable = f"SECRET_{name.replace('.', '_').upper()}"
        monkeypatch.setenv(variable, text)
        references[name] = f"secret:env:{variable}"
    host(textfile.script(member(web_files=references), success=True))
    ends = {name: value for name, value in host.read().items() if "certificate" in name}
    assert list(ends) == [f'monitoring_certificate_end_timestamp_seconds{{path="{topology.WEB_DIR}/host.pem"}}']
    (end,) = ends.values()
    assert abs(datetime.fromtimestamp(end, UTC) - datetime.now(UTC) - timedelta(days=20)) < timedelta(days=1)


def test_a_host_without_the_directory_is_left_alone(tmp_path):
    for script in (textfile.look_script(), textfile.script(member(), True)):
        script = script.replace(TEXTFILE_DIR, f"{tmp_path}/none")
        done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("", "") and not list(tmp_path.iterdir())


def test_what_is_written_is_whole_at_any_time(host):
    """A file is moved to its place: node_exporter may read at any time."""
    assert re.search(r">\S+\.\$\$ && mv -f ", textfile.script(member(), True))
