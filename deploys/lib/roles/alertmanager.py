"""The gossiping Alertmanager cluster (spec/000 6).

Every member holds the same configuration and names the other members as its peers. A new route or template is a
reload on every living member, also in the middle of an outage; a new flag or release is a restart, one member at a
time. Back up means: ready, and gossip settled with every other member that is alive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from deploys.lib import config, daemons, derived, flags, gates, service, topology
from deploys.lib.ask import at_once, script
from deploys.lib.component import Component, Directory, File
from deploys.lib.daemons.declare import Value
from deploys.lib.live import flag_value
from deploys.lib.role import Gate, Progress, Role
from deploys.lib.secrets import lacking, leaves
from deploys.lib.service import data_directories, installed
from deploys.lib.site import Member, Site
from facts.http import NO_ANSWER, Call, split
from facts.reports import alertmanager as reports_alertmanager
from facts.reports.look import State

READ_AT_RELOAD = {
    "alert_source_token_file",
    *("token_file", "token_id_file", "rocketchat_token_file", "rocketchat_token_id_file"),
}
"""Keys with files that incident.io's and Rocket.Chat's notifiers read with the configuration (0.34.2); of all others
each notification reads them again."""


def _header(member: Member, secrets: dict[str, File]) -> str:
    """A file that is read with the configuration is a part of it: another content is to be a reload."""
    named = leaves(member.settings.alertmanager_config, ())
    paths = sorted(
        {path for keys, path in named if keys and keys[-1] in READ_AT_RELOAD} & set(secrets)
    )
    tokens = "".join(secrets[path].content for path in paths)
    # Of one that this machine lacks there is no digest: with its stand-in, the whole file is not compared.
    digest = tokens if lacking(tokens) else hashlib.sha256(tokens.encode()).hexdigest()
    return config.HEADER + (f"\nTokens: {digest}" if paths else "")


def component(site: Site, member: Member, found: State) -> Component:
    secrets = member.settings.alertmanager_secret_files
    files = config.secret_files(
        topology.ALERTMANAGER_SECRETS_DIR, secrets, "alertmanager_secret_files"
    )
    files[topology.ALERTMANAGER_CONFIG] = config.file(
        config.alertmanager_yml(site, member),
        "alertmanager_config",
        header=_header(member, files),
    )
    for name, text in member.settings.alertmanager_templates.items():
        files[f"{topology.TEMPLATES_DIR}/{name}"] = File(text)
    amtool = f"{installed(member, found, 'alertmanager')}/amtool"
    return service.component(
        "alertmanager",
        *(site, member, found, "alertmanager"),
        files=files,
        directories={
            topology.ALERTMANAGER_DIR: Directory("750", managed=True),
            topology.TEMPLATES_DIR: Directory("750", managed=True),
            topology.ALERTMANAGER_SECRETS_DIR: Directory("750", managed=True),
            **data_directories(topology.ALERTMANAGER_DATA),
        },
        checks=(f"{amtool} check-config {topology.ALERTMANAGER_CONFIG}",),
    )


def reloaded(site: Site, member: Member) -> Gate:
    return gates.loaded(site, member, "alertmanager", "alertmanager")


def together(site: Site, member: Member, found: State) -> str:
    """Members with another gossip label or port do not hear each other: in turns, the first would be alone."""
    running = site.live.argv("alertmanager", member.name)
    if running is None or not derived.clustered(site):
        return ""
    wanted = flags.argv("alertmanager", site, member, found)
    labels = [flag_value(argv, "cluster.label") or "none" for argv in (running, wanted)]
    ports = [
        site.live.port("alertmanager", member.name, "cluster"),
        site.endpoint("alertmanager", member, "cluster").port,
    ]
    moves = [f"gossip label {labels[0]} becomes {labels[1]}"] if labels[0] != labels[1] else []
    # None: it was the only one so far, and gossiped with nobody.
    if ports[0] not in (None, ports[1]):
        moves.append(f"gossip port {ports[0]} becomes {ports[1]}")
    return ", ".join(moves) if ports[0] is not None else ""


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """Ready, gossip settled, and every other member that is alive among its peers."""
    others = [other for other in gates.living(site, "alertmanager") if other.name != member.name]
    questions = at_once(
        [
            script(
                *(site, member, "alertmanager"),
                reports_alertmanager.CALLS,
                either=member.name != asked_by.name,
            ),
            *(
                script(
                    *(site, other, "alertmanager"),
                    [Call(f"other {other.name}", "/-/ready")],
                    either=other.name != asked_by.name,
                )
                for other in others
            ),
        ]
    )

    def judge(lines: list[str]) -> Progress:
        report = reports_alertmanager.parse(lines)
        answers = split(lines)
        if not report.ready:
            return Progress(False, f"not ready: {report.errors.get('ready', '')}")
        peers = {peer.address for peer in report.peers}
        missing = [
            other.name
            for other in others
            if answers.get(f"other {other.name}", NO_ANSWER).ok
            and site.endpoint("alertmanager", other, "cluster").target not in peers
        ]
        if missing:
            return Progress(False, f"gossip without {', '.join(missing)}", ("peers", len(missing)))
        if report.cluster_status not in ("ready", "disabled"):
            return Progress(
                False, f"gossip {report.cluster_status}", ("gossip", report.cluster_status)
            )
        return Progress(
            True, f"ready, gossip {report.cluster_status} with {len(peers)} peers", "ok"
        )

    return Gate(questions, judge)


def peers(site: Site, member: Member, found: State) -> Value:
    others = site.peers(member, "alertmanager")
    return [site.endpoint("alertmanager", other, "cluster").target for other in others]


def listen(site: Site, member: Member, found: State) -> Value:
    """Empty where there is one Alertmanager."""
    return site.listen("alertmanager", member, "cluster") if derived.clustered(site) else ""


def if_clustered(value: Callable[[Site, Member], Value]) -> flags.Here:
    return lambda site, member, found: value(site, member) if derived.clustered(site) else None


def timing(name: str) -> flags.Here:
    return if_clustered(lambda site, member: getattr(member.settings.timing, name))


ALERTMANAGER = Role(
    "alertmanager",
    "alertmanager",
    component,
    gate,
    reloaded,
    together=together,
    values={
        daemons.ALERTMANAGER: {
            "cluster.listen-address": listen,
            "cluster.advertise-address": if_clustered(
                lambda site, member: site.endpoint("alertmanager", member, "cluster").target
            ),
            "cluster.peer": peers,
            "cluster.label": if_clustered(derived.gossip_label),
            "cluster.peer-name": if_clustered(lambda site, member: member.name),
            "cluster.peer-timeout": timing("peer_timeout"),
            "cluster.settle-timeout": timing("settle_timeout"),
            "cluster.pushpull-interval": timing("pushpull_interval"),
            "cluster.reconnect-timeout": timing("reconnect_timeout"),
        }
    },
)
