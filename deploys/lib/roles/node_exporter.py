"""node_exporter on every host. It gates nobody: a host without its metrics is still a host that works.

It sees the host, the units of the platform by systemd (over D-Bus), and what anybody writes into its textfile
directory: each run of the deploy leaves there that it looked, and how it ended. A new flag or release goes to one
living host first, and stops there where it does not answer with its metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from prometheus_ha.deploys.lib.common import preflight_view, starter
from prometheus_ha.deploys.lib.common.starter import Alert
from prometheus_ha.deploys.lib.daemons import DAEMONS, exporters
from prometheus_ha.deploys.lib.daemons.declare import Value
from prometheus_ha.deploys.lib.engine import service
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.engine.component import Component, Directory
from prometheus_ha.deploys.lib.engine.documents import Data
from prometheus_ha.deploys.lib.engine.role import Gate, Progress, Role, nobody
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.facts.http import NO_ANSWER, Call, only_metrics, split
from prometheus_ha.facts.reports.look import State

DAEMON = exporters.NODE_EXPORTER
BUS = "/run/dbus/system_bus_socket"


def component(site: Site, member: Member, found: State) -> Component:
    shared = dict.fromkeys(DAEMON.shared_dirs, Directory("755", group="root"))
    return service.component("node_exporter", site, member, found, DAEMON, directories=shared)


def units(site: Site, member: Member, found: State) -> Value:
    """The units whose state it tells: those of the host's daemons."""
    return f"({'|'.join(info.unit for info in member.daemons)})[.]service"


_ON_BUS = "bus"


def judge_bus(view: preflight_view.View) -> Iterator[Finding]:
    """Hosts on which node_exporter cannot ask systemd."""
    for member, host in view.members():
        if _ON_BUS in host.asked and not host.asked[_ON_BUS]:
            yield Finding(
                member.name,
                "bus",
                f"no {BUS}",
                "D-Bus: without it, alerts on failed and crashing units do not fire",
                "install dbus; or node_exporter_flags = {'collector.systemd': False}, and its other two flags likewise",
                "warn",
            )


def gate(site: Site, member: Member, asked_by: Member) -> Gate:
    """It answers with its metrics."""
    calls = [Call("ready", DAEMON.ready_path, only_metrics(DAEMON.version_metric))]

    def judge(lines: list[str]) -> Progress:
        answer = split(lines).get("ready", NO_ANSWER)
        return Progress(answer.ok, answer.problem or "answers with its metrics", answer.status or None)

    return Gate(script(site, member, DAEMON.name, calls), judge)


# --- What a host can lack -------------------------------------------------------------------------

DATA_DISK_FILLING = Alert(
    "DataDiskFilling",
    "hosts",
    # A full disk ends ingestion; at the first mark there is time to act, at the second hardly any.
    {"warning": 0.15, "critical": 0.05},
    "{{ $labels.mountpoint }} on {{ $labels.host }} has {{ $value | humanizePercentage }} left",
    "The disk holds a data directory, or what is above it. When it is full, nothing more is stored. See with du -x "
    "what grows; enlarge the disk, or shorten the retention of Prometheus (prometheus_retention_time, "
    "prometheus_retention_size).",
    counts="share of the disk that is free",
)
DISK_FULL = Alert(
    "NodeFilesystemAlmostOutOfSpace",
    "hosts",
    {"warning": 0.1, "critical": 0.03},
    "{{ $labels.mountpoint }} on <host> has {{ $value | humanizePercentage }} left",
    "None of our data lies there, but logs, releases or the system itself do: a full disk stops logins, logs and "
    "deploys. See with du -x what grows.",
    patience=3,
    counts="share of the file system that is free",
)
FILLING = Alert(
    "NodeFilesystemFillingUp",
    "hosts",
    {"warning": 24},
    "{{ $labels.mountpoint }} on <host> will be full within a day, as it fills now",
    "More than half of it is in use, and at the pace of the last six hours the rest lasts less than <threshold> "
    "hours. See with du -x what grows.",
    patience=12,
    counts="hours until it is full, at the pace of the last six hours",
)
INODES = Alert(
    "NodeFilesystemFilesLow",
    "hosts",
    {"warning": 0.05, "critical": 0.02},
    "{{ $labels.mountpoint }} on <host> has {{ $value | humanizePercentage }} of its inodes left",
    "No file can be made once they are used up, however much space there is. Look for directories with very many small "
    "files (du --inodes -x).",
    patience=3,
    counts="share of the inodes that are free",
)
READ_ONLY = Alert(
    "NodeFilesystemReadOnly",
    "hosts",
    {"critical": None},
    "{{ $labels.mountpoint }} on <host> has become read-only",
    "The kernel does so after an error of the disk: nothing is written there any more. journalctl -k on the host has "
    "the error. Take the host for lost until the disk is checked.",
)
MEMORY_LOW = Alert(
    "NodeMemoryLow",
    "hosts",
    {"warning": 0.1, "critical": 0.03},
    "<host> has {{ $value | humanizePercentage }} of its memory left",
    "When it has none, the kernel kills what is largest, which is most often Prometheus. See which process grows (ps "
    "--sort -rss); queries over many series, and more series than there were, take the most.",
    patience=3,
    counts="share of the memory that is available, with what caches can give back",
)
OOM = Alert(
    "NodeOutOfMemoryKill",
    "hosts",
    {"warning": None},
    "The kernel of <host> has killed a process for want of memory",
    "journalctl -k on the host says which one. A daemon of ours is started again by systemd; find out what it needed "
    "the memory for before it comes again.",
    patience=0,
)
CLOCK_SKEW = Alert(
    "NodeClockSkewDetected",
    "hosts",
    {"warning": 0.05},
    "The clock of <host> is {{ $value }} s off, and drifts further",
    "What the host itself writes has a wrong time: alerts and silences, logs, and the samples of a Prometheus. Is "
    "the time service running, and does it reach its servers: chronyc tracking, or timedatectl timesync-status.",
    patience=2,
    counts="seconds that the clock differs from the time service",
)
CLOCK_ALONE = Alert(
    "NodeClockNotSynchronising",
    "hosts",
    {"warning": None},
    "The clock of <host> is not synchronised",
    "No time service corrects it (chrony, systemd-timesyncd), or it reaches no server. It will drift: chronyc "
    "sources, or timedatectl.",
    patience=2,
)
UNIT_FAILED = Alert(
    "NodeSystemdServiceFailed",
    "hosts",
    {"warning": None},
    "{{ $labels.name }} on <host> has failed",
    "It stays down: it did not stop in time and was killed, or a drop-in of somebody's keeps systemd from starting "
    "it again. systemctl status {{ $labels.name }} and journalctl -u {{ $labels.name }} on the host say why.",
)
UNIT_CRASHLOOPING = Alert(
    "NodeSystemdServiceCrashlooping",
    "hosts",
    {"warning": 2},
    "{{ $labels.name }} on <host> is started again and again",
    "It crashes, and systemd starts it each time. journalctl -u {{ $labels.name }} on the host has what it says at "
    "its end.",
    patience=3,
    counts="restarts by systemd in 60 scrape intervals (a quarter of an hour)",
)
NETWORK_ERRORS = Alert(
    "NodeNetworkErrors",
    "hosts",
    {"warning": 0.01},
    "{{ $labels.device }} of <host>: {{ $value | humanizePercentage }} of the packets are broken",
    "A cable, a port of the switch, or a driver. Scrapes time out and gossip is lost. ip -s link on the host counts "
    "them.",
    patience=12,
    counts="share of the packets with errors, sent or received",
)
FILES_LOW = Alert(
    "NodeFileDescriptorsLow",
    "hosts",
    {"warning": 0.8},
    "<host> has {{ $value | humanizePercentage }} of its file descriptors in use",
    "When all are, no process opens a file or a connection any more. Find the process (lsof), or raise fs.file-max.",
    patience=3,
    counts="share of the file descriptors of the whole host that are in use",
)
TEXTFILE_BROKEN = Alert(
    "NodeTextFileCollectorScrapeError",
    "hosts",
    {"warning": None},
    "A file in the textfile directory of <host> cannot be read",
    "What it tells is missing. journalctl -u <unit> on the host names the file in <directory>, and the line.",
)
COLLECTOR_FAILS = Alert(
    "NodeCollectorFailing",
    "hosts",
    {"warning": None},
    "node_exporter on <host> cannot read: {{ $labels.collector }}",
    "Its metrics are missing, and alerts on them do not fire. journalctl -u <unit> on the host has the error. For "
    "systemd: is D-Bus there (apt install dbus)? A collector that the host cannot have is switched off in "
    "node_exporter_flags.",
    patience=3,
)
DEPLOY_FAILED = Alert(
    "DeployFailed",
    "hosts",
    {"warning": None},
    "The last run of the deploy on {{ $labels.host }} failed, or was cut off",
    "The host may be half way between two states; what runs goes on running. cat <last_run> on the host says who ran "
    "it and what it changed. Deploy again: a run goes on where the last one stopped.",
    patience=12,
)
DEPLOY_OVERDUE = Alert(
    "DeployOverdue",
    "hosts",
    {"warning": 365},
    "Nobody has deployed to {{ $labels.host }} for {{ $value | humanizeDuration }}",
    "Releases, certificates and what was changed by hand go unnoticed. Run the deploy: without a change it restarts "
    "nothing.",
    counts="days since the last run",
)
NOT_AS_DEPLOYED = Alert(
    "DaemonNotAsDeployed",
    "hosts",
    {"warning": None},
    "{{ $labels.daemon }} on {{ $labels.host }} does not run the release {{ $labels.version }} that is installed",
    "Somebody started another one, or the run that brought it did not restart the daemon. verify says what is "
    "different; deploy again.",
    patience=6,
)
CERTIFICATE_FILE_EXPIRES = Alert(
    "CertificateFileExpires",
    "hosts",
    {"warning": 14, "critical": 3},
    "{{ $labels.path }} on {{ $labels.host }} expires in {{ $value | humanizeDuration }}",
    "From then on clients refuse the platform's ports: of this host, or of all where it is the CA. Put a new one "
    "into web_files and deploy: it is read without a restart.",
    counts="days until it expires",
)

_COLLECTORS = ("filefd", "filesystem", "meminfo", "netdev", "systemd", "textfile", "timex", "vmstat")
"""Those whose metrics the alerts are about."""

_NO_DISKS = "tmpfs|ramfs|overlay|squashfs|erofs|iso9660|fuse.*|nsfs"


def alerts(site: Site, member: Member) -> Iterator[Data]:
    if not site.scraped(member, DAEMON):
        return
    ours, over = starter.ours(site, member, DAEMON), starter.window(member, count=20)
    yield from _disks(site, member, ours)
    yield from MEMORY_LOW.rules(
        member, f"node_memory_MemAvailable_bytes{{{ours}}} / node_memory_MemTotal_bytes{{{ours}}} < <threshold>"
    )
    yield from OOM.rules(member, f"increase(node_vmstat_oom_kill{{{ours}}}[{over}]) > 0")
    off = f"node_timex_offset_seconds{{{ours}}}"
    yield from CLOCK_SKEW.rules(
        member,
        f"({off} > <threshold> and deriv({off}[{over}]) >= 0)\nor ({off} < -<threshold> and deriv({off}[{over}]) <= 0)",
    )
    # Upstream's mixin: without a time service the kernel's estimate grows to 16 s, and no further.
    alone = (
        f"min_over_time(node_timex_sync_status{{{ours}}}[{over}]) == 0\nand node_timex_maxerror_seconds{{{ours}}} >= 16"
    )
    yield from CLOCK_ALONE.rules(member, alone)
    yield from UNIT_FAILED.rules(member, f'node_systemd_unit_state{{{ours}, state="failed"}} == 1')
    restarts = f"increase(node_systemd_service_restart_total{{{ours}}}[{starter.window(member, count=60)}])"
    yield from UNIT_CRASHLOOPING.rules(member, f"{restarts} > <threshold>")
    broken = [
        f'rate({way}_errs_total{{{ours}, device!="lo"}}[{over}])\n'
        f'/ rate({way}_packets_total{{{ours}, device!="lo"}}[{over}]) > <threshold>'
        for way in ("node_network_receive", "node_network_transmit")
    ]
    yield from NETWORK_ERRORS.rules(member, "\nor ".join(broken))
    yield from FILES_LOW.rules(member, f"node_filefd_allocated{{{ours}}} / node_filefd_maximum{{{ours}}} > <threshold>")
    words = {"unit": DAEMON.unit, "directory": exporters.TEXTFILE_DIR}
    yield from TEXTFILE_BROKEN.rules(member, f"node_textfile_scrape_error{{{ours}}} == 1", **words)
    # Others may find nothing of their kind on a host (no bonding, no ZFS), which they call a failure, too.
    needed = "|".join(_COLLECTORS)
    failed = f'node_scrape_collector_success{{{ours}, collector=~"{needed}"}} == 0'
    yield from COLLECTOR_FAILS.rules(member, failed, **words)
    yield from _deploys(site, member, ours)


def _disks(site: Site, member: Member, ours: str) -> Iterator[Data]:
    data = "\n  or\n".join(f"  node_filesystem_avail_bytes{{{where}}}" for where in _data(site, member))
    if data:
        yield from DATA_DISK_FILLING.rules(member, f"(\n{data}\n) / node_filesystem_size_bytes < <threshold>")
    where = f'{ours}, fstype!~"{_NO_DISKS}"'
    free = f"node_filesystem_avail_bytes{{{where}}} / node_filesystem_size_bytes{{{where}}}"
    written = f"and node_filesystem_readonly{{{where}}} == 0"
    unless = f"\nunless (\n{data}\n)" if data else ""
    yield from DISK_FULL.rules(member, f"{free} < <threshold>\n{written}{unless}")
    pace = f"predict_linear(node_filesystem_avail_bytes{{{where}}}[6h], <threshold> * 3600)"
    # Of a new host nothing is foretold: what the deploy brought to it would go on and on.
    known = f"and node_filesystem_avail_bytes{{{where}}} offset 6h"
    yield from FILLING.rules(member, f"{pace} < 0\nand {free} < 0.5\n{written}\n{known}")
    # A file system that has no inodes to count has 0 of 0.
    files = f"node_filesystem_files_free{{{where}}} / node_filesystem_files{{{where}}}"
    yield from INODES.rules(member, f"{files} < <threshold>\n{written}")
    # Some are so by their nature. A week of samples is too much to read, so it is asked for a few of them.
    readonly = f"node_filesystem_readonly{{{where}}}"
    before = " or ".join(f"{readonly} offset {ago} == 0" for ago in ("15m", "2h", "12h", "1d", "3d", "1w"))
    yield from READ_ONLY.rules(member, f"{readonly} == 1 and ({before})")


def _data(site: Site, member: Member) -> list[str]:
    """Selectors of the file systems that hold a data directory."""
    owners: dict[str, dict[str, None]] = {}
    for info in DAEMONS.values():
        if info.data_dir and (members := site.scraped(member, info)):
            targets = [site.endpoint(DAEMON, one).target for one in members]
            owners.setdefault(info.data_dir, {}).update(dict.fromkeys(targets))
    selectors = []
    for directory, owned in owners.items():
        # Which mount holds the directory cannot be said in PromQL; it is one of these.
        mounts = [str(parent) for parent in reversed(PurePosixPath(directory).parents)]
        selected = starter.selected({DAEMON.job_name: owned})
        selectors.append(f'{selected}, mountpoint=~"{starter.any_of([*mounts, directory])}"')
    return selectors


def _deploys(site: Site, member: Member, ours: str) -> Iterator[Data]:
    """What the runs of the deploy left in the textfile directory."""
    failed = f"{exporters.DEPLOY_SUCCESS}{{{ours}}} == 0"
    yield from DEPLOY_FAILED.rules(member, failed, last_run=topology.LAST_RUN)
    looked = f'{exporters.TEXTFILE_TIME}{{{ours}, file="{exporters.LOOK_FILE}"}}'
    yield from DEPLOY_OVERDUE.rules(member, f"time() - max without (file) ({looked}) > <threshold> * 86400")
    watched = [info for info in starter.watched(site, member) if info.told_apart]
    metrics = "|".join(dict.fromkeys(info.version_metric for info in watched))
    running = f'{{__name__=~"{metrics}", {starter.ours(site, member, *watched)}}}'
    runs = f'label_replace({running}, "daemon", "$1", "job", "(.*)")'
    # One that does not answer is TargetDown.
    yield from NOT_AS_DEPLOYED.rules(
        member,
        f"{exporters.DEPLOYED}{{{ours}}}\nand on (host, daemon) {runs}\nunless on (host, daemon, version) {runs}",
    )
    yield from CERTIFICATE_FILE_EXPIRES.rules(
        member, f"{exporters.CERTIFICATE_END}{{{ours}}} - time() < <threshold> * 86400"
    )


NODE_EXPORTER = Role(
    "node_exporter",
    DAEMON.group,
    component,
    gate,
    stands_in=nobody,
    values={DAEMON: {"collector.systemd.unit-include": units}},
    alerts=alerts,
    surveys=lambda site, member: {_ON_BUS: f"[ ! -S {BUS} ] || echo there"},
    judges=(judge_bus,),
)
