"""Time services; recorded on Debian 11, 12 and 13, but for the files that end in _doc."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.facts import timesync
from prometheus_ha.facts.timesync import Clock, parse

DATA = Path(__file__).parent / "data/facts"
DEBIAN = ("debian11", "debian12", "debian13")


def clock(name: str) -> Clock:
    return parse((DATA / f"timesync_{name}.txt").read_text().splitlines())


@pytest.mark.parametrize("system", DEBIAN)
def test_chrony(system):
    found = clock(f"chrony_{system}")
    assert (found.service, found.active, found.synchronised) == ("chrony", True, True)
    assert found.reference == "127.0.0.1"
    assert found.offset_seconds is not None and 0 < found.offset_seconds < 1e-5
    assert found.container == "systemd-nspawn"
    assert found.can_set_clock
    # Recorded with `chronyd -x`, which leaves the kernel's clock alone.
    assert found.kernel_synchronised is False
    assert found.verdict == "synchronised"


@pytest.mark.parametrize("system", DEBIAN)
def test_chrony_that_has_found_no_source(system):
    found = clock(f"unsynchronised_{system}")
    assert (found.active, found.synchronised, found.offset_seconds) == (True, False, None)
    assert found.verdict == "unsynchronised"


@pytest.mark.parametrize("system", DEBIAN)
def test_chrony_stopped(system):
    found = clock(f"stopped_{system}")
    assert (found.service, found.active) == ("chrony", False)
    assert found.verdict == "no service"


@pytest.mark.parametrize("system", DEBIAN)
def test_a_host_of_the_lab_has_the_clock_of_its_machine(system):
    found = clock(f"container_{system}")
    assert (found.service, found.active) == ("chrony", False)
    assert not found.can_set_clock
    assert found.verdict == "clock of the container's host"


@pytest.mark.parametrize("system", DEBIAN)
def test_timesyncd(system):
    found = clock(f"timesyncd_{system}")
    assert (found.service, found.active, found.reference) == (
        "systemd-timesyncd",
        True,
        "127.0.0.1",
    )
    assert found.offset_seconds is not None and -0.001 < found.offset_seconds < 0
    # It was not allowed to set the clock, and systemd 247 raises its flag only after that.
    assert found.synchronised is (system != "debian11")


def test_rhel7():
    found = clock("rhel7_doc")
    assert (found.service, found.active, found.container) == ("chrony", True, None)
    assert found.offset_seconds == -0.00001625
    assert found.reference == "192.0.2.16"
    assert found.kernel_synchronised is True
    assert found.verdict == "synchronised"


def test_ubuntu_1804_leaves_the_word_to_the_kernel():
    found = clock("ubuntu1804_doc")
    assert (found.service, found.synchronised) == ("systemd-timesyncd", True)
    assert found.offset_seconds is None
    assert found.verdict == "synchronised"


def test_ubuntu_2404():
    found = clock("ubuntu2404_doc")
    assert found.synchronised is True
    assert found.offset_seconds == 0.00125
    assert found.reference == "192.0.2.123"


def test_ntpsec():
    found = clock("ntpsec_doc")
    assert (found.service, found.synchronised, found.reference) == ("ntpsec", True, "192.0.2.17")
    assert found.offset_seconds == 0.0025


def test_openntpd():
    found = clock("openntpd_doc")
    assert (found.service, found.synchronised) == ("openntpd", False)
    assert found.offset_seconds == -0.0625
    assert timesync.parse_openntpd(["4/4 peers valid, clock synced, stratum 3"])[0] is True


def test_a_service_that_does_not_answer_leaves_the_word_to_the_kernel():
    text = (DATA / "timesync_chrony_debian12.txt").read_text()
    cut = text[: text.index("Reference ID")] + "506 Cannot talk to daemon\n"
    assert parse(cut.splitlines()).synchronised is False
    assert parse(cut.replace("NTPSynchronized=no", "NTPSynchronized=yes").splitlines()).synchronised
    assert parse(cut.replace("NTPSynchronized=no", "").splitlines()).synchronised is None


def test_the_larger_units_of_an_offset():
    page = ["Server: 192.0.2.1 (a)", "Offset: -1min 2.5s", "Packet count: 1"]
    assert timesync.parse_timesyncd(page)[1] == 62.5


def test_prints_its_verdict():
    assert clock("rhel7_doc").to_json()["verdict"] == "synchronised"


def test_other_text():
    with pytest.raises(FactProcessError, match="Permission denied"):
        parse(["sh: Permission denied"])


def test_runs_anywhere():
    done = subprocess.run(["sh", "-c", timesync.SCRIPT], capture_output=True, text=True, check=True)
    assert parse(done.stdout.splitlines()).verdict in (
        "synchronised",
        "unsynchronised",
        "clock of the container's host",
        "no service",
    )


@pytest.mark.parametrize(
    ("unit", "says", "verdict"),
    [
        ("chrony", ["==[chrony]==", "Leap status     : Normal"], "synchronised"),
        ("chrony", ["==[chrony]==", "Leap status     : Not synchronised"], "unsynchronised"),
        ("systemd-timesyncd", ["==[timesyncd_flag]=="], "synchronised"),
        ("systemd-timesyncd", [], "unsynchronised"),
    ],
)
def test_the_cheap_part_says_whether_the_common_ones_have_the_time(unit, says, verdict):
    lines = ["==[units]==", f"Id={unit}.service", "LoadState=loaded", "ActiveState=active"]
    lines += ["==[container]==", "none", "==[capabilities]==", "CapBnd:\tffffffffff", *says]
    assert timesync.parse(lines).verdict == verdict
    assert all(f"'{line}'" in timesync.SERVICE_SCRIPT for line in says if "==[" in line)
