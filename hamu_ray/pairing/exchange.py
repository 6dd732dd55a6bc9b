"""How the workers' gradients meet."""

import torch
from torch import Tensor

from hamu_ray.pairing.group import Group
from hamu_ray.pairing.roles import Role


class AllGather:
    """Every rank receives every rank's gradient: optimal for two workers, and one process alone is its trivial case.

    Workers contribute sums already divided by their role's global count, so that the sum over a role's workers is
    the mean over its global batch. Sums run in order of rank: every rank gets the same bits.
    """

    def __init__(self, group: Group, needed: tuple[Role, ...]) -> None:
        """Take the group and the roles that the method needs."""
        self.group = group
        self.needed = needed
        self._absent: Tensor | None = None

    def meet(self, local: dict[Role, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the retain and the forget gradient ``(n,)`` from this worker's parts ``(n,)``.

        A role that the method does not need has a gradient of zeros.
        """
        if self.group.size == 1:
            means = local
        else:
            (mine,) = local.values()
            gathered = self.group.all_gather(mine)
            stride = len(self.needed)
            means = {role: gathered[i::stride].sum(0) for i, role in enumerate(self.needed)}
        return self._or_zeros(means, Role.RETAIN), self._or_zeros(means, Role.FORGET)

    def _or_zeros(self, means: dict[Role, Tensor], role: Role) -> Tensor:
        if role in means:
            return means[role]
        if self._absent is None:
            self._absent = torch.zeros_like(next(iter(means.values())))
        return self._absent
