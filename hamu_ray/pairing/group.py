"""The group of workers that compute one run together."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
"""The collectives' new names, or their names before torch 2.14."""

COLLECTIVE_TIMEOUT_SECONDS = 7 * 24 * 3600
"""Timeout of PyTorch's collectives. It does not serve to detect hangs (see `workers.heartbeat`): a worker may wait in a
collective for as long as another one trains a base model or writes a file.
"""


class PeerLost(RuntimeError):
    """A collective failed because another worker of the group died or is unreachable."""


@contextmanager
def peers_needed() -> Iterator[None]:
    """Within, errors are those of a collective; raises `PeerLost`."""
    try:
        yield
    except RuntimeError as error:  # type of the errors of gloo and NCCL
        raise PeerLost(str(error).splitlines()[0]) from error


class Traffic:
    """Counter of the bytes that a rank sends; in each of these collectives it receives the same number."""

    def __init__(self) -> None:
        """Start at zero."""
        self.bytes = 0

    def add(self, count: int) -> None:
        """Count a collective."""
        self.bytes += count


class Group(Protocol):
    """A worker's view of the group. All ranks must make the same calls in the same order."""

    rank: int
    size: int
    traffic: Traffic

    def all_gather(self, values: Tensor) -> Tensor:
        """Stack the equally shaped tensors of all ranks: ``(size, *shape)``."""
        ...

    def all_to_all(self, rows: Tensor) -> Tensor:
        """Send row i to rank i; return the received rows in order of rank. Both are ``(size, n)``."""
        ...

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenate the rows of all ranks in order of rank; the number of rows may differ."""
        ...

    def agree(self, value: int) -> int:
        """Return rank 0's value on every rank."""
        ...

    def split(self, shards: int) -> tuple["Group", "Group"]:
        """Return the group of the workers with the same shard as this one, and that of its replica's shards.

        ``shards`` adjacent ranks hold one replica of the model together; the size of the group is a multiple of it.
        """
        ...


class Alone:
    """A group of one process."""

    rank = 0
    size = 1

    def __init__(self) -> None:
        """Create the group."""
        self.traffic = Traffic()

    def all_gather(self, values: Tensor) -> Tensor:
        """Return the tensor with a leading dimension of 1."""
        return values.unsqueeze(0)

    def all_to_all(self, rows: Tensor) -> Tensor:
        """Return the row unchanged."""
        return rows

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows unchanged."""
        return rows

    def agree(self, value: int) -> int:
        """Return the value unchanged."""
        return value

    def split(self, shards: int) -> tuple[Group, Group]:
        """Return this group twice: a single process holds the whole model."""
        return self, self


class Distributed:
    """A process group of `torch.distributed`: the default one, initialised by Ray Train or torchrun, or a part of it.

    With gloo, GPU tensors are copied through host memory. It is used where workers share a GPU, which NCCL does not
    support.
    """

    def __init__(
        self, process_group: dist.ProcessGroup | None = None, traffic: Traffic | None = None
    ) -> None:
        """Use the initialised default process group, or a part of it that counts the same ``traffic``."""
        default = dist.group.WORLD
        assert default is not None, "torch.distributed is initialised"
        self.process_group = process_group or default
        self.rank = dist.get_rank(self.process_group)
        self.size = dist.get_world_size(self.process_group)
        self.traffic = traffic or Traffic()
        self._device = torch.device("cuda" if dist.get_backend(self.process_group) == "nccl" else "cpu")
        self._splits: dict[int, tuple[Group, Group]] = {1: (self, Alone()), self.size: (Alone(), self)}

    def all_gather(self, values: Tensor) -> Tensor:
        """Stack the equally shaped tensors of all ranks: ``(size, *shape)``."""
        sent = values.contiguous().view(-1).to(self._device)
        gathered = sent.new_empty(self.size * sent.numel())
        with peers_needed():
            all_gather_single(gathered, sent, group=self.process_group)
        self.traffic.add((self.size - 1) * values.nbytes)
        return gathered.to(values.device).view(self.size, *values.shape)

    def all_to_all(self, rows: Tensor) -> Tensor:
        """Send row i to rank i; return the received rows in order of rank. Both are ``(size, n)``."""
        sent = rows.contiguous().to(self._device)
        received = torch.empty_like(sent)
        with peers_needed():
            dist.all_to_all_single(received, sent, group=self.process_group)
        self.traffic.add((self.size - 1) * rows[0].nbytes)
        return received.to(rows.device)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenate the rows of all ranks in order of rank; shorter inputs are padded for sending."""
        counts = self.all_gather(torch.tensor([len(rows)], device=self._device)).flatten().tolist()
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        gathered = self.all_gather(padded)
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])

    def agree(self, value: int) -> int:
        """Return rank 0's value on every rank."""
        agreed = torch.tensor([value], device=self._device)
        with peers_needed():
            dist.broadcast(agreed, group=self.process_group, group_src=0)
        return int(agreed.item())

    def split(self, shards: int) -> tuple[Group, Group]:
        """Return the group of the workers with the same shard as this one, and that of its replica's shards.

        Every rank must call it. Process groups are created once.
        """
        if shards not in self._splits:
            replicas = torch.arange(self.size).view(-1, shards)
            self._splits[shards] = self._part_of(replicas.T), self._part_of(replicas)
        return self._splits[shards]

    def _part_of(self, groups: Tensor) -> "Distributed":
        """Create disjoint groups of ranks, one per row; return this rank's."""
        timeout = timedelta(seconds=COLLECTIVE_TIMEOUT_SECONDS)
        own, _ = dist.new_subgroups_by_enumeration(groups.tolist(), timeout=timeout)
        assert isinstance(own, dist.ProcessGroup), "every rank is in one of the groups"
        return Distributed(own, self.traffic)
