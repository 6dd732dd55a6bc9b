"""What a person asks of a running sweep, as files in its folder: trials to stop, and trials to start."""
