"""Runs of the whole site, of one role and of some hosts, on hosts that only record."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path as File

import pytest
import yaml
from pyinfra.api.exceptions import ConnectError
from pyinfra.context import ctx_state

from prometheus_ha.deploys.lib.run import plan
from prometheus_ha.facts.reports.look import Path, Process
from tests.unit.recorded import BLANK, ROOT, first_run, run_site

ROLE_OF = {"prom": "prometheus", "am": "alertmanager", "query": "querier"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    return lambda *arguments, **options: run_site(tmp_path, monkeypatch, *arguments, **options)


@pytest.fixture
def site():
    """A run of the whole site on blank hosts: it is only read."""
    return first_run()


def test_every_host_is_looked_at_and_gets_its_files(site):
    assert set(site.commands) == {
        "prom-1",
        "prom-2",
        "am-1",
        "am-2",
        "am-3",
        "query-1",
        "query-2",
        "store-1",
        "upper-1",
        "upper-2",
    }
    assert "/etc/prometheus/prometheus.yml" in site.files["prom-1"]
    assert "/etc/alertmanager/alertmanager.yml" in site.files["am-3"]
    assert "/etc/prometheus/prometheus.yml" not in site.files["am-1"]
    labels = {
        name: yaml.safe_load(site.files[name]["/etc/prometheus/prometheus.yml"])["global"]["external_labels"]
        for name in ("prom-1", "prom-2")
    }
    assert labels == {
        "prom-1": {"cluster": "main", "replica": "a"},
        "prom-2": {"cluster": "main", "replica": "b"},
    }


def test_roles_come_in_order_and_turns_in_the_inventorys(site):
    turns = [name for name in site.order if ": turn of " in name]
    assert turns == [
        *(f"alert_relay: turn of am-{n}" for n in (1, 2, 3)),
        *(f"alertmanager: turn of am-{n}" for n in (1, 2, 3)),
        *(f"store: turn of {name}" for name in ("query-2", "store-1")),
        *(f"prometheus: turn of prom-{n}" for n in (1, 2)),
        *(f"querier: turn of query-{n}" for n in (1, 2)),
        *(f"query-frontend: turn of query-{n}" for n in (1, 2)),
        "compactor: turn of store-1",
        "bucket-web: turn of store-1",
        *(f"prometheus-upper: turn of upper-{n}" for n in (1, 2)),
    ]
    for role, first in (("alertmanager", "am-1"), ("prometheus", "prom-1"), ("querier", "query-1")):
        assert site.order.index(f"{role}: stage and check") < site.order.index(f"{role}: turn of {first}")


@pytest.mark.parametrize(
    "deploy, host",
    [
        ("alertmanager", "am-2"),
        ("prometheus", "prom-1"),
        ("querier", "query-2"),
        ("kernel", "am-1"),
    ],
)
def test_a_partial_run_renders_the_same_files(run, site, deploy, host):
    part = run(deploy=deploy)
    assert part.rc == 0, part.output
    assert part.files[host]
    assert {name: site.files[host][name] for name in part.files[host]} == part.files[host]


@pytest.mark.parametrize("host", ["am-1", "prom-2", "query-1"])
def test_a_limited_run_renders_the_same_files(run, site, host):
    part = run("--limit", host)
    assert part.rc == 0, part.output
    assert list(part.commands) == [host]
    assert part.files[host] == site.files[host]


def test_a_refused_check_stops_every_turn_of_the_role_and_of_those_that_need_it(run):
    some = [word for name in ("prom-1", "prom-2", "query-1", "am-3") for word in ("--limit", name)]
    done = run(*some, fail=lambda host, script: host == "prom-1" and "promtool check config" in script)
    assert done.rc == 1
    swapped = {name for name, scripts in done.commands.items() if any("restart prometheus" in s for s in scripts)}
    assert not swapped
    assert not any("thanos-querier" in s and "systemctl restart" in s for s in done.commands["query-1"])
    # Alertmanager does not need Prometheus.
    assert any("systemctl restart alertmanager" in s for s in done.commands["am-3"])


def test_the_first_failed_turn_stops_the_tier(run):
    part = {"deploy": "alertmanager", "hosts": {}}
    run("--limit", "alertmanager", **part)
    done = run(
        *("--limit", "alertmanager"),
        fail=lambda host, script: host == "am-2" and "systemctl restart alertmanager" in script,
        data="nofile = 70000\n",
        **part,
    )
    assert done.rc == 1
    assert any("systemctl restart alertmanager" in s for s in done.commands["am-1"])
    assert not any("systemctl restart alertmanager" in s for s in done.commands["am-3"])


def test_a_dead_host_is_named_and_the_living_go_on(run):
    done = run(*("--limit", "prometheus", "--limit", "query-1"), dead=("prom-1",))
    assert done.rc == 1 and "prom-1" in done.output
    assert any("systemctl restart prometheus thanos-sidecar" in s for s in done.commands["prom-2"])
    assert "10.1.0.11" in done.files["query-1"]["/etc/thanos/endpoints.yml"]


def test_no_secret_is_printed_and_none_is_in_an_argument(site):
    assert "hunter2hunter2" in site.files["prom-1"]["/etc/prometheus/bucket_config.yaml"]
    assert "--- " in site.output, "differences are shown"
    assert "hunter2" not in site.output and "10.1.0.1/hook" not in site.output


def test_a_dry_run_on_blank_hosts_works_and_writes_nothing(run):
    done = run("--dry", yes=False)
    assert done.rc == 0, done.output
    assert {command for commands in done.commands.values() for command in commands} == {"look", "check"}


def test_bad_settings_end_the_run_before_any_command(run):
    done = run(data="prometheus_retentoin_time = '15d'\n")
    assert done.rc == 1
    assert "prometheus_retention_time is the nearest setting" in done.output and not done.commands


def test_a_release_that_cannot_read_the_data_is_refused(run):
    exe = "/opt/prometheus-3.16.0.linux-amd64/prometheus"
    state = replace(BLANK, processes={"prometheus": Process(7, exe, ("prometheus",))})
    state.units = {"prometheus": {"ActiveState": "active"}}
    done = run(deploy="prometheus", data="release = 'migration'\n", states={"prom-2": state})
    assert done.rc == 1
    assert "prometheus 2.47.2 cannot read the data of 3.16.0" in done.output
    assert not any("curl" in command for command in done.commands["prom-2"])


def clock(
    *units: str,
    container: str = "none",
    capabilities: str = "ffffffffff",
    synchronised: bool = True,
) -> dict:
    """What a host says of its clock: `units` are `name=state` of the time services that it has."""
    lines = ["==[units]=="]
    for unit in units:
        name, state = unit.split("=")
        lines += [f"Id={name}.service", "LoadState=loaded", f"ActiveState={state}", ""]
    lines += ["==[container]==", container, "==[capabilities]==", f"CapBnd:\t{capabilities}"]
    lines += ["==[chrony]==", "Leap status     : Normal"] if synchronised else []
    lines += ["==[timesyncd_flag]=="] if synchronised else []
    return {"timesync": lines}


@pytest.mark.parametrize(
    ("extra", "commands", "os", "wanted"),
    [
        (clock("chrony=active"), {"chronyd"}, "debian", []),
        (clock("systemd-timesyncd=active"), set(), "debian", []),
        (clock(container="lxc", capabilities="0"), set(), "debian", []),
        (clock("chrony=inactive"), {"chronyd"}, "debian", ["systemctl enable --now chrony"]),
        (
            clock(),
            set(),
            "debian",
            ["apt-get -qq -y --no-install-recommends install chrony", "enable --now chrony"],
        ),
        # From the distribution's documentation, not from a run.
        (clock(), set(), "rocky", ["dnf -q -y install chrony", "enable --now chronyd"]),
    ],
    ids=["chrony", "timesyncd", "container", "stopped", "none", "none on RHEL's family"],
)
def test_a_clock_is_kept(run, extra, commands, os, wanted):
    version = "9.4" if os == "rocky" else "12"
    state = replace(
        BLANK,
        extra=extra,
        os=os,
        os_version=version,
        commands=(BLANK.commands - {"chronyd"}) | commands,
    )
    done = run("--limit", "am-1", deploy="timesync", states={"am-1": state})
    assert done.rc == 0, done.output
    _, *scripts = done.commands["am-1"]
    scripts = [script for script in scripts if script != "look"]
    assert len(scripts) == len(wanted)
    for script, part in zip(scripts, wanted, strict=True):
        assert part in script


UNSYNCHRONISED = {"timesync": [*clock("chrony=active", synchronised=False)["timesync"]]}
UNSYNCHRONISED["timesync"] += ["==[chrony]==", "Leap status     : Not synchronised"]


@pytest.mark.parametrize(("severity", "rc", "patience"), [("fail", 1, 120.0), ("warn", 0, 0), ("off", 0, None)])
def test_a_clock_that_is_not_synchronised(run, monkeypatch, severity, rc, patience):
    waited = []
    state = replace(BLANK, extra=UNSYNCHRONISED)
    done = run(
        *("--limit", "am-1"),
        deploy="timesync",
        states={"am-1": state},
        data=f'preflight = {{"clock": "{severity}"}}\n',
        wait=lambda state, host, gate, purpose: waited.append(gate.patience),
    )
    assert (done.rc, waited) == (rc, [] if patience is None else [patience])
    assert ("NTP server" in done.output) is (severity != "off")


def test_the_documents_time_service_can_be_insisted_on(run):
    state = replace(BLANK, extra=clock("systemd-timesyncd=active"))
    done = run("--limit", "am-1", deploy="timesync", states={"am-1": state}, data="timesync = 'chrony'\n")
    assert "enable --now chrony" in done.commands["am-1"][1]


def test_a_minimal_host_gets_packages_and_an_account(run):
    state = replace(BLANK, users={}, groups=set(), commands={"tar", "unshare", "logrotate"})
    done = run("--limit", "am-1", deploy="base", states={"am-1": state})
    assert done.rc == 0, done.output
    scripts = "\n".join(done.commands["am-1"])
    assert "install curl rsyslog python3" in scripts
    assert "groupadd --system prometheus" in scripts
    assert "useradd --system -g prometheus -s /sbin/nologin -M" in scripts
    # Only a program of ours needs Python.
    done = run("--limit", "prom-1", deploy="base", states={"prom-1": state})
    assert "install curl rsyslog" in done.commands["prom-1"][1] and "python3" not in done.commands["prom-1"][1]


def test_a_role_that_left_a_host_is_stopped_and_removed(run):
    unit = "/etc/systemd/system/thanos-querier.service"
    state = replace(
        BLANK,
        manifests={"querier": {unit, "/etc/thanos/endpoints.yml"}},
        paths={
            unit: Path("f", "644", "root", "root", sha256="x"),
            "/etc/thanos/endpoints.yml": Path("f", "640", "root", "prometheus", sha256="y"),
        },
    )
    done = run("--limit", "am-1", deploy="querier", states={"am-1": state})
    assert done.rc == 0, done.output
    script = done.commands["am-1"][-1]
    assert "systemctl disable --now thanos-querier.service" in script
    assert f"rm -f {unit}" in script and "rm -f /etc/thanos/endpoints.yml" in script
    assert "querier leaves this host" in done.output


def test_what_a_new_role_took_over_is_not_removed_by_the_old_one(run):
    """A host that was an upper Prometheus and is a replica now: the same files, another role's."""
    unit = "/etc/systemd/system/prometheus.service"
    state = replace(
        BLANK,
        manifests={"prometheus-upper": {unit}, "prometheus": {unit}},
        paths={unit: Path("f", "644", "root", "root", sha256="x")},
    )
    done = run("--limit", "prom-1", deploy="upper", states={"prom-1": state})
    assert done.rc == 0, done.output
    assert not any("disable" in script for script in done.commands["prom-1"])


def test_members_that_stand_alone_are_restarted_with_a_word_and_without_a_question(run):
    first = run(deploy="upper")
    unit = first.files["upper-1"]["/etc/systemd/system/prometheus.service"]
    assert "thanos" not in unit
    running = {"prometheus": Process(7, "/opt/prometheus-0.1.linux-amd64/prometheus", ())}
    units = {"prometheus": {"ActiveState": "active", "UnitFileState": "enabled"}}
    state = replace(BLANK, processes=running, units=units)
    done = run("--limit", "upper-1", deploy="upper", states={"upper-1": state})
    assert done.rc == 0, done.output
    assert "prometheus-upper is a tier of one: an outage of prometheus follows" in done.output
    # The other member is dead here, and would have been asked in vain.
    assert any("systemctl restart prometheus" in script for script in done.commands["upper-1"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": "riscv64"}, "arch   riscv64"),
        ({"systemd": 219}, "systemd  219"),
    ],
)
def test_a_host_that_cannot_be_served_is_named(run, change, said):
    state = replace(BLANK, **change)
    done = run("--limit", "am-1", deploy="alertmanager", states={"am-1": state})
    assert done.rc == 1 and said in done.output, done.output
    assert not any("systemctl restart" in script for script in done.commands["am-1"])


ROLLED = ["base", "software", "web", "roles that left", *["prometheus-upper"] * 3]


@pytest.mark.parametrize(
    ("deploy", "steps"),
    [("upper", ROLLED), ("node_exporter", ["software", "web", "node_exporter", "node_exporter"])],
)
def test_a_role_run_alone_brings_what_its_daemons_are_started_with(run, deploy, steps):
    """Accounts, releases and the web configuration: they would not start without the files that they name."""
    done = run("--limit", "upper-1", deploy=deploy)
    assert [plan.role_of(title) for title in done.order] == ["preflight", "preflight", *steps]


@pytest.mark.parametrize(
    "path",
    [path for path in (ROOT / "deploys").glob("*.py") if re.search(r"Role\(|lib.roles\.\w+ import", path.read_text())],
)
def test_every_role_can_be_run_alone(path):
    """In turns where it is rolled out so, and at once where no other host waits for it."""
    text = path.read_text()
    tail = text.partition("def run() -> None:\n")[2].partition("\n\n")[0]
    assert text.endswith('if __name__ == "builtins":  # as a deploy file\n    run()\n')
    rolled = re.search(r"rollout\.roll\((\w+)\)", text)
    wanted = f"    alone.deploy({rolled[1]})" if rolled else "    deploy()"
    assert tail.splitlines()[-1] == wanted


@pytest.mark.parametrize(("ways", "rc"), [(("sftp",), 0), (("scp",), 0), ((), 1)])
def test_an_archive_goes_up_by_the_way_that_a_host_has(run, monkeypatch, ways, rc):
    """A host without any fails alone."""
    archive = (File(__file__), "0" * 64)
    monkeypatch.setattr("prometheus_ha.deploys.lib.engine.fetch.cached", lambda *arguments: archive)
    key = "ssh_file_transfer_protocol"

    def put(host, path):
        if host.name == "am-1" and (way := host.connector.data.get(key, "sftp")) not in ways:
            raise ConnectError(f"no {way} here")

    data = "offline = True\npreflight = {'source': 'off'}\n"
    done = run("--limit", "alertmanager", deploy="software", data=data, put=put)
    assert done.rc == rc, done.output
    assert "Traceback" not in done.output
    unpacked = {name for name, said in done.commands.items() if "mv -T" in said[-1]}
    assert unpacked == {"am-1", "am-2", "am-3"} - (set() if rc == 0 else {"am-1"})
    if rc:
        assert "cannot be uploaded (sftp: no sftp here; scp: no scp here)" in done.output


@pytest.mark.parametrize(("deploy", "seconds"), [("verify", 5), ("preflight", 5), ("kernel", 10)])
def test_who_only_looks_does_not_wait_long_for_a_dead_host(run, deploy, seconds):
    run("--limit", "am-1", deploy=deploy)
    assert seconds == ctx_state.get().config.CONNECT_TIMEOUT
