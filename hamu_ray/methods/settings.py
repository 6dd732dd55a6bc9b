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
"""The hyperparameters that set how much HAMU guarantees; it needs one of them."""


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Settings of a step. Each method names the ones that it reads in `Method.settings` and ignores the
    others.

    The learning rate is not among them: it is the schedule's current one, and passed anew for every step.

    Raises:
        ValueError: If a value is out of its range, or more than one of ``constraint``, ``constraint_ratio`` and
            ``constraint_fraction`` is given.
    """

    radius: float | None = None
    """Longest step of a block, in the units of the weights; None takes learning rate x norm of the block's
    effective retain gradient (the one that is descended: r for HAMU-Q, -f for HAMU-U)."""

    constraint: float | None = None
    """Least first-order change B of the guaranteed loss per step, over the whole model, as an absolute
    number."""

    constraint_ratio: float | None = None
    """The same as a ratio of the current learning rate."""

    constraint_fraction: float | None = None
    """The same as a fraction, 0 to 1, of the most that the radii allow, ``A = sum of R |f|`` over blocks. It
    means the same at any learning rate, step and model, and with the exact split it is never infeasible."""

    constraint_split: ConstraintSplit = "exact"
    """How B is shared out over blocks: at the least cost for the whole model (``"exact"``, see
    `hamu_ray.methods.hamu.whole_model`), or beforehand: equally, in proportion to ``|r| |f|``, or by a softmax of
    ``-r.f`` (see `hamu_ray.methods.hamu.shares`)."""

    normalise_split: bool = True
    """Whether shares that are fixed beforehand are made to sum to one; see
    `hamu_ray.methods.hamu.shares.constraint_shares` for what they are otherwise. Uniform shares always do."""

    granularity: Granularity = "tensor"
    """One block per parameter tensor, or the whole model as one block."""

    infeasible: Infeasible = "best_effort"
    """What a block does whose constraint no step within the radius meets (with the exact split, all blocks
    where the whole model's cannot be met): take the step within the radius that gains most; the shortest step
    that meets it, which leaves the radius (``"least_step"``); or none (``"skip"``). With ``"stop"`` and
    ``"finish"`` one such block holds the whole model still, so that a run can end there: as infeasible, or as
    finished, with the model at that point as its result, as the original code does."""

    trust_region: bool = False
    """Whether the step (radius and constraint) is scaled by how well the first-order promises of the
    steps before came true; see `hamu_ray.methods.hamu.trust_region`. Kept by the caller, from step to step."""

    target: Literal["reference"] | None = None
    """Whether HAMU forgets no further than to the reference's forget loss: HAMU-Q's constraint fades to nothing
    as it is reached, HAMU-U's grows to all that the radii allow. The caller says how much is left, step by step:
    `remaining`."""

    remaining: "Tensor | None" = None
    """The part of the way to the target that is left, 1 to 0, a 0-d float64 tensor on the gradients' device; see
    `hamu_ray.methods.hamu.target`. None: all of it. No setting but a state, and not checked: that would wait for the
    device."""

    retain_weight: float = 0.5
    """Weight w of the retain objective in a weighted sum, 0 to 1; the forget objective has the rest, so that
    another w changes the direction and not the scale. Coefficients c_r and c_f of published code are ``w =
    c_r / (c_r + c_f)`` at ``c_r + c_f`` times the learning rate."""

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
                f"constraint_fraction must be at most 1, all that the radii allow, found {self.constraint_fraction}"
            )
        given = {name: getattr(self, name) for name in CONSTRAINTS if getattr(self, name) is not None}
        if len(given) > 1:
            found = " and ".join(f"{name}={value}" for name, value in given.items())
            raise ValueError(f"{', '.join(CONSTRAINTS)} exclude each other: give one of them, found {found}")
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
"""The names of all settings."""


def _check_number(name: str, value: float | None, *, at_least_zero: bool) -> None:
    if value is None:
        return
    known_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not known_number or value < 0 or (value == 0 and not at_least_zero):
        bound = "at least 0" if at_least_zero else "above 0"
        raise ValueError(f"{name} must be a finite number {bound}, or None, found {value!r}")
