"""Capacity: the estimate by hand, the answers of a Prometheus, and what is said where a host has less."""

from __future__ import annotations

from dataclasses import replace

import pytest
from example_site import example_site

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.roles.prometheus.verdicts import size
from prometheus_ha.deploys.lib.site import relations
from prometheus_ha.deploys.lib.survey import capacity
from prometheus_ha.deploys.lib.survey.capacity import Seen, Usage, estimate, findings, table
from tests.unit.recorded import BLANK, run_site

GIB = 1 << 30


def needed(**data):
    site = example_site(**data)
    return estimate(site, site.hosts["prom-1"])


def jobs(**data):
    return {job.name: (job.targets, job.samples, job.interval) for job in needed(**data).jobs}


def test_targets_are_counted_wherever_settings_list_them():
    counted = jobs(
        prometheus_targets={"app": [{"targets": ["a:1", "b:1"]}, {"targets": ["c:1"]}]},
        prometheus_config={
            "scrape_configs": [
                {
                    "job_name": "slow",
                    "scrape_interval": "1m",
                    "static_configs": [{"targets": ["d:1"]}],
                },
                {"job_name": "pods", "kubernetes_sd_configs": [{"role": "pod"}]},
                {"job_name": "vms", "ec2_sd_configs": [{}]},
            ]
        },
        capacity={
            "targets": {"vms": 40, "app": 7, "later": 3},
            "samples_per_target": {"app": 300, "default": 50},
        },
    )
    assert counted["prometheus"] == (2, 1300, 15)
    assert counted["node_exporter"] == (9, 1200, 15)
    assert counted["app"] == (10, 300, 15)
    assert counted["slow"] == (1, 50, 60)
    assert counted["pods"] == (None, 50, 15)
    assert counted["vms"] == (40, 50, 15)
    assert counted["later"] == (3, 50, 15)


def test_a_million_series_as_upstream_reckons():
    """practice: 1 M series at 15 s are 66.7 k samples a second and 5.4 to 10.7 GiB a day."""
    site = example_site(
        prometheus_retention_time="1d",
        capacity={
            "targets": {"big": 1000},
            "samples_per_target": {
                "big": 995,
                **dict.fromkeys(capacity.SAMPLES, 0),
            },
            "churn": 0,
            "queries": 20,
        },
    )
    found = estimate(site, site.hosts["prom-1"])
    ours = 5 * sum(job.targets for job in found.jobs if job.name != "big")
    assert found.series == 1_000_000 + ours
    assert found.samples_per_second == pytest.approx(66_667, rel=0.001)
    assert found.blocks == pytest.approx((5.37 * GIB, 10.73 * GIB), rel=0.002)
    assert found.memory == pytest.approx((19e9, 24e9), rel=0.001)
    assert found.wal == pytest.approx(66_667 * 10_800 * 6.5, rel=0.001)
    assert found.disk[1] == pytest.approx((found.blocks[1] + found.wal) * 1.2)
    assert found.document == 2 * 1000 * 995 * capacity.BYTES_PER_LINE


def test_a_small_site_needs_three_segments_of_log():
    assert needed().wal == 3 * 128 * 2**20


def answer(**changed):
    metrics = {
        "prometheus_tsdb_head_series": "14300",
        'prometheus_tsdb_head_samples_appended_total{type="float"}': "250000",
        'prometheus_tsdb_head_samples_appended_total{type="histogram"}': "0",
        "process_start_time_seconds": "1.0e+09",
        "process_resident_memory_bytes": "1.23e+08",
        "prometheus_tsdb_storage_blocks_bytes": "5e+06",
        "prometheus_tsdb_wal_storage_size_bytes": "1e+06",
        **changed,
    }
    page = [f"{name} {value}" for name, value in metrics.items()]
    vector = (
        '{"status":"success","data":{"resultType":"vector",'
        '"result":[{"metric":{"job":"node_exporter"},"value":[1,"%s"]}]}}'
    )
    return [
        "1000000100",
        *("==[name]== metrics", *page, "==[status]== 200"),
        *("==[name]== samples", vector % 7792, "==[status]== 200"),
        *("==[name]== targets", vector % 8, "==[status]== 200"),
    ]


def test_what_a_prometheus_says():
    assert capacity.read(answer()) == Usage(
        series=14300,
        samples_per_second=2500,
        memory=123e6,
        blocks=5e6,
        wal=1e6,
        jobs={"node_exporter": (8, 7792)},
    )


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["1000000100", "==[name]== metrics", "curl: (7) refused", "==[exit]== 7"],
        ["Sorry, try again."],
        [*answer()[:4], "==[status]== 503"],
    ],
)
def test_a_prometheus_that_says_nothing_uses_nothing_that_is_known(lines):
    found = capacity.read(lines)
    assert found.memory is None and found.samples_per_second is None and not found.jobs


def test_the_question_is_asked_where_prometheus_listens():
    site = example_site()
    script = capacity.questions(site, site.hosts["prom-1"])
    assert "http://10.0.0.11:9090/metrics" in script and "date +%s" in script


def judged(look=BLANK, usage=Usage(), **data):  # noqa: B008  (frozen)
    site = example_site(**data)
    found = findings(site, {"prom-1": Seen(look, usage)})
    return [(one.found, one.wanted) for one in found if one.host == "prom-1"]


def test_a_host_that_has_enough():
    assert judged() == []
    assert judged(look=None) == []
    assert judged(look=replace(BLANK, memory=0, disk=0)) == []


def test_a_host_with_less_memory_than_estimated():
    [(found, wanted)] = judged(replace(BLANK, memory=512 << 20))
    assert found == "512 MB of memory" and wanted.endswith("by the estimate")


@pytest.mark.parametrize(
    ("data", "disk", "said"),
    [
        ({}, 2 * GIB, "blocks are dropped at 1600MB: about"),
        ({"prometheus_retention_size": "1GB"}, 100 * GIB, "blocks are dropped at 1GB: about"),
        ({"prometheus_retention_size": None}, 2 * GIB, "a disk of 2 GB: about"),
    ],
)
def test_a_disk_that_holds_less_than_the_retention(data, disk, said):
    [(found, wanted)] = judged(replace(BLANK, disk=disk), **data)
    assert found.startswith(said) and found.endswith("days") and wanted.startswith("15d")


def test_an_estimate_that_the_site_has_outgrown_and_jobs_that_cannot_be_counted():
    [(found, _)] = judged(usage=Usage(series=1e6))
    assert found == "1 M active series, more than the estimate"
    config = {"scrape_configs": [{"job_name": "pods", "kubernetes_sd_configs": [{}]}]}
    [(found, _)] = judged(prometheus_config=config)
    assert found == "jobs that find their targets themselves: pods"


def test_the_table():
    site = example_site()
    seen = {"prom-1": Seen(BLANK, capacity.read(answer()))}
    lines = table(site, seen, findings(site, seen))
    rows = {" ".join(line.split()) for line in lines}
    assert any(row.startswith("node_exporter 9 x 1200 8 x 974 - targets x samples") for row in rows)
    assert any(row.startswith("samples a second 1454 2500 - series / interval") for row in rows)
    assert any(row.startswith("dropped at 80GB - prometheus_retention_size = auto") for row in rows)
    assert any(row.startswith("the host has 16 GB - /proc/meminfo") for row in rows)
    assert any(row.startswith("by rule of thumb") for row in rows)
    assert any(row.startswith("bucket ") and "raw 365 days" in row for row in rows)
    assert "nothing is uploaded" in "".join(table(example_site(bucket_config=None), {}, []))


def test_storage_by_hand():
    """Two replicas of 10 000 samples a second: 1.7 to 3.5 GB a day, raw for 30 days, and copies for longer."""
    reckoned = example_site().hosts["prom-1"].settings.capacity
    keeps = {"raw": 30 * 86400, "5m": 90 * 86400, "1h": 365 * 86400}
    found = capacity.Storage((1e4, 1e4), keeps, reckoned)
    assert found.daily == (2e4 * 86400, 4e4 * 86400)
    assert found.bucket[0] == pytest.approx(2e4 * 86400 * (30 + 90 + 365))
    assert found.scratch[1] == pytest.approx(2 * 14 * 2e4 * 86400)
    assert found.blocks == pytest.approx(2 * 98, rel=0.01)


def test_storage_goes_by_the_retention_of_each_resolution_and_by_what_is_scraped():
    site = example_site(storage=True, compactor_retention_raw="30d", compactor_retention_5m="90d")
    reckoned = site.hosts["prom-1"].settings.capacity
    days = {name: value / 86400 for name, value in capacity.kept(site, reckoned).items()}
    assert days == {"raw": 30, "5m": 90, "1h": 365}
    bare = example_site(storage=True, compactor_downsampling=False)
    assert set(capacity.kept(bare, reckoned)) == {"raw"}

    def bucket(usage):
        rows = table(site, {"prom-1": Seen(BLANK, usage)}, [])
        [row] = [row.split("  ") for row in rows if row.startswith("bucket ")]
        return [cell.strip() for cell in row if cell.strip()][1:3]

    estimated, measured = bucket(Usage(samples_per_second=1e6))
    assert "TB" in measured and "GB" in estimated
    assert bucket(Usage())[1] == "-"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (2.5, "2.5"), (846, "846"), (12_345, "12.3 k"), (3e6, "3 M"), (None, "-")],
)
def test_numbers(value, text):
    assert capacity._number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 KB"), (5 << 20, "5 MB"), (1 << 30, "1 GB"), (3 << 40, "3 TB")])
def test_sizes(value, text):
    assert capacity._bytes(value) == text
    assert not value or size(text.replace(" ", "")) == value


def test_the_deploy_prints_once_and_changes_nothing(tmp_path, monkeypatch):
    done = run_site(tmp_path, monkeypatch, deploy="capacity", dead=("prom-2",))
    assert "prom-2" in done.output
    assert done.output.count("active series") == 1
    asked = {name for name, commands in done.commands.items() if commands}
    assert asked == {"prom-1"}
    assert done.files == {"prom-1": {}}


def test_settings_of_capacity_are_checked(tmp_path, monkeypatch):
    wrong = "capacity = {'tragets': {'a': 1}, 'churn': 'much', 'targets': {'b': -1}}\n"
    done = run_site(tmp_path, monkeypatch, deploy="capacity", data=wrong)
    assert done.rc == 1 and not done.commands
    assert "capacity.tragets: found a dict; expected: targets" in done.output
    assert "did you mean targets?" in done.output
    assert "capacity.churn: found 'much'; expected: a valid number" in done.output
    assert "capacity.targets.b: found -1; expected: greater than or equal to 0" in done.output


def test_every_job_of_ours_has_a_figure_that_says_how_it_was_got():
    jobs = {info.job_name for info in DAEMONS.values()}
    assert set(capacity.SAMPLES) == jobs | {relations.WATCHED_JOB}


@pytest.mark.parametrize(("size", "says"), [(1 << 29, "512 MB"), (1010 << 30, "1010 GB"), (1 << 40, "1 TB")])
def test_a_size_has_the_figures_that_its_unit_needs(size, says):
    assert capacity._bytes(size) == says
