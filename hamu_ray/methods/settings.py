"""The hyperparameters of a method's step."""

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

ConstraintSplit = Literal["exact", "uniform", "grad_norm", "softmax_dot"]
Granularity = Literal["tensor", "model"]
Infeasible = Literal["best_effort", "least_step", "skip", "stop", "finish"]

CONSTRAINTS = ("constraint", "constraint_ratio", "constraint_fraction")
"""The hyperparameters that set HAMU's guarantee; exactly one of them is needed."""


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Hyperparameters of a step. Each method lists the ones that it uses in `Method.settings` and ignores the others.

    The learning rate is not included: it is passed for every step, with its current value in the schedule.

    Raises:
        ValueError: If a value is out of range, or more than one of ``constraint``, ``constraint_ratio`` and
            ``constraint_fraction`` is given.
    """

    radius: float | None = None
    """Maximum length of a block's step, in the units of the weights. None: learning rate times the norm of the block's
    effective retain gradient (the one that is descended: r for HAMU-Q, -f for HAMU-U).
    """

    constraint: float | None = None
    """B as an absolute number: the minimum first-order change of the guaranteed loss per step, over the whole model."""

    constraint_ratio: float | None = None
    """B as a ratio of the current learning rate."""

    constraint_fraction: float | None = None
    """B as a fraction, 0 to 1, of the largest change that the radii allow, ``A = sum of R |f|`` over blocks. It has the
    same meaning for every learning rate, step and model, and is always feasible with the exact split.
    """

    constraint_split: ConstraintSplit = "exact"
    """How B is split over blocks: with the least cost for the whole model (``"exact"``, see
    `hamu_ray.methods.hamu.whole_model`), or by a fixed rule: equally, in proportion to ``|r| |f|``, or by a softmax of
    ``-r.f`` (see `hamu_ray.methods.hamu.shares`).
    """

    normalise_split: bool = True
    """Whether the shares of fixed rules are normalised to sum to one; uniform shares always are. See
    `hamu_ray.methods.hamu.shares.constraint_shares` for shares that are not normalised.
    """

    granularity: Granularity = "tensor"
    """One block per parameter tensor, or the whole model as one block."""

    infeasible: Infeasible = "best_effort"
    """What to do in a block whose constraint no step within the radius meets (with the exact split: in all blocks if
    the whole model's constraint cannot be met): take the step within the radius that gains most
    (``"best_effort"``); take the shortest step that meets it, outside the radius (``"least_step"``); or take no step
    (``"skip"``). With ``"stop"`` and ``"finish"``, one such block prevents the step of the whole model, so that a run
    can end there: as infeasible, or as finished with the current model as its result, like the original code.
    """

    trust_region: bool = False
    """Whether to scale the step (radius and constraint) by the agreement of first-order predictions with the actual
    changes in earlier steps; see `hamu_ray.methods.hamu.trust_region`. The caller keeps the scale between steps.
    """

    target: Literal["reference"] | None = None
    """Whether HAMU stops forgetting at the reference's forget loss: HAMU-Q's constraint decreases to zero as the loss
    approaches it, HAMU-U's constraint increases to all that the radii allow. The caller sets `remaining` for every
    step.
    """

    remaining: "Tensor | None" = None
    """The remaining fraction of the way to the target, 1 to 0, a 0-d float64 tensor on the gradients' device; see
    `hamu_ray.methods.hamu.target`. None: all of it. This is state, not a hyperparameter, and is not validated, which
    would need synchronisation.
    """

    retain_weight: float = 0.5
    """Weight w of the retain objective in a weighted sum, 0 to 1; the forget objective has weight 1 - w, so that w
    changes only the direction, not the scale. Coefficients c_r and c_f of published code correspond to ``w = c_r / (c_r
    + c_f)`` with ``c_r + c_f`` times the learning rate.
    """

    def __post_init__(self) -> None:
        _check_number("radius", self.radius, at_least_zero=False)
        _check_number("constraint", self.constraint, at_least_zero=True)
        _check_number("constraint_ratio", self.constraint_ratio, at_least_zero=True)
        _check_number("constraint_fraction", self.constraint_fraction, at_least_zero=True)
        _check_number("retain_weight", self.retain_weight, at_least_zero=True)
        if self.retain_weight is None or self.retain_weight > 1:
            raise ValueError(f"retain_weight must be between 0 and 1, found {self.retain_weight!r}")
        if self.constraint_fraction is not None and self.constraint_fraction > 1:
            raise ValueError(
                f"constraint_fraction must be at most 1 (all that the radii allow), found {self.constraint_fraction}"
            )
        given = {name: getattr(self, name) for name in CONSTRAINTS if getattr(self, name) is not None}
        if len(given) > 1:
            found = " and ".join(f"{name}={value}" for name, value in given.items())
            raise ValueError(
                f"{', '.join(CONSTRAINTS)} are mutually exclusive: give one of them, found {found}"
            )
        for name, choices in (
            ("constraint_split", get_args(ConstraintSplit)),
            ("granularity", get_args(Granularity)),
            ("infeasible", get_args(Infeasible)),
            ("target", ("reference", None)),
        ):
            if getattr(self, name) not in choices:
                listed = ", ".join(f'"{choice}"' for choice in choices)
                raise ValueError(f"{name} must be one of {listed}, found {getattr(self, name)!r}")


ALL_SETTINGS = frozenset(field.name for field in fields(StepSettings)) - {"remaining"}
"""The names of all hyperparameters."""


def _check_number(name: str, value: float | None, *, at_least_zero: bool) -> None:
    if value is None:
        return
    known_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not known_number or value < 0 or (value == 0 and not at_least_zero):
        bound = "at least 0" if at_least_zero else "above 0"
        raise ValueError(f"{name} must be a finite number {bound}, or None, found {value!r}")
