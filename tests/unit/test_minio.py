"""MinIO: what its unit and its files hold; tests/odd has the real one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from prometheus_ha.deploys.lib import roles
from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.daemons import MINIO
from prometheus_ha.deploys.lib.daemons.objectstores import MINIO_ENV, MINIO_KEYS, MINIO_KEYS_DIR
from prometheus_ha.deploys.lib.engine.component import Component
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.roles import minio
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK

NAMES = (*bucket.RIGHTS, bucket.ADMIN)
KEYS = {
    name: {"access_key": f"secret:env:ACCESS_{n}", "secret_key": f"secret:env:SECRET_{n}"}
    for n, name in enumerate(NAMES)
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch) -> Callable[..., None]:
    """Keys in the environment; called, it gives one another value."""

    def give(name: str, access: str, secret: str) -> None:
        monkeypatch.setenv(f"ACCESS_{NAMES.index(name)}", access)
        monkeypatch.setenv(f"SECRET_{NAMES.index(name)}", secret)

    for name in NAMES:
        give(name, f"access-{name}", f"secret-of-{name}")
    return give


def component(**data: Any) -> Component:
    site = example_site(storage=True, bucket_keys=KEYS, **data)
    return minio.component(site, site.running("minio")[0], BLANK)


def test_root_alone_reads_what_mc_reads():
    found = component().files
    for path, file in found.items():
        if path.startswith(MINIO_KEYS_DIR):
            assert (file.mode, file.owner, file.group) == ("600", "root", "root"), path
    env = found[MINIO_ENV]
    assert (env.mode, env.owner, env.group) == ("640", "root", "minio")
    assert env.content == ("MINIO_ROOT_USER=access-admin\nMINIO_ROOT_PASSWORD=secret-of-admin\n")
    for path in ("/etc/systemd/system/minio.service", MINIO_KEYS):
        assert "secret-of" not in found[path].content


def test_each_key_has_the_policy_of_its_component():
    found = component().files
    users = found[f"{MINIO_KEYS_DIR}/users"].content.splitlines()
    assert users == [f"{name} access-{name} secret-of-{name}" for name in bucket.RIGHTS]
    for name, rights in bucket.RIGHTS.items():
        document = json.loads(found[f"{MINIO_KEYS_DIR}/{name}.policy"].content)
        (statement,) = document["Statement"]
        assert ("s3:DeleteObject" in statement["Action"]) == (bucket.DELETE in rights)
        assert ("s3:PutObject" in statement["Action"]) == (bucket.WRITE in rights)
        assert statement["Resource"] == ["arn:aws:s3:::blocks", "arn:aws:s3:::blocks/*"]


def test_keys_are_a_reload_and_the_root_user_a_restart():
    (service,) = component().services
    assert service.loaded == (MINIO_KEYS_DIR, MINIO_KEYS)
    assert service.started == (MINIO_ENV,)


def test_its_client_is_installed_beside_it():
    links = component().links
    assert set(links) == {"/usr/local/bin/minio", "/usr/local/bin/mc"}
    assert links["/usr/local/bin/mc"].startswith("/opt/mc-RELEASE.")


@pytest.mark.parametrize(
    ("access", "secret", "words"),
    [
        ("ab", "long-enough", "bucket_keys.thanos-store.access_key: found 'ab', expected: 3 to"),
        ("two words", "long-enough", "bucket_keys.thanos-store.access_key"),
        ("access", "short", "bucket_keys.thanos-store.secret_key: found 5 characters"),
        ("access", "with a space", "bucket_keys.thanos-store.secret_key"),
        ("access-admin", "long-enough", "two components have the same access_key"),
    ],
)
def test_a_key_that_it_would_refuse_is_refused_before(secrets, access, secret, words):
    secrets("thanos-store", access, secret)
    with pytest.raises(ValueError, match=words) as refused:
        component()
    assert secret not in str(refused.value)


def test_without_a_root_user_nothing_is_connected():
    keys = {name: key for name, key in KEYS.items() if name != bucket.ADMIN}
    data = {
        "ssh_hostname": "10.0.0.9",
        "bucket_config": {"type": "S3", "config": {"bucket": "b", "endpoint": "10.0.0.9:9000"}},
        "bucket_keys": keys,
    }
    with pytest.raises(SettingsErrors, match=r"bucket_keys\.admin: found nothing"):
        site_from_dicts({"min-1": {"groups": ["minio", "store"], "data": data}})


def test_the_tool_is_a_shell_script():
    script = component().files[MINIO_KEYS]
    assert script.mode == "755"
    done = subprocess.run(["sh", "-n"], input=script.content, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_gate_asks_whether_it_can_store():
    site = example_site(storage=True, bucket_keys=KEYS)
    member = site.running("minio")[0]
    gate = roles.minio.gate(site, member, member)
    assert "/minio/health/cluster" in gate.script

    def judged(status: str) -> bool:
        return gate.judge(["==[name]== health", f"==[status]== {status}"]).ok

    assert judged("200") and not judged("503")


def test_verify_reads_its_version():
    page = 'minio_software_version_info{server="x",version="2025-09-07T16:13:09Z"} 0'
    report = MINIO.parse(["==[name]== ready", page, "==[status]== 200"])
    assert report.ready and report.version == "2025-09-07T16:13:09Z"
