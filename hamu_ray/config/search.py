"""How a space is searched: the algorithm, how many trials, the objectives, and when a trial is given up."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from hamu_ray.config.schema import Section


class Objective(Section):
    """A metric that the sweep optimises."""

    metric: str
    mode: Literal["max", "min"] = "max"

    @property
    def maximise(self) -> bool:
        """Whether higher values are better."""
        return self.mode == "max"


FORGET_QUALITY = "forget_quality"
"""The metric that needs the losses of a reference."""

DEFAULT_OBJECTIVES = (Objective(metric=FORGET_QUALITY), Objective(metric="retain_utility"))


class PruningConfig(Section):
    """When to give a trial up that finished ones have left far behind. Pruned trials are never on the front."""

    margin: Annotated[float, Field(gt=0)] = 0.1
    """A finished trial must have been better by more than this in both objectives, at the same step."""
    grace_steps: Annotated[int, Field(ge=0)] = 0
    """Steps that every trial may take before it is judged."""


class SearchConfig(Section):
    """How the space is searched."""

    algorithm: Literal["random", "grid", "tpe", "nsga2", "gp"] = "tpe"
    samples: Annotated[int, Field(ge=1)] = 1
    """Trials for each cell of the grids (one cell where nothing is a grid); each cell is searched on its own.

    A grid of `seed` only repeats: every sample is run with each seed, and the searcher sees the means.
    """
    seed: int = Field(default=0, ge=0)
    """Decides what the searcher draws."""
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at once; null takes as many as the cluster's resources allow."""
    retries: int = Field(default=1, ge=0)
    """How often a trial is tried again after an error before it counts as failed."""
    time_budget: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no new trial starts; null has no limit."""
    pruning: PruningConfig | None = None
    """Null lets every trial run to its end."""
    objectives: Annotated[tuple[Objective, Objective], Field(strict=False)] = DEFAULT_OBJECTIVES

    @field_validator("objectives")
    @classmethod
    def _two_metrics(cls, objectives: tuple[Objective, Objective]) -> tuple[Objective, Objective]:
        if objectives[0].metric == objectives[1].metric:
            raise ValueError(f"need two different metrics, found {objectives[0].metric} twice")
        return objectives
