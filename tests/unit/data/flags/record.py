"""Record which flags a release has: `python record.py COMPONENT VERSION BINARY`, from the checkout.

Writes COMPONENT-VERSION.txt beside this file: the names in its help, then those flags of our own
table that help does not show and the binary takes all the same. With a release's binary of every
component, `durations.txt` is what they say to `--FLAG=nonsense`: `not a valid duration string` is
Prometheus' grammar, `time: invalid duration` is Go's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.engine import flags

NAME = r"^ +(?:-\w, )?{dashes}(?:\[no-\])?([A-Za-z][\w.-]*\w)"


def main(component: str, version: str, binary: str) -> None:
    command = [*DAEMONS[component].command[:-1], binary, *DAEMONS[component].subcommand]
    dashes = DAEMONS[component].dashes

    def said(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    names = re.compile(NAME.format(dashes=dashes), re.MULTILINE)
    shown = sorted(set(names.findall(said(f"{dashes}help"))))
    wanted = [flag.name for flag in DAEMONS[component].flags if flags.applies(flag, version)]
    # The parser stops at the first flag it does not know, before it looks at any value.
    hidden = [
        name for name in wanted if name not in shown and "the-end" in said(f"{dashes}{name}=1", f"{dashes}the-end=1")
    ]
    lines = [f"# {component} {version}: flags in --help", *shown, "# hidden", *hidden]
    Path(__file__).with_name(f"{component}-{version}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
