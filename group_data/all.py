"""Settings of every host. deploys/lib/settings.py describes each one and its default.

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

# --- The lab's own values: delete them for your own hosts. ----------------------------------------

# The lab's hosts have no way out, and get the archives from a mirror on this machine.
base_url = plan.MIRROR_URL

# spec/000 names Thanos 0.32.0, which cannot be built as a Go module: 0.32.2 stands in for it.
if release == "reference":
    versions = {"thanos": "0.32.2"}
