"""What the daemon's own checker refuses never goes live, and its words reach the operator."""

from __future__ import annotations

from typing import Any

import pytest

from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import assert_untouched, live_files, rules, run_site, units

pytestmark = pytest.mark.usefixtures("restored")

REFUSED: dict[str, tuple[dict[str, Any], str, str, set[str]]] = {
    "rule": (
        {"prometheus_rules": rules("drill", {"alert": "Drill", "expr": "sum(up"})},
        "unclosed left parenthesis",
        "prometheus: stage and check",
        {"prom-1", "prom-2"},
    ),
    "scrape config": (
        {"prometheus_config": {"scrape_configs": [{"job_name": "drill", "static_config": []}]}},
        "field static_config not found",
        "prometheus: stage and check",
        {"prom-1", "prom-2"},
    ),
    "Alertmanager config": (
        {"alertmanager_config": {"route": {"routes": [{"receiver": "nobody", "matchers": ['a="b"']}]}}},
        'undefined receiver "nobody" used in route',
        "alertmanager: stage and check",
        {"am-1", "am-2", "am-3"},
    ),
    "template": (
        {"alertmanager_templates": {"drill.tmpl": '{{ define "x" }}{{ end'}},
        "unclosed action",
        "alertmanager: stage and check",
        {"am-1", "am-2", "am-3"},
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_invalid_config_is_refused(site: Site, what: str) -> None:
    data, message, step, hosts = REFUSED[what]
    running, files = units(), live_files()
    run = run_site(data=data)
    assert run.status != 0
    assert message in run.log, str(run)
    # pyinfra counts what a failed host did not come to as failed as well.
    assert next(iter(run.failed.items())) == (step, sorted(hosts)), str(run)
    assert {host for failed in run.failed.values() for host in failed} == hosts, str(run)
    assert run.changed == {}, str(run)
    assert_untouched(running, files)
