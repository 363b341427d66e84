"""A site whose bucket is a MinIO of its own: the whole of it, as with the SeaweedFS of the lab's site."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.objectstores import MINIO_KEYS_DIR
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.site import releases
from prometheus_ha.deploys.lib.site.settings import Settings
from tests.drills import blocks
from tests.drills.blocks import HOUR, STEP
from tests.drills.site import ENVIRONMENT, load, shell, wait_for
from tests.lab import archives, plan
from tests.odd.site import INVENTORY, PROMETHEUS, Groups, blank, deployed

HOST = "odd-1"
PORT = Settings().minio_port


def site(**data: Any) -> Groups:
    config = {"bucket": "thanos", "endpoint": f"{plan.LAB.address(HOST)}:{PORT}", "insecure": True}
    given = {**PROMETHEUS, "bucket_config": {"type": "S3", "config": config}, **data}
    groups = ("prometheus", "querier", "store", "compactor", "minio")
    return {group: {HOST: given} for group in groups}


def keys(**others: str) -> dict[str, Any]:
    """The setting `bucket_keys` of the lab, where components in `others` have the keys of another name."""
    names = ("thanos-sidecar", "thanos-store", "thanos-compactor", "admin")
    return {
        name: {kind: plan.secret(f"s3_{others.get(name, name)}_{kind}") for kind in ("access_key", "secret_key")}
        for name in names
    }


def started() -> str:
    return shell(HOST, "systemctl show -p ExecMainStartTimestampMonotonic minio")


@pytest.mark.long
def test_bucket_on_minio() -> None:
    """MinIO as the object store

    Not in every run: its module takes minutes to build.
    """
    wanted = releases.resolve(Settings().release)
    archives.ensure([(name, wanted[name]) for name in DAEMONS["minio"].archives])
    blank(HOST)
    groups = site(bucket_keys=keys())
    deployed(groups)
    environment = {"ODD": json.dumps(groups), "WEB": ""}

    # Every byte of two hours goes there and comes back.
    the_site = load(environment, INVENTORY)
    with blocks.seeded(the_site, ago=3, hours=2) as given:
        given.forget(the_site)
        end = given.start + 2 * HOUR - STEP

        def read_back() -> bool:
            found, warnings = blocks.ranged(the_site, "thanos-querier", "seeded_gauge", given.start, end)
            return found == blocks.expected(given.start, end) and not warnings

        wait_for("the blocks from the bucket", read_back, 60)

    suites = [f"tests/site/test_{name}.py" for name in ("minio", "store", "compactor", "sidecar")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *suites],
        cwd=plan.ROOT,
        env={**ENVIRONMENT, **environment, "INVENTORY": INVENTORY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    # Another key is a reload of MinIO, and the one before it is refused from then on.
    before = started()
    old = shell(HOST, f"cut -d' ' -f2 {MINIO_KEYS_DIR}/users").split()
    deployed(site(bucket_keys=keys(**{"thanos-store": "thanos-rule"})))
    assert started() == before
    known = shell(HOST, f"cut -d' ' -f2 {MINIO_KEYS_DIR}/users").split()
    (gone,) = set(old) - set(known)
    admin = (
        f"d=$(mktemp -d); cp {MINIO_KEYS_DIR}/mc.json $d/config.json; "
        f"{topology.BIN_DIR}/mc --config-dir $d admin user info site"
    )
    assert "does not exist" in shell(HOST, f"{admin} {gone} 2>&1", check=False)

    # Whom somebody else let in is out after the next start.
    shell(HOST, f"{admin.removesuffix(' info site')} add site stranger stranger-secret")
    shell(HOST, "systemctl restart minio")

    def out() -> bool:
        return "does not exist" in shell(HOST, f"{admin} stranger 2>&1", check=False)

    wait_for("the stranger to be unknown", out)
