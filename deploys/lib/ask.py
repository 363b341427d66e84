"""How a script on a host asks a daemon: the one place that joins address, scheme, CA and credentials."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyinfra import host, inventory
from pyinfra.api.exceptions import FactValueError, PyinfraError

from deploys.lib import topology, web
from deploys.lib.findings import SettingsErrors, refusal
from deploys.lib.settings import Settings
from deploys.lib.site import Member, Site, load_site
from deploys.lib.topology import Endpoint
from facts import http
from facts.http import Call
from facts.reports.look import MARK

AT_ONCE = 16
"""How many questions a host asks side by side."""

_REFUSED = "'==[exit]== 7'"
"""What the first answer has where nobody listens at the port."""

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
    :param either: ask as the port still speaks and where it still is: its host's turn may not have come yet.
    """
    endpoint = site.endpoint(component, member)
    if not either:
        return _script(endpoint, member, calls, extra)
    first, *more = site.live.ports(site, component, member)
    found = _as_it_speaks(replace(endpoint, port=first), member, calls, extra)
    for port in more:
        other = _as_it_speaks(replace(endpoint, port=port), member, calls, extra)
        found = _or_else(found, _REFUSED, other)
    return found


def _script(endpoint: Endpoint, member: Member, calls: Sequence[Call], extra: Sequence[str]) -> str:
    url, options = web.curl(endpoint, member)
    return http.script(url, calls, (*options, *extra))


def _as_it_speaks(
    endpoint: Endpoint, member: Member, calls: Sequence[Call], extra: Sequence[str]
) -> str:
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
    return (
        f"answers=$(\n{script}\n)\ncase $answers in\n*{pattern}*) {other};;\n"
        "*) printf '%s\\n' \"$answers\";;\nesac"
    )


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
    """The same, with a mark before the output of each, by which `facts.look.sections` takes it apart."""
    return at_once([f"echo {shlex.quote(MARK + name)}\n{one}" for name, one in scripts.items()])


def of_host(
    components: Sequence[str], calls: Sequence[Call], url: str | None, extra: Sequence[str]
) -> str:
    """The command of a fact: `calls` to `url`, else to that one of `components` which its host runs, where the host's
    settings say that it listens, with their scheme and credentials."""
    return (
        of_current_host(components, calls, extra) if url is None else http.script(url, calls, extra)
    )


def of_current_host(components: Sequence[str], calls: Sequence[Call], extra: Sequence[str]) -> str:
    """The same for a fact: asks that one of `components` which the current host runs, where its settings say. A host
    that has no part in a site is asked where the first of them listens by default.

    Raises FactValueError where the host runs several of them, and PyinfraError where its site cannot be read.
    """
    try:
        site = load_site(inventory, check_secrets=False)
    except SettingsErrors as error:
        if set(host.groups) & set(topology.GROUPS):
            raise PyinfraError(f"{refusal(error)}\n(a fact's url=... asks all the same)") from None
        port = getattr(Settings(), topology.COMPONENTS[components[0]].ports["http"])
        return http.script(f"http://127.0.0.1:{port}", calls, extra)
    member = site.hosts[host.name]
    here = [name for name in components if name in member.components]
    if "thanos-sidecar-attached" in member.components and "prometheus" in components:
        return http.script(member.settings.attached_url, calls, extra)
    if len(here) > 1:
        urls = ", ".join(f"url={site.local(name, member).url} ({name})" for name in here)
        raise FactValueError(f"{host.name} runs {len(here)} of them, one is to be named: {urls}")
    return script(site, member, (here or components)[0], calls, extra)
