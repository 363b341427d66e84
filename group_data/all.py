"""Settings of every host. docs/settings.md has each one and its default.

A name given again in another file of this directory, for a host in inventory.py, or as
`--data name=value` replaces the one here as a whole. Secrets are never written here, only referred
to: "secret:file:PATH" (relative to the checkout) or "secret:env:NAME".
"""

import os

from tests.lab import plan

# What runs: current, reference (spec/000's versions) or migration (spec/001's).
# A change installs the other versions beside the old ones and restarts host by host.
release = os.environ.get("RELEASE") or "current"

# Intervals of scraping, alerting and gossip: production, or drill, where all takes seconds.
# A change reloads Prometheus and Alertmanager; the Alertmanagers also restart, one by one.
profile = os.environ.get("PROFILE") or "production"

# External label `cluster` on everything these Prometheus store and send.
# A change restarts the sidecars and begins new series: choose it once.
cluster = "main"

# Time service: auto, chrony, or host where the clock belongs to the machine around a container.
timesync = "auto"

# TLS and passwords on every HTTP port, in upstream's keys; without them whoever reaches a port can
# use it. Switching them on or off restarts, host by host; a new certificate or another user needs no
# restart (README, "TLS and passwords").
#
#   web_config = {
#       "tls_server_config": {"cert_file": "host.pem", "key_file": "host.pem"},
#       "basic_auth_users": {"site": "$2y$10$...", "grafana": "$2y$10$..."},
#   }
#   web_files = {
#       "ca.crt": "secret:file:secrets/ca.crt",
#       "host.pem": "secret:file:secrets/{host}.pem",
#   }
#   web_client = {  # with what the site's own clients ask
#       "tls_config": {"ca_file": "ca.crt"},
#       "basic_auth": {"username": "site", "password": "secret:env:SITE_PASSWORD"},
#   }

# Object storage, in the keys of Thanos, and a key for each component that uses it: docs/storage.md
# says what each must be allowed to do. Without bucket_config nothing is uploaded. A change restarts
# what uses the bucket, one after another.
#
#   bucket_config = {"type": "S3", "config": {"bucket": "thanos", "endpoint": "s3.example.org"}}
#   bucket_keys = {
#       component: {
#           "access_key": f"secret:file:secrets/{component}.access_key",
#           "secret_key": f"secret:file:secrets/{component}.secret_key",
#       }
#       for component in ("thanos-sidecar", "thanos-store", "thanos-compactor", "admin")
#   }

# --- The lab's own values: delete them for your own hosts. ----------------------------------------

# The lab's hosts have no way out, and get the archives from a mirror on this machine.
base_url = plan.MIRROR_URL

# Two dozen hosts of the lab share two cores, and four Prometheus have each of their series: only what rules and tests
# look at.
node_exporter_flags = {
    "collector.disable-defaults": True,
    **{
        f"collector.{name}": True
        for name in (
            *("cpu", "diskstats", "filesystem", "loadavg", "meminfo", "netdev", "stat", "time"),
            "uname",
        )
    },
}

# spec/000 names Thanos 0.32.0, which cannot be built as a Go module: 0.32.2 stands in for it.
if release == "reference":
    versions = {"thanos": "0.32.2"}

# Object storage, in the keys of Thanos, and who may do what in it: each component has a key of its
# own, and admin's makes the bucket. The lab's is the SeaweedFS of the group `seaweedfs`.
# Another endpoint or bucket restarts what uploads and reads; another key does, too.
bucket_config = {
    "type": "S3",
    "config": {"bucket": plan.BUCKET, "endpoint": plan.S3_ENDPOINT, "insecure": True},
}
bucket_keys = {
    name: {
        "access_key": f"secret:file:secrets/s3_{name}_access_key",
        "secret_key": f"secret:file:secrets/s3_{name}_secret_key",
    }
    for name in (
        *("thanos-sidecar", "thanos-store", "thanos-compactor", "thanos-rule", "thanos-receive"),
        *("thanos-bucket-web", "admin"),
    )
}

# A certificate of the lab's CA for each host, and a password. receiver-1 always has its port under
# both (inventory.py); with WEB=tls every host has.
web_files = {
    "ca.crt": "secret:file:secrets/tls/ca.crt",
    "host.pem": "secret:file:secrets/tls/{host}.pem",
}
web_client = {
    "tls_config": {"ca_file": "ca.crt"},
    "basic_auth": {"username": "site", "password": "secret:file:secrets/web_password"},
}
if os.environ.get("WEB") == "tls":
    web_config = {
        "tls_server_config": {"cert_file": "host.pem", "key_file": "host.pem"},
        "basic_auth_users": {"site": "secret:file:secrets/web_password.bcrypt"},
    }
