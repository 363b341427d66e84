"""The platform as a guest: deploys of ours among the operations of somebody else's pyinfra project."""

from __future__ import annotations

import pytest

from tests.unit.recorded import run_site

INVENTORY = """
web = [("web-1", {"ssh_hostname": "10.2.0.1", "colour": "blue"})]
prometheus = [
    ("prom-1", {"ssh_hostname": "10.2.0.2", "replica": "replica-01", "colour": "red"}),
    ("prom-2", {"ssh_hostname": "10.2.0.3", "replica": "replica-02"}),
]
db = [("prom-2", {})]
alertmanager = [("prom-1", {}), ("prom-2", {})]
"""
ALL = 'their_setting = {"a": 1}\naccepted_warnings = ["deadman_url"]\n'
CONFIG = "import prometheus_ha\n\nprometheus_ha.configure(guest=True)\n"
DEPLOY = """
import prometheus_ha
from pyinfra.operations import server

for number in range(5):
    server.shell(name=f"theirs before {number}", commands=[f"echo before {number}"])
prometheus_ha.site()
for number in range(5):
    server.shell(name=f"theirs after {number}", commands=[f"echo after {number}"])
"""


@pytest.fixture
def project(tmp_path):
    files = {"inventory.py": INVENTORY, "group_data/all.py": ALL, "config.py": CONFIG, "deploy.py": DEPLOY}
    files["alertmanager.yml"] = "route: {receiver: a}\nreceivers: [{name: a}]\n"
    files["group_data/db.py"] = "their_size = 3\n"
    files["group_data/gone.py"] = "their_size = 3\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(project, monkeypatch, *arguments, **options):
    return run_site(project, monkeypatch, *arguments, inventory=None, deploy="deploy.py", **options)


def test_their_operations_are_before_and_after_ours(project, monkeypatch):
    done = run(project, monkeypatch)
    assert done.rc == 0, done.output
    ours = [title for title in done.order if not title.startswith("theirs")]
    assert done.order == [
        *(f"theirs before {number}" for number in range(5)),
        *ours,
        *(f"theirs after {number}" for number in range(5)),
    ]
    assert ours[0].startswith("preflight") and any("turn of" in title or "one step" in title for title in ours)
    assert len(done.commands["web-1"]) == 10, "a host of theirs has their operations alone"
    assert "/etc/prometheus/prometheus.yml" in done.files["prom-1"]
    assert "web-1" not in done.files["prom-1"]["/etc/prometheus/prometheus.yml"]
    assert (project / ".runs").is_dir()
    assert all("ok" in script for script in done.ended["prom-1"])


def test_the_plan_has_theirs_and_ours(project, monkeypatch):
    done = run(project, monkeypatch, "--dry", yes=False)
    assert done.rc == 0, done.output
    assert "theirs before 0" in done.output and "file /etc/prometheus/prometheus.yml" in done.output
    assert "nothing to do: web-1" not in done.output


def test_a_setting_of_ours_that_is_wrong_ends_the_run(project, monkeypatch):
    (project / "group_data/prometheus.py").write_text("prometheus_port = 80\n")
    done = run(project, monkeypatch)
    assert done.rc == 1 and "group_data/prometheus.py:1" in done.output, done.output
    assert not done.commands


def test_what_the_preflight_refuses_ends_their_operations_on_our_hosts(project, monkeypatch):
    done = run(project, monkeypatch, surveys={"prom-1": lambda script: "nothing that is understood"})
    assert done.rc == 1
    assert any("echo after 4" in command for command in done.commands["web-1"])
    assert not any("echo after 0" in command for command in done.commands["prom-1"])


def test_without_being_told_so_their_groups_and_settings_are_refused(project, monkeypatch):
    (project / "config.py").write_text(CONFIG.replace("guest=True", ""))
    done = run(project, monkeypatch)
    assert done.rc == 1 and "an unknown setting" in done.output and "an unknown group" in done.output
