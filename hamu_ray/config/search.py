"""The search of a space: algorithm, number of trials, objectives, and pruning."""

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
    """When to prune a trial that is far worse than finished ones. Pruned trials are never on the front."""

    margin: Annotated[float, Field(gt=0)] = 0.1
    """A trial is pruned if a finished one was better by more than this in both objectives at the same step."""
    grace_steps: Annotated[int, Field(ge=0)] = 0
    """Number of steps before a trial can be pruned."""


WAIT_FOR_NODES = 600.0
"""Default of `search.wait_for_nodes`, also for single runs."""


class SearchConfig(Section):
    """How the space is searched."""

    algorithm: Literal["random", "grid", "tpe", "nsga2", "gp"] = "tpe"
    samples: Annotated[int, Field(ge=1)] = 1
    """Trials per grid cell (one cell without grids); each cell is searched independently.

    A grid of `seed` only repeats trials: every sample is run with each seed, and the search algorithm sees the means.
    """
    seed: int = Field(default=0, ge=0)
    """Seed of the search algorithm."""
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of concurrent trials; null: as many as fit the cluster."""
    retries: int = Field(default=1, ge=0)
    """How often a trial is retried after an error before it counts as failed."""
    time_budget: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no new trial starts; running ones end as they would. Null: no limit."""
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """GPU hours of the whole sweep: a trial starts only if it and the running ones are expected to stay within, by the
    mean of the ended ones. A trial counts its workers' GPUs from its start to its end. Null: no limit.
    """
    wait_for_nodes: Annotated[float, Field(gt=0)] = WAIT_FOR_NODES
    """Seconds without a new or starting node after which a sweep that waits for its first nodes on an autoscaling
    cluster gives up. Clouds may have no capacity for minutes.
    """
    pruning: PruningConfig | None = None
    """Null runs every trial to its end."""
    objectives: Annotated[tuple[Objective, Objective], Field(strict=False)] = DEFAULT_OBJECTIVES

    @field_validator("objectives")
    @classmethod
    def _two_metrics(cls, objectives: tuple[Objective, Objective]) -> tuple[Objective, Objective]:
        if objectives[0].metric == objectives[1].metric:
            raise ValueError(f"need two different metrics, found {objectives[0].metric} twice")
        return objectives
