"""Selection of the forget set among the training images. Needs no torch, so it is fast to check."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamu_ray.config.task.vision import ForgetClass, ForgetConfig
from hamu_ray.tasks.forget import chosen_indices, forget_generator
from hamu_ray.tasks.request import Indices, Source


@dataclass(frozen=True, eq=False)
class ForgetSplit:
    """A partition of the training images into forget and retain, as sorted int64 indices."""

    retain: Indices
    forget: Indices
    forgotten_class: int | None
    """The class that is forgotten, in part or whole; None for a draw from all classes."""


def split_examples(
    labels: Indices,
    class_names: Sequence[str],
    config: ForgetConfig,
    seed: int,
    source: Source | None = None,
) -> ForgetSplit:
    """Return the images to forget and those to retain.

    ``labels`` is int64 ``(n,)`` of the training images. A request selects rows of ``source``, to which these images
    belong; without a source, the images are all rows and have no columns. The seed determines every draw. Draws for
    different rho and equal seed are nested: a larger rho replaces the same images and more.

    Raises `ValueError` for a class or row that does not exist, and if one of the parts is empty.
    """
    forgotten_class: int | None = None
    if isinstance(config, ForgetClass):
        label = class_index(config.label, class_names)
        forget = _class_with_swaps(labels, label, config, forget_generator(seed))
        forgotten_class = label if config.rho < 1 else None
    else:
        source = source or Source("the training images", len(labels))
        forget = chosen_indices(config, source, seed, "training images")
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[forget] = True
    if chosen.all():
        raise ValueError(
            f"forget: all {len(labels)} training images are in the forget set; none is left to retain"
        )
    retain, forget = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    return ForgetSplit(retain, forget, forgotten_class)


def class_index(label: int | str, class_names: Sequence[str]) -> int:
    """Return the index of a class given by index or by name; raises `ValueError`."""
    if isinstance(label, str) and label in class_names:
        return class_names.index(label)
    if isinstance(label, int) and 0 <= label < len(class_names):
        return label
    known = ", ".join(f"{number}={name}" for number, name in enumerate(class_names[:20]))
    more = f" and {len(class_names) - 20} more" if len(class_names) > 20 else ""
    raise ValueError(f"forget.label: there is no class {label!r}; the classes are {known}{more}")


def _class_with_swaps(
    labels: Indices, label: int, config: ForgetClass, generator: np.random.Generator
) -> Indices:
    """Return as many indices as the class has images, with a fraction rho of them replaced by other images.

    With rho 1 they are drawn from the whole training set, including the class.
    """
    members = generator.permutation(np.flatnonzero(labels == label))
    others = generator.permutation(np.flatnonzero(labels != label))
    everything = generator.permutation(len(labels))
    if len(members) == 0:
        raise ValueError(f"forget.label: no training image has class {label}")
    swapped = round(config.rho * len(members))
    kept = members[: len(members) - swapped]
    if config.rho == 1 or config.swap_from == "rest":
        others = everything[~np.isin(everything, kept)]
    if swapped > len(others):
        raise ValueError(
            f"forget.rho: {config.rho} swaps {swapped} of the class's {len(members)} images, "
            f"but the other classes have {len(others)}"
        )
    return np.concatenate([kept, others[:swapped]])
