"""What `web_config`, `web_files` and `web_client` may not be: servers and clients agree before either is touched."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding, host_finding, nearest
from prometheus_ha.deploys.lib.ground.secrets import SecretError, is_secret, resolve
from prometheus_ha.deploys.lib.site import releases, web
from prometheus_ha.deploys.lib.site.members import Member, Site

if TYPE_CHECKING:  # it takes a tenth of a second, and most sites have no certificate
    from cryptography.x509 import Certificate

Keys = dict[str, dict[str, type] | None]

SERVER: Keys = {
    "tls_server_config": {
        **dict.fromkeys(("cert_file", "key_file", "client_auth_type", "client_ca_file"), str),
        **dict.fromkeys(("client_allowed_sans", "cipher_suites", "curve_preferences"), list),
        **dict.fromkeys(("min_version", "max_version"), str),
        "prefer_server_cipher_suites": bool,
    },
    "basic_auth_users": None,
    "http_server_config": {"http2": bool, "headers": dict},
    "rate_limit": {"interval": str, "burst": int},
}
"""Part of `web_config` -> its keys and their types; None where the user names them. Without upstream's `cert`, `key`
and `client_ca`: files can be replaced by themselves."""
CLIENT: Keys = {
    "basic_auth": {"username": str, "password": str},
    "tls_config": {
        **dict.fromkeys(("ca_file", "cert_file", "key_file", "server_name"), str),
        "insecure_skip_verify": bool,
    },
}
_NAMES = {str: "text", bool: "true or false", list: "a list", dict: "a mapping", int: "a number"}
CLIENT_AUTH = (
    "NoClientCert",
    "RequestClientCert",
    "VerifyClientCertIfGiven",
    *web.ASKS_CERTIFICATE,
)

_HASH = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")
_EXPIRES_SOON = timedelta(days=14)


def _unknown(member: Member, setting: str, keys: Keys) -> Iterator[Finding]:
    value = getattr(member.settings, setting) or {}
    for part, content in value.items():
        if part not in keys:
            near = nearest(part, keys)
            allowed = ", ".join(keys) + (f" (did you mean {near}?)" if near else "")
            yield host_finding(member, f"{setting}.{part}", "an unknown key", allowed)
            continue
        known = keys[part]
        if known is None:
            continue
        for key, inner in content.items():
            if key in known:
                if type(inner) is not known[key]:
                    found = f"a {type(inner).__name__}"
                    yield host_finding(member, f"{setting}.{part}.{key}", found, _NAMES[known[key]])
            else:
                near = nearest(key, known)
                allowed = ", ".join(known) + (f" (did you mean {near}?)" if near else "")
                yield host_finding(member, f"{setting}.{part}.{key}", "an unknown key", allowed)


def _files(member: Member, setting: str, part: str) -> Iterator[Finding]:
    for key, name in ((getattr(member.settings, setting) or {}).get(part) or {}).items():
        if not key.endswith("_file"):
            continue
        if not isinstance(name, str) or not (name.startswith("/") or name in member.settings.web_files):
            allowed = "a name in web_files, or the absolute path of a file on the host"
            yield host_finding(member, f"{setting}.{part}.{key}", repr(name), allowed)


def check_server(site: Site, member: Member) -> Iterator[Finding]:
    """Keys, files and hashes of `web_config`, and whether the releases of the host know them."""
    settings, finding = member.settings, partial(host_finding, member)
    yield from _unknown(member, "web_config", SERVER)
    yield from _files(member, "web_config", "tls_server_config")
    config = settings.web_config or {}
    given = config.get("tls_server_config", {})
    for key in ("cert_file", "key_file") if "tls_server_config" in config else ():
        if key not in given:
            yield finding(f"web_config.tls_server_config.{key}", "nothing", "a name in web_files")
    policy = given.get("client_auth_type", "NoClientCert")
    key = "web_config.tls_server_config.client_auth_type"
    if policy not in CLIENT_AUTH:
        yield finding(key, repr(policy), ", ".join(CLIENT_AUTH))
    elif ("client_ca_file" in given) != ("Verify" in policy):
        allowed = "a policy that verifies (RequireAndVerifyClientCert) and client_ca_file, or neither"
        yield finding(key, policy, allowed)
    for user, digest in config.get("basic_auth_users", {}).items():
        if not is_secret(digest) and not _HASH.fullmatch(str(digest)):
            allowed = "a bcrypt hash, as htpasswd -nBC 10 prints it, or a secret reference to one"
            yield finding(f"web_config.basic_auth_users.{user}", "no bcrypt hash (not shown)", allowed)
    infos = [DAEMONS[name] for name in member.components]
    for product in dict.fromkeys(info.product for info in infos if info.web):
        for dotted, since in product.web_keys.items():
            part, _, key = dotted.partition(".")
            if part not in config or (key and key not in config[part]):
                continue
            try:
                version = settings.version(product)
            except ValueError:
                continue  # reported as a wrong version
            if not releases.at_least(version, since):
                found = f"a key that {product.name} {version} does not know"
                yield finding(f"web_config.{dotted}", found, f"{product.name} {since} and newer")


def check_clients(site: Site) -> Iterator[Finding]:
    """`web_client`: one for the whole site, and enough for everything that its servers ask for."""
    first = next(iter(site.hosts.values()))
    for member in site.hosts.values():
        settings, finding = member.settings, partial(host_finding, member)
        client = settings.web_client
        yield from _unknown(member, "web_client", CLIENT)
        yield from _files(member, "web_client", "tls_config")
        if client != first.settings.web_client:
            allowed = "the same on all hosts: each of them asks the others"
            yield finding("web_client", f"another than on {first.name}", allowed)
        given, user = client.get("tls_config", {}), client.get("basic_auth", {})
        if "basic_auth" in client and set(user) != {"username", "password"}:
            yield finding("web_client.basic_auth", ", ".join(user) or "nothing", "username, password")
        if ("cert_file" in given) != ("key_file" in given):
            yield finding("web_client.tls_config", "one of them", "both cert_file and key_file")
        if web.tls(settings) and not ("ca_file" in given or given.get("insecure_skip_verify")):
            allowed = "the CA by which our own clients know the site's certificates"
            yield finding("web_client.tls_config.ca_file", "nothing, while web_config has TLS", allowed)
        if web.asks_certificate(settings) and "cert_file" not in given:
            allowed = "the certificate of our own clients, for which web_config asks"
            yield finding("web_client.tls_config.cert_file", "nothing", allowed)
        users = (settings.web_config or {}).get("basic_auth_users") or {}
        if users and user.get("username") not in users:
            found = repr(user["username"]) if "username" in user else "nothing"
            allowed = f"one of web_config.basic_auth_users: {', '.join(users)}"
            yield finding("web_client.basic_auth.username", found, allowed)


# --- With the secrets at hand ---------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _fits(password: str, digest: str) -> bool:
    import bcrypt  # comes with paramiko

    try:
        return bcrypt.checkpw(password.encode()[:72], digest.encode())
    except ValueError:
        return False


def check_password(site: Site, member: Member) -> Iterator[Finding]:
    """The password of `web_client` is the one whose hash `web_config` has."""
    user = member.settings.web_client.get("basic_auth", {})
    users = (member.settings.web_config or {}).get("basic_auth_users") or {}
    try:
        name, password = user.get("username"), resolve(user.get("password"), strict=True)
        digest = resolve(users.get(name), strict=True)
    except SecretError:
        return  # reported as one that cannot be read
    if isinstance(password, str) and isinstance(digest, str) and not _fits(password, digest):
        found = f"another password than the hash of {name} in web_config.basic_auth_users is made of"
        allowed = "the password of that hash: the site would not answer to its own clients"
        yield host_finding(member, "web_client.basic_auth.password", found, allowed)


def check_certificate(site: Site, member: Member) -> Iterator[Finding]:
    """The host's certificate: of its key, in force, for its address, and from a CA that our own clients know."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    given = (member.settings.web_config or {}).get("tls_server_config") or {}
    client = member.settings.web_client.get("tls_config", {})
    key = "web_config.tls_server_config.cert_file"
    finding = partial(host_finding, member)
    try:
        texts = {
            name: resolve(member.settings.web_files[file], strict=True)
            for name, file in (
                *((name, given.get(name)) for name in ("cert_file", "key_file")),
                ("ca_file", client.get("ca_file")),
            )
            if file in member.settings.web_files
        }
    except SecretError:
        return
    if "cert_file" not in texts:
        return
    try:
        chain = x509.load_pem_x509_certificates(texts["cert_file"].encode())
        cas = x509.load_pem_x509_certificates(texts["ca_file"].encode()) if "ca_file" in texts else []
        private = re.search(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
            texts.get("key_file", ""),
            re.S,
        )
        loaded = serialization.load_pem_private_key(private[0].encode(), None) if private else None
    except (ValueError, TypeError) as error:
        # Without the error's text, which could quote what was read.
        kind = type(error).__name__
        yield finding(key, f"a certificate, key or CA that cannot be read ({kind})", "PEM")
        return
    leaf = chain[0]
    if "key_file" in texts and (loaded is None or _public(loaded.public_key()) != _public(leaf.public_key())):
        yield finding("web_config.tls_server_config.key_file", "another key", "the certificate's own")
    now = datetime.now(UTC)
    ends = leaf.not_valid_after_utc
    if not leaf.not_valid_before_utc <= now <= ends:
        yield finding(key, f"a certificate in force until {ends:%Y-%m-%d}", "one that is in force")
    elif ends - now < _EXPIRES_SOON:
        found = f"a certificate that ends on {ends:%Y-%m-%d}"
        yield finding(key, found, "one for more than two weeks", "warn")
    if client.get("insecure_skip_verify"):
        return
    address = str(client.get("server_name") or member.address)
    if not _names(leaf, address):
        allowed = f"one whose subject alternative names hold {address}, as clients ask for it"
        yield finding(key, "a certificate for other names", allowed)
    if cas and not _issued(chain, cas):
        yield finding(key, "a certificate of another CA", "one that web_client.tls_config.ca_file issued")


def _public(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    return key.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)


def _names(leaf: Certificate, address: str) -> bool:
    """Whether a certificate is for `address`: an IP address, or a name (also by a wildcard)."""
    from cryptography import x509

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    found = topology.ip(address)
    if found is not None:
        return found in names.get_values_for_type(x509.IPAddress)
    dns = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    wanted = address.lower().rstrip(".")
    return wanted in dns or f"*.{wanted.partition('.')[2]}" in dns


def _issued(chain: list[Certificate], cas: list[Certificate]) -> bool:
    """Whether the first certificate leads to one of `cas`, by way of the others in its file."""
    current = chain[0]
    for _ in chain:
        if current in cas or any(_by(current, ca) for ca in cas):
            return True
        current = next((c for c in chain[1:] if c != current and _by(current, c)), current)
    return False


def _by(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
