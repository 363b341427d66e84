"""Can what a host has yet to fetch be fetched? A check of `preflight`: found out later, half of a run would be done.

The host itself decides what it lacks, and asks for the first byte of each URL as the download will. Where there is no
curl yet, it tries whether the source's port answers. What the control machine is to upload, it asks for itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from urllib.parse import urlsplit

from prometheus_ha.deploys.lib.common.preflight_view import View
from prometheus_ha.deploys.lib.engine import fetch
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.ground.secrets import SecretError, is_secret, read_secret
from prometheus_ha.deploys.lib.site.members import Member
from prometheus_ha.deploys.lib.site.settings import Settings

MACHINES = ("x86_64", "aarch64")
"""As the kernel says them, of those that releases are made for."""
REFUSED = "22"
"""curl's exit code where the server said no (404, 403 ...); what it says of one archive need not hold for another."""

# HEAD is refused by stores that allow GET. A server that knows no ranges is left (63) once it says that more follows
# than the page that a redirect may have.
_TRY = """lacks() { # a checksum or -, a directory, its programs
    p=$1 d=$2; shift 2
    [ -f "$d/.installed" ] && read -r x <"$d/.installed" || return 0
    [ "$p" = - ] || [ "$p" = "$x" ] || return 0
    for b; do [ -e "$d/$b" ] || return 0; done
    return 1
}
over=
try() { # URLs
    [ -z "$over" ] || return 0
    if [ "$curl" ] && command -v curl >/dev/null; then
        for u; do
            e=$(curl -fsSL -r 0-0 --max-filesize 65536 --connect-timeout 5 --max-time 20 --retry 2 --retry-delay 1 \\
                --retry-max-time 6 -o /dev/null "$u" 2>&1)
            r=$?
            case $r in 0|63) continue;; 22) ;; *) over=1;; esac
            echo "$r $u ${e##*curl: }"
            return
        done
    elif [ "$port" ] && command -v bash >/dev/null && command -v timeout >/dev/null; then
        over=1
        e=$(timeout 5 bash -c ": 3<>/dev/tcp/$port" 2>&1) && return
        e=$(echo "$e" | head -n 1)
        echo "7 $at ${e##*: }"
    fi
}"""


def _port(url: str) -> str:
    """HOST/PORT as bash opens it."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        return ""
    return f"{parts.hostname}/{port}" if parts.hostname else ""


def _way(settings: Settings) -> str:
    """Shell: how this host gets out. `curl` is empty where it must not be asked, `port` where that says nothing."""
    proxy, at = settings.download_proxy, settings.download_proxy or settings.base_url
    if not (proxy and is_secret(proxy)):
        way = f"{fetch.by_proxy(proxy)}curl=1 at={shlex.quote(at)} port={shlex.quote(_port(at))}"
        if proxy:
            return way
        # The host may have a proxy of its own.
        return f'{way}\n[ -z "$https_proxy$HTTPS_PROXY$http_proxy$all_proxy$ALL_PROXY" ] || port='
    # With a password in it, it has no place here: anyone on the host can read this script while it runs.
    try:
        port = _port(read_secret(proxy, "download_proxy"))
    except SecretError:
        port = ""
    return f"curl= at=download_proxy port={shlex.quote(port)}"


def questions(member: Member) -> str:
    """The script by which the host tries what it lacks; empty where archives are uploaded to it."""
    settings = member.settings
    if settings.offline:
        return ""
    cases = []
    for machine in MACHINES:
        lines = []
        for archive, pin in fetch.wanted(member, machine):
            directory = f"{topology.INSTALL_DIR}/{archive.directory}"
            urls = [] if pin else [archive.sums_url(settings.base_url)]
            urls.append(archive.url(settings.base_url))
            lines.append(f"lacks {pin or '-'} {directory} {' '.join(archive.binaries)} && try {shlex.join(urls)}")
        cases.append("\n".join([f"{machine})", *lines, ";;"]))
    # As the look has it: uname is one more process.
    machine = "{ read -r m </proc/sys/kernel/arch; } || m=$(uname -m)"
    return "\n".join(["(", _TRY, _way(settings), machine, "case $m in", *cases, "esac", ")"])


ADVICE = (
    "a way to it for the host; or base_url = a mirror that it reaches; or download_proxy = the HTTP proxy that it is "
    "to use; or offline = True, which uploads from this machine"
)


def judge(view: View) -> Iterator[Finding]:
    """What cannot be fetched, by the host or by the control machine for it."""
    here: dict[tuple[str, str], str] = {}
    for member, host in view.members():
        settings, look = member.settings, view.looks.get(member.name)
        wanted = "an answer, as archives are to be fetched"
        for line in host.asked.get("source", ()):
            code, url, *said = line.split(" ", 2)
            advice = ADVICE
            if code == REFUSED:
                advice = "is the version right (versions), and has base_url its archive for this machine?"
            yield Finding(member.name, "source", f"{url}: {' '.join(said)}", wanted, advice)
        if not settings.offline or not look or look.machine not in MACHINES:
            continue
        for archive, pin in fetch.lacking(member, look):
            key = archive.name, settings.base_url
            if key not in here:
                here[key] = fetch.unavailable(archive, settings.base_url, pin)
            if here[key]:
                advice = "HTTPS_PROXY in the environment of this machine; or base_url = a mirror that it reaches"
                found = f"this machine, which is to upload: {here[key]}"
                yield Finding(member.name, "source", found, wanted, advice)
