"""User, directories and limits of every host (spec/000 3 and 4.1), and what must be left alone."""

import re

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_SECRETS_DIR, TEMPLATES_DIR
from prometheus_ha.deploys.lib.daemons.prometheus import RULES_DIR, SECRETS_DIR, TARGETS_DIR
from prometheus_ha.deploys.lib.daemons.thanos import RULE_RULES_DIR, RULE_SECRETS_DIR
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.suites.ask import listing
from prometheus_ha.suites.daemon import as_service_user
from prometheus_ha.suites.inventory import only

SYSTEM_DIRECTORIES = (
    *("/", "/etc", "/usr", "/opt", "/var", "/var/lib", "/var/log", "/root", "/etc/systemd"),
    *("/usr/local", topology.BIN_DIR, topology.UNIT_DIR, "/etc/sysctl.d", "/etc/logrotate.d"),
)

DIRECTORIES = {
    "prometheus": (RULES_DIR, TARGETS_DIR, SECRETS_DIR),
    "alertmanager": (TEMPLATES_DIR, ALERTMANAGER_SECRETS_DIR),
    "rule": (RULE_RULES_DIR, RULE_SECRETS_DIR),
}
"""Group -> directories of configuration that its hosts have, also while they are empty."""


def logs_nobody_in(shell):
    """Wherever the distribution, or whoever made the account, has it: /sbin and /bin are links to /usr's by now."""
    return shell.rpartition("/")[2] in ("nologin", "false", "sync")


def test_user_cannot_log_in(host):
    """An account that was there before keeps its number, its home and its other groups (docs/hosts.md)."""
    _, password, *_, shell = host.check_output(f"getent passwd {topology.USER}").split(":")
    hashed = host.check_output(f"getent shadow {topology.USER}").split(":")[1]
    assert logs_nobody_in(shell), shell
    assert password == "x" and hashed[:1] in ("!", "*"), "it has a password"
    assert host.check_output(f"id -gn {topology.USER}") == topology.GROUP


def test_shared_directories(member):
    """The logs' is root's, whose rsyslog writes there: a daemon must not plant a link in it."""
    wanted = {
        topology.SOFTWARE_DIR: "d 755 root:root",
        topology.LOG_DIR: f"d 750 root:{topology.GROUP}",
    }
    assert listing(member, *wanted) == wanted


@only(lambda member, _: not DIRECTORIES.keys().isdisjoint(member.groups))
def test_directories_of_the_documents(member):
    paths = [path for group in member.groups for path in DIRECTORIES.get(group, ())]
    assert listing(member, *paths) == dict.fromkeys(paths, f"d 750 root:{topology.GROUP}")


def test_limits_for_login_sessions(host, member):
    path = topology.LIMITS_FILE
    assert listing(member, path) == {path: "f 644 root:root"}
    text = host.check_output("cat %s", path)
    lines = [line.split() for line in text.splitlines() if line[:1] != "#"]
    assert sorted(lines) == sorted(
        [topology.USER, kind, item, str(value)]
        for kind in ("soft", "hard")
        for item, value in (("nofile", member.settings.nofile), ("nproc", member.settings.nproc))
    )


def test_stamp_tool_is_roots_alone_to_change(host, member):
    """The units run it as root, so whoever could write it would be root."""
    units = " ".join(DAEMONS[name].service for name in member.components)
    lines = host.check_output(f"systemctl show -p ExecStartPre {units}").splitlines()
    tools = {re.search(r"path=(\S+)", line)[1] for line in lines if line}
    assert len(tools) == 1, "a unit that stamps nothing, or with another tool"
    tool = tools.pop()
    directory = tool.rpartition("/")[0]
    assert listing(member, tool, directory, topology.STAMPS) == {
        tool: "f 755 root:root",
        directory: "d 755 root:root",
        topology.STAMPS: "d 700 root:root",
    }


def test_system_directories_still_belong_to_root(host):
    listing = host.check_output("stat -L -c '%n %U %a' " + " ".join(SYSTEM_DIRECTORIES))
    for line in listing.splitlines():
        name, user, mode = line.split()
        assert user == "root", line
        assert int(mode, 8) & 0o002 == 0, f"{name} can be written by everyone: {mode}"


def test_service_user_can_write_none_of_them(member):
    names = " ".join(SYSTEM_DIRECTORIES)
    assert as_service_user(member, f"find -L {names} -maxdepth 0 -writable") == ""
