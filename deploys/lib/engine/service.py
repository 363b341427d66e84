"""A daemon as part of a component: its unit, the link to its binary, and what it reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.daemons import REPLACED, Ref
from prometheus_ha.deploys.lib.daemons.declare import Daemon, Own, Product
from prometheus_ha.deploys.lib.engine import documents
from prometheus_ha.deploys.lib.engine.component import Component, Directory, File, Service
from prometheus_ha.deploys.lib.engine.units import unit
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.templates import source
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.reports.look import State


def installed(member: Member, found: State, product: Product | Own) -> str:
    """The directory in which a host has the wanted release of `product`. Raises ValueError for a program of ours."""
    version = member.settings.version(product)
    return f"{topology.INSTALL_DIR}/{releases.archive(product.name, version, found.arch).directory}"


def running_version(info: Daemon, found: State) -> str | None:
    """The version of the release that a daemon runs from; None where it does not run, or not from ours."""
    process = found.processes.get(info.unit)
    match = re.match(rf"{topology.INSTALL_DIR}/{info.archive}-(.+)\.linux-", process.exe if process else "")
    return match[1] if match else None


def component(
    name: str,
    site: Site,
    member: Member,
    found: State,
    *daemons: Ref,
    files: dict[str, File] | None = None,
    directories: dict[str, Directory] | None = None,
    checks: tuple[str, ...] = (),
) -> Component:
    """The component `name` that runs `daemons`, started in this order, with their files. Their units
    are checked as well."""
    files, links, services, verified = dict(files or {}), {}, [], []
    trials: dict[str, Callable[[], str]] = {}
    for info in map(member.own, daemons):
        rendered = unit(info.name, site, member, found)
        if info.bucket in rendered.restart_paths:
            wanted = bucket.config_of(member, info.name)
            files[info.bucket] = documents.file(wanted, "bucket_config", group=info.name)
            trials[info.bucket] = partial(bucket.trial, member, info.name)
        theirs = info.distribution
        service = Service(
            rendered.name,
            tuple(rendered.argv),
            rendered.restart_paths,
            rendered.reload_paths,
            replaces=(theirs,) if member.settings.take_over and theirs in REPLACED else (),
            interpreted=isinstance(info.product, Own),
        )
        files[service.path] = File(rendered.text, "644", group="root")
        services.append(service)
        if isinstance(info.product, Own):
            files[info.path] = File(source(info.product.template), "755", group="root")
        for product in (info.product, *info.tools):
            if isinstance(product, Own):
                continue
            directory = installed(member, found, product)
            for binary in releases.archive(product.name, member.settings.version(product), found.arch).binaries:
                links[f"{topology.BIN_DIR}/{binary}"] = f"{directory}/{binary}"
        # The link may not be there yet, or lead to the old release: verify looks at the binary that is meant. So
        # with a tool of the unit's own.
        tools = "".join(f"; s|+{path}|+{{staged}}{path}|" for path, file in files.items() if file.mode == "755")
        verified.append(
            f"sed 's|^ExecStart={info.path}|ExecStart={links.get(info.path)}|{tools}' {{staged}}{service.path} "
            f">{{staged}}/{info.service}; systemd-analyze verify {{staged}}/{info.service}"
        )
    return Component(
        name=name,
        files=files,
        directories=directories or {},
        links=links,
        services=tuple(services),
        checks=(*checks, *verified),
        trials=trials,
    )


def data_directories(path: str) -> dict[str, Directory]:
    """A data directory and the one it lies in: the daemon's own."""
    own = Directory("750", owner=topology.USER)
    return {str(PurePosixPath(path).parent): own, path: own}


def thanos_directories(info: Daemon) -> dict[str, Directory]:
    """Where a Thanos component of its own reads and writes: in a directory of its own inside that of Thanos."""
    found = {}
    if info.config_dir:
        found[str(PurePosixPath(info.config_dir).parent)] = Directory("750")
        found[info.config_dir] = Directory("750", managed=True)
    return {**found, **(data_directories(info.data_dir) if info.data_dir else {})}
