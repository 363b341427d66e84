"""SeaweedFS (docs/storage.md): the object store, where it is not the user's own. One host, and no redundancy.

Master, volume server, filer and S3 gateway are one process. Only the S3 port and that of the metrics are for others:
the ports in between know no keys, and listen on loopback. The gateway's gRPC port cannot, as it listens where S3 does,
and lets everybody make himself a key; so it asks for a certificate that nobody has.

Keys are those of `bucket_keys`, and each may do what its component does (`bucket.RIGHTS`). Another key, or another
right, is a reload; a flag or a release is a restart, and an outage of the bucket that uploads wait out. Back up means:
S3 answers, and a volume server is there to store.
"""

import hashlib
import json
from datetime import datetime

from cryptography import x509  # comes with paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploys import base, preflight, software, web
from deploys.lib import bucket, gates, rollout, topology
from deploys.lib.component import Component, Directory, File
from deploys.lib.secrets import resolve
from deploys.lib.service import daemons, data_directories
from deploys.lib.site import Member, Site
from facts.look import State

COMPONENT = "seaweedfs"

# Policies of S3's, not SeaweedFS' own actions: of those, Write deletes as well.
_ACTIONS = {
    bucket.LIST: ("s3:ListBucket", "s3:GetBucketLocation"),
    bucket.READ: ("s3:GetObject",),
    bucket.WRITE: ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
    bucket.DELETE: ("s3:DeleteObject",),
}
_MAY = {
    **{name: [a for r in rights for a in _ACTIONS[r]] for name, rights in bucket.RIGHTS.items()},
    bucket.ADMIN: ["s3:CreateBucket"],
}
"""Name in `bucket_keys` -> what its key may do."""

_SECURITY = f"""\
[grpc]
ca = "{topology.SEAWEEDFS_PEM}"
[grpc.s3]
cert = "{topology.SEAWEEDFS_PEM}"
key = "{topology.SEAWEEDFS_PEM}"
"""
"""Who would speak gRPC to the S3 gateway has to have a certificate of this authority: which signs none."""


def identities(member: Member) -> dict:
    """The keys as SeaweedFS reads them. Every name is listed, with a key or without: a reload forgets no identity that
    merely left the file."""
    name = member.settings.bucket_config["config"]["bucket"]
    resources = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
    policies, found = [], []
    for component, actions in _MAY.items():
        statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        policies.append({"name": component, "content": json.dumps(document)})
        pairs = [{"accessKey": a, "secretKey": s} for a, s in _keys(member, component)]
        found.append({"name": component, "credentials": pairs, "policyNames": [component]})
    used = [pair["accessKey"] for identity in found for pair in identity["credentials"]]
    if len(set(used)) < len(used):
        raise ValueError("bucket_keys: two components have the same access_key")
    return {"identities": found, "policies": policies}


def _keys(member: Member, component: str) -> list[tuple[str, str]]:
    """The key of a component: one pair or none."""
    given = member.settings.bucket_keys.get(component)
    if not given:
        return []
    pair = resolve(given, f"bucket_keys.{component}")
    if any("${" in value for value in pair.values()):
        raise ValueError(f"bucket_keys.{component}: ${{ in a key is a variable to SeaweedFS")
    return [(pair["access_key"], pair["secret_key"])]


def certificate(member: Member) -> str:
    """An authority with its key, the same in every run: both follow from a secret of the site."""
    secrets = [s for name in reversed(_MAY) for _, s in _keys(member, name)]
    if not secrets:
        raise ValueError("bucket_keys: found no key; SeaweedFS needs at least one")
    seed = hashlib.sha256(f"{COMPONENT} gRPC {secrets[0]}".encode()).digest()
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, COMPONENT)])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2120, 1, 1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (made.public_bytes(Encoding.PEM) + private).decode()


def component(site: Site, member: Member, found: State) -> Component:
    return daemons(
        COMPONENT,
        *(site, member, found, COMPONENT),
        files={
            topology.SEAWEEDFS_KEYS: File(
                json.dumps(identities(member), indent=1) + "\n", group=COMPONENT
            ),
            topology.SEAWEEDFS_PEM: File(certificate(member), group=COMPONENT),
            topology.SEAWEEDFS_SECURITY: File(_SECURITY),
        },
        directories={
            topology.SEAWEEDFS_DIR: Directory("750", managed=True),
            **data_directories(topology.SEAWEEDFS_DATA),
        },
    )


SEAWEEDFS = rollout.Role(COMPONENT, COMPONENT, component, gates.seaweedfs, alone=True)


def deploy() -> None:
    rollout.roll(SEAWEEDFS)


if __name__ == "builtins":  # as a deploy file of its own
    preflight.deploy()
    base.deploy()
    software.deploy()
    web.deploy()
    deploy()
