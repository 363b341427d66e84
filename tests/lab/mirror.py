"""A mirror of upstream's release pages: the cached archives, under the same paths."""

from __future__ import annotations

import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from tests.lab import net, plan
from tests.lab.plan import Lab


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


def serve(lab: Lab) -> None:
    """Serve the cache's ``mirror`` directory until the process is ended."""
    directory = plan.cache_dir() / "mirror"
    directory.mkdir(parents=True, exist_ok=True)
    handler = partial(SimpleHTTPRequestHandler, directory=str(directory))
    if net.has_ipv6():
        server = _Server6((lab.gateway6, plan.MIRROR_PORT), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    _Server((lab.gateway, plan.MIRROR_PORT), handler).serve_forever()
