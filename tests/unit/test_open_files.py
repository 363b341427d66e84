"""More hosts than files may be open: the limit is raised, or the run ends before it connects, in a sentence."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys

import pytest

from prometheus_ha.deploys.lib.ground.open_files import PER_HOST, SPARE
from prometheus_ha.deploys.lib.survey.load import chosen
from tests.unit.recorded import ROOT

INVENTORY = 'node_exporter = [(f"h-{i}", {"ssh_hostname": "127.0.0.1"}) for i in range(100)]\n'
CALL = """
import os
import resource
from prometheus_ha.deploys.lib.ground.open_files import make_room
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(make_room(100), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "said"),
    [
        (90, 5000, f"None ({PER_HOST * 100 + SPARE}, 5000)"),
        (90, 150, "None (150, 150)"),
        (4000, 5000, "None (4000, 5000)"),
        (90, 100 + SPARE - 1, "100 hosts: each takes an open file, and this shell allows 131"),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may_be(soft, hard, said):
    call = [sys.executable, "-c", CALL.format(soft=soft, hard=hard)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said)


@pytest.mark.parametrize(("limit", "refused"), [((), True), (("--limit", "h-1*"), False)])
def test_a_run_on_more_hosts_than_may_be_open_ends_before_it_connects(tmp_path, limit, refused):
    (tmp_path / "inventory.py").write_text(INVENTORY)
    shutil.copy(ROOT / "config.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pyinfra", "-y", *limit, "inventory.py", "debug-inventory"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90)),
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    assert (done.returncode != 0) is refused, output
    assert ("100 hosts: each takes an open file" in output) is refused, output


def test_who_is_connected_to():
    hosts = {"a-1": ["a", "all"], "a-2": ["a"], "b-1": ["b"]}
    assert chosen(hosts, [], []) == ["a-1", "a-2", "b-1"]
    assert chosen(hosts, ["a", "b-*"], ["a-2"]) == ["a-1", "b-1"]
    assert chosen(hosts, ["b"], ["b"]) == []


@pytest.mark.parametrize(("told", "kept"), [([], True), (["-B"], False)])
def test_what_was_compiled_is_kept_for_the_next_run(told, kept):
    """pyinfra keeps nothing; who tells Python so is still heard."""
    script = (
        "import sys; sys.dont_write_bytecode = True; import prometheus_ha.deploys.lib; print(sys.dont_write_bytecode)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    said = subprocess.check_output([sys.executable, *told, "-c", script], cwd=ROOT, env=environment)
    assert said.decode().strip() == str(not kept)
