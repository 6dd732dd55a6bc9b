"""Which unlearning method is run, with its hyperparameters."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hamu_ray.config.schema import Section
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.methods import CONSTRAINTS, METHOD_NAMES, forget_objectives_of

PositiveFloat = Annotated[float, Field(gt=0)]


class MethodConfig(Section):
    """The unlearning method. Settings that a method does not have are left unused by it."""

    name: str = "hamu-q"
    forget_objective: Literal["cross_entropy", "npo", "simnpo"] | None = None
    """What is raised on the forget set in place of the method's own: `npo` and `simnpo` stand for their negated
    losses, which HAMU's constraint is then on. null: the method's own."""
    beta: PositiveFloat | None = None
    """NPO, SimNPO: inverse temperature; null takes 0.1 for NPO and 2.5 for SimNPO."""
    gamma: float = Field(default=0.0, ge=0)
    """SimNPO: margin; the larger, the less likely answers are when the objective levels off."""
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
    """HAMU: whether the shares are made to add up to the constraint."""
    granularity: Literal["tensor", "model"] = "tensor"
    """One block per parameter tensor, or the whole model as one block."""
    infeasible: Literal["best_effort", "least_step", "skip", "stop", "finish"] = "best_effort"
    """HAMU: what to do in a block whose constraint no step within the radius can meet: go as far as the radius allows,
    leave it, stay; or end the run there, as infeasible (`stop`) or with this model as its result (`finish`)."""
    trust_region: bool = False
    """HAMU: halve radius and constraint when less than a quarter of a step's promise came true, double them up to
    `radius` when more than three quarters did; an extra forward pass a step."""
    target: Literal["reference"] | None = None
    """HAMU: `reference` forgets no further than to the reference's forget loss. As a step's forget loss nears it, the
    constraint of hamu-q fades to nothing, and that of hamu-u grows to all that the radii allow."""
    retain_weight: float = Field(default=0.5, ge=0, le=1)
    """gdiff, kl, scrub, npo, simnpo, pcgrad: weight of the retain objective; the forget objective has the rest."""

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
                f"forget_objective: {self.name} does not take {self.forget_objective}; set it to null or take another "
                "method, such as gdiff (a sweep's space gives it only to the methods that take it)"
            )
        return self

    @model_validator(mode="after")
    def _one_constraint(self) -> "MethodConfig":
        given = [name for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"give one of {', '.join(CONSTRAINTS)}, found {' and '.join(given)}: set others to null"
            )
        return self
