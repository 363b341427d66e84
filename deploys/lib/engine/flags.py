"""The command line of every daemon: its declaration's flags with the versions they belong to, and the user's own.

`argv` gives the arguments as a list, one flag an item, exactly as the process will show them in /proc/PID/cmdline.
Quoting for a unit file is `units`' business. Where a flag came or went is taken from upstream's documentation and
source at the tags named in `releases`; `tests/unit/data/flags` holds what real binaries accept, and a test compares
the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from prometheus_ha.deploys.lib.daemons import DAEMONS, Ref
from prometheus_ha.deploys.lib.daemons.declare import (
    GO_DURATION,
    Common,
    Daemon,
    Flag,
    Listen,
    Number,
    Setting,
    Timing,
    Value,
)
from prometheus_ha.deploys.lib.site import derived, releases, web
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.facts.reports.look import State


@dataclass(frozen=True)
class Problem:
    """An extra flag that is refused: what `settings` needs to name it."""

    key: str
    """Setting and flag, as in `prometheus_flags.web.enable-lifecycle`."""
    found: str
    allowed: str


class FlagError(ValueError):
    """Extra flags are refused. The message names host, setting, flag, and what is allowed."""


Here = Callable[[Site, Member, State], Value]
"""The value of a flag that needs a site: where its member is, who its peers are, what its host has."""

_HERE: dict[str, Mapping[str, Here]] = {}
"""Those of each daemon, by its name: the same for all instances."""


def give(daemon: Daemon, values: Mapping[str, Here]) -> None:
    """Let a role say what the flags of its daemon are that need a site. Raises ValueError where one is forgotten, or is
    none of those."""
    wanted = {flag.name for flag in daemon.flags if flag.value is Common.HERE}
    if wrong := sorted(wanted ^ set(values)):
        raise ValueError(f"{daemon.name}: its role and its declaration differ in {', '.join(wrong)}")
    _HERE[daemon.name] = values


def applies(flag: Flag, version: str) -> bool:
    """Whether this flag belongs on the command line of `version`."""
    return (flag.since is None or releases.at_least(version, flag.since)) and not (
        flag.until is not None and releases.at_least(version, flag.until)
    )


def _external_url(daemon: Daemon, site: Site, member: Member) -> str:
    # Upstream's default is the host's own name, which need not mean anything to whoever is paged.
    return derived.external_url(daemon.name, member) or site.endpoint(daemon.name, member).url


def _route_prefix(daemon: Daemon, site: Site, member: Member) -> Value:
    # A proxy in front strips the path; health, metrics and API stay where every gate and every scrape job looks.
    return "/" if urlsplit(_external_url(daemon, site, member)).path.strip("/") else None


def _value(flag: Flag, daemon: Daemon, site: Site, member: Member, found: State) -> Value:
    match flag.value:
        case Setting(name):
            return getattr(member.settings, name)
        case Timing(name):
            return getattr(member.settings.timing, name)
        case Listen(port):
            return site.listen(daemon.name, member, port)
        case Number(port, prefix):
            return f"{prefix}{site.endpoint(daemon.name, member, port).port}"
        case Common.WEB_CONFIG:
            return web.config_file(member.settings)
        case Common.EXTERNAL_URL:
            return _external_url(daemon, site, member)
        case Common.ROUTE_PREFIX:
            return _route_prefix(daemon, site, member)
        case Common.BUCKET:
            return daemon.bucket if derived.uploads(member) else None
        case Common.HERE:
            if daemon.name not in _HERE:
                raise LookupError(f"no role of {daemon.name} was imported (prometheus_ha.deploys.lib.roles)")
            return _HERE[daemon.name][flag.name](site, member, found)
    return flag.value


def _plain(name: str) -> str:
    """A flag's name as the tables have it: `no-web.enable-lifecycle` is `web.enable-lifecycle`."""
    return name.removeprefix("no-")


def _protected(component: str, name: str) -> str | None:
    for pattern, why in DAEMONS[component].refused.items():
        if fnmatchcase(name, pattern):
            return f"other flags: {why}"
    return None


def _wrong_duration(component: str, name: str, value: Value, settings: Settings) -> str | None:
    """What is allowed, where the value is to be a duration and the daemon would end on it."""
    grammar = DAEMONS[component].durations.get(name)
    if grammar is None or value is None or value is False:
        return None
    values = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
    try:
        for one in values:
            grammar.seconds(one)
    except ValueError:
        return grammar.allowed
    since = DAEMONS[component].product.days_since
    old = since and not releases.at_least(settings.version(component), since)
    name = DAEMONS[component].archive.capitalize()
    if old and grammar is GO_DURATION and re.search("[dw]", "".join(values)):
        return f"hours and less (h, m, s, ms): {name} before {since} reads neither days nor weeks"
    return None


def problems(component: str, settings: Settings) -> list[Problem]:
    """The extra flags of `component` in these settings that would undo what the site stands on.

    Whether a version knows a flag is for its binary to say; that our own are not replaced is for
    us. Needs no site: which flags are ours does not depend on it.
    """
    ours = {flag.name: flag for flag in DAEMONS[component].flags}
    setting = DAEMONS[component].extra
    found = []
    for name, value in getattr(settings, setting).items():
        plain = _plain(name)
        flag = ours.get(plain)
        allowed: str | None
        if flag is not None:
            allowed = f"other flags; this one comes from {flag.setting or 'the package'}"
            allowed += f" ({flag.why})" if flag.why else ""
        else:
            allowed = _protected(component, plain)
            if f"{plain}-file" in {*ours, *getattr(settings, setting)}:
                allowed = allowed or f"one of the two: {plain}-file says the same in a file"
        if allowed is None or (flag is not None and flag.free):
            allowed = _wrong_duration(component, name, value, settings)
        if allowed is None:
            continue
        found.append(Problem(f"{setting}.{name}", repr(value), allowed))
    return found


def _items(daemon: Daemon, name: str, value: Value) -> list[str]:
    flag = daemon.dashes + name
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if isinstance(value, list | tuple):
        return [f"{flag}={item}" for item in value]
    return [f"{flag}={value}"]


def argv(ref: Ref, site: Site, member: Member, found: State) -> list[str]:
    """The command line of a daemon on this host: the binary, its subcommand, one flag an item.

    Flags of the table that belong to the host's version, then the user's extra ones. Raises
    FlagError where an extra flag would replace one that the site stands on.
    """
    daemon = member.own(ref)
    refused = problems(daemon.name, member.settings)
    if refused:
        raise FlagError(
            "; ".join(
                f"{member.name}: {problem.key}: found {problem.found}; expected: {problem.allowed}"
                for problem in refused
            )
        )
    extra = getattr(member.settings, daemon.extra)
    replaced = {_plain(name) for name in extra}
    version = member.settings.version(daemon)
    words = [*daemon.command, *daemon.subcommand]
    for flag in daemon.flags:
        if flag.name not in replaced and applies(flag, version):
            words += _items(daemon, flag.name, _value(flag, daemon, site, member, found))
    for name, value in extra.items():
        words += _items(daemon, name, value)
    return words
