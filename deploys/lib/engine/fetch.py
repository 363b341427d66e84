"""Getting a release archive, verified and whole, onto a host or into the control machine's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from pathlib import Path

from prometheus_ha.deploys.lib.daemons import of_groups
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.members import Member
from prometheus_ha.deploys.lib.site.releases import Archive
from prometheus_ha.facts.reports.look import State


class FetchError(ValueError):
    """An archive cannot be had: which, from where, and what was found instead."""


def wanted(member: Member, arch: str) -> list[tuple[Archive, str | None]]:
    """The archives that a host of this architecture needs, each with the sha256 that it is held to, if any."""
    settings, found = member.settings, []
    infos = of_groups(member.groups)
    for component in dict.fromkeys(name for info in infos for name in info.archives):
        archive = releases.archive(component, settings.version(component), arch)
        found.append((archive, releases.pinned(archive.name, settings.checksums)))
    return found


def lacking(member: Member, look: State) -> list[tuple[Archive, str | None]]:
    """Those of them that the host has yet to unpack."""
    found = []
    for archive, pin in wanted(member, look.arch):
        there = look.installed.get(archive.directory)
        if not (there and there.names.issuperset(archive.binaries) and pin in (None, there.sha256)):
            found.append((archive, pin))
    return found


def by_proxy(proxy: str | None) -> str:
    """The shell line after which curl goes by `proxy`. No argument of curl: it may hold a password."""
    if not proxy:
        return ""
    return f"http_proxy={shlex.quote(proxy)} https_proxy={shlex.quote(proxy)}\nexport http_proxy https_proxy\n"


def script(archive: Archive, base_url: str, pin: str | None, proxy: str | None = None) -> str:
    """Fetch `archive` unless it is there already, verify, unpack to its versioned directory, record the checksum.

    Any failure leaves what was there as it was: archive and tree are built under other names, and renamed last.
    `pin` is the sha256 to hold; without one the release's own checksum file is asked. What is recorded is a sha256.
    `proxy` is the URL of the HTTP proxy to go by, and may hold a password.
    """
    binaries = " ".join(archive.binaries)
    wanted, digest = f"wanted={pin}", "sha256" if pin else archive.digest
    if not pin:
        # A line is `<sum>  <name>`; some releases write `*<name>` or `./<name>`, and an MD5 stands alone.
        line = f"s|^\\([0-9a-f]*\\) [ *]\\(\\./\\)\\{{0,1\\}}{archive.file}$|\\1|p"
        if digest == "md5":
            line = r"s|^\([0-9a-f]\{32\}\)\( .*\)\{0,1\}$|\1|p"
        elif archive.raw:  # beside the one file that it is of, under whatever name
            line = r"s|^\([0-9a-f]\{64\}\) .*$|\1|p"
        wanted = (
            f"sums={shlex.quote(archive.sums_url(base_url))}\n"
            'said=$($get "$sums") || fail "its checksum cannot be fetched from $sums"\n'
            f"wanted=$(printf '%s\\n' \"$said\" | sed -n '{line}')\n"
            '[ -n "$wanted" ] || fail "no checksum for it in $sums"'
        )
    into = "$new/$tree" if archive.flat else "$new"
    unpack = f'tar -xzf "$archive" -C "{into}" --no-same-owner'
    if archive.raw:
        unpack = f'install -m 755 "$archive" "$new/$tree/{archive.binaries[0]}"'
    record = 'echo "$wanted"' if digest == "sha256" else "sha256sum \"$archive\" | cut -d' ' -f1"
    return f"""set -eu
{by_proxy(proxy)}name={archive.name} tree={archive.directory}
archive={topology.SOFTWARE_DIR}/{archive.name} top={topology.INSTALL_DIR}
url={shlex.quote(archive.url(base_url))} part=$archive.part new=$top/.$tree.new
get='curl -fsSL --retry 3 --retry-delay 1 --connect-timeout 10 --speed-limit 1000 --speed-time 60'
fail() {{ echo "$name: $1" >&2; exit 1; }}
trap 'rm -rf "$part" "$new"' EXIT
rm -rf "$part" "$new"
{wanted}
sum() {{ {digest}sum "$1" | cut -d' ' -f1; }}
if [ ! -f "$archive" ] || [ "$(sum "$archive")" != "$wanted" ]; then
    $get -o "$part" "$url" || fail "cannot be fetched from $url"
    found=$(sum "$part")
    [ "$found" = "$wanted" ] || fail "{digest} is $found, wanted $wanted: nothing was unpacked"
    mv -f "$part" "$archive"
fi
mkdir -p "$new/$tree"
{unpack} || fail "cannot be unpacked into $top: $(df -h "$top" | tail -n 1)"
for binary in {binaries}; do
    [ -f "$new/$tree/$binary" ] || fail "holds no executable $tree/$binary"
    [ -x "$new/$tree/$binary" ] || fail "$tree/$binary cannot be executed: is $top mounted noexec?"
    "$new/$tree/$binary" {archive.version_command} >/dev/null 2>&1 || fail "$tree/$binary does not run on this host"
done
chown -R root:root "$new/$tree"
chmod -R go-w,a+rX "$new/$tree"
{record} >"$new/$tree/.installed"
rm -rf "$top/$tree"
mv -T "$new/$tree" "$top/$tree"
[ ! -e /sys/fs/selinux/enforce ] || ! command -v restorecon >/dev/null || restorecon -RF "$top/$tree"
"""


def unavailable(archive: Archive, base_url: str, pin: str | None) -> str:
    """Why the control machine cannot have `archive`, which it is to upload; empty where it can. Nothing is fetched but
    the first bytes."""
    import requests

    place = cache_directory(base_url) / archive.name
    sums = place.with_name(place.name + ".sha256")
    known = pin or sums.exists()
    urls = [] if known else [archive.sums_url(base_url)]
    urls += [] if known and place.exists() else [archive.url(base_url)]
    try:
        for url in urls:
            with requests.get(url, timeout=10, stream=True) as answer:
                answer.raise_for_status()
    except requests.RequestException as error:
        return f"{archive.name}: {error}"
    return ""


def cache_directory(base_url: str) -> Path:
    """Where the control machine keeps archives from `base_url`: below the user's cache directory.

    Each source has its own: a mirror may build an archive itself, under upstream's name.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pyinfra-prometheus-ha" / "archives" / re.sub(r"\W+", "-", base_url)


def cached(archive: Archive, base_url: str, pin: str | None) -> tuple[Path, str]:
    """`archive` on the control machine and its sha256, fetched once and verified (for hosts without a way out).

    Raises `FetchError` naming the archive, where it was sought and what was found.
    """
    import requests  # 30 ms, which a run that fetches nothing is spared

    place = cache_directory(base_url) / archive.name
    place.parent.mkdir(parents=True, exist_ok=True)
    sums = place.with_name(place.name + ".sha256")
    digest = "sha256"
    try:
        wanted = pin or (sums.read_text().strip() if sums.exists() else None)
        if not wanted:
            answer = requests.get(archive.sums_url(base_url), timeout=30)
            answer.raise_for_status()
            wanted, digest = archive.sum_in(answer.text), archive.digest
            if not wanted:
                raise FetchError(f"no checksum for {archive.name} in {archive.sums_url(base_url)}")
        if not place.exists() or _sum(place, digest) != wanted:
            part = place.with_name(f"{place.name}.{os.getpid()}.part")
            with requests.get(archive.url(base_url), timeout=30, stream=True) as answer:
                answer.raise_for_status()
                with part.open("wb") as out:
                    for chunk in answer.iter_content(1 << 20):
                        out.write(chunk)
            if (found := _sum(part, digest)) != wanted:
                part.unlink()
                raise FetchError(f"{archive.name}: {digest} is {found}, wanted {wanted}")
            part.replace(place)
        found = wanted if digest == "sha256" else _sum(place, "sha256")
        sums.write_text(found + "\n")
    except requests.RequestException as error:
        raise FetchError(f"{archive.name}: {error}") from error
    return place, found


def _sum(path: Path, digest: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, digest).hexdigest()
