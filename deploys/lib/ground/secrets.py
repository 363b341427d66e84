"""Secrets are references, `secret:env:NAME` or `secret:file:PATH`, wherever a setting may hold one.

They are read on the control machine by `resolve` when a file is rendered, so that no setting, and so no
`debug-inventory`, ever holds one. What was read is taken out of everything the run prints: a checker on a host may
quote in its refusal what it could not parse.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase as fnmatch
from typing import Any
from urllib.parse import quote

from prometheus_ha.deploys.lib.ground import folder

REFERENCE = re.compile(r"secret:(env|file):(.+)")
_SECRET_KEY = re.compile(
    r"(.*_)?(password|passwd|passphrase|secret|secrets|token|credentials|api_key|routing_key"
    r"|service_key|user_key|encryption_key|secret_key|access_key|access_key_id|access_key_secret"
    r"|secret_id|private_key|account_key|storage_account_key|connection_string|service_account"
    r"|webhook_url|integration_url|slack_api_url)"
)
"""Keys of upstream's configurations whose value is a secret. Their `*_file` forms are not."""
_SECRET_BELOW = {
    **{"webhook_configs": {"url"}, "slack_configs": {"api_url"}},
    **{"tls_config": {"key"}, "tls_server_config": {"key"}},
}
"""Keys that are a secret only below another."""
USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s@]*:[^/\s@]*@")
_NAMED_BY_USER = {
    *("labels", "external_labels", "annotations", "set_labels"),
    *("basic_auth_users", "details", "custom_fields"),
}
"""Mappings whose keys the user chooses: `token` there is a label (or a user, with a hash)."""

_HEADERS = {"headers", "http_headers", "proxy_connect_header"}
"""Mappings of HTTP headers, in upstream's keys."""
_SECRET_HEADER = re.compile(r".*(authorization|cookie|api-?key|token|secret|password)", re.I)
"""Headers whose value is a secret."""
PRIVATE_KEY = "PRIVATE KEY-----"
"""What a private key in PEM has in it, wherever it is."""
_PLAIN_URL = re.compile(r"https?://(?P<host>[A-Za-z0-9.-]+)(:\d+)?(?P<path>/[^?#@]*)?")
"""A URL without user, query and fragment."""
_LAN_NAME = re.compile(r"[^.]+|.*\.(lan|local|internal|home\.arpa)", re.I)
"""A name that only a network of one's own knows."""
_RANDOM = re.compile(r"/(?=[^/]*\d)(?=[^/]*[A-Za-z])[^/]{16,}")
"""A part of a path that may be a token: long, with letters and digits."""

HOLDS_SECRETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("prometheus_config", "alertmanager_config", "rule_remote_write"), ()),
    **dict.fromkeys(("web_files", "bucket_keys", "prometheus_secret_files"), ()),
    **dict.fromkeys(
        ("alertmanager_secret_files", "rule_secret_files", "blackbox_secret_files", "blackbox_modules"), ()
    ),
    **dict.fromkeys(("store_index_cache", "frontend_cache"), ()),
    **dict.fromkeys(("alertmanager_webhook_url", "deadman_url", "download_proxy"), ()),
    "alert_channels": ("*.url", "*.sign"),
    "bucket_config": ("config",),
    "web_config": ("basic_auth_users",),
    "web_client": ("basic_auth",),
}
"""Setting -> keys below which a reference is resolved (none named: anywhere), in files that `config.file` and
`config.secret_files` make. In every other setting one is refused: what it holds is a command line, a unit, or a page
(rules, targets) that is everybody's to read, and would have the reference as text."""
_SHOWN = {"labels", "external_labels", "set_labels"}
"""Mappings whose values everybody sees who may query or gets an alert."""
_USED_ELSEWHERE = {"bucket_config": ("bucket", "directory")}
"""Keys whose values are in files of ours too, which hold no secrets: policies, units."""
_WITHIN = re.compile(r"secret:(env|file):\S", re.I)

SECRET_HELP = "secret:env:NAME or secret:file:PATH, or upstream's *_file key"


class SecretError(ValueError):
    """A secret reference that cannot be read. Names the reference, never a value."""

    def __init__(self, path: str, reference: str, reason: str):
        self.path, self.reference, self.reason = path, reference, reason
        super().__init__(f"{path}: {reference}: {reason}" if path else f"{reference}: {reason}")


def is_secret(value: Any) -> bool:
    """Whether `value` is a reference to a secret."""
    return isinstance(value, str) and value.startswith("secret:")


def read_secret(reference: str, path: str = "") -> str:
    """The value behind a reference; `path` names the setting in errors.

    A file's last line end is dropped. Raises SecretError where it is missing, empty or malformed.
    """
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise SecretError(path, "secret:...", "secret:env:NAME or secret:file:PATH is expected")
    kind, name = match.groups()
    if kind == "env":
        value = os.environ.get(name)
        if value is None:
            raise SecretError(path, reference, f"the environment has no {name}")
    else:
        try:
            value = (folder.of_site() / name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:  # of a path too
            reason = getattr(error, "strerror", None) or "it is no text"
            # Without `from`: the text of a decoding error holds what was read.
            raise SecretError(path, reference, f"cannot read the file: {reason}") from None
    if not value:
        raise SecretError(path, reference, "it is empty")
    if value != value.encode(errors="replace").decode():
        raise SecretError(path, reference, "it is no text (UTF-8)")
    _remember(value)
    return value


# --- Looking without them -------------------------------------------------------------------------

_lacks: dict[str, str] = {}
"""Stand-in -> the reference that could not be read."""
_STAND_IN = re.compile(r"lacking-secret-[0-9a-f]{16}")
_looks_only = False


def look_only(yes: bool) -> None:
    """This run changes no host: a secret that this machine lacks ends it no more, and what needs it is not compared."""
    global _looks_only
    _looks_only = yes


_reads_none = False


def read_none(yes: bool) -> None:
    """Secrets are not read at all: a stand-in takes the place of each, by which `named` finds it again."""
    global _reads_none
    _reads_none = yes


def named(text: str) -> str:
    """`text` with the references of secrets in the place of their stand-ins, as `<secret:file:NAME>`."""
    return _STAND_IN.sub(lambda found: f"<{_lacks.get(found[0], found[0])}>", text)


def looks_only() -> bool:
    """Whether the run may lack secrets, as it changes nothing."""
    return _looks_only


def _stand_in(reference: str) -> str:
    # As a key or a password may be: it has to pass for one, in YAML, in JSON, and with whoever looks at its length.
    text = f"lacking-secret-{hashlib.sha256(reference.encode()).hexdigest()[:16]}"
    _lacks[text] = reference
    return text


def lacking(text: str) -> list[str]:
    """The references of the secrets that a text should have, and this machine lacks."""
    return sorted({_lacks[one] for one in _STAND_IN.findall(text) if one in _lacks}) if _lacks else []


# --- Output ---------------------------------------------------------------------------------------

HIDDEN = "<secret>"
"""What stands in the place of a secret, as upstream has it."""
SHORTEST = 6
"""Characters. A shorter secret would be found in ordinary words, and is no secret."""
_seen: list[str] = []
"""The longest first: a secret may be a part of another."""


def _remember(value: str) -> None:
    """Also each line of a key, and the forms in which a message may quote it."""
    if value in _seen:
        return
    for text in {value, *value.splitlines()}:
        forms = (text, json.dumps(text)[1:-1], quote(text, safe=""), repr(text)[1:-1])
        new = {form for form in forms if len(form) >= SHORTEST}.difference(_seen)
        if new:
            _seen[:] = sorted([*_seen, *new], key=len, reverse=True)


def redact(text: str) -> str:
    """`text` without the secrets that this process has read."""
    for value in _seen:
        text = text.replace(value, HIDDEN)
    return text


class Redacting:
    """A text stream like `stream` that lets no secret through. It is given whole lines, as click does."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def resolve(value: Any, path: str = "", strict: bool = False) -> Any:
    """A deep copy of `value` with every secret reference replaced by what it refers to.

    Call it when a file is rendered, and keep the result out of data, names and logs. In a run that only looks, a
    stand-in takes the place of one that cannot be read (`lacking` finds it), unless `strict`.
    Raises SecretError, naming the setting by `path` and the reference.
    """
    if isinstance(value, Mapping):
        return {k: resolve(v, f"{path}.{k}".lstrip("."), strict) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(v, f"{path}[{i}]", strict) for i, v in enumerate(value)]
    if not is_secret(value):
        return value
    if _reads_none:
        return _stand_in(value)
    try:
        return read_secret(value, path)
    except SecretError:
        if strict or not _looks_only:
            raise
        return _stand_in(value)


def misplaced(path: tuple[str, ...], value: Any) -> tuple[str, str] | None:
    """What was found and what is allowed where `value`, at `path` of a setting, has a reference that nothing would
    resolve; None where there is none, or where it is in its place. Never shows the reference."""
    setting, *inner = path
    keys = [part for part in inner if not part.startswith("[")]
    if any(_WITHIN.search(key) for key in keys):
        return "a secret reference as a key", "a key; a reference is the whole of a value"
    if not is_secret(value):
        within = isinstance(value, str) and _WITHIN.search(value)
        allowed = "the reference alone, as the whole value, in lower case: in other text it stays text"
        return ("a secret reference within other text", allowed) if within else None
    if setting.endswith("_flags"):
        return "a secret", "a flag with a file: anyone on the host can read a command line"
    if not REFERENCE.fullmatch(value):
        return "a malformed secret reference", "secret:env:NAME or secret:file:PATH"
    below = HOLDS_SECRETS.get(setting)
    where = ".".join(keys)
    if below is None or (below and not any(fnmatch(where, one) or fnmatch(where, f"{one}.*") for one in below)):
        return "a secret", "the value itself: it is shown to others than the daemon that reads it"
    if _SHOWN & set(keys[:-1]):
        return "a secret in a label", "the value itself: labels are shown to everybody"
    if keys and keys[-1] in _USED_ELSEWHERE.get(setting, ()):
        return "a secret", "the value itself: files that hold no secrets have it too"
    if keys and not setting.endswith("_files") and re.fullmatch(r"(.*_)?files?", keys[-1]):
        return (
            "a secret as the name of a file",
            "the name; or the key without _file, and this value",
        )
    return None


def for_host(value: Any, host: str) -> Any:
    """`value` with `{host}` in secret references replaced by the name of the host."""
    if isinstance(value, Mapping):
        return {k: for_host(v, host) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [for_host(v, host) for v in value]
    return value.replace("{host}", host) if is_secret(value) else value


def leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, f"[{index}]"))
    else:
        yield path, value


def dotted(path: Iterable[str]) -> str:
    return ".".join(path).replace(".[", "[")


def is_secret_place(path: tuple[str, ...]) -> bool:
    """Whether the value at `path` is a secret by the names of its keys."""
    keys = [part for part in path if not part.startswith("[")]
    if _NAMED_BY_USER & set(keys[:-1]):
        return False
    if _SECRET_KEY.fullmatch(keys[-1]):
        return True
    if _HEADERS & set(keys[:-1]) and any(_SECRET_HEADER.fullmatch(key) for key in keys):
        return keys[-1] != "files"
    return any(keys[-1] in _SECRET_BELOW.get(key, ()) for key in keys[:-1])


def is_plain_webhook(path: tuple[str, ...], value: Any) -> bool:
    """Whether `value` is a receiver's URL in a network of one's own, with nothing in it that could be a credential."""
    match = "webhook_configs" in path and path[-1] == "url" and _PLAIN_URL.fullmatch(str(value))
    if not match or _RANDOM.search(match["path"] or ""):
        return False
    try:
        return ipaddress.ip_address(match["host"]).is_private
    except ValueError:
        return _LAN_NAME.fullmatch(match["host"]) is not None
