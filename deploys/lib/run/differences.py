"""What a plan changes in each file, line by line, where pyinfra's `--diff` asks for it: once for all hosts on which it
is the same, and with secrets hidden on both sides.
"""

from __future__ import annotations

import base64
import difflib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyinfra import config

from prometheus_ha.deploys.lib.engine.component import Change, Component
from prometheus_ha.deploys.lib.ground.secrets import HIDDEN, USERINFO, is_secret_place, redact
from prometheus_ha.deploys.lib.run.hosts import at_once
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.facts.probe import probe
from prometheus_ha.facts.reports.look import MARK, sections

LARGEST = 1 << 20
"""Bytes of a file whose difference is shown."""


@dataclass
class Wanted:
    """Host -> file -> what it would hold."""

    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    live: dict[str, dict[str, str]] = field(default_factory=dict)


def want(host: str, component: Component, change: Change) -> None:
    """Have the differences of this shown with the plan, where they are asked for."""
    if config.DIFF:
        texts = kept(Wanted).texts.setdefault(host, {})
        texts.update({name: component.files[name].content for name in change.files})


def lines(state: Any) -> list[str]:
    """The differences on all hosts; empty where they are not asked for."""
    wanted = kept(Wanted, state)

    def ask(host: Any) -> None:
        wanted.live[host.name] = live(host, wanted.texts[host.name])

    hosts = at_once(state, wanted.texts, ask)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for host in hosts:
        for name, text in wanted.texts[host.name].items():
            said = difference(wanted.live.get(host.name, {}).get(name, ""), text)
            alike.setdefault((name, tuple(said)), []).append(host.name)
    found = []
    for (name, change), names in alike.items():
        found += [f"difference of {name} on {', '.join(names)}:", *(f"    {line}" for line in change)]
    return found


def live(host: Any, names: Iterable[str]) -> dict[str, str]:
    """What files of a host hold now; one that is not there is left out."""
    answer = probe(host, _script(names), _ignore_errors=True)
    return {name: _text(said) for name, said in sections(answer).items()}


def _script(names: Iterable[str]) -> str:
    """Prints the live files, each below its name; none for one that is not there."""
    shown = f'head -c {LARGEST} "$f" | base64'
    return "\n".join(
        f'f={shlex.quote(name)}; if [ -f "$f" ]; then echo {shlex.quote(MARK + name)}; {shown}; fi' for name in names
    )


def _text(said: list[str]) -> str:
    try:
        return base64.b64decode("".join(said)).decode(errors="replace")
    except ValueError:
        return ""


def difference(live: str, wanted: str) -> list[str]:
    """The lines that go and come, without any secret: of the wanted text those that this process has read are known,
    and of the live one they are found by the keys that hold a secret in either."""
    new = redact(wanted)
    if any(HIDDEN in line and not _KEY.match(line) for line in new.splitlines()):
        return ["it holds secrets: what differs is not shown"]
    keys = {match["key"].strip("\"'") for line in new.splitlines() if HIDDEN in line and (match := _KEY.match(line))}
    before, after = (_hidden(text, keys) for text in (live, new))
    if before == after:
        return ["only secrets differ"]
    return list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]


_KEY = re.compile(r"(?P<before>\s*(?:- )?)(?P<key>[\"']?[\w.$-]+[\"']?)(?P<between>\s*[:=]\s*)(?P<value>\S.*)$")
_HASH = re.compile(r"\$2[abxy]\$\d+\$[./A-Za-z0-9]{53}")
_PEM = re.compile(r"-----BEGIN .*?-----END [A-Z ]+-----", re.S)


def _hidden(text: str, keys: set[str]) -> list[str]:
    """The lines of a text without the values of `keys`, and of what is a secret by its key or its form."""
    text = _HASH.sub(HIDDEN, _PEM.sub(HIDDEN, text))
    found = []
    for line in USERINFO.sub(lambda url: f"{url[0].partition('://')[0]}://{HIDDEN}@", text).splitlines():
        match = _KEY.match(line)
        name = match["key"].strip("\"'") if match else ""
        if match and (name in keys or is_secret_place((name,))):
            line = f"{match['before']}{match['key']}{match['between']}{HIDDEN}"
        found.append(line)
    return found
