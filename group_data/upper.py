"""Settings of the Prometheus above the clusters; those of any Prometheus apply to them as well."""

# How long local blocks are kept: longer than below, as what is federated is little. A change
# restarts each of them, and nobody stands in for it meanwhile.
prometheus_retention_time = "90d"

# What is federated from every replica of every cluster (spec/000 8): here single jobs, and what
# recording rules have summed up. A change reloads. Empty: nothing.
#
#   federation_match = ['{job="node_exporter"}', '{__name__=~"job:.*"}']

# Take what others send by remote write, at https://ADDRESS:9090/api/v1/write. A change restarts.
#
#   prometheus_remote_write_receiver = True
