"""How a script on a host asks a daemon: the one place that joins address, scheme, CA and credentials."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prometheus_ha.deploys.lib.daemons import Ref, of
from prometheus_ha.deploys.lib.ground.topology import Endpoint
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts import http
from prometheus_ha.facts.http import Call
from prometheus_ha.facts.reports.look import MARK

AT_ONCE = 16
"""How many questions a host asks side by side."""

_REFUSED = "'==[exit]== 7'"
"""What the first answer has where nobody listens at the port."""

_OTHER_SCHEME = "'==[exit]== 35'* | *'==[status]== 400'"
"""What the first answer has where the port speaks TLS and was asked in plain HTTP, or the other way round."""

_CURL_AS_BEFORE = (
    f"curl() {{ command curl -q $(ls {web.CURL_TLS} {web.CURL_USER} 2>/dev/null | sed 's/^/--config /') \"$@\"; }}; "
)


def script(
    site: Site,
    member: Member,
    daemon: Ref,
    calls: Sequence[Call],
    extra: Sequence[str] = (),
    either: bool = False,
) -> str:
    """The shell command that puts `calls` to `daemon` on `member`, from any host of the site.

    :param extra: more curl options, as in `facts.http.script`.
    :param either: ask as the port still speaks and where it still is: its host's turn may not have come yet.
    """
    endpoint = site.endpoint(daemon, member)
    if not either:
        return _script(endpoint, member, calls, extra)
    first, *more = site.ports(daemon, member)
    found = _as_it_speaks(replace(endpoint, port=first), member, calls, extra)
    for port in more:
        other = _as_it_speaks(replace(endpoint, port=port), member, calls, extra)
        found = _or_else(found, _REFUSED, other)
    return found


def _script(endpoint: Endpoint, member: Member, calls: Sequence[Call], extra: Sequence[str]) -> str:
    url, options = web.curl(endpoint, member.settings)
    return http.script(url, calls, (*options, *extra))


def _as_it_speaks(endpoint: Endpoint, member: Member, calls: Sequence[Call], extra: Sequence[str]) -> str:
    """In the other scheme where the port still speaks that one."""
    # To a port that is to speak TLS and does not yet, no password is sent.
    other, curl = replace(endpoint, scheme="http"), ""
    if endpoint.scheme == "http":
        # The options of before may have left the inventory; the files stay for as long as such a port does.
        other, curl = replace(endpoint, scheme="https"), _CURL_AS_BEFORE
    return _or_else(
        _script(endpoint, member, calls, extra),
        _OTHER_SCHEME,
        f"{curl}\n{http.script(other.url, calls, extra)}",
    )


def _or_else(script: str, pattern: str, other: str) -> str:
    """What `script` prints; where that is like `pattern`, what `other` does."""
    return f"answers=$(\n{script}\n)\ncase $answers in\n*{pattern}*) {other};;\n*) printf '%s\\n' \"$answers\";;\nesac"


def ways(site: Site, daemon: Ref, members: list[Member]) -> list[tuple[dict[str, Any], list[Endpoint]]]:
    """The endpoints of `members` by how they are asked, in upstream's keys. Prometheus knows one way for a scrape job
    or an entry of Alertmanagers, and would show a password of one target to all the others."""
    ways: list[tuple[dict[str, Any], list[Endpoint]]] = []
    for member in members:
        endpoint = site.endpoint(daemon, member)
        how = {"scheme": endpoint.scheme} if endpoint.scheme != "http" else {}
        how |= web.http_config([member.settings] if of(daemon).web else [])
        known = next((endpoints for other, endpoints in ways if other == how), None)
        if known is None:
            ways.append((how, [endpoint]))
        else:
            known.append(endpoint)
    return ways


def at_once(scripts: Sequence[str]) -> str:
    """Several scripts side by side, whose output comes in their order: a host that does not answer is waited for by its
    own question alone."""
    if len(scripts) < 2:
        return "\n".join(scripts)
    lines = ["(", "t=$(mktemp -d || mktemp -d -p /run) || exit 0", "trap 'rm -rf \"$t\"' EXIT"]
    for number, script in enumerate(scripts):
        lines.append(f'(\n{script}\n) >"$t/{number:04d}" &')
        if number % AT_ONCE == AT_ONCE - 1:
            lines.append("wait")
    return "\n".join([*lines, "wait", 'cat "$t"/*', ")"])


def side_by_side(scripts: Mapping[str, str]) -> str:
    """The same, with a mark before the output of each, by which `facts.reports.look.sections` takes it apart."""
    return at_once([f"echo {shlex.quote(MARK + name)}\n{one}" for name, one in scripts.items()])
