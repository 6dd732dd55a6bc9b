"""The part of the test examples that a sweep searches and selects by."""

import numpy as np
from numpy.typing import NDArray

VALIDATION = "validation"
"""Name of the part."""

SEED = 2310_12508
"""The draw is part of the data: it is the same for every run."""


def validation_mask(size: int, fraction: float) -> NDArray[np.bool_]:
    """Return which of the test examples are for validation, bool ``(size,)``; none for a fraction of 0.

    Raises `ValueError`, in one line with the key and the remedy, if the fraction leaves one of the parts empty.
    """
    mask = np.zeros(size, dtype=np.bool_)
    if fraction == 0:
        return mask
    count = round(size * fraction)
    if not 0 < count < size:
        raise ValueError(
            f"data.validation: {fraction:g} of {size} test examples leaves none for one of the two parts; "
            "set another fraction, or 0"
        )
    mask[np.random.default_rng(SEED).permutation(size)[:count]] = True
    return mask
