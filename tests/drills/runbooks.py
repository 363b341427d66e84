"""The commands of the runbooks, line by line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent

from tests.lab import plan


@dataclass(frozen=True)
class Command:
    """A line of a fenced block."""

    chapter: str
    section: str
    line: str

    @property
    def kind(self) -> str:
        """`control` for who runs the deploy, `shell` on a host, `query` for a Prometheus."""
        first = re.split(r"[ ;(={<]", self.line, maxsplit=1)[0]
        if first == "pyinfra" or ".runs" in self.line:
            return "control"
        return "shell" if first in PROGRAMS else "query"


PROGRAMS = (
    *("amtool", "ask", "blackbox_exporter", "cat", "chronyc", "curl", "date", "df", "du", "echo", "ethtool", "for"),
    *("getent", "grep", "ip", "journalctl", "ls", "lsof", "openssl", "pid", "promtool", "ps", "python3", "readlink"),
    *("ss", "systemctl", "tail", "thanos", "timedatectl"),
)


def _commands() -> list[Command]:
    found = []
    for path in sorted((plan.ROOT / "docs" / "runbooks").glob("*.md")):
        text = path.read_text()
        section = ""
        for match in re.finditer(r"^## (\w+)$|^( *)```\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
            if match[1]:
                section = match[1]
                continue
            block = dedent(match[3]).replace("\\\n", " ")
            block = re.sub(r"\n\s+/ ", " / ", block)  # a query of two lines
            if not block.startswith("ask()"):
                found += [Command(path.stem, section, line.strip()) for line in block.splitlines()]
    return found


COMMANDS = _commands()
