"""Metrics of several models side by side."""

from math import isnan

from rich.table import Table

from hamu_ray.metrics.measured import Measures
from hamu_ray.results.wording import number


def metrics_table(columns: dict[str, Measures]) -> Table:
    """Return a table with a column per model and a row per metric; cells of missing metrics are empty.

    Metrics that these data do not have, which are NaN for every model, are left out.
    """
    table = Table(box=None)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for metric in {metric: None for measures in columns.values() for metric in measures}:
        if all(isnan(measures.get(metric, float("nan"))) for measures in columns.values()):
            continue
        cells = [number(measures[metric]) if metric in measures else "" for measures in columns.values()]
        table.add_row(metric, *cells)
    return table
