"""The site under drill: how its deploy is run, and what its hosts look like from outside."""

from __future__ import annotations

import functools
import json
import os
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from prometheus_ha.deploys.lib.daemons import UNITS
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from tests.lab import hosts as lab_hosts
from tests.lab import plan, runner

T = TypeVar("T")

LAB = plan.ROOT / "tests" / "lab" / "lab"
ENVIRONMENT = {**os.environ, "PROFILE": "drill", "PYINFRA_PROGRESS": "off"}
"""Drills have their own timing, whatever the site ran with before."""

SITE = "deploys/site.py"
RUN_SECONDS = 600
HTTP_SECONDS = 5


# --- Running the deploy ---------------------------------------------------------------------------


@dataclass
class Run:
    """A finished run: exit status, everything it said, and what it did."""

    status: int
    log: str
    operations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> dict[str, list[str]]:
        """Operation -> hosts on which it changed something."""
        return self._hosts("success")

    @property
    def failed(self) -> dict[str, list[str]]:
        """Operation -> hosts on which it failed."""
        return self._hosts("error")

    def _hosts(self, ended: str) -> dict[str, list[str]]:
        # One host that goes first, and all others: two operations of one name.
        found: dict[str, list[str]] = {}
        for operation in self.operations:
            if operation[ended]:
                name = operation["name"]
                found[name] = sorted([*found.get(name, []), *operation[ended]])
        return found

    def __str__(self) -> str:
        return f"exit {self.status}, changed {self.changed}, failed {self.failed}\n{self.log[-6000:]}"


def command(
    *arguments: str,
    data: Mapping[str, Any] | None = None,
    deploy: str = SITE,
    inventory: str = "inventory.py",
) -> list[str]:
    """The command line of a run; `data` becomes `--data`, above all files of settings."""
    touched.update(plan.HOSTS)
    given = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in (data or {}).items()]
    options = [option for pair in given for option in ("--data", pair)]
    return [str(runner.PYINFRA), "-y", "--json", *arguments, *options, inventory, deploy]


def run_site(
    *arguments: str,
    data: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    deploy: str = SITE,
    inventory: str = "inventory.py",
    stdin: str = "",
) -> Run:
    """Run the deploy to its end, as a user without a terminal would; `stdin` is what it can read."""
    before = set(touched)
    words = command(*arguments, data=data, deploy=deploy, inventory=inventory)
    done = runner.run(words[1:], {**ENVIRONMENT, **(env or {})}, stdin, RUN_SECONDS)
    try:
        run = Run(done.returncode, done.stderr, json.loads(done.stdout)["results"]["operations"])
    except (ValueError, KeyError):  # it ended before it began
        run = Run(done.returncode, done.stdout + done.stderr)
    if "Traceback" not in run.log:
        touched.clear()
        touched.update(before, *run.changed.values(), *run.failed.values())
    return run


def plan_site(*arguments: str, data: Mapping[str, Any] | None = None) -> Run:
    """What a run would do, as an operator is told before it (the log)."""
    before = set(touched)
    words = [word for word in command("--dry", *arguments, data=data)[1:] if word not in ("-y", "--json")]
    touched.clear()
    touched.update(before)  # it changes nothing
    done = runner.run(words, ENVIRONMENT, timeout=RUN_SECONDS)
    return Run(done.returncode, done.stdout + done.stderr)


touched: set[str] = set()
"""The hosts on which the drill at work changed something, or may have: by a run, or in a shell."""


def converge(*arguments: str) -> Run:
    """Bring the site to what the inventory says, with no setting of a drill."""
    done = run_site(*arguments)
    assert done.status == 0, f"the site does not converge: {done}"
    return done


def restore() -> None:
    """`converge` for the hosts that were touched."""
    limits = [] if touched >= set(plan.HOSTS) else [f"--limit={name}" for name in sorted(touched)]
    if touched:
        converge(*limits)


_KEPT = "/root/.kept"
_TURNS = "/etc/systemd/system /etc/thanos"
"""What a run changes in turns, as it is read at a start alone."""


def keep() -> None:
    """Keep a copy of what `put_back` puts back, on every host."""
    on_all(
        lambda host: shell(
            host,
            f"rm -rf {_KEPT}; mkdir -m 700 {_KEPT}; cp -a --parents {_TURNS} {_KEPT} 2>/dev/null; true",
        )
    )


def put_back() -> None:
    """What was kept comes back on all hosts at once, with a restart of whoever reads it.

    A run would do it host by host: minutes where every tier has its turns, which were seen on the way there.
    """
    script = f"""cd {_KEPT} && changed=
for file in $(find etc -type f); do
    [ -e /$file ] && ! cmp -s $file /$file || continue
    cp -a $file /$file
    case $file in
        etc/systemd/system/*.service) changed="$changed ${{file##*/}}" ;;
        etc/thanos/*/*) file=${{file#etc/thanos/}}; changed="$changed thanos-${{file%%/*}}.service" ;;
    esac
done
rm -r {_KEPT}
[ -z "$changed" ] || {{ systemctl daemon-reload; systemctl try-restart $changed; }}
"""
    on_all(lambda host: shell(host, script))


def lab(*words: str) -> None:
    """Run `tests/lab/lab`."""
    touched.update(plan.HOSTS)
    command = [sys.executable, LAB, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert done.returncode == 0, f"lab {' '.join(words)}: {done.stdout}{done.stderr}"


# --- The hosts ------------------------------------------------------------------------------------


def load(env: Mapping[str, str] | None = None, inventory: str = "inventory.py") -> Site:
    """The site as its inventory describes it."""
    words = [inventory, "debug-inventory", "--json"]
    done = runner.run(words, {**ENVIRONMENT, **(env or {})}, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr
    return site_from_dicts({host["name"]: host for host in json.loads(done.stdout)})


def shell(host: str, script: str, check: bool = True) -> str:
    """What `script` prints on `host`, run as root, where it may change something."""
    touched.add(host)
    return read(host, script, check)


def read(host: str, script: str, check: bool = True) -> str:
    """`shell` for a script that changes nothing."""
    done = lab_hosts.as_root(plan.LAB, host, script, RUN_SECONDS)
    assert not check or done.returncode == 0, f"{host}: {script!r} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def on_all(work: Callable[[str], T], names: Iterable[str] = plan.HOSTS) -> dict[str, T]:
    """`work` for several hosts at once."""
    names = list(names)
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(work, names), strict=True))


def wait_for(what: str, ask: Callable[[], T], timeout: float = 30, pause: float = 0.3) -> T:
    """Ask until the answer holds; fails with the last answer, or the last error, after `timeout` seconds."""
    deadline, last = time.monotonic() + timeout, None
    while True:
        try:
            last = ask()
            if last:
                return last
        except (
            OSError,
            AssertionError,
            LookupError,
            ValueError,
        ) as error:  # OSError: requests' errors are some
            last = error
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}; last seen: {last!r}"
        time.sleep(pause)


@dataclass(frozen=True)
class Unit:
    """A running unit: two readings are equal where nothing was started, stopped or restarted in between."""

    state: str
    pid: str
    started: str
    boot: str


_UNITS = [f"{unit}.service" for unit in UNITS]


def units(names: Iterable[str] = plan.HOSTS) -> dict[tuple[str, str], Unit]:
    """Our units on the hosts, by host and unit."""
    properties = "Id,LoadState,ActiveState,MainPID,ExecMainStartTimestampMonotonic"
    script = f"cat /proc/sys/kernel/random/boot_id; systemctl show -p {properties} {' '.join(_UNITS)}"

    def look(host: str) -> dict[tuple[str, str], Unit]:
        boot, *lines = read(host, script).splitlines()
        found = {}
        for block in "\n".join(lines).split("\n\n"):
            row = dict(line.split("=", 1) for line in block.splitlines())
            if row.get("LoadState") == "loaded":
                unit = Unit(row["ActiveState"], row["MainPID"], row["ExecMainStartTimestampMonotonic"], boot)
                found[host, row["Id"].removesuffix(".service")] = unit
        return found

    return {key: unit for found in on_all(look, names).values() for key, unit in found.items()}


def moved(before: Mapping[tuple[str, str], Unit]) -> set[tuple[str, str]]:
    """Host and unit of what was started, stopped or restarted since `before`."""
    after = units(dict.fromkeys(host for host, _ in before))
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def argv(host: str, unit: str) -> list[str]:
    """The command line with which a unit's process runs."""
    script = f"tr '\\0' '\\n' </proc/$(systemctl show -p MainPID {unit} | cut -d= -f2)/cmdline"
    return read(host, script).splitlines()


def assert_untouched(running: Mapping[tuple[str, str], Unit], files: Mapping[str, str]) -> None:
    """Since these were read, nothing was restarted on any host, and no file is another one."""
    assert live_files() == files
    assert moved(running) == set()
    touched.clear()


def live_files(names: Iterable[str] = plan.HOSTS) -> dict[str, str]:
    """Everything that the daemons read, with mode, owner, link target and hash: equal where nothing was touched."""
    roots = "/etc/prometheus /etc/alertmanager /etc/thanos /etc/systemd/system /usr/local/bin /usr/local/libexec"
    script = (
        f"find {roots} -printf '%p %y %m %u %g %l\\n' 2>/dev/null | sort; "
        f"find {roots} -type f -exec sha256sum {{}} + 2>/dev/null | sort"
    )
    return on_all(lambda host: read(host, script), names)


# --- The daemons' own words -----------------------------------------------------------------------


@functools.cache
def client() -> dict[str, Any]:
    """CA and password of the lab's site with TLS, whether it speaks that now or not."""
    member = next(iter(load({"WEB": "tls"}).hosts.values()))
    asks = resolve(member.settings.web_client)
    ca = plan.ROOT / ".lab" / "client-ca.crt"
    ca.write_text(resolve(member.settings.web_files)[asks["tls_config"]["ca_file"]])
    user = asks["basic_auth"]
    return {"verify": str(ca), "auth": (user["username"], user["password"])}


def ask(url: str, method: str = "GET", **options: Any) -> requests.Response:
    """What `url` answers to who asks as the site's own clients do, without leave from the environment's proxies."""
    with requests.Session() as session:
        session.trust_env = False
        own = client() if url.startswith("https:") else {}
        return session.request(method, url, timeout=HTTP_SECONDS, **{**own, **options})


@functools.cache
def _trusted() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=client()["verify"])


def fetch(url: str, patience: float = HTTP_SECONDS) -> bytes:
    """What `url` answers with, as `ask`, for who asks so often that requests' own work would slow the site down.

    It is waited for as long as `patience`, in seconds.
    """
    parts, headers = urlsplit(url), {}
    if parts.scheme == "https":
        connection = HTTPSConnection(parts.netloc, timeout=patience, context=_trusted())
        headers["Authorization"] = f"Basic {b64encode(':'.join(client()['auth']).encode()).decode()}"
    else:
        connection = HTTPConnection(parts.netloc, timeout=patience)
    with closing(connection):
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    assert answer.status == 200, f"{url}: HTTP {answer.status}: {body[:300]!r}"
    return body


def get(url: str, **parameters: Any) -> Any:
    """The JSON that `url` answers with."""
    answer = ask(url, params=parameters)
    assert answer.ok, f"{answer.url}: HTTP {answer.status_code}: {answer.text[:300]}"
    return answer.json()


def query(
    site: Site,
    expression: str,
    dedup: bool = True,
    member: Member | None = None,
    time: float | None = None,
    component: str = "thanos-querier",
) -> dict[str, Any]:
    """What a querier (the first one) or another component answers of now, or of `time`: `result` and `warnings`."""
    asked = site.hosts[member.name] if member else site.running(component)[0]
    url = f"{site.endpoint(component, asked).url}/api/v1/query"
    answer = get(url, query=expression, dedup=str(dedup).lower(), time=time)
    return {"result": answer["data"]["result"], "warnings": answer.get("warnings") or []}


def api(site: Site, host: str, path: str) -> Any:
    """What the API of the Prometheus on a host answers."""
    member = site.hosts[host]
    return get(f"{site.endpoint(member.components[0], member).url}/api/v1/{path}")["data"]


def value(answer: Mapping[str, Any]) -> float | None:
    """The one value of an answer of `query`."""
    result = answer["result"]
    return float(result[0]["value"][1]) if len(result) == 1 else None


def metric(site: Site, component: str, host: str, name: str) -> float:
    """A metric without labels, from the page of `component` on `host`."""
    url = f"{site.endpoint(component, site.hosts[host]).url}/metrics"
    for line in ask(url).text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise LookupError(f"{url} has no {name}")


def notifications(name: str) -> Counter[str]:
    """How often the sink was told of an alert, by status."""
    text = plan.LAB.sink_file.read_text() if plan.LAB.sink_file.exists() else ""
    bodies = [json.loads(line)["body"] for line in text.splitlines() if name in line]
    return Counter(
        alert["status"] for body in bodies for alert in body["alerts"] if alert["labels"]["alertname"] == name
    )


def alerts(site: Site, member: Member, name: str) -> list[dict[str, Any]]:
    """The alerts of a name that the Alertmanager on `member` has."""
    url = f"{site.endpoint('alertmanager', member).url}/api/v2/alerts"
    return [alert for alert in get(url) if alert["labels"]["alertname"] == name]


def post_alert(site: Site, name: str, over: bool = False, **labels: str) -> None:
    """Tell every Alertmanager that is there of an alert, as a Prometheus would, or that it is over."""
    now = datetime.now(UTC)
    start, end = (now - timedelta(minutes=1), now) if over else (now, now + timedelta(minutes=10))
    alert = {
        "labels": {"alertname": name, "severity": "critical", "instance": "drill", **labels},
        "annotations": {"summary": '磁盘满了 "q" {{ .x }} <b>&', "description": "a\nb"},
        "startsAt": start.isoformat(),
        "endsAt": end.isoformat(),
    }
    told = 0
    for member in site.running("alertmanager"):
        url = f"{site.endpoint('alertmanager', member).url}/api/v2/alerts"
        try:
            told += ask(url, "POST", json=[alert]).ok
        except requests.ConnectionError:
            continue
    assert told, "no Alertmanager took the alert"


def reloads(site: Site) -> dict[tuple[str, str], float]:
    """When each Prometheus and Alertmanager last loaded its configuration."""
    return {
        (member.name, component): metric(
            site,
            component,
            member.name,
            f"{component}_config_last_reload_success_timestamp_seconds",
        )
        for component in ("prometheus", "alertmanager")
        for member in site.running(component)
    }


def spoken() -> dict[str, str]:
    """The environment in which the inventory says what the site speaks now: TLS, or plain HTTP."""
    tls = {"WEB": "tls"}
    site = load(tls)
    url = site.endpoint("thanos-querier", site.running("thanos-querier")[0]).url
    try:
        return tls if ask(f"{url}/-/ready").ok else {"WEB": ""}
    except requests.exceptions.SSLError:
        return {"WEB": ""}


def healthy(site: Site) -> bool:
    """All of the site does its job: raises, or is false, while something is missing."""
    for querier in site.running("thanos-querier"):
        answer = query(site, 'up{job="node_exporter"}', dedup=False, member=querier)
        assert not answer["warnings"], f"{querier.name}: {answer['warnings']}"
        expected = len(site.hosts) * len(site.running("prometheus"))
        assert len(answer["result"]) == expected, f"{querier.name}: {len(answer['result'])} of {expected} series"
    members = site.running("alertmanager")
    for member in members:
        status = get(f"{site.endpoint('alertmanager', member).url}/api/v2/status")["cluster"]
        assert status["status"] == "ready", f"{member.name}: gossip {status['status']}"
        assert len(status["peers"]) == len(members), f"{member.name}: {len(status['peers'])} peers"
    return True


def interval(site: Site) -> float:
    """Seconds between two scrapes."""
    return seconds(site.running("prometheus")[0].settings.scrape_interval)


def rules(name: str, *entries: Mapping[str, Any]) -> dict[str, Any]:
    """The setting `prometheus_rules` with one file of one group."""
    return {f"{name}.yml": {"groups": [{"name": name, "rules": list(entries)}]}}


@contextmanager
def stopped(host: str, unit: str) -> Iterator[None]:
    """A unit of a host is stopped for a while."""
    shell(host, f"systemctl stop {unit}")
    try:
        yield
    finally:
        shell(host, f"systemctl start {unit}")
