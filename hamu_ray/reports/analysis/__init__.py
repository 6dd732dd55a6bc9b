"""Statistics behind the report: comparable trials, paired tests, importance of hyperparameters, step diagnostics."""
