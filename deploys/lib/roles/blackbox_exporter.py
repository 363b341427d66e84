"""blackbox_exporter: whether others answer, as their clients see it (spec/001).

A Prometheus asks an exporter about a target; what comes back is the target's, so `instance` is the target, and the
series of both replicas deduplicate. Replicas ask different exporters, and none asks one on the target's own host where
there is another: a probe is to cross the network. A changed module is a reload; targets are in files that Prometheus
watches; a new flag or release is a restart, one exporter at a time. Back up means: it probes itself, with success.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.declare import Daemon
from prometheus_ha.deploys.lib.daemons.exporters import (
    BLACKBOX_CONFIG,
    BLACKBOX_DIR,
    BLACKBOX_SECRETS,
    MODULE_UNKNOWN,
)
from prometheus_ha.deploys.lib.daemons.exporters import BLACKBOX_EXPORTER as DAEMON
from prometheus_ha.deploys.lib.engine import ask, documents, gates, service
from prometheus_ha.deploys.lib.engine.component import Component, Directory
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, Scrape, alike
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding, nearest
from prometheus_ha.deploys.lib.ground.topology import Endpoint
from prometheus_ha.deploys.lib.site import relations, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import NO_ANSWER, Call, metric, metrics, only_metrics, split
from prometheus_ha.facts.reports.look import State

# --- Modules --------------------------------------------------------------------------------------

IP4 = {"preferred_ip_protocol": "ip4"}
"""Upstream's default is IPv6, from hosts that mostly have none. A target that has only the other is still found."""

STARTER: dict[str, Data] = {
    "http_2xx": {"prober": "http", "http": IP4},
    # That a password is asked for.
    "http_401": {"prober": "http", "http": {**IP4, "valid_status_codes": [401]}},
    "tcp_connect": {"prober": "tcp", "tcp": IP4},
    "tcp_tls": {"prober": "tcp", "tcp": {**IP4, "tls": True}},
    # dont_fragment: a raw socket at once; else each probe first tries another, and logs an error for it.
    "icmp": {"prober": "icmp", "icmp": {**IP4, "dont_fragment": True}},
    # The target is the server: one that resolves knows the root.
    "dns_udp": {"prober": "dns", "dns": {**IP4, "query_name": ".", "query_type": "NS", "valid_rcodes": ["NOERROR"]}},
    # The standard health check.
    "grpc_plain": {"prober": "grpc", "grpc": {**IP4, "service": ""}},
}
"""Modules that are there without a setting; `http_2xx_ca` too, where `web_client` has a CA."""

PLATFORM = "platform"


def modules(site: Site, member: Member) -> dict[str, Data]:
    """Name -> module of an exporter: the starter modules, those for the platform's own ports, and the setting's."""
    settings = member.settings
    found = dict(STARTER)
    if ca := (settings.web_client.get("tls_config") or {}).get("ca_file"):
        tls = {"tls_config": {"ca_file": web.path(ca)}}
        found["http_2xx_ca"] = {"prober": "http", "http": {**IP4, **tls}}
        found["tcp_tls_ca"] = {"prober": "tcp", "tcp": {**IP4, "tls": True, **tls}}
    for other in site.hosts.values():
        for name in other.components:
            how = web.http_config([other.settings]) if DAEMONS[name].web else {}
            http = {**IP4, "follow_redirects": False, **how}
            found[_platform_module(DAEMONS[name], other)] = {"prober": "http", "http": http}
    return found | settings.blackbox_modules


def _platform_module(daemon: Daemon, member: Member) -> str:
    """The name of the module for a port of the platform: one for each way of asking."""
    settings = member.settings
    asked = {"tls": web.tls(settings), "password": web.asks_password(settings)} if daemon.web else {}
    return "_".join([PLATFORM, *(name for name, wanted in asked.items() if wanted)])


def component(site: Site, member: Member, found: State) -> Component:
    at = member.own(DAEMON).at
    files = documents.secret_files(at(BLACKBOX_SECRETS), member.settings.blackbox_secret_files, "blackbox_secret_files")
    wanted = {"modules": dict(sorted(modules(site, member).items()))}
    files[at(BLACKBOX_CONFIG)] = documents.file(wanted, "blackbox_modules")
    binary = f"{service.installed(member, found, DAEMON.product)}/{DAEMON.binary}"
    return service.component(
        DAEMON.name,
        *(site, member, found, DAEMON),
        files=files,
        directories={at(path): Directory("750", managed=True) for path in (BLACKBOX_DIR, BLACKBOX_SECRETS)},
        checks=(f"{binary} --config.file={at(BLACKBOX_CONFIG)} --config.check",),
    )


# --- What Prometheus asks it ----------------------------------------------------------------------


def exporters(site: Site, prometheus: Member) -> list[Member]:
    """Whom a Prometheus asks: those of its cluster, which it may dial."""
    return site.scraped(prometheus, DAEMON)


def asked(site: Site, prometheus: Member) -> tuple[Data, list[Endpoint]]:
    """How a Prometheus asks, and the exporters that it asks so, its own first: replicas begin with different ones, so
    that one exporter that is away leaves the probes of a replica. A job has one scheme and one password: exporters
    that are asked in another way than the first are not asked."""
    found = exporters(site, prometheus)
    place = [m.name for m in site.replicas(prometheus)].index(prometheus.name) % len(found)
    turned = [*found[place:], *found[:place]]
    return ask.ways(site, DAEMON, turned)[0]


def scrapes(site: Site, member: Member) -> Iterator[Scrape]:
    """A job for each of `probes`, and one for the platform's own ports."""
    if not exporters(site, member):
        return
    for name, probe in member.settings.probes.items():
        groups = [{"targets": probe.targets, "labels": probe.labels}] if probe.targets else []
        job = _job(site, member, name, probe.module, scrape_interval=probe.interval, scrape_timeout=probe.timeout)
        yield Scrape(job, groups, SAMPLES, tuple(probe.files))
    if member.settings.probe_platform:
        job = _job(site, member, PLATFORM, PLATFORM, scrape_interval=member.settings.timing.platform_interval)
        yield Scrape(job, _platform(site, member), SAMPLES)


SAMPLES = 25
"""Samples of a probe: HTTPS has the most."""


def _name(probe: str) -> str:
    return f"{relations.PROBE_JOB}{probe}"


def _job(site: Site, member: Member, name: str, module: str, **times: str | None) -> Data:
    how, (first, *others) = asked(site, member)
    rules: list[Data] = [
        {"source_labels": ["__address__"], "target_label": "__param_target"},
        {"source_labels": ["__param_target"], "target_label": "instance"},
        {"target_label": "__address__", "replacement": first.target},
    ]
    if others:
        # What is on the first one's own host, another one is asked about.
        here = site.hosts[first.host_name]
        names = sorted({here.name, here.address, here.management} - {""})
        host = rf"\[?(?:{'|'.join(map(re.escape, names))})\]?"
        rules.append(
            {
                "source_labels": ["__param_target"],
                "regex": rf"(?:[a-z0-9+.]+://)?(?:[^/@]*@)?{host}(?::[0-9]+)?(?:[/?].*)?",
                "target_label": "__address__",
                "replacement": others[0].target,
            }
        )
    return {
        "job_name": _name(name),
        "metrics_path": "/probe",
        **{key: value for key, value in times.items() if value},
        "params": {"module": [module]},
        "relabel_configs": rules,
        **how,
    }


def _platform(site: Site, prometheus: Member) -> list[Data]:
    """The health of every HTTP port that this Prometheus scrapes. `endpoint` is the `instance` of that scrape."""
    return [
        {
            "targets": [f"{endpoint.url}{info.healthy_path}"],
            "labels": {
                "host": member.name,
                "endpoint": endpoint.target,
                "__param_module": _platform_module(info, member),
            },
        }
        for name, info in DAEMONS.items()
        for member in site.scraped(prometheus, name)
        for endpoint in [site.endpoint(name, member)]
    ]


# --- Back up --------------------------------------------------------------------------------------


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """It answers; and, after its own restart, it probes itself with success."""
    calls = [Call("ready", DAEMON.ready_path)]
    own = member.name == asked_by.name
    if own:
        # Another one may still have its modules and its scheme of before.
        url = f"{site.endpoint(DAEMON, member).url}{DAEMON.healthy_path}"
        module = _platform_module(DAEMON, member)
        path = f"/probe?module={module}&target={quote(url, safe='')}"
        calls.append(Call("probe", path, only_metrics("probe_success")))

    def judge(lines: list[str]) -> Progress:
        answers = split(lines)
        ready, probe = (answers.get(name, NO_ANSWER) for name in ("ready", "probe"))
        if not ready.ok:
            return Progress(False, f"not ready: {ready.problem}", ready.status or None)
        if own and metric(metrics(probe.body), "probe_success") != 1:
            return Progress(False, f"ready, and its probe of itself fails {probe.problem}".rstrip(), "probe")
        return Progress(True, "ready, and probes" if own else "ready", "ok")

    return Gate(ask.script(*(site, member, DAEMON), calls, either=not own), judge)


def reloaded(site: Site, member: Member) -> Gate:
    return gates.loaded(site, member, DAEMON, DAEMON.name)


# --- What is said of it ---------------------------------------------------------------------------

_DAY = 86400
_DEBUG = (
    "What a probe sees: curl -g 'EXPORTER/probe?module=MODULE&target={{ $labels.instance }}&debug=true'; the page "
    "Status > Target health of Prometheus has the whole address."
)
PROBE_FAILED = Alert(
    "ProbeFailed",
    "probes",
    {"warning": None},
    "{{ $labels.instance }} does not answer as it should ({{ $labels.job }})",
    f"Its clients see what the probe sees, or the network between is cut. {_DEBUG}",
)
PLATFORM_PROBE_FAILED = Alert(
    "PlatformProbeFailed",
    "probes",
    {"warning": None},
    "{{ $labels.instance }} on {{ $labels.host }} is up, and fails for others",
    "Prometheus can scrape it, and a client on another host is refused: its health, its certificate, or a firewall. "
    f"{_DEBUG}",
)
PROBES_MISSING = Alert(
    "ProbesMissing",
    "probes",
    {"warning": None},
    "{{ $value }} probes of {{ $labels.job }} are not made",
    "The exporter that this Prometheus asks is away, or does not know the module: there is no probe_success, and "
    "nothing is known of the targets. The other replica asks another exporter. The page Status > Target health of "
    "Prometheus shows the error.",
)
CERTIFICATE_EXPIRES = Alert(
    "CertificateExpires",
    "probes",
    {"warning": 14, "critical": 3},
    "The certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}",
    "From then on its clients refuse it. It may be one above it in the chain that expires. A new one of the "
    "platform's own (web_files) needs no restart.",
    counts="days until it expires",
)
RELOAD_FAILED = starter.reload_alert("BlackboxExporter", "probes")
MODULE_UNKNOWN_ASKED = Alert(
    "BlackboxModuleUnknown",
    "probes",
    {"warning": None},
    "blackbox_exporter on <host> is asked for a module that it does not have",
    "Whoever asks gets no answer, and no probe_success. A job of your own (prometheus_config) names a module that is "
    "not in blackbox_modules.",
    patience=2,
)


def alerts(site: Site, member: Member) -> Iterator[Data]:
    jobs = [scrape.name for scrape in scrapes(site, member)]
    if not jobs:
        return
    platform = _name(PLATFORM)
    every = f'job=~"{starter.any_of(jobs)}"'
    if users := [name for name in jobs if name != platform]:
        yield from PROBE_FAILED.rules(member, f'probe_success{{job=~"{starter.any_of(users)}"}} == 0')
    if platform in jobs:
        # One that is down says so as a target.
        down = 'label_replace(up == 0, "endpoint", "$1", "instance", "(.*)")'
        failed = f'probe_success{{job="{platform}"}} == 0 unless on (endpoint) {down}'
        yield from PLATFORM_PROBE_FAILED.rules(member, failed)
    yield from PROBES_MISSING.rules(member, f"count by (job) (up{{{every}}} == 0) > 0")
    left = f"probe_ssl_earliest_cert_expiry{{{every}}} - time()"
    yield from CERTIFICATE_EXPIRES.rules(member, f"{left} < <threshold> * {_DAY}")
    if site.scraped(member, DAEMON):
        yield from starter.reload_failed(site, member, RELOAD_FAILED, DAEMON)
        ours, window = starter.ours(site, member, DAEMON), starter.window(member, count=20)
        yield from MODULE_UNKNOWN_ASKED.rules(member, f"increase({MODULE_UNKNOWN}{{{ours}}}[{window}]) > 0")


def _check_probes(site: Site, member: Member) -> Iterator[Finding]:
    """A probe has a module, and something to probe."""
    if DAEMON.name not in member.components and daemons.PROMETHEUS.name not in member.components:
        return
    finding = partial(host_finding, member)
    for name in member.settings.blackbox_modules:
        if name == PLATFORM or name.startswith(f"{PLATFORM}_"):
            yield finding(f"blackbox_modules.{name}", "a module", f"names that do not begin with {PLATFORM}: ours do")
    if daemons.PROMETHEUS.name not in member.components:
        return
    if PLATFORM in member.settings.probes:
        yield finding(f"probes.{PLATFORM}", "a job", "another name: it is that of the platform's own ports")
    asked = exporters(site, member)
    if member.settings.probes and not asked:
        allowed = f"a host of this cluster in the group {DAEMON.group}, from which they are made"
        yield finding("probes", "probes", allowed)
    known = modules(site, asked[0]) if asked else {}  # as all have: `_check_alike`
    for name, probe in member.settings.probes.items():
        if asked and probe.module not in known:
            near = nearest(probe.module, known)
            allowed = f"one of {', '.join(sorted(known))}{f' (did you mean {near}?)' if near else ''}"
            yield finding(f"probes.{name}.module", repr(probe.module), allowed)
        if not (probe.targets or probe.files):
            yield finding(f"probes.{name}", "neither targets nor files", "something to probe")


def _check_alike(site: Site) -> Iterator[Finding]:
    """Replicas ask different exporters, and are to see the same."""
    exporters = site.running(DAEMON)
    for member in exporters[1:]:
        if member.settings.blackbox_modules != exporters[0].settings.blackbox_modules:
            found = f"other modules than on {exporters[0].name}"
            yield host_finding(member, "blackbox_modules", found, "the same on all: each replica asks another one")
    for replicas in site.clusters.values():
        for member in replicas[1:]:
            for key in ("probes", "probe_platform"):
                if getattr(member.settings, key) != getattr(replicas[0].settings, key):
                    found = f"another than on {replicas[0].name}, a replica of the same cluster"
                    allowed = "the same on all replicas, which deduplication takes for one"
                    yield host_finding(member, key, found, allowed, "warn")


BLACKBOX_EXPORTER = Role(
    DAEMON.name,
    DAEMON.group,
    component,
    gate,
    reloaded,
    stands_in=alike(lambda member: member.settings.cluster),
    values={DAEMON: {}},
    scrapes=scrapes,
    alerts=alerts,
    findings=(_check_probes,),
    site_findings=(_check_alike,),
)
