"""Object stores: S3 servers for the bucket."""

from __future__ import annotations

from prometheus_ha.deploys.lib.daemons.declare import (
    Daemon,
    Flag,
    Group,
    Number,
    Port,
    Product,
)
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.facts.reports.plain import plain_calls, read_plain

SEAWEEDFS_PRODUCT = Product(
    name="seaweedfs",
    repository="seaweedfs/seaweedfs",
    binaries=("weed",),
    oldest="4.48",
    unpacked=250,
    web_keys={},
    tag="{version}",
    file="linux_{arch}.tar.gz",
    sums="{file}.md5",
    flat=True,
    version_command="version",
    parts=2,
)

# The last ones that upstream published binaries of, before it ended both (docs/storage.md).
LAST_MINIO = "RELEASE.2025-09-07T16-13-09Z"
LAST_MC = "RELEASE.2025-08-13T08-35-41Z"


def _minio(name: str, last: str, unpacked: int) -> Product:
    return Product(
        name=name,
        repository=f"minio/{name}",
        binaries=(name,),
        oldest=last,
        unpacked=unpacked,
        web_keys={},
        tag="{version}",
        file="{component}.linux-{arch}.{version}",
        sums="{file}.sha256sum",
        raw=True,
        parts=0,
    )


MINIO_PRODUCT = _minio("minio", LAST_MINIO, 260)
MC = _minio("mc", LAST_MC, 80)

SEAWEEDFS_DIR = "/etc/seaweedfs"
SEAWEEDFS_KEYS = f"{SEAWEEDFS_DIR}/s3.json"
SEAWEEDFS_SECURITY = f"{SEAWEEDFS_DIR}/security.toml"
"""Upstream's name; it is found by its directory."""
SEAWEEDFS_PEM = f"{SEAWEEDFS_DIR}/grpc.pem"
SEAWEEDFS_DATA = "/var/lib/seaweedfs/data"
MINIO_DIR = "/etc/minio"
MINIO_ENV = f"{MINIO_DIR}/minio.env"
"""The root user of MinIO: its own configuration, which it reads at its start."""
MINIO_KEYS_DIR = f"{MINIO_DIR}/keys"
"""Users and policies as `mc` is to make them, and the root user as `mc` needs it."""
MINIO_CERTS = f"{MINIO_DIR}/certs"
"""Where it looks for a certificate, and finds none."""
MINIO_KEYS = f"{topology.TOOLS_DIR}/minio-keys"
"""The tool that has `mc` make them."""
MINIO_DATA = "/var/lib/minio/data"

LOOPBACK = "127.0.0.1"

SEAWEEDFS = Daemon(
    name="seaweedfs",
    group=Group("seaweedfs", "SeaweedFS, an S3 server for the bucket: one host, no redundancy"),
    product=SEAWEEDFS_PRODUCT,
    binary="weed",
    distribution=None,
    job_name="seaweedfs",
    samples=500,
    calls=plain_calls("/metrics", "SeaweedFS_build_info"),
    parse=read_plain,
    # The HTTP port has metrics and nothing else.
    ready_path="/metrics",
    healthy_path="/metrics",
    build_info="SeaweedFS_build_info",
    ports={
        "http": Port("seaweedfs_metrics_port", "metricsPort"),
        "s3": Port("seaweedfs_port", "s3.port", twin=10000),
    },
    web=False,
    # Master, volume server and filer, and the gRPC port of each.
    internal=(9333, 19333, 8080, 18080, 8888, 18888),
    config_dir=SEAWEEDFS_DIR,
    data_dir=SEAWEEDFS_DATA,
    rights=(),
    keys=SEAWEEDFS_KEYS,
    unit="seaweedfs",
    description="SeaweedFS, an S3 server",
    documentation="https://github.com/seaweedfs/seaweedfs/wiki",
    # It waits 15 s for its own streams to end, which never do, and stores nothing meanwhile.
    # What it has acknowledged is written by then.
    stop_seconds=5,
    reload_paths=(SEAWEEDFS_KEYS,),
    restart_paths=(SEAWEEDFS_SECURITY,),
    subcommand=("-logtostderr", f"-config_dir={SEAWEEDFS_DIR}", "server"),
    dashes="-",
    flags=(
        Flag("dir", SEAWEEDFS_DATA),
        Flag("ip", LOOPBACK, why="by it master, filer and volume server know each other"),
        Flag("ip.bind", LOOPBACK, why="who reaches the filer reads everything without a key"),
        Flag(
            "master.volumeSizeLimitMB",
            1024,
            free=True,
            why="of upstream's 30 GB a small disk holds none",
        ),
        Flag("master.telemetry", "false"),
        Flag("master.electionTimeout", "1s", free=True, why="nobody else stands for election"),
        Flag("volume.max", 0, free=True, why="as many volumes as the disk holds"),
        Flag("volume.preStopSeconds", 0, free=True, why="nobody else could take over meanwhile"),
        Flag("filer", True),
        Flag("s3", True),
        Flag("s3.ip.bind", "0.0.0.0", free=True),  # of both families
        Flag("s3.port", Number("s3"), setting="seaweedfs_port"),
        Flag("s3.config", SEAWEEDFS_KEYS, setting="bucket_keys"),
        Flag("s3.iam", "false", why="keys come from the inventory"),
        Flag("s3.port.iceberg", 0),
        Flag("s3.port.lance", 0),
        Flag("metricsIp", "0.0.0.0", free=True),
        Flag("metricsPort", Number(), setting="seaweedfs_metrics_port"),
    ),
    extra="seaweedfs_flags",
    refused={
        **dict.fromkeys(("iam*", "s3.iam.*"), "keys come from the inventory"),
        **dict.fromkeys(("sftp*", "webdav*", "mq.*"), "another door to the same objects"),
        **dict.fromkeys(("s3.cert.file", "s3.key.file", "s3.port.*"), "its port is asked by plain HTTP"),
        "master.peers": "it is a single host",
        "options": "they belong on the command line, where a change is seen",
    },
    durations={},
)

MINIO = Daemon(
    name="minio",
    group=Group("minio", "MinIO, an S3 server for the bucket, which its upstream has ended: one host, no redundancy"),
    product=MINIO_PRODUCT,
    binary="minio",
    tools=(MC,),
    distribution=None,
    job_name="minio",
    samples=1000,
    estimated=True,
    calls=plain_calls("/minio/v2/metrics/cluster", "minio_software_version_info"),
    parse=read_plain,
    ready_path="/minio/health/ready",
    healthy_path="/minio/health/live",
    metrics_path="/minio/v2/metrics/cluster",
    build_info="minio_software_version_info",
    ports={
        "http": Port("minio_port", "address"),
        "console": Port("minio_console_port", "console-address"),
    },
    web=False,
    config_dir=MINIO_DIR,
    inner_dirs=(MINIO_KEYS_DIR, MINIO_CERTS, f"{MINIO_CERTS}/CAs"),
    data_dir=MINIO_DATA,
    rights=(),
    keys=MINIO_ENV,
    unit="minio",
    description="MinIO, an S3 server",
    documentation="https://github.com/minio/minio/tree/master/docs",
    stop_seconds=30,
    reload_paths=(MINIO_KEYS_DIR, MINIO_KEYS),
    restart_paths=(MINIO_ENV,),
    environment={
        "MINIO_CONFIG_ENV_FILE": MINIO_ENV,
        # Its port tells nobody more than those of the other daemons do.
        "MINIO_PROMETHEUS_AUTH_TYPE": "public",
        "MINIO_UPDATE": "off",
    },
    keys_tool=MINIO_KEYS,
    # It lists the addresses of the host.
    hardening={"RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK"},
    subcommand=("server", MINIO_DATA),
    flags=(
        Flag("address", Number(prefix=":"), setting="minio_port"),
        Flag(
            "console-address",
            Number("console", ":"),
            setting="minio_console_port",
        ),
        Flag("certs-dir", MINIO_CERTS, why="its port is asked by plain HTTP"),
    ),
    extra="minio_flags",
    refused={
        **dict.fromkeys(("sftp", "ftp"), "another door to the same objects"),
        "config": "the root user comes from bucket_keys.admin",
    },
    durations={},
)
