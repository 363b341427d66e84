"""May a host lead us elsewhere: by links where directories of ours are, by drop-ins for units of ours?

What is sound is worked with, by the kernel's view of it (`facts/look.py`). Judged here is the rest, for `preflight`
before anything is changed, and for `verify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.common.preflight_view import View
from prometheus_ha.deploys.lib.daemons import DAEMONS, PRODUCTS, directories
from prometheus_ha.deploys.lib.engine.service import installed
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member
from prometheus_ha.deploys.lib.site.settings import HIDDEN
from prometheus_ha.facts.reports.look import State
from prometheus_ha.facts.reports.survey import Host

FLEETING = ("/run", "/dev", "/proc", "/sys")
"""What does not outlive a restart of the host."""

# --- Links ----------------------------------------------------------------------------------------


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root.rstrip('/')}/")


def judge_links(view: View) -> Iterator[Finding]:
    """Links that lead a directory of ours nowhere, out of the daemons' sight, or to where others may write."""
    for member, host in view.members():
        look = view.looks.get(member.name)
        if look is None:
            continue
        yield from _unwatched(member, host, look)
        said: set[str] = set()  # one link concerns all that is below it
        for name in _directories(member, look):
            found, advice = _unsound(member, name, look)
            if found and found not in said:
                said.add(found)
                wanted = "a directory, or a link to one that is root's and lasts"
                yield Finding(member.name, "links", found, wanted, advice)


def _unwatched(member: Member, host: Host, look: State) -> Iterator[Finding]:
    """The alert about data directories knows a file system by the names of the directories above."""
    for path in dict.fromkeys(info.data_dir for info in member.daemons):
        room = host.room.get(path or "")
        if path in look.links and room and not _inside(path, room.mount or "/"):
            found = f"{path} leads to {look.links[path]}, on {room.mount}"
            advice = f"mount the disk at {path}; or an alert of your own on {room.mount}"
            wanted = "a file system that the alert DataDiskFilling knows by its name"
            yield Finding(member.name, "links", found, wanted, advice, "note")


def _directories(member: Member, look: State) -> list[str]:
    own = [*directories(member.daemons), *topology.SHARED_DIRECTORIES]
    if look.arch in releases.ARCHITECTURES:
        names = (name for one in member.components for name in DAEMONS[one].archives)
        own += [installed(member, look, PRODUCTS[name]) for name in dict.fromkeys(names)]
    return own


def _unsound(member: Member, name: str, look: State) -> tuple[str, str]:
    """What is wrong with the directory that the kernel makes of `name`, and what to do it; empty where nothing is."""
    move = "remove the link; or let it lead to a directory of root's, as below /srv"
    if name in look.blocked:
        at, kind = look.blocked[name]
        if kind == "l":
            return f"{at} is a link that leads to no directory", f"make that directory; or {move}"
        return f"{at} is not a directory", "move it away"
    if name not in look.links:
        return "", ""
    real = look.links[name]
    link = f"{name} leads to {real}"
    for place in HIDDEN:
        if any(_inside(real, one) for one in (place, look.links.get(place, place))):
            return f"{link}: our daemons do not see what is in {place}", move
    for place in FLEETING:
        if _inside(real, place):
            return f"{link}: what is in {place} is gone after a restart of the host", move
    own = directories(member.daemons)
    for other in own:
        there = look.links.get(other, other)
        if real == "/" or (name in own and name != other and real == there):
            return f"{link}, which {'is all of the host' if real == '/' else f'is {other}'}", move
        if name in own and _inside(real, there) and not _inside(name, other):
            return f"{link}, which is inside {other}", move
    data = {info.data_dir for info in member.daemons if info.data_dir}
    data |= {str(PurePosixPath(path).parent) for path in data}
    for above in (PurePosixPath(real), *PurePosixPath(real).parents):
        way = look.ways.get(str(above))
        if way is None:
            continue
        # Of a directory of ours, owner and mode are ours to set.
        last = str(above) == real and name in own
        ours = last or any(str(above) == look.links.get(path, path) for path in data)
        if way.owner != "root" and not (ours and way.owner == topology.USER):
            found = f"{link}, and {above} belongs to {way.owner}"
            return found, f"chown root: {above}; or {move}"
        mode = int(way.mode, 8)
        others = mode & 0o002 or (mode & 0o020 and way.group != "root")
        if others and not mode & 0o1000 and not ours:
            found = f"{link}, and others may write to {above} (mode {way.mode}, group {way.group})"
            return found, f"chmod go-w {above}; or {move}"
    return "", ""


# --- Drop-ins -------------------------------------------------------------------------------------

TAKEN = frozenset(
    (
        *("ExecStart", "Type", "RemainAfterExit", "User", "Group", "DynamicUser"),
        *("RootDirectory", "RootImage", "RefuseManualStart", "RefuseManualStop"),
    )
)
"""What a drop-in cannot set without making the unit another one than ours: what runs, as whom, and whether the deploy
can restart it."""
KEPT = frozenset(("ExecStartPre", "ExecStartPost", "ExecReload", "SupplementaryGroups", "ReadWritePaths"))
"""What it may add to, and not empty: records of what was read, reloads, the daemon's key and its data."""


def foreign(settings: Iterable[str]) -> list[str]:
    """Those of a drop-in's settings (as the look has them) with which the unit is not ours any more, in words."""
    names = [one.partition("=") for one in settings]
    return list(
        dict.fromkeys(
            name if name in TAKEN else f"an empty {name}"
            for name, _, value in names
            if name in TAKEN or (name in KEPT and not value)
        )
    )


def drop_ins(member: Member, check: str, component: str, look: State) -> Iterator[Finding]:
    """The drop-ins for a unit of ours: harmless, or not. One for all services is the system's and named only where it
    does harm."""
    host, unit = member.name, member.own(component).unit
    for path, settings in look.drop_ins.get(unit, {}).items():
        if bad := foreign(settings):
            yield Finding(
                host,
                check,
                f"{path} sets {', '.join(bad)} for {unit}.service",
                "a unit that runs what this site says",
                f"take that out of it, and systemctl daemon-reload; flags go into {DAEMONS[component].extra}",
            )
        elif settings and PurePosixPath(path).parent.name != "service.d":
            names = some(dict.fromkeys(one.partition("=")[0] for one in settings))
            yield Finding(
                host,
                check,
                f"{unit}.service is ours with your drop-in {path}: {names}",
                "ours, with or without drop-ins that are harmless",
                "nothing; what it sets is in force from the next start of the unit",
                "note",
            )


def judge_drop_ins(view: View) -> Iterator[Finding]:
    for member, _ in view.members():
        if look := view.looks.get(member.name):
            for component in member.components:
                yield from drop_ins(member, "drop-ins", component, look)
