"""The lab's site (tests/lab): its hosts, and all that they are told. `make site` deploys it.

Your own site is a directory elsewhere: `.venv/bin/python -m prometheus_ha new DIRECTORY` makes one, and
`pyinfra DIRECTORY/inventory.py deploys/site.py` deploys it. Nothing here is read then.

A group is a list of hosts, or such a list and the settings of its hosts; `all` has the settings of every host. Hosts
are changed one after another in the order in which they are first named here.
"""

import os

from tests.lab import plan

# A Prometheus replica and its Thanos sidecar. Replicas of one `cluster` scrape the same targets and
# differ in `replica`, which queries and alerts drop again.
prometheus = (
    [
        plan.host("prom-1", replica="replica-01"),
        plan.host("prom-2", replica="replica-02"),
    ],
    {
        # Remote write (spec/000 7) to the lab's receiver, which has TLS and a password.
        "prometheus_secret_files": {
            "ca.crt": "secret:file:secrets/tls/ca.crt",
            "remote_write_password": "secret:file:secrets/remote_write_password",
        },
        "prometheus_config": {
            "remote_write": [
                {
                    "url": plan.REMOTE_WRITE_URL,
                    "queue_config": {"max_shards": 200, "capacity": 2500, "max_samples_per_send": 500},
                    "basic_auth": {
                        "username": "writer",
                        "password_file": "/etc/prometheus/secrets/remote_write_password",
                    },
                    "tls_config": {"ca_file": "/etc/prometheus/secrets/ca.crt"},
                    "write_relabel_configs": [
                        {"source_labels": ["__name__"], "regex": "^go_.*", "action": "drop"},
                        # Not all there is: it would cost this small machine as much again as scraping does.
                        {
                            "source_labels": ["__name__"],
                            "regex": "go_.*|node_(load|time_).*|up|job:.*|ALERTS|prometheus_build_info",
                            "action": "keep",
                        },
                    ],
                },
                # A little of it to the lab's hashring too.
                {
                    "url": plan.RING_URL,
                    "write_relabel_configs": [{"source_labels": ["__name__"], "regex": "node_load1", "action": "keep"}],
                },
            ]
        },
        # The mirror, some hosts, and a querier's StoreAPI.
        "probes": plan.PROBES,
    },
)

# The Alertmanager cluster. Every Prometheus sends to every member, and they agree on who notifies.
alertmanager = (
    [
        plan.host("am-1"),
        plan.host("am-2"),
        plan.host("am-3"),
    ],
    {
        # A sink that records them gets the notifications, and the Watchdog.
        "alertmanager_webhook_url": "secret:file:secrets/webhook_url",
        "deadman_url": "secret:file:secrets/deadman_url",
        # Stand-ins for group bots: the receivers feishu, dingtalk and wecom.
        "alert_channels": plan.CHANNELS,
        "alertmanager_config": {"route": {"routes": plan.CHAT_ROUTES}},
    },
)

# The Thanos queriers: one view of all replicas, deduplicated.
querier = [
    plan.host("query-1"),
    plan.host("query-2"),
]

# A hashring that takes remote write, and keeps each sample on `receive_replication` of its members.
receive = [
    plan.host("ring-1"),
    plan.host("ring-2"),
    plan.host("ring-3"),
]

# Rulers: rules over what several Prometheus have. Each evaluates all of them.
rule = (
    [
        plan.host("ring-1"),
        plan.host("ring-2"),
    ],
    {
        # An aggregate over clusters.
        "rule_rules": {
            "global.yml": {
                "groups": [
                    {
                        "name": "global",
                        "rules": [{"record": "cluster_job:up:sum", "expr": "sum by (cluster, job) (up)"}],
                    }
                ]
            }
        },
    },
)

# Before the queriers: answers that were given before are kept.
query_frontend = [
    plan.host("query-1"),
    plan.host("query-2"),
]

# The object store, where it is not one of your own: SeaweedFS on one host, without redundancy.
seaweedfs = [
    plan.host("store-1"),
]

# What is in the bucket and on no local disk any more. Each of them reads all of it.
store = [
    plan.host("store-1"),
    plan.host("query-2"),
]

# One for the bucket: two would spoil it.
compactor = [
    plan.host("store-1"),
]

# The bucket's blocks on a page.
bucket_web = [
    plan.host("store-1"),
]

# A Prometheus above the clusters, for a view of all of them or a longer memory. It federates what
# `federation_match` names from every replica, or takes what the replicas send by remote write.
upper = (
    [
        plan.host("upper-1", cluster="upper"),
        plan.host(
            "receiver-1",
            cluster="upper",
            federation_match=[],
            prometheus_remote_write_receiver=True,
            web_config={
                "tls_server_config": {"cert_file": "host.pem", "key_file": "host.pem"},
                "basic_auth_users": {
                    "site": "secret:file:secrets/web_password.bcrypt",
                    "writer": "secret:file:secrets/remote_write_password.bcrypt",
                },
            },
        ),
    ],
    {"prometheus_retention_time": "90d"},
)

# From here others are probed: URLs, ports, hosts. A Prometheus asks an exporter of another host than the
# target's where there is one.
blackbox_exporter = [
    plan.host("query-1"),
    plan.host("ring-3"),
]

_TLS = {
    "tls_server_config": {"cert_file": "host.pem", "key_file": "host.pem"},
    "basic_auth_users": {"site": "secret:file:secrets/web_password.bcrypt"},
}

all = (  # pyinfra's name, with the hosts in the order of their turns
    [
        *("prom-1", "prom-2", "am-1", "am-2", "am-3", "query-1", "query-2"),
        *("ring-1", "ring-2", "ring-3", "store-1", "upper-1", "receiver-1"),
    ],
    {
        **plan.SETTINGS,
        # Object storage, in the keys of Thanos, and who may do what in it: each component has a key of its own, and
        # admin's makes the bucket. The lab's is the SeaweedFS of the group `seaweedfs`.
        "bucket_config": {
            "type": "S3",
            "config": {"bucket": plan.BUCKET, "endpoint": plan.S3_ENDPOINT, "insecure": True},
        },
        "bucket_keys": {
            name: {
                "access_key": f"secret:file:secrets/s3_{name}_access_key",
                "secret_key": f"secret:file:secrets/s3_{name}_secret_key",
            }
            for name in (
                *("thanos-sidecar", "thanos-store", "thanos-compactor", "thanos-rule", "thanos-receive"),
                *("thanos-bucket-web", "admin"),
            )
        },
        # A certificate of the lab's CA for each host, and a password. receiver-1 always has its port under both; with
        # WEB=tls every host has.
        "web_files": {
            "ca.crt": "secret:file:secrets/tls/ca.crt",
            "host.pem": "secret:file:secrets/tls/{host}.pem",
        },
        "web_client": {
            "tls_config": {"ca_file": "ca.crt"},
            "basic_auth": {"username": "site", "password": "secret:file:secrets/web_password"},
        },
        **({"web_config": _TLS} if os.environ.get("WEB") == "tls" else {}),
    },
)
