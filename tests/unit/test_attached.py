"""A sidecar beside a Prometheus that is not ours: what it is told, and what it finds lacking there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prometheus_ha.deploys import base, logrotate
from prometheus_ha.deploys.lib import roles
from prometheus_ha.deploys.lib.engine import flags, units
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.roles import querier as querier_role
from prometheus_ha.deploys.lib.roles import sidecar
from prometheus_ha.deploys.lib.roles.attached_checks import DELAY, MAX_BLOCK, MIN_BLOCK
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey import checks, preflight
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.facts.reports import prometheus, thanos
from prometheus_ha.facts.reports.survey import Holder
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK, run_site
from tests.unit.test_gates import answer, gate, refused
from tests.unit.test_preflight import blank
from tests.unit.test_units import lines

DATA = Path(__file__).parent / "data" / "facts"
HOST = "side-1"


def member(**data):
    site = example_site(storage=True, **data)
    return site, site.hosts[HOST]


# --- Settings -------------------------------------------------------------------------------------


def findings(*groups, **data) -> str:
    given = {"ssh_hostname": "10.0.0.1", "replica": "a", **data}
    try:
        site_from_dicts({"a": {"groups": groups, "data": given}})
    except SettingsErrors as error:
        return str(error)
    return ""


def test_the_data_directory_is_required():
    assert "attached_data_dir" in findings("sidecar")
    assert findings("sidecar", attached_data_dir="/srv/prometheus") == ""


def test_a_host_has_one_prometheus():
    said = findings("prometheus", "sidecar", attached_data_dir="/srv/prometheus")
    assert "prometheus and sidecar" in said and "somebody else" in said


@pytest.mark.parametrize("path", ["data", "/tmp/data", "/srv/../etc", "/srv/a b", "/dev/shm"])
def test_paths_that_no_unit_could_see(path):
    assert "attached_data_dir" in findings("sidecar", attached_data_dir=path)


def test_accounts():
    assert Settings(attached_user=65534).attached_user == "65534"
    assert Settings(attached_data_dir="/srv/prometheus/").attached_data_dir == "/srv/prometheus"
    for user in ("", "a b", "-x", "$(id)", True, 1.5):
        with pytest.raises(ValueError, match="attached_user"):
            Settings(attached_user=user)


# --- Flags and unit -------------------------------------------------------------------------------


def test_its_flags_are_a_sidecars():
    site, side = member(attached_url="http://127.0.0.1:9091/prom")
    words = flags.argv("thanos-sidecar-attached", site, side, BLANK)
    assert words == [
        "/usr/local/bin/thanos",
        "sidecar",
        "--tsdb.path=/srv/prometheus",
        "--prometheus.url=http://127.0.0.1:9091/prom",
        "--prometheus.ready_timeout=1h",
        "--objstore.config-file=/etc/thanos/sidecar/bucket.yml",
        "--grpc-address=0.0.0.0:10901",
        "--http-address=0.0.0.0:10902",
        "--log.level=info",
    ]


def test_a_password_of_that_prometheus_is_the_users_to_give():
    client = {"prometheus.http-client-file": "/etc/thanos/client.yml"}
    assert flags.problems("thanos-sidecar-attached", Settings(sidecar_flags=client)) == []
    inline = {"prometheus.http-client": "basic_auth: ..."}
    assert flags.problems("thanos-sidecar-attached", Settings(sidecar_flags=inline))


def unit(**data) -> dict[str, list[str]]:
    site = example_site(storage=True)
    side = site.hosts[HOST]
    given = side.settings.model_copy(update=data)
    site.hosts[HOST] = side = type(side)(side.name, given, side.groups, side.address)
    return lines(units.unit("thanos-sidecar-attached", site, side, BLANK).text)


def test_it_runs_as_the_owner_of_the_data_and_writes_there_alone():
    found = unit()
    assert (found["User"], found.get("Group")) == (["prometheus"], None)
    assert found["SupplementaryGroups"] == ["prometheus thanos-sidecar-attached"]
    assert found["ReadWritePaths"] == ["/srv/prometheus"]
    assert (found["PrivateUsers"], found["ProtectHome"]) == (["yes"], ["yes"])
    assert not any("prometheus.service" in value for value in found["After"])


def test_a_containers_account_is_a_number():
    found = unit(attached_user="65534", bucket_config=None)
    assert (found["User"], found["Group"]) == (["65534"], ["65534"])
    assert found["SupplementaryGroups"] == ["prometheus"], "which reads our directories"


def test_data_below_a_home():
    found = unit(attached_data_dir="/home/prom/data")
    assert found["ProtectHome"] == ["read-only"], "what is hidden cannot be made writable"


def test_nothing_of_that_prometheus_is_in_it(monkeypatch):
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY"):
        monkeypatch.setenv(name, "hunter2hunter2")
    site, side = member()
    wanted = sidecar.component(site, side, BLANK)
    places = {*wanted.files, *wanted.directories}
    assert places == {
        "/etc/thanos",
        "/etc/thanos/sidecar",
        "/etc/thanos/sidecar/bucket.yml",
        "/etc/systemd/system/thanos-sidecar.service",
    }
    assert wanted.files["/etc/thanos/sidecar/bucket.yml"].group == "thanos-sidecar-attached"
    # A distribution's package has these.
    rest = [base.component(site, side, BLANK), logrotate.component(site, side, BLANK)]
    places = {name for one in rest for name in (*one.files, *one.directories)}
    assert not {"/var/log/prometheus", "/etc/logrotate.d/prometheus"} & places
    assert {"/var/log/monitoring", "/etc/logrotate.d/monitoring"} <= places
    assert "'prometheus'" not in rest[1].files[topology.RSYSLOG_FILE].content


def test_a_bucket_that_is_a_directory_is_tried_as_that_account():
    from prometheus_ha.deploys.lib.common import bucket

    given = {"type": "FILESYSTEM", "config": {"directory": "/srv/blocks"}}
    _, side = member(bucket_config=given)
    assert '--reuid=prometheus --regid="$(id -g prometheus)"' in bucket.trial(side, side.components[0])
    _, side = member(bucket_config=given, attached_user="65534")
    assert "--reuid=65534 --regid=65534" in bucket.trial(side, side.components[0])


# --- The site -------------------------------------------------------------------------------------


def test_queriers_ask_it_and_every_prometheus_scrapes_it():

    site, side = member()
    assert "10.0.0.91:10901" in str(querier_role.endpoints_yml(site, site.hosts["query-1"]))
    jobs = {job["job_name"] for job in configuration.prometheus_yml(site, site.hosts["prom-1"])["scrape_configs"]}
    assert {"thanos-sidecar", "thanos-sidecar-attached"} <= jobs
    dialled = {e.target for e in site.dials(site.hosts["query-1"])}
    assert {"10.0.0.91:10901", "10.0.0.91:10902"} <= dialled


def test_it_does_its_job_once_it_sees_its_prometheus():
    judge = gate(member()[0], roles.sidecar.gate, HOST).judge
    assert judge([*answer("ready"), *answer("metrics", "thanos_sidecar_prometheus_up 1")]).ok
    blind = judge([*answer("ready"), *answer("metrics", "thanos_sidecar_prometheus_up 0")])
    assert not blind.ok and "does not see" in blind.says
    assert not judge(refused("ready")).ok


@pytest.mark.parametrize(
    ("report", "check"),
    [
        (thanos.SidecarReport(True, prometheus_up=False), "stores"),
        (thanos.SidecarReport(True, prometheus_up=True, upload_failures=3), "uploads"),
        (thanos.SidecarReport(True, prometheus_up=True, uploads=0, upload_failures=0), None),
    ],
)
def test_verify_says_what_is_wrong(report, check):
    seen = {HOST: checks.Seen(None, {"thanos-sidecar-attached": report})}
    given = member(prometheus_retention_time="2h")[0]
    found = {r.check for r in checks.judge(checks.View(given, seen)) if r.host == HOST}
    assert found - {"unit", "settings"} == ({check} if check else set())


# --- Preflight ------------------------------------------------------------------------------------

DEBIAN = (DATA / "attached_debian12.txt").read_text().splitlines()
"""Debian's own Prometheus as it is installed, 2.42."""

DIRECTORY = ["owner 104 prometheus", "account 104", "tsdb", "access"]
TSDB = "storage.tsdb.path"
FLAGS = {
    "config.file": "/etc/prometheus/prometheus.yml",
    TSDB: "/srv/prometheus",
    MIN_BLOCK: "2h",
    MAX_BLOCK: "2h",
}


def api(name, data) -> list[str]:
    return answer(name, json.dumps({"status": "success", "data": data}))


def said(version="2.45.0", labels="{cluster: old, replica: a}", directory=DIRECTORY, **given):
    """What a host says of its Prometheus; `given` are flags of it."""
    return [
        *directory,
        *api("buildinfo", {"version": version}),
        *api("flags", {**FLAGS, **given}),
        *api("config", {"yaml": f"global:\n  external_labels: {labels}\n"}),
        *answer("metrics", f'prometheus_build_info{{version="{version}"}} 1'),
    ]


def judged(answers, holders=(), **data):
    site = example_site(storage=True, **data)
    seen = {HOST: blank(site, HOST, asked={"attached": answers}, holders=list(holders))}
    return preflight.judge(preflight.View(site, seen, {HOST: BLANK}))


def one(results):
    assert len(results) == 1, results
    assert (results[0].host, results[0].check) == (HOST, "attached")
    return results[0]


def test_one_that_has_it_all():
    assert judged(said()) == []


def test_debians_own_as_it_is_installed():
    blocks, labels = judged(DEBIAN, attached_data_dir="/var/lib/prometheus/metrics2")
    assert (blocks.severity, labels.severity) == ("fail", "warn")
    assert blocks.found == f"{MIN_BLOCK} 2h, {MAX_BLOCK} 1d12h"
    assert f"--{MIN_BLOCK}=2h --{MAX_BLOCK}=2h" in blocks.advice
    assert DELAY not in blocks.advice, "which it does not know"
    assert labels.found == "external labels monitor, without cluster and replica"
    assert "/etc/prometheus/prometheus.yml" in labels.advice
    report = prometheus.parse_attached(DEBIAN)
    assert report.version.startswith("2.42.0")


def test_samples_out_of_order_need_a_compactor_that_merges():
    late = "{cluster: old, replica: a}\nstorage: {tsdb: {out_of_order_time_window: 30m}}"
    found = one(judged(said(labels=late)))
    assert found.severity == "warn" and "30m" in found.found and "compactor_vertical" in found.wanted
    assert judged(said(labels=late), compactor_vertical=True) == []
    assert judged(said(labels=late), bucket_config=None) == []


def test_only_a_bucket_needs_blocks_of_one_length():
    found = judged(DEBIAN, attached_data_dir="/var/lib/prometheus/metrics2", bucket_config=None)
    assert one(found).severity == "warn"


@pytest.mark.parametrize(
    ("answers", "severity", "words"),
    [
        ([*DIRECTORY, *refused("buildinfo")], "fail", "attached_url"),
        ([*DIRECTORY, *answer("buildinfo", "no", 401)], "fail", "http-client-file"),
        ([*DIRECTORY, *answer("buildinfo", "<html>")], "fail", "not understood"),
        (said(labels="[a]"), "fail", "not understood"),
        (said(**{TSDB: 3}), "fail", "not understood"),
        (said(3), "fail", "not understood"),
        (said("2.2.0"), "fail", "2.2.1 or newer"),
        (said(labels="{}"), "fail", "a sidecar exits"),
        (said(labels="{cluster: old}"), "warn", "without replica"),
        (said(labels="{replica: a}"), "warn", "without cluster"),
        (said(labels="{cluster: main, replica: replica-01}"), "fail", "labels of prom-1"),
        (said(**{MAX_BLOCK: "36h"}), "fail", "min-block-duration=2h"),
        (said(**{TSDB: "/prometheus"}), "warn", "container"),
        (said(directory=[]), "fail", "/srv/prometheus is not there"),
        (said(directory=["owner 0 root", "account 104"]), "fail", "no write-ahead log"),
        (said(directory=["owner 104 prometheus", "account ", "tsdb"]), "fail", "no account"),
        (said(directory=[*DIRECTORY, "real /home/data"]), "fail", "is a link to /home/data"),
        (
            said(directory=["owner 65534 nobody", "account 104", "tsdb"]),
            "fail",
            'attached_user = "nobody"',
        ),
        (
            said(directory=["owner 1001 UNKNOWN", "account 104", "tsdb"]),
            "fail",
            'attached_user = "1001"',
        ),
        (said(directory=DIRECTORY[:3]), "fail", "namei -l /srv/prometheus"),
    ],
)
def test_what_is_lacking_is_named_with_the_way_out(answers, severity, words):
    result = one(judged(answers))
    assert result.severity == severity
    assert words in f"{result.found} {result.wanted} {result.advice}"


def test_a_path_below_a_working_directory_that_is_not_said():
    assert judged(said(**{TSDB: "prometheus/"})) == []
    assert one(judged(said(**{TSDB: "data/"}))).severity == "warn"


def test_versions_before_the_api_say_them_in_a_metric():
    old = [
        *DIRECTORY,
        *answer("buildinfo", "404 page not found", 404),
        *said("2.2.1")[len(DIRECTORY) + len(api("buildinfo", {"version": "2.2.1"})) :],
    ]
    assert judged(old) == []
    assert prometheus.parse_attached(old).version == "2.2.1"


def test_one_that_waits_for_the_upload_may_compact():
    path = "/srv/prometheus/thanos.shipper.json"
    delay = {DELAY: path, MAX_BLOCK: "36h"}
    assert judged(said("3.15.0", **delay)) == []
    assert judged(said("3.15.0", **delay), release="reference"), "a Thanos that does not know it"
    delay[DELAY] = "/elsewhere/thanos.shipper.json"
    result = one(judged(said("3.15.0", **delay)))
    assert f"--{DELAY}={path}" in result.advice


def test_an_outage_of_somebody_elses_does_not_stop_the_site():
    holder = Holder(
        *("tcp", 10902, "::", 7, "thanos", "/opt/thanos-0.42.5.linux-amd64/thanos"),
        "thanos-sidecar.service",
    )
    result = one(judged([*DIRECTORY, *refused("buildinfo")], [holder]))
    assert result.severity == "warn"


def test_it_is_asked_on_such_hosts_only():
    site, side = member(attached_user="65534")
    script = preflight.questions(site, side)
    assert "setpriv --reuid=65534" in script and "http://127.0.0.1:9090/api/v1/status/flags" in script
    for name in ("prom-1", "query-1", "block-1"):
        assert "status/flags" not in preflight.questions(site, site.hosts[name])


# --- A run ----------------------------------------------------------------------------------------


def test_a_run_attaches_and_the_next_one_has_nothing_to_do(tmp_path, monkeypatch):
    from tests.unit.recorded import print_survey

    inventory = """
sidecar = [("a", {"ssh_hostname": "10.1.0.1", "attached_data_dir": "/srv/prometheus"})]
querier = [("q", {"ssh_hostname": "10.1.0.2"})]
"""
    answers = "\n".join(["", "--- asked attached", *said()])

    def survey(script):
        return print_survey(script) + (answers if "--- asked attached" in script else "")

    hosts: dict = {}

    def run():
        return run_site(
            *(tmp_path, monkeypatch),
            inventory=inventory,
            surveys=dict.fromkeys("aq", survey),
            hosts=hosts,
        )

    first = run()
    assert first.rc == 0, first.output
    assert "sidecar: turn of a" in first.order
    assert any("systemctl restart thanos-sidecar" in script for script in first.commands["a"])
    again = run()
    assert again.rc == 0 and set(again.commands["a"]) == {"look"}, again.commands["a"]
