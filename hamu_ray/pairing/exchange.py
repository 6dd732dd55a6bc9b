"""How the workers' gradients meet, and how the updated parameters get back to all of them.

Workers contribute sums already divided by their role's global count, so that the sum over a role's workers is the mean
over its global batch. All sums run in order of rank: every rank gets the same bits.
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
    """The two gradients in the segment of the parameters that this worker updates.

    That of a role which nobody has is zeros that take no memory; the others may be overwritten.
    """

    retain: Tensor
    forget: Tensor
    losses: Tensor
    """Retain and forget loss ``(2,)``; over all workers after `Exchange.total`."""


class Exchange(Protocol):
    """One step's communication. Every rank calls `meet`, `total` and `publish`, in that order."""

    segment: slice
    """The part of the padded flat parameters that this worker updates."""

    def meet(self, local: dict[Role, Tensor]) -> ExchangedGradients:
        """Return the gradients in this worker's segment, from the buffers that the workers computed."""
        ...

    def total(self, gram: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Gram matrices and losses of all segments from those of this worker's."""
        ...

    def publish(self, values: Tensor) -> None:
        """Let every worker have every segment of the flat parameters, in place."""
        ...


class AllGather:
    """Every rank receives every gradient and updates all parameters: one collective a step, optimal for two workers.

    One process alone is its trivial case, without any.
    """

    def __init__(
        self, group: Group, roles: Sequence[tuple[Role, ...]], size: int, wire: Wire = "float32"
    ) -> None:
        """Take the roles of each rank, the padded number of parameters, and the number format on the wire."""
        self.group = group
        self.segment = slice(0, size)
        self.wire = wire
        self._roles = roles

    def meet(self, local: dict[Role, Tensor]) -> ExchangedGradients:
        """Return both gradients whole; a role without a worker gives a gradient of zeros."""
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
        """Return both as they are: this worker has seen all."""
        return gram, losses

    def publish(self, values: Tensor) -> None:
        """Do nothing: this worker has updated all."""


class Segments:
    """Every rank receives its own segment of all gradients, updates it, and the segments are gathered again.

    About twice the parameters on the wire per rank and step whatever the number of workers, where gathering every
    gradient takes as many times the parameters as there are workers. The optimizer's state is spread likewise.
    """

    def __init__(
        self, group: Group, roles: Sequence[tuple[Role, ...]], size: int, wire: Wire = "float32"
    ) -> None:
        """Take the same as `AllGather`; ``size`` is a multiple of the number of workers."""
        self.group = group
        self.wire = wire
        self._length = size // group.size
        self.segment = slice(group.rank * self._length, (group.rank + 1) * self._length)
        self._roles = [ranks_roles[0] for ranks_roles in roles]

    def meet(self, local: dict[Role, Tensor]) -> ExchangedGradients:
        """Return this rank's segment of both gradients, and its own part of the losses."""
        ((role, mine),) = local.items()
        pieces = mine[:-1].view(self.group.size, self._length)
        received = self.group.all_to_all(pieces.to(getattr(torch, self.wire))).float()
        sums = sum_by_role(received, self._roles)
        absent = _zeros_like(received[0])
        losses = torch.stack([mine[-1] if own is role else mine.new_zeros(()) for own in Role])
        return ExchangedGradients(sums.get(Role.RETAIN, absent), sums.get(Role.FORGET, absent), losses)

    def total(self, gram: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over the ranks: a few numbers per block."""
        flat = torch.cat((gram.flatten(), losses.to(gram.dtype)))
        total = self.group.all_gather(flat).sum(0)
        return total[:-2].view_as(gram), total[-2:].to(losses.dtype)

    def publish(self, values: Tensor) -> None:
        """Gather the segments that the ranks have updated."""
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
    """Return the exchange of a group: `all_gather` for one or two workers, else `segments`, unless chosen."""
    if group.size == 1:
        return AllGather(group, [needed], size)
    roles = [(role,) for role in roles_by_rank(group.size, needed, forget_workers)]
    chosen = strategy or default_strategy(group.size)
    return (AllGather if chosen == "all_gather" else Segments)(group, roles, size, wire)


def default_strategy(workers: int) -> Strategy:
    """Return the strategy that sends least."""
    return "all_gather" if workers <= 2 else "segments"


def _zeros_like(values: Tensor) -> Tensor:
    """Return zeros of a flat tensor's shape that are one element in memory."""
    return values.new_zeros(()).expand(values.shape)


def sum_by_role(rows: Tensor, roles: Sequence[Role]) -> dict[Role, Tensor]:
    """Return the sum of each role's rows, in order of rank."""
    sums: dict[Role, Tensor] = {}
    for row, role in zip(rows, roles, strict=True):
        sums[role] = sums[role] + row if role in sums else row
    return sums


def pack(buffer: Tensor, wire: Wire) -> Tensor:
    """Return a gradient with its loss as it travels; the loss keeps its 32 bits."""
    if wire == "float32":
        return buffer
    return torch.cat((buffer[:-1].bfloat16(), buffer[-1:].view(torch.bfloat16)))


def unpack(gathered: Tensor, wire: Wire) -> Tensor:
    """Return the rows of `pack` as float32."""
    if wire == "float32":
        return gathered
    losses = gathered[:, -2:].contiguous().view(torch.float32)
    return torch.cat((gathered[:, :-2].float(), losses), dim=1)
