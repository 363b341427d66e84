"""A mirror of upstream's release pages: the cached archives, under the same paths."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from tests.lab import plan
from tests.lab.plan import Lab


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


def serve(lab: Lab) -> None:
    """Serve the cache's ``mirror`` directory until the process is ended."""
    directory = plan.cache_dir() / "mirror"
    directory.mkdir(parents=True, exist_ok=True)
    handler = partial(SimpleHTTPRequestHandler, directory=str(directory))
    _Server((lab.gateway, plan.MIRROR_PORT), handler).serve_forever()
