"""MLflow: writing sweeps through an outbox, and reading them back."""
