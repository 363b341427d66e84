"""What the look asks a host of the platform, whatever its roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.daemons import BUCKET_GROUPS, DAEMONS, PRODUCTS, REPLACED, UNITS, directories
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_CONFIG
from prometheus_ha.deploys.lib.daemons.declare import PYTHON, Own
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_CONFIG
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site.settings import CLUSTER_LABEL, HIDDEN, REPLICA_LABEL, SYSCTL, sysctl_name
from prometheus_ha.facts import timesync
from prometheus_ha.facts.reports import look

COMMANDS = ("curl", "tar", "logrotate", "rsyslogd", "unshare", "chronyd", PYTHON[0])
FOREIGN_UNITS = ("rsyslog", topology.FIREWALL_UNIT, *REPLACED)

FIREWALL = f"[ ! -x {topology.FIREWALL} ] || {topology.FIREWALL} status"
"""Says what of the host's firewall is not open as it should be."""

LABELS = f"[ ! -f {PROMETHEUS_CONFIG} ] || grep -E '^    ({CLUSTER_LABEL}|{REPLICA_LABEL}): ' {PROMETHEUS_CONFIG}"
"""The external labels of the Prometheus of the host, as its file has them."""


ROUTES = f"[ ! -f {ALERTMANAGER_CONFIG} ] || sed -n '/^route:/,/^[a-z]/p' {ALERTMANAGER_CONFIG}"
"""The routes of the Alertmanager of the host, as its file has them. There are no secrets in routes."""


def default_script(sysctls: Iterable[str] | None = None, extra: Mapping[str, str] | None = None) -> str:
    """The look's script for a host of the platform, whatever its roles; `extra` are more sections."""
    common = {"timesync": timesync.SERVICE_SCRIPT, "firewall": FIREWALL, "labels": LABELS, "routes": ROUTES}
    return look.also(_script(tuple(SYSCTL if sysctls is None else sysctls)), common | dict(extra or {}))


@cache
def _script(sysctls: tuple[str, ...]) -> str:
    """What is asked of every host: the same for a thousand of them."""
    components = DAEMONS.values()
    binaries = {binary for info in components for name in info.archives for binary in PRODUCTS[name].binaries}
    configured = {place or "" for info in components for place in (info.config_dir, info.tools_dir)}
    programs = {info.binary for info in components if isinstance(info.product, Own)}
    data = {str(place) for info in components if info.data_dir for place in (info.data_dir, *_parent(info.data_dir))}
    logs = (topology.LOG_DIR, topology.ATTACHED_LOG_DIR)
    leaves = {*data, topology.SOFTWARE_DIR, *logs, topology.STATE}
    ours = {*directories(components), *logs}
    return look.script(
        roots=sorted(outermost({topology.WEB_DIR, *configured} - {""})),
        paths=[
            *sorted(data),
            *(f"{topology.UNIT_DIR}/{unit}.service" for unit in (*UNITS, topology.FIREWALL_UNIT)),
            *(f"{topology.BIN_DIR}/{name}" for name in sorted(binaries | programs)),
            *(topology.SOFTWARE_DIR, *logs, topology.SYSCTL_FILE),
            *(
                topology.PORTS_FILE,
                topology.LIMITS_FILE,
                topology.LOGROTATE_FILE,
                topology.ATTACHED_LOGROTATE_FILE,
                topology.RSYSLOG_FILE,
                topology.RSYSLOG_DROP_IN,
            ),
            *(place for info in components for place in info.shared_dirs),
            *(topology.STATE, topology.ADDRESS, topology.TOOLS_DIR),
        ],
        units=[
            *(f"{unit}.service" for unit in (*UNITS, *FOREIGN_UNITS)),
            *timesync.UNITS,
        ],
        commands=COMMANDS,
        sysctls=dict.fromkeys(
            [
                *map(sysctl_name, sysctls),
                *(topology.PORT_RANGE, topology.RESERVED_PORTS),
            ]
        ),
        users=[topology.USER, *BUCKET_GROUPS],
        leaves=sorted(leaves),
        places=sorted({*ours, *topology.SHARED_DIRECTORIES, *HIDDEN} - leaves),
        ours=UNITS,
    )


def outermost(paths: set[str]) -> set[str]:
    """Those that are in no other one of them."""
    return {path for path in paths if not any(path.startswith(f"{other}/") for other in paths - {path})}


def _parent(path: str) -> list[str]:
    """`/var/lib/prometheus` of `/var/lib/prometheus/data`: ours as well."""
    return [str(PurePosixPath(path).parent)]


ROOT_HELP = '"_sudo": True for this host in the inventory, where its user has sudo; or root logs in: "ssh_user": "root"'
"""What to do where commands are not run as root."""
