"""Results of runs and sweeps as plain data: reading a finished sweep loads neither torch nor Ray nor MLflow."""
