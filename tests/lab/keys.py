"""Keys of the lab: SSH keys, and the secrets that the deploys read on the control machine."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path

from tests.lab.plan import HOSTS, Lab
from tests.lab.proc import run


def ensure_ssh(lab: Lab) -> None:
    """The user's key, one key for each host, and the known_hosts file that names them all."""
    _keygen(lab.ssh_key, f"lab {lab.id}")
    lines = []
    for host in HOSTS:
        key = host_key(lab, host)
        _keygen(key, host)
        kind, public = Path(f"{key}.pub").read_text().split()[:2]
        for address in dict.fromkeys((lab.management_address(host), lab.address(host))):
            lines.append(f"{address} {kind} {public}\n")
    known = "".join(lines)
    if not lab.known_hosts.exists() or lab.known_hosts.read_text() != known:
        lab.known_hosts.write_text(known)


def host_key(lab: Lab, host: str) -> Path:
    return lab.dir / "keys" / host


def _keygen(path: Path, comment: str) -> None:
    if not Path(f"{path}.pub").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def _made(lab: Lab) -> Path:
    return lab.dir / "secrets.json"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _ours(lab: Lab) -> dict[str, str]:
    try:
        return json.loads(_made(lab).read_text())
    except (OSError, ValueError):
        return {}


def ensure_secrets(lab: Lab) -> None:
    """Secrets of the site, made where the user has put none: S3 keys, and the webhook's URL."""
    lab.secrets.mkdir(mode=0o700, exist_ok=True)
    ours = _ours(lab)
    content = {
        "s3_access_key": secrets.token_hex(10).upper(),
        "s3_secret_key": secrets.token_urlsafe(30),
        "webhook_url": lab.sink_url + "/",
    }
    for name, value in content.items():
        path = lab.secrets / name
        moved = name == "webhook_url" and ours.get(name) == _digest(path)
        if path.exists() and not moved:
            continue
        path.touch(mode=0o600)
        path.write_text(value + "\n")
        ours[name] = _digest(path)
    _made(lab).write_text(json.dumps(ours))


def secret(lab: Lab, name: str) -> str:
    return (lab.secrets / name).read_text().strip()


def remove_secrets(lab: Lab) -> None:
    """Remove the secrets that the lab made and nobody changed since."""
    for name, digest in _ours(lab).items():
        path = lab.secrets / name
        if path.exists() and _digest(path) == digest:
            path.unlink()
    try:
        lab.secrets.rmdir()
    except OSError:
        pass  # the user keeps something there
