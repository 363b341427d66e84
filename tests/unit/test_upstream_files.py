"""Upstream's own files in the site's directory: what becomes of them, and what is said with file and line."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from prometheus_ha.deploys import new
from tests.unit.recorded import ROOT, run_site

HOSTS = "10.1.0.1,10.1.0.2,10.1.0.3"


@pytest.fixture
def folder(tmp_path):
    """A directory with upstream's files, and what `new` makes beside them."""
    shutil.copytree(ROOT / "tests/upstream", tmp_path, dirs_exist_ok=True)
    (tmp_path / "secrets").chmod(0o700)
    for path in (tmp_path / "secrets").iterdir():
        path.chmod(0o600)
    given = {"example": "three", "hosts": HOSTS, "user": "root", "key": "", "webhook": "", "cluster": "main"}
    kept, _ = new.make(tmp_path, given)
    assert [path.name for path in kept] == ["alertmanager.yml"]
    return tmp_path


def write(folder, name, text):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def said(folder, monkeypatch, *arguments, rc=0):
    done = run_site(folder, monkeypatch, "--dry", *arguments, inventory=None, yes=False, deploy="prometheus_ha.site")
    assert done.rc == rc, done.output
    return [line.strip() for line in done.output.splitlines()]


def deployed(folder, monkeypatch):
    done = run_site(folder, monkeypatch, inventory=None, deploy="prometheus_ha.site")
    assert done.rc == 0, done.output
    return done


def test_files_of_a_whole_directory_go_live(folder, monkeypatch):
    done = deployed(folder, monkeypatch)
    for host in ("mon-1", "mon-2"):
        files = done.files[host]
        rules = {name.rpartition("/")[2] for name in files if name.startswith("/etc/prometheus/rules/")}
        assert rules == {"starter.yml", "hosts.yml", "node.yml", "kube-mixin.yml", "containers.yml"}
        for name, source in (
            ("hosts", "hosts.rules"),
            ("node", "rules/node.yml"),
            ("containers", "rules/containers.rules"),
        ):
            assert files[f"/etc/prometheus/rules/{name}.yml"] == (folder / source).read_text(), "as it is"
        config = yaml.safe_load(files["/etc/prometheus/prometheus.yml"])
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        assert jobs["web"]["file_sd_configs"][0] == {
            "files": ["/etc/prometheus/targets/web_frontend.yml"],
            "refresh_interval": "30s",
        }
        assert "web_frontend" not in jobs, "the user's own job has its targets"
        assert jobs["mail"]["file_sd_configs"][0]["files"] == ["/etc/prometheus/targets/mail.yml"]
        assert jobs["gateway"]["static_configs"][0]["labels"] == {"env": "prod"}
        assert [t for g in jobs["prometheus"]["static_configs"] for t in g["targets"]] == [
            "10.1.0.1:9090",
            "10.1.0.2:9090",
        ]
        assert config["global"]["external_labels"]["monitor"] == "stack-one"
        assert config["rule_files"] == ["/etc/prometheus/rules/*.yml"]
        assert "localhost" not in files["/etc/prometheus/prometheus.yml"]
        targets = yaml.safe_load(files["/etc/prometheus/targets/web_frontend.yml"])
        assert targets == json.loads((folder / "targets/web_frontend.json").read_text())
    files = done.files["mon-3"]
    config = yaml.safe_load(files["/etc/alertmanager/alertmanager.yml"])
    assert config["global"]["slack_api_url_file"] == "/etc/alertmanager/secrets/slack_url"
    assert files["/etc/alertmanager/secrets/slack_url"] == "http://127.0.0.1:9/slack"
    assert files["/etc/alertmanager/templates/chat.tmpl"] == (folder / "templates/chat.tmpl").read_text()
    assert config["templates"] == ["/etc/alertmanager/templates/*.tmpl"]
    assert files["/etc/blackbox_exporter/secrets/probe"] == "a-password-of-probes"
    assert "http_post_2xx" in files["/etc/blackbox_exporter/blackbox.yml"]
    assert "/etc/prometheus/prometheus.yml" not in files


def test_what_is_left_out_is_said_with_its_line(folder, monkeypatch):
    lines = said(folder, monkeypatch)
    notes = [line.partition("; ")[0] for line in lines if line.startswith("note: ")]
    assert notes == [
        "note: rules/empty.yml: left out",
        "note: prometheus.yml:24: the job prometheus is left out",
        "note: prometheus.yml:13: the Alertmanager localhost:9093 is left out",
        "note: alertmanager.yml:8: the templates /etc/alertmanager/template/*.tmpl are left out",
    ]
    assert not [line for line in lines if line.startswith("warning: ")]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("rules/a.yml", "groups:\n- name: a\n  rules: [\n", "rules/a.yml:4:1: found while parsing"),
        ("rules/a.yml", "groups:\n- name: off\n", "rules/a.yml:2:9: found off, which YAML reads as true or false"),
        ("rules/a.yml", "ALERT x IF up == 0\n", "rules/a.yml:1: found no groups of rules"),
        ("rules/hosts.yml", "groups: []\n", "hosts.rules: found a second hosts.yml"),
        ("targets/a.json", '[{"targets": ["a:1"],}]', "targets/a.json:1:2"),
        ("targets/a.yml", "- targets: a:1\n", "targets: mon-1, mon-2: prometheus_targets: found a dict"),
        ("prometheus.yml", "- a\n", "prometheus.yml:1: found a list"),
        ("prometheus.yml", "rule_files: a.yml\n", "prometheus.yml:1: mon-1, mon-2: prometheus_config"),
        ("prometheus.yml", "scrape_configs: {a: 1}\n", "prometheus.yml:1: mon-1, mon-2: prometheus_config"),
        ("prometheus.yml", "scrape_configs: [a]\n", "prometheus.yml:1: mon-1, mon-2: prometheus_config"),
        ("prometheus.yml", "alerting: []\n", "prometheus.yml:1: mon-1, mon-2: prometheus_config"),
        ("alertmanager.yml", "templates: a\n", "alertmanager.yml:1: mon-1, mon-2, mon-3: alertmanager_config"),
        ("prometheus.yml", "scrape_configs:\n\t- job_name: a\n", "prometheus.yml:2:1: found"),
        (
            "prometheus.yml",
            "scrape_configs:\n- job_name: prometheus\n  static_configs: [{targets: ['localhost:9090', 'c:8080']}]\n",
            "prometheus.yml:2: mon-1, mon-2: prometheus_config.scrape_configs[0]: found the job prometheus;",
        ),
        (
            "prometheus.yml",
            "scrape_configs:\n- job_name: node_exporter\n  static_configs: [{targets: ['localhost:9100']}]\n"
            "- job_name: a\n- job_name: a\n",
            "prometheus.yml:5: mon-1, mon-2: prometheus_config.scrape_configs[1]: found the job a a second time",
        ),
        (
            "prometheus.yml",
            "scrape_configs:\n- job_name: a\n  file_sd_configs: [{files: [nodes/*.json]}]\n",
            "prometheus.yml:2: found the files of targets nodes/*.json",
        ),
        ("prometheus.yml", "rule_files: [/srv/rules/*.yml]\n", "prometheus.yml:1: found the rules /srv/rules/*.yml"),
        (
            "prometheus.yml",
            "global:\n  external_labels:\n    cluster: prod\n",
            "prometheus.yml:3: mon-1, mon-2: prometheus_config.global.external_labels.cluster: found 'prod'",
        ),
        (
            "prometheus.yml",
            "remote_write:\n- url: http://a/\n  basic_auth:\n    username: a\n    password: hunter2\n",
            "prometheus.yml:5: mon-1, mon-2: prometheus_config.remote_write[0].basic_auth.password: found a literal",
        ),
        (
            "prometheus.yml",
            "remote_write:\n- url: http://a/\n  basic_auth:\n    password_file: keys/none\n",
            "prometheus.yml:4: found password_file: keys/none, which is no file",
        ),
        (
            "alertmanager.yml",
            "route: {receiver: a}\nreceivers:\n- name: a\n  slack_configs:\n  - api_url: https://hooks.example/x\n",
            "alertmanager.yml:5: mon-1, mon-2, mon-3: alertmanager_config.receivers[0].slack_configs[0].api_url:",
        ),
        ("blackbox.yml", "modules: [a]\n", "blackbox.yml:1: mon-1, mon-2, mon-3: blackbox_modules: found a list"),
        ("blackbox.yml", "module:\n  a: {}\n", "blackbox.yml:1: found the key module"),
        (
            "group_data/prometheus.py",
            "prometheus_config = {}\n",
            "prometheus.yml: found prometheus_config in group prometheus",
        ),
        (
            "group_data/prometheus.py",
            "prometheus_rules = {'node.yml': {'groups': []}}\n",
            "rules: found prometheus_rules in group prometheus: node.yml; expected: one of the two",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(name, text, says, folder, monkeypatch):
    write(folder, name, text)
    lines = said(folder, monkeypatch, rc=1)
    assert [line for line in lines if says in line], "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("rules/a.json", "{}", "rules/a.json: found what is not read; expected: files ending in .yml, .yaml, .rules"),
        (
            "prometheus.yml",
            "rule_files: [none*.yml]\n",
            "prometheus.yml:1: found the rules none*.yml, which match no file",
        ),
        (
            "prometheus.yml",
            "scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['localhost:1']}]\n",
            "prometheus.yml:2: found a target on localhost in the job a",
        ),
    ],
)
def test_what_is_doubtful_is_a_warning(name, text, says, folder, monkeypatch):
    write(folder, name, text)
    lines = said(folder, monkeypatch)
    assert [line for line in lines if line.startswith(f"warning: {says}")], "\n".join(lines)


def test_settings_and_files_go_together(folder, monkeypatch):
    write(
        folder, "group_data/prometheus.py", "prometheus_rules = {'own.yml': {'groups': [{'name': 'a', 'rules': []}]}}\n"
    )
    files = deployed(folder, monkeypatch).files["mon-1"]
    assert {"/etc/prometheus/rules/own.yml", "/etc/prometheus/rules/node.yml"} <= set(files)
