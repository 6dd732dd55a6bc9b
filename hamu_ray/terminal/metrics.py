"""Metrics of several models side by side."""

from rich.table import Table

from hamu_ray.metrics.measured import Measures
from hamu_ray.results.wording import number


def metrics_table(columns: dict[str, Measures]) -> Table:
    """Return a table with a column per model and a row per metric; cells of missing metrics are empty."""
    table = Table(box=None)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for metric in {metric: None for measures in columns.values() for metric in measures}:
        cells = [number(measures[metric]) if metric in measures else "" for measures in columns.values()]
        table.add_row(metric, *cells)
    return table
