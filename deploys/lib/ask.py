"""How a script on a host asks a daemon: the one place that joins address, scheme, CA and credentials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deploys.lib import web
from deploys.lib.site import Member, Site
from facts import http
from facts.http import Call

_OTHER_SCHEME = "'==[exit]== 35'* | *'==[status]== 400'"
"""What the first answer has where the port speaks TLS and was asked in plain HTTP, or the other way round."""

_CURL_AS_BEFORE = (
    f"curl() {{ command curl -q $(ls {web.CURL_TLS} {web.CURL_USER} 2>/dev/null | "
    "sed 's/^/--config /') \"$@\"; }; "
)


def script(
    site: Site,
    member: Member,
    component: str,
    calls: Sequence[Call],
    extra: Sequence[str] = (),
    either: bool = False,
) -> str:
    """The shell command that puts `calls` to `component` on `member`, from any host of the site.

    :param extra: more curl options, as in `facts.http.script`.
    :param either: ask in the other scheme where the port still speaks that one: its host's turn has not come yet.
    """
    endpoint = site.endpoint(component, member)
    url, options = web.curl(endpoint, member)
    wanted = http.script(url, calls, (*options, *extra))
    if not either:
        return wanted
    # To a port that is to speak TLS and does not yet, no password is sent.
    other, curl = replace(endpoint, scheme="http"), ""
    if endpoint.scheme == "http":
        # The options of before may have left the inventory; the files stay for as long as such a port does.
        other, curl = replace(endpoint, scheme="https"), _CURL_AS_BEFORE
    return (
        f"answers=$(\n{wanted}\n)\ncase $answers in\n*{_OTHER_SCHEME}*) {curl}\n"
        f"{http.script(other.url, calls, extra)};;\n*) printf '%s\\n' \"$answers\";;\nesac"
    )
