"""The search of a space: algorithm, number of trials, objectives, and pruning."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from hamu_ray.config.schema import Section


class Objective(Section):
    """A metric that the sweep optimises."""

    metric: str
    mode: Literal["max", "min"] = "max"
    worst: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The value beyond which hypervolumes count nothing; null: 0 to maximise, 1 to minimise. Costs need one."""

    @property
    def maximise(self) -> bool:
        """Whether higher values are better."""
        return self.mode == "max"

    @property
    def worst_value(self) -> float:
        """The metric's value in the worst corner, the reference point of hypervolumes."""
        return float(not self.maximise) if self.worst is None else self.worst


def directions(objectives: Sequence[Objective]) -> tuple[bool, ...]:
    """Return for each objective whether higher values are better."""
    return tuple(objective.maximise for objective in objectives)


def worst_corner(objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the reference point of hypervolumes."""
    return tuple(objective.worst_value for objective in objectives)


class MetricBounds(Section):
    """The range in which a metric of the unlearned model must be."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _some_range(self) -> "MetricBounds":
        if self.min is None and self.max is None:
            raise ValueError("give min, max, or both")
        if self.min is not None and self.max is not None and not self.min <= self.max:
            raise ValueError(f"min must not be above max, found {self.min:g} and {self.max:g}")
        return self

    def violations(self, value: float) -> dict[str, float]:
        """Return by how much a value misses each bound, relative to the bound; zero or less if it meets it.

        NaN misses every bound by 1, as 0 misses a minimum.
        """
        bounds = ((">=", self.min, 1.0), ("<=", self.max, -1.0))
        return {
            f"{sign} {bound:g}": 1.0 if math.isnan(value) else side * (bound - value) / (abs(bound) or 1.0)
            for sign, bound, side in bounds
            if bound is not None
        }


def violations(constraints: Mapping[str, MetricBounds], metrics: Mapping[str, float]) -> dict[str, float]:
    """By how much a model misses each constraint, such as `retain_utility >= 0.9`; not above 0 if it meets it."""
    return {
        f"{metric} {bound}": missing
        for metric, bounds in constraints.items()
        for bound, missing in bounds.violations(metrics.get(metric, math.nan)).items()
    }


def missed(constraints: Mapping[str, MetricBounds], metrics: Mapping[str, float]) -> list[str]:
    """Return the constraints that a model does not meet."""
    return [text for text, missing in violations(constraints, metrics).items() if missing > 0]


FORGET_QUALITY = "forget_quality"
"""The metric that needs the losses of a reference."""

DEFAULT_OBJECTIVES: tuple[Objective, ...] = (
    Objective(metric=FORGET_QUALITY),
    Objective(metric="retain_utility"),
)


class PruningConfig(Section):
    """When to prune a trial that is far worse than finished ones. Pruned trials are never on the front."""

    margin: Annotated[float, Field(gt=0)] = 0.1
    """A trial is pruned if a finished one was better by more than this in all objectives at the same step."""
    grace_steps: Annotated[int, Field(ge=0)] = 0
    """Number of steps before a trial can be pruned."""


class RungsConfig(Section):
    """Asynchronous successive halving: trials pause at each rung, and only the best of it are continued."""

    kind: Literal["rungs"] = "rungs"
    reduction: Annotated[int, Field(ge=2)] = 3
    """One in so many trials that reach a rung is continued."""
    steps: Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]
    """The steps at which trials pause, ascending. One at a trial's last step has no effect."""

    @field_validator("steps")
    @classmethod
    def _ascending(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= step for step, later in pairwise(steps)):
            raise ValueError(f"must ascend, found {list(steps)}")
        return steps

    def pauses(self, total: int | None) -> tuple[int, ...]:
        """Return the steps at which a trial of so many steps pauses; all of them if it is unknown (None)."""
        return tuple(step for step in self.steps if total is None or step < total)


class Budget(Section):
    """What each method may compute, whatever its number of hyperparameters: gradients, or seconds."""

    gradients: Annotated[int, Field(ge=1)] | None = None
    """Gradients of each method, with each of its forget objectives, over all of its grid cells; a step of a method with
    two objectives computes two. Instead of samples: as many trials as it pays for.
    """
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Seconds of the steps and evaluations of each method, likewise. A trial starts only if it and the method's running
    ones are expected to stay within, by the mean of its ended ones; at most `samples` of each cell do.
    """
    edit: Annotated[int, Field(ge=1)] | None = None
    """Gradients that an edit such as `ssd` computes in its one pass: retain examples / `batch.retain` + 2 x forget
    examples / `batch.forget`, each rounded up. Needed if a method is an edit."""

    @model_validator(mode="after")
    def _gradients_or_seconds(self) -> "Budget":
        if (self.gradients is None) == (self.seconds is None):
            raise ValueError("give gradients or seconds: one of them")
        if self.edit is not None and self.gradients is None:
            raise ValueError("edit: the gradients of an edit count for a budget of gradients; remove it")
        return self


WAIT_FOR_NODES = 600.0
"""Default of `search.wait_for_nodes`, also for single runs."""


class SearchConfig(Section):
    """How the space is searched."""

    algorithm: Literal["auto", "random", "grid", "tpe", "nsga2", "gp"] = "tpe"
    """`auto` chooses by the number of samples, the kinds of keys and the concurrency, and says which and why."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Trials per grid cell (one cell without grids); each cell is searched independently.

    A grid of `seed` only repeats trials: every sample is run with each seed, and the search algorithm sees the means.
    """
    budget: Budget | None = None
    """The same for each method. The first, random draws are then the same for all methods, too."""
    seed: int = Field(default=0, ge=0)
    """Seed of the search algorithm."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """How many searches are done side by side, with `seed`, `seed` + 1 and so on, each with all samples or the whole
    budget and without the others' trials: the report has intervals over them.
    """
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of concurrent trials; null: as many as fit the cluster."""
    retries: int = Field(default=1, ge=0)
    """How often a trial is retried after an error before it counts as failed."""
    time_budget: Annotated[float, Field(gt=0)] | None = None
    """Seconds after the first trial's start from which on no new trial starts; running ones end as they would. Null: no
    limit.
    """
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """GPU hours of the whole sweep: a trial starts only if it and the running ones are expected to stay within, by the
    mean of the ended ones. A trial counts its workers' GPUs from its start to its end. Null: no limit.
    """
    wait_for_nodes: Annotated[float, Field(gt=0)] = WAIT_FOR_NODES
    """Seconds without a new or starting node after which a sweep that waits for its first nodes on an autoscaling
    cluster gives up, and after which a run that has lost nodes goes on with fewer workers (`workers.min_count`).
    Clouds may have no capacity for minutes.
    """
    pruning: PruningConfig | None = None
    """Null runs every trial to its end."""
    scheduler: RungsConfig | None = None
    """Instead of pruning, `{kind: rungs, reduction: 3, steps: [10, 30]}`: every trial pauses at these steps, and the
    best third of each rung is continued. Null: no rungs.
    """
    points_per_trial: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    """How many models a trial keeps of those at its evaluations, besides its last: the best in the objectives. Each is
    evaluated in full at the end, and is a point of the sweep. `auto`: 4 where the weights that change take at most
    64 MB, as in small models and adapters, otherwise none.
    """
    warm_start: str | None = None
    """Folder of an earlier sweep whose trials the search algorithm knows from the start: those of the same problem."""
    constraints: dict[str, MetricBounds] = Field(default_factory=dict)
    """Ranges of the task's metrics in which a trial must end to be on the front: `{retain_utility: {min: 0.9},
    mia_confidence: {max: 0.55}}`. The search algorithm prefers trials that meet them.
    """
    objectives: Annotated[tuple[Objective, ...], Field(min_length=2, strict=False)] = DEFAULT_OBJECTIVES
    """Two or more metrics of the task, or costs of a trial such as `{metric: gradient_computations, mode: min, worst:
    400}`.
    """

    @field_validator("objectives")
    @classmethod
    def _different_metrics(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        names = [objective.metric for objective in objectives]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"need different metrics, found {name} twice")
        return objectives

    @model_validator(mode="after")
    def _samples_or_budget(self) -> "SearchConfig":
        if self.budget is None:
            return self
        if self.budget.gradients is not None and self.samples != 1:
            raise ValueError("give samples or budget, not both: the budget determines the number of samples")
        if self.budget.seconds is not None and self.samples == 1:
            raise ValueError("budget.seconds needs samples: the most trials of a cell, such as 200")
        return self

    @model_validator(mode="after")
    def _one_way_to_end_trials_early(self) -> "SearchConfig":
        if self.pruning is not None and self.scheduler is not None:
            raise ValueError("give pruning or scheduler, not both: set the other to null")
        return self

    @model_validator(mode="after")
    def _learns_from_a_warm_start(self) -> "SearchConfig":
        if self.warm_start is not None and self.algorithm in ("random", "grid"):
            raise ValueError(
                f"warm_start: algorithm {self.algorithm} does not learn from trials; remove it, or use another "
                "algorithm, such as tpe"
            )
        return self

    def keys_with(self, metric: str) -> list[str]:
        """Return the keys that name a metric."""
        named = {"objectives": [one.metric for one in self.objectives], "constraints": [*self.constraints]}
        return [key for key, metrics in named.items() if metric in metrics]
