"""Ray Train worker groups, the pool that assigns them to trials, and the connection to the cluster."""
