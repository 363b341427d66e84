"""The site's directory: the user's own, with its inventory, secrets, files of upstream's, and the records of its runs.

Ours (templates, code) is `deploys.lib.PACKAGE`, which an upgrade replaces; nothing of the user's is there.
"""

from __future__ import annotations

from pathlib import Path

_directory: Path | None = None


def use(inventory: str | Path) -> None:
    """This process works on the site of that inventory: its directory, or the working one where `inventory` is no file
    (names of hosts, a function)."""
    global _directory
    path = Path(inventory)
    # The inventory may be a link: the directory is where it was found.
    _directory = path.absolute().parent.resolve() if path.is_file() else Path.cwd()


def forget() -> None:
    """The working directory again."""
    global _directory
    _directory = None


def of_site() -> Path:
    """The site's directory. Paths in settings (`secret:file:`) are relative to it."""
    return _directory or Path.cwd()
