"""Selecting a point of a Pareto front, and confirming it with new seeds."""
