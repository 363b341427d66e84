"""Settings of the hosts that run a Thanos querier."""

# Labels that tell replicas apart: deduplication ignores them. A change restarts, one at a time.
replica_labels = ["replica"]

# How long a query may take. A change restarts.
querier_timeout = "2m"
