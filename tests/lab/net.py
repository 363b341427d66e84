"""The lab's network: one bridge, a namespace and a cable for each host."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from tests.lab.plan import ALL, Lab
from tests.lab.proc import LabError, run

NETNS = Path("/run/netns")


def _links() -> dict[str, dict]:
    return {link["ifname"]: link for link in json.loads(run("ip", "-j", "link") or "[]")}


def _owner(lab: Lab) -> str:
    """Written on the bridge: an interface's alias holds 255 bytes at most."""
    return str(lab.root)[-200:]


def conflict(lab: Lab) -> str:
    """Why the lab's names or subnet cannot be used on this machine; empty where they can."""
    link = _links().get(lab.bridge)
    if link and link.get("ifalias") != _owner(lab):
        return f"{lab.bridge} belongs to {link.get('ifalias', 'somebody else')}"
    for route in json.loads(run("ip", "-j", "-4", "route") or "[]"):
        if route["dst"] == "default" or route.get("dev") == lab.bridge:
            continue
        if lab.subnet.overlaps(ipaddress.ip_network(route["dst"], strict=False)):
            return f"{lab.subnet} overlaps the route {route['dst']} of {route.get('dev')}"
    return ""


def add_bridge(lab: Lab) -> None:
    """Make the bridge, or bring it back to what it should be."""
    if lab.bridge not in _links():
        run("ip", "link", "add", lab.bridge, "address", f"02:{_pairs(lab)}:00:01", "type", "bridge")
    run("ip", "link", "set", lab.bridge, "alias", _owner(lab), "up")
    run("ip", "addr", "replace", f"{lab.gateway}/24", "dev", lab.bridge)
    if has_ipv6():
        Path(f"/proc/sys/net/ipv6/conf/{lab.bridge}/disable_ipv6").write_text("0")
        run("ip", "addr", "replace", f"{lab.gateway6}/64", "dev", lab.bridge, "nodad")


def has_ipv6() -> bool:
    """Whether this machine's kernel knows IPv6: without it the hosts of IPv6 alone cannot be had."""
    return Path("/proc/sys/net/ipv6").exists()


def _pairs(lab: Lab) -> str:
    return ":".join(lab.id[at : at + 2] for at in (0, 2, 4))


def add_host(lab: Lab, host: str) -> None:
    """A new namespace with both addresses of the host, plugged in unless `unplug` said no."""
    remove_host(lab, host)
    netns, veth = lab.netns(host), lab.veth(host)
    run("ip", "netns", "add", netns)
    peer = ("peer", "name", "eth0", "netns", netns, "address", lab.mac(host))
    run("ip", "link", "add", veth, "type", "veth", *peer)
    addresses = dict.fromkeys((lab.address(host), lab.management_address(host)))
    length = "/64 nodad" if ALL[host].ipv6 else "/24"
    inside = ["link set lo up", *(f"addr add {each}{length} dev eth0" for each in addresses)]
    run("ip", "-n", netns, "-batch", "-", input="\n".join([*inside, "link set eth0 up\n"]))
    state = "down" if _unplugged(lab, host).exists() else "up"
    run("ip", "link", "set", veth, "master", lab.bridge, state)


def remove_host(lab: Lab, host: str) -> None:
    """Remove a host's cable and namespace, whatever is left of them."""
    run("ip", "link", "del", lab.veth(host), check=False)
    if (NETNS / lab.netns(host)).exists():
        run("ip", "netns", "del", lab.netns(host))


def remove(lab: Lab) -> None:
    """Remove every trace of the lab's network."""
    for link in _links():
        if link.startswith(lab.bridge + "-"):
            run("ip", "link", "del", link, check=False)
    for netns in NETNS.glob(f"{lab.bridge}-*"):
        run("ip", "netns", "del", netns.name)
    if lab.bridge in _links():
        run("ip", "link", "del", lab.bridge)
    heal(lab)


def _unplugged(lab: Lab, host: str) -> Path:
    return lab.dir / "state" / f"{host}.unplugged"


def is_unplugged(lab: Lab, host: str) -> bool:
    return _unplugged(lab, host).exists()


def unplug(lab: Lab, host: str) -> None:
    """Pull a host's cable: it holds through the host's reboots, until `plug`."""
    _unplugged(lab, host).touch()
    run("ip", "link", "set", lab.veth(host), "down", check=False)


def plug(lab: Lab, host: str) -> None:
    """Put a host's cable back in."""
    _unplugged(lab, host).unlink(missing_ok=True)
    run("ip", "link", "set", lab.veth(host), "up", check=False)


def cut(lab: Lab, one: str, other: str) -> None:
    """Drop every frame between two hosts; each still reaches all others."""
    if one == other:
        raise LabError(f"cut: two hosts are needed, not {one} twice")
    pairs = ((one, other), (other, one))
    rules = [f"add table bridge {lab.table}"]
    chain = "type filter hook forward priority 0; policy accept;"
    rules.append(f"add chain bridge {lab.table} forward {{ {chain} }}")
    for source, target in pairs:
        match = f'iifname "{lab.veth(source)}" oifname "{lab.veth(target)}"'
        rules.append(f"add rule bridge {lab.table} forward {match} drop")
    run("nft", "-f", "-", input="\n".join(rules) + "\n")


def heal(lab: Lab) -> None:
    """Undo every `cut`."""
    run("nft", "delete", "table", "bridge", lab.table, check=False)
