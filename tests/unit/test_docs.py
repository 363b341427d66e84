"""The tables of the docs say what is declared, and links in the docs lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from deploys.lib import ROOT

_spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs/make.py")
assert _spec and _spec.loader
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)

PAGES = make.pages()


@pytest.mark.parametrize("name", PAGES)
def test_it_is_as_it_is_made(name):
    assert (ROOT / "docs" / name).read_text() == PAGES[name], "make it anew: .venv/bin/python docs/make.py"


def test_nothing_is_left_out():
    page = PAGES["settings.md"]
    models = (make.Settings, make.Probe, make.Capacity)
    assert not [name for model in models for name in model.model_fields if f"| `{name}` |" not in page]
    page = PAGES["reference.md"]
    assert not [name for name in make.DAEMONS if f"| {name} | `" not in page]
    assert "spec/" not in "".join(PAGES.values())
    assert not re.findall(r"\| *\|$", page.split("## When")[1].split("## Places")[0], re.M), (
        "a gate says what it waits for"
    )


@pytest.mark.parametrize("path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_links_lead_to_files(path: Path):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text())
    assert not [link for link in links if not (path.parent / link).exists()]
