"""What there is to say of a daemon, and of what it is released as. What is required has no default: a row that was
forgotten is an error when the package is imported.

The words of a declaration name settings and files; what needs a site (addresses, peers) is `HERE`: the daemon's role
has it (`lib/roles/`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum, auto
from functools import cache
from typing import Any

from prometheus_ha.deploys.lib.ground.durations import go_seconds, seconds
from prometheus_ha.deploys.lib.ground.topology import BIN_DIR, TOOLS_DIR
from prometheus_ha.facts.http import Call

# --- What is released -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Product:
    """Where something is released, and what its archive must hold."""

    name: str
    repository: str
    """Its owner and name at GitHub."""
    binaries: tuple[str, ...]
    oldest: str
    """Oldest version that the flag tables cover."""
    unpacked: int
    """Megabytes of a release: its archive, and what is in it. Measured with the lab's of `current`, without a web
    interface: Prometheus 251, Thanos 132, Alertmanager 77, node_exporter 24, SeaweedFS 207; the rest is room for
    upstream's, which have one. Those of blackbox_exporter, MinIO and mc are estimates."""
    web_keys: Mapping[str, str] = field(hash=False)
    """Key of a web configuration -> first release that knows it, where not all do: others refuse the file. From the
    exporter-toolkit in its go.mod. Empty where it takes no such file."""
    tag: str = "v{version}"
    file: str = "{component}-{version}.linux-{arch}.tar.gz"
    """Upstream's name of the archive."""
    sums: str = "sha256sums.txt"
    """Upstream's name of the checksum file: `{file}` is the archive's, and `.md5` at its end says what is in it."""
    flat: bool = False
    """Whether the binaries lie at the top of the archive, and not in a directory named as we name ours."""
    version_command: str = "--version"
    """Argument with which a binary prints its version."""
    parts: int = 3
    """Numbers in a version; none where it is a date, as RELEASE.2025-09-07T16-13-09Z."""
    days_since: str | None = None
    """First version whose Go durations have days and weeks; None where all have them."""
    raw: bool = False
    """Whether what is released is the one binary itself, and no archive of it."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """A program of ours in Python: a file of its role, run by the `python3` of the host. No release, and no archive."""

    name: str
    template: str
    """Its text, below `templates/`."""
    version: str
    """What it says of itself. A start is due where its text is another, whatever this says."""
    web_keys: Mapping[str, str] = field(default_factory=dict, hash=False)
    days_since: str | None = None


PYTHON = ("/usr/bin/python3", "-I")
"""What runs a program of ours: it sees no environment of Python's, and nothing beside itself."""


# --- Its command line -----------------------------------------------------------------------------

Value = str | int | float | bool | Sequence[str] | None
"""True is a bare flag, None or False no flag, a sequence repeats the flag, others are `=value`."""


@dataclass(frozen=True)
class Setting:
    """What a setting of the host says."""

    name: str


@dataclass(frozen=True)
class Timing:
    """What the timing profile says."""

    name: str


@dataclass(frozen=True)
class Listen:
    """Where a port of the daemon listens: address and number."""

    port: str = "http"


@dataclass(frozen=True)
class Number:
    """The number of a port alone, after `prefix`."""

    port: str = "http"
    prefix: str = ""


class Common(Enum):
    """What several daemons are told, each of itself."""

    WEB_CONFIG = auto()
    """The web configuration (TLS, passwords); none where there is none."""
    EXTERNAL_URL = auto()
    """Where people find it; where no setting says so, its own address."""
    ROUTE_PREFIX = auto()
    """`/` where the external URL has a path: a proxy in front strips it."""
    BUCKET = auto()
    """Its configuration of the object store; none where nothing is stored."""
    HERE = auto()
    """What its role makes of site and member."""


WEB_CONFIG, EXTERNAL_URL, ROUTE_PREFIX, BUCKET, HERE = Common


@dataclass(frozen=True)
class Flag:
    """One flag of ours."""

    name: str
    """Without the leading dashes."""
    value: Value | Setting | Timing | Listen | Number | Common
    since: str | None = None
    """First version of the product that has it."""
    until: str | None = None
    """First version that no longer has it, or no longer needs it."""
    why: str = ""
    setting: str = ""
    """Setting of this package that decides it."""
    free: bool = False
    """May the user's extra flags replace it (or, with the value False, leave it out)?"""


WEB = "web_config, web_files"
WEB_FILE = Flag("web.config.file", WEB_CONFIG, setting=WEB)


def web_listen(settings: str) -> Flag:
    """Where the HTTP port listens, which `settings` say."""
    return Flag("web.listen-address", Listen(), setting=settings)


LOG_LEVEL = Flag("log.level", "info", free=True)


@dataclass(frozen=True)
class Grammar:
    """How a daemon reads a duration: in `seconds`, which raises ValueError for what is none to it."""

    seconds: Callable[[str], float]
    allowed: str


PROMETHEUS_DURATION = Grammar(
    seconds, "a duration as Prometheus reads it, like 15d or 1h30m (whole y, w, d, h, m, s, ms)"
)
GO_DURATION = Grammar(
    go_seconds,
    "a duration as Go reads it, like 90s, 8d or 8760h for a year (w, d, h, m, s, ms; no y)",
)


def read_as(prometheus: str = "", go: str = "") -> dict[str, Grammar]:
    """Flags whose value is a duration, and who reads it. What its binary says to nonsense is recorded in
    `tests/unit/data/flags/durations.txt`; those that its help does not show are from upstream's source."""
    return {
        **dict.fromkeys(prometheus.split(), PROMETHEUS_DURATION),
        **dict.fromkeys(go.split(), GO_DURATION),
    }


# --- Where it belongs -----------------------------------------------------------------------------


class Group(str):
    """A group of the inventory, by its name."""

    says: str
    """The part that its hosts play."""

    def __new__(cls, name: str, says: str) -> Group:
        group = super().__new__(cls, name)
        group.says = says
        return group

    def __deepcopy__(self, memo: object) -> Group:
        return self


EVERY_HOST = Group("all", "every host")


# --- What it may do in the bucket -----------------------------------------------------------------

LIST, READ, WRITE, DELETE = "list", "read", "write", "delete"


# --- The daemon -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Port:
    """A port on which a daemon listens."""

    setting: str
    """Setting that holds its number."""
    flag: str
    """Flag, without dashes, by which the daemon is told of it."""
    transports: tuple[str, ...] = ("tcp",)
    twin: int = 0
    """How much higher another one lies that it opens beside; 0 where it opens none."""


@dataclass(frozen=True)
class Fault:
    """A crash that upstream knows of, in the releases from `since` on, and before `until` where it is mended."""

    since: str
    until: str | None
    words: str
    """What the journal has of each such crash, and of nothing else: mostly a function of the stack trace."""
    says: str
    reference: str
    """Upstream's issue or pull request."""

    def __str__(self) -> str:
        return f"{self.reference}, {self.says}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Daemon:
    """A program with a unit: where it belongs, where it listens, what it is told, and how it is asked."""

    name: str
    instance: str = ""
    """Which of several on one host it is (`instance`); empty where it is the only one, as all are declared."""
    group: Group
    """Group of the inventory whose hosts run it."""
    beside: tuple[Daemon, tuple[str, ...]] | None = None
    """The one beside which it runs, on hosts where one of these settings has something: those are its group."""
    product: Product | Own
    binary: str
    """Name of the executable below `BIN_DIR`."""
    tools: tuple[Product, ...] = ()
    """Whose programs it needs beside its own."""
    distribution: str | None
    """Unit of Debian's and Ubuntu's own package for the same daemon; None where there is none."""

    # What is asked of it.
    job_name: str
    """Scrape job. Prometheus and node_exporter: spec/000's; the others: what the mixins match."""
    samples: int
    """Samples of one scrape, measured with the current release (docs/measured.md) and rounded up."""
    estimated: bool = False
    """Whether that is a guess."""
    calls: tuple[Call, ...]
    """How it is asked how it is."""
    parse: Callable[[list[str]], Any]
    """What is read in its answers: a report with `ready`, `version` and `errors`."""
    ready_path: str = "/-/ready"
    healthy_path: str = "/-/healthy"
    metrics_path: str = "/metrics"
    build_info: str = ""
    """Metric with its version; where empty, `<product>_build_info`."""
    page: str = ""
    """What people open it for (queries, alerts); of several for the same, the last one that a site has."""
    watches: bool = False
    """Whether it asks every HTTP port that the Prometheus of its cluster scrapes."""
    stands_on: Daemon | None = None
    """The one on the same host without which it does not do its job, and after which it is started. Only the order: it
    outlives a restart of that one and waits for it by itself, and its own restart must not start one that somebody
    stopped, as Wants would."""
    faults: tuple[Fault, ...] = ()
    """Crashes of releases that upstream knows of."""

    # Where it listens.
    ports: Mapping[str, Port]
    """Kind of port (http, grpc, cluster) -> the port."""
    listen_address: str | None = None
    """Setting with the address it listens on; where None, it listens on all."""
    web: bool = True
    """Whether its HTTP port takes the web configuration: TLS and passwords."""
    internal: tuple[int, ...] = ()
    """Ports that it opens for itself, and that no setting of ours holds."""

    # Its files.
    config_dir: str | None = None
    inner_dirs: tuple[str, ...] = ()
    """Directories of ours inside that one."""
    tools_dir: str | None = None
    """Directory of files of ours that its tools read."""
    shared_dirs: tuple[str, ...] = ()
    """Directories of ours to which others write, too."""
    data_dir: str | None = None
    data_setting: str | None = None
    """Setting with the directory that it writes to, where that is somebody else's."""
    bucket: str | None = None
    """Its configuration of the object store, where it has one: with a key that is its own."""
    rights: tuple[str, ...]
    """What it does in the bucket (upstream's storage.md), and so what its key may do."""
    keys: str | None = None
    """The keys of others, that it alone may read."""

    # Its unit.
    unit: str
    """systemd unit, without `.service`."""
    description: str
    documentation: str
    account: str | None = None
    """Setting with the account that it runs as, where that is not ours."""
    stop_seconds: int
    """How long it may take to stop."""
    reload_paths: tuple[str, ...] = ()
    """What a reload reads again; empty where there is none."""
    restart_paths: tuple[str, ...] = ()
    """Files that only a start reads, where a flag names them or their directory."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its environment; what they name may be in `restart_paths`."""
    keys_tool: str | None = None
    """Program that loads `reload_paths` once the daemon is up, and at a reload: as root, and not a signal."""
    hardening: Mapping[str, str | None] = field(default_factory=dict)
    """Directive -> another value, or None where it must not be set."""
    system_calls: tuple[str, ...] = ()
    """More lines of SystemCallFilter."""

    # Its command line.
    subcommand: tuple[str, ...] = ()
    """First arguments, where the binary is several daemons in one."""
    dashes: str = "--"
    """What its flags begin with."""
    flags: tuple[Flag, ...]
    """In the order they are written."""
    extra: str
    """Setting with the user's extra flags."""
    refused: Mapping[str, str]
    """Flags that are not ours and would break the site -> why, or what to set instead."""
    durations: Mapping[str, Grammar]
    """Flags whose value is a duration, and who reads it (`read_as`)."""

    def __repr__(self) -> str:
        return f"<Daemon {self.name}>"

    @property
    def service(self) -> str:
        """Name of the unit as systemd prints it."""
        return f"{self.unit}.service"

    @property
    def archive(self) -> str:
        """Name of its product."""
        return self.product.name

    @property
    def archives(self) -> tuple[str, ...]:
        """Names of all products that are fetched and installed for it."""
        return tuple(one.name for one in (self.product, *self.tools) if isinstance(one, Product))

    @property
    def version_metric(self) -> str:
        """Name of the metric with its version."""
        return self.build_info or f"{self.product.name}_build_info"

    @property
    def told_apart(self) -> bool:
        """Whether what runs says its release as releases are named: those of the Prometheus family do, in `version`."""
        return isinstance(self.product, Product) and not self.build_info

    @property
    def path(self) -> str:
        """Path of the executable: a link to the version in use, or a program of ours."""
        return f"{BIN_DIR}/{self.binary}"

    @property
    def command(self) -> tuple[str, ...]:
        """What its command line begins with."""
        return (*(PYTHON if isinstance(self.product, Own) else ()), self.path)

    def at(self, path: str) -> str:
        """Where a file or directory of the declaration lies for this instance."""
        return _moved(path, self.instance)


# --- One of several on a host ---------------------------------------------------------------------

_OWN_DIR = re.compile(rf"(?<!\w)(?:/etc|/var/lib|{TOOLS_DIR})/[^/\s]+")
"""What a daemon has for itself, or shares with those it belongs to: the first name below these, in a path or in an
argument that names one."""


def _moved(value: Any, name: str) -> Any:
    """What the declaration says, with the places of the instance `name`."""
    if not name:
        return value
    if type(value) is str:  # and no group, which is one by its name
        return _OWN_DIR.sub(rf"\g<0>-{name}", value)
    if isinstance(value, Flag):
        return replace(value, value=_moved(value.value, name))
    if type(value) is dict:
        return {key: _moved(one, name) for key, one in value.items()}
    if type(value) is tuple:
        return tuple(_moved(one, name) for one in value)
    return value


@cache
def instance(daemon: Daemon, name: str) -> Daemon:
    """The daemon as the instance `name` of it: with a unit of its own, and its files and directories in places of their
    own, wherever the declaration names them. `/etc/thanos/store` becomes `/etc/thanos-NAME/store`: what daemons share,
    those of one instance share. What every host has, it has once."""
    if daemon.instance == name or daemon.group is EVERY_HOST:
        return daemon
    moved = {one.name: _moved(getattr(daemon, one.name), name) for one in fields(daemon)}
    return replace(daemon, **moved | {"instance": name, "unit": f"{daemon.unit}-{name}"})
