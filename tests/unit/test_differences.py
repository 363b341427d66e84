"""What a plan changes in files, line by line, and that no secret is in it: neither the new one nor the old one."""

from __future__ import annotations

import base64

import pytest

from prometheus_ha.deploys.lib.ground import secrets
from prometheus_ha.deploys.lib.run.differences import difference
from tests.unit.recorded import run_site

OLD, NEW = "old-hunter2-old", "new-hunter2-new"


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setenv("SECRET", NEW)
    secrets.read_secret("secret:env:SECRET")


@pytest.mark.parametrize(
    ("live", "wanted", "said"),
    [
        ("a: 1\nb: 2\n", "a: 1\nb: 3\n", [" a: 1", "-b: 2", "+b: 3"]),
        ("", "a: 1\n", ["+a: 1"]),
        (f"x: 1\npassword: {OLD}\n", f"x: 2\npassword: {NEW}\n", ["-x: 1", "+x: 2", " password: <secret>"]),
        (f"url: {OLD}\n", f"url: {NEW}\n", "only secrets differ"),
        (f'{{\n  "secretKey": "{OLD}"\n}}\n', f'{{\n  "secretKey": "{NEW}"\n}}\n', "only secrets differ"),
        (f'user = "site:{OLD}"\n', f'user = "site:{NEW}"\n', "only secrets differ"),
        (OLD, NEW, "not shown"),
        (f"- {OLD}\n", f"- {NEW}\n", "not shown"),
        (f"api_key: {OLD}\n", "x: 1\n", ["-api_key: <secret>", "+x: 1"]),
        (f"u: http://a:{OLD}@h/\n", "u: http://h/\n", ["-u: http://<secret>@h/", "+u: http://h/"]),
        (f"s: $2y$10${'a' * 53}\n", "s: none\n", ["-s: <secret>", "+s: none"]),
        (f"-----BEGIN PRIVATE KEY-----\n{OLD}\n-----END PRIVATE KEY-----\n", "x\n", ["-<secret>", "+x"]),
    ],
)
def test_no_side_shows_a_secret(live, wanted, said, known):
    found = difference(live, wanted)
    text = "\n".join(found)
    assert OLD not in text and NEW not in text and "a" * 53 not in text
    if isinstance(said, str):
        assert len(found) == 1 and said in text
    else:
        assert [line for line in found if not line.startswith("@@")] == said


def test_a_plan_shows_what_is_the_same_on_several_hosts_once(tmp_path, monkeypatch):
    def live(host, script):
        text = base64.b64encode(b"net.core.somaxconn = 1\n").decode()
        return f"=== /etc/sysctl.d/99-prometheus.conf\n{text}\n"

    done = run_site(tmp_path, monkeypatch, "--dry", "--diff", yes=False, deploy="kernel", live=live)
    assert done.rc == 0, done.output
    [line] = [line for line in done.output.splitlines() if "difference of /etc/sysctl.d/99-prometheus.conf" in line]
    assert "prom-1, prom-2, am-1" in line
    assert done.output.count("-net.core.somaxconn = 1") == 1
    plain = run_site(tmp_path, monkeypatch, "--dry", yes=False, deploy="kernel", live=live)
    assert "difference of" not in plain.output
