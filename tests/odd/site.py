"""Sites of one or two odd hosts: how they are deployed or refused, and seen to be what they should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prometheus_ha.deploys.lib.daemons.exporters import LOOK_FILE, TEXTFILE_DIR
from tests.drills.site import SITE, Run, lab, run_site, shell

Groups = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Group -> host -> its data: an inventory."""

INVENTORY = "tests/odd/inventory.py"
VERIFY = "deploys/verify.py"

PROMETHEUS: dict[str, Any] = {"replica": "replica-01"}
"""Data of a Prometheus host."""


def blank(*hosts: str) -> None:
    """Boot hosts of the lab with new, empty disks."""
    lab("restart", "--blank", *hosts)


def run(groups: Groups, *arguments: str, deploy: str = SITE, stdin: str = "", **data: Any) -> Run:
    """Run a deploy against the site that `groups` describes, with `data` as `--data`."""
    env = {"ODD": json.dumps(groups), "WEB": ""}  # whatever the site itself speaks
    return run_site(*arguments, data=data, env=env, deploy=deploy, inventory=INVENTORY, stdin=stdin)


def deployed(groups: Groups, *arguments: str, stdin: str = "", **data: Any) -> Run:
    """The site ends well: deployed, with nothing left for a second run, and verified where it scrapes itself."""
    first = run(groups, *arguments, stdin=stdin, **data)
    assert first.status == 0, str(first)
    again = run(groups, *arguments, stdin=stdin, **data)
    assert again.status == 0, str(again)
    assert again.changed == {}, str(again)
    if "prometheus" in groups:
        seen = run(groups, *arguments, deploy=VERIFY, stdin=stdin, **data)
        assert seen.status == 0, str(seen)
    return first


def refused(groups: Groups, *words: str, hosts: tuple[str, ...] = ("odd-1",), **data: Any) -> Run:
    """The run is refused with these words, and before anything was changed."""
    before = {host: snapshot(host) for host in hosts}
    done = run(groups, **data)
    assert done.status != 0, str(done)
    for word in words:
        assert word in done.log, f"{word!r} is not said: {done}"
    for host in hosts:
        assert snapshot(host) == before[host], f"{host}: {_difference(before[host], host)}"
    return done


_SNAPSHOT = r"""
find /etc /opt /usr /root /home /var/lib /var/log/prometheus -xdev \
    -path /var/lib/systemd -prune -o -path /var/lib/chrony -prune -o -path /var/lib/prometheus/metrics2 -prune -o \
    -path /var/lib/prometheus/node-exporter -prune -o -path TEXTFILES -prune -o \
    -printf '%p %y %m %u %g %l %s %C@\n' 2>/dev/null | sort
nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'
systemctl show -p Id,MainPID,UnitFileState,ActiveState '*.service' |
    paste -s -d ' ' | sed 's/  /\n/g' | grep -v -e user@ -e user-runtime -e systemd- | sort
"""


def snapshot(host: str) -> str:
    """All that a deploy could change on a host: files with the time of their last change, packet filter, services."""
    # That somebody looked is left there by whoever does, and is no change; what else is there is.
    files = shell(host, f"cat $(ls -d {TEXTFILE_DIR}/* 2>/dev/null | grep -vx {LOOK_FILE}) </dev/null")
    return files + shell(host, _SNAPSHOT.replace("TEXTFILES", TEXTFILE_DIR))


def _difference(before: str, host: str) -> list[str]:
    return sorted({*before.splitlines()} ^ {*snapshot(host).splitlines()})[:20]
