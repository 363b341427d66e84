"""A process that runs pyinfra's own command line on recorded hosts, and waits at the gate of one until a signal comes.

Prints `GATE` when it is there, and at its end what the hosts were told, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyinfra_cli.main
import pytest

from tests.unit import recorded


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
        print("GATE", flush=True)
        time.sleep(60)
    return True


if __name__ == "__main__":
    recorded.CliRunner = CommandLine
    with pytest.MonkeyPatch.context() as patch:
        done = recorded.run_site(
            Path(sys.argv[1]), patch, "--limit", "alertmanager", deploy="alertmanager", wait=gate
        )
    told = {"ended": done.ended, "commands": {name: len(c) for name, c in done.commands.items()}}
    print(json.dumps(told), flush=True)
    sys.exit(done.rc)
