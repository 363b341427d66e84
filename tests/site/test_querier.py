"""Every querier: it asks every store, and shows each series once."""

import pytest
import yaml

from prometheus_ha.deploys.lib.common import promql
from prometheus_ha.deploys.lib.daemons.thanos import ENDPOINTS_FILE
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.suites.ask import api, eventually, query
from prometheus_ha.suites.daemon import Daemon
from prometheus_ha.suites.inventory import fresh, jobs, only, up
from prometheus_ha.suites.inventory import site as the_site

COMPONENT = "thanos-querier"
PROMETHEUS = the_site().members("prometheus")
# What was scraped, not what came by remote write.
UP = up(*PROMETHEUS, more=promql.SCRAPED)
FRESH = fresh(*PROMETHEUS, more=promql.SCRAPED)
# Its list of stores follows the file; and a replica that just started has to scrape first.
PATIENCE = 10 + max(
    [
        3 * seconds(m.settings.scrape_interval) + seconds(m.settings.timing.endpoint_reload)
        for m in the_site().members("prometheus")
    ]
    or [0]
)


class TestDaemon(Daemon):
    pass


WHO = ("job", "instance", "host", CLUSTER_LABEL, REPLICA_LABEL)


def labels(samples):
    """The labels of samples that tell one target of ours from another, in a form that sorts: the user may add more."""
    return sorted(
        sorted((name, value) for name, value in sample["metric"].items() if name in WHO) for sample in samples
    )


def expected(replica_labels):
    """The label sets of `up` over all clusters, with the replica's label or without."""
    found = [
        sorted(
            {
                **{"job": job, "instance": target, "host": host.name},
                CLUSTER_LABEL: m.settings.cluster,
                **({REPLICA_LABEL: m.settings.replica} if replica_labels else {}),
            }.items()
        )
        for m in PROMETHEUS
        for job, targets in jobs(m).items()
        for host, target in targets
    ]
    return sorted(found) if replica_labels else sorted(map(list, {tuple(each) for each in found}))


def test_stores_are_those_of_the_inventory(site, member):
    wanted = {site.endpoint(name, m, "grpc").target: derived.store_labels(name, m) for name, m in site.stores()}

    def check():
        stores = [s for kind in api(member, COMPONENT, "/api/v1/stores").values() for s in kind]
        ours = [store for store in stores if store["name"] in wanted]
        assert {s["name"]: s["lastError"] for s in ours} == dict.fromkeys(wanted)
        for store in ours:
            if labels := wanted[store["name"]]:
                [found] = store["labelSets"]
                assert labels.items() <= found.items()

    eventually(check, PATIENCE)


@only(lambda member, _: derived.endpoints_file(member))
def test_stores_come_from_the_file(host, site, member):
    entries = yaml.safe_load(host.file(ENDPOINTS_FILE).content_string)["endpoints"]
    assert entries == derived.endpoints(site, member)


def test_without_deduplication_every_replica_is_seen(member):
    def check():
        assert labels(query(member, COMPONENT, FRESH, dedup="false")) == expected(True)

    eventually(check, PATIENCE)


def test_with_deduplication_every_series_is_one(member):
    def check():
        assert labels(query(member, COMPONENT, FRESH, dedup="true")) == expected(False)

    eventually(check, PATIENCE)


def test_it_deduplicates_unasked(member):
    def check():
        assert labels(query(member, COMPONENT, FRESH)) == expected(False)

    eventually(check, PATIENCE)


def test_everything_is_up(member):
    def check():
        samples = query(member, COMPONENT, f"({UP}) and ({FRESH})", dedup="true")
        down = [sample["metric"] for sample in samples if sample["value"] != 1]
        assert samples and not down

    eventually(check, PATIENCE)


def test_it_counts_every_prometheus(site, member):
    wanted = {cluster: len(replicas) for cluster, replicas in site.clusters.items()}

    def check():
        found = query(member, COMPONENT, promql.prometheus_up(site), dedup="true")
        assert {s["metric"][CLUSTER_LABEL]: s["value"] for s in found} == wanted

    eventually(check, PATIENCE)


@pytest.mark.parametrize("dedup", ["true", "false"])
def test_no_answer_is_partial(member, dedup):
    """A store that fails is an error here, not a warning beside half an answer."""

    def check():
        assert query(member, COMPONENT, UP, dedup=dedup, partial_response="false")

    eventually(check, PATIENCE)
