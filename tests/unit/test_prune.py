"""Old releases go, and what is wanted, run or linked stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prometheus_ha.facts.reports.look import Installed, Path, Process
from tests.unit.recorded import BLANK, run_site

OLD, LINKED, RUN = (f"prometheus-{version}.linux-amd64" for version in ("2.45.0", "2.47.2", "3.15.0"))
WANTED = "prometheus-3.16.0.linux-amd64"


@pytest.fixture
def host():
    release = Installed("0" * 64, frozenset({"prometheus", "promtool"}))
    return replace(
        BLANK,
        installed=dict.fromkeys((OLD, LINKED, RUN, WANTED), release),
        processes={"prometheus": Process(7, f"/opt/{RUN}/prometheus", ("/usr/local/bin/prometheus",))},
        paths={"/usr/local/bin/promtool": Path("l", "777", "root", "root", f"/opt/{LINKED}/promtool")},
        units={"prometheus": {"ActiveState": "active", "UnitFileState": "enabled"}},
    )


def test_what_nothing_needs_goes(host, tmp_path, monkeypatch):
    done = run_site(tmp_path, monkeypatch, "--limit", "prom-1", deploy="prune", states={"prom-1": host})
    assert done.rc == 0, done.output
    scripts = "\n".join(command for command in done.commands["prom-1"] if command.startswith("rm -rf /opt"))
    assert scripts == f"rm -rf /opt/{OLD} && rm -f /opt/software/{OLD}.*"
    assert f"/opt/{RUN} stays, it is in use" in done.output and f"/opt/{LINKED} stays" in done.output


def test_the_plan_says_so_and_removes_nothing(host, tmp_path, monkeypatch):
    options = {"deploy": "prune", "states": {"prom-1": host}, "yes": False}
    done = run_site(tmp_path, monkeypatch, "--dry", "--limit", "prom-1", **options)
    assert f"remove /opt/{OLD}" in done.output
    assert set(done.commands["prom-1"]) == {"look"}
