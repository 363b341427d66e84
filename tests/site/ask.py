"""Questions to hosts and to the daemons on them, and waiting for an answer that holds."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable
from typing import Any, TypeVar

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.deploys.lib.site.members import Member
from prometheus_ha.suites.inventory import connect, site

T = TypeVar("T")
Labels = dict[str, str]

# -q and --noproxy: what the daemon says, whatever the host's settings for curl are.
_CURL = "curl -q -sS -g --noproxy '*' --max-time 10"
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def listing(member: Member, *paths: str) -> dict[str, str]:
    """Path -> `KIND MODE OWNER:GROUP` (as in `d 755 root:root`); what does not exist is absent."""
    form = r"-printf '%p\t%y %m %u:%g\n'"
    done = connect(member.name).run(f"find {shlex.join(paths)} -maxdepth 0 {form}")
    return dict(line.split("\t") for line in done.stdout.splitlines())


def get(member: Member, component: str, path: str, **parameters: str) -> str:
    """The body of a 200 answer of a daemon to its own host; AssertionError with the other ones."""
    base, options = web.curl(site().local(component, member), member.settings)
    url = base + path
    data = "".join(f" --data-urlencode {shlex.quote(f'{k}={v}')}" for k, v in parameters.items())
    status = r"-w '\n%{http_code}'"
    done = connect(member.name).run(f"{_CURL} {shlex.join(options)} -G {status}{data} {shlex.quote(url)}")
    body, _, code = done.stdout.rpartition("\n")
    where = f"{member.name}: {component} at {url}"
    assert done.rc == 0, f"{where}: {done.stderr.strip()}"
    assert code == "200", f"{where}: HTTP {code}: {body[:500]}"
    return body


def api(member: Member, component: str, path: str, **parameters: str) -> Any:
    """The same as JSON; of an answer in the Prometheus manner, its `data`."""
    answer = json.loads(get(member, component, path, **parameters))
    return answer["data"] if isinstance(answer, dict) and "data" in answer else answer


def query(member: Member, component: str, promql: str, **parameters: str) -> list[dict[str, Any]]:
    """The samples of an instant query: `metric` (labels) and `value`. A warning is a failure."""
    answer = json.loads(get(member, component, "/api/v1/query", query=promql, **parameters))
    assert not answer.get("warnings"), f"{member.name}: {promql}: {answer['warnings']}"
    return [{**r, "value": float(r["value"][1])} for r in answer["data"]["result"]]


def metrics(member: Member, component: str, name: str) -> list[tuple[Labels, float]]:
    """The samples of one metric as a daemon exposes it."""
    found = []
    for line in get(member, component, DAEMONS[component].metrics_path).splitlines():
        match = _SAMPLE.match(line)
        if match and match[1] == name:
            found.append((dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


def metric(member: Member, component: str, name: str) -> float:
    """The value of a metric that has one sample."""
    samples = metrics(member, component, name)
    assert len(samples) == 1, f"{member.name}: {name} has {len(samples)} samples, not one"
    return samples[0][1]


def eventually(check: Callable[[], T], within: float) -> T:
    """What `check` returns once it raises no AssertionError; its last one after `within` seconds.

    For what needs a moment to settle after a start; what is already so costs one call.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            return check()
        except AssertionError as error:
            if time.monotonic() >= deadline:
                error.add_note(f"still so after {within:g} s")
                raise
        time.sleep(0.5)
