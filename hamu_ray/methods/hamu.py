"""HAMU: the best step for one objective among those that guarantee a first-order gain in the other.

Source: Chen et al., "How Hard Can It Be? Hardness-Aware Multi-Objective Unlearning", ICML 2026, arXiv
2606.02119.

HAMU-Q solves, in every block of parameters, for the change d of the weights:

    minimise r.d   subject to   f.d >= B   and   |d| <= R

with r and f the gradients of the retain and the forget loss, B the block's share of the constraint and R
its radius. HAMU-U is the same problem with (r, f) replaced by (-f, -r). With the unit vectors u = r/|r| and
v = f/|f|, the angle t between them, and q = B / (R |f|), what is needed over what is available, the
solution is

    infeasible  q > 1           d = (B / |f|) v, the shortest step with f.d = B
    direct      cos t <= -q     d = -R u, as its f.d is B or more already
    colinear    sin t = 0       d = (B / |f|) v, as no direction is left besides v
    rectified   otherwise       d = R (q v - sqrt(1 - q^2) (u - cos t v) / sin t), with f.d = B and |d| = R

This is the paper's closed form, written in q and t because they have no scale: comparing them means the same
for huge and for tiny gradients. The weights are those of the equivalent gradient -d / lr, computed from R /
lr and B / lr, so that a radius and a constraint in units of the learning rate hold at rate zero too.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hamu_ray.methods.decision import Branch, Constraint, Decision
from hamu_ray.methods.method import Method
from hamu_ray.methods.objectives import cross_entropy
from hamu_ray.methods.registry import settings_of
from hamu_ray.methods.settings import ConstraintSplit, StepSettings

_COLINEAR_SINE_SQUARED = 1e-12
"""At angles below 1e-6 rad the part of r off f is within the rounding of float32 gradients: it has no
direction."""


def constraint_shares(gram: Tensor, split: ConstraintSplit, *, normalise: bool) -> Tensor:
    """Return each block's share of the constraint.

    The shares before they are made to sum to one are ``1 / blocks`` (uniform), ``|r| |f|`` (grad_norm), and
    ``exp(-r.f)`` relative to the block where that is largest (softmax_dot; dividing by the largest keeps it
    finite). Without normalisation they are used as they are: with grad_norm and the radius in units of the
    learning rate, every block's q is then the constraint ratio itself; with softmax_dot, the block with the
    least conflict has to meet the whole constraint.

    Args:
        gram: float64 ``(blocks, 2, 2)``.
        split: How to share.
        normalise: Whether to divide the shares by their sum. Where all are zero, they become uniform: a
            constraint does not vanish because a gradient did.

    Returns:
        ``(blocks,)`` float64, not negative.
    """
    uniform = gram.new_full((len(gram),), 1 / len(gram))
    if split == "uniform":
        return uniform
    if split == "grad_norm":
        shares = gram.diagonal(dim1=-2, dim2=-1).sqrt().prod(-1)
    else:
        shares = torch.exp((-gram[:, 0, 1]) - (-gram[:, 0, 1]).max())
    if not normalise:
        return shares
    total = shares.sum()
    return torch.where(total > 0, shares / total, uniform)


@dataclass(frozen=True, eq=False)
class _Problem:
    """The problem of every block ``(blocks,)`` in the plane of its two gradients; float64."""

    retain_norm: Tensor
    forget_norm: Tensor
    cosine: Tensor
    """Of the angle between the gradients; 0 where one of them is zero."""
    sine_squared: Tensor
    reach: Tensor
    """R / lr."""
    needed: Tensor
    """B / lr."""
    feasibility: Tensor
    """q, needed over available; 0 where nothing is needed, infinite where something is and nothing is
    available."""
    constraint: Constraint
    """The record of the same for the decision, in absolute terms."""


def _pose(gram: Tensor, lr: float | Tensor, settings: StepSettings) -> _Problem:
    """Bring the problem of HAMU-Q into its plane. See `_Problem`."""
    rate = lr.double() if isinstance(lr, Tensor) else gram.new_full((), lr)
    per_rate = torch.where(rate > 0, 1 / rate, 0.0)
    if settings.constraint_ratio is not None:
        total_needed = gram.new_full((), settings.constraint_ratio)
        total = total_needed * rate
    elif settings.constraint is not None:
        total = gram.new_full((), settings.constraint)
        total_needed = total * per_rate
    else:
        raise ValueError("HAMU needs constraint_ratio or constraint, found neither: give one of them")
    retain_norm, forget_norm = gram.diagonal(dim1=-2, dim2=-1).sqrt().unbind(-1)
    both = retain_norm * forget_norm
    cosine = torch.where(both == 0, 0.0, gram[:, 0, 1] / both).clamp(-1.0, 1.0)
    sine_squared = 1 - cosine.square()
    reach = retain_norm if settings.radius is None else (settings.radius * per_rate).expand_as(retain_norm)
    shares = constraint_shares(gram, settings.constraint_split, normalise=settings.normalise_split)
    needed = total_needed * shares
    available = reach * forget_norm
    feasibility = torch.where(needed == 0, 0.0, needed / available)
    constraint = Constraint(
        total=total,
        needed=needed * rate,
        radius=reach * rate,
        feasibility=feasibility,
        feasible=feasibility <= 1,
        stopping_terms=available * sine_squared.sqrt() * rate,
    )
    return _Problem(retain_norm, forget_norm, cosine, sine_squared, reach, needed, feasibility, constraint)


def _branch(problem: _Problem, settings: StepSettings) -> Tensor:
    """Return the `Branch` of every block ``(blocks,)``, int64."""
    infeasible = ~problem.constraint.feasible
    colinear = (problem.sine_squared <= _COLINEAR_SINE_SQUARED) | (problem.retain_norm == 0)
    branch = torch.where(colinear, Branch.COLINEAR, Branch.RECTIFIED)
    branch = torch.where(problem.cosine <= -problem.feasibility, Branch.DIRECT, branch)
    branch = torch.where(infeasible, Branch.INFEASIBLE, branch)
    # Along a zero gradient no step meets a constraint, however long.
    skipped = infeasible & (problem.forget_norm == 0)
    if settings.infeasible == "skip":
        skipped = infeasible
    elif settings.infeasible == "stop":
        skipped = infeasible.any().expand_as(infeasible)
    return torch.where(skipped, Branch.SKIPPED, branch)


def _weights(problem: _Problem, branch: Tensor) -> Tensor:
    """Return the weights ``(blocks, 2)`` of -d / lr; the values not selected may be infinite or NaN."""
    direct, rectified = branch == Branch.DIRECT, branch == Branch.RECTIFIED
    descent = torch.where(problem.retain_norm == 0, 0.0, problem.reach / problem.retain_norm)
    ascent = problem.needed / problem.forget_norm.square()
    ascent = torch.where((problem.needed == 0) | (branch == Branch.SKIPPED), 0.0, ascent)
    turn = torch.sqrt((1 - problem.feasibility.square()) / problem.sine_squared)
    correction = turn * problem.cosine * problem.reach / problem.forget_norm
    a = torch.where(direct, descent, torch.where(rectified, descent * turn, 0.0))
    b = torch.where(direct, 0.0, -torch.where(rectified, ascent + correction, ascent))
    return torch.stack((a, b), dim=-1)


def quality_weighting(gram: Tensor, lr: float | Tensor, settings: StepSettings) -> Decision:
    """HAMU-Q: the step that harms retaining least (or serves it most) among those that guarantee forgetting.

    Args:
        gram: float64 ``(blocks, 2, 2)``, of the gradients of the two losses.
        lr: The schedule's current learning rate, a float or a 0-d tensor on the same device.
        settings: All are read; with ``radius`` None the radius is ``lr |r|``.

    Returns:
        The decision, with its `Constraint`. Where all entries of ``gram`` are finite, so are the weights.

    Raises:
        ValueError: If the settings have neither ``constraint`` nor ``constraint_ratio``.
    """
    problem = _pose(gram, lr, settings)
    branch = _branch(problem, settings)
    return Decision(
        weights=_weights(problem, branch), gram=gram, branch=branch, constraint=problem.constraint
    )


def utility_weighting(gram: Tensor, lr: float | Tensor, settings: StepSettings) -> Decision:
    """HAMU-U: the step that forgets most among those that guarantee a gain in utility.

    It is HAMU-Q with the roles swapped, (r, f) replaced by (-f, -r). The Gram matrix of (-f, -r) is that of
    (r, f) with rows and columns swapped, and a step ``a (-f) + b (-r)`` has the weights (-b, -a) on (r, f).

    Args, returns and raises as `quality_weighting`; with ``radius`` None the radius is ``lr |f|``.
    """
    swapped = quality_weighting(gram.flip(-2, -1), lr, settings)
    return replace(swapped, gram=gram, weights=-swapped.weights.flip(-1))


_SOURCE = "Chen et al. 2026, arXiv 2606.02119"

HAMU_Q = Method(
    name="hamu-q",
    summary="harm retaining least among the steps that guarantee a first-order rise of the forget loss",
    source=_SOURCE,
    weighting=quality_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    settings=settings_of("hamu-q"),
)

HAMU_U = Method(
    name="hamu-u",
    summary="forget most among the steps that guarantee a first-order fall of the retain loss",
    source=_SOURCE,
    weighting=utility_weighting,
    retain=cross_entropy,
    forget=cross_entropy,
    settings=settings_of("hamu-u"),
)
