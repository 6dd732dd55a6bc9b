"""The order of the examples: a pure function of the seed, the same for every worker and after a restart."""

from functools import lru_cache

import torch
from torch import Tensor


class Batches:
    """A role's endless sequence of global batches.

    Each pass over the examples is shuffled anew and cut into batches that differ in size by one at most, so that
    no batch is a small rest. Batch ``step`` depends on the seed and the step alone.
    """

    def __init__(self, examples: Tensor, batch_size: int, seed: int) -> None:
        """Take example numbers (int64, CPU), the largest global batch, and the seed of this role's order."""
        if len(examples) == 0:
            raise ValueError("no examples to draw batches from")
        self.examples = examples
        self.per_pass = -(-len(examples) // batch_size)
        self.seed = seed
        self._pass = lru_cache(maxsize=1)(self._shuffled)

    def __call__(self, step: int) -> Tensor:
        """Return the examples of the global batch of a step, counted from 0."""
        number, position = divmod(step, self.per_pass)
        return self._pass(number)[position]

    def _shuffled(self, number: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(len(self.examples), generator=generator)
        return self.examples[order].tensor_split(self.per_pass)
