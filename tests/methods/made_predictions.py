"""Predictions for examples with several items each."""

from collections.abc import Sequence

import torch

from hamu_ray.methods import Predictions


def predictions_of(
    lengths: Sequence[int], seed: int = 0, classes: int = 4, second: Sequence[int] | None = None
) -> Predictions:
    """Random predictions for examples with these numbers of items, and of their second answers, in float64."""
    generator = torch.Generator().manual_seed(seed)
    items = sum(lengths)
    logits, original, random = torch.randn(3, items, classes, dtype=torch.float64, generator=generator)
    near = torch.randn(
        items, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(~seed & 1023)
    )
    return Predictions(
        logits,
        labels=torch.randint(classes, (items,), generator=generator),
        examples=torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths, dtype=torch.int64)),
        count=len(lengths),
        teachers={"original": original, "random": random, "perturbed": near},
        seeds=torch.randint(1 << 40, (len(lengths),), generator=generator),
        second=None if second is None else predictions_of(second, seed + 1, classes),
    )
