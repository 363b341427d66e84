"""MinIO (docs/storage.md): the object store as in spec/001, for those who have it. One host, and no redundancy.

Its upstream has ended it: SeaweedFS is the one to begin with. Users and policies are kept by MinIO itself, and made by
its client `mc`, from files that root alone reads: once the server is up, and at a reload. A user that `bucket_keys`
does not name is removed. The key `admin` is the root user; another one is a restart, as is a flag or a release. Back
up means: the keys are known, and there is a disk to store on.
"""

from __future__ import annotations

import json
import re

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.common import bucket, starter
from prometheus_ha.deploys.lib.daemons.objectstores import (
    MINIO_CERTS,
    MINIO_DATA,
    MINIO_DIR,
    MINIO_ENV,
    MINIO_KEYS,
    MINIO_KEYS_DIR,
)
from prometheus_ha.deploys.lib.engine import service
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.component import Component, Directory, File
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, nobody
from prometheus_ha.deploys.lib.engine.service import data_directories
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.templates import template
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import NO_ANSWER, Call, split
from prometheus_ha.facts.reports.look import State

COMPONENT = daemons.MINIO.name


def keys(member: Member) -> dict[str, tuple[str, str]]:
    """Name in `bucket_keys` -> its access key and secret.

    Raises ValueError where MinIO would refuse one, or one of our own files could not hold it.
    """
    found = bucket.pairs(member)
    for name, (access, secret) in found.items():
        if not re.fullmatch(r"[\w.@+/-]{3,128}", access, re.ASCII):
            raise ValueError(
                f"bucket_keys.{name}.access_key: found {access!r}, expected: 3 to 128 letters, digits and ._@+/-"
            )
        if not re.fullmatch(r"[!-~]{8,40}", secret, re.ASCII):
            raise ValueError(
                f"bucket_keys.{name}.secret_key: found {len(secret)} characters, expected: 8 to 40, no space among them"
            )
    if bucket.ADMIN not in found:
        raise ValueError(f"bucket_keys.{bucket.ADMIN}: found no key; it is MinIO's root user")
    return found


def _client(url: str, access: str, secret: str) -> str:
    """The configuration of `mc`, in which it finds this server under the name `site`."""
    server = {"url": url, "accessKey": access, "secretKey": secret, "api": "s3v4", "path": "auto"}
    return json.dumps({"version": "10", "aliases": {"site": server}}, indent=1) + "\n"


def component(site: Site, member: Member, found: State) -> Component:
    at = member.own(daemons.MINIO).at
    users = keys(member)
    access, secret = users.pop(bucket.ADMIN)
    url = f"http://{topology.join('127.0.0.1', member.settings.minio_port)}"
    inner = at(MINIO_KEYS_DIR)
    policies = bucket.policies(member)
    files = {
        at(MINIO_ENV): File(f"MINIO_ROOT_USER={access}\nMINIO_ROOT_PASSWORD={secret}\n", group=COMPONENT),
        at(MINIO_KEYS): File(
            template(
                "minio-keys.sh.j2",
                keys=inner,
                work=topology.STAMPS,
                mc=f"{topology.BIN_DIR}/mc",
                health=f"{url}/minio/health/cluster",
            ),
            "755",
            group="root",
        ),
        f"{inner}/mc.json": File(_client(url, access, secret), "600", group="root"),
        f"{inner}/users": File(
            "".join(f"{name} {' '.join(pair)}\n" for name, pair in users.items()),
            "600",
            group="root",
        ),
    }
    for name, document in policies.items():
        text = json.dumps(document, indent=1) + "\n"
        files[f"{inner}/{name}.policy"] = File(text, "600", group="root")
    return service.component(
        COMPONENT,
        *(site, member, found, COMPONENT),
        files=files,
        directories={
            at(MINIO_DIR): Directory("750", managed=True),
            inner: Directory("700", group="root", managed=True),
            # It would make them itself, and ends where it cannot.
            at(MINIO_CERTS): Directory("750", managed=True),
            at(f"{MINIO_CERTS}/CAs"): Directory("750"),
            **data_directories(at(MINIO_DATA)),
        },
    )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """It answers, and has a disk to store on. Its unit is up once it knows its users."""
    questions = script(*(site, member, daemons.MINIO), [Call("health", "/minio/health/cluster")])

    def judge(lines: list[str]) -> Progress:
        answer = split(lines).get("health", NO_ANSWER)
        return Progress(answer.ok, "it can store" if answer.ok else answer.problem, answer.status)

    return Gate(questions, judge)


def alerts(site: Site, member: Member) -> list[Data]:
    expr = "minio_cluster_health_status{%s} == 0\nor minio_cluster_drive_offline_total{%s} > 0"
    return starter.cannot_store(site, member, daemons.MINIO, expr)


MINIO = Role(
    COMPONENT,
    daemons.MINIO.group,
    component,
    gate,
    stands_in=nobody,
    values={daemons.MINIO: {}},
    alerts=alerts,
)
