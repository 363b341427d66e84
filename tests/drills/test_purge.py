"""What left the inventory leaves the host; what never was ours is named, and left alone."""

from __future__ import annotations

import pytest

from prometheus_ha.deploys.lib.daemons.prometheus import RULES_DIR
from prometheus_ha.deploys.lib.site.members import Site
from tests.drills.site import moved, rules, run_site, shell, units

pytestmark = pytest.mark.usefixtures("restored")
HOST = "prom-1"


def test_a_rule_that_left_is_removed(site: Site) -> None:
    path = f"{RULES_DIR}/drill.yml"
    rule = {"record": "drill:one", "expr": "vector(1)"}
    run = run_site("--limit", HOST, data={"prometheus_rules": rules("drill", rule)})
    assert run.status == 0 and shell(HOST, f"ls {path}"), str(run)
    before = units([HOST])
    run = run_site("--limit", HOST)
    assert f"remove {path}" in run.log, str(run)
    assert shell(HOST, f"ls {path} 2>/dev/null", check=False) == ""
    assert not moved(before)


def test_a_foreign_rule_is_named_and_left(site: Site) -> None:
    path = f"{RULES_DIR}/foreign.yml"
    before = units([HOST])
    shell(HOST, f"echo 'groups: []' >{path}; chmod 644 {path}")
    try:
        # It was not loaded yet, and would be by the next start: that is better known now.
        run = run_site("--limit", HOST)
        assert run.status == 0 and f"{path} is not ours" in run.log, str(run)
        again = run_site("--limit", HOST)
        assert again.status == 0 and again.changed == {}, str(again)
        assert shell(HOST, f"cat {path}") == "groups: []\n"
    finally:
        shell(HOST, f"rm -f {path}")
    assert not moved(before)


def test_a_foreign_rule_that_is_wrong_is_refused(site: Site) -> None:
    """It would keep Prometheus from starting again, so no change goes live beside it."""
    path = f"{RULES_DIR}/foreign.yml"
    shell(HOST, f"echo 'groups: [' >{path}; chmod 644 {path}")
    try:
        rule = {"record": "drill:one", "expr": "vector(1)"}
        run = run_site("--limit", HOST, data={"prometheus_rules": rules("drill", rule)})
        assert run.status == 1 and "foreign.yml" in run.log and "FAILED" in run.log, str(run)
        assert shell(HOST, f"ls {RULES_DIR}").split() == ["foreign.yml", "starter.yml"]
    finally:
        shell(HOST, f"rm -f {path}")
