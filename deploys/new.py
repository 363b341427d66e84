"""Makes the directory of a new site: `prometheus-ha new DIRECTORY`, or `python -m prometheus_ha new DIRECTORY`.

It asks for what it is not told (`--help` has the options), and overwrites no file: what is there is kept, and said.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_ha.deploys.lib import PACKAGE, daemons
from prometheus_ha.deploys.lib.daemons.declare import Daemon, Group
from prometheus_ha.deploys.lib.ground.templates import template


@dataclass(frozen=True)
class Host:
    """A host of the new site: its name, and how SSH and the other hosts reach it."""

    name: str
    address: str
    service_address: str = ""
    more: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """Its data in the inventory."""
        service = {"service_address": self.service_address} if self.service_address else {}
        return json.dumps({"ssh_hostname": self.address, **service, **self.more})


@dataclass(frozen=True)
class Shape:
    """An example of a site: how many hosts it takes, and which of them (by number) does what."""

    says: str
    hosts: int
    """How many at least."""
    parts: dict[Daemon, tuple[int, ...]]
    bucket: bool = False
    accepted: tuple[str, ...] = ()
    """Warnings that it lives with."""


SHAPES: dict[str, Shape] = {
    "one": Shape(
        "one machine, to try it: nothing stands in for anything",
        1,
        {
            daemons.PROMETHEUS: (1,),
            daemons.ALERTMANAGER: (1,),
            daemons.QUERIER: (1,),
            daemons.exporters.BLACKBOX_EXPORTER: (1,),
        },
        accepted=("deadman_url", "cluster", "alertmanager", "querier"),
    ),
    "three": Shape(
        "three hosts: any one of them may fail, and queries and alerts go on",
        3,
        {
            daemons.PROMETHEUS: (1, 2),
            daemons.ALERTMANAGER: (1, 2, 3),
            daemons.QUERIER: (2, 3),
            daemons.exporters.BLACKBOX_EXPORTER: (1, 2, 3),
        },
        accepted=("deadman_url",),
    ),
    "full": Shape(
        "five hosts or more, with object storage: the same, and years of samples",
        5,
        {
            daemons.PROMETHEUS: (1, 2),
            daemons.ALERTMANAGER: (3, 4, 5),
            daemons.QUERIER: (3, 4),
            daemons.FRONTEND: (3, 4),
            daemons.RULE: (3, 4),
            daemons.STORE: (4, 5),
            daemons.COMPACTOR: (5,),
            daemons.exporters.BLACKBOX_EXPORTER: (1, 3, 5),
        },
        bucket=True,
    ),
}

ASKED = {
    "example": f"Which example? ({'; '.join(f'{name}: {shape.says}' for name, shape in SHAPES.items())})",
    "hosts": "The addresses of its hosts, separated by commas (10.0.0.11, or mon-1=10.0.0.11 with a name of its own)",
    "user": "The user of SSH: root, or one that may use sudo",
    "key": "The file of that user's private key (nothing: the keys of your SSH agent)",
    "webhook": "A URL to which notifications are sent (nothing: none yet; Slack and others are in alertmanager.yml)",
    "cluster": "The name of this cluster, a label on all that it stores",
}
DEFAULTS = {"example": "three", "user": "root", "key": "", "webhook": "", "cluster": "main"}


def main(arguments: list[str]) -> int:
    """Exit status: 0 made, 1 an answer is wrong, 2 the command line is."""
    options = _options(arguments)
    try:
        answers = {name: _answer(name, getattr(options, name)) for name in ASKED}
        kept, made = make(Path(options.directory), answers)
    except (ValueError, EOFError, OSError) as error:
        print(f"nothing was made: {str(error) or 'no answer'}", file=sys.stderr)
        return 1
    for path in kept:
        print(f"kept, as it was there: {path}")
    print(f"made: {', '.join(str(path) for path in made) or 'nothing'}")
    print("next:")
    for line in _next(options.directory):
        print(f"  {line}")
    return 0


def _next(directory: str) -> list[str]:
    """The commands that follow: in the directory where the package is installed, else in the checkout."""
    asks = "      # says what it will do, and asks"
    if (PACKAGE / "setup.cfg").is_file():
        inventory = f"{directory}/inventory.py"
        return [f"pyinfra {inventory} deploys/site.py{asks}", f"pyinfra -y {inventory} deploys/verify.py"]
    return [
        f"cd {directory}",
        f"pyinfra inventory.py prometheus_ha.site{asks}",
        "pyinfra -y inventory.py prometheus_ha.verify",
    ]


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("prometheus-ha new", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", help="a new directory, or one with your rules/, targets/, prometheus.yml, ...")
    for name, question in ASKED.items():
        default = f"; {DEFAULTS[name]} by default" if DEFAULTS.get(name) else ""
        parser.add_argument(f"--{name}", help=f"{question}{default}")
    return parser.parse_args(arguments)


def _answer(name: str, given: str | None) -> str:
    if given is not None:
        return given.strip()
    default = f" [{DEFAULTS[name]}]" if DEFAULTS.get(name) else ""
    return input(f"{ASKED[name]}{default}: ").strip() or DEFAULTS.get(name, "")


def make(directory: Path, answers: dict[str, str]) -> tuple[list[Path], list[Path]]:
    """Make the directory of a site; `answers` are those to `ASKED`. Returns the files that were there and are kept, and
    those that were made. Raises ValueError where an answer cannot be used, before anything is made."""
    shape = SHAPES.get(answers["example"])
    if shape is None:
        raise ValueError(f"example: found {answers['example']!r}; expected: {', '.join(SHAPES)}")
    hosts = _hosts(answers["hosts"])
    if len(hosts) < shape.hosts:
        raise ValueError(f"hosts: found {len(hosts)}; expected: at least {shape.hosts} for {answers['example']}")
    if not re.fullmatch(r"[^\s$\"\\]+", answers["cluster"]):
        raise ValueError(f"cluster: found {answers['cluster']!r}; expected: a name without spaces, quotes and $")
    if not re.fullmatch(r"[a-z_][a-z0-9_.-]*\$?", answers["user"]):
        raise ValueError(f"user: found {answers['user']!r}; expected: the name of an account")
    if answers["webhook"] and not re.fullmatch(r"https?://\S+", answers["webhook"]):
        raise ValueError("webhook: expected: a URL that begins with http:// or https://")
    if answers["key"] and not Path(answers["key"]).expanduser().is_file():
        raise ValueError(f"key: found {answers['key']}, which is no file; expected: a private key")
    key = str(Path(answers["key"]).expanduser().resolve()) if answers["key"] else ""
    texts: dict[str, Callable[[], str]] = {
        "inventory.py": lambda: template("site/inventory.py.j2", groups=_groups(shape, hosts)),
        "config.py": lambda: template("site/config.py.j2"),
        "group_data/all.py": lambda: template(
            "site/all.py.j2",
            user=answers["user"],
            key=key,
            cluster=answers["cluster"],
            bucket=shape.bucket,
            accepted=list(shape.accepted),
        ),
        "alertmanager.yml": lambda: template("site/alertmanager.yml.j2", webhook=answers["webhook"]),
        "rules/README.md": lambda: template("site/rules.md.j2"),
        ".gitignore": lambda: template("site/gitignore.j2"),
    }
    if answers["webhook"]:
        texts["secrets/webhook_url"] = lambda: f"{answers['webhook']}\n"
    kept, made = [], []
    for name, text in texts.items():
        path = directory / name
        if path.exists():
            kept.append(path)
            continue
        secret = path.parent.name == "secrets"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if secret else 0o777)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o666), "w") as file:
            file.write(text())
        made.append(path)
    return kept, made


def _hosts(given: str) -> list[Host]:
    """The hosts of an answer."""
    found: list[Host] = []
    for number, entry in enumerate((part.strip() for part in given.split(",") if part.strip()), 1):
        name, _, address = entry.rpartition("=")
        address = address.strip()
        name = name.strip() or (f"mon-{number}" if _is_ip(address) else address.partition(".")[0])
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name):
            raise ValueError(f"hosts: found the name {name!r}; expected: letters, digits, dots and dashes")
        service = ""
        if not _is_ip(address):
            try:
                service = str(socket.getaddrinfo(address, None)[0][4][0])
            except OSError:
                raise ValueError(f"hosts: found {address!r}, which has no address; expected: an IP address") from None
        found.append(Host(name, address, service))
    for what in ("name", "address"):
        values = [getattr(host, what) for host in found]
        if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
            raise ValueError(f"hosts: found the {what} {twice[0]} twice; expected: each host once")
    if not found:
        raise ValueError("hosts: found none; expected: their addresses")
    return found


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _groups(shape: Shape, hosts: list[Host]) -> list[dict[str, object]]:
    """The groups of the inventory; a host's data stands where it is named first."""
    replicas = {hosts[n - 1].name: f"replica-{i:02}" for i, n in enumerate(shape.parts[daemons.PROMETHEUS], 1)}
    named: set[str] = set()

    def entry(host: Host) -> dict[str, str]:
        first, more = host.name not in named, {}
        named.add(host.name)
        if first and host.name in replicas:
            more = {"replica": replicas[host.name]}
        whole = Host(host.name, host.address, host.service_address, more)
        return {"name": host.name, "data": whole.data if first else "{}"}

    found: list[dict[str, object]] = []
    for daemon, numbers in shape.parts.items():
        members = [entry(hosts[number - 1]) for number in numbers]
        found.append(_group(daemon.group, members))
    if rest := [entry(host) for host in hosts if host.name not in named]:
        found.append(_group(daemons.exporters.WATCHED, rest))
    return found


def _group(group: Group, members: list[dict[str, str]]) -> dict[str, object]:
    return {"name": group, "says": f"{group.says[0].upper()}{group.says[1:]}.", "hosts": members}
