"""Mapping between a checkpoint's classes and the data set's. Needs no torch."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.tasks.models.checkpoints import Checkpoint
from hamu_ray.tasks.vision.images.preprocessing import checkpoint_of

PLACEHOLDER = re.compile(r"LABEL_\d+")
"""Names that `transformers` gives to unnamed classes."""

NAMED = 8
"""Maximum number of class names in a message."""


def output_order(names: Sequence[str], model: ModelConfig) -> NDArray[np.int64]:
    """Return the model's output index for each class of the data set, int64 ``(classes,)``.

    A checkpoint that names its classes determines it; without names, and with a new head, the data set's order is used.
    Raises `ValueError` that lists both if the classes differ.
    """
    checkpoint = checkpoint_of(model)
    if checkpoint is None or model.new_head:
        return np.arange(len(names))
    return order_of(names, checkpoint)


def order_of(names: Sequence[str], checkpoint: Checkpoint) -> NDArray[np.int64]:
    """Return a checkpoint's output index for each class of the data set, int64 ``(classes,)``; raises `ValueError`."""
    theirs = class_names(checkpoint)
    unnamed = all(PLACEHOLDER.fullmatch(name) for name in theirs) or list(names) == [
        *map(str, range(len(names)))
    ]
    if len(theirs) == len(names) and unnamed:
        return np.arange(len(names))
    if sorted(theirs) != sorted(names) or len(set(theirs)) != len(theirs):
        raise ValueError(
            f"{checkpoint.key}: {checkpoint.name} has the classes {_listed(theirs)}, the data set {_listed(names)}; "
            "rename the data set's classes to match, or request a new head to learn them"
        )
    return np.array([theirs.index(name) for name in names], dtype=np.int64)


def class_names(checkpoint: Checkpoint) -> list[str]:
    """Return a checkpoint's class names, in the order of its outputs."""
    named = checkpoint.config.get("id2label")
    if not isinstance(named, dict):
        # transformers omits placeholder names; its default is two classes
        return [f"LABEL_{number}" for number in range(int(checkpoint.config.get("num_labels", 2)))]
    return [str(named[number]) for number in sorted(named, key=int)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more} ({len(names)})"
