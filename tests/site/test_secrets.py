"""No secret where it does not belong.

The values reach a host on stdin alone, and what comes back are names and counts.
"""

import re

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_DATA, ALERTMANAGER_DIR
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_DATA, PROMETHEUS_DIR
from prometheus_ha.deploys.lib.daemons.thanos import THANOS_DIR
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.secrets import SecretError, for_host, is_secret, read_secret
from prometheus_ha.deploys.lib.site import web
from prometheus_ha.suites.ask import get, listing
from prometheus_ha.suites.inventory import only, printed, with_input

IN_COMMAND_LINES = """
values=$(cat)
printf '%s\\n' "$values" | grep -lsaF -f - /proc/[0-9]*/cmdline /proc/[0-9]*/task/*/comm || true
"""
IN_JOURNAL = """
values=$(cat)
printf '%s\\n' "$values" | {
    exec 3<&0
    journalctl --no-pager -o export --since=-1d </dev/null | grep -caF -f /dev/fd/3 || true
}
"""
IN_READABLE_FILES = """
places='/etc /run /tmp /var/tmp /var/log /var/lib /opt /home /usr/local'
nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
$nobody grep -rlsIF -f - $places || true
"""


def references(value):
    """The secret references anywhere in a setting."""
    if isinstance(value, dict):
        return {found for each in value.values() for found in references(each)}
    if isinstance(value, list):
        return {found for each in value for found in references(each)}
    return {value} if is_secret(value) else set()


REFERENCES = {ref for name, host in printed().items() for ref in references(for_host(host["data"], name))}
"""Every secret of the site: no host is to show that of another either."""
has_secrets = only(lambda member, _: bool(REFERENCES))


class Hidden(str):
    """A text that a failing test does not show."""

    def __repr__(self):
        return "<secrets>"


@pytest.fixture(scope="module")
def secrets():
    """The values, one a line."""
    try:
        values = [read_secret(reference) for reference in sorted(REFERENCES)]
    except SecretError as error:
        pytest.fail(f"run it where the secrets are: {error}", pytrace=False)
    return Hidden("".join(f"{line}\n" for value in values for line in secret_lines(value)))


def secret_lines(value):
    """The lines of a secret that are one: of PEM text, those of its private keys."""
    if "-----BEGIN" not in value:
        return [value]
    keys = re.findall(r"PRIVATE KEY-----\n(.*?)\n-----END [A-Z ]*PRIVATE KEY", value, re.S)
    return [line for key in keys for line in key.splitlines()]


def search(member, script, values):
    return with_input(member.name, script, values).split()


def test_search_finds_what_is_there(member):
    """Else the other tests would pass with a search that finds nothing."""
    assert search(member, IN_COMMAND_LINES, DAEMONS["node_exporter"].path + "\n")
    assert search(member, IN_READABLE_FILES, f"{topology.USER}:x:\n")
    assert search(member, IN_JOURNAL, "node_exporter\n") != ["0"]


@has_secrets
def test_no_secret_in_a_command_line(member, secrets):
    assert search(member, IN_COMMAND_LINES, secrets) == []


@has_secrets
def test_no_secret_in_the_journal(member, secrets):
    assert search(member, IN_JOURNAL, secrets) in ([], ["0"])


@has_secrets
def test_no_secret_in_a_file_that_everyone_can_read(member, secrets):
    assert search(member, IN_READABLE_FILES, secrets) == []


@only(lambda member, _: bool(references(printed()[member.name]["data"])))
def test_files_with_secrets_are_for_root_and_the_daemon(member, secrets):
    """Those of ours. The S3 server may keep its own elsewhere."""
    places = [PROMETHEUS_DIR, ALERTMANAGER_DIR, THANOS_DIR]
    places += [topology.UNIT_DIR, PROMETHEUS_DATA, ALERTMANAGER_DATA]
    places += [topology.WEB_DIR]
    paths = search(member, f"grep -rlsIF -f - {' '.join(places)} || true", secrets)
    assert paths, "not in its configuration, where they belong"
    wanted = dict.fromkeys(paths, f"f 640 root:{topology.GROUP}")
    wanted |= {path: "f 600 root:root" for path in paths if path in (web.CURL_TLS, web.CURL_USER)}
    wanted |= {path: f"f 640 root:{name}" for name, path in KEY_FILES.items() if path in paths}
    assert listing(member, *paths) == wanted


KEY_FILES = {name: info.bucket for name, info in DAEMONS.items() if info.bucket}


@only(lambda member, component: component in KEY_FILES and bool(member.settings.bucket_config))
def test_its_unit_alone_may_read_a_key_to_the_bucket(host, member, component):
    """No other daemon of the host, though all of them run as one user; and it has no other's."""
    path = KEY_FILES[component]
    assert listing(member, path) == {path: f"f 640 root:{component}"}
    group = host.check_output(f"getent group {component}").split(":")[2]
    for name in member.components:
        unit = DAEMONS[name].unit
        pid = host.check_output(f"systemctl show -p MainPID {unit} | cut -d= -f2")
        groups = host.check_output(f"grep ^Groups: /proc/{pid}/status").split()[1:]
        assert (group in groups) == (name == component), f"{unit} has the groups {groups}"


def test_staging_area_is_roots_alone_and_empty(host, member):
    """What a killed run left behind is removed by the next; a finished one leaves nothing."""
    path = topology.STATE
    assert listing(member, path) == {path: "d 700 root:root"}
    assert host.check_output(f"find {path} -path '*/staged/*' -type f") == ""


CONFIGURATION = {"prometheus": "/api/v1/status/config", "alertmanager": "/api/v2/status"}
"""Component -> where it shows its configuration, to everyone."""


@only(lambda member, _: REFERENCES and not CONFIGURATION.keys().isdisjoint(member.components))
def test_api_does_not_show_them(member, secrets):
    for component in CONFIGURATION.keys() & set(member.components):
        page = Hidden(get(member, component, CONFIGURATION[component]))
        shown = sum(value in page for value in secrets.splitlines())
        assert shown == 0, component
