"""Jinja templates of the package: undefined names are errors, and no logic that belongs in Python."""

from __future__ import annotations

from pathlib import Path

import jinja2

_DIRECTORY = Path(__file__).resolve().parents[2] / "templates"
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_DIRECTORY),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def template(name: str, **values: object) -> str:
    """The template `name` below `templates/`, rendered with `values`."""
    return _ENVIRONMENT.get_template(name).render(**values)
