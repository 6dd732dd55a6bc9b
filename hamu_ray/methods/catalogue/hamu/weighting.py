"""HAMU: the best step for one objective among those that guarantee a first-order gain in the other.

Source: Chen et al., "How Hard Can It Be? Hardness-Aware Multi-Objective Unlearning", ICML 2026, arXiv 2606.02119.

HAMU-Q solves, in every block of parameters, for the change d of the weights:

    minimise r.d   subject to   f.d >= B   and   |d| <= R

with r and f the gradients of the retain and the forget loss, B the block's share of the constraint and R its radius.
HAMU-U is the same problem with (r, f) replaced by (-f, -r). With the unit vectors u = r/|r| and v = f/|f|, the angle t
between them, and q = B / (R |f|), the required over the available change, the solution is

    infeasible  q > 1           d = (B / |f|) v, the shortest step with f.d = B
    direct      cos t <= -q     d = -R u, since its f.d is at least B
    colinear    sin t = 0       d = (B / |f|) v, since v is the only direction left
    rectified   otherwise       d = R (q v - sqrt(1 - q^2) (u - cos t v) / sin t), with f.d = B and |d| = R

This is the paper's closed form in terms of q and t, which are scale-free: comparisons mean the same for huge and for
tiny gradients. The weights are those of the equivalent gradient -d / lr, computed from R / lr and B / lr, so that a
radius and a constraint in units of the learning rate also hold at rate zero.

The split determines B in every block from the constraint of the whole model: by fixed shares
(`hamu_ray.methods.catalogue.hamu.shares`), or by the values of q with the least cost for the whole model
(`hamu_ray.methods.catalogue.hamu.whole_model`), which may be negative in blocks where others gain more cheaply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hamu_ray.methods.catalogue.hamu import trust_region
from hamu_ray.methods.catalogue.hamu.hyperparameters import (
    HAMUHyperparameters,
    QualityHyperparameters,
    UtilityHyperparameters,
)
from hamu_ray.methods.catalogue.hamu.shares import constraint_shares
from hamu_ray.methods.catalogue.hamu.whole_model import cost_of_quotas, least_cost_quotas, norm_ratio
from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Constraint, Decision, Guaranteed
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.method import Method
from hamu_ray.methods.objectives import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_COLINEAR_SINE_SQUARED = 1e-12
"""Below an angle of 1e-6 rad, the component of r orthogonal to f is within the rounding of float32 gradients and has no
meaningful direction.
"""
_ROUNDING = 1e-12
"""Relative tolerance of the required over the available change; both are sums in float64."""


@dataclass(frozen=True, eq=False)
class _Problem:
    """The problem of every block ``(blocks,)`` in the plane of its two gradients; float64."""

    retain_norm: Tensor
    forget_norm: Tensor
    cosine: Tensor
    """Cosine of the angle between the gradients; 0 if one of them is zero."""
    sine_squared: Tensor
    sine: Tensor
    reach: Tensor
    """R / lr."""
    available: Tensor
    """R |f| / lr."""

    def quotas(self, *needed: Tensor) -> tuple[Tensor, ...]:
        """Return every block's q at the least cost, for each given B / lr and for the reverse problem.

        The reverse problem maximises the change of f's loss without a first-order increase of r's loss. Its q refer to
        r.
        """
        ratio = norm_ratio(self.forget_norm, self.retain_norm)
        needs = (*needed, self.available.new_zeros(()))
        rows = slice(2 - len(needs), 2)
        ratios = torch.stack([ratio, 1 / ratio][rows])
        available = torch.stack([self.available, self.reach * self.retain_norm][rows])
        return least_cost_quotas(ratios, self.cosine, self.sine, available, torch.stack(needs)).unbind(0)


@dataclass(frozen=True, eq=False)
class _Split:
    """The gain required of every block ``(blocks,)``; float64."""

    quota: Tensor
    """q, required over available change; 0 where nothing is required, infinite where nothing is available but something
    is required.
    """
    needed: Tensor
    """B / lr."""
    feasible: Tensor
    """Bool; with the exact split the same in all blocks."""
    free: Tensor
    """0-d: the largest gain of the whole model without a first-order cost, divided by lr."""


def _plane(gram: Tensor, rate: Tensor, settings: HAMUHyperparameters) -> _Problem:
    """Reduce the problem of HAMU-Q to the plane of the gradients. See `_Problem`."""
    retain_norm, forget_norm = gram.diagonal(dim1=-2, dim2=-1).sqrt().unbind(-1)
    both = retain_norm * forget_norm
    cosine = (gram[:, 0, 1] / both).masked_fill(both == 0, 0.0).clamp(-1.0, 1.0)
    sine_squared = 1 - cosine.square()
    reach = retain_norm
    if settings.radius != "lr":
        reach = _per_rate(gram.new_full((), settings.radius), rate).expand_as(retain_norm)
    return _Problem(
        retain_norm, forget_norm, cosine, sine_squared, sine_squared.sqrt(), reach, reach * forget_norm
    )


def _per_rate(value: Tensor, rate: Tensor) -> Tensor:
    """Divide a value by the learning rate; 0 at rate 0."""
    return (value / rate).masked_fill(rate == 0, 0.0)


def _total(problem: _Problem, rate: Tensor, settings: HAMUHyperparameters) -> tuple[Tensor, Tensor]:
    """Return B of the whole model, 0-d, and B / lr."""
    if settings.constraint is not None:
        total = rate.new_full((), settings.constraint)
        return total, _per_rate(total, rate)
    if settings.constraint_ratio is not None:
        needed = rate.new_full((), settings.constraint_ratio)
        return needed * rate, needed
    fraction = settings.constraint_fraction
    if fraction is None:
        fraction = settings.default_fraction
    assert fraction is not None, "both variants have a default"
    needed = fraction * problem.available.sum()
    return needed * rate, needed


def _towards_target(problem: _Problem, needed: Tensor, remaining: Tensor, guaranteed: Guaranteed) -> Tensor:
    """Scale B / lr with the remaining way to the target, at which it is zero (HAMU-Q) or all available (HAMU-U)."""
    if guaranteed == "forget":
        return needed * remaining
    everything = problem.available.sum()
    return everything + (needed - everything) * remaining


def _share_out(gram: Tensor, problem: _Problem, needed: Tensor, settings: HAMUHyperparameters) -> _Split:
    """Split the whole model's B / lr over the blocks."""
    available = problem.available
    if settings.constraint_split == "exact":
        quota, reverse = problem.quotas(needed)
        in_all = available.sum()
        met = needed <= in_all * (1 + _ROUNDING)
        # Infeasible: every block gets the same multiple of its available change.
        quota = torch.where(met, quota, needed / in_all).masked_fill(available == 0, 0.0)
        feasible, asked = met.expand_as(quota), quota * available
    else:
        (reverse,) = problem.quotas()
        asked = needed * constraint_shares(
            gram, available, settings.constraint_split, normalise=settings.normalise_split
        )
        quota = (asked / available).masked_fill(asked == 0, 0.0)
        feasible = quota <= 1 + _ROUNDING
    # The reverse problem's cost refers to ascending f's loss, hence the negative sign.
    free = -(available * cost_of_quotas(reverse, problem.cosine, problem.sine)).sum()
    return _Split(quota, asked, feasible, free)


def _act(problem: _Problem, split: _Split, settings: HAMUHyperparameters) -> tuple[Tensor, Tensor]:
    """Return the `Branch` of every block ``(blocks,)``, int64, and its gain as a fraction of the available change."""
    infeasible, none = ~split.feasible, problem.available == 0
    colinear = (problem.sine_squared <= _COLINEAR_SINE_SQUARED) | (problem.retain_norm == 0)
    branch = torch.full_like(infeasible, Branch.RECTIFIED, dtype=torch.int64)
    branch = branch.masked_fill(colinear, Branch.COLINEAR)
    gained = split.quota
    if settings.infeasible == "best_effort":
        # Where nothing can be gained, the step serves the other objective.
        gained = gained.masked_fill(infeasible, 1.0).masked_fill(infeasible & none, 0.0)
        infeasible = infeasible & ~none
    direct = problem.cosine <= -gained
    gained = torch.where(direct, -problem.cosine, gained)
    branch = branch.masked_fill(direct, Branch.DIRECT)
    if settings.infeasible == "best_effort":
        return branch.masked_fill(infeasible, Branch.BEST_EFFORT), gained.masked_fill(infeasible, 1.0)
    skipped = infeasible
    if settings.infeasible == "least_step":
        branch = branch.masked_fill(infeasible, Branch.INFEASIBLE)
        # With a zero gradient no step of any length meets a constraint, and a zero radius has no multiples.
        skipped = infeasible & none
    elif settings.infeasible != "skip":
        skipped = infeasible.any().expand_as(infeasible)
    return branch.masked_fill(skipped, Branch.SKIPPED), gained.masked_fill(skipped, 0.0)


def _weights(problem: _Problem, branch: Tensor, gained: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights ``(blocks, 2)`` of -d / lr, and the length of d in radii ``(blocks,)``.

    Values that are not selected may be infinite or NaN.
    """
    direct, rectified = branch == Branch.DIRECT, branch == Branch.RECTIFIED
    descent = (problem.reach / problem.retain_norm).masked_fill(problem.retain_norm == 0, 0.0)
    per_gain = problem.reach / problem.forget_norm
    turn = torch.sqrt((1 - gained.square()).clamp(min=0.0) / problem.sine_squared)
    along = (gained * per_gain).masked_fill(gained == 0, 0.0)
    a = torch.where(direct, descent, (descent * turn).masked_fill(~rectified, 0.0))
    b = torch.where(rectified, along + turn * problem.cosine * per_gain, along).masked_fill(direct, 0.0)
    length = gained.abs().masked_fill(direct | rectified, 1.0)
    return torch.stack((a, -b), dim=-1), length


def quality_weighting(gram: Tensor, context: Context[HAMUHyperparameters]) -> Decision:
    """HAMU-Q: the step that harms retaining least (or serves it most) among those that guarantee forgetting.

    Args:
        gram: float64 ``(blocks, 2, 2)``, of the gradients of the two losses.
        context: Of the step. All hyperparameters are used; for the trust region, the step is scaled by the caller, with
            `Decision.rate_scale`. With ``radius`` lr, the radius is ``lr |r|``.

    Returns:
        The decision, with its `Constraint`. If all entries of ``gram`` are finite, so are the weights.
    """
    return _decide(gram, context, "forget")


def _decide(gram: Tensor, context: Context[HAMUHyperparameters], guaranteed: Guaranteed) -> Decision:
    """Solve HAMU-Q's problem, regardless of which loss f is the gradient of."""
    settings, lr = context.hyperparameters, context.lr
    rate = gram.new_full((), lr) if isinstance(lr, float | int) else lr.double()
    problem = _plane(gram, rate, settings)
    total, needed = _total(problem, rate, settings)
    if context.remaining is not None:
        needed = _towards_target(problem, needed, context.remaining, guaranteed)
        total = needed * rate
    split = _share_out(gram, problem, needed, settings)
    if not settings.normalise_split and settings.constraint_split != "exact":
        total = split.needed.sum() * rate
    branch, gained = _act(problem, split, settings)
    weights, length = _weights(problem, branch, gained)
    constraint = Constraint(
        guaranteed=guaranteed,
        total=total,
        needed=split.needed * rate,
        radius=problem.reach * rate,
        available=problem.available * rate,
        feasibility=split.quota,
        feasible=split.feasible,
        free=split.free * rate,
        stopping_terms=problem.available * problem.sine.masked_fill(problem.cosine <= 0, 1.0) * rate,
        gained=gained * problem.available * rate,
        step_radii=length,
    )
    scale = context.state["radius_scale"] if settings.trust_region else None
    return Decision(weights=weights, gram=gram, branch=branch, constraint=constraint, rate_scale=scale)


def utility_weighting(gram: Tensor, context: Context[HAMUHyperparameters]) -> Decision:
    """HAMU-U: the step that forgets most among those that guarantee a gain in utility.

    This is HAMU-Q with the roles swapped: (r, f) is replaced by (-f, -r). The Gram matrix of (-f, -r) is that of (r, f)
    with rows and columns swapped, and a step ``a (-f) + b (-r)`` has the weights (-b, -a) on (r, f).

    Arguments and return value are those of `quality_weighting`; with ``radius`` lr, the radius is ``lr |f|``.
    """
    swapped = _decide(gram.flip(-2, -1), context, "retain")
    return replace(swapped, gram=gram, weights=-swapped.weights.flip(-1))


_SOURCE = "Chen et al. 2026, arXiv 2606.02119"

HAMU_Q = Method(
    name="hamu-q",
    summary="harm retaining least among the steps that guarantee a first-order rise of the forget loss",
    source=_SOURCE,
    weighting=quality_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    hyperparameters=QualityHyperparameters,
    review=trust_region.review,
)

HAMU_U = Method(
    name="hamu-u",
    summary="forget most among the steps that guarantee a first-order fall of the retain loss",
    source=_SOURCE,
    weighting=utility_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    hyperparameters=UtilityHyperparameters,
    review=trust_region.review,
)
