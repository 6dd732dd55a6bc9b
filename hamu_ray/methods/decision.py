"""What a weighting decides for one step, and the measures of hardness that come with it."""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal

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
    BEST_EFFORT = 7
    """HAMU: no step within the radius meets the constraint; the one within it that gains most is taken."""


Guaranteed = Literal["retain", "forget"]
"""The loss that a constraint is on."""

_ROUNDING = 1e-9
"""A step is within its radius, and a constraint met, up to this, relatively."""
_SUM_ROUNDING = 1e-12
"""What float64 sums over blocks may be off, relatively to the sum of the absolute values."""


@dataclass(frozen=True, eq=False)
class Constraint:
    """HAMU's constraint in every block; tensors ``(blocks,)`` float64 on the gradients' device."""

    guaranteed: Guaranteed
    """Which loss is constrained: the forget loss must rise (HAMU-Q), or the retain loss must fall
    (HAMU-U)."""
    total: Tensor
    """B of the whole model, 0-d: the least first-order change of the guaranteed loss. Of shares that do not
    sum to one, what the blocks were asked for in all."""
    needed: Tensor
    """B of each block. With the exact split, what it gains; below 0 where others gain more cheaply."""
    radius: Tensor
    """R of each block, in the units of the weights."""
    available: Tensor
    """``R |f|`` of each block (HAMU-U: ``R |r|``): the most that a step within the radius can change the
    guaranteed loss at first order."""
    feasibility: Tensor
    """``B / (R |f|)``, needed over available: above 1 no step within the radius meets the constraint."""
    feasible: Tensor
    """Whether a step within the radius meets the constraint, bool ``(blocks,)``. With the exact split the
    constraint of the whole model, the same in all blocks."""
    free: Tensor
    """H of the whole model, 0-d: the most that steps within the radii can change the guaranteed loss at first
    order while the other does not get worse, ``min over lambda >= 0 of sum of R |f - lambda r|``."""
    stopping_terms: Tensor
    """The same within each block: ``R sqrt(r.r f.f - (r.f)^2) / |r|`` where ``r.f > 0``, else ``R |f|``. Once
    they sum to less than B, the shares that the constraint was split by serve both objectives no longer."""
    gained: Tensor
    """First-order change of the guaranteed loss by the step that was decided on, of each block."""
    step_radii: Tensor
    """Length of each block's step in radii."""

    @property
    def hardness(self) -> Tensor:
        """``1 - H / A``, 0-d, within 0 and 1: the part of the available change of the guaranteed loss that
        costs the other objective something. 0: all of it is free; 1: none, or nothing is available."""
        available = self.available.sum()
        return (1 - (self.free / available).masked_fill(available == 0, 0.0)).clamp(0.0, 1.0)

    @property
    def outside_radius(self) -> Tensor:
        """Whether the step leaves the radius, bool ``(blocks,)``."""
        return self.step_radii > 1 + _ROUNDING

    @property
    def shortfall(self) -> Tensor:
        """The part of the whole model's B that the step does not gain, 0-d; 0 where it gains B.

        What is missing counts from a billionth of B, and where that is smaller than the rounding of what is
        available, from there.
        """
        missing = self.total - self.gained.sum()
        least = torch.maximum(_ROUNDING * self.total, _SUM_ROUNDING * self.available.sum())
        return (missing / self.total).masked_fill(missing <= least, 0.0)

    def scaled(self, scale: Tensor) -> "Constraint":
        """Return the constraint of the problem with both radii and constraint times ``scale``, 0-d."""
        lengths = ("total", "needed", "radius", "available", "free", "stopping_terms", "gained")
        return replace(self, **{name: getattr(self, name) * scale for name in lengths})


@dataclass(frozen=True, eq=False)
class Decision:
    """Weights of one step, with what they were decided on; nothing here has been copied to the host.

    Derived metrics are computed on access, so that a step that logs nothing does not pay for them.
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
    def exact_criterion_met(self) -> Tensor | None:
        """Whether no step within the radii meets the whole model's constraint at no first-order cost in the
        other objective, 0-d bool: H < B. None without a constraint."""
        if self.constraint is None:
            return None
        return self.constraint.free < self.constraint.total * (1 - _ROUNDING)

    @property
    def within_guarantee(self) -> Tensor | None:
        """Whether the step gains the whole model's B and stays within every block's radius, 0-d bool: of plain
        SGD's step. None for methods that guarantee nothing."""
        if self.constraint is None:
            return None
        return (self.constraint.shortfall == 0) & ~self.constraint.outside_radius.any()

    def scaled(self, scale: Tensor) -> "Decision":
        """Return the decision on the problem with radii and constraint times ``scale``, a 0-d tensor.

        Its step is the step times the scale, whatever the split and the policy where it is infeasible.
        """
        constraint = None if self.constraint is None else self.constraint.scaled(scale)
        return replace(self, weights=self.weights * scale, constraint=constraint)

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
        if self.constraint is None:
            return totals
        return totals | {
            "constraint": self.constraint.total,
            "infeasible_blocks": self.infeasible_blocks,
            "stopping_margin": self.constraint.stopping_terms.sum() - self.constraint.total,
            "hardness": self.constraint.hardness,
            "blocks_outside_radius": self.constraint.outside_radius.sum(),
            "largest_step_radii": self.constraint.step_radii.max(),
            "constraint_shortfall": self.constraint.shortfall,
        }


def _cosine(gram: Tensor) -> Tensor:
    """Cosine ``(...)`` between the vectors of Gram matrices ``(..., 2, 2)``; 0 where one of them is zero."""
    norms = gram.diagonal(dim1=-2, dim2=-1).sqrt().prod(-1)
    return torch.where(norms == 0, 0.0, gram[..., 0, 1] / norms).clamp(-1.0, 1.0)


def _angle(gram: Tensor) -> Tensor:
    """Angle ``(...)`` in degrees between the vectors of Gram matrices ``(..., 2, 2)``; 90 where one of them
    is zero."""
    return torch.rad2deg(torch.acos(_cosine(gram)))
