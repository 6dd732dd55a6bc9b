"""Studies: sweeps of several search seeds in one process, their table, and how to run a published one again."""
