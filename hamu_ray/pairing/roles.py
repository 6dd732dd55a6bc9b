"""Which worker computes which objective, on which part of the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from torch import Tensor


class Role(StrEnum):
    """An objective that a worker holds the data of."""

    RETAIN = "retain"
    FORGET = "forget"


@dataclass(frozen=True)
class Part:
    """A worker's roles, and its place among the workers that share them."""

    roles: tuple[Role, ...]
    index: int
    size: int

    def shard(self, batch: Tensor) -> Tensor:
        """Return this worker's examples of a role's global batch: disjoint over workers, covering it."""
        return batch.tensor_split(self.size)[self.index]


def roles_by_rank(size: int, needed: Sequence[Role], forget_workers: int | None = None) -> tuple[Role, ...]:
    """Return each rank's one role in a group of two workers or more.

    Where one role is needed, all workers share it. Otherwise the forget workers, half of all by default, are spread
    evenly over the ranks: even ranks hold the retain shard and odd ranks the forget shard.

    Raises:
        ValueError: The workers cannot be shared out between the two roles.
    """
    if len(needed) == 1:
        return (needed[0],) * size
    if forget_workers is None:
        if size % 2:
            raise ValueError(
                f"two roles need an even number of workers or a number of forget workers, found {size}"
            )
        forget_workers = size // 2
    if not 0 < forget_workers < size:
        raise ValueError(f"both roles need a worker, found {forget_workers} forget workers of {size}")
    # Rank r is a forget worker where the forget workers' running share of the ranks reaches the next whole number.
    steps = [rank * forget_workers // size for rank in range(size + 1)]
    return tuple(Role.FORGET if after > before else Role.RETAIN for before, after in pairwise(steps))


def assign(rank: int, size: int, needed: Sequence[Role], forget_workers: int | None = None) -> Part:
    """Return the part of a worker in a group of ``size``; one worker alone takes all needed roles in turn."""
    if size == 1:
        return Part(tuple(needed), 0, 1)
    roles = roles_by_rank(size, needed, forget_workers)
    return Part((roles[rank],), roles[:rank].count(roles[rank]), roles.count(roles[rank]))
