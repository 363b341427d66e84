"""What runs leave of themselves in the textfile directory of each host, as metrics of its node_exporter: alerts and
dashboards know then when a host was last looked at, whether the last run that changed it came to its end, what it
brought, and until when the certificates hold.

A look writes one file, within its own command, and the time of that file is all that it says: it costs a host no
program. Whoever changes the host writes the other one. A host without the directory, where node_exporter is still to
come, is left alone.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from cryptography import x509

from prometheus_ha.deploys.lib.daemons.exporters import (
    CERTIFICATE_END,
    DEPLOY_FILE,
    DEPLOY_INFO,
    DEPLOY_SUCCESS,
    DEPLOYED,
    LOOK_FILE,
    TEXTFILE_DIR,
)
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.secrets import SecretError, resolve
from prometheus_ha.deploys.lib.site.members import Member

SECTION = "deploy"
"""Section of the look that says how the last run that changed the host ended."""


_LOOKED = f"[ ! -d {TEXTFILE_DIR} ] || (umask 022; echo '# Written by each run: its time is what counts.' >{LOOK_FILE})"


def look_script() -> str:
    """Leaves that the host was looked at, and prints how the last run that changed it ended."""
    return f'{_LOOKED}\n[ ! -f {DEPLOY_FILE} ] || {{ read -r line <{DEPLOY_FILE}; echo "$line"; }}'


def failed(lines: list[str]) -> bool:
    """Whether the last run that changed the host did not come to its end, by what `look_script` printed."""
    return f"{DEPLOY_SUCCESS} 0" in lines


def script(member: Member, success: bool) -> str:
    """Leaves how a run ended on a host, or, while it is at work, that it has not."""
    text = "\n".join(
        [f"{DEPLOY_SUCCESS} {int(success)}", f"{DEPLOY_INFO}{{{_release(member)}}} 1", *_certificates(member)]
    )
    # Which release is installed, the links say: a run of one role brought nothing of the others.
    links = "\n".join(
        f'[ ! -L {info.path} ] || printf \'{DEPLOYED}{{daemon="{info.job_name}",version="%s"}} 1\\n\' '
        f'"$(readlink {info.path} | sed {_VERSION})"'
        for info in member.daemons
        if info.told_apart
    )
    written = f"(umask 022; cat <<'END_OF_METRICS'\n{text}\nEND_OF_METRICS\n{links}\n)"
    # A first look had no directory yet. Whole or not at all: node_exporter may read it at any time.
    part = f"{DEPLOY_FILE}.$$"
    return f"{_LOOKED}\n[ ! -d {TEXTFILE_DIR} ] || {{ {written} >{part} && mv -f {part} {DEPLOY_FILE}; }}"


_VERSION = f"'s|^{topology.INSTALL_DIR}/[^/]*-\\([0-9][^/]*\\)\\.linux-.*|\\1|'"


def _release(member: Member) -> str:
    try:
        package = version("pyinfra-prometheus-ha")
    except PackageNotFoundError:  # from a checkout
        package = "checkout"
    return f"version={json.dumps(package)},release={json.dumps(member.settings.release)}"


def _certificates(member: Member) -> list[str]:
    """When each certificate of `web_files` ends: of a chain, the first one that does."""
    found = []
    for name, text in sorted(member.settings.web_files.items()):
        with suppress(SecretError, ValueError):
            pem = resolve(text, f"web_files.{name}")
            if re.search("-----BEGIN (TRUSTED )?CERTIFICATE-----", pem):
                ends = min(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(pem.encode()))
                path = json.dumps(f"{topology.WEB_DIR}/{name}")
                found.append(f"{CERTIFICATE_END}{{path={path}}} {ends.timestamp():.0f}")
    return found
