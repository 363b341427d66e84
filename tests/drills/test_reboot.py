"""Every host is rebooted, one of each tier at a time, and comes back as it was without anybody's help."""

from __future__ import annotations

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.site.members import Member, Site
from tests.drills.probe import Probe
from tests.drills.site import healthy, on_all, run_site, shell, units, wait_for
from tests.lab import plan

pytestmark = pytest.mark.usefixtures("restored")


def _booted(host: str, before: str) -> bool:
    boot, state, *_ = shell(
        host, "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running", check=False
    ).split()
    return boot != before and state in ("running", "degraded")


def _units(member: Member) -> list[str]:
    return [DAEMONS[component].unit for component in member.components]


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


def _tiers(member: Member) -> set[str]:
    """What must not be down on two hosts at once.

    The bucket counts as a receiver: one that starts without its bucket holds each query up until it gives up to upload,
    and nothing but the querier's 30 s bounds that (docs/measured.md).
    """
    return set(member.components) - {"node_exporter"} | ({"thanos-receive"} if member.name == plan.S3_HOST else set())


def _waves(site: Site) -> list[list[Member]]:
    """All hosts, in a few waves, none with two members of a tier."""
    waves: list[list[Member]] = []
    for member in site.hosts.values():
        for wave in waves:
            if not any(_tiers(member) & _tiers(other) for other in wave):
                wave.append(member)
                break
        else:
            waves.append([member])
    return waves


def test_every_host_in_waves_with_one_of_each_tier(site: Site) -> None:
    waves = _waves(site)
    assert max(map(len, waves)) > 1 and sum(map(len, waves)) == len(site.hosts)
    with Probe(site) as probe:
        for wave in waves:
            names = [member.name for member in wave]
            before = {member.name: _settings(member) for member in wave}
            boots = {}
            for member in wave:
                for key, wanted in member.settings.sysctl.items():
                    assert before[member.name][key] == str(wanted).split(), f"{member.name}: {key}"
                boots[member.name] = shell(member.name, "cat /proc/sys/kernel/random/boot_id").strip()
            on_all(lambda host: shell(host, "systemctl reboot", check=False), names)
            for member in wave:
                wait_for(
                    f"{member.name} to boot",
                    lambda member=member, boots=boots: _booted(member.name, boots[member.name]),
                    120,
                )
                wait_for(f"the units of {member.name}", lambda member=member: _is_back(member), 60)
                assert _settings(member) == before[member.name], member.name
            wait_for(f"the site with {', '.join(names)} again", lambda: healthy(site), 60)
    run = run_site()
    assert run.status == 0 and run.changed == {}, str(run)
    probe.assert_never_blind()
