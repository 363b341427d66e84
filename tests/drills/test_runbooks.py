"""The commands of the runbooks, on the hosts: all of them are what the releases know, and show what is broken."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from prometheus_ha.deploys.lib.common.starter import ALERTS
from prometheus_ha.deploys.lib.daemons import DAEMONS
from prometheus_ha.deploys.lib.daemons.exporters import DEPLOY_FILE, LOOK_FILE
from prometheus_ha.deploys.lib.site.members import Member, Site
from tests.drills.runbooks import COMMANDS, Command
from tests.drills.site import get, on_all, read, shell, wait_for
from tests.lab import plan

NOT_THERE = re.compile(r"\b(ethtool|lsof|timedatectl|chronyc|chronyd|minio)\b")
"""What the small hosts of the lab lack, or what says nothing in a container."""

FOR_WHO_SITS_THERE = {
    "pyinfra -y inventory.py prometheus_ha.verify",
    "pyinfra -y inventory.py prometheus_ha.alert",
    'pyinfra -y inventory.py prometheus_ha.alert --data why="alertname=NAME"',
    'pyinfra -y inventory.py prometheus_ha.alert --data why="alertname=Watchdog"',
    "pyinfra -y inventory.py prometheus_ha.alert --data send=RECEIVER",
    "pyinfra --dry inventory.py prometheus_ha.site",
    "ls -t .runs | head -3",
}
"""Commands of the control machine, each of which another drill runs: test_tools, test_channels, test_plan."""


def _asking() -> str:
    """`ask`, as the runbooks define it for their reader."""
    found = {
        re.search(r"^```\n(ask\(\).*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        for path in (plan.ROOT / "docs" / "runbooks").glob("*.md")
    }
    (text,) = {match[1] for match in found if match}
    return text


def test_every_alert_has_commands() -> None:
    assert {command.section for command in COMMANDS} - {""} <= set(ALERTS)
    assert {command.line for command in COMMANDS if command.kind == "control"} == FOR_WHO_SITS_THERE


def _daemon(site: Site, command: Command) -> tuple[Member, str]:
    """A host on which it can be tried, with the daemon that it is about."""
    units = sorted(DAEMONS.values(), key=lambda info: -len(info.unit))
    for info in units:
        members = site.running(info.name)
        ports = "|".join(f"\\b{site.endpoint(info, members[0], kind).port}\\b" for kind in info.ports if members)
        named = rf"\b{info.unit}\b|/{info.unit.removeprefix('thanos-')}\b|{ports or info.unit}"
        if members and re.search(named, command.line):
            return members[0], info.unit
    name = {"alertmanager": "alertmanager", "probes": "blackbox_exporter", "thanos": "thanos-querier"}
    info = DAEMONS[name.get(command.chapter, "prometheus")]
    return site.running(info.name)[0], info.unit


def _filled(site: Site, line: str, member: Member, unit: str) -> str:
    """With the words in capitals that its reader puts there."""
    target = site.endpoint("prometheus", site.running("prometheus")[0]).target
    words = {
        "HOST:PORT": target,
        "HOST": member.name,
        "UNIT": unit,
        "MOUNTPOINT": "/run",
        "DEVICE": "lo",
        "INSTANCE": target,
        "JOB": "prometheus",
        "MODULE": "http_2xx",
        "NAME": member.name,
        "TARGET": f"http://{target}/-/ready",
    }
    for word, value in words.items():
        line = re.sub(rf"\b{word}\b", lambda _, value=value: value, line)  # type: ignore[misc]
    return line


def _tried(host: str, lines: list[str]) -> list[tuple[str, list[int], str]]:
    """Lines run one after another in one shell: each with the exit statuses of its pipeline, and what it said."""
    # Braces give one status: those of the pipeline itself are asked for within them.
    steps = [
        f'echo \'#line\'; {{ {line}\nstatus="${{PIPESTATUS[*]}}"; }} 2>&1; echo; echo "#status $status"'
        for line in lines
    ]
    said = read(host, f"bash -c {shlex.quote(_asking() + chr(10) + chr(10).join(steps))} </dev/null")
    found = re.findall(r"^#line\n(.*?)^#status ([\d ]+)$", said, re.MULTILINE | re.DOTALL)
    assert len(found) == len(lines), said
    return [(line, [int(n) for n in status.split()], text) for line, (text, status) in zip(lines, found, strict=True)]


_UNKNOWN = re.compile(
    r"command not found|[Nn]o such file|unknown (flag|option|command)|[Uu]nrecognized|[Uu]sage:|unexpected"
)


def _problem(line: str, status: list[int], text: str) -> str:
    """Why a line of a runbook is of no use on a healthy site; empty where it is."""
    if NOT_THERE.search(line):
        return ""
    # A journal has the errors of others.
    if not line.startswith("journalctl") and (match := _UNKNOWN.search(text)):
        return f"{line}: {match[0]} in {text.strip()[:300]}"
    # What looks for a mistake finds none, and `head` may close its input.
    fine = {0, 23, 141} if "| head" in line else {0}
    first = {0, 1} if line.startswith("grep") else fine
    if status[0] not in first or any(each > 1 and each not in fine for each in status[1:]):
        return f"{line}: ended with {status}: {text.strip()[:300]}"
    return ""


def test_the_commands_are_what_the_hosts_know(site: Site) -> None:
    by_host: dict[str, list[str]] = {}
    for command in COMMANDS:
        # What is about one block is run where there are some: in test_storage.
        if command.kind == "shell" and "ULID" not in command.line:
            member, unit = _daemon(site, command)
            by_host.setdefault(member.name, []).append(_filled(site, command.line, member, unit))
    tried = on_all(lambda host: _tried(host, list(dict.fromkeys(by_host[host]))), by_host)
    found = [problem for lines in tried.values() for one in lines if (problem := _problem(*one))]
    assert not found, "\n".join(found)
    assert sum(map(len, tried.values())) > 100


BORN_LATER = ("thanos_compact_group_compactions_total",)
"""No series before the first compaction."""


def test_the_queries_have_an_answer(site: Site) -> None:
    member = site.running("prometheus")[0]
    url = f"{site.endpoint('prometheus', member).url}/api/v1/query"
    tls = get(url, query='probe_ssl_earliest_cert_expiry{job="probe-platform"}')["data"]["result"]
    (mirror,) = plan.PROBES["mirror"]["targets"]

    def probed(line: str) -> str:
        """A target that has such a series: of the platform's own, the one with TLS."""
        return tls[0]["metric"]["instance"] if "probe-platform" in line else mirror

    empty = []
    for command in COMMANDS:
        if command.kind == "query":
            asked = _filled(site, command.line.replace("TARGET", probed(command.line)), member, "prometheus")
            answer = get(url, query=asked)
            assert answer["status"] == "success", asked
            healthy = re.search(r"[<>]=? ?\d|== 0|!=\"OK\"|code!=", asked)
            if not answer["data"]["result"] and not healthy and not any(name in asked for name in BORN_LATER):
                empty.append(f"{command.section}: {asked}")
    assert not empty, "\n".join(empty)


# --- What they show of a cause --------------------------------------------------------------------


@dataclass(frozen=True)
class Cause:
    """Something broken on a host, and the words by which the runbook's commands there show it."""

    alert: str
    host: str
    spoil: str
    shown: str
    asked_on: str = ""
    """Where the commands are run, where it is another host."""


_BAD_YAML = "echo 'nonsense: 1' >>{0}; systemctl kill --kill-who=main -s HUP {1}"
# Two series of each host for one.
_BAD_RULE = """cat >{0}/drill.yml <<'END'
groups: [{{name: drill, rules: [{{record: "drill:x", expr: 'up * on (host) up'}}]}}]
END
chmod 644 {0}/drill.yml; systemctl kill --kill-who=main -s HUP {1}"""
_NO_RESTART = """mkdir -p /etc/systemd/system/blackbox_exporter.service.d
printf '[Service]\\nRestart=no\\n' >/etc/systemd/system/blackbox_exporter.service.d/drill.conf
systemctl daemon-reload; systemctl kill --kill-who=main -s KILL blackbox_exporter"""

FILES = (
    Cause(
        "PrometheusConfigReloadFailed",
        "prom-1",
        _BAD_YAML.format("/etc/prometheus/prometheus.yml", "prometheus"),
        "field nonsense not found",
    ),
    Cause(
        "PrometheusRuleFailures",
        "prom-2",
        _BAD_RULE.format("/etc/prometheus/rules", "prometheus"),
        "many-to-many|multiple matches|duplicate series",
    ),
    Cause(
        "AlertmanagerConfigReloadFailed",
        "am-1",
        _BAD_YAML.format("/etc/alertmanager/alertmanager.yml", "alertmanager"),
        "field nonsense not found",
    ),
    Cause(
        "AlertRelayConfigReloadFailed",
        "am-2",
        _BAD_YAML.format("/etc/alert_relay/relay.json", "alert_relay"),
        "level=error.*relay.json",
    ),
    Cause(
        "BlackboxExporterConfigReloadFailed",
        "query-1",
        _BAD_YAML.format("/etc/blackbox_exporter/blackbox.yml", "blackbox_exporter"),
        "field nonsense not found",
    ),
    Cause(
        "ReceiverConfigReloadFailed",
        "ring-2",
        "echo nonsense >/etc/thanos/receive/hashrings.json",
        "invalid character|Expecting value",
    ),
    Cause(
        "RulerConfigReloadFailed",
        "ring-1",
        # A key that it does not know is nothing to it.
        "echo '  - {record: nonsense, expr: up (}' >>/etc/thanos/rule/rules/global.yml; "
        "systemctl kill --kill-who=main -s HUP thanos-rule",
        "global.yml.*nonsense",
    ),
    Cause(
        "NodeTextFileCollectorScrapeError",
        "store-1",
        "echo 'nonsense one two' >/var/lib/node_exporter/textfile/drill.prom",
        "drill.prom",
    ),
    Cause("NodeSystemdServiceFailed", "ring-3", _NO_RESTART, "(?s)^(?=.*Result=signal)(?=.*Restart=no).*drill[.]conf"),
    Cause(
        "ThanosQueryStoresMissing",
        "query-2",
        "systemctl stop thanos-store",
        '"lastError":".*(refused|Unavailable|EOF)',
        asked_on="query-1",
    ),
    Cause("RemoteWriteBehind", "receiver-1", "systemctl stop prometheus", "pending", asked_on="prom-1"),
)
_ANOTHER_CONFIG = """echo 'time_intervals: [{name: drill, time_intervals: [{weekdays: [monday]}]}]' \\
    >>/etc/alertmanager/alertmanager.yml; systemctl kill --kill-who=main -s HUP alertmanager"""
_AWAY = """"host": "ring-2"[^}]*} 0$"""
DAEMONS_AWAY = (
    Cause(
        "AlertmanagerConfigInconsistent",
        "am-1",
        _ANOTHER_CONFIG,
        r'(?s)(?=.*"hash": "([^"]+)", "host": "am-1").*"hash": "(?!\1")[^"]+", "host": "am-2"',
        asked_on="prom-1",
    ),
    Cause(
        "PrometheusErrorSendingAlertsToSomeAlertmanagers",
        "am-3",
        "systemctl stop alertmanager",
        '"alertmanager": "http[^"]*:9093',
        asked_on="prom-1",
    ),
    Cause("NodeCollectorFailing", "am-3", "systemctl stop dbus.socket dbus.service", 'collector="systemd"} 0'),
    Cause("ReceiverRefusesWrites", "ring-2", "systemctl stop thanos-receive", f"(?m){_AWAY}", asked_on="prom-1"),
    Cause("ReceiverCannotReplicate", "ring-3", "systemctl stop thanos-receive", f"(?m){_AWAY}", asked_on="prom-1"),
    Cause(
        "ThanosBucketHighOperationFailures",
        "store-1",
        "systemctl stop seaweedfs",
        "connection refused",
        asked_on="query-2",
    ),
)
_JOBS = r"""mkdir -p /run/drill; cd /run/drill; now=$(date +%s000)
printf 'drill_twice 1\ndrill_twice 2\ndrill_late 1 %s\ndrill_late 1 %s\n' $now $((now - 60000)) >metrics
seq 3000 | sed 's/.*/drill_many{n="&"} 1/' >many
systemd-run -q --unit drill-server --working-directory=/run/drill python3 -m http.server --bind 127.0.0.1 9999
echo nonsense >/etc/prometheus/targets/drill-nonsense.yml
echo '[{targets: ["http://a/b"]}]' >/etc/prometheus/targets/drill-url.yml; chmod 644 /etc/prometheus/targets/drill*
blackbox=$(sed -n 's/^ *replacement: \([0-9.]*:[0-9]*\)$/\1/p' /etc/prometheus/prometheus.yml | head -1)
cat >jobs.yml <<END
- job_name: drill-samples
  fallback_scrape_protocol: PrometheusText0.0.4
  static_configs: [{targets: ["127.0.0.1:9999"]}]
- job_name: drill-limit
  fallback_scrape_protocol: PrometheusText0.0.4
  metrics_path: /many
  sample_limit: 1000
  static_configs: [{targets: ["127.0.0.1:9999"]}]
- job_name: drill-nonsense
  file_sd_configs: [{files: [/etc/prometheus/targets/drill-nonsense.yml]}]
- job_name: drill-url
  file_sd_configs: [{files: [/etc/prometheus/targets/drill-url.yml]}]
- job_name: drill-module
  metrics_path: /probe
  params: {module: [nonsense], target: [a]}
  static_configs: [{targets: ["$blackbox"]}]
- job_name: drill-dropped
  relabel_configs: [{action: drop, regex: .*}]
  static_configs: [{targets: [$(seq -s, -f '"127.0.0.%g:1"' 50)]}]
END
cd /etc/prometheus; sed -i -e '/^scrape_configs:/r /run/drill/jobs.yml' \
    -e 's/^- job_name: thanos-bucket-web$/- job_name: drill-renamed/' prometheus.yml
systemctl kill --kill-who=main -s HUP prometheus"""
# As by a firewall: what the account of Prometheus, sidecars and rulers sends there is refused.
_CUT = """nft add table inet drill; nft add chain inet drill out '{ type filter hook output priority 0; }'
nft add rule inet drill out meta skuid prometheus tcp dport '{ 9090, 9093 }' reject with tcp reset"""
# The rulers' own rules take partial answers too, or those of the sidecar that is cut off would be the error.
_RULER = """
cat >/etc/thanos/rule/rules/drill.yml <<'END'
groups: [{{name: drill, partial_response_strategy: warn, rules: [{0}]}}]
END
chmod 644 /etc/thanos/rule/rules/drill.yml; systemctl kill --kill-who=main -s HUP thanos-rule"""
_ALWAYS = _RULER.format("{alert: Drill, expr: vector(1)}")
_WRONG_ALERTS = """mkdir -p /run/drill; echo '[{"labels": {}}]' >/run/drill/alerts.json
url=$(sed -n 's/^alertmanager.url: //p' /etc/amtool/config.yml)/api/v2/alerts
send="curl -s -H Content-Type:application/json -d @/run/drill/alerts.json $url"
systemd-run -q --unit drill-alerts sh -c "while sleep 1; do $send; done" """
_OTHERWISE = """mkdir -p /etc/systemd/system/blackbox_exporter.service.d
printf '[Service]\\n{0}\\n' >/etc/systemd/system/blackbox_exporter.service.d/drill.conf
systemctl daemon-reload; systemctl restart blackbox_exporter"""
_FEW_FILES = """pid=$(systemctl show blackbox_exporter -p MainPID --value); files=$(ls /proc/$pid/fd | wc -l)
""" + _OTHERWISE.format("LimitNOFILE=%s").replace("' >", "' $((files + 1)) >")
# With fewer endpoints than copies it would not run at all.
_MORE_ENDPOINTS = """python3 -c 'import json; path = "/etc/thanos/receive/hashrings.json"; ring = json.load(open(path))
ring[0]["endpoints"].append("127.0.0.1:9"); open(path, "w").write(json.dumps(ring))'"""
_SAME = "true"
"""What spoiled it for the alert before it does it for this one."""
WATCHED = (
    Cause("JobMissing", "prom-1", _JOBS, "drill-renamed"),
    Cause("PrometheusSDRefreshFailure", "prom-1", _SAME, "drill-nonsense"),
    Cause("PrometheusTargetSyncFailure", "prom-1", _SAME, "http://a/b"),
    Cause("PrometheusScrapeLimitHit", "prom-1", _SAME, "drill-limit"),
    Cause("PrometheusDuplicateTimestamps", "prom-1", _SAME, "drill-samples"),
    Cause("PrometheusOutOfOrderTimestamps", "prom-1", _SAME, "drill-samples"),
    Cause("BlackboxModuleUnknown", "prom-1", _SAME, "nonsense"),
    Cause(
        "PrometheusReplicasDisagree",
        "prom-1",
        _SAME,
        r'(?ms)targets.*"prom-1"} (\d+)$.*targets.*"prom-2"} (?!\1)\d+$',
    ),
    Cause("PrometheusNotConnectedToAlertmanagers", "prom-2", _CUT, "connection refused"),
    Cause("ThanosSidecarNoConnectionToStartedPrometheus", "prom-2", _SAME, "connection refused"),
    Cause("ThanosStoreGrpcErrorRate", "prom-2", _SAME, '"warnings".*10901', asked_on="query-1"),
    Cause("ThanosQueryGrpcClientErrorRate", "prom-2", _SAME, '"warnings".*10901', asked_on="query-2"),
    Cause("RulerPartialAnswers", "prom-2", _SAME, "warnings=.*10901", asked_on="ring-1"),
    Cause("RulerLosesAlerts", "ring-1", _CUT + _ALWAYS, "connection refused"),
    Cause("AlertmanagerRefusesAlerts", "am-2", _WRONG_ALERTS, "(?s)label.*alerts_invalid_total.* [1-9]"),
    Cause(
        "RulerCannotEvaluate",
        "ring-2",
        _RULER.format('{record: "drill:x", expr: "up * on (host) up"}'),
        "many-to-many|multiple matches|duplicate series",
    ),
    Cause("ReceiverHashringDiffers", "ring-1", _MORE_ENDPOINTS, r'(?m)"host": "ring-1"[^}]*} 4$'),
    Cause(
        "NodeSystemdServiceCrashlooping",
        "ring-3",
        _OTHERWISE.format("ExecStart=\\nExecStart=/bin/false"),
        "status=1/FAILURE",
    ),
    Cause("DaemonFileDescriptorsLow", "query-1", _FEW_FILES, r"(?m)^[1-9]\d*$"),
    Cause(
        "DeployFailed",
        "query-2",
        f"sed -i.kept '/^monitoring_deploy_success/s/1$/0/' {DEPLOY_FILE}",
        "pyinfra",
    ),
    Cause(
        "DeployOverdue",
        "am-1",
        f"touch -d '400 days ago' {LOOK_FILE}",
        r'(?m)86400: .*"am-1".* 400[.]\d+$',
    ),
    Cause(
        "DaemonNotAsDeployed",
        "am-3",
        f"sed -i.kept '/alertmanager/s/[0-9][0-9.]*/0.0.1/' {DEPLOY_FILE}",
        "pyinfra",
    ),
)
LEFT = (
    "rm -rf /etc/prometheus/rules/drill.yml /etc/thanos/rule/rules/drill.yml /etc/prometheus/targets/drill* /run/drill "
    "/var/lib/node_exporter/textfile/drill.prom "
    "/etc/systemd/system/blackbox_exporter.service.d; systemctl daemon-reload; nft delete table inet drill; "
    "systemctl stop drill-server drill-alerts; systemctl try-restart blackbox_exporter; "
    f"[ ! -e {DEPLOY_FILE}.kept ] || mv {DEPLOY_FILE}.kept {DEPLOY_FILE}; "
    "for unit in prometheus thanos-rule; do systemctl kill --kill-who=main -s HUP $unit; done; "
    "for unit in dbus thanos-store prometheus blackbox_exporter seaweedfs thanos-receive alertmanager; do "
    "[ ! -e /etc/systemd/system/$unit.service -a $unit != dbus ] || "
    "{ systemctl reset-failed $unit; systemctl start $unit; }; done 2>/dev/null; true"
)
"""What no run of the deploy takes away: others' files, and units that somebody stopped come back by it."""


def _firing(site: Site) -> set[str]:
    member = site.running("alertmanager")[1]  # which nothing happens to
    url = f"{site.endpoint('alertmanager', member).url}/api/v2/alerts"
    return {alert["labels"]["alertname"] for alert in get(url)}


@pytest.fixture
def forgotten(site: Site) -> Iterator[None]:
    """The next drill may count what fires, and some alerts look back on ten minutes: all of them have to end."""
    yield
    wait_for("all alerts but the Watchdog to be over", lambda: _firing(site) <= {"Watchdog"}, 900, 3)


@pytest.fixture(params=[FILES, DAEMONS_AWAY, WATCHED], ids=["files", "daemons", "watched"])
def spoiled(request: pytest.FixtureRequest, forgotten: None, restored: None) -> Iterator[tuple[Cause, ...]]:
    """Several causes at once: they are on different hosts, or of different daemons."""
    causes = request.param
    hosts = list(dict.fromkeys(cause.host for cause in causes))
    try:
        on_all(lambda host: [shell(host, cause.spoil) for cause in causes if cause.host == host], hosts)
        yield causes
    finally:
        on_all(lambda host: shell(host, LEFT), hosts)


@pytest.mark.long
def test_the_commands_show_the_cause(site: Site, spoiled: tuple[Cause, ...]) -> None:
    """Each alert fires, and the commands of its section say why."""

    def fired() -> bool:
        names = _firing(site)
        missing = [cause.alert for cause in spoiled if cause.alert not in names]
        assert not missing, f"not fired: {missing}"
        return True

    wait_for("all alerts", fired, 300)  # a receiver may be two minutes behind
    silent = []
    for cause in spoiled:
        host = site.hosts[cause.asked_on or cause.host]
        unit = "blackbox_exporter"  # what of them has no unit of its own in the text
        commands = [command for command in COMMANDS if command.section == cause.alert]
        lines = [_filled(site, one.line, host, unit) for one in commands if one.kind == "shell"]
        said = "\n".join(text for _, _, text in _tried(host.name, lines)) if lines else ""
        for one in commands:
            if one.kind == "query":
                prometheus = site.running("prometheus")[0]
                url = f"{site.endpoint('prometheus', prometheus).url}/api/v1/query"
                for sample in get(url, query=one.line)["data"]["result"]:
                    said += f"\n{one.line}: {json.dumps(sample['metric'])} {sample['value'][1]}"
        if not re.search(cause.shown, said):
            silent.append(f"{cause.alert}: no {cause.shown} in:\n{said[-1500:]}")
    assert not silent, "\n\n".join(silent)
