"""The files of a site in a directory, without a connection and without its secrets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from prometheus_ha.deploys import new
from tests.unit.recorded import ROOT
from tests.unit.test_upstream_files import folder  # noqa: F401


def render(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "prometheus_ha", "render", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
    )


def test_the_files_of_each_host(folder, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("out") / "tree"
    (folder / "secrets/slack_url").unlink()
    done = render(folder, out)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"mon-1", "mon-2", "mon-3", ".rendered"}
    assert (out / "mon-1/etc/prometheus/rules/node.yml").read_text() == (folder / "rules/node.yml").read_text()
    secret = out / "mon-3/etc/alertmanager/secrets/slack_url"
    assert secret.read_text() == "<secret:file:secrets/slack_url>"
    listed = (out / "mon-1/files.txt").read_text()
    assert "/etc/prometheus/prometheus.yml 640 root:prometheus\n" in listed
    assert "/usr/local/bin/prometheus -> /opt/prometheus-" in listed

    # Again in its place, and the same.
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "mon-1/left").write_text("of before")
    assert render(folder / "inventory.py", out).returncode == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_nothing_of_others_is_replaced(folder, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("out")
    (out / "mine").write_text("mine")
    done = render(folder, out)
    assert done.returncode == 1 and "holds other files" in done.stderr
    assert (out / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("retention = (\n", "group_data/all.py, line 1: '(' was never closed"),
        ("prometheus_port = 80\n", "group_data/all.py:1: a: prometheus_port: found 80"),
    ],
)
def test_a_site_that_cannot_be_is_refused(text, says, tmp_path):
    given = {"example": "one", "hosts": "a=10.1.0.1", "user": "root", "key": "", "webhook": "", "cluster": "main"}
    new.make(tmp_path / "site", given)
    (tmp_path / "site/group_data/all.py").write_text(text)
    done = render(tmp_path / "site", tmp_path / "out")
    assert done.returncode == 1 and says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_an_inventory_that_is_not_there(tmp_path):
    done = render(tmp_path / "none.py", tmp_path / "out")
    assert done.returncode == 1 and "found no" in done.stderr
