"""Record which flags a release has: `python record.py COMPONENT VERSION BINARY`, from the checkout.

Writes COMPONENT-VERSION.txt beside this file: the names in `--help`, then those flags of our own
table that help does not show and the binary takes all the same.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from deploys.lib import flags

NAME = re.compile(r"^ +(?:-\w, )?--(?:\[no-\])?([A-Za-z][\w.-]*\w)", re.MULTILINE)


def main(component: str, version: str, binary: str) -> None:
    command = [binary, *([flags.SUBCOMMAND[component]] if component in flags.SUBCOMMAND else [])]

    def said(*arguments: str) -> str:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    shown = sorted(set(NAME.findall(said("--help"))))
    wanted = [flag.name for flag in flags.TABLE[component] if flag.applies(version)]
    # The parser stops at the first flag it does not know, before it looks at any value.
    hidden = [
        name
        for name in wanted
        if name not in shown and "--the-end" in said(f"--{name}=1", "--the-end=1")
    ]
    lines = [f"# {component} {version}: flags in --help", *shown, "# hidden", *hidden]
    Path(__file__).with_name(f"{component}-{version}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
