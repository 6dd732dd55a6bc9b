"""Unlearning from Python: `sweep` and `Unlearner` take a model, datasets, a loss and metrics as objects."""
