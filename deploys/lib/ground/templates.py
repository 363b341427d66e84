"""Jinja templates of the package: undefined names are errors, and no logic that belongs in Python."""

from __future__ import annotations

import jinja2

from prometheus_ha.deploys.lib import PACKAGE

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(PACKAGE / "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def template(name: str, **values: object) -> str:
    """The template `name` below `templates/`, rendered with `values`."""
    return _ENVIRONMENT.get_template(name).render(**values)


def source(name: str) -> str:
    """The file `name` below `templates/`, as it is: a program, in which braces are its own."""
    return (PACKAGE / "templates" / name).read_text(encoding="utf-8")
