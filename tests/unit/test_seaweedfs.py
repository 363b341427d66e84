"""The object store of ours: its files, and what a real one lets each key do."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import random
import signal
import socket
import ssl
import subprocess
import tarfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pyinfra_cli  # noqa: F401 - it patches ssl: before requests
import pytest
import requests

from prometheus_ha.deploys.lib import roles
from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.daemons import BUCKET_GROUPS, DAEMONS
from prometheus_ha.deploys.lib.daemons.objectstores import (
    SEAWEEDFS_DATA,
    SEAWEEDFS_DIR,
    SEAWEEDFS_KEYS,
    SEAWEEDFS_PEM,
    SEAWEEDFS_SECURITY,
)
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.roles import seaweedfs
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site import releases, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from tests.lab import archives
from tests.unit.recorded import BLANK, INVENTORY, run_site
from tests.unit.simulated import Host

NAMES = (*bucket.RIGHTS, bucket.ADMIN)
KEYS = {name: {"access_key": f"secret:env:A_{i}", "secret_key": f"secret:env:S_{i}"} for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module", autouse=True)
def secrets():
    with pytest.MonkeyPatch.context() as patch:
        for i, name in enumerate(NAMES):
            patch.setenv(f"A_{i}", f"access-{name}")
            patch.setenv(f"S_{i}", f"secret-of-{name}")
        patch.setenv("OTHER", "another-secret")
        yield


def member(**data) -> Member:
    inner = {"bucket": "blocks", "endpoint": "10.0.0.31:8333", "insecure": True}
    given = {"bucket_config": {"type": "S3", "config": inner}, "bucket_keys": KEYS, **data}
    groups = ("seaweedfs", "store", "compactor", "bucket_web", "prometheus", "rule", "receive")
    return Member("store-1", Settings(**given), groups, "127.0.0.1")


# --- Files ----------------------------------------------------------------------------------------


def component(**data):
    only = member(**data)
    return seaweedfs.component(Site({only.name: only}), only, BLANK)


def test_keys_are_for_its_own_unit_alone():
    found = component()
    for path in (SEAWEEDFS_KEYS, SEAWEEDFS_PEM):
        file = found.files[path]
        assert (file.mode, file.owner, file.group) == ("640", "root", "seaweedfs")
    unit = found.files["/etc/systemd/system/seaweedfs.service"].content
    assert "User=prometheus\n" in unit and "SupplementaryGroups=seaweedfs\n" in unit
    assert "seaweedfs" in BUCKET_GROUPS
    [service] = found.services
    assert service.loaded == (SEAWEEDFS_KEYS,)
    assert service.started == (SEAWEEDFS_SECURITY,)
    assert "secret-of" not in unit
    assert found.links == {
        "/usr/local/bin/weed": f"/opt/seaweedfs-{member().settings.version('seaweedfs')}.linux-amd64/weed"
    }


def test_each_key_has_the_rights_of_its_component():
    found = json.loads(component().files[SEAWEEDFS_KEYS].content)
    policies = {p["name"]: json.loads(p["content"])["Statement"] for p in found["policies"]}
    for identity in found["identities"]:
        name = identity["name"]
        pair = {"accessKey": f"access-{name}", "secretKey": f"secret-of-{name}"}
        assert identity == {"name": name, "credentials": [pair], "policyNames": [name]}
        [statement] = policies[name]
        rights = bucket.RIGHTS.get(name, ())
        assert ("s3:DeleteObject" in statement["Action"]) == (bucket.DELETE in rights)
        assert ("s3:PutObject" in statement["Action"]) == (bucket.WRITE in rights)
        assert ("s3:CreateBucket" in statement["Action"]) == (name == bucket.ADMIN)
        assert statement["Resource"] == ["arn:aws:s3:::blocks", "arn:aws:s3:::blocks/*"]
    assert [identity["name"] for identity in found["identities"]] == list(NAMES)


def test_the_same_keys_make_the_same_files():
    assert component().files == component().files
    other = component(bucket_keys={**KEYS, "admin": {**KEYS["admin"], "secret_key": "secret:env:OTHER"}})
    assert other.files[SEAWEEDFS_PEM] != component().files[SEAWEEDFS_PEM]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"thanos-store": {"access_key": "secret:env:VARIABLE", "secret_key": "secret:env:S_1"}},
            "variable",
        ),
        (
            {"thanos-store": KEYS["thanos-rule"], "thanos-rule": KEYS["thanos-rule"]},
            "same access_key",
        ),
        ({}, "no key"),
    ],
)
def test_keys_that_it_would_misread_are_refused(keys, said, monkeypatch):
    monkeypatch.setenv("VARIABLE", "a${HOME}")
    with pytest.raises(ValueError, match="bucket_keys") as raised:
        component(bucket_keys=keys)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, None),
        ({"bucket_config": None}, "bucket_config: found another, or none"),
        ({"bucket_config": {"type": "GCS", "config": {"bucket": "b"}}}, "bucket_config: found another"),
        ({"bucket_keys": {}}, "bucket_keys.thanos-store: found nothing"),
        ({"bucket_keys": {**KEYS, "thanos-rule": {"access_key": "secret:env:A_1"}}}, "found access_key"),
        ({"bucket_keys": {**KEYS, "thanos-rule": KEYS["admin"]}}, "the access_key of thanos-rule"),
    ],
)  # fmt: skip
def test_a_site_is_refused_whose_components_it_could_not_tell_apart(data, said):
    inner = {"bucket": "b", "endpoint": "10.0.0.9:8333", "insecure": True}
    given = {"bucket_config": {"type": "S3", "config": inner}, "bucket_keys": KEYS, **data}
    hosts = {"store-1": {"groups": ["seaweedfs", "store"], "data": {"ssh_hostname": "10.0.0.9", **given}}}
    if said is None:
        assert site_from_dicts(hosts)
        return
    with pytest.raises(SettingsErrors) as raised:
        site_from_dicts(hosts)
    assert said in str(raised.value)


# --- A real one -----------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Ports that are free, as are those 10000 above them; none that the kernel gives to a connection meanwhile."""
    found: list[int] = []
    for port in random.sample(range(10000, 22000), 12000):
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10000))
            found.append(port)
        if len(found) == count:
            break
    return found


@pytest.fixture(scope="module")
def weed(tmp_path_factory) -> Path:
    """The program, of the archive that the lab's hosts get."""
    version = releases.resolve("current")["seaweedfs"]
    try:
        mirror = archives.ensure([("seaweedfs", version)])
    except archives.ArchiveError as error:
        pytest.skip(f"no SeaweedFS for this machine: {error}")
    place = tmp_path_factory.mktemp("weed")
    archive = releases.archive("seaweedfs", version, platform.machine())
    with tarfile.open(mirror / archive.path) as tar:
        tar.extractall(place, filter="data")
    return place / "weed"


@pytest.fixture(scope="module")
def server(weed, tmp_path_factory):
    """One that runs with our command line and files, on ports of its own; the bucket is not made yet."""
    top = tmp_path_factory.mktemp("seaweedfs")
    ports = free_ports(5)
    inner = {f"{name}.port": port for name, port in zip(("master", "volume", "filer"), ports, strict=False)}
    store = {"bucket": "blocks", "endpoint": f"127.0.0.1:{ports[3]}", "insecure": True}
    only = member(
        bucket_config={"type": "S3", "config": store},
        seaweedfs_port=ports[3],
        seaweedfs_metrics_port=ports[4],
        seaweedfs_flags={"s3.ip.bind": "127.0.0.1", "metricsIp": "127.0.0.1", **inner},
    )
    site = Site({only.name: only})

    def moved(text: str) -> str:
        for path, place in (
            (SEAWEEDFS_DATA, top / "data"),
            (SEAWEEDFS_DIR, top / "etc"),
        ):
            text = text.replace(path, str(place))
        return text

    def write(one: Member) -> None:
        for path, file in seaweedfs.component(site, one, BLANK).files.items():
            if path.startswith(SEAWEEDFS_DIR):
                Path(moved(path)).write_text(moved(file.content))

    (top / "data").mkdir()
    (top / "etc").mkdir()
    write(only)
    argv = [str(weed), *map(moved, flags.argv("seaweedfs", site, only, BLANK)[1:])]
    with (top / "log").open("w") as log:
        process = subprocess.Popen(argv, cwd=top, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{ports[3]}"
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{url}/healthz", timeout=5).ok:
                    break
            assert process.poll() is None and time.monotonic() < until, (top / "log").read_text()
            time.sleep(0.2)
        yield SimpleNamespace(member=only, ports=ports, pid=process.pid, write=write, log=top / "log")
    finally:
        process.kill()  # it takes 17 s to end by itself
        process.wait()
        for path in Path("/tmp").glob("seaweedfs-*.sock"):
            if any(path.stem.endswith(f"-{port + more}") for port in ports for more in (0, 10000)):
                path.unlink()


def signer(server, name: str, **config) -> bucket.Signer:
    common = server.member.settings.bucket_config
    own = {"access_key": f"access-{name}", "secret_key": f"secret-of-{name}"}
    return bucket.Signer({**common, "config": {**common["config"], **own, **config}})


def ask(method: str, url: str, data: bytes = b"") -> str:
    answer = requests.request(method, url, data=data, timeout=30)
    code = answer.text.partition("<Code>")[2].partition("</Code>")[0]
    return f"{answer.status_code} {code}".strip()


def test_the_trial_of_each_key_passes_and_makes_the_bucket_once(server):
    sidecar = signer(server, "thanos-sidecar")
    assert ask("GET", sidecar.url("GET", query="list-type=2")) == "404 NoSuchBucket"
    for _ in range(2):
        for name in bucket.RIGHTS:
            script = bucket.trial(server.member, name)
            done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, ""), name


DENIED = "403 AccessDenied"


@pytest.fixture
def kept(server) -> str:
    """An object in the bucket."""
    writer = signer(server, "thanos-sidecar")
    with contextlib.suppress(AssertionError):
        ask("PUT", signer(server, bucket.ADMIN).url("PUT"))
    assert ask("PUT", writer.url("PUT", "block/meta.json"), b"{}") == "200"
    return "block/meta.json"


@pytest.mark.parametrize("name", NAMES)
def test_a_key_may_do_what_its_component_does_and_no_more(server, kept, name):
    asks, rights = signer(server, name), bucket.RIGHTS.get(name, ())
    reader = signer(server, "thanos-store")

    def wanted(right: str, answer: str) -> str:
        return answer if right in rights else DENIED

    assert ask("GET", asks.url("GET", query="list-type=2")) == wanted(bucket.LIST, "200")
    assert ask("GET", asks.url("GET", query="location=")) == wanted(bucket.LIST, "200")
    assert ask("GET", asks.url("GET", kept)) == wanted(bucket.READ, "200")
    assert ask("GET", asks.url("GET", "none")) == wanted(bucket.READ, "404 NoSuchKey")
    assert ask("PUT", asks.url("PUT", f"by/{name}"), b"x") == wanted(bucket.WRITE, "200")
    upload = asks.url("POST", f"parts/{name}", "uploads=")
    assert ask("POST", upload) == wanted(bucket.WRITE, "200")
    # Keys in the body of a request that is allowed as such: each of them is judged.
    batch = f"<Delete><Object><Key>{kept}</Key></Object></Delete>".encode()
    ask("POST", asks.url("POST", query="delete="), batch)
    there = "404 NoSuchKey" if bucket.DELETE in rights else "200"
    assert ask("GET", reader.url("GET", kept)) == there
    assert ask("PUT", signer(server, "thanos-sidecar").url("PUT", kept), b"{}") == "200"
    assert ask("DELETE", asks.url("DELETE", kept)) == wanted(bucket.DELETE, "204")
    assert ask("GET", reader.url("GET", kept)) == there
    # What nobody may.
    assert ask("DELETE", asks.url("DELETE")) == DENIED
    policy = b'{"Version": "2012-10-17", "Statement": []}'
    assert ask("PUT", asks.url("PUT", query="policy="), policy) == DENIED
    assert ask("PUT", signer(server, name, bucket="other").url("PUT")) == DENIED


def test_a_stranger_may_nothing(server, kept):
    asks = signer(server, "stranger")
    assert ask("GET", asks.url("GET", kept)) == "403 InvalidAccessKeyId"
    wrong = signer(server, "thanos-store", secret_key="wrong")
    assert ask("GET", wrong.url("GET", kept)) == "403 SignatureDoesNotMatch"
    for path in ("/", "/blocks", f"/blocks/{kept}"):
        assert ask("GET", f"http://127.0.0.1:{server.ports[3]}{path}") == DENIED


def test_an_upload_in_parts_and_its_end(server, kept):
    asks = signer(server, "thanos-receive")
    begun = requests.post(asks.url("POST", "large", "uploads="), timeout=30).text
    upload = begun.partition("<UploadId>")[2].partition("</UploadId>")[0]
    part = requests.put(asks.url("PUT", "large", f"partNumber=1&uploadId={upload}"), data=b"x" * 100, timeout=30)
    tag = part.headers["ETag"]
    listed = f"<Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    assert ask("POST", asks.url("POST", "large", f"uploadId={upload}"), body) == "200"
    assert requests.get(asks.url("GET", "large"), timeout=30).content == b"x" * 100
    other = requests.post(asks.url("POST", "left", "uploads="), timeout=30).text
    upload = other.partition("<UploadId>")[2].partition("</UploadId>")[0]
    assert ask("DELETE", asks.url("DELETE", "left", f"uploadId={upload}")) == "204"


def test_the_ports_in_between_listen_on_loopback_alone(server):
    for port in server.ports[:3]:
        for each in (port, port + 10000):
            socket.create_connection(("127.0.0.1", each), timeout=10).close()
            # Of this machine too, and what listens on all addresses listens on it.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", each), timeout=10)


def test_the_gateways_grpc_port_answers_to_nobody(server):
    """By it everybody could make himself a key."""
    place = ("127.0.0.1", server.ports[3] + 10000)
    with socket.create_connection(place, timeout=10) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        with contextlib.suppress(ConnectionError):
            assert plain.recv(9)[3:4] != b"\4", "it speaks gRPC without TLS"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(place, timeout=10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError), match="certificate required|reset"),
        context.wrap_socket(plain) as tls,
    ):
        tls.recv(9)


def test_a_reload_takes_keys_away(server, kept):
    store, rule = signer(server, "thanos-store"), signer(server, "thanos-rule")
    listing = "list-type=2"
    assert ask("GET", store.url("GET", query=listing)) == "200"
    keys = {**KEYS, "thanos-rule": {**KEYS["thanos-rule"], "secret_key": "secret:env:OTHER"}}
    del keys["thanos-store"]
    settings = server.member.settings.model_copy(update={"bucket_keys": keys})
    server.write(dataclasses.replace(server.member, settings=settings))
    os.kill(server.pid, signal.SIGHUP)
    until = time.monotonic() + 10
    while ask("GET", store.url("GET", query=listing)) == "200" and time.monotonic() < until:
        time.sleep(0.1)
    assert ask("GET", store.url("GET", query=listing)) == "403 InvalidAccessKeyId"
    assert ask("GET", rule.url("GET", query=listing)) == "403 SignatureDoesNotMatch"
    new = signer(server, "thanos-rule", secret_key="another-secret")
    assert ask("GET", new.url("GET", query=listing)) == "200"
    server.write(server.member)
    os.kill(server.pid, signal.SIGHUP)
    until = time.monotonic() + 10
    while ask("GET", store.url("GET", query=listing)) != "200":
        assert time.monotonic() < until
        time.sleep(0.1)


# --- The role -------------------------------------------------------------------------------------

RECORDED = INVENTORY + 'seaweedfs = [("store-1", host(41))]\n'
DATA = f"""
bucket_config = {{"type": "S3", "config": {{"bucket": "b", "endpoint": "10.1.0.41:8333", "insecure": True}}}}
bucket_keys = {KEYS!r}
"""


def test_it_stands_after_one_run_and_another_changes_nothing(tmp_path, monkeypatch):
    hosts: dict[str, Host] = {}
    run = partial(run_site, tmp_path, monkeypatch, inventory=RECORDED, hosts=hosts)
    done = run(data=DATA)
    assert done.rc == 0, done.output
    assert done.order.index("seaweedfs: turn of store-1") < done.order.index("prometheus: turn of prom-1")
    assert "secret-of" not in done.output
    again = run(data=DATA)
    assert again.rc == 0 and not again.said[True].busy
    reloaded = run(data=DATA.replace("secret:env:S_1", "secret:env:OTHER"))
    assert "reload seaweedfs" in reloaded.output and "restart seaweedfs" not in reloaded.output


# --- The gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["==[name]== s3", "==[exit]== 7"], "S3: "),
        (["==[name]== s3", "==[status]== 503"], "S3: HTTP 503"),
        (["==[name]== s3", "==[status]== 200"], "no volume server yet"),
        (
            [
                *("==[name]== s3", "==[status]== 200", "==[name]== metrics"),
                *('SeaweedFS_master_received_heartbeats{type="total"} 3', "==[status]== 200"),
            ],
            None,
        ),
    ],
)
def test_the_gate_opens_once_it_can_store(lines, says):
    only = member()
    gate = roles.seaweedfs.gate(Site({only.name: only}), only, only)
    assert "http://127.0.0.1:8333/healthz" in gate.script
    seen = gate.judge(lines)
    assert seen.ok == (says is None)
    assert says is None or says in seen.says


@pytest.mark.parametrize("component", ["seaweedfs", "thanos-store"])
def test_its_metrics_are_asked_without_tls_and_password(component):
    hash_ = "$2y$10$" + "a" * 53
    only = member(
        web_config={
            "tls_server_config": {"cert_file": "host.pem", "key_file": "host.pem"},
            "basic_auth_users": {"site": hash_},
        },
        web_client={
            "tls_config": {"ca_file": "ca.crt"},
            "basic_auth": {"username": "site", "password": "secret:env:OTHER"},
        },
    )
    site = Site({only.name: only})
    jobs = {job["job_name"]: job for job in configuration.prometheus_yml(site, only)["scrape_configs"]}
    asked = component != "seaweedfs"
    job = jobs[DAEMONS[component].job_name]
    assert (job.get("scheme") == "https", "basic_auth" in job) == (asked, asked)
    url, options = web.curl(site.endpoint(component, only), only.settings)
    assert (url.startswith("https"), bool(options)) == (asked, asked)
