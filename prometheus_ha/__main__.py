"""Commands beside pyinfra's: `prometheus-ha COMMAND`, or `python -m prometheus_ha COMMAND`."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "new": "makes the directory of a new site",
    "render": "writes the files that each host would get, without a connection",
    "newer": "says which releases are newer than those that are deployed",
}


def main() -> int:
    """The command that is named first, with all that follows."""
    name, *arguments = sys.argv[1:] or [""]
    if name in COMMANDS:
        return import_module(f"prometheus_ha.deploys.{name}").main(arguments)
    print("prometheus-ha COMMAND, with --help for more of each:", file=sys.stderr)
    for command, says in COMMANDS.items():
        print(f"  {command:8}  {says}", file=sys.stderr)
    print("Sites are deployed by pyinfra: pyinfra inventory.py prometheus_ha.site", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
