"""How scripts go to a host, and what is taken for their answer."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest
from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib import roles
from prometheus_ha.facts.look import Look
from prometheus_ha.facts.probe import BEGIN, END, SHELL, Probe, between, piped, probe
from tests.unit.example_site import example_site
from tests.unit.recorded import first_run

LONGEST = 131072
"""Bytes of one argument, by Linux (MAX_ARG_STRLEN)."""


BOTH = pytest.mark.parametrize("at_once", [False, True])


def answer(script: str, at_once: bool, before: str = "") -> subprocess.CompletedProcess:
    """What a host prints, whose shell says something of its own `before`."""
    sent = piped(script, at_once)
    command = ["sh", "-c", f"{before}{SHELL}"]
    return subprocess.run(command, input=sent, capture_output=True, text=True, check=False)


@BOTH
def test_what_a_users_shell_says_is_no_answer(at_once):
    done = answer("echo one; echo two", at_once, before="echo active; trap 'echo bye' EXIT; ")
    assert done.stdout.splitlines()[0] == "active" and done.stdout.splitlines()[-1] == "bye"
    assert between(done.stdout.splitlines()) == ["one", "two"]


@BOTH
def test_what_is_printed_before_a_mark_may_lack_its_newline(at_once):
    done = answer("echo one; printf two", at_once, before="printf hello; ")
    assert done.stdout.startswith("hello=") and ("two=" in done.stdout) is not at_once
    assert between(done.stdout.splitlines()) == ["one", "two"]


@BOTH
def test_a_script_may_end_itself_read_its_input_and_hold_documents(at_once):
    script = "read -r word; echo \"<$word>\" # it's )\ncase a in (b|a) cat <<'END'\n} )\nEND\n;; esac\n(exit 3)\n"
    done = answer(f"{script}exit 0\necho never", at_once)
    assert done.returncode == 0
    assert between(done.stdout.splitlines()) == ["<>", "} )"]
    assert answer("exit 3", at_once).returncode == 3


@BOTH
def test_of_a_script_that_came_in_part_nothing_is_done(tmp_path, at_once):
    sent = "\n".join(piped(f"touch {tmp_path}/done\n" + "true\n" * 9, at_once).splitlines()[:-3])
    subprocess.run(["sh", "-s"], input=sent, capture_output=True, text=True, check=False)
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("lines", [[], ["hello"], [BEGIN, "cut off"], [END, BEGIN]])
def test_half_an_answer_is_none(lines):
    with pytest.raises(FactProcessError, match="no whole answer"):
        between(lines)


def test_no_script_is_an_argument():
    """A gate of a querier over 300 stores is far longer than an argument may be."""
    asked: dict = {}

    def get_fact(fact, *, _stdin, **options):
        asked.update(command=fact().command, stdin=_stdin)
        return []

    site = example_site(storage=True)
    stores = [("thanos-store", site.hosts["block-1"])] * 300
    object.__setattr__(site, "stores", lambda: stores)
    gate = roles.querier.gate(site, site.hosts["query-1"], site.hosts["query-2"])
    assert len(gate.script) > LONGEST
    assert probe(SimpleNamespace(get_fact=get_fact), gate.script) == []
    assert asked["command"] == SHELL and asked["stdin"].count(gate.script) == 1
    assert Look().command(sent=True) == SHELL
    assert Probe().process(["noise", BEGIN, "x", END]) == ["x"]
    assert Probe().process(["noise", BEGIN, "x"]) == []


def test_no_command_of_a_run_is_a_long_one():
    """Whatever is sent to a host, by a fact or as a command, goes by stdin."""
    seen = first_run().sent
    assert seen and max(map(len, seen)) < 1000, max(seen, key=len)[:2000]
