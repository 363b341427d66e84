"""What differs, what is due, and the scripts that mend it."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from prometheus_ha.deploys.lib.engine import component as c
from prometheus_ha.facts.reports.look import Path, Process, State

CONFIG = "/etc/prometheus/prometheus.yml"
RULE = "/etc/prometheus/rules/a.yml"
UNIT = "/etc/systemd/system/prometheus.service"
BINARY = "/opt/prometheus-3.16.0.linux-amd64/prometheus"


def wanted() -> c.Component:
    return c.Component(
        "prometheus",
        files={
            CONFIG: c.File("global: {}\n"),
            RULE: c.File("groups: []\n"),
            UNIT: c.File("[Service]\n", "644", group="root"),
        },
        directories={
            "/etc/prometheus": c.Directory(managed=True),
            "/etc/prometheus/rules": c.Directory(managed=True),
            "/var/lib/prometheus": c.Directory(owner="prometheus"),
        },
        links={"/usr/local/bin/prometheus": BINARY},
        services=(
            c.Service(
                "prometheus",
                ("/usr/local/bin/prometheus", "--a=1"),
                (),
                (CONFIG, "/etc/prometheus/rules"),
            ),
        ),
    )


def converged(component: c.Component) -> State:
    """A host on which the component stands and runs."""
    state = State(os="debian", machine="x86_64", systemd=252)
    for name, d in component.directories.items():
        state.paths[name] = Path("d", d.mode, d.owner, d.group)
    for name, f in component.files.items():
        state.paths[name] = Path("f", f.mode, f.owner, f.group, sha256=f.sha256)
    for name, target in component.links.items():
        state.paths[name] = Path("l", "777", "root", "root", target)
    state.manifests[component.name] = {*component.files, *component.links}
    for service in component.services:
        state.units[service.name] = {
            "UnitFileState": "enabled",
            "NeedDaemonReload": "no",
            "ActiveState": "active",
        }
        state.processes[service.name] = Process(42, BINARY, service.argv)
        state.stamps[f"{service.name}.started"] = state.below(service.path, *service.started)
        state.stamps[f"{service.name}.loaded"] = state.below(*service.loaded)
    return state


@pytest.fixture
def component():
    return wanted()


@pytest.fixture
def state(component):
    return converged(component)


def test_a_converged_host_needs_nothing(component, state):
    change = c.compare(component, state)
    assert not change and change.lines() == []


def test_a_blank_host_needs_everything(component):
    change = c.compare(component, State())
    assert set(change.files) == set(component.files)
    assert set(change.directories) == set(component.directories)
    assert change.due["prometheus"].action == "start" and change.daemon_reload and change.enable == ["prometheus"]


def test_a_hand_edited_rule_is_put_back_and_reloaded(component, state):
    state.paths[RULE] = Path("f", "640", "root", "prometheus", sha256="other")
    change = c.compare(component, state)
    # By the stamp, what was loaded is what is wanted; but kill -HUP and /-/reload leave none.
    assert change.files == [RULE]
    assert change.due["prometheus"] == c.Due("reload", (f"it may have read another {RULE}",))
    state.stamps["prometheus.loaded"][RULE] = "other"
    assert c.compare(component, state).due["prometheus"].action == "reload"


def test_a_wrong_mode_is_mended_without_touching_the_daemon(component, state):
    state.paths[RULE] = Path("f", "666", "root", "prometheus", sha256=component.files[RULE].sha256)
    change = c.compare(component, state)
    assert change.modes == [RULE] and not change.due and not change.content
    assert "chmod 640 /etc/prometheus/rules/a.yml" in c.swap_script(component, change)


@pytest.mark.parametrize("kind, action", [("loaded", "reload"), ("started", "restart")])
def test_a_run_killed_after_the_swap_is_completed(component, state, kind, action):
    del state.stamps[f"prometheus.{kind}"]
    change = c.compare(component, state)
    assert change.due["prometheus"].action == action and not change.content


def test_a_replaced_binary_other_arguments_and_an_unread_unit_are_restarts(component, state):
    old = state.processes["prometheus"]
    for process, why in (
        (Process(42, f"{BINARY} (deleted)", old.argv), "deleted"),
        (Process(42, BINARY, (old.argv[0], "--a=2")), "--a 2 -> 1"),
    ):
        state.processes["prometheus"] = process
        due = c.compare(component, state).due["prometheus"]
        assert due.action == "restart" and why in due.reasons[0]
    state.processes["prometheus"] = old
    state.stamps["prometheus.started"] = {UNIT: "older"}
    assert c.compare(component, state).due["prometheus"].action == "restart"


def test_a_new_binary_link_is_a_restart(component, state):
    component.links["/usr/local/bin/prometheus"] = "/opt/prometheus-4.0.0.linux-amd64/prometheus"
    change = c.compare(component, state)
    assert change.links and change.due["prometheus"].action == "restart"


def test_what_left_the_inventory_is_purged_and_what_is_foreign_is_left(component, state):
    gone, foreign = "/etc/prometheus/rules/old.yml", "/etc/prometheus/rules/foreign.yml"
    for name in (gone, foreign):
        state.paths[name] = Path("f", "640", "root", "prometheus", sha256="x")
    state.manifests["prometheus"].add(gone)
    state.stamps["prometheus.loaded"].update({gone: "x", foreign: "x"})
    change = c.compare(component, state)
    assert change.purge == [gone] and change.foreign == [foreign]
    assert change.due["prometheus"].action == "reload" and gone in change.due["prometheus"].reasons[0]
    script = c.swap_script(component, change)
    assert f"rm -f {gone}" in script and foreign not in script


def test_a_foreign_rule_that_was_loaded_is_no_reason_to_reload(component, state):
    foreign = "/etc/prometheus/rules/foreign.yml"
    state.paths[foreign] = Path("f", "640", "root", "prometheus", sha256="x")
    assert c.compare(component, state).due["prometheus"].action == "reload"
    state.stamps["prometheus.loaded"][foreign] = "x"
    change = c.compare(component, state)
    assert change.foreign == [foreign] and not change


def test_a_role_that_left_is_stopped_and_removed_and_its_links_stay(component, state):
    change = c.compare(c.Component("prometheus"), state)
    script = c.swap_script(c.Component("prometheus"), change)
    assert set(change.purge) == set(component.files)
    assert "systemctl disable --now prometheus.service" in script and "/usr/local/bin" not in script


def test_stamps_are_dropped_before_the_first_rename(component, state):
    component.files[CONFIG] = c.File("global: {scrape_interval: 1s}\n")
    script = c.swap_script(component, c.compare(component, state))
    assert script.index("rm -f /run/monitoring/prometheus.loaded") < script.index("mv -fT")
    assert "prometheus.started" not in script


def test_the_configuration_goes_live_after_what_it_names(component):
    script = c.swap_script(component, c.compare(component, State()))
    positions = [script.index(f"{name}\n") for name in (UNIT, RULE, CONFIG)]
    assert positions == sorted(positions)


def test_scripts_are_shell(component):
    change = c.compare(component, State())
    for script in (c.stage_script(component, change), c.swap_script(component, change)):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_no_content_is_ever_in_an_argument(component):
    component.files[CONFIG] = c.File("password: hunter2\n")
    change = c.compare(component, State())
    assert "hunter2" not in c.stage_script(component, change) + c.swap_script(component, change)


# --- Hosts that were somebody else's --------------------------------------------------------------


def test_a_daemon_of_somebody_else_by_our_name_is_no_member_of_the_tier():
    component = wanted()
    state = converged(component)
    state.processes["prometheus"] = Process(7, "/usr/bin/prometheus", ("/usr/bin/prometheus",))
    due = c.compare(component, state).due["prometheus"]
    assert due.action == "start" and "not ours" in due.reasons[0]


def test_files_of_somebody_else_are_kept():
    component = wanted()
    state = converged(component)
    state.manifests.clear()
    state.paths[CONFIG] = Path("f", "644", "root", "root", sha256="0")
    change = c.compare(component, state)
    assert change.saved == [CONFIG]
    script = c.swap_script(component, change)
    kept = f"/etc/.monitoring/replaced{CONFIG}"
    assert f"[ -e {kept} ] || {{ mkdir -p /etc/.monitoring/replaced/etc/prometheus; cp -a" in script
    assert script.index(f"cp -a {CONFIG}") < script.index("mv -fT /etc/.monitoring/staged/prom")


def test_files_of_ours_are_not():
    component = wanted()
    state = converged(component)
    state.paths[CONFIG] = Path("f", "640", "root", "prometheus", sha256="0")
    assert c.compare(component, state).saved == []


@pytest.mark.parametrize(
    ("unit", "stopped"),
    [
        ({"ActiveState": "active", "UnitFileState": "enabled"}, True),
        ({"ActiveState": "inactive", "UnitFileState": "enabled"}, True),
        ({"ActiveState": "inactive", "UnitFileState": "masked"}, False),
        ({"ActiveState": "inactive", "UnitFileState": "disabled"}, False),
        ({"ActiveState": "inactive", "LoadState": "not-found"}, False),
    ],
)
def test_units_whose_place_ours_takes(unit, stopped):
    component = wanted()
    (service,) = component.services
    theirs = replace(component, services=(replace(service, replaces=("other",)),))
    state = converged(component)
    state.units["other"] = unit
    change = c.compare(theirs, state)
    assert change.replaced == (["other"] if stopped else [])
    assert bool(change) is stopped
    if stopped:
        script = c.swap_script(theirs, change)
        assert script.index("disable --quiet --now other") < script.index("mask --quiet other")


def test_a_oneshot_has_no_process():
    service = c.Service("once", started=(UNIT,), oneshot=True)
    component = c.Component("once", files={UNIT: c.File("x")}, services=(service,))
    state = converged(component)
    state.processes.clear()
    state.stamps["once.started"] = state.below(UNIT)
    assert not c.compare(component, state).due
    state.stamps["once.started"] = {}
    assert c.compare(component, state).due["once"].action == "restart"
    state.units["once"]["ActiveState"] = "inactive"
    assert c.compare(component, state).due["once"].action == "start"


def test_contexts_are_restored_where_there_is_selinux():
    component = wanted()
    change = c.compare(component, State(os="rocky", machine="x86_64", systemd=252))
    lines = [line for line in c.swap_script(component, change).splitlines() if "restorecon" in line]
    (line,) = lines
    assert line.startswith("[ ! -e /sys/fs/selinux/enforce ]") and " -RF " in line
    assert CONFIG in line and "/usr/local/bin/prometheus" in line
    made = "\n".join(c.directories_script(component, change))
    assert "restorecon -F " in made and "-RF" not in made  # not all of the data
