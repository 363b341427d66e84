"""The files of a site in a directory, without a connection and without its secrets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from prometheus_ha.deploys import new, render
from tests.unit.recorded import ROOT
from tests.unit.test_upstream_files import folder  # noqa: F401


@pytest.fixture
def rendered(capsys, monkeypatch):
    """The command within this process: its status, and what it says of what is wrong."""
    monkeypatch.chdir(ROOT)

    def run(*arguments):
        status = render.main([*map(str, arguments)])
        return status, capsys.readouterr().err

    return run


def test_the_files_of_each_host(folder, rendered, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("out") / "tree"
    (folder / "secrets/slack_url").unlink()
    command = [sys.executable, "-m", "prometheus_ha", "render", str(folder), str(out)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
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
    assert rendered(folder / "inventory.py", out)[0] == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_nothing_of_others_is_replaced(folder, rendered, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("out")
    (out / "mine").write_text("mine")
    status, said = rendered(folder, out)
    assert status == 1 and "holds other files" in said
    assert (out / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("retention = (\n", "group_data/all.py, line 1: '(' was never closed"),
        ("prometheus_port = 80\n", "group_data/all.py:1: a: prometheus_port: found 80"),
    ],
)
def test_a_site_that_cannot_be_is_refused(text, says, rendered, tmp_path):
    given = {"example": "one", "hosts": "a=10.1.0.1", "user": "root", "key": "", "webhook": "", "cluster": "main"}
    new.make(tmp_path / "site", given)
    (tmp_path / "site/group_data/all.py").write_text(text)
    status, said = rendered(tmp_path / "site", tmp_path / "out")
    assert status == 1 and says in said
    assert "Traceback" not in said and not (tmp_path / "out").exists()


def test_an_inventory_that_is_not_there(rendered, tmp_path):
    status, said = rendered(tmp_path / "none.py", tmp_path / "out")
    assert status == 1 and "found no" in said
