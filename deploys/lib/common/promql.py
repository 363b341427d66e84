"""What a querier is asked, for `verify` and by the drill, and how an answer is read."""

from __future__ import annotations

import json
import re
from collections.abc import Container
from dataclasses import dataclass
from urllib.parse import quote

from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import starter
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site import relations
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL
from prometheus_ha.facts.http import Answer, Call


@dataclass(frozen=True)
class Query:
    """An instant query as it was answered: `problem` is empty where it succeeded."""

    problem: str = ""
    warnings: tuple[str, ...] = ()
    vector: tuple[tuple[dict[str, str], float], ...] = ()


# What was scraped, not what came by remote write: a receiver can have the same series.
SCRAPED = ",".join(f'{label}=""' for label in relations.REPLICA_LABELS.values())


def fresh(selector: str, site: Site) -> str:
    """The samples of `selector` from the last two scrapes. A Prometheus that is restarted, or moved, leaves no mark
    that the series of before are at an end: queries find them for five minutes more."""
    intervals = [seconds(m.settings.scrape_interval) for m in site.running(daemons.PROMETHEUS)]
    # A sample has the time at which the scrape began, and is there when it is over.
    return f"timestamp({selector}) > time() - {2 * max(intervals, default=0) + 5:g}"


def is_counted(job: str, slow: Container[str]) -> bool:
    """Whether the targets of a job are among those that are asked for: they have to be fresh."""
    return job not in slow and not job.startswith(relations.PROBE_JOB)


def slow_jobs(site: Site) -> set[str]:
    """The user's jobs that scrape less often than ours: whether their series are fresh is not asked."""
    return {
        str(job.get("job_name"))
        for member in site.running(daemons.PROMETHEUS)
        for job in member.settings.prometheus_config.get("scrape_configs") or []
        if seconds(job.get("scrape_interval") or "0s") > seconds(member.settings.scrape_interval)
    }


def prometheus_up(site: Site) -> str:
    """How many of our Prometheus each cluster scrapes, which are the replicas of its own.

    By cluster: somebody else's Prometheus, to which a sidecar is attached, may scrape ours as well. By instance,
    each once: a target of the user's may have the job's name, or be one of ours under more labels.
    """
    targets = [site.endpoint(daemons.PROMETHEUS, m).target for m in site.running(daemons.PROMETHEUS)]
    ours = starter.selected({daemons.PROMETHEUS.job_name: targets})
    each = f"count by ({CLUSTER_LABEL}, instance) ({fresh(f'up{{{ours}}}', site)})"
    return f"count by ({CLUSTER_LABEL}) ({each})"


def query_call(name: str, query: str, dedup: bool = True) -> Call:
    """An instant query to a querier, as a `Call`."""
    return Call(name, f"/api/v1/query?query={quote(query, safe='')}&dedup={str(dedup).lower()}")


def queries(site: Site) -> tuple[Call, ...]:
    """What a querier is asked, by `verify` and by the drill. It counts: the series themselves would be megabytes on a
    large site."""
    slow = "|".join([f"{relations.PROBE_JOB}.*", *(re.escape(name) for name in sorted(slow_jobs(site)))])
    up = f"up{{{SCRAPED},job!~{json.dumps(slow)}}}"
    counted = f"count by ({CLUSTER_LABEL},{REPLICA_LABEL}) ({fresh(up, site)})"
    return (
        query_call("up-raw", counted, dedup=False),
        query_call("up", counted),
        query_call("prometheus-up", prometheus_up(site)),
    )


def read_query(answer: Answer) -> Query:
    """An answer of the query API: what failed, what it warns of, and its vector."""
    if not answer.ok:
        return Query(answer.problem)
    try:
        reply = answer.json()
        if reply.get("status") != "success":
            return Query(f"{reply.get('errorType')}: {reply.get('error')}")
        vector = tuple((one["metric"], float(one["value"][1])) for one in reply["data"]["result"])
        return Query("", tuple(reply.get("warnings") or ()), vector)
    except (FactProcessError, AttributeError, LookupError, TypeError, ValueError) as error:
        return Query(f"not an answer of the query API ({error!r}): {answer.body[:100]!r}")
