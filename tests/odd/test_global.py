"""One view of several sites: a querier over queriers."""

from __future__ import annotations

from typing import Any

from tests.drills.site import get, shell, wait_for
from tests.lab import plan
from tests.odd.site import PROMETHEUS, VERIFY, Groups, blank, deployed, run

ONE, OTHER = "odd-1", "odd-2"
QUERIER = "10904"


def site(host: str, cluster: str, endpoints: list[dict[str, Any]]) -> Groups:
    """A site of one host: a Prometheus and a querier, which asks others as well."""
    data = {**PROMETHEUS, "cluster": cluster, "querier_endpoints": endpoints}
    return {"prometheus": {host: data}, "querier": {host: data}}


def seen(host: str) -> tuple[dict[str, int], list[str]]:
    """Cluster -> how many Prometheus its querier has of it; warnings."""
    address = plan.LAB.address(host)
    url = f"http://{address}:10903/api/v1/query?query=count by (cluster) (up{{job='prometheus'}})"
    answer = get(url)
    counts = {one["metric"]["cluster"]: int(one["value"][1]) for one in answer["data"]["result"]}
    return counts, answer.get("warnings") or []


def test_global_view() -> None:
    """A querier that asks the queriers of other sites"""
    blank(ONE, OTHER)
    other = {"address": f"{plan.LAB.address(OTHER)}:{QUERIER}"}
    above, below = site(ONE, "one", [other]), site(OTHER, "other", [])
    deployed(below)
    deployed(above)
    both = {"one": 1, "other": 1}
    wait_for("both clusters in one answer", lambda: seen(ONE) == (both, []), 60)
    assert seen(OTHER) == ({"other": 1}, []), "the one below knows nothing of it"

    shell(OTHER, "systemctl stop thanos-querier")
    verify = run(above, deploy=VERIFY)
    assert verify.status != 0 and other["address"] in verify.log, str(verify)

    def missed() -> bool:
        counts, warnings = seen(ONE)
        return counts == {"one": 1} and other["address"] in " ".join(warnings)

    wait_for("an answer without it, with a warning that names it", missed)

    shell(OTHER, "systemctl start thanos-querier")
    wait_for("both clusters again", lambda: seen(ONE) == (both, []), 60)
    # One that is left out is gone without a restart.
    started = "systemctl show -p ExecMainStartTimestampMonotonic thanos-querier"
    before = shell(ONE, started)
    deployed(site(ONE, "one", []))
    wait_for("its own cluster alone", lambda: seen(ONE) == ({"one": 1}, []), 60)
    assert shell(ONE, started) == before
