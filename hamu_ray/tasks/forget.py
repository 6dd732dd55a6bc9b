"""Forget sets that any task can have: a random share of the training examples, or those that a file lists."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hamu_ray.config.vision import ForgetIndices, ForgetRandom

Positions = NDArray[np.int64]

FORGET_STREAM = 1
"""Keeps this draw apart from others that start from the same seed."""


def forget_generator(seed: int) -> np.random.Generator:
    """Return the generator of the draws that decide on a forget set."""
    return np.random.default_rng((seed, FORGET_STREAM))


def chosen_positions(config: ForgetRandom | ForgetIndices, count: int, seed: int, of: str) -> Positions:
    """Return the distinct positions below ``count`` that are to be forgotten, int64, in no order.

    ``of`` says in errors what they are positions of. Raises `ValueError` where there are none, and for a file
    that lists others.
    """
    if isinstance(config, ForgetIndices):
        return read_positions(Path(config.path), count, of)
    drawn = forget_generator(seed).permutation(count)[: round(config.share * count)]
    if len(drawn) == 0:
        raise ValueError(f"forget.share: {config.share} of {count} {of} is none")
    return drawn


def read_positions(path: Path, count: int, of: str = "training images") -> Positions:
    """Read distinct positions below ``count`` from a text file, one a line; blank lines are passed over.

    ``of`` says in errors what they are positions of.

    Raises `ValueError` that names the file and the line.
    """
    try:
        lines = path.expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(
            f"forget.path: {path} cannot be read: {reason}; give a text file with a position on each line"
        ) from error
    seen: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit()):
            raise ValueError(
                f"forget.path: {path}, line {number}: {text[:40]!r} is not a position (0, 1, ...)"
            )
        position = int(text)
        if position >= count:
            raise ValueError(
                f"forget.path: {path}, line {number}: there is no position {position}; "
                f"the {count} {of} have 0 to {count - 1}"
            )
        if position in seen:
            raise ValueError(
                f"forget.path: {path}, line {number}: {position} is on line {seen[position]} already"
            )
        seen[position] = number
    if not seen:
        raise ValueError(f"forget.path: {path} lists no positions; there is nothing to forget")
    return np.fromiter(seen, dtype=np.int64)
