"""The programs of releases, from the archives of the lab."""

from __future__ import annotations

import os
import platform
import subprocess
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from prometheus_ha.deploys.lib.site import releases
from tests.lab import archives

Program = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Release, and program of its Prometheus -> path."""

    @cache
    def of(release: str, name: str) -> Path:
        version = releases.RELEASES[release]["prometheus"]
        archive = releases.archive("prometheus", version, platform.machine())
        path = archives.cache_dir() / "mirror" / archive.path
        if not path.exists():
            pytest.fail(f"no {name} {version}: {path} is not there; make archives RELEASE={release} makes it")
        place = tmp_path_factory.mktemp(f"{name}-{version}")
        with tarfile.open(path) as tar:
            tar.extract(f"{archive.directory}/{name}", place, filter="data")
        return place / archive.directory / name

    return of


PINT = "v0.87.0"


@pytest.fixture(scope="session")
def pint() -> Path:
    """pint, built from its Go module: as one that a module of ours requires, so that its sums are looked up."""
    place = archives.cache_dir() / "tools" / f"pint-{PINT}"
    program = place / "pint"
    if not program.exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "go.mod").write_text("module tools\n\ngo 1.26\n")
        path = "github.com/cloudflare/pint/cmd/pint"
        with archives.Job(f"pint {PINT}") as job:
            go = archives.go(job)
            job.step("compiling", announce=True)
            for words in (["get", f"{path}@{PINT}"], ["build", "-trimpath", "-ldflags=-s -w", "-o", "pint", path]):
                env = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "auto"}
                done = subprocess.run([go, *words], cwd=place, env=env, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"go {' '.join(words)}: {done.stderr[-2000:]}"
    return program
