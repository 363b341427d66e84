"""The object store, where it is a MinIO of ours."""

import pytest

from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.daemons.objectstores import MINIO_CERTS, MINIO_ENV, MINIO_KEYS_DIR
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.suites.ask import listing
from prometheus_ha.suites.daemon import Daemon
from prometheus_ha.suites.inventory import site as the_site
from prometheus_ha.suites.keys import assert_rights

COMPONENT = "minio"


class TestDaemon(Daemon):
    def test_configuration_is_for_it_to_read_and_not_to_write(self, host, member, info):
        inner = MINIO_KEYS_DIR
        files = {f"{inner}/{name}.policy" for name in bucket.RIGHTS}
        files |= {f"{inner}/users", f"{inner}/mc.json"}
        certificates = (MINIO_CERTS, f"{MINIO_CERTS}/CAs")
        found = listing(member, info.config_dir, MINIO_ENV, *certificates, inner, *files)
        assert found == {
            **dict.fromkeys((info.config_dir, *certificates), f"d 750 root:{topology.GROUP}"),
            MINIO_ENV: f"f 640 root:{COMPONENT}",
            inner: "d 700 root:root",
            **dict.fromkeys(files, "f 600 root:root"),
        }
        # Other daemons of the host run as the same user, and are not in the group.
        become = f"setpriv --reuid={topology.USER} --regid={topology.GROUP} --clear-groups"
        for path in (MINIO_ENV, f"{inner}/users"):
            assert host.run(f"cd / && {become} cat {path}").rc != 0


def test_it_knows_the_keys_of_the_site_and_no_other(host, member):
    keys = resolve(member.settings.bucket_keys)
    work = host.check_output("mktemp -d")
    script = (
        f"cp {MINIO_KEYS_DIR}/mc.json {work}/config.json; "
        f"{topology.BIN_DIR}/mc --config-dir {work} --json admin user list site | tr '{{}},' '\\n'; rm -r {work}"
    )
    lines = [line.split('"') for line in host.check_output(script).splitlines()]
    values = [(parts[1], parts[3]) for parts in lines if len(parts) > 3]
    users = [value for key, value in values if key == "accessKey"]
    policies = [value for key, value in values if key == "policyName"]
    wanted = {(key["access_key"], name) for name, key in keys.items() if name != bucket.ADMIN}
    assert set(zip(users, policies, strict=True)) == wanted


def test_the_journal_has_no_key_and_no_crash(host, member):
    journal = host.check_output(f"journalctl -u {COMPONENT} -o cat")
    assert "panic:" not in journal
    for key in resolve(member.settings.bucket_keys).values():
        assert key["secret_key"] not in journal


@pytest.mark.parametrize("name", [name for name in bucket.RIGHTS if the_site().running(name)])
def test_a_key_may_do_what_its_component_does_and_no_more(member, name):
    assert_rights(member, name)
