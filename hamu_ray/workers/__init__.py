"""Ray Train worker groups, the pool that lends them to trials, and the cluster they run on."""
