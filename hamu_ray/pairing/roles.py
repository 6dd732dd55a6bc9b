"""Which worker computes which objective, on which part of the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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


def assign(rank: int, size: int, needed: Sequence[Role]) -> Part:
    """Return the part of a worker in a group of ``size``.

    One worker takes all needed roles in turn. Where one role is needed, all workers share it. Otherwise even
    ranks hold the retain shard and odd ranks the forget shard.

    Raises:
        ValueError: ``size`` is odd and above one while two roles are needed.
    """
    if size == 1:
        return Part(tuple(needed), 0, 1)
    if len(needed) == 1:
        return Part(tuple(needed), rank, size)
    if size % 2:
        raise ValueError(f"two roles need one worker or an even number, found {size}")
    return Part(((Role.RETAIN, Role.FORGET)[rank % 2],), rank // 2, size // 2)
