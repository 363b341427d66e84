"""A process that runs pyinfra's own command line on recorded hosts, and has a signal sent to it at the gate of one.

Prints at its end what the hosts were told, as JSON.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyinfra_cli.main
import pytest

from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_CONFIG
from tests.unit import recorded

HUNG = 60
"""Seconds after which it says where it stands, and ends."""
DIRECTORY, NUMBER, WHEN = sys.argv[1:]


class CommandLine:
    """In the place of click's runner: pyinfra as it is started by its users, signal handler and all."""

    def invoke(self, cli, arguments, input):
        sys.argv = ["pyinfra", *arguments]
        try:
            pyinfra_cli.main.main()
        except SystemExit as end:
            return SimpleNamespace(exit_code=end.code, output="", stdout="")


def gate(state, host, gate, purpose):
    if host.name == "am-2" and "job" in purpose:
        faulthandler.dump_traceback_later(HUNG, exit=True)
        if WHEN == "at work":
            os.kill(os.getpid(), int(NUMBER))
        # By another process, as a terminal's would be: it comes while this one waits, and not while it starts that one.
        told, tell = os.pipe()
        subprocess.Popen(["sh", "-c", 'read go; kill -"$1" "$2"', "sh", NUMBER, str(os.getpid())], stdin=told)
        os.write(tell, b"\n")
        time.sleep(HUNG)
    return True


if __name__ == "__main__":
    recorded.CliRunner = CommandLine
    with pytest.MonkeyPatch.context() as patch:
        # Not the first run: members of a new tier have no turns.
        before = replace(recorded.BLANK, manifests={"alertmanager": {ALERTMANAGER_CONFIG}})
        done = recorded.run_site(
            *(Path(DIRECTORY), patch, "--limit", "alertmanager"),
            deploy="alertmanager",
            wait=gate,
            states={"am-3": before},
        )
    told = {"ended": done.ended, "commands": {name: len(c) for name, c in done.commands.items()}}
    print(json.dumps(told), flush=True)
    sys.exit(done.rc)
