"""The directory of a new site, and that each example of it is one."""

from __future__ import annotations

import re
import stat

import pytest

from prometheus_ha.deploys import new
from tests.unit.recorded import run_site

ADDRESSES = ",".join(f"10.1.0.{number}" for number in range(1, 7))


def make(directory, *more: str) -> int:
    given = {"example": "three", "hosts": ADDRESSES, "user": "ops", "key": "", "webhook": "", "cluster": "paris"}
    given |= dict(zip(more[::2], more[1::2], strict=True))
    return new.main([str(directory), *(f"--{name}={value}" for name, value in given.items())])


@pytest.mark.parametrize("example", list(new.SHAPES))
def test_each_example_can_be_deployed(example, tmp_path, monkeypatch, capsys):
    assert make(tmp_path, "example", example, "webhook", "http://10.1.0.9/hook") == 0
    for name in ("thanos-sidecar", "thanos-store", "thanos-compactor", "thanos-rule", "admin"):
        for kind in ("access_key", "secret_key"):
            (tmp_path / "secrets" / f"{name}.{kind}").write_text("hunter2hunter2")
            (tmp_path / "secrets" / f"{name}.{kind}").chmod(0o600)
    done = run_site(tmp_path, monkeypatch, "--dry", inventory=None, deploy="prometheus_ha.site", yes=False)
    assert done.rc == 0, done.output
    warned = [line for line in done.output.splitlines() if "warning" in line]
    assert [line for line in warned if "deadman_url" not in line] == []
    assert len(warned) == (example == "full"), "a small one is made to live with it"
    assert "file /etc/prometheus/prometheus.yml" in done.output


def test_all_that_is_made(tmp_path, capsys, monkeypatch):
    assert make(tmp_path / "a" / "site", "webhook", "http://10.1.0.9/hook") == 0
    made = {str(p.relative_to(tmp_path / "a/site")) for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert made == {
        *("inventory.py", "config.py", "group_data/all.py", "alertmanager.yml", "rules/README.md", ".gitignore"),
        "secrets/webhook_url",
    }
    secret = tmp_path / "a/site/secrets/webhook_url"
    assert (stat.S_IMODE(secret.stat().st_mode), stat.S_IMODE(secret.parent.stat().st_mode)) == (0o600, 0o700)
    assert secret.read_text() == "http://10.1.0.9/hook\n"
    assert f"pyinfra {tmp_path}/a/site/inventory.py deploys/site.py" in capsys.readouterr().out
    monkeypatch.setattr(new, "PACKAGE", tmp_path)  # installed, and no checkout
    assert new._next("site") == [
        "cd site",
        "pyinfra inventory.py prometheus_ha.site      # says what it will do, and asks",
        "pyinfra -y inventory.py prometheus_ha.verify",
    ]


def test_no_file_is_overwritten(tmp_path, capsys):
    (tmp_path / "alertmanager.yml").write_text("mine")
    assert make(tmp_path) == 0
    assert (tmp_path / "alertmanager.yml").read_text() == "mine"
    assert "kept, as it was there: " in capsys.readouterr().out
    (tmp_path / "inventory.py").write_text("mine too")
    assert make(tmp_path) == 0
    assert (tmp_path / "inventory.py").read_text() == "mine too"


def test_what_is_not_told_is_asked(tmp_path, monkeypatch, capsys):
    answers = iter(["one", "mon=10.1.0.1", "", "", "", ""])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert new.main([str(tmp_path)]) == 0
    assert '("mon", {"ssh_hostname": "10.1.0.1", "replica": "replica-01"})' in (tmp_path / "inventory.py").read_text()
    assert 'ssh_user = "root"' in (tmp_path / "group_data/all.py").read_text()
    assert next(answers, None) is None and len(new.ASKED) == 6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("example", "two"), "example: found 'two'; expected: one, three, full"),
        (("hosts", "10.1.0.1"), "hosts: found 1; expected: at least 3 for three"),
        (("hosts", ""), "hosts: found none"),
        (("hosts", "10.1.0.1,10.1.0.1,10.1.0.2"), "hosts: found the address 10.1.0.1 twice"),
        (("hosts", "a=10.1.0.1,a=10.1.0.3,10.1.0.2"), "hosts: found the name a twice"),
        (("hosts", "a b=10.1.0.1"), "hosts: found the name 'a b'"),
        (("hosts", "nowhere.invalid"), "hosts: found 'nowhere.invalid', which has no address"),
        (("user", 'ro"ot'), "user: found"),
        (("cluster", "a b"), "cluster: found 'a b'"),
        (("webhook", "example"), "webhook: expected: a URL"),
        (("key", "/nowhere/key"), "key: found /nowhere/key, which is no file"),
    ],
)
def test_a_wrong_answer_makes_nothing(given, says, tmp_path, capsys):
    assert make(tmp_path, *given) == 1
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nobody_is_there_to_answer(tmp_path, monkeypatch, capsys):
    def nobody(question):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    assert new.main([str(tmp_path)]) == 1
    assert re.search("nothing was made: no answer", capsys.readouterr().err)
