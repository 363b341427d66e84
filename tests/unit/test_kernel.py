"""Kernel values: above all the ports that no outgoing connection may be given, merged with those of others."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from prometheus_ha.deploys.lib.common import kernel
from prometheus_ha.deploys.lib.common.look_script import default_script
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.thanos import CAPNPROTO_PORT
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.topology import PORT_RANGE, PORTS_FILE, RESERVED_PORTS
from prometheus_ha.facts.reports.look import parse
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK, print_look, run_site
from tests.unit.simulated import Host

SITE = example_site(storage=True)
AM = SITE.hosts["am-1"]
OURS = "9093-9094,9096-9097,9100"


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("", set()),
        ("9090", {9090}),
        ("9093,9090-9091", {9090, 9091, 9093}),
    ],
)
def test_ports_are_read_and_written_as_the_kernel_does(text, ports):
    assert topology.read_ports(text) == ports
    assert topology.read_ports(topology.write_ports(ports)) == ports


@pytest.mark.parametrize("text", ["x", "0", "70000", "9-8", "9090;9091"])
def test_what_the_kernel_refuses_is_refused(text):
    with pytest.raises(ValueError):
        topology.read_ports(text)


def test_runs_of_ports_are_written_as_the_kernel_prints_them():
    assert topology.write_ports({9093, 9090, 9091, 80, 81, 82}) == "80-82,9090-9091,9093"


def test_every_port_of_every_component_is_reserved():
    for member in SITE.hosts.values():
        wanted = {
            getattr(member.settings, port.setting)
            for name in member.components
            for port in DAEMONS[name].ports.values()
        }
        assert wanted and wanted <= kernel.ports(member), member.name


def test_so_are_those_that_no_setting_holds():
    # As `ss` shows them of a running `weed server` with our flags.
    assert kernel.ports(SITE.hosts["store-1"]) == {
        *(8080, 18080, 8333, 18333, 8888, 18888, 9333, 19333, 9327),
        9100,
    }
    assert CAPNPROTO_PORT in kernel.ports(SITE.hosts["ring-1"])
    moved = example_site(seaweedfs_flags={"filer.port": 8889})
    assert {8889, 18889} <= kernel.ports(moved.hosts["store-1"])


def test_so_is_that_of_the_prometheus_beside_a_sidecar():
    site = example_site(storage=True, attached_url="http://127.0.0.1:9099/prom")
    assert 9099 in kernel.ports(site.hosts["side-1"])


# --- Merging --------------------------------------------------------------------------------------


def state(live="", files=None, **sysctl):
    values = {**BLANK.sysctl, RESERVED_PORTS: live, **sysctl}
    return replace(BLANK, sysctl=values, reserved_ports=files or {})


def both(found, member=AM):
    """What is reserved in our file, and in the running kernel."""
    file = kernel.files(member, found).get(PORTS_FILE, {}).get(RESERVED_PORTS)
    return file, kernel.live(member, found).get(RESERVED_PORTS)


def test_what_is_in_the_running_kernel_stays_there():
    assert both(state("8000-8002,9093")) == (OURS, f"8000-8002,{OURS}")


def test_what_other_files_reserve_is_reserved_by_ours_too():
    files = {"/etc/sysctl.d/50-app.conf": "7000", "/etc/sysctl.d/99-sysctl.conf": "8000"}
    # Without ours the last of them would hold.
    assert both(state("8000", files)) == (f"8000,{OURS}", f"8000,{OURS}")


def test_a_port_that_is_ours_no_more_goes_and_those_of_others_stay():
    files = {PORTS_FILE: "8000,9090,9100,10901-10902", "/etc/sysctl.d/50-app.conf": "8000"}
    found = state("7000,8000,9090,9100,10901-10902", files)
    assert both(found) == (f"8000,{OURS}", f"7000,8000,{OURS}")


def test_what_an_administrator_took_from_his_file_goes():
    assert both(state(f"8000,{OURS}", {PORTS_FILE: f"8000,{OURS}"})) == (OURS, OURS)


def test_what_he_sets_in_the_inventory_is_merged():
    for key in (RESERVED_PORTS, RESERVED_PORTS.replace(".", "/")):
        member = example_site(sysctl={PORT_RANGE: "1024 65000", key: "8000-8001"}).hosts["am-1"]
        assert both(state(), member) == (f"8000-8001,{OURS}", f"8000-8001,{OURS}")
        assert RESERVED_PORTS not in kernel.files(member, state())[topology.SYSCTL_FILE]


def test_nothing_is_reserved_where_no_port_of_ours_can_be_given_away():
    """So that a container whose kernel values cannot be set needs none."""
    member = example_site(sysctl={}).hosts["am-1"]
    assert both(state("8000"), member) == (None, None)
    assert both(state(f"8000,{OURS}", {PORTS_FILE: OURS}), member) == (None, "8000")
    within = replace(state(), sysctl={**state().sysctl, PORT_RANGE: "9094 60999"})
    assert both(within, member) == (OURS, OURS)


def test_ports_are_reserved_before_the_range_is_widened():
    keys = list(kernel.differing(AM, state()))
    assert keys.index(RESERVED_PORTS) < keys.index(PORT_RANGE)


def test_a_file_that_is_read_after_ours_and_frees_our_ports_is_named():
    later = "/run/sysctl.d/99-zzz.conf"
    assert kernel.overridden(AM, state(OURS, {later: "8000", PORTS_FILE: OURS})) == {later: "8000"}
    whole = {later: f"8000,{OURS}", PORTS_FILE: f"8000,{OURS}"}
    assert kernel.overridden(AM, state(OURS, whole)) == {}
    assert kernel.overridden(AM, state(OURS, {"/etc/sysctl.d/99-sysctl.conf": "1"})) == {}


# --- The look -------------------------------------------------------------------------------------


def test_the_look_reads_what_is_reserved_by_which_file(tmp_path):
    texts = {
        "etc/sysctl.d/50-app.conf": f"# {RESERVED_PORTS} = 1\n-net/ipv4/ip_local_reserved_ports=7000\n",
        "etc/sysctl.d/60-other.conf": "vm.swappiness = 1\n",
        "etc/sysctl.conf": f"{RESERVED_PORTS} = 8000, 8001\n",
        "usr/lib/sysctl.d/50-app.conf": f"{RESERVED_PORTS} = 9\n",
        "usr/lib/sysctl.d/60-other.conf": f"{RESERVED_PORTS} = 9\n",
        "usr/lib/sysctl.d/70-vendor.conf": f"{RESERVED_PORTS} = 6000\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    places = "/etc /run /usr/local/lib /usr/lib /lib"
    script = default_script()
    assert places in script
    here = " ".join(f"{tmp_path}{place}" for place in places.split())
    script = script.replace(places, here)
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    found = parse(done.stdout.splitlines())
    assert found.reserved_ports == {
        f"{tmp_path}/etc/sysctl.d/50-app.conf": "7000",
        f"{tmp_path}/etc/sysctl.d/99-sysctl.conf": "8000, 8001",
        f"{tmp_path}/usr/lib/sysctl.d/70-vendor.conf": "6000",
    }
    assert RESERVED_PORTS in found.sysctl


def test_what_is_printed_for_recorded_hosts_is_what_the_look_reads():
    found = state("8000", {PORTS_FILE: OURS})
    again = parse(print_look(found).splitlines())
    assert (again.sysctl, again.reserved_ports) == (found.sysctl, found.reserved_ports)


# --- Runs -----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run(**options):
        # A directory of its own: pyinfra remembers group data by their path.
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        return run_site(place, monkeypatch, "--limit", "am-1", deploy="kernel", **options)

    return run


def test_a_run_reserves_merges_and_lets_go(run):
    hosts = {"am-1": Host(state("7000", {"/etc/sysctl.d/99-sysctl.conf": "8000"}))}
    done = run(hosts=hosts)
    assert done.rc == 0, done.output
    has = hosts["am-1"].state
    assert has.sysctl[RESERVED_PORTS] == f"7000,8000,{OURS}"
    assert f"{RESERVED_PORTS} = 8000,{OURS}\n" in hosts["am-1"].contents[PORTS_FILE]
    assert has.sysctl[PORT_RANGE] == "1024 65000"
    assert run(hosts=hosts).commands["am-1"] == ["look"]
    # A port that moved; and the administrator's, who needs it no more.
    del has.reserved_ports["/etc/sysctl.d/99-sysctl.conf"]
    done = run(hosts=hosts, data="alertmanager_port = 9193\n")
    assert done.rc == 0, done.output
    assert has.sysctl[RESERVED_PORTS] == "7000,9094,9096-9097,9100,9193"
    assert run(hosts=hosts, data="alertmanager_port = 9193\n").commands["am-1"] == ["look"]
    done = run(hosts=hosts, data='sysctl = {"net.ipv4.ip_local_port_range": "20000 60999"}\n')
    assert done.rc == 0, done.output
    assert has.sysctl[RESERVED_PORTS] == "7000" and PORTS_FILE not in has.paths


def test_a_run_that_was_killed_before_its_files_is_completed(run):
    hosts = {"am-1": Host(state("9090", {PORTS_FILE: "9090"}))}
    fail = lambda host, script: PORTS_FILE in script  # noqa: E731
    assert run(hosts=hosts, fail=fail).rc != 0
    assert hosts["am-1"].state.sysctl[RESERVED_PORTS] == OURS
    assert run(hosts=hosts).rc == 0
    assert hosts["am-1"].state.sysctl[RESERVED_PORTS] == OURS
    assert run(hosts=hosts).commands["am-1"] == ["look"]


@pytest.mark.parametrize("key", ["net.core.no_such", "net/core/no_such"])
def test_a_value_that_the_kernel_has_not_is_refused_before_a_change(run, key):
    hosts = {}
    done = run(hosts=hosts, data=f'sysctl = {{"{key}": 1}}\n')
    assert done.rc != 0
    assert "its kernel has no net.core.no_such" in done.output
    assert "nothing was changed" in done.commands["am-1"][-1] and not hosts["am-1"].contents


def test_a_value_that_is_named_by_its_path_converges(run):
    hosts = {}
    data = 'sysctl = {"net/core/somaxconn": 8192}\n'
    assert run(hosts=hosts, data=data).rc == 0
    assert hosts["am-1"].state.sysctl["net.core.somaxconn"] == "8192"
    assert run(hosts=hosts, data=data).commands["am-1"] == ["look"]
