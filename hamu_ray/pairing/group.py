"""The workers that compute one run together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
"""The same collective under its new name, and under the one before torch 2.14."""


class PeerLost(RuntimeError):
    """A collective failed: another worker of the group died, or cannot be reached."""


@contextmanager
def _peers_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's and NCCL's errors are of this type
        raise PeerLost(str(error).splitlines()[0]) from error


class Traffic:
    """Bytes that a rank has sent to others; of every collective here it receives as many."""

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
        """Return the ranks' equally shaped tensors stacked: ``(size, *shape)``."""
        ...

    def all_to_all(self, rows: Tensor) -> Tensor:
        """Send row i to rank i; return the rows received, in order of rank. ``(size, n)`` both."""
        ...

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows of all ranks in order of rank; their numbers may differ."""
        ...

    def agree(self, value: int) -> int:
        """Return rank 0's value on every rank."""
        ...


class Alone:
    """One process."""

    rank = 0
    size = 1

    def __init__(self) -> None:
        """Nothing is ever sent."""
        self.traffic = Traffic()

    def all_gather(self, values: Tensor) -> Tensor:
        """Return the tensor as the only one."""
        return values.unsqueeze(0)

    def all_to_all(self, rows: Tensor) -> Tensor:
        """Return the one row."""
        return rows

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows

    def agree(self, value: int) -> int:
        """Return the value."""
        return value


class Distributed:
    """The default process group of `torch.distributed`, already initialised (by Ray Train, or torchrun).

    With gloo, tensors of a GPU travel through the host's memory: NCCL refuses workers that share a GPU.
    """

    def __init__(self) -> None:
        """Join the group that is there."""
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.traffic = Traffic()
        self._device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")

    def all_gather(self, values: Tensor) -> Tensor:
        """Return the ranks' equally shaped tensors stacked: ``(size, *shape)``."""
        sent = values.contiguous().view(-1).to(self._device)
        gathered = sent.new_empty(self.size * sent.numel())
        with _peers_needed():
            _all_gather(gathered, sent)
        self.traffic.add((self.size - 1) * values.nbytes)
        return gathered.to(values.device).view(self.size, *values.shape)

    def all_to_all(self, rows: Tensor) -> Tensor:
        """Send row i to rank i; return the rows received, in order of rank. ``(size, n)`` both."""
        sent = rows.contiguous().to(self._device)
        received = torch.empty_like(sent)
        with _peers_needed():
            dist.all_to_all_single(received, sent)
        self.traffic.add((self.size - 1) * rows[0].nbytes)
        return received.to(rows.device)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows of all ranks in order of rank; shorter parts travel padded to the longest."""
        counts = self.all_gather(torch.tensor([len(rows)], device=self._device)).flatten().tolist()
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        gathered = self.all_gather(padded)
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])

    def agree(self, value: int) -> int:
        """Return rank 0's value on every rank."""
        agreed = torch.tensor([value], device=self._device)
        with _peers_needed():
            dist.broadcast(agreed, src=0)
        return int(agreed.item())
