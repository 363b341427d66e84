"""The bucket: whose key goes where, what is tried with it, how a refusal reads, and which settings are refused."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from prometheus_ha.deploys.lib import roles
from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.roles import receive as receive_role
from prometheus_ha.deploys.lib.roles import uploads
from prometheus_ha.deploys.lib.site.members import Member
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey import checks, preflight
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.deploys.lib.survey.preflight import View
from prometheus_ha.facts.reports import survey, thanos
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK
from tests.unit.test_gates import answer, gate, refused

S3 = {"type": "S3", "config": {"bucket": "blocks", "endpoint": "10.0.0.9:8333", "insecure": True}}
KEYS = {"access_key": "secret:env:BUCKET_KEY", "secret_key": "secret:env:BUCKET_SECRET"}
SECRET = "a-secret-of-the-bucket"


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("BUCKET_KEY", "AKIA123456")
    monkeypatch.setenv("BUCKET_SECRET", SECRET)


def member(config=S3, names=(*bucket.RIGHTS, bucket.ADMIN), **data) -> Member:
    settings = Settings(bucket_config=config, bucket_keys=dict.fromkeys(names, KEYS), **data)
    return Member("host-1", settings, ("store",), "10.0.0.1")


# --- Whose key ------------------------------------------------------------------------------------


def test_each_component_has_its_own_key_over_what_all_share():
    own = {"access_key": "secret:env:A", "secret_key": "secret:env:B"}
    settings = Settings(bucket_config=S3, bucket_keys={"thanos-store": own})
    found = bucket.config_of(Member("a", settings, ("store",), "10.0.0.1"), "thanos-store")
    assert found == {"type": "S3", "config": {**S3["config"], **own}}
    other = bucket.config_of(Member("a", settings, ("store",), "10.0.0.1"), "thanos-compactor")
    assert other == S3
    assert bucket.config_of(Member("a", Settings(), ("store",), "10.0.0.1"), "thanos-store") is None


def test_a_host_gets_no_key_but_its_components(monkeypatch):
    from prometheus_ha.deploys.lib.roles import store
    from tests.unit.recorded import BLANK

    for name in bucket.RIGHTS:
        monkeypatch.setenv(f"{name[7:].upper().replace('-', '_')}_SECRET", f"secret-of-{name}")
    each = {
        name: {
            "access_key": "secret:env:BUCKET_KEY",
            "secret_key": f"secret:env:{name[7:].upper().replace('-', '_')}_SECRET",
        }
        for name in bucket.RIGHTS
    }
    site = example_site(storage=True, bucket_config=S3, bucket_keys=each)
    wanted = store.component(site, site.hosts["block-2"], BLANK)
    text = "".join(file.content for file in wanted.files.values())
    assert re.findall(r"secret-of-[\w-]+", text) == ["secret-of-thanos-store"]
    file = wanted.files["/etc/thanos/store/bucket.yml"]
    assert (file.mode, file.owner, file.group) == ("640", "root", "thanos-store")
    unit = wanted.files["/etc/systemd/system/thanos-store.service"].content
    assert "\nSupplementaryGroups=thanos-store\n" in unit


# --- Trying it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("component", "methods"),
    [
        ("thanos-store", ["GET", "GET"]),
        ("thanos-sidecar", ["GET", "PUT", "GET"]),
        ("thanos-compactor", ["GET", "PUT", "GET", "DELETE"]),
    ],
)
def test_what_is_tried_is_what_it_will_do(component, methods):
    script = bucket.trial(member(names=bucket.RIGHTS), component)
    assert re.findall(r"^ask (\w+) ", script, re.M) == methods
    for url in re.findall(r'url = "(.*)"', script):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc) == ("http", "10.0.0.9:8333")
        assert parts.path == "/blocks" or parts.path.startswith("/blocks/debug/monitoring/host-1-")
        assert parse_qs(parts.query)["X-Amz-Expires"] == [str(bucket.VALID_SECONDS)]
    assert SECRET not in script, "what is signed with is not what is sent"


def test_no_url_is_an_argument():
    """A presigned URL is good for minutes to whoever has it."""
    script = bucket.trial(member(), "thanos-sidecar")
    for line in script.splitlines():
        assert "X-Amz-Signature" not in line or line.startswith('url = "')


def test_the_bucket_is_in_the_name_for_aws_and_below_the_prefix():
    config = {
        "type": "S3",
        "config": {"bucket": "b", "endpoint": "s3.eu-west-1.amazonaws.com", "region": "eu-west-1"},
        "prefix": "site/a",
    }
    script = bucket.trial(member(config), "thanos-sidecar")
    urls = re.findall(r'url = "(.*)"', script)
    assert {urlsplit(url).netloc for url in urls} == {"b.s3.eu-west-1.amazonaws.com"}
    assert any(urlsplit(url).path.startswith("/site/a/debug/") for url in urls)
    assert all("eu-west-1%2Fs3" in url for url in urls)


CURL = """#!/bin/sh
# What a store would say, and what it was asked.
while [ $# -gt 0 ]; do case $1 in -X) method=$2;; esac; shift; done
cat >>"$ASKED"
eval "set -- $ANSWERS"
for each in "$@"; do
    case $each in "$method "*) each=${each#* };; *) continue;; esac
    status=${each%%:*} code=${each#*:}
    if [ "$status" = dead ]; then echo "curl: (7) $code" >&2; exit 7; fi
    if [ -n "$code" ]; then
        echo "<?xml version='1.0'?><Error><Code>$code</Code></Error>"
    fi
    printf '\\n%s' "$status"
    exit 0
done
printf '\\n200'
"""


def tried(tmp_path: Path, component: str, answers: list[str], **more) -> tuple[int, str]:
    """The trial against a curl that answers as told: exit status, and what it says."""
    curl = tmp_path / "curl"
    curl.write_text(CURL)
    curl.chmod(curl.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run(
        ["sh", "-eu", "-c", bucket.trial(member(**more), component)],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "ANSWERS": " ".join(f"'{each}'" for each in answers),
            "ASKED": str(tmp_path / "asked"),
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stderr


GOOD = ["PUT 200:", "DELETE 204:"]


def test_a_key_that_can_is_taken(tmp_path):
    assert tried(tmp_path, "thanos-compactor", GOOD) == (0, "")


def test_a_store_gateway_reads_what_is_not_there(tmp_path):
    """Listing is answered first; the object that it reads need not exist."""
    assert tried(tmp_path, "thanos-store", ["GET 200:"]) == (0, "")


@pytest.mark.parametrize(
    ("component", "answers", "says"),
    [
        ("thanos-store", ["GET 403:InvalidAccessKeyId"], "does not know the key of thanos-store"),
        ("thanos-store", ["GET 403:SignatureDoesNotMatch"], "or its secret is another"),
        (
            "thanos-store",
            ["GET 403:AccessDenied"],
            "the key of thanos-store may not list the bucket",
        ),
        ("thanos-store", ["GET 403:RequestTimeTooSkewed"], "the clock"),
        ("thanos-sidecar", ["PUT 403:AccessDenied"], "the key of thanos-sidecar may not write"),
        ("thanos-compactor", ["PUT 200:", "DELETE 403:AccessDenied"], "may not delete"),
        ("thanos-store", ["GET dead:refused"], "10.0.0.9:8333 does not answer: curl: (7) refused"),
        ("thanos-store", ["GET 404:"], "is it an S3 server?"),
    ],
)
def test_each_refusal_has_its_own_words(tmp_path, component, answers, says):
    status, said = tried(tmp_path, component, answers, names=bucket.RIGHTS)
    assert status != 0 and says in said


def test_a_bucket_that_is_missing(tmp_path):
    answers = ["GET 404:NoSuchBucket"]
    status, said = tried(tmp_path, "thanos-store", answers, names=bucket.RIGHTS)
    assert status != 0 and "there is no bucket blocks at 10.0.0.9:8333" in said
    status, said = tried(tmp_path, "thanos-store", [*answers, "PUT 403:AccessDenied"])
    assert status != 0 and "the admin key cannot make the bucket blocks" in said


def test_other_providers_are_asked_for_a_list_by_thanos_itself():
    gcs = {"type": "GCS", "config": {"bucket": "b"}}
    assert "tools bucket ls" in bucket.trial(member(gcs, names=()), "thanos-store")
    role = {"type": "S3", "config": {"bucket": "b", "endpoint": "e", "aws_sdk_auth": True}}
    assert "tools bucket ls" in bucket.trial(member(role, names=()), "thanos-store")


def test_a_directory():
    directory = {"type": "FILESYSTEM", "config": {"directory": "/srv/blocks"}}
    assert "test -w /srv/blocks" in bucket.trial(member(directory, names=()), "thanos-sidecar")
    assert "test -r /srv/blocks" in bucket.trial(member(directory, names=()), "thanos-store")


# --- Settings -------------------------------------------------------------------------------------


def site(*, everywhere=None, **hosts):
    """A site of a pair, and of hosts named with their groups and data."""
    found = {
        f"prom-{n}": {
            "groups": ["prometheus"],
            "data": {"ssh_hostname": f"10.0.0.1{n}", "replica": str(n), **(everywhere or {})},
        }
        for n in (1, 2)
    }
    for number, (name, (groups, data)) in enumerate(hosts.items()):
        data = {"ssh_hostname": f"10.0.1.{number}", **(everywhere or {}), **data}
        found[name] = {"groups": groups, "data": data}
    return site_from_dicts(found)


def failures(**given) -> dict[str, str]:
    """What is refused: key -> what was found."""
    try:
        site(**given)
    except SettingsErrors as errors:
        return {f.check: f.found for f in errors.findings if f.severity == "fail"}
    return {}


STORED = {"bucket_config": S3, "bucket_keys": dict.fromkeys(bucket.RIGHTS, KEYS)}


def test_a_second_compactor_is_refused():
    hosts = {name: (["compactor"], {}) for name in ("a", "b")}
    assert failures(everywhere=STORED, **hosts) == {"group compactor": "a second compactor for the bucket of a"}


def test_a_part_without_a_bucket_is_refused():
    assert set(failures(a=(["store"], {}))) == {"bucket_config"}


def test_another_bucket_on_one_host_is_refused():
    other = {"type": "S3", "config": {**S3["config"], "bucket": "others"}}
    found = failures(everywhere=STORED, a=(["store"], {"bucket_config": other}))
    assert found == {"bucket_config": "another bucket than on prom-1"}


WINDOW = "prometheus_config.storage.tsdb.out_of_order_time_window"
FLAG = "receive_flags.tsdb.out-of-order.time-window"


@pytest.mark.parametrize(
    ("vertical", "window", "release", "found"),
    [
        (False, "30m", "current", {(WINDOW, "fail"), (FLAG, "fail")}),
        (True, "30m", "current", set()),
        (False, "0s", "current", set()),
        (False, "0", "current", set()),
        # Blocks would be merged before they are uploaded.
        (True, "30m", "migration", {(WINDOW, "fail"), ("compactor_vertical", "fail")}),
        (None, "30m", "current", {(WINDOW, "warn"), (FLAG, "warn")}),
    ],
)
def test_samples_out_of_order_need_a_compactor_that_merges(vertical, window, release, found):
    """With the flag that upstream demands, which nobody has to spell; `None`: the compactor is somebody else's."""
    data = {
        "bucket_config": S3,
        "release": release,
        "prometheus_config": {"storage": {"tsdb": {"out_of_order_time_window": window}}},
        "receive_flags": {"tsdb.out-of-order.time-window": window},
        "compactor_vertical": bool(vertical),
        "receive_replication": 1,
    }
    groups = ["prometheus", "receive", *([] if vertical is None else ["compactor"])]
    hosts = {
        f"{group}-1": {"groups": [group], "data": {"ssh_hostname": f"10.0.0.{n}", **data}}
        for n, group in enumerate(groups, 1)
    }
    hosts["prometheus-1"]["data"]["replica"] = "a"
    keys = {WINDOW, FLAG, "compactor_vertical"}
    try:
        site = site_from_dicts(hosts)
    except SettingsErrors as error:
        assert {(f.check, f.severity) for f in error.findings if f.check in keys} == found
        return
    assert {(f.check, f.severity) for f in site.findings if f.check in keys} == found
    for member in site.running("thanos-compactor"):
        given = flags.argv("thanos-compactor", site, member, BLANK)
        assert ("--compact.enable-vertical-compaction" in given) is vertical


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"compactor_retention_raw": "1d"}, "compactor_retention_raw"),
        ({"compactor_retention_5m": "5d"}, "compactor_retention_5m"),
        ({"compactor_retention_raw": "1d", "compactor_downsampling": False}, None),
        ({"compactor_retention_raw": "40h", "compactor_retention_5m": "10d"}, None),
    ],
)
def test_retention_that_forbids_downsampling_is_refused(data, key):
    found = failures(everywhere=STORED, a=(["compactor"], data))
    assert set(found) == ({key} if key else set())


def test_a_directory_on_several_hosts_must_be_one():
    directory = {"bucket_config": {"type": "FILESYSTEM", "config": {"directory": "/srv/blocks"}}}
    assert "bucket_config" in failures(everywhere=directory, a=(["store"], {}))
    shared = {**directory, "bucket_directory_shared": True}
    assert failures(everywhere=shared, a=(["store"], {})) == {}


def test_one_key_for_all_and_nobody_who_reads_are_warnings():
    one = {"bucket_config": {"type": "S3", "config": {**S3["config"], **KEYS}}}
    keys = {f.check for f in site(everywhere=one, a=(["compactor"], {})).findings}
    assert {"bucket_keys", "group store"} <= keys
    keys = {f.check for f in site(everywhere=STORED, a=(["compactor", "store"], {})).findings}
    assert not {"bucket_keys", "group store", "group compactor"} & keys


def test_a_time_that_nobody_serves_is_refused():
    given = {**STORED, "prometheus_retention_time": "1d"}
    assert "store_max_time" in failures(everywhere=given, a=(["store"], {"store_max_time": "-2d"}))
    assert failures(everywhere=given, a=(["store"], {"store_max_time": "-6h"})) == {}


def test_unknown_names_of_keys():
    with pytest.raises(ValueError, match="did you mean thanos-store"):
        Settings(bucket_keys={"thanos-stor": {}})


# --- Gates and verify -----------------------------------------------------------------------------


def test_gates_of_long_term_storage():
    given = example_site(storage=True)
    store = gate(given, roles.store.gate, "block-1").judge
    assert store([*answer("ready"), *answer("metrics", "thanos_bucket_store_blocks_loaded 3")]).ok
    loading = [
        *answer("ready", status=503),
        *answer("metrics", "thanos_bucket_store_blocks_loaded 3"),
    ]
    more = [*answer("ready", status=503), *answer("metrics", "thanos_bucket_store_blocks_loaded 4")]
    assert not store(loading).ok and store(loading).measure != store(more).measure
    compactor = gate(given, roles.compactor.gate, "block-1").judge
    assert compactor([*answer("ready"), *answer("metrics", "thanos_compact_halted 0")]).ok
    halted = compactor([*answer("ready"), *answer("metrics", "thanos_compact_halted 1")])
    assert not halted.ok and "halted" in halted.says
    frontend = gate(given, roles.query_frontend.gate, "front-1").judge
    assert frontend([*answer("ready"), *answer("metrics"), *answer("query", "{}")]).ok
    alone = frontend([*answer("ready"), *answer("metrics"), *answer("query", "", 502)])
    assert not alone.ok and "502" in alone.says
    assert not frontend(refused("ready")).ok


@pytest.mark.parametrize(
    ("host", "component", "report", "check"),
    [
        ("block-1", "thanos-compactor", thanos.Report(True, values={thanos.HALTED: 1}), "compaction"),
        ("block-1", "thanos-store", thanos.Report(True, values={thanos.BLOCKS_FAILED: 2}), "blocks"),
        ("front-1", "thanos-query-frontend", thanos.Report(True), "frontend"),
        ("prom-1", "thanos-sidecar", thanos.SidecarReport(True, upload_failures=3), "uploads"),
    ],
)
def test_verify_says_what_is_wrong(host, component, report, check):
    given = example_site(storage=True)
    view = checks.View(given, {host: checks.Seen(None, {component: report})})
    assert check in {result.check for result in checks.judge(view)}


def test_a_short_local_retention_is_a_warning_until_uploads_are_proven():
    given = example_site(prometheus_retention_time="2h")

    def found(**report) -> set[str]:
        seen = checks.Seen(None, {"thanos-sidecar": thanos.SidecarReport(True, **report)})
        return {r.severity for r in checks.judge(checks.View(given, {"prom-1": seen})) if r.check == "uploads"}

    assert found() == {"warn"}
    assert found(last_upload=time.time(), upload_failures=2) == set()
    assert found(last_upload=time.time() - 86400) == {"warn"}


@pytest.mark.parametrize(("host", "component"), [("prom-1", "thanos-sidecar"), ("ring-1", "thanos-receive")])
def test_a_run_warns_of_a_short_local_retention_until_uploads_are_proven(host, component):
    def found(lines: list[str], **settings) -> list[str]:
        given = example_site(storage=True, **settings)
        seen = {host: survey.Host(asked={f"uploads {component}": lines})}
        return [r.found for r in uploads.judge(View(given, seen))]

    def said(**values) -> list[str]:
        page = "\n".join(f"thanos_{name} {value}" for name, value in values.items())
        return [*answer("ready"), *answer("metrics", page)]

    kept = {uploads.LOCAL[component]: "2h"}
    last = "objstore_bucket_last_successful_upload_time"
    given = example_site(storage=True, **kept)
    assert f"uploads {component}" in preflight.questions(given, given.hosts[host])
    failed = {"objstore_bucket_operation_failures_total": 3}
    assert found(said(**{last: time.time() - 7200}, **failed), **kept) == []
    [text] = found(said(**{last: 0}), **kept)
    assert "dropped after 2h" in text and text.endswith("nothing was uploaded since it was started")
    [text] = found(said(**{last: time.time() - 5 * 3600}, **failed), **kept)
    assert "5 hours ago, and 3 operations on the bucket failed" in text
    assert "not ready" in found([], **kept)[0]
    assert found([], **{uploads.LOCAL[component]: "6h"}) == []
    assert found([], **kept, bucket_config=None) == []


def test_the_hashring_and_the_ruler_know_everyone():

    given = example_site(storage=True)
    (ring,) = json.loads(receive_role.hashrings_json(given))
    assert ring["endpoints"] == [f"10.0.0.7{n}:10907" for n in (1, 2, 3)]
