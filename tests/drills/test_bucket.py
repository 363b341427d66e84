"""A key to the bucket is tried before a unit starts with it: what is wrong has its own words, nothing is touched."""

from __future__ import annotations

from typing import Any

import pytest

from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.site.members import Member, Site
from tests.drills.site import (
    api,
    assert_untouched,
    live_files,
    rules,
    run_site,
    stopped,
    units,
)
from tests.lab import plan

pytestmark = pytest.mark.usefixtures("restored")

WRONG = {"DRILL_SECRET": "n0t-the-secret-of-the-bucket", "DRILL_KEY": "NOTAKEYOFTHEBUCKET00"}


def keys_of(member: Member, component: str) -> dict[str, Any]:
    """The references to a component's own keys."""
    config = bucket.config_of(member, component)
    assert config
    return {name: config["config"][name] for name in ("access_key", "secret_key")}


def with_config(member: Member, **changes: Any) -> dict[str, Any]:
    """The setting `bucket_config` with other values."""
    config = member.settings.bucket_config
    assert config
    return {"bucket_config": {**config, "config": {**config["config"], **changes}}}


def with_keys(member: Member, component: str, **changes: Any) -> dict[str, Any]:
    """The setting `bucket_keys` with other keys of one component, and no key that could make a bucket."""
    keys = {k: v for k, v in member.settings.bucket_keys.items() if k != bucket.ADMIN}
    return {"bucket_keys": {**keys, component: {**keys_of(member, component), **changes}}}


def refused(data: dict[str, Any], words: str, member: Member, deploy: str = "deploys/store.py") -> None:
    running, files = units(), live_files()
    run = run_site("--limit", member.name, data=data, env=WRONG, deploy=deploy)
    assert run.status != 0 and words in run.log, str(run)
    assert_untouched(running, files)
    assert not any(value in run.log for value in WRONG.values()), "a key is shown"


@pytest.fixture
def member(site: Site) -> Member:
    return site.running("thanos-store")[0]


def test_a_wrong_secret(member: Member) -> None:
    data = with_keys(member, "thanos-store", secret_key="secret:env:DRILL_SECRET")
    refused(data, "does not know the key of thanos-store", member)


def test_a_wrong_key(member: Member) -> None:
    data = with_keys(member, "thanos-store", access_key="secret:env:DRILL_KEY")
    refused(data, "does not know the key of thanos-store", member)


def test_a_key_with_too_few_rights(site: Site) -> None:
    """The compactor with the key of the store gateways: it may list, and not write."""
    (compactor,) = site.running("thanos-compactor")
    keys = dict(compactor.settings.bucket_keys)
    store, own = keys["thanos-store"], keys["thanos-compactor"]
    data = {"bucket_keys": {**keys, "thanos-compactor": store, "thanos-store": own}}
    words = "the key of thanos-compactor may not write"
    refused(data, words, compactor, deploy="deploys/compactor.py")


def test_no_bucket(member: Member) -> None:
    """A key that is for one bucket alone is not told that another one is missing: both are said to be possible."""
    data = with_config(member, bucket="drill-none") | with_keys(member, "thanos-store")
    refused(data, "or there is none of that name", member)


def test_a_wrong_endpoint(member: Member) -> None:
    refused(with_config(member, endpoint=f"{member.address}:9"), "does not answer", member)


def test_http_where_tls_was_meant(member: Member) -> None:
    refused(with_config(member, insecure=False), "http or https (insecure)", member)


def test_a_port_that_is_no_object_store(site: Site, member: Member) -> None:
    endpoint = site.endpoint("thanos-store", member).target
    refused(with_config(member, endpoint=endpoint), "is it an S3 server?", member)


def test_other_changes_go_on_while_the_object_store_is_down(site: Site) -> None:
    """Alerts are changed in the middle of an outage: what is tried is a new key, and no other change."""
    with stopped(plan.S3_HOST, "seaweedfs"):
        data = {"prometheus_rules": rules("drill", {"record": "drill:one", "expr": "vector(1)"})}
        run = run_site(data=data, deploy="deploys/prometheus.py")
    assert run.status == 0, str(run)
    for replica in site.running("prometheus"):
        assert any(group["name"] == "drill" for group in api(site, replica.name, "rules")["groups"])
