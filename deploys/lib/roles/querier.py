"""Thanos queriers (spec/000 9): one view over all replicas, deduplicated by the replica label.

The list of stores is a file that the querier watches: a new Prometheus needs neither reload nor restart. A new flag
or release is a restart, one querier at a time. Back up means: ready, and every store that is alive listed without
error.
"""

from __future__ import annotations

from typing import Any

from deploys.lib import daemons, derived, documents, flags, service, topology
from deploys.lib.ask import at_once, script
from deploys.lib.component import Component, Directory
from deploys.lib.documents import Data
from deploys.lib.role import Gate, Progress, Role, alike
from deploys.lib.roles.prometheus import PROMETHEUS
from deploys.lib.site import Member, Site
from facts.http import NO_ANSWER, Call, split
from facts.reports import thanos
from facts.reports.look import State


def component(site: Site, member: Member, found: State) -> Component:
    files = {}
    if derived.endpoints_file(member):  # older releases get their stores as flags
        files[topology.ENDPOINTS_FILE] = documents.file(endpoints_yml(site, member))
    return service.component(
        "querier",
        *(site, member, found, "thanos-querier"),
        files=files,
        directories={topology.THANOS_DIR: Directory("750", managed=True)},
    )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, and every store that is alive is listed without error: one that has not found its sidecars yet answers
    200, empty, and with no warning."""
    stores = [
        (name, other)
        for name, other in site.stores()
        # One that is still to move to where it is asked for (a ruler, whose turn comes later) is not there yet.
        if other.name not in site.live.away
        and site.live.port(name, other.name, "grpc")
        in (None, site.endpoint(name, other, "grpc").port)
    ]
    questions = at_once(
        [
            script(
                *(site, member, "thanos-querier"),
                thanos.QUERIER_CALLS,
                either=member.name != asked_by.name,
            ),
            *(
                script(
                    *(site, other, name),
                    [Call(f"store {name} {other.name}", "/-/ready")],
                    either=other.name != asked_by.name,
                )
                for name, other in stores
            ),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        report = thanos.parse_querier(lines)
        answers = split(lines)
        if not report.ready:
            return Progress(False, f"not ready: {report.errors.get('ready', '')}")
        listed = {store.address for store in report.stores if not store.last_error}
        # By itself or in a group: one that waits for its turn may still have the one for the other.
        in_group = any("+" in address for address in listed)
        missing = [
            f"{name} on {other.name}"
            for name, other in stores
            if answers.get(f"store {name} {other.name}", NO_ANSWER).ok
            and site.endpoint(name, other, "grpc").target not in listed
            and not (name == "thanos-store" and in_group)
        ]
        if missing:
            return Progress(False, f"does not list {', '.join(missing)}", ("stores", len(missing)))
        return Progress(True, f"ready with {len(listed)} stores", "ok")

    return Gate(questions, judge)


def endpoints(kind: str) -> flags.Here:
    """The addresses that belong to one of the flags which older queriers get them by."""

    def belongs(entry: dict[str, Any]) -> bool:
        strict = "endpoint-strict" if entry.get("strict") else "endpoint"
        return kind == ("endpoint-group" if entry.get("group") else strict)

    return lambda site, member, found: [
        entry["address"] for entry in derived.endpoints(site, member) if belongs(entry)
    ]


def endpoints_yml(site: Site, member: Member) -> Data:
    """Whom a querier asks, for `--endpoint.sd-config-file` (Thanos 0.38 and newer)."""
    return {"endpoints": derived.endpoints(site, member)}


QUERIER = Role(
    "querier",
    "querier",
    component,
    gate,
    needs=(PROMETHEUS,),
    stands_in=alike(lambda member: member.settings.querier_endpoints),
    values={
        daemons.QUERIER: {
            **{kind: endpoints(kind) for kind in ("endpoint-strict", "endpoint", "endpoint-group")},
            "query.replica-label": lambda site, member, found: derived.replica_labels(site, member),
        }
    },
)
