"""Every host is rebooted in turn, and comes back as it was without anybody's help."""

from __future__ import annotations

import pytest

from deploys.lib import topology
from deploys.lib.site import Member, Site
from tests.drills.probe import Probe
from tests.drills.site import healthy, run_site, shell, units, wait_for

pytestmark = pytest.mark.usefixtures("restored")


def _booted(host: str, before: str) -> bool:
    boot, state, *_ = shell(
        host, "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running", check=False
    ).split()
    return boot != before and state in ("running", "degraded")


def _units(member: Member) -> list[str]:
    return [topology.COMPONENTS[component].unit for component in member.components]


def _settings(member: Member) -> dict[str, list[str]]:
    """Kernel values of a host, and the limits its daemons run with."""
    found = {key: shell(member.name, f"sysctl -n {key}").split() for key in member.settings.sysctl}
    for unit in _units(member):
        script = f"grep -E 'open files|processes' /proc/$(systemctl show -p MainPID {unit} | cut -d= -f2)/limits"
        found[unit] = shell(member.name, script).split()
    return found


def _is_back(member: Member) -> bool:
    found = units([member.name])
    assert set(found) == {(member.name, unit) for unit in _units(member)}, str(found)
    assert {unit.state for unit in found.values()} == {"active"}, str(found)
    return True


def test_every_host_in_turn(site: Site) -> None:
    with Probe(site) as probe:
        for member in site.hosts.values():
            before = _settings(member)
            for key, wanted in member.settings.sysctl.items():
                assert before[key] == str(wanted).split(), f"{member.name}: {key}"
            boot = shell(member.name, "cat /proc/sys/kernel/random/boot_id").strip()
            shell(member.name, "systemctl reboot", check=False)
            wait_for(
                f"{member.name} to boot",
                lambda member=member, boot=boot: _booted(member.name, boot),
                60,
            )
            wait_for(f"the units of {member.name}", lambda member=member: _is_back(member), 60)
            assert _settings(member) == before, member.name
            wait_for(f"the site with {member.name} again", lambda: healthy(site), 60)
    run = run_site()
    assert run.status == 0 and run.changed == {}, str(run)
    probe.assert_never_blind()
