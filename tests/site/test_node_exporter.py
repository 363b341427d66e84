"""node_exporter on every host."""

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.suites.ask import eventually, metrics, query
from prometheus_ha.suites.daemon import Daemon

COMPONENT = "node_exporter"


class TestDaemon(Daemon):
    pass


def test_describes_its_own_host(host, member):
    [(labels, _)] = metrics(member, COMPONENT, "node_uname_info")
    assert [labels["nodename"], labels["release"]] == host.check_output("uname -nr").split()


def test_sees_the_file_systems_of_data(host, member):
    """The disk alert stands on these; a sandbox hides mounts with ease."""
    mount, kind = host.check_output("stat -c %m /var/lib; stat -f -c %T /var/lib").split()
    samples = metrics(member, COMPONENT, "node_filesystem_avail_bytes")
    # It leaves out the overlays that containers stand on.
    assert kind == "overlayfs" or mount in {labels["mountpoint"] for labels, _ in samples}


def test_its_collectors_succeed(member):
    samples = metrics(member, COMPONENT, "node_scrape_collector_success")
    found = {labels["collector"]: value for labels, value in samples}
    # What a machine does not have (no mdadm, no thermal zone) counts as a failure as well.
    needed = {"cpu", "diskstats", "filesystem", "loadavg", "meminfo", "netdev", "stat", "time"}
    assert {name: found.get(name) for name in needed} == dict.fromkeys(needed, 1)


def test_clock_agrees_with_those_who_scrape_it(member, site):
    """A clock that is off loses samples and alerts. Half a second of it is the scrape itself."""
    target = site.endpoint(COMPONENT, member).target
    # By job, too: one of the user's may scrape it as well.
    job = DAEMONS[COMPONENT].job_name
    own = f'node_time_seconds{{job="{job}",instance="{target}"}}'
    promql = f"{own} - timestamp({own})"
    scrapers = site.clusters.get(site.scraped_by(member), [])

    def check():
        for scraper in scrapers:
            found = query(scraper, "prometheus", promql)
            assert len(found) == 1, f"{scraper.name} has no time of {target}"
            assert abs(found[0]["value"]) < 1, f"off by {found[0]['value']} s on {scraper.name}"

    eventually(check, 10 + 2 * max([seconds(m.settings.scrape_interval) for m in scrapers] or [0]))
