"""Probes go on while an exporter is away, and a new module or probe restarts nothing."""

from __future__ import annotations

import pytest

from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import alerts, live_files, moved, notifications, query, run_site, stopped, units, wait_for
from tests.lab import plan

pytestmark = pytest.mark.usefixtures("restored")

NAME = "blackbox_exporter"


def _probes(site: Site, job: str, **how: bool) -> dict[str, float]:
    """Target -> what its probe said lately."""
    answer = query(site, f'probe_success{{job="probe-{job}"}}', **how)
    return {one["metric"]["instance"]: float(one["value"][1]) for one in answer["result"]}


def test_an_exporter_is_away(site: Site) -> None:
    """Its replica has no probes, and says so; the other one has them, and queries lack nothing."""
    am = site.running("alertmanager")[0]
    first, second = site.running(NAME)
    own = f"{site.endpoint(NAME, first).url}/-/healthy"
    before = _probes(site, "platform")
    assert set(before.values()) == {1.0}
    with stopped(first.name, NAME):
        wait_for("the alert about missing probes", lambda: alerts(site, am, "ProbesMissing"), 60)
        wait_for("the alert about the exporter", lambda: alerts(site, am, "TargetDown"), 60)
        # Of two exporters, the one that is left is not asked about its own host.
        after = {target: float(target != own) for target in before if second.address not in target}
        wait_for("the other replica's probes alone", lambda: _probes(site, "platform", dedup=False) == after, 60)
        # Deduplication leaves a replica that went silent for the other one after two intervals: of this job, seconds.
        mirror = {f"{plan.MIRROR_URL}/": 1.0}
        wait_for("its probes where queries deduplicate", lambda: _probes(site, "mirror") == mirror, 60)
        assert not alerts(site, am, "PlatformProbeFailed"), "one that is down says so as a target"
    wait_for("the alert to end", lambda: not alerts(site, am, "ProbesMissing"), 60)


def test_a_new_module_and_a_probe_that_fails(site: Site) -> None:
    running, told = units(), notifications("ProbeFailed")["firing"]
    nobody = f"{plan.MIRROR_URL}/nothing"  # it answers 404
    data = {
        "blackbox_modules": {"http_404": {"prober": "http", "http": {"valid_status_codes": [404]}}},
        "probes": {
            **plan.PROBES,
            "found": {"module": "http_404", "targets": [nobody]},
            "broken": {"module": "http_2xx", "targets": [nobody], "labels": {"team": "drill"}},
        },
    }
    run = run_site(data=data)
    assert run.status == 0, str(run)
    assert moved(running) == set(), "a module, a job and its targets restart nothing"
    wait_for("the probe by the new module", lambda: _probes(site, "found") == {nobody: 1}, 60)
    am = site.running("alertmanager")[0]
    (alert,) = wait_for("the alert", lambda: alerts(site, am, "ProbeFailed"), 60)
    assert (alert["labels"]["instance"], alert["labels"]["team"]) == (nobody, "drill")
    wait_for("its notification", lambda: notifications("ProbeFailed")["firing"] > told, 60)
    assert notifications("ProbeFailed")["firing"] == told + 1


def test_a_module_that_is_wrong_is_refused(site: Site) -> None:
    running, files = units(), live_files()
    run = run_site(data={"blackbox_modules": {"wrong": {"prober": "http", "http": {"valid_status_code": [404]}}}})
    assert run.status != 0
    assert "field valid_status_code not found" in run.log, str(run)
    assert next(iter(run.failed)) == f"{NAME}: stage and check", str(run)
    assert moved(running) == set() and live_files() == files
