"""Settings of the hosts that run Prometheus and its Thanos sidecar."""

from tests.lab import plan

# How long local blocks are kept: the time that queries go back without object storage, and the
# outage of it that loses nothing. A change reloads Prometheus, and drops at once what is too old.
prometheus_retention_time = "15d"

# Your own additions, in upstream's keys. Each is checked by promtool before it goes live, and a
# change reloads Prometheus, or not even that for targets, which it watches.
#
#   prometheus_targets = {"app": [{"targets": ["10.0.1.5:8080"], "labels": {"team": "shop"}}]}
#   prometheus_rules = {"shop.yml": {"groups": [{"name": "shop", "rules": [...]}]}}
#   prometheus_config = {
#       "scrape_configs": [{"job_name": "app-tls", "scheme": "https", ...}],
#       "remote_write": [
#           {
#               "url": "https://metrics.example.org/api/v1/push",
#               "basic_auth": {"username": "me", "password": "secret:env:REMOTE_WRITE_PASSWORD"},
#           }
#       ],
#   }
#
# What is probed from hosts of the group blackbox_exporter: HTTP, TCP, ICMP, DNS, gRPC. The platform's own ports are
# anyway (probe_platform). A change of targets is read at once, that of a job a reload.
#
#   probes = {
#       "shop": {"module": "http_2xx", "targets": ["https://shop.example.org/"], "labels": {"team": "shop"}},
#       "gateways": {"module": "icmp", "targets": ["10.0.0.1", "10.0.1.1"], "interval": "1m"},
#   }
#
# Files that those name (password_file, ca_file, cert_file, key_file), below /etc/prometheus/secrets.
# They are read whenever they are needed: a change of content takes neither reload nor restart.
#
#   prometheus_secret_files = {"client.key": "secret:file:secrets/client.key"}

# --- The lab's own values: replace them for your own hosts. ---------------------------------------

# Remote write (spec/000 7) to the lab's receiver, which has TLS and a password.
prometheus_secret_files = {
    "ca.crt": "secret:file:secrets/tls/ca.crt",
    "remote_write_password": "secret:file:secrets/remote_write_password",
}
prometheus_config = {
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
                    "regex": "(go|node)_.*|up|job:.*|ALERTS|prometheus_build_info",
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
}

# The mirror, some hosts, and a querier's StoreAPI are probed.
probes = plan.PROBES
