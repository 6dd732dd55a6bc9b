"""The hyperparameters of HAMU-Q and HAMU-U."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hamu_ray.methods.hyperparameters import Aim, Blockwise, Infeasible, hyperparameter

ConstraintSplit = Literal["exact", "uniform", "grad_norm", "softmax_dot"]

CONSTRAINTS = ("constraint", "constraint_ratio", "constraint_fraction")
"""The hyperparameters that set the guarantee; at most one of them is given."""

_PAPER = "Chen et al. 2026, arXiv 2606.02119"


def _fraction(low: float, high: float) -> Any:
    """Return the field ``constraint_fraction``, with a range to search."""
    return hyperparameter(
        None,
        "B as a fraction of A = sum of R |f| (R |r| for hamu-u), the most that the radii allow; always feasible with "
        "the exact split; without any constraint, 0.25 for hamu-q and 0.8 for hamu-u",
        source="hamu_ray",
        search={"uniform": (low, high)},
        ge=0,
        le=1,
    )


@dataclass(frozen=True, kw_only=True)
class HAMUHyperparameters(Blockwise):
    """HAMU's hyperparameters; its two variants differ in the default of the constraint."""

    constraint_ratio: float | None = hyperparameter(
        None,
        "B, the first-order gain to guarantee per step, as a ratio of the learning rate (the paper: 0.5)",
        source=_PAPER,
        search={"uniform": (0.05, 0.95)},
        ge=0,
        lt=1,
    )
    constraint: float | None = hyperparameter(
        None,
        "B as an absolute change of the loss over the whole model",
        source=_PAPER,
        search={"loguniform": (1e-5, 1e-1)},
        ge=0,
    )
    constraint_fraction: float | None = _fraction(0.05, 0.95)
    radius: Literal["lr"] | float = hyperparameter(
        "lr",
        "R, the longest step of a block in the units of the weights; lr: learning rate times the norm of the gradient "
        "that it descends (r for hamu-q, f for hamu-u)",
        source=_PAPER,
        search={"loguniform": (1e-4, 1.0)},
        gt=0,
    )
    constraint_split: ConstraintSplit = hyperparameter(
        "exact",
        "how B is split over blocks: at the least cost for the whole model, equally, in proportion to |r| |f|, or by a "
        "softmax of -r.f",
        source=f"exact: hamu_ray; others: {_PAPER}",
        search={"choice": ("exact", "uniform", "grad_norm", "softmax_dot")},
    )
    normalise_split: bool = hyperparameter(
        True,
        "whether the blocks' shares by fixed rules add up to B; uniform ones always do",
        source=_PAPER,
        search={"choice": (True, False)},
    )
    infeasible: Infeasible = hyperparameter(
        "best_effort",
        "what to do in a block whose constraint no step within the radius meets (with the exact split: in all blocks): "
        "go as far as the radius allows, leave it by the shortest step, stay; or end the run there, as infeasible "
        "(stop) or with this model as its result (finish, as in the original code)",
        source=f"stop, finish: {_PAPER}; others: hamu_ray",
        search={"choice": ("best_effort", "least_step", "skip")},
    )
    trust_region: bool = hyperparameter(
        False,
        "whether radius and constraint are halved if less than a quarter of a step's predicted change came true, and "
        "doubled up to the radius if more than three quarters did; needs another forward pass per step",
        source="Nocedal and Wright 2006, algorithm 4.1",
        search={"choice": (False, True)},
    )
    target: Literal["reference"] | None = hyperparameter(
        None,
        "reference: as a step's forget loss approaches the reference's, the constraint of hamu-q decreases to zero, "
        "and that of hamu-u increases to all that the radii allow",
        source="hamu_ray",
        search={"choice": (None, "reference")},
    )

    @property
    def initial_state(self) -> Mapping[str, float]:
        """The factor of all radii."""
        return {"radius_scale": 1.0}

    def check_together(self) -> None:
        """Check that at most one constraint is given."""
        given = [name for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"give one of {', '.join(CONSTRAINTS)}, found {' and '.join(given)}: set the others to null"
            )


@dataclass(frozen=True, kw_only=True)
class QualityHyperparameters(HAMUHyperparameters):
    """HAMU-Q's."""

    default_fraction: ClassVar[float | None] = 0.25
    guarantees: ClassVar[Aim | None] = "forgetting"

    constraint_fraction: float | None = _fraction(0.1, 0.4)


@dataclass(frozen=True, kw_only=True)
class UtilityHyperparameters(HAMUHyperparameters):
    """HAMU-U's."""

    default_fraction: ClassVar[float | None] = 0.8
    guarantees: ClassVar[Aim | None] = "retaining"

    constraint_fraction: float | None = _fraction(0.6, 0.9)
