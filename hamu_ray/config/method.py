"""The unlearning method and its hyperparameters."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hamu_ray.config.schema import Section
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.methods import CONSTRAINTS, METHOD_NAMES, forget_objectives_of

PositiveFloat = Annotated[float, Field(gt=0)]


class MethodConfig(Section):
    """The unlearning method. Hyperparameters that a method does not have are ignored."""

    name: str = "hamu-q"
    forget_objective: Literal["cross_entropy", "npo", "simnpo"] | None = None
    """Forget objective to use instead of the method's default: `npo` and `simnpo` are the negated losses, and HAMU's
    constraint then applies to them. null: the method's default.
    """
    beta: PositiveFloat | None = None
    """NPO, SimNPO: inverse temperature; null: 0.1 for NPO and 2.5 for SimNPO."""
    gamma: float = Field(default=0.0, ge=0)
    """SimNPO: margin; the larger, the less likely answers are when the objective saturates."""
    constraint_ratio: float | None = Field(default=None, ge=0, lt=1)
    """HAMU: first-order gain to guarantee per step, as a ratio of the learning rate (the paper: 0.5)."""
    constraint: float | None = Field(default=None, ge=0)
    """HAMU: the same as an absolute change of the loss."""
    constraint_fraction: float | None = Field(default=None, ge=0, le=1)
    """HAMU: the same as a fraction of the most that the radii allow; never infeasible with the exact split. Without
    any of the three, 0.25 for hamu-q and 0.8 for hamu-u."""
    radius: Literal["lr"] | PositiveFloat = "lr"
    """HAMU: longest step of a block: `lr` = learning rate x norm of its gradient, or a number."""
    constraint_split: Literal["exact", "uniform", "grad_norm", "softmax_dot"] = "exact"
    """HAMU: how the constraint is shared out over blocks: at the least cost for the whole model, or by fixed rules."""
    normalise_split: bool = True
    """HAMU: whether the blocks' shares are normalised to add up to the constraint."""
    granularity: Literal["tensor", "model"] = "tensor"
    """One block per parameter tensor, or the whole model as one block."""
    infeasible: Literal["best_effort", "least_step", "skip", "stop", "finish"] = "best_effort"
    """HAMU: what to do in a block whose constraint no step within the radius can meet: go as far as the radius allows,
    leave it, stay; or end the run there, as infeasible (`stop`) or with this model as its result (`finish`)."""
    trust_region: bool = False
    """HAMU: halve radius and constraint if less than a quarter of a step's predicted change came true, and double them
    up to `radius` if more than three quarters did; needs an extra forward pass per step.
    """
    target: Literal["reference"] | None = None
    """HAMU: `reference` stops forgetting at the reference's forget loss. As a step's forget loss approaches it, the
    constraint of hamu-q decreases to zero, and that of hamu-u increases to all that the radii allow.
    """
    retain_weight: float = Field(default=0.5, ge=0, le=1)
    """gdiff, kl, scrub, npo, simnpo, pcgrad: weight of the retain objective; the forget objective has one minus it."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in METHOD_NAMES:
            raise ValueError(f"unknown method {name!r}; {nearest(name, METHOD_NAMES)}")
        return name

    @model_validator(mode="after")
    def _takes_the_forget_objective(self) -> "MethodConfig":
        if self.forget_objective not in (None, *forget_objectives_of(self.name)):
            raise ValueError(
                f"forget_objective: {self.name} does not support {self.forget_objective}; set it to null or use "
                "another method, such as gdiff (in a sweep's space it applies only to methods that support it)"
            )
        return self

    @model_validator(mode="after")
    def _one_constraint(self) -> "MethodConfig":
        given = [name for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"give one of {', '.join(CONSTRAINTS)}, found {' and '.join(given)}: set the others to null"
            )
        return self
