"""The pages for operators that have whole files in them: each inventory can be deployed, each figure is the code's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from prometheus_ha.deploys.lib.daemons import PRODUCTS
from prometheus_ha.deploys.lib.survey import capacity
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from tests.unit.recorded import ROOT, run_site

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("operations/*.md")])
ALERTMANAGER = "route: {receiver: team}\nreceivers: [{name: team}]\n"
_REFERENCE = re.compile(r"secret:file:([\w./{}-]+)|\w*_?file: (secrets/[\w./-]+)")


def blocks(text: str) -> list[tuple[str, str]]:
    """The files in a page: path, which is the comment that a block begins with, and content."""
    found = re.findall(r"^```\w+\n# ([\w./]+\.(?:py|yml|tmpl))\n(.*?)^```$", text, re.S | re.M)
    return [(path, content) for path, content in found]


def sections(page: str) -> dict[str, dict[str, str]]:
    """Heading -> path -> content, of those that have files."""
    parts = re.split(r"^## (.*)$", (DOCS / page).read_text(), flags=re.M)
    return {title: files for title, text in zip(parts[1::2], parts[2::2], strict=True) if (files := dict(blocks(text)))}


SHAPES = {title: files for title, files in sections("shapes.md").items() if "inventory.py" in files}


def values(text: str) -> dict[str, Any]:
    """What a Python file of a site has at its top."""
    names: dict[str, Any] = {}
    exec(text, names)
    return {name: value for name, value in names.items() if not name.startswith("_")}


def write(directory: Path, files: dict[str, str]) -> None:
    """A site's directory with these files, and every secret that they name."""
    for path, text in {"alertmanager.yml": ALERTMANAGER, **files}.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
        named = _REFERENCE.findall(repr(values(text)) if path.endswith(".py") else text)
        for secret in (one or other for one, other in named):
            (directory / secret).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            (directory / secret).write_text("http://10.1.0.9/hunter2hunter2")
            (directory / secret).chmod(0o600)
    shutil.copy(ROOT / "config.py", directory)


def planned(directory: Path, monkeypatch) -> str:
    done = run_site(directory, monkeypatch, "--dry", inventory=None, yes=False, deploy="prometheus_ha.site")
    assert done.rc == 0, done.output
    return done.output


# --- Shapes ---------------------------------------------------------------------------------------


def test_there_are_shapes():
    assert len(SHAPES) == 6
    assert "bucket_config" in SHAPES["10 hosts"]["group_data/all.py"]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_can_be_deployed(shape, tmp_path, monkeypatch):
    write(tmp_path, SHAPES[shape])
    output = planned(tmp_path, monkeypatch)
    assert [line for line in output.splitlines() if "warning: " in line] == []
    hosts = {name for group in values(SHAPES[shape]["inventory.py"]).values() for name, _ in group}
    assert all(name in output for name in hosts) and "file /etc/prometheus/prometheus.yml" in output
    if (count := re.match(r"(\d+) host", shape)) is not None:
        assert len(hosts) == int(count[1])


def site_of(files: dict[str, str], **more: Any):
    hosts: dict[str, dict[str, Any]] = {}
    for group, members in values(files["inventory.py"]).items():
        for name, data in members:
            host = hosts.setdefault(name, {"groups": [], "data": values(files["group_data/all.py"]) | more})
            host["groups"].append(group)
            host["data"] |= data
    return site_from_dicts(hosts)


def figures(targets: int) -> list[str]:
    """A row of the table of sizes."""
    files = SHAPES["10 hosts"]
    site = site_of(files, capacity={"targets": {"mine": targets}}, alertmanager_webhook_url="secret:env:NONE")
    first, *_ = members = site.members("prometheus")
    needed = capacity.estimate(site, first)
    rates = tuple(capacity.estimate(site, member).samples_per_second for member in members)
    storage = capacity.Storage(rates, capacity.kept(site, first.settings.capacity), first.settings.capacity)
    return [
        str(targets),
        capacity._number(needed.samples_per_second),
        *map(capacity._range, (needed.memory, needed.disk, storage.daily)),
    ]


@pytest.mark.parametrize("targets", [100, 500, 1000, 2500])
def test_sizes_are_those_of_capacity(targets):
    row = "| " + " | ".join(figures(targets)) + " |"
    assert row in (DOCS / "shapes.md").read_text(), row


def test_room_for_releases_is_that_of_the_declarations():
    text = (DOCS / "shapes.md").read_text()
    said = {name.lower(): int(size) for size, name in re.findall(r"(\d+) MB\s+for\s+(\w+)", text)}
    said = {name: size for name, size in said.items() if name in PRODUCTS}
    assert said == {name: PRODUCTS[name].unpacked for name in said} and len(said) == 5
