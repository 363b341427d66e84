"""Keys of the lab: SSH keys, and the secrets that the deploys read on the control machine."""

from __future__ import annotations

import ctypes
import hashlib
import json
import secrets
import tempfile
from pathlib import Path

from tests.lab.plan import ALL, BOTS, Lab
from tests.lab.proc import run


def ensure_ssh(lab: Lab) -> None:
    """The user's key, one key for each host, and the known_hosts file that names them all."""
    _keygen(lab.ssh_key, f"lab {lab.id}")
    lines = []
    for host in ALL:
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
    """Name below secrets/ -> hash of what the lab put there."""
    try:
        return json.loads(_made(lab).read_text())
    except (OSError, ValueError):
        return {}


def ensure_secrets(lab: Lab) -> None:
    """Secrets of the site, made where the user has put none: S3 keys, one for each component, and the URLs of the sink,
    for people's alerts and as a dead man's switch, and those of chat bots with their key."""
    lab.secrets.mkdir(mode=0o700, exist_ok=True)
    ours = _ours(lab)
    urls = {"webhook_url": f"{lab.sink_url}/", "deadman_url": f"{lab.sink_url}/deadman"}
    urls |= {f"{vendor}_url": f"{lab.bots_url}{path}" for vendor, path in BOTS.items()}
    content = {**urls, "bot_sign": secrets.token_hex(16)}
    # Not at the top: it takes half a second, and most commands of the lab make no secrets.
    from prometheus_ha.deploys.lib.daemons import ADMIN, RIGHTS

    for name in (*RIGHTS, ADMIN):
        content[f"s3_{name}_access_key"] = secrets.token_hex(10).upper()
        content[f"s3_{name}_secret_key"] = secrets.token_urlsafe(30)
    for name, value in content.items():
        path = lab.secrets / name
        moved = name in urls and ours.get(name) == _digest(path)
        if path.exists() and not moved:
            continue
        path.touch(mode=0o600)
        path.write_text(value + "\n")
        ours[name] = _digest(path)
    _ensure_web(lab, ours)
    _made(lab).write_text(json.dumps(ours))


# --- TLS and a password (WEB=tls) -----------------------------------------------------------------


def tls_file(lab: Lab, name: str) -> Path:
    """A file of the lab's CA: `ca.crt`, `ca.key`, or a host's certificate and key, `<host>.pem`."""
    return lab.secrets / "tls" / name


def _ensure_web(lab: Lab, ours: dict[str, str]) -> None:
    """A CA, a certificate for each host's addresses as they are now, and a password with its hash."""

    def write(name: str, text: str) -> None:
        path = lab.secrets / name
        path.touch(mode=0o600)
        path.write_text(text)
        ours[name] = _digest(path)

    for name in ("web_password", "remote_write_password"):
        if not (lab.secrets / name).exists():
            password = secrets.token_urlsafe(20)
            write(name, password + "\n")
            write(f"{name}.bcrypt", bcrypt(password) + "\n")
    tls_file(lab, "").mkdir(mode=0o700, exist_ok=True)
    if not tls_file(lab, "ca.key").exists():
        key, certificate = make_ca(f"lab {lab.id}")
        write("tls/ca.key", key)
        write("tls/ca.crt", certificate)
    for host in ALL:
        path = tls_file(lab, f"{host}.pem")
        known = run("openssl", "x509", "-in", str(path), "-checkip", lab.address(host), check=False)
        if "does match" not in known:
            write(f"tls/{host}.pem", certificate_of(lab, host))


_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_ca(name: str) -> tuple[str, str]:
    """Key and certificate of a new CA."""
    with tempfile.TemporaryDirectory() as scratch:
        key, certificate = Path(scratch, "key"), Path(scratch, "crt")
        out = ("-keyout", str(key), "-out", str(certificate))
        run("openssl", "req", "-x509", *_EC, *out, "-days", "3650", "-subj", f"/CN={name}")
        return key.read_text(), certificate.read_text()


def certificate_of(lab: Lab, host: str, days: int = 365) -> str:
    """A new certificate and key of a host, in one file: so that one rename replaces both."""
    names = f"subjectAltName=IP:{lab.address(host)},IP:127.0.0.1,DNS:{host}"
    with tempfile.TemporaryDirectory() as scratch:
        key, request = Path(scratch, "key"), Path(scratch, "csr")
        extensions = Path(scratch, "extensions")
        extensions.write_text(f"{names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        out = ("-keyout", str(key), "-out", str(request))
        run("openssl", "req", "-new", *_EC, *out, "-subj", f"/CN={host}")
        ca = ("-CA", str(tls_file(lab, "ca.crt")), "-CAkey", str(tls_file(lab, "ca.key")))
        options = ("-in", str(request), *ca, "-days", str(days), "-extfile", str(extensions))
        return run("openssl", "x509", "-req", *options) + key.read_text()


def bcrypt(password: str) -> str:
    """A hash as web configurations have it, by the C library: this runs before there is a virtualenv."""
    library = ctypes.CDLL("libcrypt.so.1")
    for function in (library.crypt, library.crypt_gensalt):
        function.restype = ctypes.c_char_p
    salt = library.crypt_gensalt(b"$2b$", ctypes.c_ulong(8), None, 0)
    return library.crypt(password.encode(), salt).decode()


def secret(lab: Lab, name: str) -> str:
    return (lab.secrets / name).read_text().strip()


def remove_secrets(lab: Lab) -> None:
    """Remove the secrets that the lab made and nobody changed since."""
    for name, digest in _ours(lab).items():
        path = lab.secrets / name
        if path.exists() and _digest(path) == digest:
            path.unlink()
    for directory in (tls_file(lab, ""), lab.secrets):
        try:
            directory.rmdir()
        except OSError:
            pass  # the user keeps something there
