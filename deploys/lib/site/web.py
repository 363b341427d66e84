"""TLS and passwords of the HTTP ports: what a host serves with, and what our own clients ask with.

One web configuration serves every daemon of a host. Daemons read it, and the certificates that it names, again for
each request and each handshake, so that a new certificate or one more user needs nothing more than the file. What a
*client* has to know beforehand is in the file's name (`config_file`): a running daemon keeps the file that it was
started with until its own turn comes, in which another argument makes its restart due. So TLS, passwords and client
certificates come and go host by host.

Nothing here needs pyinfra, a host or the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground.topology import WEB_DIR, Endpoint
from prometheus_ha.deploys.lib.site.settings import Settings

Data = dict[str, Any]

CURL_TLS = f"{WEB_DIR}/curl-tls.conf"
CURL_USER = f"{WEB_DIR}/curl-user.conf"
"""Options of curl for a port with a certificate, and for one with a password: root's alone, as no argument list is."""

ASKS_CERTIFICATE = ("RequireAnyClientCert", "RequireClientCert", "RequireAndVerifyClientCert")
"""Values of `client_auth_type` with which nobody is served without a certificate of his own."""


def _server(settings: Settings, part: str) -> Data:
    return (settings.web_config or {}).get(part) or {}


def tls(settings: Settings) -> bool:
    """Whether the host's HTTP ports speak TLS."""
    return bool(_server(settings, "tls_server_config"))


def asks_password(settings: Settings) -> bool:
    """Whether they answer to nobody without a user and password."""
    return bool(_server(settings, "basic_auth_users"))


def asks_certificate(settings: Settings) -> bool:
    """Whether they answer to nobody without a client certificate."""
    return _server(settings, "tls_server_config").get("client_auth_type") in ASKS_CERTIFICATE


def config_file(settings: Settings) -> str | None:
    """The web configuration that the host's daemons are started with; None where they have none."""
    if not settings.web_config:
        return None
    asked = {
        "tls": tls(settings),
        "certificate": asks_certificate(settings),
        "password": asks_password(settings),
    }
    return f"{WEB_DIR}/{'-'.join(['web', *(name for name, wanted in asked.items() if wanted)])}.yml"


def read_at_start(settings: Settings) -> str:
    """What daemons read of it at their start alone, for the unit to hold; empty where there is none."""
    config = settings.web_config or {}
    parts = {"http2": _server(settings, "http_server_config").get("http2")}
    parts["rate_limit"] = config.get("rate_limit")
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)


def path(name: str) -> str:
    """Where a file that a web configuration names is on a host."""
    return name if name.startswith("/") else f"{WEB_DIR}/{name}"


def http_config(asked: Iterable[Settings]) -> Data:
    """How to ask hosts with these settings, in the keys of upstream's HTTP clients; secrets are references.

    What none of them asks for is left out: a password goes to nobody who does not want one.
    """
    config: Data = {}
    for settings in asked:
        client = settings.web_client
        if asks_password(settings) and client.get("basic_auth"):
            config["basic_auth"] = dict(client["basic_auth"])
        if tls(settings) and client.get("tls_config"):
            config["tls_config"] = {
                key: path(value) if key.endswith("_file") else value for key, value in client["tls_config"].items()
            }
    return config


# --- curl -----------------------------------------------------------------------------------------


def curl(endpoint: Endpoint, settings: Settings) -> tuple[str, tuple[str, ...]]:
    """The base URL, and the options, with which curl asks a port of a host with these settings."""
    client, url = settings.web_client, endpoint.url
    options: tuple[str, ...] = ()
    if endpoint.scheme == "https" and client.get("tls_config"):
        options += ("--config", CURL_TLS)
        if name := client["tls_config"].get("server_name"):
            url = f"https://{name}:{endpoint.port}"
            options += ("--connect-to", f"::{endpoint.target}")
    asked = DAEMONS[endpoint.component].web and asks_password(settings)
    if asked and client.get("basic_auth"):
        options += ("--config", CURL_USER)
    return url, options


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def curl_files(client: Data) -> dict[str, str]:
    """Path -> content of the options that `curl_options` refers to; `client` is `web_client`, its secrets resolved."""
    files = {}
    if client.get("tls_config"):
        names = {"ca_file": "cacert", "cert_file": "cert", "key_file": "key"}
        given = client["tls_config"]
        lines = [f"{names[k]} = {_quoted(path(v))}" for k, v in given.items() if k in names]
        lines += ["insecure"] if given.get("insecure_skip_verify") else []
        files[CURL_TLS] = "".join(f"{line}\n" for line in lines)
    if client.get("basic_auth"):
        user = client["basic_auth"]
        files[CURL_USER] = f"user = {_quoted(user['username'] + ':' + user['password'])}\n"
    return files
