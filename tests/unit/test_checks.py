"""The judgement of verify, on reports made by hand: one broken thing, one failed check."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import quote, unquote

import pytest

from prometheus_ha.deploys.lib.common import faults, kernel, promql, verify_view
from prometheus_ha.deploys.lib.common.verify_view import Seen, View
from prometheus_ha.deploys.lib.daemons import RECEIVE, of_groups
from prometheus_ha.deploys.lib.engine.flags import argv
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.roles import upper as upper_role
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.survey import checks, notifications
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.deploys.lib.survey.notifications import Mailbox
from prometheus_ha.facts.http import Answer
from prometheus_ha.facts.reports import alertmanager, prometheus, thanos
from prometheus_ha.facts.reports.look import MARK, Process, State
from prometheus_ha.facts.reports.plain import Plain

ADDRESSES = {
    "prom-1": "10.0.0.11",
    "prom-2": "10.0.0.12",
    "am-1": "10.0.0.21",
    "am-2": "10.0.0.22",
    "query-1": "10.0.0.31",
    "upper-1": "10.0.0.51",
}
GROUPS = {"prom": "prometheus", "am": "alertmanager", "query": "querier", "upper": "upper"}

CLOCK = [
    "==[units]==",
    *("Id=chrony.service", "LoadState=loaded", "ActiveState=active"),
    "==[container]==",
    "none",
    "==[capabilities]==",
    "CapBnd:\t000001ffffffffff",
    "==[kernel]==",
    "NTPSynchronized=yes",
]


def make_site(**settings):
    hosts = {}
    for name, address in ADDRESSES.items():
        group = GROUPS[name.split("-")[0]]
        data = {"ssh_hostname": address, **settings}
        if group == "prometheus":
            data["replica"] = f"replica-0{name[-1]}"
        if group == "alertmanager":
            data["alertmanager_webhook_url"] = data["deadman_url"] = "secret:env:WEBHOOK"
        hosts[name] = {"groups": [group, "inventory"], "data": data}
    return site_from_dicts(hosts)


SITE = make_site()


def make_look(member) -> State:
    state = State(machine="x86_64", systemd=252, disk=1500 << 30)
    state.sysctl = kernel.live(member, state)
    state.extra = {"timesync": CLOCK}
    for number, component in enumerate(member.components):
        info = checks.DAEMONS[component]
        state.units[info.unit] = {
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "UnitFileState": "enabled",
            "NeedDaemonReload": "no",
            "NRestarts": "0",
        }
        exe = "/usr/bin/python3.11"
        if component != "alert_relay":
            exe = f"{checks.installed(member, state, info.product)}/{info.binary}"
        state.processes[info.unit] = Process(100 + number, exe, ())
    return state


def make_targets(site):
    return [
        prometheus.Target(
            job=checks.DAEMONS[component].job_name,
            instance=site.endpoint(component, member).target,
            health="up",
            last_scrape=1.0,
            last_error="",
            scrape_url="",
            labels={"job": component, "instance": site.endpoint(component, member).target},
        )
        for component in checks.DAEMONS
        for member in site.running(component)
    ]


def make_prometheus(site, member):
    words = [word.removeprefix("--") for word in argv("prometheus", site, member, make_look(member))[1:]]
    flags = {name: value or "true" for name, _, value in (word.partition("=") for word in words)}
    labels = {"cluster": "main", "replica": member.settings.replica}
    return prometheus.Report(
        ready=True,
        version=member.settings.version("prometheus"),
        config={"global": {"external_labels": labels}},
        flags=flags,
        targets=make_targets(site),
        alertmanagers=[
            f"{site.endpoint('alertmanager', other).url}/api/v2/alerts" for other in site.members("alertmanager")
        ],
        reload_success=True,
    )


def make_upper(site, member):
    words = [word.removeprefix("--") for word in argv("prometheus-upper", site, member, make_look(member))[1:]]
    targets = [
        replace(make_targets(site)[0], job=job["job_name"], instance=target)
        for job in upper_role.upper_yml(site, member)["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    return replace(
        make_prometheus(site, site.hosts["prom-1"]),
        flags={name: value or "true" for name, _, value in (word.partition("=") for word in words)},
        targets=targets,
    )


def make_alertmanager(site, member):
    return alertmanager.Report(
        ready=True,
        version=member.settings.version("alertmanager"),
        cluster_status="ready",
        peers=[
            alertmanager.Peer(other.name, site.endpoint("alertmanager", other, "cluster").target)
            for other in site.members("alertmanager")
        ],
        config_hash=42.0,
        reload_success=True,
        failed_peers=0,
    )


def make_querier(site, member):
    stores = [
        thanos.Store(
            name=site.endpoint("thanos-sidecar", other, "grpc").target,
            kind="sidecar",
            last_error="",
            label_sets=[{"cluster": "main", "replica": other.settings.replica}],
            min_time=0,
            max_time=1,
        )
        for other in site.members("prometheus")
    ]
    return thanos.QuerierReport(True, member.settings.version("thanos-querier"), stores)


def answer(vector, **more) -> Answer:
    result = [{"metric": labels, "value": [1.0, str(value)]} for labels, value in vector]
    data = {"resultType": "vector", "result": result}
    return Answer(200, json.dumps({"status": "success", "data": data, **more}))


def make_queries(site) -> dict[str, Answer]:
    targets = len(make_targets(site))
    replicas = [member.settings.replica for member in site.members("prometheus")]
    return {
        "up-raw": answer([({"cluster": "main", "replica": one}, targets) for one in replicas]),
        "up": answer([({"cluster": "main"}, targets)]),
        "prometheus-up": answer([({"cluster": "main"}, len(replicas))]),
    }


def make_view(site=SITE) -> View:
    makers = {
        "prometheus": make_prometheus,
        "prometheus-upper": make_upper,
        "alertmanager": make_alertmanager,
        "thanos-querier": make_querier,
        "thanos-sidecar": lambda _, m: thanos.SidecarReport(True, m.settings.version("thanos-sidecar"), True),
        "alert_relay": lambda _, m: Plain(True, m.settings.version("alert_relay")),
        "node_exporter": lambda _, m: Plain(True, m.settings.version("node_exporter")),
    }
    return View(
        site,
        {
            name: Seen(
                make_look(member),
                {component: makers[component](site, member) for component in member.components},
                make_queries(site) if "querier" in member.groups else {},
            )
            for name, member in site.hosts.items()
        },
    )


def broken(view: View, host: str, component: str, **changes) -> View:
    """The view with something else in a daemon's report."""
    seen = view.seen[host]
    daemons = {**seen.daemons, component: replace(seen.daemons[component], **changes)}
    return replace(view, seen={**view.seen, host: replace(seen, daemons=daemons)})


def asked(view: View, host: str, **queries: Answer) -> View:
    seen = view.seen[host]
    changed = {name.replace("_", "-"): one for name, one in queries.items()}
    return replace(view, seen={**view.seen, host: replace(seen, answers={**seen.answers, **changed})})


def failures(view: View) -> list[Finding]:
    return [result for result in checks.judge(view) if result.severity == "fail"]


def only(view: View) -> Finding:
    results = failures(view)
    assert len(results) == 1, results
    return results[0]


def test_a_site_that_is_well_fails_nothing():
    view = make_view()
    results = checks.judge(view)
    assert [r for r in results if r.severity == "fail"] == []
    # The documents want these APIs on; that anyone may use them is said.
    assert {r.host for r in results if r.check == "flags"} == {"prom-1", "prom-2", "upper-1"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ActiveState", "failed", "prometheus: failed"),
        ("UnitFileState", "disabled", "prometheus: disabled"),
        ("NeedDaemonReload", "yes", "has not read the changed unit"),
    ],
)
def test_a1_units(key, value, said):
    view = make_view()
    view.seen["prom-1"].look.units["prometheus"][key] = value
    result = only(view)
    assert (result.host, result.check) == ("prom-1", "unit")
    assert said in result.found


def test_a1_an_absent_unit():
    view = make_view()
    view.seen["am-1"].look.units["node_exporter"] = {"LoadState": "not-found"}
    assert {r.found for r in failures(view)} == {"node_exporter: no unit", "node_exporter: absent"}


def test_a1_another_release_runs():
    view = make_view()
    old = "/opt/prometheus-3.0.0.linux-amd64/prometheus (deleted)"
    view.seen["prom-1"].look.processes["prometheus"] = Process(7, old, ())
    assert f"runs {old}" in only(view).found
    view = broken(make_view(), "query-1", "thanos-querier", version="0.41.0")
    assert (only(view).found, only(view).wanted) == (
        "thanos-querier: reports release 0.41.0",
        SITE.hosts["query-1"].settings.version("thanos-querier"),
    )


def test_a1_not_ready_says_why_and_is_the_only_thing_said():
    view = make_view()
    down = prometheus.Report(ready=False, errors={"ready": "HTTP 503: Service Unavailable"})
    view.seen["prom-1"].daemons["prometheus"] = down
    assert "503" in only(view).found


def test_a1_a_look_that_failed():
    view = make_view()
    view = replace(view, seen={**view.seen, "am-1": replace(view.seen["am-1"], look=None)})
    assert only(view).host == "am-1"


def test_a2_refused_reload():
    view = broken(make_view(), "am-2", "alertmanager", reload_success=False)
    assert (only(view).check, only(view).host) == ("reload", "am-2")


def test_a2_of_a_daemon_that_says_so_by_a_metric_alone():
    values = {"alert_relay_config_last_reload_successful": 0.0}
    found = only(broken(make_view(), "am-2", "alert_relay", values=values))
    assert (found.host, found.check) == ("am-2", "reload") and "alert_relay refused its files" in found.found


def test_a3_external_labels():
    def labels(view, host, **wanted):
        return broken(view, host, "prometheus", config={"global": {"external_labels": wanted}})

    view = labels(make_view(), "prom-2", cluster="main", replica="replica-01")
    assert {r.check for r in failures(view)} == {"labels"}
    assert any("as on prom-1" in r.found for r in failures(view))
    view = labels(make_view(), "prom-2", cluster="main", replica="replica-02", site="x")
    assert "site=x" in only(view).found
    assert any("cluster=other" in r.found for r in failures(labels(view, "prom-1", cluster="other")))


def test_a4_flags():
    report = make_view().seen["prom-1"].daemons["prometheus"]
    view = broken(make_view(), "prom-1", "prometheus", flags={**report.flags, "web.enable-admin-api": "false"})
    assert (only(view).check, only(view).wanted) == ("flags", "true")


def test_a4_compaction_as_the_release_needs_it():
    bucket = {"type": "S3", "config": {"bucket": "b", "endpoint": "10.0.0.9:9000"}}
    for release, flag in (
        ("current", "storage.tsdb.delay-compact-file.path"),
        ("reference", "storage.tsdb.max-block-duration"),
    ):
        site = make_site(release=release, bucket_config=bucket)
        view = make_view(site)
        assert [r for r in failures(view) if r.check == "flags"] == []
        flags = view.seen["prom-1"].daemons["prometheus"].flags
        del flags[flag]
        assert [flag in r.found for r in failures(view) if r.check == "flags"] == [True]


@pytest.mark.parametrize("release", ["current", "reference"])
@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("time", 365 * 86400, ("31536000 s", "1296000 s: prometheus_retention_time = 15d")),
        ("time", 0, ("0 s", "prometheus_retention_time")),
        ("size", 0, ("0 bytes", "bytes: prometheus_retention_size = 50GB")),
        ("percentage", 95, ("95 % of the disk", "0 % of the disk: prometheus_retention_size")),
        ("time", 15 * 86400, None),
        ("size", 50 << 30, None),
    ],
)
def test_a4_the_limits_in_force(release, limit, value, said):
    """A file that somebody put a retention into: the flags go on saying what they said."""
    view = make_view(make_site(release=release, prometheus_retention_size="50GB"))
    view.seen["prom-1"].daemons["prometheus"].retention[limit] = value
    found = [(r.found, r.wanted) for r in failures(view) if r.check == "flags"]
    if said is None:
        assert found == []
    else:
        ((is_, wanted),) = found
        assert said[0] in is_ and said[1] in wanted


def test_a4_a_share_of_the_disk():
    for percentage, size, wrong in ((80, 0, 0), (0, 80 << 30, 2), (90, 0, 1)):
        view = make_view()
        found = view.seen["prom-1"].daemons["prometheus"]
        found.retention.update(time=15 * 86400, size=size, percentage=percentage)
        found.flags["storage.tsdb.retention.time"] = "1d"  # which is not in force
        assert [r.check for r in failures(view)] == ["flags"] * wrong, percentage


def test_a4_limits_of_a_release_that_has_no_metric_of_them():
    for given, reported, wrong in (
        ("size", "1200GB", False),
        ("size", "1TiB176GiB", False),
        ("size", "0B", True),
        ("time", "2w1d", False),
        ("time", "14d", True),
    ):
        view = make_view(make_site(release="reference"))
        flags = view.seen["prom-1"].daemons["prometheus"].flags
        flags[f"storage.tsdb.retention.{given}"] = reported
        assert [r.check for r in failures(view)] == ["flags"] * wrong, (given, reported)


def test_a4_closed_apis_are_no_warning():
    site = make_site(prometheus_admin_api=False, prometheus_lifecycle=False)
    view = make_view(site)
    for _, report in view.prometheus():
        report.flags.update({"web.enable-admin-api": "false", "web.enable-lifecycle": "false"})
    assert [r for r in checks.judge(view) if r.check == "flags"] == []


def test_a4_open_apis_behind_a_password_are_no_warning():
    def warned(**web_config) -> bool:
        client = {"basic_auth": {"username": "a", "password": "secret:env:A"}}
        client["tls_config"] = {"ca_file": "/ca", "cert_file": "/c", "key_file": "/k"}
        hosts = {
            name: member.settings.model_copy(update={"web_config": web_config, "web_client": client})
            for name, member in SITE.hosts.items()
        }
        site = Site({n: replace(SITE.hosts[n], settings=one) for n, one in hosts.items()})
        return any(r.check == "flags" for r in checks.judge(make_view(site)))

    tls = {"cert_file": "/c", "key_file": "/k"}
    assert warned(tls_server_config=tls)
    assert not warned(tls_server_config=tls | {"client_auth_type": "RequireAndVerifyClientCert"})
    assert not warned(basic_auth_users={"a": "$2y$"})


def test_a5_targets():
    targets = make_targets(SITE)
    down = replace(targets[0], health="down", last_error="connection refused")
    view = broken(make_view(), "prom-1", "prometheus", targets=[down, *targets[1:]])
    assert "connection refused" in only(view).found
    assert down.instance in only(view).found
    assert verify_view.targets_not_up(view, "prom-1") == [f"{down.job} {down.instance}"]
    view = broken(make_view(), "prom-2", "prometheus", targets=targets[1:])
    result = only(view)
    assert (result.host, result.check) == ("prom-2", "replicas")
    assert "lacks" in result.found


def test_an_upper_prometheus_federates_every_replica():
    targets = make_view().seen["upper-1"].daemons["prometheus-upper"].targets
    view = broken(make_view(), "upper-1", "prometheus-upper", targets=targets[:-1])
    assert (only(view).check, only(view).host) == ("federation", "upper-1")
    assert "federate-main 10.0.0.12:9090" in only(view).found
    down = [*targets[:-1], replace(targets[-1], health="down", last_error="timed out")]
    view = broken(make_view(), "upper-1", "prometheus-upper", targets=down)
    assert "timed out" in only(view).found
    assert verify_view.targets_not_up(view, "upper-1") == ["federate-main 10.0.0.12:9090"]


def own_target(number: int, health: str, job: str = "shop") -> prometheus.Target:
    instance = f"10.9.0.{number}:8080"
    labels = {"job": job, "instance": instance}
    return prometheus.Target(job, instance, health, 1.0, "refused", f"http://{instance}/", labels)


def with_own_targets(**targets: list[prometheus.Target]) -> View:
    """A site whose Prometheus scrape targets of the user as well, all of them with `up`."""
    view = make_view()
    for name, more in targets.items():
        host = name.replace("_", "-")
        component = of_groups(view.site.hosts[host].groups)
        component = next(one.name for one in component if one.name in verify_view.PROMETHEUS)
        ours = view.seen[host].daemons[component].targets
        view = broken(view, host, component, targets=[*ours, *more])
    up = [({"cluster": "main", "replica": one}, 99) for one in ("replica-01", "replica-02")]
    for host in ("prom-1", "prom-2"):
        targets = view.seen[host].daemons["prometheus"].targets
        number = len({frozenset(t.labels.items()) for t in targets})
        up = [(labels, number) for labels, _ in up]
    return asked(view, "query-1", up_raw=answer(up), up=answer([({"cluster": "main"}, up[0][1])]))


def warned(view: View) -> list[Finding]:
    return [r for r in checks.judge(view) if r.check == "targets"]


def test_a5_targets_of_the_user_are_a_warning_once_for_each_job():
    down = [own_target(n, "down" if n < 7 else "up") for n in range(1, 10)]
    other = [own_target(50, "down", job="bank"), own_target(51, "unknown", job="bank")]
    view = with_own_targets(prom_1=[*down, *other], prom_2=[*down, *other])
    assert failures(view) == []
    bank, new, shop = sorted(warned(view), key=lambda r: r.found)
    assert {one.severity for one in (bank, new, shop)} == {"warn"}
    assert bank.found == "job bank: 1 of 2 targets down: 10.9.0.50:8080 (refused)"
    assert new.found == "job bank: 1 of 2 targets not scraped yet: 10.9.0.51:8080"
    assert shop.found.startswith("job shop: 6 of 9 targets down: 10.9.0.1:8080 (refused), ")
    assert shop.found.endswith(" and 2 more")
    # And nobody waits for them.
    assert verify_view.targets_not_up(view, "prom-1") == []


def test_a5_a_target_of_the_user_that_one_replica_alone_does_not_reach():
    view = with_own_targets(prom_1=[own_target(1, "up")], prom_2=[own_target(1, "down")])
    (one,) = warned(view)
    assert one.found.endswith("; as prom-2 alone sees it")
    assert one.host == "prom-2"


def test_a5_a_target_of_the_user_on_a_job_or_address_of_ours_is_the_users():
    theirs = own_target(1, "down", job="prometheus")
    same = replace(own_target(2, "down"), instance="10.0.0.21:9093")  # an Alertmanager's
    view = with_own_targets(prom_1=[theirs, same], prom_2=[theirs, same])
    assert failures(view) == []
    assert {one.severity for one in warned(view)} == {"warn"}


# --- One cause, one failure -------------------------------------------------------------------------


def without(view: View, *hosts: str, dead: tuple[str, ...] = ()) -> View:
    """The view as it is while `hosts` are dead: everything that misses them says so."""
    gone = {name: view.site.hosts[name] for name in (*hosts, *dead)}
    addresses = {member.address for member in gone.values()}

    def away(target: str) -> bool:
        return target.rpartition(":")[0] in addresses

    for member, report in view.prometheus():
        targets = [
            replace(t, health="down", last_error="no route to host") if away(t.instance) else t for t in report.targets
        ]
        component = next(name for name in verify_view.PROMETHEUS if name in member.components)
        view = broken(view, member.name, component, targets=targets)
    for member, report in view.reports("alertmanager"):
        peers = [peer for peer in report.peers if not away(peer.address)]
        lost = len(report.peers) - len(peers)
        view = broken(view, member.name, "alertmanager", peers=peers, failed_peers=lost)
    stores = view.seen["query-1"].daemons["thanos-querier"].stores
    errors = [replace(s, last_error="no route to host") if away(s.name) else s for s in stores]
    view = broken(view, "query-1", "thanos-querier", stores=errors)
    living = [m for m in view.site.members("prometheus") if m.name not in gone]
    targets = len(make_targets(view.site))
    warnings = [f"receive series from Addr: {s.name}: no route" for s in stores if away(s.name)]
    one = [({"cluster": "main"}, targets)] if living else []
    view = asked(
        view,
        "query-1",
        up_raw=answer(
            [({"cluster": "main", "replica": m.settings.replica}, targets) for m in living],
            warnings=warnings,
        ),
        up=answer(one, warnings=warnings),
        prometheus_up=answer([({"cluster": "main"}, 2)] if living else []),
    )
    seen = {name: one for name, one in view.seen.items() if name not in gone}
    return replace(view, seen=seen, dead=set(gone))


def test_a_dead_host_is_one_failure_and_what_it_explains_is_named_under_it():
    view = without(make_view(), "prom-1")
    result = only(view)
    assert (result.host, result.check) == ("prom-1", "unit")
    assert set(result.consequences) == {"targets of prom-2, upper-1", "stores of query-1", "queries of query-1"}
    lines = checks.table(view, checks.judge(view))
    assert any("explains" in line and "stores of query-1" in line for line in lines)
    assert any("checks failed: 1, " in line for line in lines)
    # Nor does anybody wait for it.
    assert verify_view.targets_not_up(view, "prom-2") == []


def test_a_dead_alertmanager_is_one_failure():
    view = without(make_view(), "am-2")
    known = ["http://10.0.0.21:9093/api/v2/alerts"]
    view = broken(view, "prom-1", "prometheus", alertmanagers=known)
    assert only(view).host == "am-2"
    assert {one.split()[0] for one in only(view).consequences} == {"targets", "gossip", "alerting"}


def test_all_replicas_dead_are_a_failure_each():
    view = without(make_view(), "prom-1", "prom-2")
    assert [(r.host, r.check) for r in failures(view)] == [("prom-1", "unit"), ("prom-2", "unit")]


def test_a_unit_that_is_down_explains_what_misses_it():
    view = without(make_view(), "am-2")
    stopped = make_view().seen["am-2"]
    stopped.look.units["alertmanager"]["ActiveState"] = "failed"
    view = replace(view, seen={**view.seen, "am-2": stopped}, dead=())
    found = failures(view)
    assert found[0].host == "am-2" and found[0].found.startswith("alertmanager: failed")
    assert "gossip of am-1" in found[0].consequences
    # Its node_exporter and its relay run: that nobody reaches them has another cause.
    missed = {f": {name} 10.0.0.22" for name in ("node_exporter", "alert_relay")}
    assert {(r.check, r.host) for r in found[1:]} == {("targets", "prom-1"), ("targets", "prom-2")}
    assert all(any(one in r.found for one in missed) for r in found[1:])


def test_a_sidecar_is_not_ready_because_its_prometheus_is_down():
    view = without(make_view(), "prom-2")
    stopped = make_view().seen["prom-2"]
    stopped.look.units["prometheus"]["ActiveState"] = "inactive"
    daemons = {
        **stopped.daemons,
        "prometheus": prometheus.Report(ready=False, errors={"ready": "refused"}),
        "thanos-sidecar": thanos.SidecarReport(False, None, False, errors={"ready": "HTTP 503"}),
    }
    view = replace(view, seen={**view.seen, "prom-2": replace(stopped, daemons=daemons)}, dead=())
    causes = [r for r in failures(view) if r.check != "targets"]
    assert [r.host for r in causes] == ["prom-2"]
    assert causes[0].found.startswith("prometheus: inactive")
    assert {"unit of prom-2", "stores of query-1", "queries of query-1"} <= set(causes[0].consequences)


def test_what_a_dead_host_does_not_explain_stays_a_failure():
    view = without(make_view(), "prom-1")
    view = broken(view, "am-1", "alertmanager", reload_success=False)
    targets = view.seen["prom-2"].daemons["prometheus"].targets
    targets = [replace(t, health="down") if t.instance == "10.0.0.31:10903" else t for t in targets]
    view = broken(view, "prom-2", "prometheus", targets=targets)
    n = len(make_targets(SITE))
    view = asked(view, "query-1", up=answer([({"cluster": "main"}, n - 1)]))
    assert {(r.check, r.host) for r in failures(view)} == {
        *(("unit", "prom-1"), ("reload", "am-1"), ("targets", "prom-2"), ("queries", "query-1")),
    }


@pytest.mark.parametrize(
    ("said", "explained"),
    [
        (Answer(0, "", "curl: (28) Operation timed out after 5000 milliseconds"), True),
        (Answer(0, "", "curl: (7) Failed to connect"), False),
        (Answer(503, "no"), False),
    ],
)
def test_a_querier_that_waits_for_a_store_on_a_dead_host_is_explained_by_it(said, explained):
    view = asked(without(make_view(), "prom-1"), "query-1", **{"up-raw": said})
    causes = [(r.check, r.host) for r in failures(view)]
    assert causes == [("unit", "prom-1"), *([] if explained else [("queries", "query-1")])]
    whole = asked(make_view(), "query-1", **{"up-raw": said})
    assert [(r.check, r.host) for r in failures(whole)] == [("queries", "query-1")]


def test_a_daemon_known_to_be_down_is_not_waited_for():
    view = without(make_view(), "am-2")
    stopped = make_view().seen["am-2"]
    for unit in stopped.look.units.values():
        unit["ActiveState"] = "failed"
    view = replace(view, dead=())
    job = checks.DAEMONS["alertmanager"].job_name
    assert f"{job} 10.0.0.22:9093" in verify_view.targets_not_up(view, "prom-1")
    view = replace(view, seen={**view.seen, "am-2": stopped})
    assert verify_view.targets_not_up(view, "prom-1") == []


# --- Deduplication ----------------------------------------------------------------------------------


def test_a7_asks_for_what_is_fresh():
    """Series of an instance that is no more are found for five minutes, where nothing marked their end."""
    jobs = [
        {"job_name": "slow.one", "scrape_interval": "2m", "static_configs": []},
        {"job_name": "fast", "scrape_interval": "5s", "static_configs": []},
    ]
    site = make_site(prometheus_config={"scrape_configs": jobs})
    interval = site.hosts["prom-1"].settings.scrape_interval
    assert interval == "15s"
    for call in promql.queries(site):
        assert quote(" > time() - 35)", safe="") in call.path
    raw, once, _ = (unquote(call.path) for call in promql.queries(site))
    assert raw.endswith("&dedup=false") and once.endswith("&dedup=true")
    # What is scraped less often is not fresh all the time, and left out on both sides.
    assert 'job!~"probe-.*|slow\\\\.one"' in raw
    targets = [own_target(1, "up", job="slow.one"), own_target(2, "up", job="probe-platform")]
    view = make_view(site)
    for host in ("prom-1", "prom-2"):
        ours = view.seen[host].daemons["prometheus"].targets
        view = broken(view, host, "prometheus", targets=[*ours, *targets])
    assert failures(view) == []


@pytest.mark.parametrize("part", ["flags", "targets", "alertmanagers"])
def test_an_upper_prometheus_is_judged_as_a_replica_is(part):
    view = broken(make_view(), "upper-1", "prometheus-upper", errors={part: "HTTP 500"})
    assert f"prometheus did not answer for its {part}".split()[-1] in only(view).found
    assert only(view).host == "upper-1"


def test_remote_write():
    url = "https://10.0.0.9:9090/api/v1/write"
    site = make_site(prometheus_config={"remote_write": [{"url": url}]})

    def judged(*queues):
        view = make_view(site)
        well = [prometheus.RemoteWrite("a", url, 1.0, 0.0, 0.0, 0.0)]
        view = broken(view, "upper-1", "prometheus-upper", remote_write=well)
        view = broken(view, "prom-2", "prometheus", remote_write=well)
        return only(broken(view, "prom-1", "prometheus", remote_write=list(queues))).found

    assert judged() == f"no remote write to {url}"
    queue = prometheus.RemoteWrite("a", url, None, 7.0, 0.0, 0.0)
    assert "nothing sent yet, 7 samples wait" in judged(queue)
    assert "300 s behind" in judged(replace(queue, behind=300.0))
    assert judged(replace(queue, behind=300.0, failed=5.0)).endswith(", 5 were refused")


def test_a6_stores():
    stores = make_view().seen["query-1"].daemons["thanos-querier"].stores
    wrong = {
        "is not listed": stores[1:],
        "connection refused": [replace(stores[0], last_error="connection refused"), stores[1]],
        "replica=x": [
            replace(stores[0], label_sets=[{"cluster": "main", "replica": "x"}]),
            stores[1],
        ],
    }
    for said, changed in wrong.items():
        view = broken(make_view(), "query-1", "thanos-querier", stores=changed)
        assert (only(view).check, only(view).host) == ("stores", "query-1")
        assert said in only(view).found
    strange = replace(stores[0], name="10.9.9.9:10901")
    view = broken(make_view(), "query-1", "thanos-querier", stores=[*stores, strange])
    assert failures(view) == []
    assert any("10.9.9.9" in r.found for r in checks.judge(view))


def test_a6_stores_of_another_site():
    site = make_site(querier_endpoints=[{"address": "10.8.8.8:10904"}])
    stores = make_view(site).seen["query-1"].daemons["thanos-querier"].stores
    other = replace(stores[0], name="10.8.8.8:10904", kind="query")
    cases = {
        "is not listed": stores,
        "connection refused": [*stores, replace(other, last_error="connection refused")],
        "": [*stores, other],
    }
    for said, found in cases.items():
        view = broken(make_view(site), "query-1", "thanos-querier", stores=found)
        results = [r for r in checks.judge(view) if r.check == "stores"]
        assert [said in r.found and r.host == "query-1" for r in results] == [True] * bool(said)


def test_a6_a_sidecar_without_its_prometheus():
    view = broken(make_view(), "prom-2", "thanos-sidecar", prometheus_up=False)
    assert only(view).host == "prom-2"


def test_a7_deduplication():
    n = len(make_targets(SITE))
    one, two = ({"cluster": "main", "replica": f"replica-0{i}"} for i in (1, 2))
    cases = {
        "dedup off": {"up_raw": answer([(one, n)])},
        "replica-02: 3": {"up_raw": answer([(one, n), (two, 3)])},
        "dedup on": {"up": answer([(one, n), (two, n)])},
        "is 3 with dedup on": {"prometheus_up": answer([({"cluster": "main"}, 3)])},
        "HTTP 422": {"up": Answer(422, "no")},
        "bad_data": {"up": Answer(200, '{"status": "error", "errorType": "bad_data"}')},
        "not an answer": {"up": Answer(200, "[]")},
        "a partial answer: gone": {"up": answer([({"cluster": "main"}, n)], warnings=["gone"])},
    }
    for said, queries in cases.items():
        result = only(asked(make_view(), "query-1", **queries))
        assert (result.check, result.host) == ("queries", "query-1")
        assert said in result.found


def test_a7_counts_our_own_prometheus():
    """And none of the user's targets that has the job of this name; nor one of ours twice."""
    ours = 'up{job="prometheus", instance=~"10[.]0[.]0[.]11:9090|10[.]0[.]0[.]12:9090"}'
    wanted = f"count by (cluster) (count by (cluster, instance) ({promql.fresh(ours, SITE)}))"
    (call,) = (call for call in promql.queries(SITE) if call.name == "prometheus-up")
    assert unquote(call.path).startswith(f"/api/v1/query?query={wanted}&")
    assert call.path in checks.questions(SITE, SITE.hosts["query-1"])


JOURNAL = (
    '2026-11-27T01:00:01+0000 am-1 alertmanager[9]: level=ERROR msg="Notify for alerts failed" num_alerts=1 '
    'err="team/slack[0]: notify retry canceled due to unrecoverable error after 1 attempts: channel \\"#x\\": '
    'unexpected status code 404: no_team"',
    '2026-11-27T01:00:02+0000 am-1 alertmanager[9]: level=WARN msg="Notify attempt failed, will retry later" '
    "receiver=ops integration=webhook[0] attempts=1 "
    'err="Post \\"http://10.9.9.9:80/hook/T0KEN\\": connect: connection refused"',
    '2026-11-27T01:00:03+0000 am-1 alertmanager[9]: level=ERROR msg="Notify for alerts failed" num_alerts=1 '
    'err="another/slack[0]: rate limited"',
)


def notified(*sent: alertmanager.Sent) -> list[Finding]:
    """What verify says of an Alertmanager that sent this."""
    view = broken(make_view(), "am-1", "alertmanager", sent=list(sent))
    seen = {**view.seen, "am-1": replace(view.seen["am-1"], journals={"failed notifications": JOURNAL})}
    return [r for r in checks.judge(View(view.site, seen, view.dead)) if r.check == "notifications"]


def test_failed_notifications_are_a_warning_with_the_last_line_of_the_journal():
    slack, webhook = notified(
        alertmanager.Sent("team", "slack", 2, 2),
        alertmanager.Sent("ops", "webhook", 9, 1),
        alertmanager.Sent("quiet", "email", 3, 0),
    )
    assert {r.severity for r in (slack, webhook)} == {"warn"} and slack.host == "am-1"
    assert "2 of 2 notifications to the receiver team (slack) failed" in slack.found
    assert slack.found.endswith('2026-11-27T01:00:01Z channel "#x": unexpected status code 404: no_team')
    assert 'last: 2026-11-27T01:00:02Z Post "http://10.9.9.9:80/...": connect' in webhook.found
    assert "T0KEN" not in webhook.found


def test_failed_notifications_below_alertmanager_0_27():
    sent = alertmanager.Sent("", "slack", 2, 1), alertmanager.Sent("", "pagerduty", 1, 1)
    slack, pagerduty = notified(*sent)
    assert "1 of 2 notifications to slack failed" in slack.found and "rate limited" in slack.found
    assert "last:" not in pagerduty.found


def test_the_journal_is_asked_with_the_other_questions():
    lines = [MARK + "failed notifications", *JOURNAL]
    assert "journalctl -u alertmanager" in checks.questions(SITE, SITE.hosts["am-1"])
    assert "journalctl" not in checks.questions(SITE, SITE.hosts["prom-1"])
    assert checks.read(SITE.hosts["am-1"], None, lines).journals == {"failed notifications": JOURNAL}


def test_a17_gossip():
    peers = make_view().seen["am-1"].daemons["alertmanager"].peers
    cases = {
        "does not see am-2": {"peers": peers[:1]},
        "gossip is settling": {"cluster_status": "settling"},
        "failed peers: 1": {"failed_peers": 1},
        "did not answer for its metrics": {"errors": {"metrics": "HTTP 500"}},
    }
    for said, changes in cases.items():
        result = only(broken(make_view(), "am-1", "alertmanager", **changes))
        assert (result.check, result.host) == ("gossip", "am-1")
        assert said in result.found
    result = only(broken(make_view(), "am-2", "alertmanager", config_hash=1.0))
    assert "than on am-1" in result.found


def test_a18_alertmanagers_discovered():
    view = broken(make_view(), "prom-1", "prometheus", alertmanagers=["http://10.0.0.21:9093/x"])
    assert "does not send to am-2" in only(view).found


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line.replace("=yes", "=no") for line in CLOCK], "unsynchronised"),
        ([line.replace("=active", "=inactive") for line in CLOCK], "no service"),
    ],
)
def test_clocks(lines, said):
    view = make_view()
    view.seen["am-1"].look.extra["timesync"] = lines
    assert said in only(view).found


def test_a_clock_that_belongs_to_the_containers_host():
    view = make_view()
    view.seen["am-1"].look.extra["timesync"] = [
        line.replace("01ffffffffff", "0000000000ff").replace("=active", "=inactive") for line in CLOCK
    ]
    assert failures(view) == []


def test_a_clock_that_cannot_be_read_is_a_warning():
    view = make_view()
    view.seen["am-1"].look.extra["timesync"] = ["nonsense"]
    assert failures(view) == []
    assert any(r.check == "clock" for r in checks.judge(view))


def test_kernel_values():
    view = make_view()
    view.seen["am-1"].look.sysctl["vm.swappiness"] = "60"
    assert (only(view).found, only(view).wanted) == ("vm.swappiness = 60", "1")


def test_ports_that_connections_may_be_given():
    view = make_view()
    view.seen["am-1"].look.sysctl[topology.RESERVED_PORTS] = "9100"
    assert only(view).found == "net.ipv4.ip_local_reserved_ports = 9100"
    assert only(view).wanted == "9093-9094,9096-9097,9100"


def test_a_file_that_frees_our_ports_at_the_next_boot_is_named():
    view = make_view()
    look = view.seen["am-1"].look
    look.reserved_ports = {
        topology.PORTS_FILE: "8000,9093-9094,9096-9097,9100",
        "/etc/sysctl.d/99-zzz.conf": "8000",
    }
    look.sysctl[topology.RESERVED_PORTS] = "8000,9093-9094,9096-9097,9100"
    assert failures(view) == []
    (warned,) = (r for r in checks.judge(view) if r.check == "sysctl")
    assert warned.found.startswith("at boot /etc/sysctl.d/99-zzz.conf sets ")
    assert warned.wanted == "8000,9093-9094,9096-9097,9100"


def test_a1_a_crash_that_is_over_is_told():
    view = make_view()
    fault = RECEIVE.faults[0]
    crashes = {
        "prometheus": faults.Crashes(2, {fault: 1}),
        "thanos-sidecar": faults.Crashes(1, {fault: 1}),
    }
    view.seen["prom-1"] = replace(view.seen["prom-1"], crashes=crashes)
    assert failures(view) == []
    unknown, known = (one for one in checks.judge(view) if "crashed" in one.found)
    assert (unknown.severity, known.severity) == ("warn", "note")
    assert "prometheus crashed 2 times" in unknown.found and "1 of them unknown" in unknown.found
    assert "systemctl reset-failed prometheus" in unknown.advice
    assert fault.reference in known.found


def test_what_a_check_does_not_understand_fails_that_check_only():
    view = broken(make_view(), "am-1", "alertmanager", peers=None)
    assert only(view).check == "verify"
    assert "gossip: not judged" in only(view).found


def test_a_limited_run_judges_what_it_saw():
    view = make_view()
    limited = replace(view, seen={"query-1": view.seen["query-1"]})
    assert failures(limited) == []
    assert limited.not_asked == ["prom-1", "prom-2", "am-1", "am-2", "upper-1"]
    lines = checks.table(limited, checks.judge(limited))
    assert "not asked (--limit): prom-1, prom-2, am-1, am-2, upper-1" in lines
    assert not any(line.startswith("prom-1") for line in lines)


def test_the_table():
    view = broken(make_view(), "query-1", "thanos-querier", stores=[])
    view.seen["prom-1"].look.units["prometheus"]["NRestarts"] = "3"
    seen = {name: one for name, one in view.seen.items() if name != "am-2"}
    view = replace(view, seen=seen, dead={"am-2"})
    lines = checks.table(view, checks.judge(view))
    assert lines[0].split() == ["HOST", "ROLE", "VERSION", "HEALTH", "ADDRESS"]
    row = next(line for line in lines if line.startswith("prom-1 "))
    assert "ready, restarted 3 times" in row
    assert row.endswith("http://10.0.0.11:9090")
    assert [line.split()[3] for line in lines if line.startswith("am-2 ")] == ["unreachable"] * 3
    assert "unreachable: am-2" in lines
    # What two hosts have in common is said once.
    warned = [line for line in lines if line.startswith("warn  flags")]
    assert len(warned) == 1
    assert "prom-1, prom-2" in warned[0]


def test_an_external_url_is_what_one_opens():
    site = make_site(prometheus_external_url="https://prom.example.org")
    assert {row.address for row in checks.rows(make_view(site)) if row.component == "prometheus"} == {
        "https://prom.example.org"
    }


def test_replay_is_shown():
    view = make_view()
    replay = prometheus.WalReplay(0, 9, 4)
    report = prometheus.Report(ready=False, wal_replay=replay, errors={"ready": "HTTP 503"})
    view.seen["prom-1"].daemons["prometheus"] = report
    assert checks.rows(view)[0].health == "replaying its log, 4 of 9"


def test_questions_and_answers_of_a_host():
    member = SITE.hosts["query-1"]
    script = checks.questions(SITE, member)
    assert "echo '=== thanos-querier'" in script
    assert "http://10.0.0.31:10903" in script
    lines = [
        "=== thanos-querier",
        *("==[name]== ready", "OK", "==[status]== 200"),
        *("==[name]== up", "{}", "==[status]== 500"),
        "=== node_exporter",
        *("==[name]== ready", 'node_exporter_build_info{version="1.12.1"} 1', "==[status]== 200"),
    ]
    seen = checks.read(member, None, lines)
    assert seen.daemons["node_exporter"] == Plain(True, "1.12.1")
    assert seen.daemons["thanos-querier"].ready
    assert seen.answers["up"].status == 500


def test_a_host_that_printed_nothing_has_no_daemon_ready():
    seen = checks.read(SITE.hosts["prom-1"], None, [])
    assert not any(report.ready for report in seen.daemons.values())


# --- The drill ------------------------------------------------------------------------------------


def box(sent, alerts=(), receivers=None) -> Mailbox:
    config = {"receivers": receivers or [{"name": "web.hook", "webhook_configs": [{}]}]}
    made = [
        alertmanager.Alert(
            labels={"alertname": name, **({"drill": drill} if drill else {})},
            annotations={},
            state=state,
            starts_at=0,
            ends_at=1,
            receivers=[receiver],
            fingerprint="",
        )
        for name, drill, state, receiver in alerts
    ]
    return Mailbox(alertmanager.Report(ready=True, config=config, alerts=made), sent)


DRILL = ("DrillTestAlert", "d1", "active", "web.hook")
WATCHDOG = ("Watchdog", "", "active", "watchdog")


def count(before, after):
    others = notifications.other_alerts(after.values(), "d1")
    return notifications.notified(before, after, "d1", others)


def test_notifications_by_receiver_leave_the_watchdog_out():
    hook, dog = ("webhook", "web.hook"), ("webhook", "watchdog")
    before = {"am-1": box({hook: 5, dog: 70}), "am-2": box({hook: 0, dog: 0})}
    alerts = [DRILL, WATCHDOG]
    once = {"am-1": box({hook: 6, dog: 73}, alerts), "am-2": box({hook: 0, dog: 0}, alerts)}
    assert (count(before, once).count, count(before, once).ok) == (1, True)
    twice = {**once, "am-2": box({hook: 1, dog: 0}, alerts)}
    assert (count(before, twice).count, count(before, twice).ok) == (2, False)
    assert not count(before, {"am-1": box({hook: 5, dog: 75}, alerts)}).ok


def test_notifications_without_receiver_are_a_lower_bound_beside_other_alerts():
    key = ("webhook", "")
    before = {"am-1": box({key: 10})}
    result = count(before, {"am-1": box({key: 13}, [DRILL, WATCHDOG])})
    assert result.ok
    assert "Watchdog cannot be told" in str(result)
    assert not count(before, {"am-1": box({key: 10}, [DRILL, WATCHDOG])}).ok
    # Alone, it is exact.
    assert not count(before, {"am-1": box({key: 12}, [DRILL])}).ok
    assert count(before, {"am-1": box({key: 11}, [DRILL])}).ok
    # What is silenced does not notify.
    silenced = ("TargetDown", "", "suppressed", "web.hook")
    assert not count(before, {"am-1": box({key: 12}, [DRILL, silenced])}).ok


def test_an_alert_notifies_once_through_each_integration_of_its_receiver():
    receivers = [{"name": "web.hook", "webhook_configs": [{}, {}], "slack_configs": [{}]}]
    sent = {("webhook", "web.hook"): 2, ("slack", "web.hook"): 1}
    before = {"am-1": box(dict.fromkeys(sent, 0))}
    assert count(before, {"am-1": box(sent, [DRILL], receivers)}).ok
    assert not count(before, {"am-1": box(sent, [DRILL])}).ok


def test_the_mailbox_of_an_alertmanager():
    lines = [
        *("==[name]== ready", "OK", "==[status]== 200"),
        *("==[name]== alerts", "[]", "==[status]== 200"),
        "==[name]== sent",
        'alertmanager_notifications_total{integration="webhook",receiver_name="a"} 2',
        'alertmanager_notifications_total{integration="slack"} 1',
        "==[status]== 200",
    ]
    assert notifications.read_mailbox(lines).sent == {("webhook", "a"): 2, ("slack", ""): 1}
