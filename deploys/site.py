"""The platform, from the ground up. `pyinfra inventory.py deploys/site.py` runs the steps in this order on every host;
each is also a deploy file of its own, and `--limit` renders the same files as a run of all.
"""

from deploys import (
    alertmanager,
    base,
    kernel,
    logrotate,
    node_exporter,
    preflight,
    prometheus,
    querier,
    software,
    timesync,
)

preflight.deploy()  # refuse what can be refused before any change
base.deploy()  # account, directories, limits
kernel.deploy()  # sysctl
timesync.deploy()  # a clock that is kept
software.deploy()  # releases, fetched and verified on all hosts at once; nothing goes live yet

# One explicit line a role: each is staged and checked on all its hosts, then goes live host by host.
logrotate.deploy()  # before the daemons, whose first lines it keeps
node_exporter.deploy()
alertmanager.deploy()
prometheus.deploy()
querier.deploy()
