"""The table of variance components: what is due to training, and what to unlearning."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hamu_ray.reports.analysis.problems import Problem
from hamu_ray.reports.analysis.variance import Components, variances
from hamu_ray.reports.page.rows import Cell
from hamu_ray.results.wording import NONE, number, percent

TRAINING_COSTS = (1, 10, 100)
"""Costs of training both models, in unlearnings, for which a split of the budget is shown."""


@dataclass(frozen=True)
class VarianceRow:
    """The variance components of one objective for a method."""

    method: str
    metric: str
    cells: list[Cell]


def variance_rows(problem: Problem) -> list[VarianceRow]:
    """Return a row for each method and objective whose runs were repeated on several trainings."""
    return [
        VarianceRow(one.method, one.metric, list(_variance_cells(one.components)))
        for one in variances(problem)
    ]


def _variance_cells(found: Components) -> Iterator[Cell]:
    yield Cell(str(found.trainings), found.trainings)
    yield Cell(str(found.runs), found.runs)
    for variance in (found.training, found.unlearning):
        yield Cell(number(math.sqrt(variance)), variance)
    share = found.share
    yield Cell(f"{percent(share.mean)} [{percent(share.low)}, {percent(share.high)}]", share.mean)
    for cost in TRAINING_COSTS:
        best = found.best_repeats(cost)
        text = "as many as possible" if math.isinf(best) else NONE if math.isnan(best) else f"{best:.0f}"
        yield Cell(text, best)
