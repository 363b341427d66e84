"""Every query frontend: queries go through it, and come back from its cache."""

from prometheus_ha.deploys.lib.common import promql
from prometheus_ha.suites.ask import api, eventually, metrics, query
from prometheus_ha.suites.daemon import Daemon
from prometheus_ha.suites.inventory import only, selectors

COMPONENT = "thanos-query-frontend"


class TestDaemon(Daemon):
    pass


def test_a_query_through_it_is_answered(member):
    assert [sample["value"] for sample in query(member, COMPONENT, "vector(1)")] == [1]


def test_it_answers_as_the_queriers_do(site, member):
    own = selectors(*site.members("prometheus"), more=promql.SCRAPED)["node_exporter"]
    counted = f"count by (job) (count by (job,instance) ({promql.fresh(own, site)}))"

    def check():
        through = {s["metric"]["job"]: s["value"] for s in query(member, COMPONENT, counted)}
        assert through == {"node_exporter": len(site.hosts)}

    eventually(check, 30)


@only(lambda member, _: bool(member.settings.frontend_cache))
def test_what_was_asked_before_comes_from_its_cache(member):
    def hits():
        # By release it is called the one or the other.
        names = ("cortex_cache_hits", "cortex_cache_hits_total")
        return sum(v for name in names for _, v in metrics(member, COMPONENT, name))

    def check():
        before = hits()
        # Of years ago: what is younger than a minute is not kept.
        end = 1_700_000_000
        for _ in range(2):
            api(
                *(member, COMPONENT, "/api/v1/query_range"),
                **{"query": "vector(7)", "start": str(end - 3600), "end": str(end), "step": "60"},
            )
        assert hits() > before

    eventually(check, 10)
