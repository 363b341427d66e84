"""Which host plays which part: the one list of the site's hosts.

It names the lab's hosts (tests/lab). For your own, write them here instead:

    prometheus = [
        ("mon-a", {"ssh_hostname": "10.0.0.11", "replica": "replica-01"}),
        ("mon-b", {"ssh_hostname": "10.0.0.12", "replica": "replica-02"}),
    ]
    alertmanager = [
        ("mon-a", {}),
        ("mon-b", {}),
        ("mon-c", {"ssh_hostname": "mgmt.example.org", "service_address": "10.0.0.13"}),
    ]
    querier = [("mon-c", {})]
    blackbox_exporter = [("mon-a", {}), ("mon-c", {})]
    store = [("mon-c", {})]
    compactor = [("mon-c", {})]
    upper = [("global-1", {"ssh_hostname": "10.0.9.11", "cluster": "global"})]
    node_exporter = [("db-1", {"ssh_hostname": "10.0.0.21"})]

A host may be in several groups; its data is given once. `ssh_hostname`, `ssh_user`, `ssh_key` and
`_sudo` say how pyinfra reaches it; `service_address` says where the other hosts reach its services,
where that is not `ssh_hostname`. Every further setting (docs/settings.md has them all) may
stand here for one host, or in group_data/ for all hosts or one group. Hosts are changed one after
another in the order in which they are first named here. A group of your own begins with `x_`.
"""

from tests.lab import plan

# A Prometheus replica and its Thanos sidecar. Replicas of one `cluster` scrape the same targets and
# differ in `replica`, which queries and alerts drop again.
prometheus = [
    plan.host("prom-1", replica="replica-01"),
    plan.host("prom-2", replica="replica-02"),
]

# The Alertmanager cluster. Every Prometheus sends to every member, and they agree on who notifies.
alertmanager = [
    plan.host("am-1"),
    plan.host("am-2"),
    plan.host("am-3"),
]

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
rule = [
    plan.host("ring-1"),
    plan.host("ring-2"),
]

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
upper = [
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
]

# From here others are probed: URLs, ports, hosts. A Prometheus asks an exporter of another host than the
# target's where there is one.
blackbox_exporter = [
    plan.host("query-1"),
    plan.host("ring-3"),
]
