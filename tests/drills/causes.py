"""What is broken on hosts so that alerts fire: each with the words by which the commands of its runbook show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_ha.deploys.lib.daemons.exporters import DEPLOY_FILE, LOOK_FILE
from tests.lab import plan


@dataclass(frozen=True)
class Cause:
    """Something broken on a host, and the words by which the runbook's commands there show it."""

    alert: str
    host: str
    spoil: str
    shown: str
    asked_on: str = ""
    """Where the commands are run, where it is another host."""
    disk: str = ""
    """Options of mkfs.ext4 for a disk of its own, which is `$disk` for `spoil`."""
    also: tuple[str, str] = ("", "")
    """Another host, and what has to be done there."""
    counter: str = ""
    """Names of the counters (RE2) over which the alert looks back for long: it would fire for as long."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Settings with which the site is deployed before."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What its reader puts for words in capitals, where that is not what every command gets."""


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
_DIAL = """nft add table inet drill; nft add chain inet drill out '{ type filter hook output priority 0; }'
nft add rule inet drill out meta skuid prometheus tcp dport """
_CUT = _DIAL + "'{ 9090, 9093 }' reject with tcp reset"
_NO_BUCKET = _DIAL + "8333 reject with tcp reset"
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
_CONNECTIONS = (
    _OTHERWISE.format("LimitNOFILE=200")
    + """
systemd-run -q --unit drill-connections -p Restart=on-failure -p RestartSec=1 python3 -c '
import socket, time
kept = [socket.create_connection(("'$(hostname -I | cut -d" " -f1)'", 9115)) for n in range(165)]
time.sleep(3600)'"""
)
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
        r'(?ms)(?=.*targets[^\n]*"prom-1"} (\d+)$)(?=.*targets[^\n]*"prom-2"} (?!\1$)\d+$)',
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
    Cause("DaemonFileDescriptorsLow", "query-1", _CONNECTIONS, r"(?m)^ +16\d \S+$"),
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


def _with(text: str, **words: str) -> str:
    """`text` with `<word>` replaced."""
    for word, value in words.items():
        text = text.replace(f"<{word}>", value)
    return text


_UNIT = """mkdir -p /etc/systemd/system/<unit>.service.d
{ printf '[Service]\\nExecStart=\\n'
  sed -n '/^ExecStart=/,/[^\\\\]$/p' /etc/systemd/system/<unit>.service | sed '<edit>'; } \\
    >/etc/systemd/system/<unit>.service.d/drill.conf
systemctl daemon-reload; systemctl restart <unit>"""


def _otherwise(unit: str, *flags: str, edit: str = "") -> str:
    """A unit that runs with other flags than the deploy's."""
    return _with(_UNIT, unit=unit, edit=edit or f"$s|$| {' '.join(flags)}|")


_SCRAPED = """mkdir -p /run/drill; cat >/run/drill/jobs.yml <<'END'
<jobs>
END
sed -i '/^scrape_configs:/r /run/drill/jobs.yml' /etc/prometheus/prometheus.yml
systemctl kill --kill-who=main -s HUP prometheus"""

# Its blocks are a minute long, so one is due soon after the disk is full.
_FULL = """systemctl stop prometheus; mount $disk /var/lib/prometheus
install -d -o prometheus -g prometheus /var/lib/prometheus/data
<start>
systemd-run -q --unit drill-fill sh -c 'sleep 100
    while sleep 1; do dd if=/dev/zero of=/var/lib/prometheus/full bs=1M oflag=append conv=notrunc status=none; done'"""
_SMALL = """mount $disk /srv; mkdir /srv/drill; cd /srv/drill; : >large
seq 1000 | xargs touch || true; head -c 1G /dev/zero >>large || true"""
_NOT_SAVED = """systemctl stop alertmanager; mount $disk /var/lib/alertmanager
install -d -o prometheus -g prometheus /var/lib/alertmanager/data
head -c 1G /dev/zero >/var/lib/alertmanager/full || true
<start>"""
# Nothing of this network has a way.
_NO_CABLE = """ip link add drill type vxlan id 4 remote 203.0.113.9 dstport 4789
ip address add 198.51.100.1/24 dev drill; ip link set drill up
systemd-run -q --unit drill-send bash -c 'while sleep 0.2; do echo >/dev/udp/198.51.100.2/9; done'"""
_CERTIFICATE = """mkdir -p /run/drill; cd /run/drill
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=drill -keyout key.pem -out cert.pem 2>/dev/null
systemd-run -q --unit drill-tls --working-directory=/run/drill \\
    openssl s_server -accept 9998 -www -key key.pem -cert cert.pem
sed -i '/^modules:/a\\  drill: {prober: tcp, tcp: {tls: true, tls_config: {insecure_skip_verify: true}}}' \\
    /etc/blackbox_exporter/blackbox.yml; systemctl kill --kill-who=main -s HUP blackbox_exporter"""
_CERTIFICATE_JOB = """- job_name: drill-certificate
  metrics_path: /probe
  params: {module: [drill], target: ["<host>:9998"]}
  static_configs: [{targets: ["<host>:9115"], labels: {job: probe-mirror, instance: "<host>:9998"}}]"""
# In these rules hours are minutes, and a day is four.
_IN_MINUTES = """shorter='s/([[ ][136])h/\\1m/g; s/([[ ])1d/\\14m/g; s/\\* 3600/* 60/; s/86400/240/'
for alert in ReceiverDoesNotUpload ThanosCompactHasNotRun ThanosCompactFallsBehind NodeFilesystemFillingUp; do
    sed -i -E "/alert: $alert\\$/,/for:/ { $shorter }" /etc/prometheus/rules/starter.yml
done; systemctl kill --kill-who=main -s HUP prometheus"""
_QUERY_1 = plan.LAB.address("query-1")
DISKS = (
    Cause(
        "PrometheusWriteAheadLogFailing",
        "upper-1",
        _with(
            _FULL,
            start=_otherwise(
                "prometheus", "--storage.tsdb.min-block-duration=1m", "--storage.tsdb.max-block-duration=1m"
            ),
        ),
        "no space left on device",
        disk="-m 0",
        counter="prometheus_tsdb_(wal|checkpoint)_.*failed_total",
    ),
    Cause("PrometheusTSDBCompactionsFailing", "upper-1", _SAME, "no space left on device"),
    Cause("PrometheusNotIngestingSamples", "upper-1", _SAME, "no space left on device"),
    Cause(
        "DataDiskFilling",
        "upper-1",
        _SAME,
        r"(?m)^\d+M\s+/var/lib/prometheus/full$",
        words={"MOUNTPOINT": "/var/lib/prometheus"},
    ),
    Cause(
        "NodeFilesystemAlmostOutOfSpace",
        "ring-3",
        _SMALL,
        r"(?m)^\d+M\s+/srv/drill$",
        disk="-m 0 -N 32",
        words={"MOUNTPOINT": "/srv"},
    ),
    Cause(
        "NodeFilesystemFilesLow",
        "ring-3",
        _SAME,
        r"(?ms)100% /srv$.*^\d+\s+/srv/drill$",
        words={"MOUNTPOINT": "/srv"},
    ),
    Cause(
        "AlertmanagerStateNotSaved",
        "am-3",
        _with(_NOT_SAVED, start=_otherwise("alertmanager", "--data.maintenance-interval=10s")),
        "no space left on device",
        disk="-m 0",
        counter="alertmanager_(nflog|silences)_maintenance_errors_total",
    ),
    Cause(
        "AlertmanagerGossipFailing",
        "am-1",
        _otherwise("alertmanager", edit="s/peer-name=am-1/peer-name=am-2/"),
        "peer=am-2",
        counter="alertmanager_cluster_peer_name_conflicts_total",
    ),
    Cause(
        "NodeNetworkErrors",
        "receiver-1",
        _NO_CABLE,
        r"(?ms)TX:.*errors.*?^\s+\d+\s+\d+\s+[1-9]",
        words={"DEVICE": "drill"},
    ),
    Cause(
        "ReceiverDoesNotUpload",
        "ring-2",
        _otherwise("thanos-receive", "--tsdb.min-block-duration=1m", "--tsdb.max-block-duration=1m")
        + "\n"
        + _NO_BUCKET,
        "upload failed.*connection (refused|reset)",
        also=("prom-1", _IN_MINUTES),
    ),
    Cause(
        "CertificateExpires",
        "query-1",
        _CERTIFICATE,
        "(?s)subject=.*drill.*notAfter=",
        also=("prom-1", _with(_SCRAPED, jobs=_with(_CERTIFICATE_JOB, host=_QUERY_1))),
        words={"HOST:PORT": f"{_QUERY_1}:9998"},
    ),
)

_MANY = """mkdir -p /run/drill; cd /run/drill; seq 9000 | sed 's/.*/drill_many{n="&"} 1/' >metrics
systemd-run -q --unit drill-server --working-directory=/run/drill python3 -m http.server --bind 127.0.0.1 9999
cat >/etc/prometheus/rules/drill.yml <<'END'
groups: [{name: drill, rules: [{alert: Drill, expr: drill_many}]}]
END
chmod 644 /etc/prometheus/rules/drill.yml
<dial>9093 drop
<scrape>"""
_MANY_JOB = """- job_name: drill-many
  fallback_scrape_protocol: PrometheusText0.0.4
  static_configs: [{targets: ["127.0.0.1:9999"]}]"""
_DEAR = "count(count_over_time({__name__=~%22.%2B%22}[1h]))"
_ASKING = """for n in 1 2 3 4 5 6 7 8; do systemd-run -q --unit drill-ask-$n sh -c "while sleep 0.1; do
    curl -sg 'http://127.0.0.1:<port>/api/v1/query?query=<query>&timeout=<timeout>' >/dev/null; done"; done"""
_SLOW_RULER = """cat >/etc/thanos/rule/rules/drill.yml <<'END'
groups: [{name: drill, interval: 10ms, rules: [{record: "drill:x", expr: count(up)}]}]
END
chmod 644 /etc/thanos/rule/rules/drill.yml; systemctl kill --kill-who=main -s HUP thanos-rule"""
_HANGING = _DIAL + "10903 drop"
# The hash of another password. The file is read again for each request.
_PASSWORD = """sed -i 's|: [$]2.*|: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay|' \\
    /etc/monitoring/web-tls-password.yml"""
_BROKEN = "01H0000000000000BADB10CK00"
"""A block that is none."""
_OBJECT = _with(
    """of() { sed -n "s/^ *$1: //p" /etc/thanos/compactor/bucket.yml; }
object() {
    curl -sS --aws-sigv4 aws:amz:us-east-1:s3 --user "$(of access_key):$(of secret_key)" "$@" \\
        "http://$(of endpoint)/$(of bucket)/<block>/meta.json"
}""",
    block=_BROKEN,
)
_SECOND_COMPACTOR = """mkdir -p /run/drill/bucket
printf 'type: FILESYSTEM\\nconfig: {directory: /run/drill/bucket}\\n' >/run/drill/bucket.yml
systemd-run -q --unit drill-compactor thanos compact --data-dir=/run/drill/data --wait \\
    --objstore.config-file=/run/drill/bucket.yml --http-address=0.0.0.0:10999"""
_SECOND_JOB = f"""- job_name: drill-compactor
  static_configs: [{{targets: ["{plan.LAB.address("store-1")}:10999"]}}]"""
_BROKEN_BLOCK = _with(
    """block=/var/lib/prometheus/data/<block>
mkdir -p $block/chunks; echo nonsense >$block/index
now=$(date +%s000); cat >$block/meta.json <<END
{"ulid": "<block>", "minTime": $((now - 14400000)), "maxTime": $((now - 7200000)), "version": 1,
 "stats": {"numSamples": 1}, "compaction": {"level": 1, "sources": ["<block>"]}}
END
chown -R prometheus: $block""",
    block=_BROKEN,
)
# Of the same length, so the program is the same but for what it says of itself.
_ANOTHER_VERSION = """mkdir -p /run/drill; real=$(readlink -f /usr/local/bin/node_exporter)
version=$(node_exporter --version 2>&1 | sed -n '1s/.*version \\([0-9.]*\\).*/\\1/p')
sed "s/${version}/$(echo $version | sed 's/^./9/')/g" $real >/run/drill/node_exporter
chmod 755 /run/drill /run/drill/node_exporter; mkdir -p /etc/systemd/system/node_exporter.service.d
printf '[Service]\\nBindReadOnlyPaths=/run/drill/node_exporter:%s\\n' $real \\
    >/etc/systemd/system/node_exporter.service.d/drill.conf
systemctl daemon-reload; systemctl restart node_exporter"""
_RESTARTED = (
    """systemd-run -q --unit drill-restart sh -c 'while sleep 4; do systemctl restart blackbox_exporter; done'"""
)
LOAD = (
    Cause(
        "PrometheusHighQueryLoad",
        "prom-1",
        _otherwise("prometheus", "--query.max-concurrency=1")
        + "\n"
        + _with(_ASKING, port="9090", query=_DEAR, timeout="1m"),
        r'(?m)prometheus_engine_queries / .*"prom-1".* [2-9]$',
    ),
    Cause("PrometheusMissingRuleEvaluations", "prom-1", _SAME, r'(?m)"prom-1".* [1-9]\d+([.]\d+)?$'),
    Cause(
        "PrometheusNotificationQueueRunningFull",
        "upper-1",
        _with(_MANY, dial=_DIAL, scrape=_with(_SCRAPED, jobs=_MANY_JOB)),
        r'"alertname": "Drill".* 9000',
        asked_on="upper-1",
    ),
    Cause("PrometheusTSDBReloadsFailing", "upper-1", _BROKEN_BLOCK, _BROKEN),
    Cause("RemoteWriteRefused", "receiver-1", _PASSWORD, "non-recoverable error.*401", asked_on="prom-1"),
    Cause(
        "ThanosQueryHttpRequestQueryErrorRateHigh",
        "query-1",
        _with(_ASKING, port="10903", query=_DEAR, timeout="100ms"),
        '"status":"success"',
    ),
    Cause(
        "ThanosQueryOverload",
        "query-2",
        _otherwise("thanos-querier", "--query.max-concurrent=1")
        + "\n"
        + _with(_ASKING, port="10903", query=_DEAR, timeout="1m"),
        r'(?m)in_flight / .*"query-2".* 1$',
    ),
    Cause(
        "ThanosCompactMultipleRunning",
        "store-1",
        _SECOND_COMPACTOR,
        ":10999",
        also=("prom-2", _with(_SCRAPED, jobs=_SECOND_JOB)),
        asked_on="prom-2",
    ),
    Cause(
        "ThanosBlocksUnreadable",
        "store-1",
        _OBJECT + "\necho nonsense >/run/drill/meta.json; object -T /run/drill/meta.json",
        "corrupted-meta-json",
    ),
    Cause("RulerTooSlow", "ring-1", _SLOW_RULER, '"ring-1".*drill.yml|drill.yml.*"ring-1"'),
    Cause("RulerStandsStill", "ring-2", _HANGING, r'(?m)"ring-2".* \d{2,}[.]\d+$'),
    Cause(
        "DaemonVersionsDiffer",
        "am-3",
        _ANOTHER_VERSION,
        '"am-3".*"version": "9',
        words={"JOB": "node_exporter"},
    ),
    Cause(
        "DaemonCrashlooping",
        "query-1",
        _RESTARTED,
        "NRestarts=0",
        words={"UNIT": "blackbox_exporter"},
    ),
)

# Of a write that is new to it, the receiver keeps nothing, and says that all is well.
_NEW_PROTOCOL = r"""sed -i 's|^- url: .*/api/v1/receive$|&\n  protobuf_message: io.prometheus.write.v2.Request|' \
    /etc/prometheus/prometheus.yml; systemctl kill --kill-who=main -s HUP prometheus"""
# Six in a row: the compactor merges four of them, and leaves alone what may not be all yet.
_OLD_BLOCKS = """mkdir -p /run/drill; cd /run/drill; begin=$(( ($(date +%s) / 28800 - 9) * 28800 ))
{ echo '# TYPE drill_old gauge'
  for n in $(seq 0 719); do echo "drill_old $n $((begin + 60 * n))"; done; echo '# EOF'; } >text
promtool tsdb create-blocks-from openmetrics -q text blocks"""
# More and more of them, each group for itself.
_UPLOADED = f"""mkdir -p /run/drill; cat >/run/drill/upload <<'EOF'
set -e; rm -rf blocks
{_OLD_BLOCKS}
thanos tools bucket upload-blocks --path=blocks --label="drill=\\"$1\\"" \\
    --objstore.config-file=/etc/prometheus/bucket_config.yaml
EOF
cd /run/drill; bash upload 0
systemd-run -q --unit drill-upload --working-directory=/run/drill -p KillMode=mixed sh -c 'trap "exit 0" TERM
    while n=$((n + 1)); do for part in $(seq 15); do sleep 4; done; bash upload $n; done'"""
_FILLING_UP = """mount $disk /srv; mkdir /srv/drill; head -c 100M /dev/zero >/srv/drill/growing
systemd-run -q --unit drill-grow \\
    sh -c 'while sleep 2; do head -c 100k /dev/zero >>/srv/drill/growing; done'"""
_NOT_SHIPPED = f"""{_OLD_BLOCKS}
ls blocks >shipped; chown -R prometheus: blocks; mv blocks/* /var/lib/prometheus/data/
{_NO_BUCKET}"""
# Half of the time answers wait.
_SLOW_STORE = """systemd-run -q --unit drill-slow -p 'ExecStopPost=systemctl kill --kill-who=main -s CONT seaweedfs' \
    sh -c 'while sleep 3; do systemctl kill --kill-who=main -s STOP seaweedfs; sleep 3
    systemctl kill --kill-who=main -s CONT seaweedfs; done'"""
_OLD = "count_over_time(drill_old[14d])"
# Its key may write nothing any more, so that each pass ends there.
_NO_WRITES = r"""sed -i.kept '/"name": "thanos-compactor",$/ { n; s/\\"s3:PutObject\\", // }' /etc/seaweedfs/s3.json
systemctl kill --kill-who=main -s HUP seaweedfs
"""
_LATER_READ_ONLY = """mount $disk /srv
systemd-run -q --unit drill-disk sh -c 'sleep 930; mount -o remount,ro /srv'"""
RARE = (
    Cause(
        "NodeFilesystemReadOnly",
        "ring-3",
        _LATER_READ_ONLY,
        r"(?m)^\S+ /srv ext4 ro\b",
        disk="-m 0",
        words={"MOUNTPOINT": "/srv"},
    ),
    Cause(
        "ThanosQueryHighDNSFailures",
        "query-1",
        _SAME,
        "(?s)drill[.]invalid:10901.*lookup.*drill[.]invalid",
        data={"querier_endpoints": [{"address": "dns+drill.invalid:10901"}]},
        words={"NAME": "drill.invalid"},
    ),
    Cause(
        "ReceiverGetsNothing",
        "prom-1",
        _NEW_PROTOCOL,
        r'samples_failed_total.*"prom-1"',
        also=("prom-2", _NEW_PROTOCOL),
    ),
    Cause(
        "ThanosSidecarUploadsFailing",
        "prom-2",
        _NOT_SHIPPED,
        "err=.*connection (refused|reset)",
        counter="thanos_objstore_bucket_operation_failures_total",
    ),
    Cause(
        "ThanosCompactFailing",
        "store-1",
        _NO_WRITES + _otherwise("thanos-compactor", "--compact.progress-interval=5s"),
        "retriable error.*Access Denied",
        counter="thanos_compact_.*_failures_total",
        also=("prom-1", _UPLOADED),
    ),
    Cause("ThanosCompactHasNotRun", "store-1", _SAME, "retriable error.*Access Denied"),
    Cause(
        "ThanosCompactFallsBehind",
        "store-1",
        _SAME,
        r'(?m)todo_compactions: .*"store-1".* ([2-9]|\d\d)$',
        also=("prom-1", _IN_MINUTES),
        asked_on="prom-1",
    ),
    Cause(
        "NodeFilesystemFillingUp",
        "am-3",
        _FILLING_UP,
        r"(?ms)^\d+M\s+/srv/drill$.*^-deriv.* [1-9]\d+([.]\d+)?$",
        disk="-m 0",
        words={"MOUNTPOINT": "/srv"},
    ),
    Cause(
        "ThanosStoreSeriesGateLatencyHigh",
        "store-1",
        _otherwise("thanos-store", "--store.grpc.series-max-concurrency=1") + "\n" + _SLOW_STORE,
        r'(?m)in_flight / .*"store-1".* 1$',
        also=("query-2", _with(_ASKING, port="10903", query=_OLD, timeout="1m")),
    ),
)

ROUNDS = {"files": FILES, "daemons": DAEMONS_AWAY, "watched": WATCHED, "disks": DISKS, "load": LOAD, "rare": RARE}
"""Causes that are there at once: they are on different hosts, or of different daemons."""

LEFT = f"""
systemctl stop 'drill-*'
[ ! -e /run/drill/shipped ] || (cd /var/lib/prometheus/data && xargs rm -rf </run/drill/shipped)
rm -rf /etc/prometheus/rules/drill.yml /etc/thanos/rule/rules/drill.yml /etc/prometheus/targets/drill* \\
    /var/lib/prometheus/data/{_BROKEN} /var/lib/node_exporter/textfile/drill.prom
for kept in {DEPLOY_FILE}.kept /etc/seaweedfs/s3.json.kept; do [ ! -e $kept ] || mv $kept ${{kept%.kept}}; done
systemctl kill --kill-who=main -s HUP seaweedfs
# Thousands of alerts may wait for the way to be free.
! nft list table inet drill || systemctl kill -s KILL prometheus
nft delete table inet drill; ip link delete drill
for file in /etc/systemd/system/*.service.d/drill.conf; do
    [ -e "$file" ] || continue
    unit=$(basename "${{file%.service.d/drill.conf}}"); rm -r "${{file%/*}}"; changed="$changed $unit"
done
systemctl daemon-reload
[ -z "$changed" ] || systemctl stop $changed
for at in $(sed -n 's|^/dev/loop[0-9]* \\([^ ]*\\) .*|\\1|p' /proc/mounts); do umount "$at"; done
rm -rf /run/drill
for unit in $changed dbus thanos-store prometheus blackbox_exporter seaweedfs thanos-receive alertmanager; do
    [ ! -e /etc/systemd/system/$unit.service -a $unit != dbus ] ||
        {{ systemctl reset-failed $unit; systemctl start $unit; }}
done
for unit in prometheus thanos-rule; do systemctl kill --kill-who=main -s HUP $unit; done
{_OBJECT}
[ ! -e /etc/thanos/compactor/bucket.yml ] || object -X DELETE
true"""
"""What no run of the deploy takes away: others' files, and units that somebody stopped come back by it."""
