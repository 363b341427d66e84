"""What is read of units that were started, and how long a gate waits for one that dies."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from prometheus_ha.deploys.lib.common import faults
from prometheus_ha.deploys.lib.daemons import RECEIVE
from prometheus_ha.deploys.lib.ground import alive
from prometheus_ha.deploys.lib.ground.alive import Unit
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.rollout import Gate, Progress
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.facts.probe import Probe

UP, AWAY, BETWEEN, FAILED = (
    ("active", "running", "success"),
    ("activating", "auto-restart", "exit-code"),
    ("inactive", "dead", "exit-code"),
    ("failed", "failed", "start-limit-hit"),
)


def shown(name: str, state: tuple[str, str, str], restarts: int = 0) -> list[str]:
    """As `systemctl show` of systemd 252 to 259 prints it."""
    active, sub, result = state
    return [
        f"Result={result}",
        f"NRestarts={restarts}",
        f"Id={name}.service",
        f"ActiveState={active}",
        f"SubState={sub}",
        "",
    ]


@pytest.mark.parametrize(
    ("state", "restarts", "unit"),
    [
        (UP, 0, Unit("am", True, False, 0, "active (running)")),
        (UP, 3, Unit("am", True, False, 3, "active (running)")),
        (AWAY, 0, Unit("am", False, False, 1, "activating (auto-restart, exit-code)")),
        (AWAY, 1, Unit("am", False, False, 2, "activating (auto-restart, exit-code)")),
        (BETWEEN, 1, Unit("am", False, False, 1, "inactive (dead, exit-code)")),
        (FAILED, 5, Unit("am", False, True, 5, "failed (failed, start-limit-hit)")),
        (("active", "exited", "success"), 0, Unit("am", True, False, 0, "active (exited)")),
    ],
)
def test_a_unit(state, restarts, unit):
    lines = [*shown("rsyslog", UP), *shown("am", state, restarts)]
    units, answer = alive.read([*lines[:-1], alive.MARK, "==[name]== ready", "", "OK"])
    assert units[1] == unit
    assert (units[0].name, answer) == ("rsyslog", ["==[name]== ready", "", "OK"])


def test_a_host_that_does_not_answer_is_no_unit_that_failed():
    with pytest.raises(ValueError):
        alive.read([])


JOURNAL = """\
Nov 27 01:31:09 alertmanager[601]: time=2026-11-27T01:31:09.664Z level=INFO msg="exiting gracefully..."
Nov 27 01:31:09 systemd[1]: alertmanager.service: Deactivated successfully.
Nov 27 01:31:09 systemd[1]: Started alertmanager.service - Alertmanager.
Nov 27 01:31:09 alertmanager[713]: alertmanager: error: unrecognized log format nonsense, try --help
Nov 27 01:31:09 systemd[1]: alertmanager.service: Main process exited, code=exited, status=1/FAILURE
Nov 27 01:31:09 systemd[1]: alertmanager.service: Failed with result 'exit-code'.
""".splitlines()
PANIC = """\
Nov  7 01:31:08 thanos[9]: ts=2026-11-07T01:31:08Z caller=receive.go:1 level=info msg="starting receiver"
Nov  7 01:31:09 thanos[9]: panic: runtime error: invalid memory address or nil pointer dereference
Nov  7 01:31:09 thanos[9]: [signal SIGSEGV: segmentation violation code=0x1 addr=0x10 pc=0x2fd5]
Nov  7 01:31:09 thanos[9]:
Nov  7 01:31:09 thanos[9]: goroutine 313 [running]:
Nov  7 01:31:09 thanos[9]: github.com/thanos-io/thanos/pkg/receive.(*peerGroup).getConnection(0xc0, {0x3, 0x1c})
Nov  7 01:31:09 thanos[9]: \t/src/pkg/receive/handler.go:1555 +0x35
Nov  7 01:31:09 thanos[9]: main.main()
Nov  7 01:31:09 thanos[9]: created by github.com/oklog/run.(*Group).Run in goroutine 1
Nov  7 01:31:09 thanos[9]: rax    0x0
Nov  7 01:31:09 systemd[1]: thanos-receive.service: Main process exited, code=exited, status=2/INVALIDARGUMENT
""".splitlines()


def test_the_last_words_are_the_daemons_own():
    lines, own = alive.last_words(JOURNAL)
    assert own == "alertmanager: error: unrecognized log format nonsense, try --help"
    assert lines[-1].endswith("Failed with result 'exit-code'.")
    lines, own = alive.last_words(PANIC)
    assert own.startswith("panic: runtime error")
    assert len(lines) == 3 and "starting receiver" in lines[0]


def test_a_journal_is_bounded_and_safe_to_print():
    line = "Nov 27 01:31:09 am[7]: \x1b[2J" + "x" * 9999
    lines, own = alive.last_words([line] * 99)
    assert len(lines) == alive.WORDS
    assert own.startswith("\\x1b[2J") and len(own) == alive.WIDTH
    assert alive.last_words(["-- No entries --"]) == ([], "")


class Clock:
    """Time that passes where somebody waits."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(rollout.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(rollout.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Host:
    """A host whose `unit` was started when the clock began: what it is at a second of its life says `life`."""

    def __init__(self, clock: Clock, life):
        self.clock, self.life, self.began, self.log_ = clock, life, clock.now, []

    def get_fact(self, fact, *, _stdin):
        assert fact is Probe
        if any(line.startswith("journalctl") for line in _stdin.splitlines()):
            return JOURNAL
        age = self.clock.now - self.began
        state, restarts = next(said for until, said in self.life if age < until)
        answer = "ready" if state is UP else "curl: (7) Failed to connect"
        return [*shown("am", state, restarts), alive.MARK, answer]

    def log(self, text, **_):
        self.log_.append(text)

    def log_styled(self, text, **_):
        self.log_.append(text)


EVER = float("inf")


def follow(monkeypatch, life, started=("am",), known=None):
    """Whether the gate opens, after how many seconds, and what the host's log says."""
    clock = Clock(monkeypatch)
    host = Host(clock, life)
    gate = Gate("ask", lambda lines: Progress(lines == ["ready"], lines[0], 1))
    done = rollout._follow(None, host, gate, ["am"], "am does its job", started, known or {})
    return done, clock.now - host.began, "\n".join(host.log_)


def test_a_crash_loop_ends_the_gate_at_the_second_crash(monkeypatch):
    life = [(1, (UP, 0)), (6, (AWAY, 0)), (7, (UP, 1)), (EVER, (AWAY, 1))]
    # Where it is up for a second, its gate would open: it is asked once it is up.
    done, seconds, log = follow(monkeypatch, [(0.5, (BETWEEN, 0)), *life[1:]])
    assert not done and 7 <= seconds < 8
    own = "alertmanager: error: unrecognized log format nonsense, try --help"
    assert f"am does its job: am crashed 2 times since its start: {own}" in log
    assert "no progress for" not in log
    assert "  alertmanager.service: Main process exited" in log


def test_a_unit_that_failed_ends_the_gate(monkeypatch):
    done, seconds, log = follow(monkeypatch, [(2, (AWAY, 0)), (EVER, (FAILED, 1))])
    assert (done, seconds) == (False, 2)
    assert "am has failed: alertmanager: error: unrecognized log format" in log


def test_one_crash_is_let_pass_where_the_daemon_comes_back_and_stays(monkeypatch):
    done, seconds, log = follow(monkeypatch, [(0.5, (BETWEEN, 0)), (5, (AWAY, 0)), (EVER, (UP, 1))])
    assert done and seconds >= 0.5 + rollout.STEADY
    assert "am crashed: alertmanager: error" in log
    assert "crashed once and came back" in log


def test_one_that_stays_up_is_not_waited_for(monkeypatch):
    assert follow(monkeypatch, [(EVER, (UP, 0))])[:2] == (True, 0)


def test_crashes_from_before_a_reload_do_not_count(monkeypatch):
    done, seconds, log = follow(monkeypatch, [(EVER, (UP, 7))], started=())
    assert (done, seconds) == (True, 0) and "crashed" not in log


def test_one_that_hangs_is_waited_for_and_its_journal_is_shown(monkeypatch):
    done, seconds, log = follow(monkeypatch, [(EVER, (("activating", "start", "success"), 0))])
    assert not done and seconds > rollout.PATIENCE
    assert "no progress for 90 s: am is activating (start)" in log
    assert "the journal of am ends with:" in log


def test_a_start_that_systemd_refuses_shows_the_journal():
    lines = alive.before("restart", ["a", "b"]).splitlines()
    assert "-u a.service -u b.service" in lines[0] and lines[0].startswith("trap '[ $? = 0 ] || ")
    assert lines[1].startswith("systemctl reset-failed a b")
    assert "reset-failed" not in alive.before("reload", ["a"]), "the counts are the daemon's history"


# --- Faults that upstream knows of ----------------------------------------------------------------


def receiver(version: str):
    """A host with a receiver of that release."""
    data = {
        "ssh_hostname": "10.0.0.1",
        "bucket_config": None,
        "receive_replication": 1,
        "versions": {"thanos": version},
    }
    hosts = {"ring-1": {"groups": ["receive", "inventory"], "data": data}}
    return site_from_dicts(hosts).hosts["ring-1"]


[KNOWN] = RECEIVE.faults
PRUNED = (
    "Nov  7 01:31:09 thanos[9]: github.com/thanos-io/thanos/pkg/receive.(*tenant).shouldBeMarkedInactive(0xc0)",
    *PANIC,
)


@pytest.mark.parametrize(("version", "found"), [("0.41.9", []), ("0.42.0", [KNOWN]), ("0.42.5", [KNOWN])])
def test_a_fault_is_known_of_its_releases(version, found):
    assert faults.of_unit(receiver(version), "thanos-receive") == found
    assert faults.of_unit(receiver(version), "node_exporter") == []


@pytest.mark.parametrize(("journal", "said"), [(PRUNED, True), (PANIC, False)])
def test_the_gate_names_a_known_fault(monkeypatch, journal, said):
    monkeypatch.setattr(rollout, "_journal", lambda host, unit: list(journal))
    life = [(5, (AWAY, 0)), (EVER, (UP, 1))]
    done, _, log = follow(monkeypatch, life, known={"am": [KNOWN]})
    assert done
    assert (f"am crashed once and came back ({KNOWN})" in log) is said
    assert (f"am crashed ({KNOWN}): panic: runtime error" in log) is said


@pytest.mark.parametrize("times", [2, rollout.KNOWN_CRASHES, rollout.KNOWN_CRASHES + 1])
def test_a_known_fault_may_come_several_times(monkeypatch, times):
    monkeypatch.setattr(rollout, "_journal", lambda host, unit: list(PRUNED))
    # systemd counts one when it starts the unit again: until then it is one more than it says.
    life = [*((5, (AWAY, crashes)) for crashes in range(times)), (EVER, (UP, times))]
    done, _, log = follow(monkeypatch, life, known={"am": [KNOWN]})
    assert done is (times <= rollout.KNOWN_CRASHES)
    assert (f"am crashed {times} times and came back ({KNOWN})" in log) is done


def test_another_crash_after_a_known_one_is_none_of_it(monkeypatch):
    another = [*PRUNED, "systemd[1]: Started am.service", *PANIC]
    journals = iter([list(PRUNED), another, another])
    monkeypatch.setattr(rollout, "_journal", lambda host, unit: next(journals))
    done, _, log = follow(monkeypatch, [(5, (AWAY, 0)), (5, (AWAY, 1)), (EVER, (UP, 2))], known={"am": [KNOWN]})
    assert not done and "am crashed 2 times since its start" in log


def test_crashes_are_told_apart():
    member = receiver("0.42.5")
    script = faults.script(member, ["thanos-receive", "node_exporter"])
    assert "thanos-receive.service node_exporter.service" in script
    assert script.count("journalctl") == 1, "only where a fault is known"

    def read(restarts: int, known: Sequence[str] = ()) -> dict[str, faults.Crashes]:
        units = [*shown("thanos-receive", UP, restarts), *shown("node_exporter", UP)]
        return faults.read(member, [*units[:-1], alive.MARK, *known])

    assert read(0) == {} and faults.read(member, []) == {}
    assert read(1)["thanos-receive"].unknown == 1
    assert str(read(1)["thanos-receive"]) == "crashed once and came back (not a known fault)"
    (found,) = read(2, ["thanos-receive thanos#8990 1"]).values()
    assert (found.times, found.unknown) == (2, 1)
    assert str(found) == f"crashed 2 times and came back ({KNOWN}; and 1 of them unknown)"
    # The journal may have more than systemd counts: of before a restart.
    assert read(1, ["thanos-receive thanos#8990 3"])["thanos-receive"].unknown == 0
