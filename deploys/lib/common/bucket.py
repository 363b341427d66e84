"""The bucket: what each component may do in it, with which key, and whether that key can: tried before a unit starts.

Each component has a key of its own (setting `bucket_keys`), in a file that its unit alone can read. What is tried is
what the component will do, and no more. It is tried by the host itself, from where the daemon will ask, with curl and
presigned URLs, which are good for minutes: the key itself is in no command line and in no other program's hands.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from prometheus_ha.deploys.lib.daemons import ADMIN, DAEMONS, RIGHTS
from prometheus_ha.deploys.lib.daemons.declare import DELETE, LIST, READ, WRITE
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.deploys.lib.site.members import Member
from prometheus_ha.deploys.lib.site.settings import account_of, become

# Not SeaweedFS' own actions: of those, Write deletes as well.
_ACTIONS = {
    LIST: ("s3:ListBucket", "s3:GetBucketLocation"),
    READ: ("s3:GetObject",),
    WRITE: ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
    DELETE: ("s3:DeleteObject",),
}

VALID_SECONDS = 900
"""How long a presigned URL is good for: long enough for a host that is slow, and a clock that is off."""


def config_of(member: Member, component: str) -> dict[str, Any] | None:
    """The object store's configuration for `component`: `bucket_config` with the component's own keys in it, secrets as
    references. None where nothing is stored."""
    common = member.settings.bucket_config
    if not common:
        return None
    own = member.settings.bucket_keys.get(component, {})
    return {**common, "config": {**common["config"], **own}}


def kind(member: Member) -> str:
    """The provider in upper case, as S3 or FILESYSTEM; empty where nothing is stored."""
    return str((member.settings.bucket_config or {}).get("type", "")).upper()


def identity(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells one bucket from another, whoever asks for it."""
    inner = config["config"]
    names = ("endpoint", "bucket", "container", "storage_account", "directory")
    where = [str(inner.get(name, "")) for name in names]
    return (str(config["type"]).upper(), *where, str(config.get("prefix", "")))


def directory(member: Member) -> str | None:
    """The directory that is the bucket; None where it is none."""
    config = member.settings.bucket_config
    if not config or kind(member) != "FILESYSTEM":
        return None
    return str(config["config"].get("directory", ""))


# --- An object store of ours --------------------------------------------------------------------------


def policy(member: Member, actions: Sequence[str]) -> dict[str, Any]:
    """An S3 policy: these actions in the site's bucket, and nothing else anywhere."""
    name = (member.settings.bucket_config or {})["config"]["bucket"]
    resources = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resources}
    return {"Version": "2012-10-17", "Statement": [statement]}


def policies(member: Member) -> dict[str, dict[str, Any]]:
    """Component -> the S3 policy of its key: what it does, and no more."""
    return {
        name: policy(member, [action for right in rights for action in _ACTIONS[right]])
        for name, rights in RIGHTS.items()
    }


def pair(member: Member, name: str) -> tuple[str, str] | None:
    """Access key and secret of a name in `bucket_keys`; None where it has none."""
    given = member.settings.bucket_keys.get(name)
    if not given:
        return None
    keys = resolve(given, f"bucket_keys.{name}")
    return keys["access_key"], keys["secret_key"]


def pairs(member: Member) -> dict[str, tuple[str, str]]:
    """Name in `bucket_keys` -> its access key and secret, of those that have one.

    Raises ValueError where two have the same access key: a server would take them for one.
    """
    found = {name: keys for name in (*RIGHTS, ADMIN) if (keys := pair(member, name))}
    if len({access for access, _ in found.values()}) < len(found):
        raise ValueError("bucket_keys: two components have the same access_key")
    return found


# --- Trying a key ---------------------------------------------------------------------------------


def trial(member: Member, component: str) -> str:
    """A shell script for the host that fails, and says why, where the component's key cannot do what it is for.

    Of a provider that we cannot sign requests for, listing alone is tried, with the component's own configuration.
    """
    config = resolve(config_of(member, component), "bucket_config")
    if path := directory(member):
        return _filesystem(path, component, *account_of(DAEMONS[component], member.settings))
    inner = config["config"]
    if kind(member) != "S3" or not _signs(inner):
        thanos = member.own(component)
        return f"{thanos.path} tools bucket ls --objstore.config-file={thanos.bucket} >/dev/null"
    admin = resolve(member.settings.bucket_keys.get(ADMIN, {}), f"bucket_keys.{ADMIN}")
    make = Signer({**config, "config": {**inner, **admin}}) if _signs(admin) else None
    return _s3(Signer(config), make, component, member.name)


def _signs(inner: Mapping[str, Any]) -> bool:
    """Whether these are keys that we can sign with: not a role of the machine, nor signatures of the old kind."""
    return bool(inner.get("access_key") and inner.get("secret_key") and not inner.get("signature_version2"))


def _filesystem(path: str, component: str, account: str, group: str) -> str:
    user = become(account, group)
    where = shlex.quote(path)
    lines = [f"[ -d {where} ] || {{ echo 'bucket: there is no directory {path}' >&2; exit 1; }}"]
    wanted = "-w" if WRITE in RIGHTS[component] else "-r"
    lines.append(
        f"cd / && {user} test {wanted} {where} || {{ echo 'bucket: {account} may not "
        f"{'write to' if wanted == '-w' else 'read'} {path}' >&2; exit 1; }}"
    )
    return "\n".join(lines)


class Signer:
    """Presigned URLs of one bucket for one key."""

    def __init__(self, config: Mapping[str, Any]):
        from botocore.credentials import Credentials

        inner = config["config"]
        self.bucket = str(inner.get("bucket", ""))
        self.endpoint = str(inner.get("endpoint", ""))
        self.prefix = str(config.get("prefix") or "").strip("/")
        self._region = str(inner.get("region") or "us-east-1")
        self._scheme = "http" if inner.get("insecure") else "https"
        self._key = Credentials(str(inner["access_key"]), str(inner["secret_key"]), inner.get("session_token") or None)
        # As upstream's client: the bucket in the host's name for AWS, in the path for all others.
        style = inner.get("bucket_lookup_type", "auto")
        virtual = style == "virtual-hosted" or (style == "auto" and self.endpoint.endswith(".amazonaws.com"))
        self._host = f"{self.bucket}.{self.endpoint}" if virtual else self.endpoint
        self._path = "/" if virtual else f"/{quote(self.bucket)}"
        tls = (inner.get("http_config") or {}).get("tls_config") or {}
        self.insecure = bool(
            tls.get("insecure_skip_verify") or (inner.get("http_config") or {}).get("insecure_skip_verify")
        )
        self.ca_file = tls.get("ca_file")

    def url(self, method: str, name: str = "", query: str = "") -> str:
        # Not above: runs that change no key need not wait for it.
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        path = self._path
        if name:
            path = f"{path.rstrip('/')}/{quote('/'.join(filter(None, (self.prefix, name))))}"
        request = AWSRequest(method, f"{self._scheme}://{self._host}{path}{f'?{query}' if query else ''}")
        signature = S3SigV4QueryAuth(self._key, "s3", self._region, expires=VALID_SECONDS)
        signature.add_auth(request)
        return request.url


def _s3(signer: Signer, make: Signer | None, component: str, host: str) -> str:
    # Upstream takes nothing below debug/ for a block.
    ours = f"debug/monitoring/{host}-{component}"
    rights = RIGHTS[component]
    calls = [(LIST, "GET", signer.url("GET", query="list-type=2&max-keys=1"), "200")]
    if WRITE in rights:
        calls.append((WRITE, "PUT", signer.url("PUT", ours), "200"))
    # Without an object of its own it asks for one that is not there: who may not read is told so.
    calls.append((READ, "GET", signer.url("GET", ours), "200" if WRITE in rights else "200 404:NoSuchKey"))
    if DELETE in rights:
        calls.append((DELETE, "DELETE", signer.url("DELETE", ours), "204 200"))
    bucket, endpoint = shlex.quote(signer.bucket), shlex.quote(signer.endpoint)
    options = ["-q", "-sS", "-g", "--noproxy", "'*'", "--connect-timeout", "10", "--max-time", "30"]
    options += ["-k"] if signer.insecure else []
    options += ["--cacert", shlex.quote(signer.ca_file)] if signer.ca_file else []
    lines = [
        f"bucket={bucket} endpoint={endpoint} component={component}",
        'fail() { echo "bucket: $1" >&2; exit 1; }',
        # method, URL on stdin; sets `answer` to `STATUS:CODE`, as in 403:AccessDenied
        "ask() {",
        f"  said=$(curl {' '.join(options)} -X \"$1\" -K - -w '\\n%{{http_code}}' 2>&1) ||"
        ' fail "$endpoint does not answer: $(echo "$said" | tail -n 1). Is it the right endpoint,'
        ' and http or https (insecure) as it speaks?"',
        "  code=$(echo \"$said\" | sed -n 's|.*<Code>\\([A-Za-z]*\\)</Code>.*|\\1|p' | head -n 1)",
        '  answer="$(echo "$said" | tail -n 1):$code"',
        "}",
    ]
    if make:
        lines += [
            "make() {",
            f"  {_request(make.url('PUT'), 'PUT')}",
            '  case $answer in 200:*|409:BucketAlready*) ;; *) fail "the admin key cannot make the '
            'bucket $bucket at $endpoint ($answer)";; esac',
            "}",
        ]
    for right, method, url, wanted in calls:
        lines += [_request(url, method)]
        if right == LIST and make:
            lines += [f'if [ "$answer" = 404:NoSuchBucket ]; then make\n{_request(url, method)}\nfi']
        place = "the bucket $bucket" if right == LIST else "in the bucket $bucket"
        # To a key that is for another bucket alone it is not said that this one is missing.
        perhaps = ", or there is none of that name" if right == LIST else ""
        good = "|".join(w if ":" in w else f"{w}:*" for w in wanted.split())
        lines += [
            "case $answer in",
            f"{good}) ;;",
            '404:NoSuchBucket) fail "there is no bucket $bucket at $endpoint. Make it, or give '
            'bucket_keys.admin a key that may";;',
            '403:RequestTimeTooSkewed) fail "the clock of this machine or of $endpoint is off";;',
            "403:InvalidAccessKeyId|403:SignatureDoesNotMatch|401:*)"
            ' fail "$endpoint does not know the key of $component, or its secret is another '
            '($answer)";;',
            f'403:*) fail "the key of $component may not {right} {place} ($answer){perhaps}";;',
            f'*) fail "$endpoint answers $answer to {right}: is it an S3 server?";;',
            "esac",
        ]
    return "\n".join(lines)


def _request(url: str, method: str) -> str:
    """The URL goes in by stdin: an argument list is everybody's to read."""
    return f"ask {method} <<'URL'\nurl = \"{url}\"\nURL"
