"""A sweep on Ray Tune: plan, Optuna search, pruning, trials, tracking of their events, and results."""
