"""The group of workers that compute one run together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
"""The collective's new name, or its name before torch 2.14."""


class PeerLost(RuntimeError):
    """A collective failed because another worker of the group died or is unreachable."""


@contextmanager
def _peers_needed() -> Iterator[None]:
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


class Distributed:
    """The default process group of `torch.distributed`, already initialised by Ray Train or torchrun.

    With gloo, GPU tensors are copied through host memory. It is used where workers share a GPU, which NCCL does not
    support.
    """

    def __init__(self) -> None:
        """Use the initialised default process group."""
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.traffic = Traffic()
        self._device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")

    def all_gather(self, values: Tensor) -> Tensor:
        """Stack the equally shaped tensors of all ranks: ``(size, *shape)``."""
        sent = values.contiguous().view(-1).to(self._device)
        gathered = sent.new_empty(self.size * sent.numel())
        with _peers_needed():
            _all_gather(gathered, sent)
        self.traffic.add((self.size - 1) * values.nbytes)
        return gathered.to(values.device).view(self.size, *values.shape)

    def all_to_all(self, rows: Tensor) -> Tensor:
        """Send row i to rank i; return the received rows in order of rank. Both are ``(size, n)``."""
        sent = rows.contiguous().to(self._device)
        received = torch.empty_like(sent)
        with _peers_needed():
            dist.all_to_all_single(received, sent)
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
        with _peers_needed():
            dist.broadcast(agreed, src=0)
        return int(agreed.item())
