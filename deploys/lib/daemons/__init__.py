"""Every daemon of a site, and what it is: one declaration each (`declare.Daemon`)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.daemons import exporters
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERT_RELAY, ALERTMANAGER, ALERTMANAGER_PRODUCT
from prometheus_ha.deploys.lib.daemons.declare import EVERY_HOST, Daemon, Group
from prometheus_ha.deploys.lib.daemons.objectstores import MC, MINIO, MINIO_PRODUCT, SEAWEEDFS, SEAWEEDFS_PRODUCT
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS, PROMETHEUS_PRODUCT, UPPER
from prometheus_ha.deploys.lib.daemons.thanos import (
    ATTACHED,
    BUCKET_WEB,
    COMPACTOR,
    FRONTEND,
    QUERIER,
    RECEIVE,
    RULE,
    SIDECAR,
    STORE,
    THANOS,
    THANOS_DIR,
)
from prometheus_ha.deploys.lib.ground import topology

DAEMONS: dict[str, Daemon] = {
    daemon.name: daemon
    for daemon in (
        *(PROMETHEUS, SIDECAR, ATTACHED, ALERT_RELAY, ALERTMANAGER, QUERIER, FRONTEND, STORE, COMPACTOR),
        *(RULE, RECEIVE, BUCKET_WEB, SEAWEEDFS, MINIO, UPPER),
        *exporters.EXPORTERS,
    )
}
"""Every daemon of the site. A host runs those of its groups, and those of every host."""

GROUPS: dict[str, Group] = {
    group: group
    for group in (*(daemon.group for daemon in DAEMONS.values()), exporters.WATCHED)
    if group is not EVERY_HOST
}
"""Groups of the inventory."""

PRODUCTS = {
    product.name: product
    for product in (
        *(PROMETHEUS_PRODUCT, THANOS, ALERTMANAGER_PRODUCT, *exporters.PRODUCTS),
        *(SEAWEEDFS_PRODUCT, MINIO_PRODUCT, MC),
    )
}
"""What is released, by name."""

Ref = Daemon | str
"""A daemon, or its name: code that means one names the object, and what goes through all has names."""


def of(ref: Ref) -> Daemon:
    """The daemon that is meant. Raises KeyError where there is no such name."""
    return ref if isinstance(ref, Daemon) else DAEMONS[ref]


UNITS = tuple(dict.fromkeys(daemon.unit for daemon in DAEMONS.values()))
"""Every unit of ours, without `.service`: daemons that never share a host may share one."""

REPLACED = tuple(sorted({d.distribution for d in DAEMONS.values() if d.distribution} - set(UNITS)))
"""Units of the distributions' own packages for the same daemons, where they have another name than ours."""

BUCKET_GROUPS = tuple(name for name, daemon in DAEMONS.items() if daemon.bucket or daemon.keys)
"""System groups, named after daemons: who is in one may read that daemon's key to the bucket, or its keys."""

RIGHTS = {name: daemon.rights for name, daemon in DAEMONS.items() if daemon.rights}
"""Daemon -> what it does in the bucket."""

ADMIN = "admin"
"""Name in `bucket_keys` of the key that makes the bucket. It stays on the control machine."""


def of_groups(groups: tuple[str, ...]) -> list[Daemon]:
    """The daemons that a host in `groups` runs, in the order of `DAEMONS`."""
    return [d for d in DAEMONS.values() if d.group is EVERY_HOST or d.group in groups]


def logs(components: Collection[str]) -> tuple[str, str]:
    """The directory of log files on a host with these components, and the file that has them rotated."""
    if ATTACHED.name in components:
        return topology.ATTACHED_LOG_DIR, topology.ATTACHED_LOGROTATE_FILE
    return topology.LOG_DIR, topology.LOGROTATE_FILE


def directories(components: Collection[Daemon]) -> tuple[str, ...]:
    """Every directory that is ours on a host with these components: we give it its owner and its mode."""
    found = {
        topology.STATE,
        topology.SOFTWARE_DIR,
        topology.WEB_DIR,
        topology.TOOLS_DIR,
        logs([info.name for info in components])[0],
    }
    for info in components:
        if info.config_dir:
            found.add(info.config_dir)
            shared = info.at(THANOS_DIR)
            found |= {shared} if info.config_dir.startswith(f"{shared}/") else set()
            found |= set(info.inner_dirs)
        found |= {*info.shared_dirs, *([info.tools_dir] if info.tools_dir else [])}
        if info.data_dir:
            found |= {info.data_dir, str(PurePosixPath(info.data_dir).parent)}
    return tuple(sorted(found))
