"""Links that others put in our way, and files of any size: seen as the kernel sees them, worked with where
they are sound, named before anything is changed where they are not."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import subprocess
from dataclasses import replace

import pytest

import deploys
from deploys.lib import component as c
from deploys.lib import preflight, rollout, topology
from deploys.lib.settings import HIDDEN
from deploys.lib.templates import template
from facts import look, survey
from facts.look import Path, State
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK, run_site
from tests.unit.test_component import CONFIG, RULE, converged, wanted
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
    holder = survey.Holder(
        "tcp", 9100, "*", 7, "node_exporter", "/srv/opt/n/n", "node_exporter.service"
    )
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
    for name in ("WEBHOOK_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        monkeypatch.setenv(name, "http://10.0.0.1/")
    for module in pkgutil.iter_modules(deploys.__path__):
        if not module.ispkg and module.name != "site":
            importlib.import_module(f"deploys.{module.name}")
    site = example_site(storage=True)
    made = {}
    for role in rollout.ROLES.values():
        for member in role.members(site):
            if role.name in ("seaweedfs", "minio"):
                continue  # their keys are another test's; their directories are below
            component = role.component(site, member, BLANK)
            made.setdefault(member.name, set()).update(component.directories)
    assert len(made) == len(site.hosts)
    for name, directories in made.items():
        assert directories <= set(topology.directories(site.hosts[name].components)), name
    ours = topology.directories(["seaweedfs", "minio"])
    assert {topology.SEAWEEDFS_DIR, topology.MINIO_KEYS_DIR, topology.MINIO_DATA} <= set(ours)


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
    links = LINKS | {topology.PROMETHEUS_DATA: "/srv/data", "/tmp": "/srv/tmp"}
    assert found_links(links=links, ways=ways) == []
    # Of no component of this host.
    assert found_links(blocked={topology.ALERTMANAGER_DIR: ("/etc/alertmanager", "l")}) == []


@pytest.mark.parametrize(
    ("name", "real", "says"),
    [
        (topology.PROMETHEUS_DATA, "/home/data", "do not see what is in /home"),
        ("/opt", "/root/opt", "do not see what is in /root"),
        ("/opt", "/tmp/opt", "do not see what is in /tmp"),
        ("/opt", "/srv/homes/opt", "do not see what is in /home"),
        ("/etc/prometheus", "/run/prometheus", "is gone after a restart"),
        ("/opt", "/", "is all of the host"),
        ("/etc/monitoring", "/etc/prometheus", "which is /etc/prometheus"),
        (topology.PROMETHEUS_DATA, "/etc/prometheus/data", "which is inside /etc/prometheus"),
        ("/opt", "/srv/bob/opt", "/srv/bob belongs to bob"),
        ("/opt/prometheus-3.15.0.linux-amd64", "/srv/bob/p", "/srv/bob belongs to bob"),
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
    path = topology.PROMETHEUS_DATA
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
    from deploys.lib.look import default_script

    links = default_script().partition(f"{look.MARK}links")[2].partition(f"{look.MARK}paths")[0]
    assert all(f" {place} " in links for place in (*HIDDEN, "/opt", topology.BIN_DIR))
