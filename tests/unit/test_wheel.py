"""What a wheel carries: all of the package below one name, and nothing else."""

from __future__ import annotations

import configparser
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import prometheus_ha
from tests.unit.recorded import ROOT

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def packages() -> set[str]:
    """The packages as setuptools finds them: directories with an `__init__.py`, links to them too."""
    found = set()
    for directory, _, names in os.walk(ROOT / "prometheus_ha", followlinks=True):
        if "__init__.py" in names:
            found.add(str(Path(directory).relative_to(ROOT)))
    return found


def test_every_module_is_in_a_package():
    assert SETUP["options"]["packages"] == "find:"
    assert SETUP["options.packages.find"]["include"] == "prometheus_ha*"
    for link, place in (("deploys", "deploys"), ("facts", "facts"), ("suites", "tests/site")):
        for path in (ROOT / place).rglob("*.py"):
            inside = Path("prometheus_ha", link, path.relative_to(ROOT / place)).parent
            assert str(inside) in packages(), path


def test_every_template_is_carried():
    globs = SETUP["options.package_data"]["prometheus_ha"].split(", ")
    carried = {path for glob in globs for path in (ROOT / "prometheus_ha").glob(glob)}
    assert {path.relative_to(ROOT / "prometheus_ha/templates") for path in carried} == {
        path.relative_to(ROOT / "templates")
        for path in (ROOT / "templates").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_nothing_of_the_lab_is_imported():
    """Neither by the package nor by the suites that it carries."""
    for place in ("deploys", "facts", "prometheus_ha/__main__.py", "tests/site"):
        paths = [ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py")
        for path in paths:
            text = path.read_text()
            assert "from tests" not in text and "import tests" not in text, path


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "deploys").glob("[a-z]*.py")))
def test_each_deploy_is_a_function_of_the_package(name):
    module = importlib.import_module(f"prometheus_ha.deploys.{name}")
    if hasattr(module, "run"):
        assert getattr(prometheus_ha, name).__wrapped__ is module.run
    else:
        assert name in ("alone", "new", "newer", "render")
        with pytest.raises(AttributeError):
            getattr(prometheus_ha, name)


def test_the_command_says_what_it_can():
    def run(*arguments):
        command = [sys.executable, "-m", "prometheus_ha", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    done = run()
    assert done.returncode == 2
    for command in ("new", "render", "newer"):
        assert f"\n  {command} " in done.stderr
    helped = run("new", "--help")
    assert helped.returncode == 0 and "--hosts" in helped.stdout
