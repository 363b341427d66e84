"""Every receiver: a member of one hashring, in which each sample is kept as often as it should be."""

import json

from prometheus_ha.deploys.lib.daemons.thanos import RECEIVE_HASHRINGS
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles import receive as receive_role
from prometheus_ha.deploys.lib.site import derived, relations
from prometheus_ha.deploys.lib.site.settings import REPLICA_LABEL
from prometheus_ha.suites.ask import eventually, metric, metrics, query
from prometheus_ha.suites.daemon import Daemon
from prometheus_ha.suites.inventory import only
from prometheus_ha.suites.inventory import site as the_site

COMPONENT = "thanos-receive"
LABEL = relations.REPLICA_LABELS[COMPONENT]


class TestDaemon(Daemon):
    pass


def writes(member):
    """The URLs of this site's hashring that a Prometheus writes to."""
    targets = [the_site().endpoint(COMPONENT, m, "remote_write").target for m in ring()]
    return [
        entry["url"]
        for entry in member.settings.prometheus_config.get("remote_write", [])
        if any(target in str(entry.get("url")) for target in targets)
    ]


def ring():
    return the_site().running(COMPONENT)


def senders():
    return [m for m in the_site().members("prometheus") if writes(m)]


def test_the_ring_is_that_of_the_inventory(host, site, member):
    text = host.file(RECEIVE_HASHRINGS).content_string
    assert text == receive_role.hashrings_json(site)
    [found] = json.loads(text)
    assert site.endpoint(COMPONENT, member, "grpc").target in found["endpoints"]


def test_the_ring_is_loaded_and_the_same_on_all(member):
    def check():
        nodes = [value for _, value in metrics(member, COMPONENT, "thanos_receive_hashring_nodes")]
        assert nodes == [len(ring())]
        assert metric(member, COMPONENT, "thanos_receive_config_last_reload_successful") == 1
        hashes = {metric(m, COMPONENT, "thanos_receive_config_hash") for m in ring()}
        assert len(hashes) == 1

    eventually(check, 10 + seconds(member.settings.timing.endpoint_reload))


def test_replication_is_the_inventorys(member):
    wanted = member.settings.receive_replication
    assert metric(member, COMPONENT, "thanos_receive_replication_factor") == wanted


@only(lambda member, _: derived.uploads(member))
def test_no_upload_has_failed(member):
    failed = metrics(member, COMPONENT, "thanos_shipper_upload_failures_total")
    assert not any(value for _, value in failed)


@only(lambda member, _: bool(senders()) and member.settings.receive_replication == len(ring()))
def test_it_has_what_every_sender_writes(site, member):
    """Where each member keeps each sample."""

    def check():
        for querier in site.members("querier"):
            found = query(
                querier,
                "thanos-querier",
                f'count by ({REPLICA_LABEL}) ({{{LABEL}="{derived.replica_of(member)}",{REPLICA_LABEL}!=""}})',
                dedup="false",
            )
            replicas = {sample["metric"][REPLICA_LABEL] for sample in found}
            assert {m.settings.replica for m in senders()} <= replicas

    eventually(check, 30)
