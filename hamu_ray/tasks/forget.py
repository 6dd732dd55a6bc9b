"""Forget sets that any task can have: a random share of the training examples, or those that a request names."""

import numpy as np

from hamu_ray.config.forget import AnyNamed, ForgetRandom
from hamu_ray.tasks.request import Indices, Source, requested

FORGET_STREAM = 1
"""Keeps this draw apart from others that start from the same seed."""


def forget_generator(seed: int) -> np.random.Generator:
    """Return the generator of the draws that decide on a forget set."""
    return np.random.default_rng((seed, FORGET_STREAM))


def drawn(config: ForgetRandom, candidates: Indices, seed: int, of: str) -> Indices:
    """Return a random share of the candidates, int64, in no order; the seed decides.

    ``of`` says in errors what they are. Raises `ValueError` where the share is none.
    """
    chosen = forget_generator(seed).permutation(len(candidates))[: round(config.share * len(candidates))]
    if len(chosen) == 0:
        raise ValueError(f"forget.share: {config.share} of {len(candidates)} {of} is none")
    return candidates[chosen]


def chosen_indices(config: ForgetRandom | AnyNamed, source: Source, seed: int, of: str) -> Indices:
    """Return the distinct indices of the forget set, among those used: int64, in no order.

    Raises `ValueError` where there are none, and for a request that names what is not there.
    """
    if isinstance(config, ForgetRandom):
        count = source.count if source.used is None else len(source.used)
        return drawn(config, np.arange(count), seed, of)
    return requested(config, source)
