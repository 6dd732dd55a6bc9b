"""The Pareto front as figures and tables, and the HTML report."""
