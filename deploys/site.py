"""The platform, from the ground up. `pyinfra inventory.py deploys/site.py` runs the steps in this order on every host;
each is also a deploy file of its own, and `--limit` renders the same files as a run of all.
"""

from prometheus_ha.deploys import (
    alert_relay,
    alertmanager,
    base,
    blackbox_exporter,
    bucket_web,
    compactor,
    firewall,
    kernel,
    logrotate,
    minio,
    node_exporter,
    preflight,
    prometheus,
    querier,
    query_frontend,
    receive,
    rule,
    seaweedfs,
    sidecar,
    software,
    store,
    timesync,
    upper,
    web,
)
from prometheus_ha.deploys.lib.run import rollout


def run() -> None:
    """All of it, on every host."""
    preflight.deploy()  # refuse what can be refused before any change
    base.deploy()  # account, directories, limits
    firewall.deploy()  # the host's own, where it is told to open
    kernel.deploy()  # sysctl
    timesync.deploy()  # a clock that is kept
    software.deploy()  # releases, fetched and verified on all hosts at once; nothing goes live yet
    web.deploy()  # certificates, users and passwords of every HTTP port: read again by themselves

    rollout.leave()  # what a host has no part in any more

    # One explicit line a role: each is staged and checked on all its hosts, then goes live host by host.
    logrotate.deploy()  # before the daemons, whose first lines it keeps
    node_exporter.deploy()
    blackbox_exporter.deploy()  # asked by Prometheus, about others
    alert_relay.deploy()  # group bots, beside each Alertmanager
    alertmanager.deploy()
    alert_relay.finish()  # where no route leads to it any more
    seaweedfs.deploy()
    minio.deploy()
    store.deploy()
    receive.deploy()  # before those that write to it
    prometheus.deploy()
    sidecar.deploy()
    querier.deploy()
    rule.deploy()  # asks the queriers
    query_frontend.deploy()
    compactor.deploy()
    bucket_web.deploy()
    upper.deploy()
    firewall.finish()  # ports that daemons moved away from
    web.finish()  # what the daemons were started with before, and read no more


if __name__ == "builtins":  # as a deploy file
    run()
