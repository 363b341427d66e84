"""Links and drop-ins that others put in our way, and files of any size: seen as the kernel sees them, worked with where
they are sound, named before anything is changed where they are not."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import subprocess
from dataclasses import replace

import pytest

from prometheus_ha import deploys
from prometheus_ha.deploys.lib.daemons import MINIO, SEAWEEDFS, directories
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_DIR
from prometheus_ha.deploys.lib.daemons.objectstores import MINIO_DATA, MINIO_KEYS_DIR, SEAWEEDFS_DIR
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_DATA
from prometheus_ha.deploys.lib.engine import component as c
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.templates import template
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.site.settings import HIDDEN
from prometheus_ha.deploys.lib.survey import checks, paths, preflight
from prometheus_ha.facts.reports import look, survey
from prometheus_ha.facts.reports.look import Path, Process, State
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK, run_site
from tests.unit.test_checks import SITE as CHECKED
from tests.unit.test_checks import make_look
from tests.unit.test_component import BINARY, CONFIG, RULE, converged, wanted
from tests.unit.test_preflight import SITE, blank

ROOT_DIRECTORY = Path("d", "755", "root", "root")


@pytest.fixture
def run(tmp_path, monkeypatch):
    return lambda *arguments, **options: run_site(tmp_path, monkeypatch, *arguments, **options)


# --- What the look makes of links -----------------------------------------------------------------


def seen(top, **given) -> State:
    """The look's own script, run on the directories below `top`."""
    script = look.script(
        roots=[f"{top}/etc"],
        paths=[f"{top}/data", f"{top}/bin/daemon", f"{top}/tools"],
        units=[],
        commands=[],
        sysctls=[],
        users=[],
        leaves=[f"{top}/data"],
        places=[f"{top}/etc/rules", f"{top}/opt", f"{top}/opt/new", f"{top}/tools"],
        **given,
    )
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    return look.parse(done.stdout.splitlines())


@pytest.fixture
def top(tmp_path):
    """Directories of ours, half of them links, with a file each."""
    (tmp_path / "real").mkdir()
    for name in ("data", "rules", "opt", "tools"):
        (tmp_path / "real" / name).mkdir()
        (tmp_path / "real" / name / "file").write_text(name)
    for name in ("etc", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc" / "main.yml").write_text("main")
    (tmp_path / "etc" / "theirs.yml").symlink_to(tmp_path / "real" / "data" / "file")
    (tmp_path / "bin" / "daemon").symlink_to("/opt/daemon")
    for name, target in (("data", "data"), ("etc/rules", "rules"), ("opt", "opt")):
        (tmp_path / name).symlink_to(tmp_path / "real" / target)
    (tmp_path / "tools").symlink_to("real/tools")
    return tmp_path


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_directories_that_are_links_are_followed_under_the_names_that_we_know(top):
    state = seen(top)
    kinds = {name.removeprefix(f"{top}/"): path.kind for name, path in state.paths.items()}
    assert kinds == {
        "etc": "d",
        "etc/main.yml": "f",
        "etc/theirs.yml": "l",
        "etc/rules": "d",
        "etc/rules/file": "f",
        "data": "d",
        "bin/daemon": "l",
        "tools": "d",
        "tools/file": "f",
    }
    assert state.paths[f"{top}/etc/rules/file"].sha256 == sha256("rules")
    assert state.links == {
        f"{top}/{name}": f"{top}/real/{real}"
        for name, real in (
            *(("data", "data"), ("etc/rules", "rules"), ("opt", "opt"), ("tools", "tools")),
            ("opt/new", "opt/new"),
        )
    }
    assert state.ways[f"{top}/real/opt"].kind == "d" and state.ways["/tmp"].mode == "1777"
    assert state.blocked == {}


def test_a_root_that_is_a_link_is_followed_too(top):
    (top / "etc").rename(top / "real" / "etc")
    (top / "etc").symlink_to("real/etc")
    state = seen(top)
    assert state.paths[f"{top}/etc"].kind == "d"
    assert state.paths[f"{top}/etc/main.yml"].sha256 == sha256("main")
    assert state.paths[f"{top}/etc/rules/file"].sha256 == sha256("rules")


def test_links_that_lead_to_no_directory_are_named(top):
    (top / "data").unlink()
    (top / "data").symlink_to("nowhere")
    (top / "opt").unlink()
    (top / "opt").symlink_to("etc/main.yml")
    (top / "etc" / "rules").unlink()
    (top / "etc" / "rules").write_text("")
    assert seen(top).blocked == {
        f"{top}/data": (f"{top}/data", "l"),
        f"{top}/opt": (f"{top}/opt", "l"),
        f"{top}/opt/new": (f"{top}/opt", "l"),
        f"{top}/etc/rules": (f"{top}/etc/rules", "f"),
    }


LARGE = "x" * (3 << 20)


def test_a_large_file_is_hashed_where_it_is_ours_or_was_loaded(top, monkeypatch):
    monkeypatch.setattr(topology, "STATE", str(top / "state"))
    monkeypatch.setattr(topology, "STAMPS", str(top / "stamps"))
    for name in ("ours", "loaded", "theirs"):
        (top / "etc" / name).write_text(LARGE)
    (top / "state" / "manifest").mkdir(parents=True)
    (top / "state" / "manifest" / "role").write_text(f"{top}/etc/main.yml\n{top}/etc/ours\n")
    (top / "stamps").mkdir()
    (top / "stamps" / "unit.loaded").write_text(f"{sha256(LARGE)}  {top}/etc/loaded\n")
    state = seen(top)
    assert {name: state.paths[f"{top}/etc/{name}"].sha256 for name in ("ours", "loaded")} == {
        "ours": sha256(LARGE),
        "loaded": sha256(LARGE),
    }
    assert state.paths[f"{top}/etc/theirs"].sha256 == ""
    # So a second run has nothing to do about it.
    path = state.paths[f"{top}/etc/ours"]
    file = c.File(LARGE, path.mode, path.owner, path.group)
    main = replace(file, content="main")
    role = c.Component("role", files={f"{top}/etc/ours": file, f"{top}/etc/main.yml": main})
    assert c.compare(role, state).lines() == []
    assert state.paths[f"{top}/etc/main.yml"].sha256 == sha256("main")


def test_what_a_unit_read_is_stamped_through_a_link(top):
    script = template("stamp.sh.j2", stamps=top / "stamps")
    subprocess.run(["sh", "-s", "loaded", "unit", f"{top}/etc/rules"], input=script, text=True)
    stamp = (top / "stamps" / "unit.loaded").read_text()
    assert stamp == f"{sha256('rules')}  {top}/etc/rules/file\n"


def test_executables_have_the_names_that_we_know():
    links = {"/opt": "/srv/opt", "/opt/a-1": "/data/a-1", "/etc/prometheus": "/srv/opt/etc"}
    state = State(links=links)
    for name, known in {
        "/srv/opt/b-1/b": "/opt/b-1/b",
        "/srv/opt/b-1/b (deleted)": "/opt/b-1/b (deleted)",
        "/data/a-1/a": "/opt/a-1/a",
        "/srv/optional/b": "/srv/optional/b",
        "/usr/bin/b": "/usr/bin/b",
    }.items():
        assert state.named(name) == known


def test_holders_of_ports_below_a_link_are_ours():
    holder = survey.Holder("tcp", 9100, "*", 7, "node_exporter", "/srv/opt/n/n", "node_exporter.service")
    host = survey.Host(holders=[holder])
    assert not host.holders[0].ours
    assert host.by_our_names(State(links={"/opt": "/srv/opt"})).holders[0].ours


# --- Runs on hosts with links ---------------------------------------------------------------------

LINKS = {
    "/opt": "/srv/opt",
    "/opt/software": "/srv/opt/software",
    "/etc/prometheus": "/srv/etcprom",
}


def test_a_second_run_through_links_changes_nothing(run):
    hosts = {}
    state = replace(BLANK, links=LINKS, ways={"/srv/opt": ROOT_DIRECTORY})
    states = dict.fromkeys(("prom-1", "am-1"), state)
    chosen = ("--limit", "prom-1", "--limit", "am-1")
    first = run(*chosen, states=states, hosts=hosts)
    assert first.rc == 0, first.output
    assert hosts["prom-1"].state.processes["prometheus"].exe.startswith("/opt/")
    again = run(*chosen, hosts=hosts)
    assert again.rc == 0, again.output
    assert {c for commands in again.commands.values() for c in commands} == {"look"}


def test_what_goes_live_through_a_link_is_renamed_on_its_own_file_system():
    component = wanted()
    state = converged(component)
    state.links = {"/etc/prometheus/rules": "/srv/rules"}
    for name in (CONFIG, RULE):
        state.paths[name] = replace(state.paths[name], sha256="0")
    change = c.compare(component, state)
    assert change.linked == [RULE]
    staged, swap = c.stage_script(component, change), c.swap_script(component, change)
    top = c.staged(component)
    assert f"mv -fT {top}{CONFIG} {CONFIG}\n" in swap
    assert f"cp -a {top}{RULE} {RULE}.new\nmv -fT {RULE}.new {RULE}\n" in swap
    # Below the link itself, the archive would be unpacked into the live directory.
    rules = "/etc/prometheus/rules"
    line = f"[ ! -L {rules} ] || {{ rm -f {top}{rules}; mkdir -p {top}{rules}; cp -a {rules}/. {top}{rules}/; }}"
    assert staged.index(line) < staged.index("base64 -d")


def test_every_directory_that_a_role_makes_is_looked_at(monkeypatch):
    for name in ("WEBHOOK_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "BOT_URL", "BOT_SIGN"):
        monkeypatch.setenv(name, "http://10.0.0.1/")
    for module in pkgutil.iter_modules(deploys.__path__):
        if not module.ispkg and module.name != "site":
            importlib.import_module(f"prometheus_ha.deploys.{module.name}")
    site = example_site(storage=True)
    made = {}
    for role in rollout.ROLES.values():
        for member in role.members(site):
            if role.name in ("seaweedfs", "minio"):
                continue  # their keys are another test's; their directories are below
            component = role.component(site, member, BLANK)
            made.setdefault(member.name, set()).update(component.directories)
    assert len(made) == len(site.hosts)
    for name, given in made.items():
        assert given <= set(directories(site.hosts[name].daemons)), name
    ours = directories([SEAWEEDFS, MINIO])
    assert {SEAWEEDFS_DIR, MINIO_KEYS_DIR, MINIO_DATA} <= set(ours)


def nothing_done(done, host):
    """It was looked at and refused."""
    return all(one == "look" or one.startswith("cat >&2") for one in done.commands[host])


# --- Links that are refused -----------------------------------------------------------------------


def found_links(**changes):
    """The findings where prom-1 is such a host."""
    state = replace(BLANK, **changes)
    view = preflight.View(SITE, {"prom-1": blank(SITE, "prom-1")}, {"prom-1": state})
    return preflight.judge(view)


def test_sound_links_are_no_finding():
    ways = {"/srv": ROOT_DIRECTORY, "/srv/opt": ROOT_DIRECTORY, "/": ROOT_DIRECTORY}
    # These two are ours: owner and mode are set by the run.
    ways |= {"/srv/data": Path("d", "777", "root", "root")}
    ways |= {"/srv/etcprom": Path("d", "700", "prometheus", "prometheus")}
    links = LINKS | {PROMETHEUS_DATA: "/srv/data", "/tmp": "/srv/tmp"}
    assert found_links(links=links, ways=ways) == []
    # Of no component of this host.
    assert found_links(blocked={ALERTMANAGER_DIR: ("/etc/alertmanager", "l")}) == []


@pytest.mark.parametrize(
    ("name", "real", "says"),
    [
        (PROMETHEUS_DATA, "/home/data", "do not see what is in /home"),
        ("/opt", "/root/opt", "do not see what is in /root"),
        ("/opt", "/tmp/opt", "do not see what is in /tmp"),
        ("/opt", "/srv/homes/opt", "do not see what is in /home"),
        ("/etc/prometheus", "/run/prometheus", "is gone after a restart"),
        ("/opt", "/", "is all of the host"),
        ("/etc/monitoring", "/etc/prometheus", "which is /etc/prometheus"),
        (PROMETHEUS_DATA, "/etc/prometheus/data", "which is inside /etc/prometheus"),
        ("/opt", "/srv/bob/opt", "/srv/bob belongs to bob"),
        ("/opt/prometheus-3.16.0.linux-amd64", "/srv/bob/p", "/srv/bob belongs to bob"),
        ("/etc/prometheus", "/srv/daemon/etc", "/srv/daemon belongs to prometheus"),
        ("/etc/prometheus", "/srv/bob", "/srv/bob belongs to bob"),
        ("/opt", "/srv/wheel/opt", "others may write to /srv/wheel"),
    ],
)
def test_a_link_that_is_not_sound_is_refused(name, real, says):
    ways = {
        "/srv/bob": Path("d", "755", "bob", "bob"),
        "/srv/daemon": Path("d", "755", "prometheus", "prometheus"),
        "/srv/wheel": Path("d", "775", "root", "wheel"),
    }
    (result,) = found_links(links={name: real, "/home": "/srv/homes"}, ways=ways)
    assert (result.check, result.severity) == ("links", "fail")
    assert name in result.found and says in result.found


def test_a_data_disk_that_no_alert_knows_is_noted():
    path = PROMETHEUS_DATA
    state = replace(BLANK, links={path: "/srv/disk/data"})
    for mount, severities in (("/srv/disk", ["note"]), ("/var", []), ("/", [])):
        rooms = {path: survey.Room(path, path, mount, 10**12, 2 * 10**12)}
        host = blank(SITE, "prom-1", room=rooms)
        results = preflight.judge(preflight.View(SITE, {"prom-1": host}, {"prom-1": state}))
        assert [one.severity for one in results] == severities


def test_a_link_to_no_directory_is_said_once_and_ends_the_run(run):
    blocked = {name: ("/opt", "l") for name in ("/opt", "/opt/software")}
    (result,) = found_links(blocked=blocked)
    assert result.found == "/opt is a link that leads to no directory"
    done = run("--limit", "prom-1", states={"prom-1": replace(BLANK, blocked=blocked)})
    assert done.rc != 0 and result.found in done.output
    assert nothing_done(done, "prom-1")


def test_what_is_hidden_is_asked_about():
    from prometheus_ha.deploys.lib.common.look_script import default_script

    links = default_script().partition(f"{look.MARK}links")[2].partition(f"{look.MARK}paths")[0]
    assert all(f" {place} " in links for place in (*HIDDEN, "/opt", topology.BIN_DIR))


# --- Drop-ins -------------------------------------------------------------------------------------

DROP_IN = "/etc/systemd/system/prometheus.service.d/override.conf"
OTHER_COMMAND = ["[Service]", "ExecStart=", "ExecStart=/opt/bin/prometheus \\", "  --other"]
HARMLESS = ["# mine", "[Service]", "Environment=GOGC=50 \\", "  User=x", "MemoryMax = 2G", ""]


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        (OTHER_COMMAND, ["ExecStart"]),
        (["[Service]", "User=bob", "Group=bob"], ["User", "Group"]),
        (["[Service]", " Type = notify"], ["Type"]),
        (["[Service]", "ExecStartPre="], ["an empty ExecStartPre"]),
        (["[Service]", "ExecStartPre=/bin/true"], []),
        (
            ["[Service]", "ExecReload=", "ExecReload=/bin/kill -USR1 $MAINPID"],
            ["an empty ExecReload"],
        ),
        (["[Service]", "#ExecStart=/bin/x", ";User=y", "LimitNOFILE=1"], []),
        (HARMLESS, []),
        ([], []),
    ],
)
def test_what_makes_a_unit_another_ones(lines, bad):
    assert paths.foreign(look._settings(lines)) == bad


def test_the_values_of_a_drop_in_stay_on_the_host(tmp_path, monkeypatch):
    directory = tmp_path / "system" / "prometheus.service.d"
    directory.mkdir(parents=True)
    monkeypatch.setattr(look, "DROP_IN_PLACES", (str(tmp_path / "system"),))
    lines = [
        *("# token hunter2", "[Service]", "Environment=A=hunter2 \\", "; hunter2", "  hunter2 \\"),
        *("  User=hunter2", "", "  Nice = 5", "ExecStartPre=", "ExecReload=\\", "  hunter2"),
    ]
    (directory / "a b.conf").write_text("\n".join(lines) + "\n")
    (directory / "b.conf").symlink_to("/dev/null")
    done = subprocess.run(["sh"], input=look._drop_ins(["prometheus"]), capture_output=True, text=True, check=True)
    assert "hunter2" not in done.stdout
    found = look._read_drop_ins(done.stdout.splitlines())
    assert found["prometheus"] == {
        f"{directory}/a b.conf": ["Environment=...", "Nice=...", "ExecStartPre=", "ExecReload=..."]
    }


def looked(*files: tuple[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """What the look makes of these files."""
    printed = [path for path, _ in files] + [""]
    printed += [f"{path}:{line}" for path, lines in files for line in lines]
    return look._read_drop_ins(printed)


def test_drop_ins_of_a_unit_are_found_where_systemd_looks_for_them():
    ours = looked(
        ("/etc/systemd/system/thanos-.service.d/a.conf", ["[Service]", "Nice=1"]),
        ("/run/systemd/system/service.d/a.conf", ["[Service]", "Nice=2"]),
        ("/run/systemd/system/service.d/lxc.conf", ["[Service]", "Nice=3"]),
        ("/usr/lib/systemd/system/thanos-store.service.d/a.conf", ["[Service]", "Nice=4"]),
        # Masked, by the one in /etc that is empty.
        ("/usr/lib/systemd/system/alertmanager.service.d/b.conf", ["[Service]", "Nice=5"]),
        ("/etc/systemd/system/alertmanager.service.d/b.conf", []),
    )
    lxc = "/run/systemd/system/service.d/lxc.conf"
    assert list(ours["thanos-store"]) == ["/etc/systemd/system/thanos-.service.d/a.conf", lxc]
    assert list(ours["prometheus"]) == ["/run/systemd/system/service.d/a.conf", lxc]
    assert ours["alertmanager"].keys() == ours["prometheus"].keys()
    assert looked() == {} == look._read_drop_ins([])


@pytest.mark.parametrize(
    ("path", "lines", "severity"),
    [
        (DROP_IN, OTHER_COMMAND, "fail"),
        (DROP_IN, HARMLESS, "note"),
        (DROP_IN, ["# nothing"], None),
        ("/usr/lib/systemd/system/service.d/10-timeout-abort.conf", ["TimeoutStopFailureMode=abort"], None),
        ("/usr/lib/systemd/system/service.d/x.conf", ["DynamicUser=yes"], "fail"),
    ],
)  # fmt: skip
def test_drop_ins_are_named_by_preflight_and_verify(path, lines, severity):
    drop_ins = {name: {path: look._settings(lines)} for name in ("prometheus", "alertmanager")}
    results = found_links(drop_ins=drop_ins)  # no Alertmanager runs there
    member = CHECKED.hosts["prom-1"]
    seen = checks.Seen(replace(make_look(member), drop_ins=drop_ins), {})
    verified = [r for r in checks._check_units(checks.View(CHECKED, {"prom-1": seen})) if path in r.found]
    assert [r.severity for r in results] == [r.severity for r in verified] == [severity] * bool(severity)
    if severity == "fail":
        assert "sets ExecStart for prometheus.service" in results[0].found or "DynamicUser" in results[0].found
        assert "prometheus_flags" in results[0].advice
    if severity == "note":
        found = f"prometheus.service is ours with your drop-in {path}: Environment, MemoryMax"
        assert results[0].found == found


def test_a_drop_in_that_sets_another_command_ends_a_run_before_a_restart(run):
    """Also where a Prometheus of somebody else would be taken over."""
    state = replace(BLANK, drop_ins={"prometheus": {DROP_IN: ["ExecStart=..."]}})
    done = run("--limit", "prom-1", states={"prom-1": state}, data="take_over = True\n")
    assert done.rc != 0 and f"{DROP_IN} sets ExecStart for prometheus.service" in done.output
    assert nothing_done(done, "prom-1")


@pytest.mark.parametrize(
    "said",
    [
        {"NeedDaemonReload": "yes"},
        # What systemd says before 257, where the directory is new.
        {
            "NeedDaemonReload": "no",
            "DropInPaths": "/etc/systemd/system/prometheus.service.d/a.conf",
        },
    ],
)
def test_a_drop_in_that_systemd_has_not_read_is_a_daemon_reload_and_no_restart(said):
    component = wanted()
    state = converged(component)
    state.drop_ins = {"prometheus": {DROP_IN: ["MemoryMax=..."]}}
    state.units["prometheus"] |= said
    change = c.compare(component, state)
    assert change.lines() == ["daemon-reload"]
    c.foresee(component, change, state)
    assert not c.compare(component, state)
    assert state.processes["prometheus"] == Process(42, BINARY, ("/usr/local/bin/prometheus", "--a=1"))
