"""Single examples of a front's points, read from the files beside their runs."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamu_ray.reports.analysis.problems import Problem, SeedGroup
from hamu_ray.results.items import ITEMS_FILE, LAYERS_FILE, ItemTable, load_items, load_layers

MOST_POINTS = 8
"""Maximum number of points of a front that are shown in detail."""

BINS = 30
"""Number of bins of a histogram of losses."""

LEAST_LOSS = 1e-6
"""Losses below are counted as this: the axis is logarithmic."""

Floats = NDArray[np.float64]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PointItems:
    """The single examples of a point of the front."""

    group: SeedGroup
    table: ItemTable
    layers: Sequence[dict[str, Any]]
    """Rows of `LAYERS_FILE`."""


def points_with_items(problem: Problem) -> list[PointItems]:
    """Return the points of the front whose examples were kept: at most `MOST_POINTS`, with the knee and both ends."""
    found = []
    for one in chosen(problem.front, problem.knee):
        trial = one.trials[0]
        contents = [trial.sweep.source.file(trial.name_in_sweep, name) for name in (ITEMS_FILE, LAYERS_FILE)]
        if contents[0] is None or contents[1] is None:
            continue
        try:
            found.append(PointItems(one, load_items(contents[0]), load_layers(contents[1])))
        except ValueError as error:
            logger.warning("the examples of trial %s are left out: %s", trial.name_in_sweep, error)
    return found


def chosen(front: Sequence[SeedGroup], knee: SeedGroup | None) -> list[SeedGroup]:
    """Return evenly spaced points of a front, with its ends and its knee, in its order."""
    places = {int(place) for place in np.linspace(0, len(front) - 1, MOST_POINTS).round()} if front else set()
    if knee in front and front.index(knee) not in places:
        places = {*sorted(places)[:-2], max(places), front.index(knee)}
    return [front[place] for place in sorted(places)]


def histograms(table: ItemTable, split: str) -> tuple[Floats, dict[str, Floats]]:
    """Return logarithmic bin edges, float64 ``(bins + 1,)``, and the fraction of each model's examples in each bin."""
    losses = {model: table.numbers(model, split, "loss") for model in table.models}
    finite = {model: np.maximum(values[np.isfinite(values)], LEAST_LOSS) for model, values in losses.items()}
    every = np.concatenate([*finite.values(), np.empty(0)])
    if not len(every):
        return np.empty(0), {}
    low, high = np.log10(every.min()), np.log10(every.max())
    edges = np.logspace(low, max(high, low + 0.1), BINS + 1)
    edges[0], edges[-1] = min(edges[0], every.min()), max(edges[-1], every.max())
    return edges, {
        model: np.histogram(values, edges)[0] / max(1, len(losses[model])) for model, values in finite.items()
    }


def class_accuracies(table: ItemTable, split: str) -> dict[str, dict[int, float]]:
    """Return the accuracy on each class that occurs in a split, by model and class."""
    found: dict[str, dict[int, float]] = {}
    for model in table.models:
        labels, correct = table.numbers(model, split, "label"), table.numbers(model, split, "correct")
        known = sorted(set(labels[np.isfinite(labels)].astype(int)))
        found[model] = {label: float(correct[labels == label].mean()) for label in known}
    return found


@dataclass(frozen=True)
class PredictionMatrix:
    """Predictions of a model by true class."""

    rows: list[int]
    """True classes that occur."""
    columns: list[int]
    """Classes that occur, true or predicted."""
    fractions: Floats
    """float64 ``(rows, columns)``: of the examples of a true class."""


def prediction_matrix(table: ItemTable, model: str, split: str) -> PredictionMatrix | None:
    """Return a model's predictions in a split by true class; None if examples have no classes."""
    labels, predictions = (table.numbers(model, split, name) for name in ("label", "prediction"))
    known = np.isfinite(labels) & np.isfinite(predictions)
    if not known.any():
        return None
    labels, predictions = labels[known].astype(int), predictions[known].astype(int)
    rows, columns = sorted(set(labels)), sorted(set(labels) | set(predictions))
    counts = np.zeros((len(rows), len(columns)))
    np.add.at(counts, (np.searchsorted(rows, labels), np.searchsorted(columns, predictions)), 1)
    return PredictionMatrix(rows, columns, counts / counts.sum(axis=1, keepdims=True))


def shown_items(table: ItemTable) -> Iterator[dict[str, Any]]:
    """Yield the examples to forget that are kept with their content, those farthest from the reference first.

    Each is its content, and under ``models`` the values of each model by column.
    """
    ranks = table.of("M", "forget", "rank")
    columns = {model: _columns(table, model) for model in table.models}
    content = {
        name: table.of("M", "forget", name) for name in ("index", "label", "image", "question", "truth")
    }
    for place in sorted(
        (place for place, rank in enumerate(ranks) if rank is not None), key=lambda place: ranks[place]
    ):
        models = {model: {name: v[place] for name, v in found.items()} for model, found in columns.items()}
        yield {**{name: values[place] for name, values in content.items()}, "models": models}


def _columns(table: ItemTable, model: str) -> dict[str, list[Any]]:
    names = ("loss", "prediction", "confidence", "probability", "correct", "answer", "rouge")
    return {name: table.of(model, "forget", name) for name in names}


def similarity_by_layer(layers: Sequence[dict[str, Any]], split: str) -> dict[str, dict[str, float]]:
    """Return the similarity of each layer by pair of models, in the order of the layers."""
    found: dict[str, dict[str, float]] = {}
    for row in layers:
        if row["split"] == split and row["cka"] is not None:
            found.setdefault(row["pair"], {})[row["layer"]] = row["cka"]
    return found
