"""Settings of the hosts that run Prometheus and its Thanos sidecar."""

from tests.lab import plan

# How long local blocks are kept: the time that queries go back without object storage, and the
# outage of it that loses nothing. A change restarts Prometheus, one replica at a time.
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

# --- The lab's own values: replace them for your own hosts. ---------------------------------------

# Object storage for the sidecar's uploads, in the keys of Thanos. A change restarts the sidecars.
# Without it nothing is uploaded.
bucket_config = {
    "type": "S3",
    "config": {
        "bucket": "thanos",
        "endpoint": plan.S3_ENDPOINT,
        "access_key": "secret:file:secrets/s3_access_key",
        "secret_key": "secret:file:secrets/s3_secret_key",
        "insecure": True,
    },
}
