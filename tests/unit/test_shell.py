"""The shell that the suites and drills keep open on a host, with a local one in the place of ssh's."""

import subprocess

import pytest

from prometheus_ha.suites.shell import Shell, ShellLost

HERE = ["sh", "-c"]


@pytest.fixture
def shell():
    made = Shell(HERE)
    assert made.answers()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo one; echo two >&2; exit 3", (3, b"one\n", b"two\n")),
        ("printf one; printf two >&2", (0, b"one", b"two")),
        ("printf 'one\n\n'", (0, b"one\n\n", b"")),
        ("cat", (0, b"", b"")),
        ("x='a b'; cd /; set -e; false; echo no", (1, b"", b"")),
        ("head -c 300000 /dev/zero", (0, bytes(300000), b"")),
        ("trap 'echo left' EXIT; exec 2>&1; ls /nowhere >/dev/null", (2, None, b"")),
    ],
)
def test_each_script_has_a_shell_of_its_own(shell, script, expected):
    status, out, err = shell.run(script)
    assert (status, err) == (expected[0], expected[2]) and expected[1] in (None, out)
    assert shell.run('echo "${x-unset} $PWD" | cut -d" " -f1') == (0, b"unset\n", b"")


def test_a_script_that_is_no_shell_says_so_and_the_next_one_runs(shell):
    status, out, err = shell.run("if then")
    assert status and not out and b"yntax" in err
    assert shell.run("echo here") == (0, b"here\n", b"")


def test_what_goes_on_printing_is_no_part_of_the_next_answer(shell):
    shell.run("(sleep 0.1; printf late) &")
    assert shell.run("sleep 0.3") == (0, b"late", b"") and shell.answers()
    assert shell.run("echo mine") == (0, b"mine\n", b"")


def test_a_login_that_talks():
    shell = Shell(["sh", "-c", 'echo welcome; echo "to all" >&2; eval "$0"'])
    assert shell.answers()
    assert shell.run("echo mine") == (0, b"mine\n", b"")
    shell.close()


def test_a_host_that_cannot_be_reached():
    shell = Shell(["sh", "-c", "echo no route >&2; exit 255"])
    assert not shell.answers()
    with pytest.raises(ShellLost, match="no route"):
        shell.run("true")


def test_a_shell_that_ends_at_work(shell):
    with pytest.raises(ShellLost):
        shell.run("kill -9 $$")
    assert not shell.answers()


def test_one_that_takes_too_long(shell):
    with pytest.raises(subprocess.TimeoutExpired):
        shell.run("echo begun; sleep 60", timeout=0.2)
    assert not shell.answers()
