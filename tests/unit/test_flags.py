"""Command lines per release, and that the binaries of a release know every flag of ours.

`data/flags` holds what real binaries accept, recorded by `data/flags/record.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from example_site import example_site

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.declare import GO_DURATION, PROMETHEUS_DURATION
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.roles import upper as upper_role
from prometheus_ha.deploys.lib.roles.prometheus import configuration, verdicts
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.site.releases import RELEASES
from prometheus_ha.deploys.lib.site.settings import Settings
from tests.unit.recorded import BLANK

DATA = Path(__file__).parent / "data" / "flags"
# Where a release cannot be built, the nearest patch release was recorded.
RECORDED_AS = {("thanos", "0.32.0"): "0.32.2"}
# One program, two parts.
SAME = {"prometheus-upper": "prometheus", "thanos-sidecar-attached": "thanos-sidecar"}


def argv(component: str, site: Site) -> list[str]:
    return flags.argv(component, site, site.running(component)[0], BLANK)


def given(words: list[str], component: str = "prometheus") -> dict[str, list[str]]:
    """Flag -> its values; a bare flag has one empty value."""
    found: dict[str, list[str]] = {}
    dashes = DAEMONS[component].dashes
    for word in words[len(DAEMONS[component].command) + len(DAEMONS[component].subcommand) :]:
        if word.startswith(dashes):
            name, _, value = word.removeprefix(dashes).partition("=")
            found.setdefault(name, []).append(value)
    return found


def recorded(component: str, version: str) -> set[str]:
    version = RECORDED_AS.get((DAEMONS[component].archive, version), version)
    lines = (DATA / f"{SAME.get(component, component)}-{version}.txt").read_text().splitlines()
    return {line for line in lines if not line.startswith("#")}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("component", DAEMONS)
def test_every_flag_exists_in_the_version(component, release):
    site = example_site(
        storage=True,
        release=release,
        prometheus_retention_size="50GB",
        store_index_cache={"type": "MEMCACHED", "config": {"addresses": ["10.0.0.9:11211"]}},
        store_min_time="-2w",
        store_max_time="-1h",
        compactor_downsampling=False,
        prometheus_remote_write_receiver=True,
        prometheus_external_url="https://example.org/prometheus",
        alertmanager_external_url="https://example.org/alertmanager",
        web_config={"tls_server_config": {"cert_file": "host.pem", "key_file": "host.pem"}},
        web_client={"tls_config": {"ca_file": "ca.crt"}},
    )
    known = recorded(component, site.hosts["prom-1"].settings.version(component))
    assert set(given(argv(component, site), component)) <= known


@pytest.mark.parametrize("component", DAEMONS)
def test_the_bounds_of_a_flag_are_what_was_recorded(component):
    """A flag that is left out of a release because of `since` is one that this release lacks."""
    for release in RELEASES:
        version = Settings(release=release).version(component)
        known = recorded(component, version)
        for flag in DAEMONS[component].flags:
            if flag.since and not flags.applies(flag, version) and not flag.until:
                assert flag.name not in known, f"{release}: {flag.name} since {flag.since}"


@pytest.mark.parametrize("component", DAEMONS)
def test_a_flag_is_listed_once(component):
    names = [flag.name for flag in DAEMONS[component].flags]
    assert len(names) == len(set(names))


def test_prometheus_current():
    assert argv("prometheus", example_site()) == [
        "/usr/local/bin/prometheus",
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/var/lib/prometheus/data",
        "--storage.tsdb.delay-compact-file.path=/var/lib/prometheus/data/thanos.shipper.json",
        "--web.listen-address=0.0.0.0:9090",
        "--web.external-url=http://10.0.0.11:9090",
        "--web.enable-lifecycle",
        "--web.enable-admin-api",
        "--rules.alert.resend-delay=1m",
        "--storage.remote.flush-deadline=5s",
        "--log.level=info",
    ]


@pytest.mark.parametrize(
    ("setting", "disk", "wanted"),
    [
        ("auto", 100 << 30, "80GB"),
        ("auto", (100 << 30) - 1, "79GB"),
        ("auto", 1999 << 30, "1500GB"),
        ("auto", 2001 << 30, "1600GB"),  # and so until 2126 GB: a disk that is read a little larger
        ("auto", 12 << 30, "9800MB"),
        ("auto", 4 << 20, "3MB"),
        ("auto", 0, None),
        (None, 100 << 30, None),
        ("5GB", 100 << 30, "5GB"),
    ],
)
def test_the_size_of_local_blocks_follows_from_the_disk(setting, disk, wanted):
    site = example_site(prometheus_retention_size=setting, release="migration")
    member = site.hosts["prom-1"]
    words = flags.argv("prometheus", site, member, replace(BLANK, disk=disk))
    found = given(words).get("storage.tsdb.retention.size")
    assert found == ([wanted] if wanted else None)
    assert not wanted or verdicts.size(wanted) <= max(disk * 0.8, 5 << 30)


@pytest.mark.parametrize(
    ("setting", "disk", "wanted"),
    [
        ("auto", 100 << 30, {"time": "15d", "percentage": 80}),
        ("auto", 0, {"time": "15d"}),  # of which Prometheus would not find the size either, and end
        (None, 100 << 30, {"time": "15d"}),
        ("5GB", 100 << 30, {"time": "15d", "size": "5GB"}),
    ],
)
def test_limits_are_in_the_file_where_a_change_is_a_reload(setting, disk, wanted):
    given_ = {"storage": {"exemplars": {"max_exemplars": 1}, "tsdb": {"retention": None}}}
    site = example_site(prometheus_retention_size=setting, prometheus_config=given_)
    for name in ("prom-1", "upper-1"):
        member = site.hosts[name]
        make = upper_role.upper_yml if name == "upper-1" else configuration.prometheus_yml
        made = configuration.with_retention(make(site, member), member, replace(BLANK, disk=disk))
        assert made["storage"] == {"exemplars": {"max_exemplars": 1}, "tsdb": {"retention": wanted}}
    assert given_["storage"]["tsdb"] == {"retention": None}
    wrong = {"storage": {"tsdb": [1]}}  # promtool says so
    assert configuration.with_retention(wrong, member, BLANK) == wrong


@pytest.mark.parametrize(("version", "where"), [("3.12.0", "file"), ("3.11.3", "flags")])
def test_limits_are_said_once(version, where):
    site = example_site(versions={"prometheus": version})
    member = site.hosts["prom-1"]
    words = argv("prometheus", site)
    made = configuration.with_retention(configuration.prometheus_yml(site, member), member, BLANK)
    assert ("--storage.tsdb.retention.time=15d" in words) is (where == "flags")
    assert ("storage" in made) is (where == "file")


def test_prometheus_reference():
    assert argv("prometheus", example_site(release="reference")) == [
        "/usr/local/bin/prometheus",
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/var/lib/prometheus/data",
        "--storage.tsdb.retention.time=15d",
        "--storage.tsdb.retention.size=80GB",
        "--storage.tsdb.min-block-duration=2h",
        "--storage.tsdb.max-block-duration=2h",
        "--web.listen-address=0.0.0.0:9090",
        "--web.external-url=http://10.0.0.11:9090",
        "--web.enable-lifecycle",
        "--web.enable-admin-api",
        "--rules.alert.resend-delay=1m",
        "--storage.remote.flush-deadline=5s",
        "--log.level=info",
    ]


COMPACTION = (
    "storage.tsdb.min-block-duration",
    "storage.tsdb.max-block-duration",
    "storage.tsdb.delay-compact-file.path",
)


@pytest.mark.parametrize(
    ("prometheus", "thanos", "bucket", "set_"),
    [
        ("3.9.0", "0.41.0", True, (False, False, True)),
        ("3.8.1", "0.41.0", True, (True, True, False)),
        ("3.9.0", "0.40.1", True, (True, True, False)),
        ("3.9.0", "0.41.0", False, (False, False, False)),
        ("2.45.0", "0.32.0", False, (True, True, False)),
    ],
)
def test_compaction(prometheus, thanos, bucket, set_):
    """Switched off, or behind the upload; never at will where blocks are uploaded."""
    data = {"versions": {"prometheus": prometheus, "thanos": thanos}}
    found = given(
        argv(
            "prometheus",
            example_site(**data) if bucket else example_site(bucket_config=None, **data),
        )
    )
    assert tuple(name in found for name in COMPACTION) == set_
    for name in COMPACTION[:2]:
        assert found.get(name, ["2h"]) == ["2h"]


def test_the_delay_file_is_the_one_the_sidecar_writes():
    site = example_site()
    tsdb = given(argv("thanos-sidecar", site))["tsdb.path"][0]
    assert given(argv("prometheus", site))[COMPACTION[2]] == [f"{tsdb}/thanos.shipper.json"]


def test_external_url_with_a_path_leaves_the_endpoints_where_they_are():
    found = given(argv("prometheus", example_site(prometheus_external_url="https://example.org/prometheus")))
    assert found["web.external-url"] == ["https://example.org/prometheus"]
    assert found["web.route-prefix"] == ["/"]
    found = given(argv("prometheus", example_site(prometheus_external_url="https://example.org")))
    assert "web.route-prefix" not in found


def test_switches():
    found = given(argv("prometheus", example_site(prometheus_admin_api=False, prometheus_lifecycle=False)))
    assert not {"web.enable-admin-api", "web.enable-lifecycle"} & set(found)


def test_sidecar():
    assert argv("thanos-sidecar", example_site()) == [
        "/usr/local/bin/thanos",
        "sidecar",
        "--tsdb.path=/var/lib/prometheus/data",
        "--prometheus.url=http://127.0.0.1:9090",
        "--prometheus.ready_timeout=1h",
        "--objstore.config-file=/etc/prometheus/bucket_config.yaml",
        "--grpc-address=0.0.0.0:10901",
        "--http-address=0.0.0.0:10902",
        "--log.level=info",
    ]
    assert "objstore.config-file" not in given(argv("thanos-sidecar", example_site(bucket_config=None)))


def test_sidecar_finds_a_prometheus_that_listens_on_one_address():
    site = example_site(prometheus_listen_address="10.0.0.11")
    assert given(argv("thanos-sidecar", site))["prometheus.url"] == ["http://10.0.0.11:9090"]
    assert given(argv("prometheus", site))["web.listen-address"] == ["10.0.0.11:9090"]


def test_alertmanager_current():
    site = example_site()
    assert flags.argv("alertmanager", site, site.hosts["am-2"], BLANK) == [
        "/usr/local/bin/alertmanager",
        "--config.file=/etc/alertmanager/alertmanager.yml",
        "--storage.path=/var/lib/alertmanager/data",
        "--cluster.listen-address=0.0.0.0:9094",
        "--cluster.advertise-address=10.0.0.22:9094",
        "--cluster.peer=10.0.0.21:9094",
        "--cluster.peer=10.0.0.23:9094",
        "--cluster.label=monitoring",
        "--cluster.peer-name=am-2",
        "--cluster.peer-timeout=15s",
        "--cluster.settle-timeout=1m",
        "--cluster.pushpull-interval=1m",
        "--cluster.reconnect-timeout=5m",
        "--web.listen-address=0.0.0.0:9093",
        "--web.external-url=http://10.0.0.22:9093",
        "--enable-feature=receiver-name-in-metrics,event-recorder",
        "--log.level=info",
    ]


def test_alertmanager_reference_has_no_name():
    found = given(argv("alertmanager", example_site(release="reference")))
    assert "cluster.peer-name" not in found
    assert found["cluster.label"] == ["monitoring"]


@pytest.mark.parametrize("release", RELEASES)
def test_one_alertmanager_does_not_gossip(release):
    found = given(argv("alertmanager", example_site(alertmanagers=1, release=release)))
    assert [name for name in found if name.startswith("cluster.")] == ["cluster.listen-address"]
    assert found["cluster.listen-address"] == [""]


def test_the_drill_profile_reaches_the_gossip():
    site = example_site(profile="drill")
    timing = site.hosts["am-1"].settings.timing
    found = given(argv("alertmanager", site))
    assert found["cluster.peer-timeout"] == [timing.peer_timeout]
    assert found["cluster.settle-timeout"] == [timing.settle_timeout]


def test_querier_current_reads_a_file():
    assert argv("thanos-querier", example_site(replica_labels=["replica", "rule_replica"])) == [
        "/usr/local/bin/thanos",
        "query",
        "--http-address=0.0.0.0:10903",
        "--grpc-address=0.0.0.0:10904",
        "--endpoint.sd-config-file=/etc/thanos/endpoints.yml",
        "--endpoint.sd-config-reload-interval=30s",
        "--query.replica-label=replica",
        "--query.replica-label=rule_replica",
        "--query.timeout=2m",
        "--store.response-timeout=30s",
        "--log.level=info",
    ]


@pytest.mark.parametrize("release", ["reference", "migration"])
def test_querier_of_old_has_its_stores_as_flags(release):
    """Strict ones: files know none, and a store that leaves the set leaves no warning."""
    found = given(argv("thanos-querier", example_site(release=release)))
    assert found["endpoint-strict"] == ["10.0.0.11:10901", "10.0.0.12:10901"]
    assert not any(name.startswith(("endpoint.", "store.sd")) for name in found)
    assert not {"endpoint", "endpoint-group"} & set(found)


@pytest.mark.parametrize("release", ["reference", "migration"])
def test_querier_of_old_has_the_stores_of_others_as_flags(release):
    others = [
        {"address": "query.example:10904"},
        {"address": "dns+many.example:10904"},
        {"address": "dns+turns.example:10904", "group": True},
    ]
    found = given(argv("thanos-querier", example_site(release=release, querier_endpoints=others)))
    assert found["endpoint-strict"][-1] == "query.example:10904"
    assert found["endpoint"] == ["dns+many.example:10904"]
    assert found["endpoint-group"] == ["dns+turns.example:10904"]


@pytest.mark.parametrize("component", DAEMONS)
def test_extra_flags_come_last(component):
    extra = {"some.flag": "a b", "bare": True, "off": False, "many": ["1", "2"]}
    words = argv(component, example_site(storage=True, **{DAEMONS[component].extra: extra}))
    dashes = DAEMONS[component].dashes
    assert words[-4:] == [f"{dashes}{w}" for w in ("some.flag=a b", "bare", "many=1", "many=2")]


def test_a_free_flag_is_replaced_not_repeated():
    site = example_site(prometheus_flags={"log.level": "debug"})
    assert given(argv("prometheus", site))["log.level"] == ["debug"]
    site = example_site(querier_flags={"store.response-timeout": False})
    assert "store.response-timeout" not in given(argv("thanos-querier", site))


@pytest.mark.parametrize(
    ("component", "name", "allowed"),
    [
        ("prometheus", "storage.tsdb.retention.time", "prometheus_retention_time"),
        ("prometheus", "no-web.enable-lifecycle", "prometheus_lifecycle"),
        ("prometheus", "storage.tsdb.min-block-duration", "the package"),
        ("prometheus", "web.config.file", "web_config"),
        ("thanos-sidecar", "shipper.ignore-unequal-block-size", "uploaded"),
        ("alertmanager", "cluster.peer", "the group alertmanager"),
        ("alertmanager", "cluster.tls-config", "all members"),
        ("thanos-querier", "store", "inventory"),
        ("thanos-querier", "endpoint-group", "inventory"),
        ("thanos-querier", "query.replica-label", "replica_labels"),
        ("node_exporter", "web.listen-address", "node_exporter_port"),
    ],
)
def test_a_flag_of_ours_is_refused(component, name, allowed):
    setting = DAEMONS[component].extra
    settings = Settings(**{setting: {name: "x"}})
    (problem,) = flags.problems(component, settings)
    assert problem.key == f"{setting}.{name}"
    assert allowed in problem.allowed
    with pytest.raises(flags.FlagError, match=rf"{setting}\.{name}: found 'x'; expected: "):
        argv(component, example_site(**{setting: {name: "x"}}))


def test_who_reads_a_duration_is_what_the_binaries_said():
    for line in (DATA / "durations.txt").read_text().splitlines():
        component, name, grammar = line.split()
        wanted = GO_DURATION if grammar == "go" else PROMETHEUS_DURATION
        assert DAEMONS[component].durations[name] is wanted, line


@pytest.mark.parametrize("profile", ["production", "drill"])
@pytest.mark.parametrize("component", DAEMONS)
def test_our_own_durations_are_read(component, profile):
    site = example_site(storage=True, profile=profile, querier_timeout="1d", receive_retention="2w")
    for name, values in given(argv(component, site), component).items():
        if grammar := DAEMONS[component].durations.get(name):
            assert [grammar.seconds(value) >= 0 for value in values] == [True] * len(values)


@pytest.mark.parametrize(
    ("component", "name", "value", "good"),
    [
        *(("alertmanager", "data.retention", v, False) for v in ("1y", "1y2d", 5, "")),
        *(
            ("alertmanager", "data.retention", v, True)
            for v in ("1.5h", "8760h", "1h30m", 0, ".5h", "8d", "1w", "1d12h")
        ),
        ("alertmanager", "web.timeout", "-1s", True),
        ("alertmanager", "data.retention", True, False),
        ("alertmanager", "data.retention", False, True),
        *(("prometheus", "query.timeout", v, True) for v in ("1y", "1w", "1h30m", 0)),
        *(("prometheus", "query.timeout", v, False) for v in ("1.5h", "-1s", "30m1h", 5, "5 m")),
        ("thanos-querier", "query.default-step", "1d", True),
        ("thanos-rule", "query.default-step", "1y", False),
        ("thanos-store", "consistency-delay", "1d", True),
        ("thanos-compactor", "consistency-delay", "1y", False),
        ("thanos-compactor", "delete-delay", ["2d"], True),
    ],
)
def test_a_duration_in_a_flag(component, name, value, good):
    setting = DAEMONS[component].extra
    found = flags.problems(component, Settings(**{setting: {name: value}}))
    assert [problem.key for problem in found] == ([] if good else [f"{setting}.{name}"])


def test_ipv6():
    site = example_site()
    hosts = {
        name: type(member)(name, member.settings, member.groups, f"fd00::{index + 1}")
        for index, (name, member) in enumerate(site.hosts.items())
    }
    site = Site(hosts)
    found = given(argv("alertmanager", site))
    assert found["cluster.listen-address"] == ["[::]:9094"]
    assert found["cluster.advertise-address"] == ["[fd00::3]:9094"]
    assert found["cluster.peer"] == ["[fd00::4]:9094", "[fd00::5]:9094"]


def test_days_in_a_flag_of_thanos_are_read_by_newer_ones_alone():
    flag = {"rule_flags": {"for-grace-period": "1d"}}
    assert flags.problems("thanos-rule", Settings(**flag)) == []
    (problem,) = flags.problems("thanos-rule", Settings(**flag, release="migration"))
    assert "neither days nor weeks" in problem.allowed
