"""Settings of the hosts that run a Thanos ruler; the members must agree."""

# Rules over what several Prometheus have, in upstream's keys: aggregates over clusters, or over what
# comes by remote write. What one Prometheus has belongs into its own rules (prometheus_rules), which
# need no querier. A change reloads. A group without partial_response_strategy gets "warn": it is
# evaluated while a store is away.
rule_rules = {
    "global.yml": {
        "groups": [
            {
                "name": "global",
                "rules": [{"record": "cluster_job:up:sum", "expr": "sum by (cluster, job) (up)"}],
            }
        ]
    }
}

# Send what is recorded by remote write, and keep no blocks. A change restarts, one at a time.
#
#   rule_remote_write = [{"url": "http://10.0.1.61:10908/api/v1/receive"}]
