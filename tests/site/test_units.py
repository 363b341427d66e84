"""The units as systemd judges them."""

import re

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology

BUDGET = 2.0
"""Exposure by `systemd-analyze security`; a unit without any hardening has 9.6."""
JUDGED_SINCE = 252
"""Older ones know less of the hardening, and count what they do not know as lacking."""


def services(member):
    return [DAEMONS[name].service for name in member.components]


def test_exposure_is_within_the_budget(host, member, record_property):
    version = int(host.check_output("systemctl --version").split()[1])
    text = host.check_output(f"systemd-analyze security --no-pager {' '.join(services(member))}")
    found = dict(re.findall(r"exposure level for (\S+): ([\d.]+) ", text))
    record_property("exposure", found)
    assert set(found) == set(services(member)), text
    budget = BUDGET if version >= JUDGED_SINCE else 10
    assert {unit: e for unit, e in found.items() if float(e) > budget} == {}


def test_verify_has_nothing_to_say(host, member):
    paths = " ".join(f"{topology.UNIT_DIR}/{service}" for service in services(member))
    done = host.run(f"systemd-analyze verify {paths}")
    assert (done.rc, done.stdout, done.stderr) == (0, "", "")
