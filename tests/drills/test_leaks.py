"""Marked secrets are planted, and looked for everywhere while a run brings them to the hosts, and after it."""

from __future__ import annotations

import secrets
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from prometheus_ha.deploys.lib.ground.secrets import HIDDEN
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import ENVIRONMENT, RUN_SECONDS, command, on_all, shell, touched
from tests.lab import hosts as lab_hosts
from tests.lab import plan

pytestmark = pytest.mark.usefixtures("restored")

OVER = "/run/leak-watch-over"
WATCH = f"""
# Markers come by stdin, one a line; the watch ends with the file {OVER}. In one process: one that starts others for
# each look would leave the run itself no time to do what is watched.
import os, subprocess, sys, time

markers, seen, rounds = sys.stdin.buffer.read().splitlines(), set(), 0
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
PLACES = "/tmp /var/tmp /dev/shm /run /etc /opt /var/log /var/lib /usr/local".split()


def everywhere():
    words = [*NOBODY, "grep", "-rlsIF", "-f", "-", *PLACES]
    done = subprocess.run(words, input=b"\\n".join(markers), stdout=subprocess.PIPE)
    seen.update(done.stdout.decode().splitlines())


def look(path):
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:  # it ended, or was removed
        return
    if any(marker in content for marker in markers):
        seen.add(path)


def listed(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


if os.path.exists("{OVER}"):
    os.remove("{OVER}")
due = 0
while not os.path.exists("{OVER}"):
    if time.monotonic() > due:
        everywhere()
        due = time.monotonic() + 10
    rounds += 1
    for pid in filter(str.isdigit, os.listdir("/proc")):
        look("/proc/" + pid + "/cmdline")
        for task in listed("/proc/" + pid + "/task"):
            look("/proc/" + pid + "/task/" + task + "/comm")
    for top in ("/tmp", "/dev/shm"):
        for place, _, names in os.walk(top):
            for path in (os.path.join(place, name) for name in names):
                if os.path.isfile(path):
                    look(path)
    time.sleep(0.1)
everywhere()
os.remove("{OVER}")
journal = subprocess.Popen(["journalctl", "--no-pager", "-o", "export", "--since=-1h"], stdout=subprocess.PIPE)
if any(marker in line for line in journal.stdout for marker in markers):
    seen.add("journal")
journal.stdout.close()
print(*sorted(seen), "rounds " + str(rounds), sep="\\n")
"""


@contextmanager
def watched(markers: list[str]) -> Iterator[dict[str, set[str]]]:
    """Every host is watched while this lasts; afterwards the mapping holds, by host, where a marker was seen."""
    seen: dict[str, set[str]] = {}
    watches = {
        host: subprocess.Popen(
            [*lab_hosts.ssh_command(plan.LAB, host), _root(host, f"python3 -c {shlex.quote(WATCH)}")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for host in plan.HOSTS
    }
    for watch in watches.values():
        assert watch.stdin
        watch.stdin.write("\n".join(markers) + "\n")
        watch.stdin.close()
        watch.stdin = None  # communicate() would flush it
    try:
        yield seen
    finally:
        on_all(lambda host: lab_hosts.ssh(plan.LAB, host, _root(host, f": >{OVER}"), timeout=30))
        with ThreadPoolExecutor(len(watches)) as pool:
            said = pool.map(lambda item: (item[0], item[1].communicate(timeout=60)[0]), watches.items())
        for host, text in said:
            lines = text.splitlines()
            assert lines and lines[-1].startswith("rounds "), f"{host}: the watch broke: {text}"
            assert int(lines[-1].split()[1]) > 0, f"{host} was not watched"
            seen[host] = set(lines[:-1])


def _root(host: str, script: str) -> str:
    """`script` as root's, as a command for SSH."""
    return f"{'' if plan.HOSTS[host].user == 'root' else 'sudo -n '}sh -c {shlex.quote(script)}"


class Here:
    """The same watch on the control machine, over the run's own processes and whatever file it leaves."""

    def __init__(self, markers: list[str]) -> None:
        self.markers = [marker.encode() for marker in markers]
        self.began, self.seen, self.rounds = time.time(), set[str](), 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Here:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.is_set():
            self.rounds += 1
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                self._read(process)
            for place in (Path(tempfile.gettempdir()), plan.ROOT):
                for path in place.glob("*"):
                    self._read(path)
            for path in plan.ROOT.glob(".runs/*"):
                self._read(path)
            self._over.wait(0.2)

    def _read(self, path: Path) -> None:
        try:
            young = path.parts[1] == "proc" or path.stat().st_mtime >= self.began - 1
            if young and path.is_file():
                content = path.read_bytes()
                if any(marker in content for marker in self.markers):
                    self.seen.add(str(path))
        except OSError:  # it ended, or was removed
            pass


@dataclass(frozen=True)
class Planted:
    """Settings with secrets in them, and their values: what to look for."""

    data: dict[str, object]
    env: dict[str, str]

    @property
    def markers(self) -> list[str]:
        return [value.removeprefix("https://") for value in self.env.values()]


def planted(**data: object) -> Planted:
    """Every `{}` in the settings becomes a reference to a secret of its own."""
    env: dict[str, str] = {}

    def plant(value: object) -> object:
        if isinstance(value, dict):
            return {key: plant(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plant(inner) for inner in value]
        if isinstance(value, str) and "{}" in value:
            name = f"LEAK_{len(env)}"
            env[name] = value.format(f"leak-{secrets.token_hex(12)}")
            return f"secret:env:{name}"
        return value

    return Planted({key: plant(value) for key, value in data.items()}, env)


def everything(site: Site) -> Planted:
    """A secret in every kind of file that holds one. Nobody answers at the addresses."""
    nowhere = f"http://{plan.LAB.gateway}:9/{{}}"
    bucket = site.running("prometheus")[0].settings.bucket_config
    assert bucket
    return planted(
        alertmanager_config={
            "receivers": [
                {
                    "name": "leaks",
                    "slack_configs": [{"api_url": "https://{}", "channel": "#leaks"}],
                    "webhook_configs": [
                        {
                            "url": nowhere,
                            "http_config": {"basic_auth": {"username": "leak", "password": "{}"}},
                        }
                    ],
                }
            ]
        },
        prometheus_config={
            "remote_write": [
                {
                    "url": nowhere.removesuffix("/{}"),
                    "basic_auth": {"username": "leak", "password": "{}"},
                }
            ],
            "scrape_configs": [
                {
                    "job_name": "leaks",
                    "authorization": {"credentials": "{}"},
                    "static_configs": [{"targets": [f"{plan.LAB.gateway}:9"]}],
                }
            ],
        },
        # Not its key, which is tried before it goes live.
        bucket_config={
            **bucket,
            "config": {**bucket["config"], "put_user_metadata": {"leak": "{}"}},
        },
    )


REFUSED = planted(
    # The checkers quote what they cannot parse.
    prometheus_config={
        "remote_write": [{"url": "http://nowhere.example/", "proxy_url": "://{}"}],
    },
    alertmanager_config={"receivers": [{"name": "leaks", "slack_configs": [{"api_url": "{} is no URL"}]}]},
)


def run(leaks: Planted, *options: str, yes: bool = True) -> tuple[int, str]:
    """A run, in all its forms of output: status, and all that it printed."""
    words = [word for word in command(data=leaks.data) if yes or word != "-y"]
    words = [word for word in words if word != "--json" or not options]
    done = subprocess.run(
        [words[0], *options, *words[1:]],
        cwd=plan.ROOT,
        env={**ENVIRONMENT, **leaks.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def assert_not_printed(leaks: Planted, said: str) -> None:
    shown = [name for name, value in zip(leaks.env, leaks.markers, strict=True) if value in said]
    assert not shown, f"the run printed {', '.join(shown)}"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="json", marks=pytest.mark.long),
        pytest.param(("-vvv", "--diff"), id="diff"),
    ],
)
@pytest.mark.usefixtures("put_back")
def test_nothing_shows_a_secret_while_it_is_brought(site: Site, options: tuple[str, ...]) -> None:
    leaks = everything(site)
    with watched(leaks.markers) as seen, Here(leaks.markers) as here:
        status, said = run(leaks, *options)
    assert status == 0, said[-4000:]
    assert_not_printed(leaks, said)
    assert here.rounds > 1 and here.seen == set()
    assert {host: found for host, found in seen.items() if found} == {}
    # It went where it belongs, so that the search had something to find.
    where = "grep -rlF -e leak- /etc/prometheus /etc/alertmanager"
    assert {"prom-1", "am-1"} <= {h for h, found in on_all(partial(shell, script=f"{where}; true")).items() if found}


def test_a_plan_shows_no_secret(site: Site) -> None:
    leaks = everything(site)
    status, said = run(leaks, "--dry", "--diff", "-vvv", yes=False)
    assert status == 0, said[-4000:]
    touched.clear()  # a plan changes nothing
    assert_not_printed(leaks, said)


def test_a_refusal_quotes_no_secret(site: Site) -> None:
    with watched(REFUSED.markers) as seen:
        status, said = run(REFUSED)
    assert status != 0
    assert HIDDEN in said, "no checker quoted a secret: the drill proves nothing"
    assert_not_printed(REFUSED, said)
    assert {host: found for host, found in seen.items() if found} == {}


def test_the_watch_sees_what_is_there() -> None:
    """Else the others would pass with a watch that finds nothing."""
    marker = f"leak-{secrets.token_hex(12)}"
    with watched([marker]) as seen, Here([marker]) as here:
        show = f"umask 0; echo {marker} >/tmp/leaks; logger {marker}; sleep 3; rm /tmp/leaks"
        # In a login of its own, and so in the arguments of SSH here and of a shell there.
        lab_hosts.ssh(plan.LAB, "am-1", _root("am-1", show), RUN_SECONDS)
    assert {"/tmp/leaks", "journal"} <= seen["am-1"]
    assert any(path.startswith("/proc/") and path.endswith("/cmdline") for path in seen["am-1"])
    assert any(path.startswith("/proc/") for path in here.seen)
    assert seen["am-2"] == set()
