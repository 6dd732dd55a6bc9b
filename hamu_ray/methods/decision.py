"""What a weighting decides for one step, and the measures of hardness that come with it."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor


class Branch(IntEnum):
    """How a block's weights came about."""

    FIXED = 0
    """Weights that do not depend on the gradients."""
    DIRECT = 1
    """No conflict: the step that would be taken without the other objective."""
    RECTIFIED = 2
    """Conflict: the step is turned away from what would harm the other objective."""
    COLINEAR = 3
    """HAMU: the gradients span a line, along which the constraint is met with equality."""
    INFEASIBLE = 4
    """HAMU: no step within the radius meets the constraint; the shortest that does is taken, outside the
    radius."""
    SKIPPED = 5
    """HAMU: no step, because no step can meet the constraint or the settings ask for none."""
    SOLVED = 6
    """Weights from another library's weighting, which does not say how they came about."""


@dataclass(frozen=True, eq=False)
class Constraint:
    """HAMU's constraint in every block; tensors ``(blocks,)`` float64 on the gradients' device."""

    total: Tensor
    """B of the whole model, 0-d: the least first-order change of the guaranteed loss, before it is shared
    out."""
    needed: Tensor
    """B of each block."""
    radius: Tensor
    """R of each block, in the units of the weights."""
    feasibility: Tensor
    """``B / (R |f|)``, needed over available: above 1 no step within the radius meets the constraint."""
    feasible: Tensor
    """Whether a step within the radius meets the constraint, bool ``(blocks,)``."""
    stopping_terms: Tensor
    """``R sqrt(r.r f.f - (r.f)^2) / |r|``: the most that the guaranteed loss can change at first order
    while the other stays the same. Once they sum to less than B, the two objectives can no longer both be
    served."""


@dataclass(frozen=True, eq=False)
class Decision:
    """Weights of one step, with what they were decided on; nothing here has been copied to the host.

    Derived measures are computed when asked for, so that a step that logs nothing does not pay for them.
    """

    weights: Tensor
    """``(blocks, 2)`` float64: (a, b) of each block's equivalent gradient ``a r + b f``, which plain SGD at
    the current learning rate turns into the method's step."""
    gram: Tensor
    """``(blocks, 2, 2)`` float64: the Gram matrices that the weights were decided on (after clipping, where
    it is on)."""
    branch: Tensor
    """`Branch` codes ``(blocks,)``, int64."""
    constraint: Constraint | None = None
    """Only of methods that have one."""

    @property
    def retain_retain(self) -> Tensor:
        """``r.r`` of each block ``(blocks,)``."""
        return self.gram[:, 0, 0]

    @property
    def retain_forget(self) -> Tensor:
        """``r.f`` of each block ``(blocks,)``: above 0, forgetting harms retaining at first order."""
        return self.gram[:, 0, 1]

    @property
    def forget_forget(self) -> Tensor:
        """``f.f`` of each block ``(blocks,)``."""
        return self.gram[:, 1, 1]

    @property
    def angle(self) -> Tensor:
        """Angle between each block's gradients ``(blocks,)``, degrees; 90 where one of them is zero."""
        return _angle(self.gram)

    @property
    def infeasible_blocks(self) -> Tensor:
        """Number of blocks whose constraint no step within the radius meets, 0-d (0 without constraint)."""
        if self.constraint is None:
            return self.branch.new_zeros(())
        return (~self.constraint.feasible).sum()

    @property
    def stopping_margin(self) -> Tensor | None:
        """Sum of HAMU's stopping terms less B, 0-d. None for methods without a constraint."""
        if self.constraint is None:
            return None
        return self.constraint.stopping_terms.sum() - self.constraint.total

    @property
    def criterion_met(self) -> Tensor | None:
        """HAMU's stopping criterion: whether the margin is below 0, 0-d bool. None without a constraint."""
        margin = self.stopping_margin
        return None if margin is None else margin < 0

    @property
    def finite(self) -> Tensor:
        """Whether all Gram entries and weights are finite, 0-d bool; no if a gradient is NaN or infinite."""
        return torch.isfinite(self.gram).all() & torch.isfinite(self.weights).all()

    @property
    def per_block(self) -> Tensor:
        """The diagnostics of every block, float64 ``(diagnostics, blocks)``; rows as in `block_names`."""
        rows = [self.retain_retain, self.forget_forget, self.retain_forget, self.angle, self.branch.double()]
        if self.constraint is not None:
            limits = self.constraint
            rows += [
                limits.needed,
                limits.radius,
                limits.feasibility,
                limits.feasible.double(),
                limits.stopping_terms,
            ]
        return torch.stack(rows)

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the rows of `per_block`."""
        names: tuple[str, ...] = ("retain_retain", "forget_forget", "retain_forget", "angle", "branch")
        if self.constraint is not None:
            names += ("constraint", "radius", "feasibility", "feasible", "stopping_term")
        return names

    def totals(self) -> dict[str, Tensor]:
        """Return the step's measures over the whole model as 0-d tensors, by their names in logs.

        The keys after ``gradient_angle`` are there only for methods with a constraint.
        """
        whole = self.gram.sum(0)
        norms = whole.diagonal().sqrt()
        totals = {
            "retain_norm": norms[0],
            "forget_norm": norms[1],
            "gradient_dot": whole[0, 1],
            "gradient_cosine": _cosine(whole),
            "gradient_angle": _angle(whole),
        }
        if self.constraint is not None and self.stopping_margin is not None:
            totals["constraint"] = self.constraint.total
            totals["infeasible_blocks"] = self.infeasible_blocks
            totals["stopping_margin"] = self.stopping_margin
        return totals


def _cosine(gram: Tensor) -> Tensor:
    """Cosine ``(...)`` between the vectors of Gram matrices ``(..., 2, 2)``; 0 where one of them is zero."""
    norms = gram.diagonal(dim1=-2, dim2=-1).sqrt().prod(-1)
    return torch.where(norms == 0, 0.0, gram[..., 0, 1] / norms).clamp(-1.0, 1.0)


def _angle(gram: Tensor) -> Tensor:
    """Angle ``(...)`` in degrees between the vectors of Gram matrices ``(..., 2, 2)``; 90 where one of them
    is zero."""
    return torch.rad2deg(torch.acos(_cosine(gram)))
