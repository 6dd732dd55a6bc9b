"""The Pareto front of a sweep: its layout, and its figures and tables."""
