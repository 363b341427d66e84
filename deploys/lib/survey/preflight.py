"""May this run begin? Judgement of what the hosts are before anything is changed.

Nothing here touches a host: `questions` is the survey that a host is asked for, `judge` compares what all of them said
with the inventory, `table` prints the lot. Each check has a severity, which the setting `preflight` changes.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import prometheus_ha.deploys.lib.roles  # noqa: F401  judges are theirs, too
from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import kernel
from prometheus_ha.deploys.lib.common.look_script import ROOT_HELP
from prometheus_ha.deploys.lib.common.preflight_view import View
from prometheus_ha.deploys.lib.daemons import DAEMONS, PRODUCTS, logs
from prometheus_ha.deploys.lib.daemons.declare import Daemon, Port
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_DATA
from prometheus_ha.deploys.lib.engine.role import in_order
from prometheus_ha.deploys.lib.engine.service import running_version
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.ground.results import aligned, merged, some
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.site.severities import CHECKS
from prometheus_ha.deploys.lib.survey import paths, source
from prometheus_ha.facts.reports import survey
from prometheus_ha.facts.reports.look import State
from prometheus_ha.facts.reports.survey import Host

RUN = {"debian": ("11", "12", "13")}
"""Systems that are run by the tests."""
DOCUMENTED = {
    "ubuntu": ("20.04", "22.04", "24.04"),
    **dict.fromkeys(("rhel", "almalinux", "rocky", "centos", "ol"), ("8", "9")),
}
"""Systems whose ways are known from their documentation, not from a run."""
DOCUMENTED_AS = "documented: Ubuntu 20.04 to 24.04, RHEL's family 8 and 9"
MACHINES = {"x86_64": "run", "aarch64": "documented"}
CPUS = 4
MEMORY = 16 * 10**9
"""Bytes; as sold, of which the kernel shows a little less."""
GIGABYTE = 10**9
MEGABYTE = 10**6
SPARE = {"/etc": 20, "/usr/local": 5}
LOGS = 100
"""Megabytes that must be free for what is small, and for logs."""
DATA_FREE = 0.05, GIGABYTE
"""Share and bytes of the data's file system that must be free: below, ingestion ends soon."""
INODES = 1000
SYSTEM_UIDS = 1000
NOEXEC = (topology.INSTALL_DIR, "/usr/local")


# --- Asking ---------------------------------------------------------------------------------------


def _address_script(address: str) -> str:
    """What the host's address was, and where it is another one: those of its interfaces, and of a name."""
    lookup = f"getent ahosts {shlex.quote(address)} | while read -r a _; do echo is $a; done"
    own = 'ip -o addr | while read -r _ _ _ a _; do echo "has ${a%/*}"; done'
    return (
        f"was=; read -r was <{topology.ADDRESS} && echo was $was\n"
        f'[ "$was" = {shlex.quote(address)} ] || {{ {own}; '
        f"{'' if topology.ip(address) else lookup}\n}}"
    )


def _places(components: Collection[Daemon]) -> list[str]:
    data = [info.data_dir for info in components if info.data_dir]
    log_dir, _ = logs([info.name for info in components])
    return list(dict.fromkeys([topology.INSTALL_DIR, *SPARE, log_dir, *data]))


def _questions(
    components: Collection[Daemon],
    ports: Iterable[int],
    peers: Iterable = (),
    asked: Mapping[str, str] | None = None,
) -> str:
    units = [info.unit for info in components]
    packaged = [info.distribution for info in components if info.distribution]
    data = [info.data_dir for info in components if info.data_dir]
    return survey.script(
        ports=ports,
        peers=peers,
        units=dict.fromkeys([*units, *packaged]),
        places=_places(components),
        data=dict.fromkeys(p for d in data for p in (str(PurePosixPath(d).parent), d)),
        asked=asked,
    )


def questions(site: Site, member: Member) -> str:
    """The survey of a host: what it is, and whether it reaches what it will dial."""
    peers = [(endpoint.address, endpoint.port) for endpoint in site.dials(member)]
    asked = dict(sorted((name, ask) for role in in_order() for name, ask in role.surveys(site, member).items()))
    asked["source"] = source.questions(member)
    asked["address"] = _address_script(member.address)
    return _questions(member.daemons, _ports(member), peers, asked)


def default_script() -> str:
    """The survey of a host, whatever its part, with the ports as they are by default."""
    defaults = Settings()
    ports = [getattr(defaults, port.setting) for info in DAEMONS.values() for port in info.ports.values()]
    return _questions(DAEMONS.values(), ports)


def _ports(member: Member) -> dict[int, tuple[str, Port]]:
    """Number -> component and port."""
    return {
        getattr(member.settings, port.setting): (name, port)
        for name in member.components
        for port in DAEMONS[name].ports.values()
    }


# --- Judging --------------------------------------------------------------------------------------


def _root(view: View) -> Iterator[Finding]:
    for name, look in view.looks.items():
        if look.account:
            found = f"commands are run as {look.account}"
            yield Finding(name, "root", found, "root", ROOT_HELP)


def _releases(view: View) -> Iterator[Finding]:
    for name, look in view.looks.items():
        member = view.site.hosts[name]
        for info in member.daemons:
            running, wanted = running_version(info, look), member.settings.version(info.archive)
            problems = releases.check_change(info.archive, running, wanted) if running else ()
            for problem in problems:
                found = f"{info.name} {running} is to be {wanted}: {problem}"
                advice = "another release or versions"
                yield Finding(name, "release", found, "a change that can be made", advice)


def _system(view: View) -> Iterator[Finding]:
    run = "; ".join(f"{name} {', '.join(v)}" for name, v in RUN.items())
    for name, look in view.looks.items():
        version = look.os_version
        known = {version, version.split(".")[0]}
        found = f"{look.os} {version}".strip() or "unknown"
        if known & set(DOCUMENTED.get(look.os, ())):
            advice = "try it on a host that you can spare: known from documentation, not run"
            yield Finding(name, "os", found, run, advice, "warn")
        elif not known & set(RUN.get(look.os, ())):
            advice = 'another system; or preflight = {"os": "warn"}, to try'
            yield Finding(name, "os", found, f"{run}; {DOCUMENTED_AS}", advice)
        if look.machine not in MACHINES:
            wanted = "x86_64 (run); aarch64 (documented)"
            yield Finding(name, "arch", look.machine, wanted, "another machine")
        elif MACHINES[look.machine] != "run":
            advice = "try it on a host that you can spare: known from documentation, not run"
            yield Finding(name, "arch", look.machine, "x86_64 (run)", advice, "warn")
        if look.systemd < topology.OLDEST_SYSTEMD:
            wanted = f"{topology.OLDEST_SYSTEMD} or newer"
            yield Finding(name, "systemd", str(look.systemd or "none"), wanted, "a newer system")


def _machine(view: View) -> Iterator[Finding]:
    for member, host in view.members():
        if 0 < host.cpus < CPUS:
            advice = "fine for a small site; more for many targets"
            yield Finding(member.name, "cpu", f"{host.cpus} CPUs", f"{CPUS} or more", advice)
        if not any(DAEMONS[name].archive == daemons.PROMETHEUS.name for name in member.components):
            continue
        if 0 < host.memory < 0.95 * MEMORY:
            found = f"{host.memory / GIGABYTE:.1f} GB"
            advice = "fine for a small site; series cost 3 to 8 kB each"
            yield Finding(member.name, "memory", found, "16 GB or more", advice)
        disk = host.room.get(member.own(daemons.PROMETHEUS).at(PROMETHEUS_DATA))
        if disk and disk.kind == "rotational":
            found = f"{disk.mount} on a rotating disk, as its kernel says"
            advice = "an SSD; of a virtual disk the kernel may say so wrongly"
            yield Finding(member.name, "disk-kind", found, "SSD", advice)


def _kernel(view: View) -> Iterator[Finding]:
    for name, look in view.looks.items():
        if unknown := [key for key in kernel.live(view.site.hosts[name], look) if key not in look.sysctl]:
            found = f"its kernel has no {', '.join(unknown)}"
            advice = "leave it out of sysctl for this host; or load the module that has it"
            yield Finding(name, "sysctl", found, "kernel values that there are", advice)


def _disks(view: View) -> Iterator[Finding]:
    for member, host in view.members():
        yield from _mounted(member, host)
        yield from _space(member, host, view.looks.get(member.name))


def _mounted(member: Member, host: Host) -> Iterator[Finding]:
    for option, check, wanted in (("ro", "read-only", "rw"), ("noexec", "noexec", "exec")):
        places: dict[str, list[str]] = {}
        for room in host.room.values():
            if option in room.options and (option == "ro" or room.place in NOEXEC):
                places.setdefault(room.mount, []).append(room.place)
        for mount, names in places.items():
            found = f"{', '.join(names)} on {mount}, mounted {option}"
            advice = f"mount -o remount,{wanted} {mount}, and mend /etc/fstab"
            if mount not in names and check == "noexec":
                advice += f"; or a file system of its own at {names[0]}"
            yield Finding(member.name, check, found, wanted, advice)


def _space(member: Member, host: Host, look: State | None) -> Iterator[Finding]:
    # Directories may share a file system: what each needs is added up.
    needs: dict[str, dict[str, int]] = {}
    for place, room in host.room.items():
        if room.free is None:
            continue
        need = LOGS if place == logs(member.components)[0] else SPARE.get(place, 0)
        if place == topology.INSTALL_DIR:
            need = sum(PRODUCTS[name].unpacked for name in _missing(member, look))
        needs.setdefault(room.mount, {})[place] = need
    for mount, places in needs.items():
        room = next(room for room in host.room.values() if room.mount == mount)
        need, names = sum(places.values()), ", ".join(places)
        if room.free is not None and room.free < need * MEGABYTE:
            yield Finding(
                member.name,
                "disk-space",
                f"{room.free / MEGABYTE:.0f} MB free on {mount}",
                f"{need} MB for {names}",
                f"make room on {mount}: old releases below {topology.INSTALL_DIR}, logs; or a larger disk",
            )
        if room.free_inodes is not None and room.free_inodes < INODES:
            found = f"{room.free_inodes} inodes free on {mount}"
            advice = f"remove small files on {mount}, or make it anew with more inodes"
            yield Finding(member.name, "disk-space", found, f"{INODES} for {names}", advice)
    running = {holder.unit for holder in host.holders if holder.ours}
    for path, services in _data_of(member).items():
        space = host.room.get(path)
        if not space or space.free is None or not space.size:
            continue
        share, least = DATA_FREE
        if space.free < share * space.size or space.free < least:
            yield Finding(
                member.name,
                "disk-space",
                f"{path}: {space.free / MEGABYTE:.0f} MB of {space.size / MEGABYTE:.0f} free on {space.mount}",
                f"{share:.0%} and 1 GB",
                "a larger disk, or a file system of its own; where the site runs, a shorter retention",
                # The run may be what mends it.
                "warn" if services & running else "fail",
            )


def _data_of(member: Member) -> dict[str, set[str]]:
    """Data directory -> the services that use it."""
    found: dict[str, set[str]] = {}
    for info in member.daemons:
        if info.data_dir:
            found.setdefault(info.data_dir, set()).add(info.service)
    return found


def _missing(member: Member, look: State | None) -> list[str]:
    """Archives that the host has yet to unpack."""
    found = []
    for name in dict.fromkeys(a for c in member.components for a in DAEMONS[c].archives):
        version = member.settings.version(name)
        if look and look.machine in MACHINES:
            directory = releases.archive(name, version, look.arch).directory
            found += [name] if directory not in look.installed else []
    return found


def _holders(view: View) -> Iterator[Finding]:
    for member, host in view.members():
        ports = _ports(member)
        if not host.listeners:
            found, advice = "no ss: who listens was not seen", "install iproute2 (iproute on RHEL)"
            yield Finding(member.name, "ports", found, "ss", advice, "warn")
        for holder in host.holders:
            component, port = ports[holder.port]
            info = member.own(component)
            if holder.proto not in port.transports or holder.ours:
                continue
            who = holder.process or "a process that cannot be seen"
            parts = [f"pid {holder.pid}"] if holder.pid else []
            parts += [holder.unit] if holder.unit else []
            parts += [f"package {holder.package}"] if holder.package else []
            found = f"{holder.proto.upper()} {holder.port}: {who}"
            found += f" ({', '.join(parts)})" if parts else ""
            taken = holder.unit in (info.service, f"{info.distribution}.service")
            yield _take(
                member,
                "ports",
                found,
                f"free for {component}",
                f"stop it (systemctl disable --now {holder.unit or '...'}), or another {port.setting}",
                taken,
            )


def _take(member: Member, check: str, found: str, wanted: str, advice: str, taken: bool) -> Finding:
    """A finding about somebody else's daemon. What may be taken over says so, or is a note where it will be."""
    if taken and member.settings.take_over:
        advice = "taken over: it is stopped and masked, its data is left alone"
        return Finding(member.name, check, found, wanted, advice, "note")
    if taken:
        advice += "; or take_over = True, which stops it for ours and leaves its data alone"
    return Finding(member.name, check, found, wanted, advice)


def _units(view: View) -> Iterator[Finding]:
    for member, host in view.members():
        ours = {unit.name for unit in host.units if unit.ours}
        names = {info.unit for info in member.daemons}
        for unit in host.units:
            idle = not unit.active and unit.state not in ("enabled", "enabled-runtime")
            # Ours lies over it already; or it is another name's, and sleeps.
            if unit.ours or unit.name in ours or (unit.name not in names and idle):
                continue
            found = f"{unit.path}, {'active' if unit.active else unit.state or 'inactive'}"
            found += f", package {unit.package}" if unit.package else ", of no package"
            advice = f"remove {f'the package {unit.package}' if unit.package else 'it'}"
            yield _take(member, "units", found, f"no {unit.name}.service but ours", advice, True)


def _address(view: View) -> Iterator[Finding]:
    for member, host in view.members():
        said: dict[str, list] = {"was": [], "has": [], "is": []}
        for line in host.asked.get("address", ()):
            word, _, address = line.partition(" ")
            said.setdefault(word, []).append(topology.ip(address) or address)
        runs = any(holder.ours for holder in host.holders)
        if not said["has"] or not (said["was"] or runs):
            continue
        own = topology.ip(member.address)
        if ({own} if own else {*said["is"]}) & {*said["has"]}:
            continue
        has = some(str(a) for a in said["has"] if not (a.is_loopback or a.is_link_local))
        found = f"{member.address}, which no interface has ({has})"
        found += f"; it was {said['was'][0]}" if said["was"] else ""
        advice = "mend service_address, or ssh_hostname; behind NAT: "
        advice += 'preflight = {"address": "off"} for this host'
        # What was deployed before addresses were recorded may have had this one all along.
        severity = "fail" if said["was"] else "warn"
        yield Finding(member.name, "address", found, "an address of this host", advice, severity)


def _accounts(view: View) -> Iterator[Finding]:
    for host, look in view.looks.items():
        if topology.USER not in look.users:
            continue
        name, _, uid, _, _, home, shell = look.users[topology.USER].split(":")[:7]
        severity, advice = "fail", f"usermod -s {topology.SHELL} {name}, if nobody logs in with it"
        if uid == "0":
            found, advice = f"{name} is another name of root", f"rename or remove that {name}"
        elif PurePosixPath(shell).name not in ("nologin", "false", "sync"):
            found = f"{name} may log in (uid {uid}, home {home}, shell {shell})"
        elif int(uid) >= SYSTEM_UIDS:
            found, severity = f"{name} has uid {uid}, home {home}", "warn"
            advice = "nothing: it is taken as it is, files are given to it by name"
        else:
            continue  # another home is no matter: the units see none
        wanted = f"an account for services (below {SYSTEM_UIDS}, no shell), or none"
        yield Finding(host, "user", found, wanted, advice, severity)


def _data(view: View) -> Iterator[Finding]:
    for member, host in view.members():
        for path in _data_of(member):
            parent = host.data.get(str(PurePosixPath(path).parent))
            found = host.data.get(path)
            strange = sorted({o for o in (found.inside.values() if found else ()) if o != topology.USER})
            if parent and parent.inside and parent.owner not in ("root", topology.USER):
                text = f"{parent.path} belongs to {parent.owner}, and holds {some(parent.inside)}"
            elif found and strange:
                text = f"{path} holds files of {', '.join(strange)}: {some(found.inside)}"
            elif found and found.inside and found.owner != topology.USER:
                text = f"{path} belongs to {found.owner}, and holds {some(found.inside)}"
            else:
                continue
            advice = f"move it away; or chown -R {topology.USER}: {path}, where it is this site's data"
            yield Finding(member.name, "data", text, f"empty, or {topology.USER}'s", advice)


def _dialled(site: Site, member: Member) -> str:
    ports: dict[str, list[int]] = {}
    for protocol, port in site.dialled(member):
        ports.setdefault(protocol, []).append(port)
    return "; ".join(f"{p.upper()} {', '.join(map(str, sorted(n)))}" for p, n in ports.items())


def _open(member: Member, host: Host | None) -> bool:
    """Will this run let the members through this host's firewall?"""
    return bool(host and member.settings.firewall == "open" and host.firewall not in ("", "iptables"))


def _reach(view: View) -> Iterator[Finding]:
    silent: dict[tuple[str, str], dict[int, list[str]]] = {}
    for member, host in view.members():
        dials = view.site.dials(member)
        if dials and "" not in host.reach:
            found = "no bash: its peers were not tried"
            yield Finding(member.name, "reach", found, "bash", "install bash", "warn")
            continue
        for endpoint in dials:
            if endpoint.host_name in view.dead:
                continue  # named at the connection; the living go on
            says = host.reach.get(endpoint.target, "timeout")
            if says not in ("open", "refused"):
                ports = silent.setdefault((endpoint.host_name, says), {})
                ports.setdefault(endpoint.port, []).append(member.name)
    for (name, says), ports in silent.items():
        member, there = view.site.hosts[name], view.seen.get(name)
        askers = list(dict.fromkeys(asker for names in ports.values() for asker in names))
        found = f"TCP {', '.join(map(str, sorted(ports)))} from {some(askers)}: {says}"
        severity = "fail"
        if there and _open(member, there):
            severity, advice = "note", f"its {there.firewall} is opened to them by this run"
            if named := [a for a in askers if not topology.ip(view.site.hosts[a].address)]:
                severity, advice = (
                    "warn",
                    f"its {there.firewall} is opened by this run, but to the ssh_hostname alone of {some(named)}: "
                    "service_address = its IP address opens to that",
                )
        elif there and there.firewall:
            advice = f'its {there.firewall} lets them not in: firewall = "open" does, or your own rules'
        elif there:
            advice = "a firewall or a route between them; or its service_address is not the right one"
        else:
            # Not in this run (--limit): perhaps it is down.
            severity, advice = "warn", "is it up? It is not in this run"
        if there and severity == "fail" and any(h.ours and h.port in ports for h in there.holders):
            # An outage of a running site must not keep the run from the living.
            severity, advice = "warn", f"an outage: the site runs there; {advice}"
        yield Finding(name, "reach", found, "open or refused", advice, severity)


def _firewalls(view: View) -> Iterator[Finding]:
    tried: dict[str, set[str]] = {}
    for member, host in view.members():
        for endpoint in view.site.dials(member):
            says = host.reach.get(endpoint.target, "timeout")
            tried.setdefault(endpoint.host_name, set()).add(says)
    for member, host in view.members():
        if not host.firewall or _open(member, host):
            continue
        dialled = view.site.dialled(member)
        if not dialled:
            continue
        if tried.get(member.name, {""}) <= {"open", "refused"} and all(p == "tcp" for p, _ in dialled):
            continue  # it lets them in, as was tried
        yield Finding(
            member.name,
            "firewall",
            f"{host.firewall} is active",
            f"the site's hosts let in to {_dialled(view.site, member)}",
            'firewall = "open" lets them in; or your own rules'
            if host.firewall != "iptables"
            else "your own rules: those of iptables are not touched",
        )


def _selinux(view: View) -> Iterator[Finding]:
    for member, host in view.members():
        if host.selinux == "enforcing":
            advice = "nothing: the contexts of what is installed are restored; not run by our tests"
            yield Finding(member.name, "selinux", "SELinux enforces", "known to work", advice)


_TIERS = tuple(
    daemon.group
    for daemon in (
        *(daemons.ALERTMANAGER, daemons.QUERIER, daemons.FRONTEND, daemons.STORE, daemons.RULE, daemons.RECEIVE),
    )
)
"""Groups whose members stand in for each other."""


def _zones(view: View) -> Iterator[Finding]:
    tiers = {f"cluster {m.settings.cluster}": view.site.replicas(m) for m in view.site.running(daemons.PROMETHEUS)}
    tiers |= {group: view.site.members(group) for group in _TIERS}
    for name, members in tiers.items():
        zones = {member.settings.zone for member in members}
        if len(members) > 1 and len(zones) == 1 and None not in zones:
            here = [member.name for member in members if member.name in view.seen]
            found = f"all of {name} in zone {zones.pop()}"
            advice = "put one elsewhere: a zone that fails takes them all"
            if here:
                yield Finding(here[0], "zones", found, "two zones or more", advice)


JUDGES = (
    *(_root, source.judge, _releases, _system, _machine, _kernel, _disks, paths.judge_links),
    *(_holders, _units, _address, paths.judge_drop_ins, _accounts, _data),
    *(_reach, _firewalls, _selinux, _zones),
    *(judge for role in in_order() for judge in role.judges),
)


def judge(view: View) -> list[Finding]:
    """All findings, the worst first, with the severity that the settings give them."""
    judged = (severe(view.site.hosts[one.host], one) for judge in JUDGES for one in judge(view))
    found = [one for one in judged if one]
    # Who is not root does not see whose a process is, nor what is in a directory: the rest would be a consequence.
    blind = {one.host for one in found if one.check == "root"}
    found = [one for one in found if one.check == "root" or one.host not in blind]
    order = {name: index for index, name in enumerate(("fail", "warn", "note"))}
    return sorted(found, key=lambda one: order[one.severity])


def severe(member: Member, result: Finding) -> Finding | None:
    """The finding with the severity in force; None where the check is off. Notes stay notes."""
    default = CHECKS[result.check][0]
    if result.severity == "fail" and default == "warn":
        result = replace(result, severity="warn")
    wanted = member.settings.preflight.get(result.check)
    if wanted == "off":
        return None
    return replace(result, severity=wanted) if wanted and result.severity != "note" else result


# --- Printing -------------------------------------------------------------------------------------

HEADINGS = ("", "host", "check", "found", "expected", "what to do")


def gossip(view: View) -> list[str]:
    """What cannot be tried before an Alertmanager runs, in one line; empty where each of several runs already."""
    members = view.site.running(daemons.ALERTMANAGER)
    new = [
        m
        for m in members
        if (look := view.looks.get(m.name)) and m.own(daemons.ALERTMANAGER).unit not in look.processes
    ]
    if len(members) < 2 or not new:
        return []
    ports = ", ".join(sorted({str(member.settings.alertmanager_cluster_port) for member in members}))
    return [f"UDP {ports} (gossip) cannot be tried: a firewall between Alertmanagers must let it through, too"]


def table(site: Site, results: Iterable[Finding]) -> list[str]:
    """The findings as lines, in columns. What several hosts share is said once."""
    findings = merged(results)
    if not findings:
        return []
    everyone = len(site.hosts)
    rows = [HEADINGS]
    for names, one in findings:
        who = f"all {everyone}" if 1 < everyone == len(names) else some(names)
        rows.append((one.severity, who, one.check, one.found, one.wanted, one.advice))
    return aligned(rows)
