"""Assignment of objectives and of parts of the batch to workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from torch import Tensor


class Role(StrEnum):
    """The objective that a worker computes."""

    RETAIN = "retain"
    FORGET = "forget"


@dataclass(frozen=True)
class Part:
    """A worker's roles, and its rank among the workers that share them."""

    roles: tuple[Role, ...]
    index: int
    size: int

    def shard(self, batch: Tensor) -> Tensor:
        """Return this worker's shard of a global batch; the shards of all workers are a partition of it."""
        return batch.tensor_split(self.size)[self.index]

    def divided(self, index: int, size: int) -> "Part":
        """Return one of ``size`` equal parts of this part: those of the workers that hold a replica in shards."""
        return Part(self.roles, self.index * size + index, self.size * size)


def roles_by_rank(size: int, needed: Sequence[Role], forget_workers: int | None = None) -> tuple[Role, ...]:
    """Return the role of each rank in a group of two workers or more.

    If only one role is needed, all workers share it. Otherwise the forget workers, half of all by default, are spread
    evenly over the ranks: by default, even ranks are retain workers and odd ranks are forget workers.

    Raises:
        ValueError: The workers cannot be divided between the two roles.
    """
    if len(needed) == 1:
        return (needed[0],) * size
    if forget_workers is None:
        if size % 2:
            raise ValueError(
                f"two roles need an even number of workers, or a given number of forget workers, found {size} workers"
            )
        forget_workers = size // 2
    if not 0 < forget_workers < size:
        raise ValueError(
            f"both roles need at least one worker, found {forget_workers} forget workers of {size}"
        )
    # Rank r is a forget worker if the cumulative number of forget workers, rounded down, increases at r.
    steps = [rank * forget_workers // size for rank in range(size + 1)]
    return tuple(Role.FORGET if after > before else Role.RETAIN for before, after in pairwise(steps))


def assign(rank: int, size: int, needed: Sequence[Role], forget_workers: int | None = None) -> Part:
    """Return the roles of a worker in a group of ``size``; a single worker computes all needed roles in turn."""
    if size == 1:
        return Part(tuple(needed), 0, 1)
    roles = roles_by_rank(size, needed, forget_workers)
    return Part((roles[rank],), roles[:rank].count(roles[rank]), roles.count(roles[rank]))
