"""The pages for operators that have whole files in them: each inventory can be deployed, each figure is the code's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from prometheus_ha.deploys.lib.daemons import PRODUCTS
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.survey import capacity
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from tests.unit.recorded import ROOT, run_site

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("operations/*.md")])
ALERTMANAGER = "route: {receiver: team}\nreceivers: [{name: team}]\n"
_REFERENCE = re.compile(r"secret:file:([\w./{}-]+)|\w*_?file: (secrets/[\w./-]+)")


def blocks(text: str) -> list[tuple[str, str]]:
    """The files in a page: path, which is the comment that a block begins with, and content."""
    found = re.findall(r"^```\w*\n# ([\w./]+\.(?:py|yml|tmpl))\n(.*?)^```$", text, re.S | re.M)
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


# --- Other pages ----------------------------------------------------------------------------------

COOKBOOK = sections("alerting.md")


@pytest.mark.parametrize("title", COOKBOOK)
def test_the_cookbook_can_be_deployed(title, tmp_path, monkeypatch):
    shape = SHAPES["3 hosts"]
    own = {path: text for path, text in COOKBOOK[title].items() if not path.endswith(".py")}
    write(tmp_path, shape | own)
    output = planned(tmp_path, monkeypatch)
    assert [line for line in output.splitlines() if "warning: " in line] == []
    assert "file /etc/alertmanager/alertmanager.yml" in output


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_to_files_and_headings(path: Path):
    for file, heading in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", path.read_text()):
        target = path.parent / file if file else path
        assert target.exists(), file
        if heading and target.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            names = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in names, f"{file}#{heading}"


def test_every_operation_is_in_its_index():
    index = (DOCS / "operations/README.md").read_text()
    assert not [p.name for p in DOCS.glob("operations/*.md") if p.name != "README.md" and f"]({p.name})" not in index]


def test_paths_of_a_mirror():
    text = (DOCS / "mirror.md").read_text()
    for product, version in releases.RELEASES["current"].items():
        archive = releases.archive(product, version, "amd64")
        path, sums, name = (
            one.replace(version, "VERSION").replace("amd64", "ARCH")
            for one in (archive.path, archive.sums_path, archive.name)
        )
        assert f"| {product} | `{path}` | `{sums.rpartition('/')[2]}` beside it |" in text
        assert name == f"{product}-VERSION.linux-ARCH.tar.gz" or f"`{name}`" in text


def test_the_paths_can_be_printed(capsys):
    text = (DOCS / "mirror.md").read_text()
    [program] = re.findall(r"```python\n(from .*?)```", text, re.S)
    exec(program, {})
    assert releases.archive("thanos", releases.RELEASES["current"]["thanos"], "amd64").path in capsys.readouterr().out


def test_messages_are_those_of_the_code():
    """What a page says that the code prints, it prints: as far as it stands in the code as it is."""
    paths = [*ROOT.glob("deploys/**/*.py"), *ROOT.glob("facts/**/*.py")]
    code = "\n".join(path.read_text() for path in paths)
    code = re.sub(r"['\"]\s*\n\s*(?:found \+= |allowed \+= |advice \+= )?f?['\"]", "", code).replace('\\"', '"')
    rows = re.findall(r"^\| (`.*?) \| ", (DOCS / "troubleshooting.md").read_text(), re.M)
    # Put together when they are printed, as `PLACE: found WHAT; expected: WHAT`.
    apart = re.compile(
        r"\.\.\.|; expected: |(?:^|: )found |warning: | down:|[()]|Nothing was changed: |not taken down: ",
    )
    said = [part.strip(" :") for row in rows for text in re.findall(r"`([^`]+)`", row) for part in apart.split(text)]
    lacking = [part for part in said if len(part) > 11 and part not in code]
    assert not lacking, lacking
    assert len(rows) > 50
