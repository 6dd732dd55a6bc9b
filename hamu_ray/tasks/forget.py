"""Forget sets for every task: a random fraction of the training examples, or those that a request selects."""

import numpy as np

from hamu_ray.config.task.forget import AnyNamed, ForgetRandom
from hamu_ray.tasks.request import Indices, Source, requested

FORGET_STREAM = 1
"""Separates this random stream from others with the same seed."""


def forget_generator(seed: int) -> np.random.Generator:
    """Return the generator for the draws of a forget set."""
    return np.random.default_rng((seed, FORGET_STREAM))


def drawn(config: ForgetRandom, candidates: Indices, seed: int, of: str) -> Indices:
    """Return a random fraction of the candidates, int64, unordered; the seed determines it.

    ``of`` describes the candidates in errors. Raises `ValueError` if the fraction is empty.
    """
    chosen = forget_generator(seed).permutation(len(candidates))[: round(config.share * len(candidates))]
    if len(chosen) == 0:
        raise ValueError(f"forget.share: {config.share} of {len(candidates)} {of} is empty; raise it")
    return candidates[chosen]


def chosen_indices(config: ForgetRandom | AnyNamed, source: Source, seed: int, of: str) -> Indices:
    """Return the unique indices of the forget set among those used: int64, unordered.

    Raises `ValueError` if there are none, or if a request selects something that does not exist.
    """
    if isinstance(config, ForgetRandom):
        count = source.count if source.used is None else len(source.used)
        return drawn(config, np.arange(count), seed, of)
    return requested(config, source)
