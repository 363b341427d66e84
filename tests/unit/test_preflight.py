"""What preflight finds in hosts as they are, and how a run takes it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from prometheus_ha.deploys.lib.daemons import PRODUCTS
from prometheus_ha.deploys.lib.ground.topology import join
from prometheus_ha.deploys.lib.run.configure import PYINFRA
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.survey import preflight
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.deploys.lib.survey.preflight import CHECKS, View, gossip, judge, table
from prometheus_ha.facts.reports.look import Process
from prometheus_ha.facts.reports.survey import Chain, Directory, Holder, Room, UnitFile
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK, ROOT, print_survey, run_site
from tests.unit.test_facts_survey import recorded

GIGABYTE = 10**9


def blank(site, name, **changes):
    """A blank host of `site`, large and fast, all of whose peers refuse."""
    host = recorded("blank_debian12")
    reach = {"": "tried"} | {e.target: "refused" for e in site.dials(site.hosts[name])}
    large = {"cpus": 8, "memory": 64 * GIGABYTE, "reach": reach}
    return replace(host, **{**large, **changes})


def found(site, looks=None, dead=(), only=(), **hosts):
    """The findings where `hosts` (name with _ -> changes) differ from blank ones."""
    names = only or [name for name in site.hosts if name not in dead]
    changes = {name.replace("_", "-"): value for name, value in hosts.items()}
    seen = {name: blank(site, name, **changes.get(name, {})) for name in names}
    looks = {name: BLANK for name in names} | (looks or {})
    return judge(View(site, seen, looks, dead))


def one(results):
    assert len(results) == 1, results
    return results[0]


SITE = example_site()


def test_blank_hosts_have_nothing_to_be_said_of():
    assert found(SITE) == []
    assert table(SITE, []) == []


def test_hosts_of_ours_have_nothing_to_be_said_of():
    ours = recorded("deployed_debian12")
    changes = {"holders": ours.holders, "units": ours.units, "data": ours.data}
    assert found(SITE, prom_1=changes) == []


@pytest.mark.parametrize(
    ("look", "check", "severity"),
    [
        ({"os": "ubuntu", "os_version": "22.04"}, "os", "warn"),
        ({"os": "rocky", "os_version": "9.4"}, "os", "warn"),
        ({"os": "arch", "os_version": ""}, "os", "fail"),
        ({"os_version": "10"}, "os", "fail"),
        ({"machine": "aarch64"}, "arch", "warn"),
        ({"machine": "riscv64"}, "arch", "fail"),
        ({"systemd": 219}, "systemd", "fail"),
    ],
)
def test_systems(look, check, severity):
    result = one(found(SITE, looks={"am-1": replace(BLANK, **look)}))
    assert (result.host, result.check, result.severity) == ("am-1", check, severity)


@pytest.mark.parametrize(
    ("said", "severity"),
    [
        (["was 10.0.0.21"], None),  # as it was: nothing else was asked
        (["was 10.0.0.9", "has 127.0.0.1", "has 10.0.0.21"], None),
        (["was 10.0.0.9", "has 127.0.0.1", "has 10.0.0.9", "has fe80::1"], "fail"),
        (["was 10.0.0.9"], None),  # no ip: not known
        (["has 10.0.0.9"], None),  # a blank host: reach tries whether it is behind NAT
    ],
)
def test_an_address_that_changed_is_the_hosts_own(said, severity):
    changes = {"am_1": {"asked": {"address": said}}}
    results = found(SITE, **changes)
    assert [(r.host, r.check, r.severity) for r in results] == ([("am-1", "address", severity)] if severity else [])
    if severity:
        assert "10.0.0.21, which no interface has (10.0.0.9); it was 10.0.0.9" in results[0].found
        assert found(example_site(preflight={"address": "off"}), **changes) == []


def test_an_address_of_before_they_were_recorded_is_a_warning():
    ours = recorded("deployed_debian12")
    changes = {"holders": ours.holders, "units": ours.units, "data": ours.data}
    asked = {"asked": {"address": ["has 10.0.0.9"]}}
    assert one(found(SITE, prom_1=changes | asked)).severity == "warn"


def test_the_hosts_own_shell_says_what_its_address_was(tmp_path):
    place = tmp_path / "address"

    def ask(address):
        script = preflight._address_script(address).replace("/etc/.monitoring/address", str(place))
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
        return done.stdout.splitlines()

    if shutil.which("ip"):
        assert "has 127.0.0.1" in ask("10.0.0.21")
    assert {"is 127.0.0.1", "is ::1"} & {*ask("localhost")}
    place.write_text("10.0.0.21\n")
    assert ask("10.0.0.21") == ["was 10.0.0.21"]
    assert ask("10.0.0.22")[0] == "was 10.0.0.21"


def test_who_is_not_root_is_told_that_and_nothing_else():
    look = replace(BLANK, account="deploy (uid 1000)", systemd=219)
    result = one(found(SITE, looks={"am-1": look}))
    assert (result.host, result.check, result.severity) == ("am-1", "root", "fail")
    assert "deploy (uid 1000)" in result.found and '"_sudo": True' in result.advice
    allowed = example_site(preflight={"root": "off"})
    assert one(found(allowed, looks={"am-1": look})).check == "systemd"


def test_small_machines():
    results = found(SITE, prom_1={"cpus": 2, "memory": 4 * GIGABYTE}, am_1={"memory": GIGABYTE})
    assert {(r.host, r.check, r.severity) for r in results} == {
        ("prom-1", "cpu", "warn"),
        ("prom-1", "memory", "warn"),
    }


def room(place, **changes):
    given = {"mount": "/", "free": 50 * GIGABYTE, "size": 100 * GIGABYTE, "free_inodes": 10**6}
    return {place: Room(place, place, **{**given, **changes})}


@pytest.mark.parametrize(
    ("rooms", "check", "says"),
    [
        (room("/var/lib/prometheus/data", kind="rotational"), "disk-kind", "rotating"),
        (room("/usr/local", mount="/usr", options=("ro",)), "read-only", "remount,rw /usr"),
        (room("/opt", mount="/opt", options=("noexec",)), "noexec", "remount,exec /opt"),
        (room("/opt", free=300 * 10**6), "disk-space", "790 MB for /opt"),
        (room("/etc", free_inodes=3), "disk-space", "3 inodes free"),
        (room("/var/lib/prometheus/data", free=2 * GIGABYTE), "disk-space", "5% and 1 GB"),
    ],
)
def test_disks(rooms, check, says):
    result = one(found(SITE, prom_1={"room": rooms}))
    assert (result.host, result.check) == ("prom-1", check)
    assert says in f"{result.found} {result.wanted} {result.advice}"
    assert result.severity == CHECKS[check][0]


def test_data_may_be_mounted_noexec():
    data = room("/var/lib/prometheus/data", mount="/data", options=("noexec",))
    assert found(SITE, prom_1={"room": data}) == []


def test_needs_on_one_file_system_are_added_up():
    rooms = {}
    for place in ("/opt", "/etc", "/usr/local", "/var/log/prometheus"):
        rooms |= room(place, free=800 * 10**6)
    result = one(found(SITE, prom_1={"room": rooms}))
    assert "915 MB for /opt, /etc, /usr/local, /var/log/prometheus" in result.wanted


def test_a_full_disk_of_a_running_site_may_be_mended_by_the_run():
    full = room("/var/lib/prometheus/data", free=2 * GIGABYTE)
    ours = recorded("deployed_debian12").holders
    assert one(found(SITE, prom_1={"room": full, "holders": ours})).severity == "warn"


NGINX = Holder("tcp", 9100, "0.0.0.0", 12, "nginx", "/usr/sbin/nginx", "nginx.service", "nginx")


@pytest.mark.parametrize(
    "holder",
    [
        NGINX,
        replace(NGINX, unit="node_exporter.service"),  # by our name, and not ours
        replace(NGINX, exe="/opt/own/server"),
        Holder("tcp", 9100, "::"),  # of another container
    ],
)
def test_a_port_of_ours_is_held(holder):
    result = one(found(SITE, am_1={"holders": [holder]}))
    assert (result.host, result.check, result.severity) == ("am-1", "ports", "fail")
    assert "TCP 9100" in result.found and "node_exporter" in result.wanted


def test_the_holder_is_named():
    result = one(found(SITE, am_1={"holders": [NGINX]}))
    assert result.found == "TCP 9100: nginx (pid 12, nginx.service, package nginx)"
    assert "node_exporter_port" in result.advice and "take_over" not in result.advice


def test_udp_on_a_tcp_port_is_no_matter():
    assert found(SITE, am_1={"holders": [replace(NGINX, proto="udp")]}) == []


PACKAGED = {
    "holders": [
        Holder(
            *("tcp", 9090, "::", 5, "prometheus", "/usr/bin/prometheus"),
            *("prometheus.service", "prometheus"),
        )
    ],
    "units": [
        UnitFile(
            *("prometheus", "/lib/systemd/system/prometheus.service", False),
            *(True, "enabled", "prometheus"),
        ),
        UnitFile(
            "prometheus-node-exporter",
            "/lib/systemd/system/prometheus-node-exporter.service",
            *(False, False, "disabled", "prometheus-node-exporter"),
        ),
    ],
}


def test_the_distributions_prometheus_is_refused():
    results = found(SITE, prom_1=PACKAGED)
    assert [(r.check, r.severity) for r in results] == [("ports", "fail"), ("units", "fail")]
    assert all("take_over = True" in r.advice for r in results)
    assert "package prometheus" in results[1].found


def test_or_taken_over():
    results = found(example_site(take_over=True), prom_1=PACKAGED)
    assert [(r.check, r.severity) for r in results] == [("ports", "note"), ("units", "note")]


def test_what_lies_under_our_unit_is_no_matter():
    ours = UnitFile("prometheus", "/etc/systemd/system/prometheus.service", True)
    assert found(SITE, prom_1={"units": [*PACKAGED["units"], ours]}) == []


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ("prometheus:x:999:997::/nonexistent:/sbin/nologin", None),
        ("prometheus:x:104:110::/var/lib/prometheus:/usr/sbin/nologin", None),
        ("prometheus:x:5000:5000::/srv/prometheus:/bin/false", "warn"),
        ("prometheus:x:5000:5000:P:/home/prometheus:/bin/bash", "fail"),
        ("prometheus:x:0:0::/root:/sbin/nologin", "fail"),
    ],
)
def test_accounts(line, severity):
    look = replace(BLANK, users={"prometheus": line})
    results = found(SITE, looks={"am-1": look})
    assert [(r.check, r.severity) for r in results] == ([("user", severity)] if severity else [])


def directory(path, owner, **inside):
    return {path: Directory(path, owner, inside)}


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (directory("/var/lib/prometheus/data", "root"), False),
        (directory("/var/lib/prometheus/data", "prometheus", wal="prometheus"), False),
        (directory("/var/lib/prometheus", "root", data="prometheus"), False),
        (directory("/var/lib/prometheus/data", "root", wal="root"), True),
        (directory("/var/lib/prometheus/data", "prometheus", wal="5000"), True),
        (directory("/var/lib/prometheus", "anna", letters="anna"), True),
    ],
)
def test_data_of_others(data, refused):
    results = found(SITE, prom_1={"data": data})
    assert [(r.check, r.severity) for r in results] == ([("data", "fail")] if refused else [])


# --- Reach and firewalls --------------------------------------------------------------------------


def silent(site, name, *ports, says=None):
    """What `name` says where the ports do not answer it: (host, port)."""
    reach = blank(site, name).reach
    for host, port in ports:
        target = join(site.hosts[host].address, port)
        reach.pop(target)
        if says:
            reach[target] = says
    return {"reach": reach}


STRICT = {"chains": [Chain("inet", "filter", "input", "drop")]}
SILENT = {
    "prom_1": silent(SITE, "prom-1", ("am-1", 9100), ("am-1", 9093)),
    "prom_2": silent(SITE, "prom-2", ("am-1", 9100), ("am-1", 9093)),
}


def test_a_peer_that_does_not_answer():
    result = one(found(SITE, **SILENT))
    assert (result.host, result.check, result.severity) == ("am-1", "reach", "fail")
    assert result.found == "TCP 9093, 9100 from prom-1, prom-2: timeout"


def test_no_route():
    prom = silent(SITE, "prom-1", ("am-1", 9100), says="unreachable")
    assert one(found(SITE, prom_1=prom)).found == "TCP 9100 from prom-1: unreachable"


def test_a_dead_host_does_not_stop_the_living():
    assert found(SITE, dead={"am-1"}, **SILENT) == []


def test_nor_does_one_that_is_not_in_this_run():
    assert one(found(SITE, only=["prom-1", "prom-2"], **SILENT)).severity == "warn"


def test_nor_an_outage_of_a_running_site():
    ours = recorded("deployed_debian11").holders
    assert one(found(SITE, am_1={"holders": ours}, **SILENT)).severity == "warn"


def test_a_strict_firewall_is_named_with_its_ports_and_the_way_out():
    reach, firewall = found(SITE, am_1=STRICT, **SILENT)
    assert (reach.check, reach.severity) == ("reach", "fail")
    assert 'firewall = "open"' in reach.advice
    assert (firewall.check, firewall.severity) == ("firewall", "warn")
    assert "TCP 9093, 9094, 9096, 9100; UDP 9094" in firewall.wanted


def test_a_firewall_that_lets_all_in_is_no_matter_where_that_can_be_tried():
    assert found(SITE, query_1=STRICT) == []
    # Gossip is UDP too.
    assert one(found(SITE, am_1=STRICT)).check == "firewall"


def test_a_firewall_that_is_opened_by_the_run():
    results = found(example_site(firewall="open"), am_1=STRICT, **SILENT)
    assert [(r.check, r.severity) for r in results] == [("reach", "note")]


def test_one_that_is_opened_to_an_address_that_may_be_another_is_not_called_open():
    site = example_site(firewall="open")
    prom = replace(site.hosts["prom-1"], address="prom-1.example", management="192.0.2.1")
    site = Site({**site.hosts, "prom-1": prom})
    result = one(found(site, am_1=STRICT, prom_1=silent(site, "prom-1", ("am-1", 9093))))
    assert (result.check, result.severity) == ("reach", "warn")
    assert "ssh_hostname alone of prom-1" in result.advice


@pytest.mark.parametrize("lacks", [{"reach": {}}, {"listeners": False}])
def test_no_bash_and_no_ss(lacks):
    assert one(found(SITE, am_1=lacks)).severity == "warn"


def test_selinux():
    assert one(found(SITE, am_1={"selinux": "enforcing"})).severity == "warn"


def test_what_is_dialled():
    targets = {(e.host_name, e.port) for e in SITE.dials(SITE.hosts["query-1"])}
    assert targets == {
        *(("prom-1", 10901), ("prom-2", 10901), ("prom-1", 10902), ("prom-2", 10902)),
        ("query-2", 10903),
    }
    dialled = SITE.dialled(SITE.hosts["am-1"])
    assert {m.name for m in dialled["udp", 9094]} == {"am-2", "am-3"}
    assert {m.name for m in dialled["tcp", 9093]} == {"prom-1", "prom-2", "am-2", "am-3"}
    assert {m.name for m in dialled["tcp", 9100]} == {"prom-1", "prom-2"}


# --- Zones, severities, table ---------------------------------------------------------------------


def zoned(**zones):
    hosts = {
        name: replace(m, settings=m.settings.model_copy(update={"zone": zones.get(name[:2], "a")}))
        for name, m in SITE.hosts.items()
    }
    return replace(SITE, hosts=hosts)


def test_a_tier_in_one_zone():
    results = found(zoned())
    assert {r.found for r in results} == {
        "all of cluster main in zone a",
        "all of alertmanager in zone a",
        "all of querier in zone a",
    }
    assert all(r.severity == "warn" for r in results)
    assert found(zoned(pr=None, am=None, qu=None)) == []


@pytest.mark.parametrize(("severity", "wanted"), [("warn", ["warn"]), ("fail", ["fail"]), ("off", [])])
def test_severities_are_settings(severity, wanted):
    site = example_site(preflight={"ports": severity, "cpu": severity})
    results = found(site, am_1={"holders": [NGINX]}, am_2={"cpus": 1})
    assert [r.severity for r in results] == wanted * 2


def settings_of(**data):
    host = {"groups": ["node_exporter"], "data": {"ssh_hostname": "10.0.0.1", **data}}
    return site_from_dicts({"a": host}).hosts["a"].settings


def test_an_unknown_check_names_the_nearest():
    with pytest.raises(Exception, match="did you mean ports"):
        settings_of(preflight={"prots": "off"})
    with pytest.raises(Exception, match=r"preflight\.ports: found 'never'"):
        settings_of(preflight={"ports": "never"})


def test_every_finding_has_a_check_of_the_table():
    assert {"fail", "warn"} == {severity for severity, _ in CHECKS.values()}


def test_every_check_is_in_the_documentation():
    text = (ROOT / "docs/running.md").read_text().partition("### Before the first run")[2]
    assert [name for name in CHECKS if f"`{name}`" not in text] == []


def test_what_hosts_share_is_said_once():
    results = found(SITE, **{n.replace("-", "_"): {"cpus": 2} for n in SITE.hosts})
    head, line = table(SITE, results)
    assert line.startswith(f"warn  all {len(SITE.hosts)}  cpu")
    assert head.index("what to do") == line.index("fine for")


def test_gossip_is_spoken_of_until_it_is_there():
    looks = {name: BLANK for name in SITE.hosts}
    assert gossip(View(SITE, {}, looks, set())) == [
        "UDP 9094 (gossip) cannot be tried: a firewall between Alertmanagers must let it through, too"
    ]
    running = replace(BLANK, processes={"alertmanager": Process(1, "/opt/alertmanager-0.35.0/alertmanager", ())})
    assert gossip(View(SITE, {}, dict.fromkeys(SITE.hosts, running), set())) == []


# --- Runs -----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    return lambda *arguments, **options: run_site(tmp_path, monkeypatch, *arguments, **options)


def lines(done, word):
    # pyinfra adds a handler to its log with each run in one process, and each of them prints.
    handlers = done.output.count("--> Loading config...")
    return [line for line in done.output.splitlines() if word in line][::handlers]


def deaf(script):
    """A host that reaches no node_exporter on the first Alertmanager."""
    return print_survey(script, silent="^10.1.0.21/9100$")


def test_one_failure_ends_the_run_of_all_hosts_before_any_change(run):
    done = run(surveys={"prom-1": deaf, "prom-2": deaf})
    assert done.rc == 1
    assert len(lines(done, "what to do")) == 1
    assert len(lines(done, "TCP 9100 from prom-1, prom-2: timeout")) == 1
    for scripts in done.commands.values():
        look, refused = scripts
        assert look == "look" and "nothing was changed" in refused


def test_so_does_one_that_is_seen_while_planning(run):
    done = run("--dry", yes=False, surveys={"prom-1": deaf})
    assert done.rc == 1
    assert len(lines(done, "TCP 9100 from prom-1: timeout")) == 1
    assert lines(done, "nothing was changed")
    assert {command for commands in done.commands.values() for command in commands} == {"look"}


def test_the_table_is_printed_once_when_planning(run):
    done = run("--dry", yes=False)
    assert done.rc == 0 and len(lines(done, "what to do")) == 1


def test_a_warning_stops_nobody(run):
    done = run("--limit", "prometheus", surveys={"prom-1": deaf}, data='preflight = {"reach": "warn"}\n')
    assert done.rc == 0 and lines(done, "TCP 9100 from prom-1: timeout")


def test_a_limited_run_asks_its_own_hosts_about_all_peers(run):
    done = run("--limit", "prom-1", surveys={"prom-1": deaf})
    assert done.rc == 0 and list(done.commands) == ["prom-1"]
    assert lines(done, "is it up? It is not in this run")


def test_alone_it_changes_nothing_and_counts_nothing(run):
    done = run(deploy="preflight")
    assert done.rc == 0
    assert {command for commands in done.commands.values() for command in commands} == {"look"}
    assert not lines(done, "Success: ")


def test_a_host_that_cannot_be_read_is_refused(run):
    done = run("--limit", "prometheus", surveys={"prom-1": lambda script: "no survey"})
    assert done.rc == 1 and lines(done, "prometheus_ha.facts.survey: not understood")


@pytest.mark.parametrize("deploy", ["site", "kernel", "verify"])
def test_a_forgotten_sudo_is_no_lock_of_another_run(run, deploy):
    states = {name: replace(BLANK, account="deploy") for name in ("am-1", "am-2")}
    locks = dict.fromkeys(states, "")
    done = run("--limit", "am-1", "--limit", "am-2", deploy=deploy, states=states, locks=locks)
    assert done.rc == 1
    assert "commands are run as deploy" in done.output and '"_sudo": True' in done.output
    assert "another run" not in done.output and "break_lock" not in done.output
    for look, *refused in done.commands.values():
        assert look == "look" and all("exit 1" in script for script in refused)


def test_a_lock_that_cannot_be_written_by_root_either(run):
    done = run("--limit", "am-1", deploy="kernel", locks={"am-1": ""})
    assert done.rc == 1 and done.commands == {"am-1": ["look"]}
    assert "/run/monitoring.lock could not be written" in done.output
    assert "another run" not in done.output


def test_the_default_script_asks_for_all_ports():
    for port in (9090, 9093, 9094, 9100, 10901, 10902, 10903, 10904):
        assert f"sport = :{port}" in preflight.default_script()


def test_the_room_that_each_release_takes_is_known():
    assert all(product.unpacked > 0 for product in PRODUCTS.values())


def test_seaweedfs_does_not_fit_where_it_was_taken_for_a_hundred_megabytes():
    result = one(found(SITE, store_1={"room": room("/opt", free=200 * 10**6)}))
    assert (result.check, result.wanted) == ("disk-space", "290 MB for /opt")


def test_pyinfra_is_pinned_once():
    assert f" pyinfra{PYINFRA}\n" in (ROOT / "setup.cfg").read_text()
