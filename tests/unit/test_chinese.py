"""Each Chinese page is the English one in other words: what is not words is the same in both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.recorded import ROOT

CHINESE = sorted([*ROOT.glob("*.zh-CN.md"), *ROOT.glob("docs/**/*.zh-CN.md")])
EVERY_PAGE = pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.name)
_FENCED = re.compile(r"^```.*?^```$", re.S | re.M)
_HEADING = re.compile(r"^(#+) (.+)$", re.M)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FIGURE = re.compile(r"\d+(?:\.\d+)*")


def english(path: Path) -> Path:
    return path.with_name(path.name.replace(".zh-CN.md", ".md"))


def words(path: Path) -> str:
    """A page without its code blocks, whose comments would look like headings."""
    return _FENCED.sub("", path.read_text())


def anchors(path: Path) -> list[str]:
    """What links name the headings of a page by: letters of any script stay, punctuation of any script goes."""
    found: list[str] = []
    for _, title in _HEADING.findall(words(path)):
        name = re.sub(r"[^\w -]", "", re.sub(r"\]\([^)]*\)", "", title).lower()).replace(" ", "-")
        times = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", other) is not None for other in found)
        found.append(f"{name}-{times}" if times else name)
    return found


def targets(path: Path, text: str) -> list[tuple[Path, str]]:
    """File and anchor of each relative link."""
    links = (link.partition("#") for link in _LINK.findall(text) if "://" not in link)
    return [((path.parent / name).resolve() if name else path, anchor) for name, _, anchor in links]


def meant(path: Path, text: str) -> list[str]:
    """Where links lead, whatever the language: the English page, and which of its headings."""
    return [link for link in _LINK.findall(text) if "://" in link] + [
        f"{english(file)}#{anchors(file).index(anchor) if file.exists() and anchor in anchors(file) else anchor}"
        for file, anchor in targets(path, text)
    ]


def cells(path: Path) -> list[list[tuple[list[str], list[str], list[str], bool]]]:
    """Row by row: the inline code, links and figures of each cell, and whether it is empty. Other lines are empty rows,
    many of them as one: so tables stay apart."""
    rows: list[list[tuple[list[str], list[str], list[str], bool]]] = []
    for line in words(path).splitlines():
        row = re.split(r"(?<!\\)\|", line)[1:-1] if line.startswith("|") else []
        if row or (rows and rows[-1]):
            rows.append([(_CODE.findall(cell), meant(path, cell), figures(cell), not cell.strip()) for cell in row])
    return rows


def figures(text: str) -> list[str]:
    return _FIGURE.findall(_LINK.sub("]", _CODE.sub("", text)))


def sections(path: Path) -> list[tuple[int, dict[str, list[str]]]]:
    """The level of each heading, and what is no words down to the next one. Words may come in another order."""
    text = words(path)
    starts = [*(found.start() for found in _HEADING.finditer(text)), len(text)]
    found = []
    for level, part in zip(
        (len(marks) for marks, _ in _HEADING.findall(text)),
        (text[start:end] for start, end in zip(starts, starts[1:], strict=False)),
        strict=True,
    ):
        has = {
            "inline code": sorted(_CODE.findall(part)),
            "links": sorted(meant(path, part)),
            "figures": sorted(figures(part)),
            "items of lists": re.findall(r"^ *(?:-|\d+\.) ", part, re.M),
        }
        found.append((level, has))
    return found


def test_there_are_chinese_pages():
    assert {ROOT / "README.zh-CN.md", ROOT / "docs/first-hour.zh-CN.md"} <= set(CHINESE)


@EVERY_PAGE
def test_code_blocks_are_the_same(path):
    theirs, ours = (_FENCED.findall(page.read_text()) for page in (english(path), path))
    assert theirs and ours == theirs
    assert "```" not in words(path)


@EVERY_PAGE
def test_headings_have_the_same_levels(path):
    theirs, ours = ([level for level, _ in sections(page)] for page in (english(path), path))
    assert ours == theirs


@EVERY_PAGE
def test_sections_have_the_same_code_links_figures_and_items(path):
    for title, (_, theirs), (_, ours) in zip(anchors(path), sections(english(path)), sections(path), strict=True):
        assert ours == theirs, title


@EVERY_PAGE
def test_tables_have_the_same_shape_code_and_links(path):
    theirs, ours = cells(english(path)), cells(path)
    assert any(theirs)
    assert [len(row) for row in ours if row] == [len(row) for row in theirs if row]
    tables, our_tables = ("".join("r" if row else " " for row in rows).split() for rows in (theirs, ours))
    assert our_tables == tables
    for their_row, our_row in zip(filter(None, theirs), filter(None, ours), strict=True):
        assert our_row == their_row


@EVERY_PAGE
def test_links_and_anchors_exist(path):
    for page in (path, english(path)):
        found = targets(page, words(page))
        assert not [str(file) for file, _ in found if not file.exists()]
        assert not [f"{file.name}#{anchor}" for file, anchor in found if anchor and anchor not in anchors(file)]


@EVERY_PAGE
def test_links_lead_to_the_chinese_page_where_there_is_one(path):
    files = [file for file, _ in targets(path, words(path))]
    assert files.count(english(path)) == 1 and words(path).splitlines()[2] == f"[English]({english(path).name})"
    assert f"[简体中文]({path.name})" in words(english(path)).splitlines()[:4]
    assert not {english(other) for other in CHINESE if other != path} & set(files)


@pytest.mark.parametrize(
    "title, anchor",
    [
        ("3. 检查主机：preflight", "3-检查主机preflight"),
        ("A `dead man's` [switch](alerting.md)", "a-dead-mans-switch"),
        ("又一个", "又一个-1"),
    ],
)
def test_anchors_are_those_of_github(title, anchor, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"## 又一个\n\n```\n# 又一个\n```\n\n## {title}\n")
    assert anchors(page) == ["又一个", anchor]
