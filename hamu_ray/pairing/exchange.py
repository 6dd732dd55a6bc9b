"""Exchange of gradients and updated parameters between the workers of a group.

Workers contribute sums that are already divided by their role's global count, so that the sum over a role's workers is
the mean over its global batch. All sums run in order of rank, so every rank gets bitwise identical results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from hamu_ray.pairing.group import Group
from hamu_ray.pairing.roles import Role, roles_by_rank

Strategy = Literal["all_gather", "segments"]
Wire = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ExchangedGradients:
    """Both gradients in the segment of the parameters that this worker updates.

    The gradient of a role without workers is zero and takes no memory; the others may be overwritten.
    """

    retain: Tensor
    forget: Tensor
    losses: Tensor
    """Retain and forget loss ``(2,)``; summed over all workers only by `Exchange.total`."""


class Exchange(Protocol):
    """The communication of one step. Every rank calls `meet`, `total` and `publish`, in that order."""

    segment: slice
    """The part of the padded flat parameters that this worker updates."""

    def meet(self, local: dict[Role, Tensor]) -> ExchangedGradients:
        """Exchange the workers' gradients; return both in this worker's segment."""
        ...

    def total(self, gram: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Sum Gram matrices and losses over the segments of all workers."""
        ...

    def publish(self, values: Tensor) -> None:
        """Distribute the updated segments of the flat parameters to all workers, in place."""
        ...


class AllGather:
    """All-gather: every rank receives all gradients and updates all parameters.

    One collective per step, which is optimal for two workers. A single process needs no communication.
    """

    def __init__(
        self, group: Group, roles: Sequence[tuple[Role, ...]], size: int, wire: Wire = "float32"
    ) -> None:
        """Create the exchange from each rank's role, the padded number of parameters, and the dtype on the wire."""
        self.group = group
        self.segment = slice(0, size)
        self.wire = wire
        self._roles = roles

    def meet(self, local: dict[Role, Tensor]) -> ExchangedGradients:
        """Return both gradients in full; the gradient of a role without workers is zero."""
        if self.group.size == 1:
            sums = local
        else:
            (mine,) = local.values()
            gathered = unpack(self.group.all_gather(pack(mine, self.wire)), self.wire)
            sums = sum_by_role(gathered, [roles[0] for roles in self._roles])
        absent = _zeros_like(next(iter(local.values())))
        retain, forget = (sums.get(role, absent) for role in Role)
        return ExchangedGradients(retain[:-1], forget[:-1], torch.stack((retain[-1], forget[-1])))

    def total(self, gram: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Return the arguments unchanged: they already cover all parameters."""
        return gram, losses

    def publish(self, values: Tensor) -> None:
        """Do nothing: this worker has updated all parameters."""


class Segments:
    """Sharded exchange: every rank receives and updates one segment, then the segments are gathered.

    Each rank sends about twice the size of the parameters per step, independent of the number of workers; an all-gather
    of gradients would grow with it. The optimizer state is sharded in the same way.
    """

    def __init__(
        self, group: Group, roles: Sequence[tuple[Role, ...]], size: int, wire: Wire = "float32"
    ) -> None:
        """Take the arguments of `AllGather`; ``size`` is a multiple of the number of workers."""
        self.group = group
        self.wire = wire
        self._length = size // group.size
        self.segment = slice(group.rank * self._length, (group.rank + 1) * self._length)
        self._roles = [ranks_roles[0] for ranks_roles in roles]

    def meet(self, local: dict[Role, Tensor]) -> ExchangedGradients:
        """Return this rank's segment of both gradients, and its own contribution to the losses."""
        ((role, mine),) = local.items()
        pieces = mine[:-1].view(self.group.size, self._length)
        received = self.group.all_to_all(pieces.to(getattr(torch, self.wire))).float()
        sums = sum_by_role(received, self._roles)
        absent = _zeros_like(received[0])
        losses = torch.stack([mine[-1] if own is role else mine.new_zeros(()) for own in Role])
        return ExchangedGradients(sums.get(Role.RETAIN, absent), sums.get(Role.FORGET, absent), losses)

    def total(self, gram: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over the ranks: a few values per block."""
        return summed(self.group, gram, losses)

    def publish(self, values: Tensor) -> None:
        """Gather the updated segments."""
        values.copy_(self.group.all_gather(values[self.segment].clone()).view(-1))


def make_exchange(
    group: Group,
    needed: tuple[Role, ...],
    size: int,
    *,
    strategy: Strategy | None = None,
    wire: Wire = "float32",
    forget_workers: int | None = None,
) -> Exchange:
    """Return ``strategy``'s exchange; by default `all_gather` for one or two workers, else `segments`."""
    if group.size == 1:
        return AllGather(group, [needed], size)
    roles = [(role,) for role in roles_by_rank(group.size, needed, forget_workers)]
    chosen = strategy or default_strategy(group.size)
    return (AllGather if chosen == "all_gather" else Segments)(group, roles, size, wire)


def summed(group: Group, gram: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of Gram matrices and losses over the ranks of a group."""
    if group.size == 1:
        return gram, losses
    flat = torch.cat((gram.flatten(), losses.to(gram.dtype)))
    total = group.all_gather(flat).sum(0)
    return total[:-2].view_as(gram), total[-2:].to(losses.dtype)


def default_strategy(workers: int) -> Strategy:
    """Return the strategy that sends the least data."""
    return "all_gather" if workers <= 2 else "segments"


def _zeros_like(values: Tensor) -> Tensor:
    """Return zeros of a flat tensor's shape, expanded from a single element."""
    return values.new_zeros(()).expand(values.shape)


def sum_by_role(rows: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
    """Return the sum of each role's rows, in order of rank."""
    sums: dict[Role, Tensor] = {}
    for row, role in zip(rows, roles, strict=True):
        sums[role] = sums[role] + row if role in sums else row
    return sums


def pack(buffer: Tensor, wire: Wire) -> Tensor:
    """Encode a gradient and its loss for sending; the loss keeps 32 bits."""
    if wire == "float32":
        return buffer
    return torch.cat((buffer[:-1].bfloat16(), buffer[-1:].view(torch.bfloat16)))


def unpack(gathered: Tensor, wire: Wire) -> Tensor:
    """Decode rows encoded by `pack` to float32."""
    if wire == "float32":
        return gathered
    losses = gathered[:, -2:].contiguous().view(torch.float32)
    return torch.cat((gathered[:, :-2].float(), losses), dim=1)
