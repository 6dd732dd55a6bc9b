"""The order of the examples: a pure function of the seed, identical on every worker and after a restart."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from hamu_ray.pairing.group import Group
from hamu_ray.pairing.roles import Part


class Batches:
    """An endless sequence of global batches for one role.

    Each epoch is shuffled and split into batches whose sizes differ by at most one, so there is no small last batch.
    Batch ``step`` depends only on the seed and the step.
    """

    def __init__(self, examples: Tensor, batch_size: int, seed: int) -> None:
        """Create the sequence.

        Args:
            examples: Indices of the examples, int64 on the CPU.
            batch_size: Largest size of a global batch.
            seed: Seed of this role's order.
        """
        if len(examples) == 0:
            raise ValueError("no examples to draw batches from")
        self.examples = examples
        self.per_pass = -(-len(examples) // batch_size)
        self.seed = seed
        self._pass = lru_cache(maxsize=1)(self._shuffled)

    def __call__(self, step: int) -> Tensor:
        """Return the indices of the examples in the global batch of a step, counted from 0."""
        number, position = divmod(step, self.per_pass)
        return self._pass(number)[position]

    def _shuffled(self, number: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(len(self.examples), generator=generator)
        return self.examples[order].tensor_split(self.per_pass)


def micro_batches(
    batch: Tensor, part: Part, shards: Group, split: Callable[[Tensor], Sequence[Tensor]]
) -> Iterator[tuple[Tensor, float]]:
    """Yield a worker's micro-batches of a global batch, each with its weight; ``split`` divides a worker's examples.

    The shards of a replica compute together, so that all of them get the same number: those with fewer repeat an
    example with weight 0.
    """
    first = part.index - shards.rank
    shares = batch.tensor_split(part.size)[first : first + shards.size]
    parts = [[examples for examples in split(share) if len(examples)] for share in shares]
    mine = parts[shards.rank]
    yield from ((examples, 1.0) for examples in mine)
    for _ in range(max(map(len, parts)) - len(mine)):
        yield batch[:1], 0.0
