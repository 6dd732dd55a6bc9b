"""The nodes of a cluster: capacity, autoscaling, shared storage, notices of spot nodes."""
