"""What the key of a component may do in the bucket, tried from the host of the object store."""

from __future__ import annotations

from prometheus_ha.deploys.lib.common import bucket
from prometheus_ha.deploys.lib.ground.secrets import resolve
from prometheus_ha.deploys.lib.site.members import Member
from prometheus_ha.suites.inventory import connect


def status(member: Member, method: str, name: str, path: str, query: str = "") -> str:
    """The HTTP status that a component's key gets on `member`."""
    common = member.settings.bucket_config
    own = resolve(member.settings.bucket_keys[name])
    signer = bucket.Signer({**common, "config": {**common["config"], **own}})
    body = "--data-binary x" if method == "PUT" else ""
    command = f"curl -q -sS -g --noproxy '*' -o /dev/null -w '%{{http_code}}' -X {method} {body} -K -"
    url = f'url = "{signer.url(method, path, query)}"'
    return connect(member.name).check_output(f"{command} <<'URL'\n{url}\nURL")


def assert_rights(member: Member, name: str) -> None:
    """It lists, reads, writes and deletes where `bucket.RIGHTS` has it, and is refused everything else."""
    path, rights = f"debug/tests/{name}", bucket.RIGHTS[name]
    assert status(member, "PUT", "thanos-compactor", path) == "200"

    def wanted(right: str, code: str) -> str:
        return code if right in rights else "403"

    assert status(member, "GET", name, "", "list-type=2&max-keys=1") == "200"
    assert status(member, "GET", name, path) == "200"
    assert status(member, "PUT", name, path) == wanted(bucket.WRITE, "200")
    assert status(member, "DELETE", name, path) == wanted(bucket.DELETE, "204")
    assert status(member, "DELETE", "thanos-compactor", path) == "204"
