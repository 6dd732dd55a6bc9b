"""The validated schema of runs and sweeps, and the files that contain them."""
