"""Values of single examples, measured after a run has ended: its model M beside the original O and the reference R."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.files.given import built
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.engine.resident import Resident
from hamu_ray.metrics.activations import linear_cka, principal_components
from hamu_ray.pairing.group import Alone
from hamu_ray.results.durable.listing import write_listed
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.items import (
    DRAWN,
    ITEMS_FILE,
    LAYERS_FILE,
    MOST_ITEMS,
    SHOWN,
    SPLITS,
    Block,
    dump_items,
    dump_layers,
)
from hamu_ray.results.outcome import Report, Verdict
from hamu_ray.storage import StoragePath
from hamu_ray.tasks.items import Columns, Places
from hamu_ray.tasks.layers import PENULTIMATE
from hamu_ray.tasks.task import Task

PAIRS = (("M", "O"), ("M", "R"), ("R", "O"))
"""The pairs of models whose layers are compared."""

SAMPLE_STREAM = 5
"""Separates the random stream of the sample from others with the same seed."""

Activations = Mapping[str, Mapping[str, np.ndarray]]
"""Activations by split and layer."""


def write_items(run: RunConfig, resident: Resident, folder: StoragePath) -> None:
    """Measure single examples of a run's model, its original and its reference; write two files to its folder.

    See `hamu_ray.results.items`. Raises `ValueError` if a model is missing or the data cannot be used.
    """
    task = resident.task(run)
    items = task.items
    places = sampled(items.sizes, run.training_seed)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    activations: dict[str, Activations] = {}
    for name, model in models_of(run, task, resident, folder):
        activations[name] = {
            split: items.activations(model, split, thinned(places[split])) for split in SPLITS
        }
        points = drawn(activations[name])
        for split, every in places.items():
            found = items.values(model, split, every)
            at = np.searchsorted(every, thinned(every))
            axes = {
                axis: spread(at, points[split][:, i], len(every))
                for i, axis in enumerate("xy")
                if split in points
            }
            rows[name, split] = {"model": name, "split": split, "index": every, **found, **axes}
    order = farthest_first(rows)
    shown = places["forget"][order]
    for name, model in models_of(run, task, resident, folder) if items.generates else ():
        answers = items.answers(model, "forget", shown)
        rows[name, "forget"] |= columns_at(order, answers, len(places["forget"]))
    contents = {"rank": range(len(order)), **items.contents("forget", shown)}
    rows["M", "forget"] |= columns_at(order, contents, len(places["forget"]))
    layers = dump_layers(list(similarities(activations)))
    examples = dump_items(list(rows.values()), items.class_names, items.sizes)
    write_listed(folder, {LAYERS_FILE: layers, ITEMS_FILE: examples})  # the latter says that both are there


def models_of(
    run: RunConfig, task: Task, resident: Resident, folder: StoragePath
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the original, the reference if there is one, and the run's model; each is invalid after the next."""
    original, reference = base_models(run, task, Alone(), _go_on, resident.models)
    yield "O", built(task, run.training_seed, original.source)
    if reference is not None:
        yield "R", built(task, run.training_seed, reference.source)
    model = task.unlearner(built(task, run.seed, original.source), run.seed)
    load_model(model, folder / MODEL_FILE)
    yield "M", model


def _go_on(report: Report) -> Verdict:
    return Verdict.GO_ON


def sampled(sizes: Mapping[str, int], seed: int) -> dict[str, Places]:
    """Return the examples of each split that are measured, sorted: all, or a random sample."""
    generator = np.random.default_rng((seed, SAMPLE_STREAM))
    return {
        split: np.sort(generator.permutation(sizes.get(split, 0))[: MOST_ITEMS[split]]) for split in SPLITS
    }


def thinned(places: Places) -> Places:
    """Return the examples whose activations are compared: at most `DRAWN`, evenly spaced."""
    if len(places) <= DRAWN:
        return places
    return places[np.linspace(0, len(places) - 1, DRAWN).astype(np.int64)]


def farthest_first(rows: Mapping[tuple[str, str], Block]) -> Places:
    """Return the examples to forget, those whose losses under M and R differ most first; at most `SHOWN`.

    Without a reference, those with the lowest loss under M are first. Losses that are not finite are last.
    """
    losses = np.asarray(rows["M", "forget"].get("loss", []), dtype=np.float64)
    known = rows.get(("R", "forget"))
    distance = -losses if known is None else np.abs(losses - np.asarray(known["loss"]))
    return np.argsort(-np.nan_to_num(distance, nan=-np.inf, posinf=-np.inf), kind="stable")[:SHOWN]


def spread(places: Places, values: Any, count: int) -> list[Any]:
    """Return a column with these values at these places, None elsewhere."""
    column: list[Any] = [None] * count
    for place, value in zip(places.tolist(), values, strict=True):
        column[place] = value
    return column


def columns_at(places: Places, columns: Columns, count: int) -> dict[str, list[Any]]:
    """Return several columns with values at these places; see `spread`."""
    return {name: spread(places, values, count) for name, values in columns.items()}


def drawn(activations: Activations) -> dict[str, np.ndarray]:
    """Return the first two principal components of one model's activations before its output, by split."""
    layers = {split: found.get(PENULTIMATE) for split, found in activations.items()}
    parts = {split: values for split, values in layers.items() if values is not None}
    if not parts:
        return {}
    points = principal_components(np.concatenate(list(parts.values())), 2)
    ends = np.cumsum([len(values) for values in parts.values()])[:-1]
    return dict(zip(parts, np.split(points, ends), strict=True))


def similarities(activations: Mapping[str, Activations]) -> Iterator[Block]:
    """Yield the similarity of each layer, by its place, of each pair of models on each split."""
    for one, other in PAIRS:
        if one not in activations or other not in activations:
            continue
        for split in SPLITS:
            first, second = activations[one][split], activations[other][split]
            pairs = list(zip(second, first.values(), second.values(), strict=False))
            yield {
                "layer": [name for name, _, _ in pairs],
                "pair": one + other,
                "split": split,
                "cka": [linear_cka(x, y) for _, x, y in pairs],
            }
