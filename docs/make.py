"""docs/settings.md and docs/reference.md, from what is declared: `.venv/bin/python docs/make.py` writes them.

A unit test (tests/unit/test_docs.py) sees that they are as this would write them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import prometheus_ha.deploys.lib.roles  # noqa: E402, F401  the roles register
from prometheus_ha.deploys.lib.common.starter import ALERTS  # noqa: E402
from prometheus_ha.deploys.lib.daemons import DAEMONS, GROUPS, PRODUCTS  # noqa: E402
from prometheus_ha.deploys.lib.engine.role import ROLES, in_order  # noqa: E402
from prometheus_ha.deploys.lib.ground import topology  # noqa: E402
from prometheus_ha.deploys.lib.site import releases  # noqa: E402
from prometheus_ha.deploys.lib.site.settings import AlertChange, Capacity, Probe, Settings  # noqa: E402

MADE = "<!-- Made by docs/make.py. Change the declarations, not this file. -->"
# Chapters of the documents that the platform was built from: they are not in this repository.
_CHAPTER = re.compile(r",? ?(?:as )?\(?spec/00\d(?: ?[\d.]+)*(?: has it)?\)?")


def plain(text: str) -> str:
    """A docstring or description as the cell of a table."""
    one_line = " ".join(_CHAPTER.sub("", text).split())
    return re.sub(r" ([,.;:])(?!\.)", r"\1", one_line.replace("|", "\\|"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def first_paragraph(what: Any) -> str:
    return plain((inspect.getdoc(what) or "").split("\n\n")[0])


# --- Settings -------------------------------------------------------------------------------------


def sections(model: type) -> dict[str, str]:
    """Setting -> the comment above its section."""
    found, section = {}, ""
    for line in inspect.getsource(model).splitlines():
        if comment := re.fullmatch(r"    # (.+)", line):
            section = re.sub(r"; docs/storage\.md| \(deploys/\S+\)", "", comment[1])
        elif field := re.match(r"    (\w+): ", line):
            found[field[1]] = section
    return found


def default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Capacity):
        return "see below"
    return f"`{value!r}`".replace("|", "\\|")


def settings(model: type, names: Iterable[str]) -> Iterator[str]:
    rows = []
    for name in names:
        field = model.model_fields[name]  # type: ignore[attr-defined]
        value = "required" if field.is_required() else default(field.default)
        rows.append((f"`{name}`", value, plain(field.description)))
    yield from table(("setting", "default", "meaning"), rows)


def settings_page() -> Iterator[str]:
    yield from ("# Settings", "", MADE, "")
    yield (
        "A setting is a top-level name in `group_data/*.py`, data of a host in `inventory.py`, or `--data name=value`. "
        "pyinfra merges them by name, never deep. Any other name is an error, but for those that begin with `x_`: they "
        "are yours. What a change does to the running site: "
        "[running.md](running.md#what-happens-to-my-queries-and-alerts-when-i-change-this)."
    )
    by_section: dict[str, list[str]] = {}
    for name, section in sections(Settings).items():
        by_section.setdefault(section, []).append(name)
    for section, names in by_section.items():
        yield from ("", f"## {section}", "")
        yield from settings(Settings, names)
    for model, name in (
        (Probe, "An entry of `probes`"),
        (AlertChange, "An entry of `starter_alerts`"),
        (Capacity, "`capacity`"),
    ):
        yield from ("", f"## {name}", "", first_paragraph(model), "")
        yield from settings(model, model.model_fields)


# --- Daemons --------------------------------------------------------------------------------------


def ports(name: str) -> str:
    found = []
    for kind, port in DAEMONS[name].ports.items():
        number = Settings.model_fields[port.setting].default
        transports = "" if port.transports == ("tcp",) else f" {'+'.join(port.transports)}"
        twin = f", {number + port.twin}" if port.twin else ""
        found.append(f"{number}{twin} {kind}{transports} (`{port.setting}`)")
    return "<br>".join(found)


def places(name: str) -> str:
    info = DAEMONS[name]
    return "<br>".join(f"`{path}`" for path in (info.config_dir, *info.inner_dirs, info.data_dir) if path)


def reference_page() -> Iterator[str]:
    yield from ("# Groups, daemons, ports, files, gates", "", MADE, "", "## Groups of the inventory", "")
    yield from table(
        ("group", "its hosts are", "daemons"),
        (
            (
                f"`{group}`",
                group.says,
                ", ".join(d.name for d in DAEMONS.values() if d.group == group) or "node_exporter",
            )
            for group in GROUPS.values()
        ),
    )
    yield from ("", "Every host runs node_exporter.", "", "## Daemons", "")
    yield from table(
        ("daemon", "unit", "ports", "scrape job", "own directories", "a change of these files is a reload"),
        (
            (
                name,
                f"`{info.unit}`",
                ports(name),
                f"`{info.job_name}`",
                places(name),
                "<br>".join(f"`{path}`" for path in info.reload_paths),
            )
            for name, info in DAEMONS.items()
        ),
    )
    yield from ("", "## When a member does its job", "")
    yield "A member is left alone once its gate is open; the next one has its turn then, and not before."
    yield ""
    yield from table(
        ("role", "group", "its gate is open when"),
        (
            (role.name, f"`{role.group}`", first_paragraph(role.gate))
            for role in in_order()
            if role.gate and role.values
        ),
    )
    yield from ("", "## Places that all daemons share", "")
    yield from table(
        ("path", "what"),
        (
            (f"`{topology.BIN_DIR}`", "links to the binaries of the version in use"),
            (f"`{topology.INSTALL_DIR}/NAME-VERSION.linux-ARCH`", "a release, unpacked"),
            (f"`{topology.SOFTWARE_DIR}`", "archives as they were downloaded"),
            (f"`{topology.WEB_DIR}`", "web configuration, certificates, what our own clients ask with"),
            (f"`{topology.LOG_DIR}`", "log files of all daemons"),
            (f"`{topology.LAST_RUN}`", "the last run on this host, in words"),
            (f"`{topology.STATE}`", "what is ours on this host; root's alone"),
        ),
    )
    yield from ("", "## Releases", "")
    sets = releases.RELEASES
    yield from table(
        ("product", *sets, "oldest that works", "from"),
        (
            (name, *(sets[one][name] for one in sets), product.oldest, f"github.com/{product.repository}")
            for name, product in PRODUCTS.items()
        ),
    )


# --- Alerts ---------------------------------------------------------------------------------------


CHAPTERS = {
    "prometheus": "Targets, Prometheus, every daemon",
    "alertmanager": "Alertmanager and the way to people",
    "thanos": "Queries, rulers, receivers",
    "storage": "Blocks and the object store",
    "hosts": "Hosts",
    "probes": "Probes",
}
"""File in docs/runbooks -> what its alerts are about."""


def number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def alerts_page() -> Iterator[str]:
    yield from ("# Starter alerts", "", MADE, "")
    yield (
        "What the platform tells of itself, where the site has what an alert is about. `for` is that of the production "
        "profile. Each can be changed or switched off by its name, with `starter_alerts` ([settings.md](settings.md)): "
        "`{'DataDiskFilling': {'threshold': {'warning': 0.2}}, 'DeployOverdue': False}`. The name leads to its runbook."
    )
    for chapter, title in CHAPTERS.items():
        yield from ("", f"## {title}", "")
        yield from table(
            ("alert", "severity", "threshold", "which is", "for", "says"),
            (
                (
                    f"[{one.name}](runbooks/{chapter}.md#{one.name.lower()})",
                    "<br>".join(one.levels),
                    "<br>".join(number(mark) for mark in one.levels.values()),
                    plain(one.counts),
                    f"{5 * one.patience} min" if one.patience else "",
                    plain(said(one.summary)),
                )
                for one in ALERTS.values()
                if one.chapter == chapter
            ),
        )


def said(summary: str) -> str:
    """The text of an alert, with a word for each value in it."""
    text = re.sub(r"{{ with \$labels\.(\w+) }}(.*?){{ else }}.*?{{ end }}", r"\2", summary)
    text = re.sub(r"{{[^}]*\$labels\.(\w+)[^}]*}}|<(\w+)>", lambda found: (found[1] or found[2]).upper(), text)
    return re.sub(r"{{[^}]*}}", "VALUE", text)


PAGES = {"settings.md": settings_page, "reference.md": reference_page, "alerts.md": alerts_page}


def pages() -> dict[str, str]:
    """File name -> what it is to hold."""
    assert ROLES
    return {name: "\n".join(page()) + "\n" for name, page in PAGES.items()}


if __name__ == "__main__":
    for name, text in pages().items():
        (ROOT / "docs" / name).write_text(text)
