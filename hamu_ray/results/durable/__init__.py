"""Files that survive crashes: digests, logs that are appended to, and the lease that admits one driver."""
