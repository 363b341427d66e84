"""The programs of releases, from the archives of the lab."""

from __future__ import annotations

import platform
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
