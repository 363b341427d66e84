"""Logs (spec/000 10): every line in the journal and in a file, and the files rotated."""

import re
import time

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.suites.ask import eventually, listing
from prometheus_ha.suites.daemon import unit_properties
from prometheus_ha.suites.inventory import connect
from prometheus_ha.suites.inventory import site as the_site

WEEK = 7 * 86400
"""How long rotated files are kept: what is older need not be there."""

# One host is rotated for real: of a daemon that says something when it is reloaded. The last one,
# as the first is the most looked at.
ROTATED = [(member, name) for name in ("alertmanager", "prometheus") for member in the_site().running(name)[-1:]][:1]


def test_lines_are_in_the_journal_and_in_the_file(host, member, component, info):
    journal = "journalctl --no-pager -o short-unix -n 3 -t %s _TRANSPORT=stdout"
    found = [line.split(maxsplit=3) for line in host.check_output(journal, info.unit).splitlines()]
    lines = [text for when, _, _, text in found if re.fullmatch(r"[\d.]+", when) and float(when) > time.time() - WEEK]
    if not lines:
        when = unit_properties(member, info.service, "ActiveEnterTimestamp")["ActiveEnterTimestamp"]
        started = host.check_output("date -d %s +%%s", when)
        assert float(started) < time.time() - WEEK, "not a line in the journal since its start"

    def check():
        for line in lines:
            files = f"{topology.LOG_DIR}/{info.unit}.log*"
            done = host.run(f"zcat -f {files} | grep -qF -e %s", line)
            assert done.rc == 0, f"only in the journal: {line}"

    eventually(check, 10)


def test_files_are_not_for_everyone(host):
    find = f"find {topology.LOG_DIR} -type f -perm /037"
    assert host.check_output(find) == ""


def test_rsyslog_runs_and_starts_at_boot(host):
    rsyslog = host.service("rsyslog")
    assert rsyslog.is_running and rsyslog.is_enabled


def test_logrotate_accepts_its_configuration(host, member):
    path = topology.LOGROTATE_FILE
    assert listing(member, path) == {path: "f 644 root:root"}
    done = host.run("logrotate --debug %s", topology.LOGROTATE_FILE)
    said = done.stdout + done.stderr
    assert done.rc == 0, said
    # It warns that it only debugs, and misses its record where it never ran.
    harmless = "warning: logrotate in debug mode|error: error opening state file"
    assert not re.findall(rf"(?m)^(?!{harmless})(?:error|warning):.*", said)
    for path in host.check_output("ls %s", topology.LOG_DIR).split():
        if path.endswith(".log"):
            assert f"considering log {topology.LOG_DIR}/{path}" in said


def test_logrotate_keeps_what_the_document_says(host):
    text = host.file(topology.LOGROTATE_FILE).content_string
    body = re.search(r"(?m)^(\S+) \{\n((?:.*\n)*?)\}", text)
    assert body and body[1] == f"{topology.LOG_DIR}/*.log"
    assert {line.strip() for line in body[2].splitlines()} == {
        *("daily", "rotate 7", "missingok", "notifempty"),
        *("compress", "delaycompress", "copytruncate"),
    }


def test_logrotate_is_run_every_day(host):
    timer = host.service("logrotate.timer")
    assert (timer.is_enabled and timer.is_running) or host.file("/etc/cron.daily/logrotate").exists


@pytest.fixture(params=ROTATED, ids=[f"{member.name}-{component}" for member, component in ROTATED])
def rotated(request):
    """The (host, component) whose logs are rotated for real."""
    return request.param


def test_rotation_loses_no_line_and_needs_no_restart(rotated):
    """Rotate, let the daemon say something, and find it in the fresh file and in the journal."""
    member, component = rotated
    host, unit = connect(member.name), DAEMONS[component].unit
    current = host.file(f"{topology.LOG_DIR}/{unit}.log")

    def reload():
        host.check_output("systemctl reload %s", unit)

    def written():
        assert current.exists and current.size > 0, f"{current.path} is empty"

    reload()  # An empty file would not be rotated.
    eventually(written, 10)
    inode, last = current.inode, current.content_string.splitlines()[-1]
    daemons = [unit_properties(member, name, "MainPID") for name in (unit, "rsyslog")]
    host.check_output("logrotate --force %s", topology.LOGROTATE_FILE)
    assert last in host.file(f"{current.path}.1").content_string
    reload()
    eventually(written, 10)
    fresh = current.content_string
    assert last not in fresh
    assert re.search(rf"\b{unit}\[{daemons[0]['MainPID']}\]: ", fresh), fresh
    assert current.inode == inode, "rsyslog goes on writing to a file that is no longer there"
    assert daemons == [unit_properties(member, name, "MainPID") for name in (unit, "rsyslog")]
