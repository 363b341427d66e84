"""The object store, where it is one of ours."""

import json

import pytest

from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.daemons.objectstores import SEAWEEDFS_KEYS, SEAWEEDFS_PEM, SEAWEEDFS_SECURITY
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.suites.ask import eventually, listing, metrics
from prometheus_ha.suites.daemon import Daemon, expected_listeners, look
from prometheus_ha.suites.inventory import site as the_site
from prometheus_ha.suites.keys import assert_rights

COMPONENT = "seaweedfs"
KEYS = (SEAWEEDFS_KEYS, SEAWEEDFS_PEM)


class TestDaemon(Daemon):
    def test_listens_on_its_ports_and_no_other(self, site, member, component):
        """On those of the master, the filer and the volume server as well: on loopback, and nowhere else."""
        s3 = site.endpoint(component, member, "s3").port
        # The gateway's gRPC listens where S3 does, and lets nobody in (tests/unit/test_seaweedfs.py).
        wanted = expected_listeners(site, member, component) | {("tcp", s3 + 10000)}

        def check():
            process = look(member, component)
            rows = [row.split() for row in process.parts["sockets"]]
            own = f"pid={process.unit['MainPID']},"
            places = [row[4].rpartition(":") for row in rows if own in row[-1]]
            assert {("tcp", int(port)) for where, _, port in places if where != "127.0.0.1"} == wanted

        eventually(check, 15)

    def test_configuration_is_for_it_to_read_and_not_to_write(self, host, member, info):
        found = listing(member, info.config_dir, SEAWEEDFS_SECURITY, *KEYS)
        assert found == {
            info.config_dir: f"d 750 root:{topology.GROUP}",
            SEAWEEDFS_SECURITY: f"f 640 root:{topology.GROUP}",
            **dict.fromkeys(KEYS, f"f 640 root:{COMPONENT}"),
        }
        # Other daemons of the host run as the same user, and are not in the group.
        become = f"setpriv --reuid={topology.USER} --regid={topology.GROUP} --clear-groups"
        for path in KEYS:
            assert host.run(f"cd / && {become} cat {path}").rc != 0


def test_it_can_store(member):
    [(_, leader)] = metrics(member, COMPONENT, "SeaweedFS_master_is_leader")
    assert leader == 1
    assert sum(value for _, value in metrics(member, COMPONENT, "SeaweedFS_volumeServer_max_volumes"))


def test_it_knows_the_keys_of_the_site_and_no_other(host, member):
    text = host.file(SEAWEEDFS_KEYS).content_string
    found = {
        (pair["accessKey"], identity["name"])
        for identity in json.loads(text)["identities"]
        for pair in identity["credentials"]
    }
    keys = resolve(member.settings.bucket_keys)
    assert found == {(key["access_key"], name) for name, key in keys.items()}


def test_the_journal_has_no_key_and_no_crash(host, member):
    journal = host.check_output(f"journalctl -u {COMPONENT} -o cat")
    assert "panic:" not in journal
    for key in resolve(member.settings.bucket_keys).values():
        assert key["secret_key"] not in journal


@pytest.mark.parametrize("name", [name for name in bucket.RIGHTS if the_site().running(name)])
def test_a_key_may_do_what_its_component_does_and_no_more(member, name):
    """The bucket is made by the first component that is deployed."""
    assert_rights(member, name)
