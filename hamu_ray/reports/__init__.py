"""The Pareto front as figures and tables, and the report page."""
