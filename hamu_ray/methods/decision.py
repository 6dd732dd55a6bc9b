"""The result of a weighting for one step, with the hardness diagnostics that come with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from hamu_ray.methods.deferred import torch

if TYPE_CHECKING:
    from torch import Tensor


class Branch(IntEnum):
    """How the weights of a block were determined."""

    FIXED = 0
    """Weights that do not depend on the gradients."""
    DIRECT = 1
    """No conflict: the same step as without the other objective."""
    RECTIFIED = 2
    """Conflict: components that would harm the other objective are removed from the step."""
    COLINEAR = 3
    """HAMU: the gradients are colinear, and the constraint is met with equality along their line."""
    INFEASIBLE = 4
    """HAMU: no step within the radius meets the constraint; the shortest step that does is taken, outside the radius.
    """
    SKIPPED = 5
    """HAMU: no step, because no step can meet the constraint or the hyperparameters ask for none."""
    SOLVED = 6
    """Weights from another library's weighting, which does not report how they were determined."""
    BEST_EFFORT = 7
    """HAMU: no step within the radius meets the constraint; the step within it that gains most is taken."""


Guaranteed = Literal["retain", "forget"]
"""The loss that is constrained."""

_ROUNDING = 1e-9
"""Relative tolerance for a step to count as within its radius, and a constraint as met."""
_SUM_ROUNDING = 1e-12
"""Rounding error of float64 sums over blocks, relative to the sum of the absolute values."""


@dataclass(frozen=True, eq=False)
class Constraint:
    """HAMU's constraint in every block, as ``(blocks,)`` float64 tensors on the gradients' device."""

    guaranteed: Guaranteed
    """The constrained loss: the forget loss must rise (HAMU-Q), or the retain loss must fall (HAMU-U)."""
    total: Tensor
    """B of the whole model, 0-d: the minimum first-order change of the guaranteed loss. If the shares of the blocks do
    not sum to one, the sum of what they require.
    """
    needed: Tensor
    """B of each block. With the exact split, the change that the block contributes; negative in blocks where meeting
    the constraint elsewhere is cheaper.
    """
    radius: Tensor
    """R of each block, in the units of the weights."""
    available: Tensor
    """``R |f|`` of each block (HAMU-U: ``R |r|``): the largest first-order change of the guaranteed loss by a step
    within the radius.
    """
    feasibility: Tensor
    """``B / (R |f|)``, required over available change: above 1, no step within the radius meets the constraint."""
    feasible: Tensor
    """Whether a step within the radius meets the constraint, bool ``(blocks,)``. With the exact split this refers to
    the constraint of the whole model and is the same in all blocks.
    """
    free: Tensor
    """H of the whole model, 0-d: the largest first-order change of the guaranteed loss by steps within the radii that
    do not worsen the other loss, ``min over lambda >= 0 of sum of R |f - lambda r|``.
    """
    stopping_terms: Tensor
    """H within each block: ``R sqrt(r.r f.f - (r.f)^2) / |r|`` where ``r.f > 0``, else ``R |f|``. Once the sum is below
    B, the split constraint can no longer serve both objectives.
    """
    gained: Tensor
    """First-order change of the guaranteed loss by the chosen step, in each block."""
    step_radii: Tensor
    """Length of each block's step, in radii."""

    @property
    def hardness(self) -> Tensor:
        """``1 - H / A``, 0-d, in 0..1: the fraction of the available change of the guaranteed loss that comes at a cost
        in the other objective. 0: all of it is free; 1: none is, or nothing is available.
        """
        available = self.available.sum()
        return (1 - (self.free / available).masked_fill(available == 0, 0.0)).clamp(0.0, 1.0)

    @property
    def outside_radius(self) -> Tensor:
        """Whether the step leaves the radius, bool ``(blocks,)``."""
        return self.step_radii > 1 + _ROUNDING

    @property
    def shortfall(self) -> Tensor:
        """The fraction of the whole model's B that the step does not gain, 0-d; 0 if it gains B.

        Shortfalls below a billionth of B, or below the rounding error of the available change, count as zero.
        """
        missing = self.total - self.gained.sum()
        least = torch.maximum(_ROUNDING * self.total, _SUM_ROUNDING * self.available.sum())
        return (missing / self.total).masked_fill(missing <= least, 0.0)

    def scaled(self, scale: Tensor) -> Constraint:
        """Return the constraint of the problem with radii and constraint multiplied by ``scale``, 0-d."""
        lengths = ("total", "needed", "radius", "available", "free", "stopping_terms", "gained")
        return replace(self, **{name: getattr(self, name) * scale for name in lengths})


@dataclass(frozen=True, eq=False)
class Decision:
    """Weights of one step, with the quantities they are based on. All tensors stay on the device.

    Derived metrics are computed on access, so that steps without logging do not pay for them.
    """

    weights: Tensor
    """``(blocks, 2)`` float64: (a, b) of each block's equivalent gradient ``a r + b f``. Plain SGD with the current
    learning rate turns it into the method's step.
    """
    gram: Tensor
    """``(blocks, 2, 2)`` float64: the Gram matrices behind the weights, after clipping if it is enabled."""
    branch: Tensor
    """`Branch` codes ``(blocks,)``, int64."""
    constraint: Constraint | None = None
    """Only for methods that have a constraint."""
    state: Mapping[str, Tensor] = field(default_factory=dict)
    """The method's state for the next step, 0-d float64 by name; the others keep their values."""
    rate_scale: Tensor | None = None
    """Factor of the learning rate in this step, 0-d; None: 1. Unlike a factor of the weights, it also scales the steps
    of optimizers that normalise their gradient, such as AdamW. The caller applies it, and scales the decision.
    """
    l1_penalty: Tensor | None = None
    """Coefficient of a penalty on the sum of the absolute weights, 0-d; None: no penalty. A weighting does not see the
    weights: the caller adds ``l1_penalty sign(w)`` to the equivalent gradient.
    """
    conflict_weights: Tensor | None = None
    """``(blocks, 2)`` float64: the weights in place of `weights` of those elements of a block in which r and f have the
    same sign, so that descending one loss and ascending the other conflict; None: there is no difference.
    """

    @property
    def retain_retain(self) -> Tensor:
        """``r.r`` of each block ``(blocks,)``."""
        return self.gram[:, 0, 0]

    @property
    def retain_forget(self) -> Tensor:
        """``r.f`` of each block ``(blocks,)``: above 0, forgetting harms retaining to first order."""
        return self.gram[:, 0, 1]

    @property
    def forget_forget(self) -> Tensor:
        """``f.f`` of each block ``(blocks,)``."""
        return self.gram[:, 1, 1]

    @property
    def angle(self) -> Tensor:
        """Angle between each block's gradients ``(blocks,)``, in degrees; 90 if one of them is zero."""
        return _angle(self.gram)

    @property
    def infeasible_blocks(self) -> Tensor:
        """Number of blocks whose constraint no step within the radius meets, 0-d; 0 without a constraint."""
        if self.constraint is None:
            return self.branch.new_zeros(())
        return (~self.constraint.feasible).sum()

    @property
    def stopping_margin(self) -> Tensor | None:
        """Sum of HAMU's stopping terms minus B, 0-d. None for methods without a constraint."""
        if self.constraint is None:
            return None
        return self.constraint.stopping_terms.sum() - self.constraint.total

    @property
    def criterion_met(self) -> Tensor | None:
        """HAMU's stopping criterion, 0-d bool: whether the margin is below 0. None without a constraint."""
        margin = self.stopping_margin
        return None if margin is None else margin < 0

    @property
    def exact_criterion_met(self) -> Tensor | None:
        """Whether every step within the radii that meets the whole model's constraint has a first-order cost in the
        other objective, 0-d bool: H < B. None without a constraint.
        """
        if self.constraint is None:
            return None
        return self.constraint.free < self.constraint.total * (1 - _ROUNDING)

    @property
    def within_guarantee(self) -> Tensor | None:
        """Whether the step of plain SGD gains the whole model's B and stays within every block's radius, 0-d bool. None
        for methods without a guarantee.
        """
        if self.constraint is None:
            return None
        return (self.constraint.shortfall == 0) & ~self.constraint.outside_radius.any()

    def unclipped(self, scales: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return `weights` and `conflict_weights` for gradients that were clipped by the scales ``(2,)`` before."""
        others = self.conflict_weights
        return self.weights * scales, None if others is None else others * scales

    def scaled(self, scale: Tensor) -> Decision:
        """Return the decision for the problem with radii and constraint multiplied by ``scale``, a 0-d tensor.

        Its step is the original step times the scale, for every split and every policy for infeasible blocks.
        """
        constraint = None if self.constraint is None else self.constraint.scaled(scale)
        conflicting = None if self.conflict_weights is None else self.conflict_weights * scale
        return replace(
            self, weights=self.weights * scale, conflict_weights=conflicting, constraint=constraint
        )

    @property
    def finite(self) -> Tensor:
        """Whether all Gram entries, weights and the penalty are finite, 0-d bool; not so if a gradient is not."""
        found = torch.isfinite(self.gram).all() & torch.isfinite(self.weights).all()
        for optional in (self.conflict_weights, self.l1_penalty):
            found = found if optional is None else found & torch.isfinite(optional).all()
        return found

    @property
    def per_block(self) -> Tensor:
        """The diagnostics of every block, float64 ``(diagnostics, blocks)``, in the order of `block_names`."""
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
        """Return the step's diagnostics over the whole model as 0-d tensors, by metric name.

        The keys after ``gradient_angle`` exist only for methods with a constraint.
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
    """Cosine ``(...)`` between the vectors of Gram matrices ``(..., 2, 2)``; 0 if one of them is zero."""
    norms = gram.diagonal(dim1=-2, dim2=-1).sqrt().prod(-1)
    return torch.where(norms == 0, 0.0, gram[..., 0, 1] / norms).clamp(-1.0, 1.0)


def _angle(gram: Tensor) -> Tensor:
    """Angle ``(...)`` in degrees between the vectors of Gram matrices ``(..., 2, 2)``; 90 if one of them is zero."""
    return torch.rad2deg(torch.acos(_cosine(gram)))
