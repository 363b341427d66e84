"""SeaweedFS (docs/storage.md): the object store, where it is not the user's own. One host, and no redundancy.

Master, volume server, filer and S3 gateway are one process. Only the S3 port and that of the metrics are for others:
the ports in between know no keys, and listen on loopback. The gateway's gRPC port cannot, as it listens where S3 does,
and lets everybody make himself a key; so it asks for a certificate that nobody has.

Keys are those of `bucket_keys`, and each may do what its component does (`bucket.RIGHTS`). Another key, or another
right, is a reload; a flag or a release is a restart, and an outage of the bucket that uploads wait out. Back up means:
S3 answers, and a volume server is there to store.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from cryptography import x509  # comes with paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import bucket, starter
from prometheus_ha.deploys.lib.daemons.objectstores import (
    SEAWEEDFS_DATA,
    SEAWEEDFS_DIR,
    SEAWEEDFS_KEYS,
    SEAWEEDFS_PEM,
    SEAWEEDFS_SECURITY,
)
from prometheus_ha.deploys.lib.engine import service
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.component import Component, Directory, File
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, nobody
from prometheus_ha.deploys.lib.engine.service import data_directories
from prometheus_ha.deploys.lib.ground.secrets import lacking
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts import http
from prometheus_ha.facts.http import NO_ANSWER, Call, metrics, only_metrics, split
from prometheus_ha.facts.reports.look import State

COMPONENT = daemons.SEAWEEDFS.name

_SECURITY = """\
[grpc]
ca = "{pem}"
[grpc.s3]
cert = "{pem}"
key = "{pem}"
"""
"""Who would speak gRPC to the S3 gateway has to have a certificate of this authority: which signs none."""


def identities(member: Member) -> dict:
    """The keys as SeaweedFS reads them. Every name is listed, with a key or without: a reload forgets no identity that
    merely left the file."""
    keys = bucket.pairs(member)
    for name, pair in keys.items():
        if any("${" in value for value in pair):
            raise ValueError(f"bucket_keys.{name}: ${{ in a key is a variable to SeaweedFS")
    may = bucket.policies(member) | {bucket.ADMIN: bucket.policy(member, ["s3:CreateBucket"])}
    return {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": access, "secretKey": secret} for access, secret in [keys[name]]]
                if name in keys
                else [],
                "policyNames": [name],
            }
            for name in may
        ],
        "policies": [{"name": name, "content": json.dumps(document)} for name, document in may.items()],
    }


def certificate(member: Member) -> str:
    """An authority with its key, the same in every run: both follow from a secret of the site."""
    secrets = [secret for _, secret in reversed(bucket.pairs(member).values())]
    if not secrets:
        raise ValueError("bucket_keys: found no key; SeaweedFS needs at least one")
    if lacking(secrets[0]):
        return secrets[0]  # what follows from it would not show that it lacks
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
    at = member.own(daemons.SEAWEEDFS).at
    return service.component(
        COMPONENT,
        *(site, member, found, COMPONENT),
        files={
            at(SEAWEEDFS_KEYS): File(json.dumps(identities(member), indent=1) + "\n", group=COMPONENT),
            at(SEAWEEDFS_PEM): File(certificate(member), group=COMPONENT),
            at(SEAWEEDFS_SECURITY): File(_SECURITY.format(pem=at(SEAWEEDFS_PEM))),
        },
        directories={
            at(SEAWEEDFS_DIR): Directory("750", managed=True),
            **data_directories(at(SEAWEEDFS_DATA)),
        },
    )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """S3 answers, which it does once it has found the filer, and a volume server that stores has reported."""
    beats = "SeaweedFS_master_received_heartbeats"
    s3 = site.endpoint(daemons.SEAWEEDFS, member, "s3")
    questions = "\n".join(
        [
            http.script(s3.url, [Call("s3", "/healthz")]),
            script(*(site, member, daemons.SEAWEEDFS), [Call("metrics", "/metrics", only_metrics(beats))]),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        answers = split(lines)
        if not (answer := answers.get("s3", NO_ANSWER)).ok:
            return Progress(False, f"S3: {answer.problem}", answer.status or None)
        if not any(s.value for s in metrics(answers.get("metrics", NO_ANSWER).body)):
            return Progress(False, "S3 answers, no volume server yet", "volumes")
        return Progress(True, "S3 answers", "ok")

    return Gate(questions, judge)


def alerts(site: Site, member: Member) -> list[Data]:
    expr = (
        'sum by (instance, host) (SeaweedFS_volumeServer_read_only_volumes{%s, type="isDiskSpaceLow"}) > 0\n'
        "or SeaweedFS_volumeServer_disk_error_status{%s} > 0"
    )
    return starter.cannot_store(site, member, daemons.SEAWEEDFS, expr)


SEAWEEDFS = Role(
    COMPONENT,
    daemons.SEAWEEDFS.group,
    component,
    gate,
    stands_in=nobody,
    values={daemons.SEAWEEDFS: {}},
    alerts=alerts,
)
