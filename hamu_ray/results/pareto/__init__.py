"""The Pareto front of a sweep: its points, summary and table, and the pruning of trials far from it."""
