"""A site in a directory of its own, made and deployed as its users do: from a wheel, and from the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.site import shell
from tests.lab import plan
from tests.odd.site import blank, snapshot

HOSTS = ("odd-1", "odd-2", "odd-3")
ALONE = "odd-4"
"""A site of one machine."""

LAB = f'''
# Of the lab: its way to the releases, and short intervals.
base_url = "{plan.MIRROR_URL}"
profile = "drill"
ssh_known_hosts_file = "{plan.LAB.known_hosts}"
ssh_config_file = "/dev/null"
'''
"""What the user adds to group_data/all.py here."""


PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input"]


def install(venv: Path) -> None:
    """Install the wheel, or install it anew, as an update does."""
    [wheel] = venv.parent.glob("*.whl")
    options = ("--no-deps", "--force-reinstall")
    subprocess.check_call([*PIP, "--python", venv / "bin/python", "install", *options, wheel])


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A virtualenv with the package from a wheel, and none of the checkout in it."""
    work = tmp_path_factory.mktemp("wheel")
    source, venv = work / "source", work / "venv"
    source.mkdir()
    for name in ("deploys", "facts", "templates", "prometheus_ha", "tests/site"):
        shutil.copytree(plan.ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(plan.ROOT / name, source)
    subprocess.check_call([sys.executable, "-m", "venv", "--without-pip", venv])
    subprocess.check_call([*PIP, "wheel", "--no-deps", "-w", work, source])
    install(venv)
    # What it stands on, from the checkout's own virtualenv.
    libraries = Path(sysconfig.get_paths()["purelib"])
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(f"{libraries}\n")
    shutil.rmtree(source)
    assert not [path.name for path in packages.iterdir() if path.name in ("deploys", "facts", "tests", "templates")]
    return venv


class Folder:
    """A site's directory, and how commands are run on it."""

    def __init__(self, path: Path, venv: Path) -> None:
        self.path, self.venv = path, venv

    def make(self, example: str, hosts: tuple[str, ...]) -> str:
        addresses = ",".join(f"{name}={plan.LAB.address(name)}" for name in hosts)
        given = {"example": example, "hosts": addresses, "user": "root", "key": str(plan.LAB.ssh_key)}
        given |= {"webhook": plan.SINK_URL, "cluster": "paris"}
        options = [f"--{name}={value}" for name, value in given.items()]
        done = self.run(self.venv / "bin/prometheus-ha", "new", self.path, *options, cwd=self.path.parent)
        with (self.path / "group_data/all.py").open("a") as file:
            file.write(LAB)
        return done

    def pyinfra(self, *arguments: str, rc: int = 0, said: str = "all") -> str:
        return self.run(self.venv / "bin/python", "-m", "pyinfra", *arguments, rc=rc, said=said)

    def start(self, *arguments: object, cwd: Path | None = None, said: str = "all") -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RELEASE", "PROFILE", "WEB")}
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=cwd or self.path,
            env={**environment, "PYINFRA_PROGRESS": "off"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if said == "all" else subprocess.DEVNULL,
            text=True,
        )

    def run(self, *arguments: object, rc: int = 0, cwd: Path | None = None, said: str = "all") -> str:
        process = self.start(*arguments, cwd=cwd, said=said)
        return ended(process, rc)


def ended(process: subprocess.Popen, rc: int = 0) -> str:
    """What a command said, once it is over."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == rc, said[-8000:]
    return said


@pytest.fixture(scope="module")
def folder(installed, tmp_path_factory) -> Iterator[Folder]:
    """Three blank hosts, and a directory with upstream's files."""
    path = tmp_path_factory.mktemp("user") / "site"
    shutil.copytree(plan.ROOT / "tests/upstream", path)
    (path / "secrets").chmod(0o700)
    for secret in (path / "secrets").iterdir():
        secret.chmod(0o600)
    blank(*HOSTS, ALONE)
    yield Folder(path, installed)


def checkout(*arguments: object) -> list[object]:
    """The command of a run from the checkout."""
    return [sys.executable, "-m", "pyinfra", "-y", *arguments]


def test_from_a_wheel_to_a_verified_site(folder) -> None:
    said = folder.make("three", HOSTS)
    assert "kept, as it was there: " in said

    before = {name: snapshot(name) for name in HOSTS}
    planned = folder.pyinfra("--dry", "inventory.py", "prometheus_ha.site")
    assert "file /etc/prometheus/rules/node.yml" in planned
    assert "note: prometheus.yml:24: the job prometheus is left out" in planned
    assert {name: snapshot(name) for name in HOSTS} == before

    done = folder.pyinfra("-y", "inventory.py", "prometheus_ha.site")
    assert re.search(r"Done in \d+ s: 3 of 3 hosts were changed", done)
    assert "prometheus_ha.verify" in done
    verified = folder.pyinfra("-y", "inventory.py", "prometheus_ha.verify")
    assert "checks failed: 0" in verified

    again = folder.pyinfra("-y", "inventory.py", "prometheus_ha.site")
    assert "Nothing to do: 3 hosts" in again
    live = shell(HOSTS[0], "cat /etc/prometheus/rules/hosts.yml")
    assert live.strip() == (folder.path / "hosts.rules").read_text().strip()
    assert (folder.path / ".runs").is_dir()

    # One role, some hosts, a fact, and the suites.
    assert "Nothing to do" in folder.pyinfra("-y", "--limit", HOSTS[2], "inventory.py", "prometheus_ha.alertmanager")
    fact = folder.pyinfra("inventory.py", "fact", "prometheus_ha.facts.prometheus.Prometheus")
    assert "ready" in fact
    folder.pyinfra("-y", "inventory.py", "prometheus_ha.capacity")
    chosen = ("--pyargs", "prometheus_ha.suites", "-k", "base or test_prometheus")
    suites = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen)
    assert " passed" in folder.run(folder.venv / "bin/python", *suites)


def unchanged(host: str) -> list[str]:
    """The files below /etc, and the processes, of a host whose daemons are at work."""
    return [line for line in snapshot(host).splitlines() if line.startswith("/etc") or "MainPID" in line]


def test_a_broken_rule_is_refused_before_anything_is_done(folder) -> None:
    """By the new version's own checker, with the user's file and line."""
    broken = folder.path / "rules/broken.yml"
    broken.write_text("groups:\n- name: shop\n  rules:\n  - alert: Shop\n    expr: sum(up\n")
    before = {name: unchanged(name) for name in HOSTS}
    said = folder.pyinfra("--dry", "inventory.py", "prometheus_ha.site", rc=1)
    assert f"prometheus on {HOSTS[0]}, {HOSTS[1]} is refused by its checker:" in said, said
    assert re.search(r"^ +rules/broken\.yml: 5:\d+: ", said, re.M), said
    assert said.count("unclosed left parenthesis") == 1, said
    assert {name: unchanged(name) for name in HOSTS} == before
    assert not shell(HOSTS[0], "ls -d /run/monitoring.check 2>/dev/null || true").strip()
    broken.unlink()

    config = folder.path / "prometheus.yml"
    text = config.read_text()
    config.write_text(text.replace("    honor_labels: true", "    honour_labels: true"))
    said = folder.pyinfra("--dry", "inventory.py", "prometheus_ha.site", rc=1)
    line = text.splitlines().index("    honor_labels: true") + 1
    assert f"prometheus.yml:{line}: honour_labels: true" in said, said
    config.write_text(text)
    assert "nothing to do" in folder.pyinfra("--dry", "inventory.py", "prometheus_ha.site")


def test_a_secret_that_is_rotated_shows_neither_value(folder) -> None:
    secret = folder.path / "secrets/slack_url"
    old, new = secret.read_text().strip(), "http://127.0.0.1:9/rotated-hunter2"
    rules = folder.path / "rules/node.yml"
    text = rules.read_text()
    secret.write_text(f"{new}\n")
    rules.write_text(text.replace("for: 2m", "for: 3m"))
    said = folder.pyinfra("--dry", "--diff", "inventory.py", "prometheus_ha.site")
    assert f"difference of /etc/prometheus/rules/node.yml on {HOSTS[0]}, {HOSTS[1]}:" in said, said
    assert re.search(r"^ +- +for: 2m\n +\+ +for: 3m", said, re.M), said
    assert "file /etc/alertmanager/secrets/slack_url" in said
    assert old not in said and new not in said
    secret.write_text(f"{old}\n")
    rules.write_text(text)


def test_an_update_of_the_package_touches_no_file_of_the_users(folder) -> None:
    def files() -> dict[str, bytes]:
        paths = (path for path in folder.path.rglob("*") if path.is_file() and ".runs" not in path.parts)
        return {str(path): path.read_bytes() for path in paths if "__pycache__" not in path.parts}

    before = files()
    install(folder.venv)
    assert "Nothing to do" in folder.pyinfra("-y", "inventory.py", "prometheus_ha.site")
    assert files() == before


GUEST = """
import prometheus_ha
from pyinfra.operations import files

for number in range(5):
    files.line(name=f"theirs before {number}", path="/etc/theirs", line=f"before {number}", present=True)
prometheus_ha.site()
for number in range(5):
    files.line(name=f"theirs after {number}", path="/etc/theirs", line=f"after {number}", present=True)
"""


def test_a_guest_in_somebody_elses_project(folder) -> None:
    """Their operations are before and after ours, in one run, which changes nothing the second time."""
    config = folder.path / "config.py"
    own = config.read_text()
    config.write_text(own.replace("configure()", "configure(guest=True)"))
    (folder.path / "theirs.py").write_text(GUEST)
    first = folder.pyinfra("-y", "inventory.py", "theirs.py")
    assert shell(HOSTS[0], "cat /etc/theirs").split("\n")[:10] == [
        *(f"before {number}" for number in range(5)),
        *(f"after {number}" for number in range(5)),
    ], first
    again = json.loads(folder.pyinfra("-y", "--json", "inventory.py", "theirs.py", said="stdout"))
    assert [one["name"] for one in again["results"]["operations"] if one["success"]] == []
    config.write_text(own)


def test_from_the_checkout_it_is_the_same_site_and_another_one_goes_on_beside_it(folder, installed) -> None:
    """Each site has its own directory, so their runs do not wait for each other."""
    other = Folder(folder.path.parent / "alone", installed)
    other.make("one", (ALONE,))
    site = plan.ROOT / "deploys/site.py"
    first = folder.start(*checkout(other.path / "inventory.py", site), cwd=plan.ROOT)
    again = ended(folder.start(*checkout(folder.path / "inventory.py", site), cwd=plan.ROOT))
    assert first.poll() is None, "the first deploy of the other site is at work still"
    assert "Nothing to do: 3 hosts" in again
    assert "1 of 1 hosts" in ended(first)
    assert len(list((other.path / ".runs").glob("*.json"))) == 1
    for path in (folder.path, other.path):
        verify = checkout(path / "inventory.py", plan.ROOT / "deploys/verify.py")
        assert "checks failed: 0" in ended(folder.start(*verify, cwd=plan.ROOT))


def test_a_run_without_the_configuration_is_refused(folder) -> None:
    """Refusals and redaction hang on it, and pyinfra reads it from the working directory alone."""
    command = (folder.venv / "bin/python", "-m", "pyinfra", "-y", "site/inventory.py", "prometheus_ha.site")
    said = folder.run(*command, rc=1, cwd=folder.path.parent)
    assert "no config.py that loads the platform's, so nothing was changed" in said
