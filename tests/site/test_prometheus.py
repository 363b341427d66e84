"""Every Prometheus replica: what it has loaded, scrapes, evaluates, and where it sends alerts."""

from urllib.parse import urlsplit

import pytest
import yaml

from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_CONFIG, PROMETHEUS_DATA, RULES_DIR
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.roles.prometheus import alerts as prometheus_alerts
from prometheus_ha.deploys.lib.roles.prometheus import configuration
from prometheus_ha.deploys.lib.site import derived
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, REPLICA_LABEL, rule_groups
from prometheus_ha.suites.ask import api, eventually, metric, metrics, query
from prometheus_ha.suites.daemon import Daemon
from prometheus_ha.suites.inventory import fresh, jobs, only

COMPONENT = "prometheus"


class TestDaemon(Daemon):
    pass


def loaded_by(member, component):
    """The configuration that the process has loaded, with its defaults filled in."""
    return yaml.safe_load(api(member, component, "/api/v1/status/config")["yaml"])


def loaded(member):
    return loaded_by(member, COMPONENT)


@pytest.fixture
def patience(member):
    """Seconds within which a Prometheus that just started has scraped and evaluated everything."""
    settings = member.settings
    return 3 * max(seconds(settings.scrape_interval), seconds(settings.evaluation_interval)) + 10


def test_last_reload_succeeded(member):
    assert metric(member, COMPONENT, "prometheus_config_last_reload_successful") == 1


def test_configuration_on_disk_is_valid(host):
    done = host.run("promtool check config %s", PROMETHEUS_CONFIG)
    assert done.rc == 0, done.stdout + done.stderr


def test_intervals(member):
    found = loaded(member)["global"]
    assert seconds(found["scrape_interval"]) == seconds(member.settings.scrape_interval)
    assert seconds(found["evaluation_interval"]) == seconds(member.settings.evaluation_interval)


def test_external_labels(member, site):
    found = {m.name: loaded(m)["global"]["external_labels"] for m in site.replicas(member)}
    own = found[member.name]
    assert own[CLUSTER_LABEL] == member.settings.cluster
    assert own[REPLICA_LABEL] == member.settings.replica
    names = [labels.pop(REPLICA_LABEL) for labels in found.values()]
    assert len(set(names)) == len(names), f"two replicas of one name: {names}"
    assert all(labels == own for labels in found.values()), "replicas differ in another label"


def test_flags(site, member):
    found = api(member, COMPONENT, "/api/v1/status/flags")
    settings = member.settings
    assert found["web.enable-admin-api"] == str(settings.prometheus_admin_api).lower()
    assert found["web.enable-lifecycle"] == str(settings.prometheus_lifecycle).lower()
    # In force, whether by a flag or by the file: `15d or 80%`.
    kept, _, size = api(member, COMPONENT, "/api/v1/status/runtimeinfo")["storageRetention"].partition(" or ")
    assert seconds(kept) == seconds(settings.prometheus_retention_time)
    assert bool(size) is (settings.prometheus_retention_size is not None)
    assert found["storage.tsdb.path"] == PROMETHEUS_DATA
    wanted = settings.prometheus_external_url or site.endpoint(COMPONENT, member).url
    assert found["web.external-url"].rstrip("/") == wanted


@only(lambda member, _: derived.uploads(member))
def test_no_block_is_compacted_before_it_is_uploaded(member):
    """Of the two ways, the one that both versions know (practice.md 0.1)."""
    found = api(member, COMPONENT, "/api/v1/status/flags")
    durations = {found[f"storage.tsdb.{end}-block-duration"] for end in ("min", "max")}
    delay = found.get("storage.tsdb.delay-compact-file.path", "")
    if derived.delayed_compaction(member):
        assert delay == f"{PROMETHEUS_DATA}/thanos.shipper.json"
    else:
        assert durations == {"2h"}


def test_targets_are_those_of_the_inventory_and_up(member, patience):
    ours = {(job, target) for job, targets in jobs(member).items() for _, target in targets}
    users = {
        (job, target)
        for job in configuration.jobs_of_targets(member)
        for group in member.settings.prometheus_targets[job]
        for target in group["targets"]
    }

    def check():
        targets = api(member, COMPONENT, "/api/v1/targets", state="active")["activeTargets"]
        found = {(t["labels"]["job"], urlsplit(t["scrapeUrl"]).netloc): t for t in targets}
        # By the name of the job: a target's own label may say another one.
        pools = {(t["scrapePool"], t["discoveredLabels"]["__address__"]) for t in targets}
        assert not ours - set(found) and not users - pools, "targets are missing"
        strange = {one for one in pools if one[0] in jobs(member)} - ours
        assert not strange, "targets are not in the inventory"
        down = {key: found[key]["lastError"] for key in ours if found[key]["health"] != "up"}
        assert not down, "targets are not up"

    eventually(check, patience)


def test_targets_are_named_after_their_hosts(member):
    found = {
        (sample["metric"]["job"], sample["metric"]["instance"]): sample["metric"].get("host")
        for sample in query(member, COMPONENT, fresh(member))
    }
    assert found == {(job, target): host.name for job, targets in jobs(member).items() for host, target in targets}


def test_rules_are_those_of_the_inventory_and_healthy(site, member, patience):
    wanted = {
        (f"{RULES_DIR}/{file}", group["name"], rule.get("alert") or rule.get("record"))
        for file, content in prometheus_alerts.rules(site, member).items()
        for group in rule_groups(content)["groups"]
        for rule in group["rules"]
    }

    def check():
        groups = api(member, COMPONENT, "/api/v1/rules")["groups"]
        rules = [(group, rule) for group in groups for rule in group["rules"]]
        found = {(group["file"], group["name"], rule["name"]) for group, rule in rules}
        ours = {key for key in found if key[0].startswith(f"{RULES_DIR}/")}
        assert ours == wanted
        # One of an hour's interval is not evaluated yet, for an hour.
        ill = {r["name"]: r.get("lastError") or r["health"] for _, r in rules if r["health"] == "err"}
        assert not ill, "rules cannot be evaluated"

    eventually(check, patience)


def test_recording_rule_counts_what_is_up(member, patience):
    """Through scrape and rule into storage: `job:up:sum` of the starter rules."""

    def check():
        # A target of the user's that has the label `job` is counted with ours.
        now = query(member, COMPONENT, f'sum by (job) (up{{job=~"{"|".join(jobs(member))}"}})')
        wanted = {sample["metric"]["job"]: sample["value"] for sample in now}
        if not member.settings.starter_rules:
            wanted = {}
        promql = f'job:up:sum{{job=~"{"|".join(jobs(member))}"}}'
        samples = query(member, COMPONENT, promql)
        assert {sample["metric"]["job"]: sample["value"] for sample in samples} == wanted

    eventually(check, patience)


def test_every_alertmanager_is_discovered(site, member, patience):
    wanted = {f"{site.endpoint('alertmanager', m).url}/api/v2/alerts" for m in site.members("alertmanager")}

    def check():
        found = api(member, COMPONENT, "/api/v1/alertmanagers")
        assert wanted <= {each["url"] for each in found["activeAlertmanagers"]}
        assert not wanted & {each["url"] for each in found["droppedAlertmanagers"]}

    eventually(check, patience)


def test_alerts_leave_without_the_replica(member):
    relabelling = loaded(member)["alerting"]["alert_relabel_configs"]
    dropped = [each["regex"] for each in relabelling if each["action"] == "labeldrop"]
    assert any(REPLICA_LABEL in regex.split("|") for regex in dropped)


@only(lambda member, _: "remote_write" in member.settings.prometheus_config)
def test_remote_write_keeps_up(member):
    """The receiver has what was scraped a few intervals ago."""
    wanted = {entry["url"] for entry in member.settings.prometheus_config["remote_write"]}

    def check():
        prefix = "prometheus_remote_storage"

        def by_url(name):
            return {labels.get("url"): v for labels, v in metrics(member, COMPONENT, prefix + name)}

        sent = by_url("_queue_highest_sent_timestamp_seconds")
        assert set(sent) == wanted
        # Below 3.7 there is one for all queues.
        newest = by_url("_queue_highest_timestamp_seconds")
        for_all = by_url("_highest_timestamp_in_seconds").get(None)
        # That of a full queue stands still.
        full = {url for url, count in by_url("_samples_pending").items() if count and for_all is not None}
        behind = {url: (for_all if url in full else newest.get(url, for_all)) - when for url, when in sent.items()}
        allowed = 3 * seconds(member.settings.scrape_interval)
        assert {url: late for url, late in behind.items() if late > allowed} == {}

    eventually(check, 30)
