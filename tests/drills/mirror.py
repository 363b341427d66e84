"""A mirror of a drill's own, with archives that are not as they should be."""

from __future__ import annotations

import hashlib
import platform
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.releases import Archive
from tests.lab import plan


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """pytest shows what failed."""


@contextmanager
def mirror(directory: Path) -> Iterator[str]:
    """Serve `directory` to the lab's hosts; yields the base URL."""
    with ThreadingHTTPServer((plan.LAB.gateway, 0), partial(_Quiet, directory=str(directory))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{plan.LAB.gateway}:{server.server_address[1]}"
        finally:
            server.shutdown()


def archive(component: str, version: str) -> Archive:
    """The archive of a version for this machine, which is the hosts' as well."""
    return releases.archive(component, version, platform.machine())


def repack(
    top: Path,
    component: str,
    version: str,
    leave_out: str = "",
    spoil: Callable[[bytes], bytes] = lambda content: content,
    release: str = releases.DEFAULT_RELEASE,
) -> str:
    """Lay out, below `top`, the lab's archive of `component` under another version; returns its directory.

    `leave_out` is a file that it then lacks; `spoil` changes the bytes of the archive, under a checksum that fits.
    """
    source = archive(component, releases.RELEASES[release][component])
    made = archive(component, version)
    target = top / made.path
    target.parent.mkdir(parents=True)
    with (
        tarfile.open(plan.cache_dir() / "mirror" / source.path) as old,
        tarfile.open(target, "w:gz", compresslevel=1) as new,
    ):
        for member in old:
            if Path(member.name).name == leave_out:
                continue
            content = old.extractfile(member) if member.isfile() else None
            member.name = member.name.replace(source.directory, made.directory, 1)
            new.addfile(member, content)
    target.write_bytes(spoil(target.read_bytes()))
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    (top / made.sums_path).write_text(f"{digest}  {made.name}\n")
    return made.directory
